"""How a table's C relates to N D, and whether its units can be right.

Training a dense transformer takes about 6 FLOPs a parameter and token (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).
Conventions move that by a small factor, units by powers of ten; so a C that is far from 6 N D is one in another unit, or N or D
is. What follows from C and a law of N and D, such as N* and D*, is then wrong by that power.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.points.points import Points
from scalesweep.points.unit_names import UNITS, in_words
from scalesweep.units import format_number, format_rough

Flops = TypeVar("Flops", float, FloatArray)
SIX = 6.0
"""FLOPs a parameter and token."""
USUAL = (0.2, 5.0)
"""C / (6 N D) that conventions explain. Measured: the published tables of this package have medians from 0.38 (nanochat, whose
N counts embeddings) to 1; decoders of width 16 to 768 under all conventions of `count`, 0.27 to 4.4, apart from a context of
8,192, or a vocabulary of 4,000 at width 32 and of 50,000 at 256. Units lie at 1,000 and more, or 0.001 and less."""
SAME = 0.01
"""Relative gap to 6 N D, or to k N D, below which they are the same count: printed values are rounded."""
MAX_SPREAD = 2.0
"""Largest over smallest C / (N D) up to which a table's own count is taken as k N D, k their geometric mean. N* is then off by
at most sqrt(2)^a, which is 1.2 at a = 0.5; nanochat has 1.34. What a sweep counts of its models varies with size by a known
formula: it is k N D only where it is constant, and 6 N D else."""
_SMALLEST = 1e4
"""Where the largest model has fewer parameters, or the longest run fewer tokens, they are counted in something larger."""
_TOKENS_PER_PARAMETER = (0.01, 1e6)
"""Median D / N of tables, questioned outside. Porian et al. 2024 measure from 0.006 to 19,000 in one table."""
_SENSIBLE_N, _SENSIBLE_D, _SENSIBLE_RATIO = (_SMALLEST, 1e13), (_SMALLEST, 1e14), (0.1, 1e4)
"""Medians of N, D and D / N that another unit must leave to be proposed; the largest models have some 1e12 parameters and were
trained on some 4e13 tokens."""


@dataclass(frozen=True)
class Reading:
    """Units under which the table makes sense."""

    units: Mapping[str, str]
    """Of the columns that are not in units of one, by n, d, c: names of `UNITS`."""
    ratio: float
    """Median C / (6 N D) under them; 1 where the table has no C of its own."""

    @property
    def words(self) -> str:
        """The units in words, and as settings."""
        said = " and ".join(f"{name.upper()} in {in_words(unit)}" for name, unit in self.units.items())
        settings = " ".join(f"units.{name}={unit}" for name, unit in self.units.items())
        return f"{said} ({settings}; C is then {format_rough(self.ratio)} times 6 N D)"


@dataclass(frozen=True)
class Compute:
    """The count of C beside N D, over the used rows."""

    ratio: float
    """Median of C / (6 N D)."""
    low: float
    """Smallest C / (6 N D)."""
    high: float
    """Largest C / (6 N D)."""
    k: float
    """What derived numbers take C as: k N D."""
    unusual: str = ""
    """What is wrong with the units or the count, in sentences; empty where nothing is."""
    is_contradiction: bool = False
    """Whether that leaves no unit for what follows from C and the law."""
    readings: tuple[Reading, ...] = ()
    """What the units may be, the nearest to 6 N D first."""

    @property
    def withheld(self) -> str:
        """Why nothing is derived from C, in a sentence; empty where it is."""
        if not self.is_contradiction:
            return ""
        return "It needs N, D and C in known units, and these contradict each other (A17)."

    @property
    def withheld_model(self) -> str:
        """Why nothing is said of a model that is given by N and D; empty where only C is in doubt."""
        certain = self.readings and all(set(reading.units) == {"c"} for reading in self.readings)
        return "" if certain else self.withheld

    @property
    def symbols(self) -> str:
        """What derived numbers take C as, in symbols."""
        return "C = 6 N D" if self.k == SIX else f"C = {self.k:.3g} N D"

    @property
    def unit(self) -> str:
        """What follows a value of C."""
        return "of an unknown unit" if self.is_contradiction else "FLOPs"

    @property
    def words(self) -> str:
        """The count that optima and forecasts use, as a sentence."""
        if self.is_contradiction:
            return "Compute-optimal N and D are withheld (A17)."
        if math.isnan(self.ratio):
            return "The table does not say N, D and C, so that there is no compute optimum."
        if self.k != SIX:
            span = "" if self.high < (1 + SAME) * self.low else f" ({6 * self.low:.3g} to {6 * self.high:.3g}, geometric mean)"
            return f"Optimal N and D use {self.symbols}, as the rows count C{span}."
        if max(self.high - 1, 1 - self.low) <= SAME:
            return "Optimal N and D use C = 6 N D."
        return f"Optimal N and D use C = 6 N D; C as counted is {self.low:.3g} to {self.high:.3g} times that."

    def as_six(self, c: Flops) -> Flops:
        """6 N D of a model whose C, as counted here, is this: the argument that laws take."""
        return c if self.k == SIX else c * (SIX / self.k)

    def gap(self, points: Points) -> float:
        """Largest |C / (k N D) - 1| of the used rows."""
        return float(np.max(np.abs(points.c / (self.k * points.n * points.d) - 1)))


def compute_of(points: Points) -> Compute:
    """How C relates to N D in the used rows, of which there must be one."""
    n, d, c = points.n, points.d, points.c
    ratios = c / (SIX * n * d)
    if np.isnan(ratios).any():  # the table does not say all three
        return Compute(math.nan, math.nan, math.nan, SIX)
    ratio, low, high = float(np.median(ratios)), float(ratios.min()), float(ratios.max())
    mean = float(np.exp(np.log(ratios).mean()))
    is_constant = high <= low * (1 + 2 * SAME if points.is_counted else MAX_SPREAD)
    k = SIX * mean if is_constant and abs(mean - 1) > SAME else SIX
    if points.is_counted:
        return Compute(ratio, low, high, k)
    is_far = not points.derived and not USUAL[0] <= ratio <= USUAL[1]
    if not is_far and not (odd := _odd_magnitude(n, d)):
        return Compute(ratio, low, high, k)
    readings = _readings(points, n, d, c)
    start = _far(ratio, low, high) if is_far else odd
    against = " C, N and D contradict each other." if is_far else ""
    if is_far and not readings and is_constant:
        text = f"{start} No unit explains it, and it is nearly the same in all rows: {_counted_otherwise(ratio)} " + (
            f"Compute optima and forecasts use C = {k:.3g} N D."
        )
        return Compute(ratio, low, high, k, text)
    return Compute(ratio, low, high, SIX, f"{start}{against} {_explained(readings)}", True, readings)


def _far(ratio: float, low: float, high: float) -> str:
    span = "" if high <= low * (1 + SAME) else f" ({format_number(low)} to {format_number(high)})"
    return f"C is {format_number(ratio)} times 6 N D{span}."


def _counted_otherwise(ratio: float) -> str:
    if ratio < 1:
        return "N counts more than a token passes through (all experts of a mixture, embeddings), or C less than training."
    return "N leaves out parameters that cost compute, or C counts more than training."


def _odd_magnitude(n: FloatArray, d: FloatArray) -> str:
    """What no table of language models has, in a sentence; empty where N and D look like counts."""
    if n.max() < _SMALLEST:
        return f"The largest N is {n.max():g}, which is no count of parameters."
    if d.max() < _SMALLEST:
        return f"The largest D is {d.max():g}, which is no count of tokens."
    ratio = float(np.median(d / n))
    if not _TOKENS_PER_PARAMETER[0] <= ratio <= _TOKENS_PER_PARAMETER[1]:
        return f"The median D / N is {format_number(ratio)} tokens per parameter: N and D are not in one unit."
    return ""


def _readings(points: Points, n: FloatArray, d: FloatArray, c: FloatArray) -> tuple[Reading, ...]:
    """Units that leave sensible N, D and C / (6 N D), those with the fewest columns in other units; the nearest first."""
    medians = {"n": float(np.median(n)), "d": float(np.median(d)), "c": float(np.median(c))}
    ratio = float(np.median(c / (SIX * n * d)))
    found = list(_sensible(medians, ratio, points.derived))
    fewest = min((len(reading.units) for reading in found), default=0)
    kept = [reading for reading in found if len(reading.units) == fewest]
    return tuple(sorted(kept, key=lambda reading: abs(math.log(reading.ratio))))


def _sensible(medians: Mapping[str, float], ratio: float, derived: str) -> Iterator[Reading]:
    given = [name for name in ("n", "d", "c") if name != derived]
    for names in itertools.product(*(UNITS[name] for name in given)):
        units = dict(zip(given, names, strict=True))
        scale = {name: UNITS[name][unit] for name, unit in units.items()}
        n = medians["n"] * (scale["c"] / scale["d"] if derived == "n" else scale["n"])
        d = medians["d"] * (scale["c"] / scale["n"] if derived == "d" else scale["d"])
        rest = 1.0 if derived else ratio * scale["c"] / (scale["n"] * scale["d"])
        checks = ((n, _SENSIBLE_N), (d, _SENSIBLE_D), (d / n, _SENSIBLE_RATIO), (rest, USUAL))
        if all(low <= value <= high for value, (low, high) in checks):
            yield Reading({name: unit for name, unit in units.items() if scale[name] != 1}, rest)


def _explained(readings: tuple[Reading, ...]) -> str:
    if not readings:
        return "No common unit of C, N or D explains it, and it differs between rows: look at how each of them was counted."
    if len(readings) == 1:
        return f"Probably {readings[0].words}."
    return f"It fits {len(readings)} readings: {'; '.join(reading.words for reading in readings)}."
