"""An effect and its thresholds on a bar, as places in per cent of its width: the page draws it at whatever width it has."""

import math
from dataclasses import dataclass
from typing import Literal

from scalesweep.studies.base import PartVerdict
from scalesweep.studies.words import threshold_texts

_ZONE = 0.25
"""Least share of the bar on each side of the thresholds, where the two verdicts are, so that each can be seen. Judgement."""
_ROOM = 1.08
"""The bar reaches a little beyond the interval, of which an end at the edge would look cut. Judgement."""


@dataclass(frozen=True)
class Zone:
    """The stretch of the bar in which an interval must lie for a verdict."""

    word: Literal["supported", "contradicted"]
    text: str
    """Such as ≥ 0.1."""
    start: float
    end: float


@dataclass(frozen=True)
class Bar:
    """All places in per cent of the width, from 0 to 100."""

    zones: tuple[Zone, Zone]
    """The left one and the right one; between their inner ends nothing can be told."""
    value: float
    low: float
    high: float
    is_low_open: bool
    is_high_open: bool


def bar_of(verdict: PartVerdict) -> Bar | None:
    """The bar of a part; None where it has no thresholds, or its effect no number and interval."""
    part, effect = verdict.part, verdict.effect
    numbers = (effect.value, effect.low, effect.high)
    if part.claim_at is None or part.null_at is None or any(map(math.isnan, numbers)):
        return None
    first, last = sorted((part.claim_at, part.null_at))
    known = [value for value in numbers if math.isfinite(value)]
    between, left = last - first, _ROOM * max(0.0, first - min(known, default=first))
    right = _ROOM * max(0.0, max(known, default=last) - last)
    # Each side has what it needs or its least share, whichever is wider: the width is that of the widest of the four cases.
    cases = left + between + right, (left + between) / (1 - _ZONE), (between + right) / (1 - _ZONE), between / (1 - 2 * _ZONE)
    width = max(cases) or abs(first) or 1.0
    start = first - max(left, _ZONE * width)

    def place(value: float) -> float:
        return min(max(100 * (value - start) / width, 0.0), 100.0)

    texts = threshold_texts(part)
    names: tuple[Literal["supported", "contradicted"], ...] = ("contradicted", "supported")
    lower, upper = names if part.claims == "at least" else names[::-1]
    zones = Zone(lower, texts[lower], 0.0, place(first)), Zone(upper, texts[upper], place(last), 100.0)
    ends = place(effect.value), place(effect.low), place(effect.high)
    return Bar(zones, *ends, math.isinf(effect.low), math.isinf(effect.high))
