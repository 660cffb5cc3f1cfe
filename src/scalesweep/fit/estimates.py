"""Estimates with percentile intervals: of a number, and of what follows from a law's parameters."""

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from scalesweep.arrays import BoolArray, FloatArray
from scalesweep.interval import Interval
from scalesweep.laws import JointLaw, Law
from scalesweep.laws.base import MAX_EXPONENT
from scalesweep.laws.joint import KAPPA_BOUNDS
from scalesweep.laws.reuse import REUSE_BOUNDS

_NO_INTERVAL = {"low": None, "high": None, "is_low_open": False, "is_high_open": False}
COEFFICIENTS = {"alpha": "A", "beta": "B"}
"""Of the term that an exponent belongs to."""
_ALLOCATION = ("a", "b", "tokens_per_parameter")
_REUSE = {"R_D", "R_N"}
_STOPPED_BY = {
    "alpha": ("alpha",),
    "beta": ("beta",),
    "A": ("alpha",),
    "B": ("beta",),
    "kappa": ("kappa",),
    "R_D": ("R_D",),
    "R_N": ("R_N",),
    **dict.fromkeys(_ALLOCATION, ("alpha", "beta")),
}
"""Parameters at whose bound of the search a value is stopped too. That E and coefficients end at zero is no such bound, because
there is nothing below."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; None where there is none."""

    value: float
    interval: Interval | None = None

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return self.interval.low if self.interval else None

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return self.interval.high if self.interval else None

    def to_dict(self) -> dict[str, float | None]:
        """JSON-ready content: JSON has no infinity, which becomes null."""
        ends = asdict(self.interval) if self.interval else _NO_INTERVAL
        return {"value": _finite(self.value), **ends, "low": _finite(self.low), "high": _finite(self.high)}


def estimate(value: float, samples: FloatArray, confidence: float) -> Estimate:
    """The value with the percentile interval of its samples, shape (resamples,); samples that are not numbers are left out."""
    known = samples[~np.isnan(samples)]
    if not len(known):
        return Estimate(value)
    # Order statistics, because the law's scale may be infinite in a resample and infinities cannot be interpolated.
    low, high = np.percentile(known, _percents(confidence), method="nearest")
    if low == high == 0:  # every resample ended at the bound, which says nothing of how far from it the truth may be
        return Estimate(value)
    return Estimate(value, Interval(float(low), float(high)))


def join(one: Estimate, other: Estimate) -> Estimate:
    """The value with the union of two intervals."""
    if one.interval is None or other.interval is None:
        return Estimate(one.value, one.interval or other.interval)
    low, high = min(one.interval.low, other.interval.low), max(one.interval.high, other.interval.high)
    return Estimate(one.value, Interval(low, high))


def percentile_union(sets: list[FloatArray], confidence: float) -> tuple[FloatArray, FloatArray]:
    """Union of the percentile intervals, over the first axis, of each set of samples."""
    ends = np.array([np.percentile(samples, _percents(confidence), axis=0) for samples in sets])
    return ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)


def is_wide(interval: Interval | None, factor: float = 2.0) -> bool:
    """Whether the interval of a positive quantity reaches 0 or spans more than the factor."""
    return interval is not None and interval.high > factor * max(interval.low, 0.0)


