"""Which windows of its corpus's training stream a cell may visit.

It is a part of the cell and not of the corpus, so that the arms of a sweep share tokenizer, validation stream and files. Each
part of a mixture has windows of its own, of which the limit takes some, and the transform changes a share of these: a pool with
junk in it, and the same pool with as much dropped by the same seed, have all other windows in common.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scalesweep.settings.data import PLACES

WindowKind = Literal["junk_constant", "junk_uniform", "duplicate", "drop"]


def count_windows(num_tokens: int, context: int) -> int:
    """Windows of `context` + 1 tokens in a stream of `num_tokens`."""
    return max(0, (num_tokens - 1) // context)


@dataclass(frozen=True)
class Part:
    """One part of a mixture's training stream, in which the parts lie end to end."""

    tokens: int
    places: int
    """Windows that come from it, of any `PLACES` that begin at a multiple of it."""


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
    """What a cell may visit; a cell that has none visits every window of one stream as it is."""

    limit: int | None = None
    """Windows at most; None is all of them."""
    seed: int = 0
    """Of the permutation of which the first `limit` windows are taken; 0 without a limit."""
    transform: Transform | None = None
    parts: tuple[Part, ...] = ()
    """Of a mixture; empty for one stream."""

    @property
    def places(self) -> tuple[int, ...]:
        """Of each part; all of one stream."""
        return tuple(part.places for part in self.parts) or (PLACES,)

    def windows(self, num_tokens: int, context: int) -> tuple[int, ...]:
        """Windows of each part after the limit, which a mixture's parts share by weight; one number for one stream."""
        if not self.parts:
            available = count_windows(num_tokens, context)
            return (available if self.limit is None else min(self.limit, available),)
        left = [count_windows(part.tokens, context) for part in self.parts]
        if self.limit is not None:
            left = [min(n, self.limit * part.places // PLACES) for n, part in zip(left, self.parts, strict=True)]
        return tuple(left)

    def unique_tokens(self, num_tokens: int, context: int) -> tuple[int, ...]:
        """U of each part, after the transform."""
        of = self.transform.num_distinct if self.transform else int
        return tuple(of(windows) * context for windows in self.windows(num_tokens, context))

    def epochs(self, tokens: int, unique_tokens: int, context: int) -> float:
        """D / U of `tokens` training tokens, and of a mixture that of the part which is repeated most."""
        if not self.parts:
            return tokens / unique_tokens
        unique = self.unique_tokens(0, context)
        return max(tokens * part.places / PLACES / u for part, u in zip(self.parts, unique, strict=True))


def selection_from_dict(values: Mapping[str, Any] | None) -> Selection | None:
    """Inverse of `dataclasses.asdict`."""
    if values is None:
        return None
    transform, parts = values.get("transform"), values.get("parts", ())
    made = {"transform": transform and Transform(**transform), "parts": tuple(Part(**part) for part in parts)}
    return Selection(**{**values, **made})


def places_of(weights: Sequence[float]) -> tuple[int, ...]:
    """`PLACES` shared out by weight, what rounding leaves to the largest remainders (Hamilton's method)."""
    exact = [weight * PLACES / sum(weights) for weight in weights]
    places = [int(share) for share in exact]
    for i in sorted(range(len(weights)), key=lambda i: (places[i] - exact[i], i))[: PLACES - sum(places)]:
        places[i] += 1
    return tuple(places)
