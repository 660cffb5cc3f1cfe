"""Which windows of its corpus's training stream a cell may visit.

It is a part of the cell and not of the corpus, so that the arms of a sweep share tokenizer, validation stream and files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def count_windows(num_tokens: int, context: int) -> int:
    """Windows of `context` + 1 tokens in a stream of `num_tokens`."""
    return max(0, (num_tokens - 1) // context)


@dataclass(frozen=True)
class Selection:
    """What a cell may visit; a cell that has none visits every window as it is."""

    limit: int | None = None
    """Windows at most; None is all of them."""
    seed: int = 0
    """Of the permutation of which the first `limit` windows are taken; 0 without a limit."""


def selection_from_dict(values: Mapping[str, Any] | None) -> Selection | None:
    """Inverse of `dataclasses.asdict`."""
    return None if values is None else Selection(**values)