def estimate_law(law: Law, sets: Sequence[FloatArray], confidence: float, largest_c: float | None) -> dict[str, Estimate]:
    """Parameters and, where a law of N and D has a compute optimum, its exponents and D / N at the largest C.

    Each interval is the union of the percentile intervals of the sets of resampled parameters, each of shape (resamples, P).
    """
    names, values = list(law.parameters), np.array([law.theta])
    allocated = [values, *sets]
    if isinstance(law, JointLaw) and law.has_optimum:
        names += _ALLOCATION if largest_c else _ALLOCATION[:2]
        allocated = [_with_allocation(type(law), part, largest_c) for part in allocated]
    centre, *drawn = allocated

    def union(name: str) -> Estimate:
        i = names.index(name)
        value = float(centre[0, i])
        if isinstance(law, JointLaw) and name in COEFFICIENTS and getattr(law, COEFFICIENTS[name]) <= 0:
            return Estimate(value)  # any exponent fits where the term is zero
        parts = [estimate(value, samples[:, i], confidence) for samples in drawn]
        interval = functools.reduce(join, parts, Estimate(value)).interval
        if interval is None:
            return Estimate(value)
        stopped = np.concatenate([part[_is_stopped(names, part, name), i] for part in drawn])
        return Estimate(value, Interval(interval.low, interval.high, interval.low in stopped, interval.high in stopped))

    return {name: union(name) for name in names}


def is_stop(parameter: str, value: FloatArray | float) -> BoolArray:
    """Where a bound of the search, rather than the points, decides this parameter."""
    value = np.asarray(value)
    if parameter == "kappa":
        return np.isin(value, KAPPA_BOUNDS)
    if parameter in _REUSE:
        low, high = REUSE_BOUNDS
        return np.asarray((value <= low * (1 + 1e-9)) | (value >= high * (1 - 1e-9)))  # the search is in logarithms
    return np.asarray((value >= MAX_EXPONENT) & (parameter in _STOPPED_BY))


def open_ends(estimates: dict[str, Estimate]) -> list[str]:
    """A sentence on the ends of intervals that the points do not limit, where there are any."""
    known = {name: found.interval for name, found in estimates.items() if found.interval}
    ends = [f"{name} below" for name, interval in known.items() if interval.is_low_open]
    ends += [f"{name} above" for name, interval in known.items() if interval.is_high_open]
    if not ends:
        return []
    (low, high), (least, most) = KAPPA_BOUNDS, REUSE_BOUNDS
    bounds = [f"exponents of {MAX_EXPONENT:g}", f"kappa of {low:g} and {high:g}"]
    if _REUSE & estimates.keys():
        bounds[1] = f"{' and '.join(sorted(_REUSE))} of {least:g} and {most:g}"
    return [
        f"Open ends of intervals: {', '.join(ends)}. The points do not limit them: the search stops at "
        f"{' and at '.join(bounds)}."
    ]


def outside(estimates: dict[str, Estimate]) -> list[str]:
    """A sentence on estimates that lie outside their own intervals, where there are any."""
    names = [name for name, found in estimates.items() if found.interval and not found.interval.holds(found.value)]
    if not names:
        return []
    it = "its own interval" if len(names) == 1 else "their own intervals"
    return [
        f"Outside {it}: {', '.join(names)}. Refits to resamples of these points lie to one side of the estimate, so that the "
        "interval is of a method that is biased here: take neither as precise."
    ]


def _with_allocation(form: type[JointLaw], parameters: FloatArray, largest_c: float | None) -> FloatArray:
    """The parameters, shape (laws, P), followed by a, b and D / N of each law; NaN where it has no optimum."""
    laws = [form(*row) for row in parameters.tolist()]
    found = [
        (law.a, law.b, float(law.tokens_per_parameter_opt(largest_c or math.nan))) if law.has_optimum else (math.nan,) * 3
        for law in laws
    ]
    return np.concatenate([parameters, np.array(found).reshape(-1, 3)], axis=1)


def _is_stopped(names: Sequence[str], samples: FloatArray, name: str) -> BoolArray:
    """In which samples, shape (resamples, names), a bound of the search decides this value."""
    by = [names.index(parameter) for parameter in _STOPPED_BY.get(name, ()) if parameter in names]
    stops = [is_stop(names[i], samples[:, i]) for i in by]
    return np.any(stops, axis=0) if stops else np.zeros(len(samples), dtype=np.bool_)


def _percents(confidence: float) -> tuple[float, float]:
    return 50 * (1 - confidence), 50 * (1 + confidence)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
