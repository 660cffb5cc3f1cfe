"""Which windows of its corpus's training stream a cell may visit.

It is a part of the cell and not of the corpus, so that the arms of a sweep share tokenizer, validation stream and files. The
limit comes first and the transform changes a share of what it left: a pool with junk in it, and the same pool with as much
dropped by the same seed, have all other windows in common.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

WindowKind = Literal["junk_constant", "junk_uniform", "duplicate", "drop"]


def count_windows(num_tokens: int, context: int) -> int:
    """Windows of `context` + 1 tokens in a stream of `num_tokens`."""
    return max(0, (num_tokens - 1) // context)


@dataclass(frozen=True)
class Transform:
    """A change of a share of the windows whose effect is known beforehand."""

    kind: WindowKind
    share: float
    seed: int
    """Of the choice of the windows, and of the junk."""

    def num_changed(self, windows: int) -> int:
        """How many of so many windows are changed: round(share * windows)."""
        return round(self.share * windows)

    def num_distinct(self, windows: int) -> int:
        """How many distinct windows are left of so many; junk takes the places of others and is as many tokens."""
        return windows - (self.num_changed(windows) if self.kind in ("duplicate", "drop") else 0)


@dataclass(frozen=True)
class Selection:
    """What a cell may visit; a cell that has none visits every window as it is."""

    limit: int | None = None
    """Windows at most; None is all of them."""
    seed: int = 0
    """Of the permutation of which the first `limit` windows are taken; 0 without a limit."""
    transform: Transform | None = None


def selection_from_dict(values: Mapping[str, Any] | None) -> Selection | None:
    """Inverse of `dataclasses.asdict`."""
    if values is None:
        return None
    return Selection(**{**values, "transform": Transform(**values["transform"]) if values.get("transform") else None})
