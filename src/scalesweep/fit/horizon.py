"""How far a target lies from the measured points, what a drifting exponent may add on the way, and where the data stop helping.

Four rules, each a judgement that is stated:

1. The way. A target is judged by its way from the convex hull of the measured points in (log10 N, log10 D); its length is
   |decades of N| + |decades of D|, which for growth in both is decades of compute. Inside the hull it is 0.
2. The drift. Along the way the local exponent s = -d log L / d log C may walk at random by `DRIFT` of itself per decade.
   Integrated over a way of h decades the log loss then has the standard deviation ln(10) s DRIFT sqrt(h^3 / 3): a break at the
   edge of the data is invisible to every criterion, so that its chance has to be in the interval.
3. The support. A span of T decades supports a forecast up to `MAX_HORIZON` spans beyond it. N, D, C and D / N each have their
   own span and horizon, and a span of less than `MIN_SPAN` decades of compute supports nothing. By compute, on the tables of
   docs/forecasts.md, intervals that were calibrated on the other studies held 97 % of rows at a quarter to half of the span,
   94 % up to three quarters, 91 % up to the whole and 85 % up to one and a half.
4. The starved corner. Beyond the measured range nothing is forecast below `MIN_RATIO` = 1 token per parameter. In all laws
   here more parameters never hurt, and where text is short their exponent in N vanishes and its drift with it. Measured losses
   rise there: in the four tuned tables of Porian et al. 2024, of two runs on equal tokens (to 5 %), the larger with 1.3 to 3
   times the parameters, the larger is the worse in all 37 pairs where it has less than a token for each parameter, and in none
   of 58 where it has more than three. This rule was added after the honest interval was seen to hold 55 % of such runs in a
   rolling origin by size.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray

DRIFT = 0.75
"""Standard deviation of the local exponent's walk after one decade, in units of itself. Of .5, .75 and 1 this is the one
at which one factor holds the most alike near and far, by compute, parameters and tokens."""
MAX_HORIZON = 1.0
"""Largest horizon, in spans, at which an honest interval is given."""
MIN_SPAN = 0.5
"""Decades of compute below which nothing is forecast beyond the points."""
MIN_RATIO = 1.0
"""Tokens per parameter below which nothing is forecast beyond the measured range."""
_NEGLIGIBLE = 0.02
"""Decades beyond the measured range that count as none: budgets are rounded."""
_ON_HULL = 1e4
"""Weight of the constraint that hull coordinates sum to 1."""
_BISECTIONS = 40
"""Halvings of an interval of a few decades: they leave 1e-12 of it, less than the rounding of what is printed."""
_WORDS = {"c": "compute", "n": "parameters", "d": "tokens", "r": "tokens per parameter"}


class Optimal(Protocol):
    """A law with a compute-optimal model of every budget."""

    def n_opt(self, c: ArrayLike) -> FloatArray:
        """Its parameters at C = 6 N D."""

    def d_opt(self, c: ArrayLike) -> FloatArray:
        """Its tokens at C = 6 N D."""


@dataclass(frozen=True, eq=False)
class Range:
    """The measured range: points in the plane of (log10 N, log10 D)."""

    log_n: FloatArray
    """Decimal logarithm of the parameters, shape (rows,)."""
    log_d: FloatArray
    """Decimal logarithm of the tokens, shape (rows,)."""

    @classmethod
    def of(cls, n: FloatArray, d: FloatArray) -> "Range":
        """The range of points with n parameters and d tokens, each of shape (rows,)."""
        return cls(np.log10(n), np.log10(d))

    def way(self, n: FloatArray, d: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Decades of N and of D, each of shape (targets,), from the nearest point of the hull to each target."""
        from scipy.optimize import nnls

        hull = np.stack([self.log_n, self.log_d])
        targets = np.stack([np.log10(n), np.log10(d)], axis=1)
        centre = hull.mean(axis=1)
        system = np.vstack([hull - centre[:, None], np.full(hull.shape[1], _ON_HULL)])
        nearest = [hull @ nnls(system, np.append(target - centre, _ON_HULL))[0] for target in targets]
        away = targets - np.array(nearest).reshape(-1, 2)
        away = np.where(np.abs(away).sum(axis=1, keepdims=True) < 1e-6, 0.0, away)
        return away[:, 0], away[:, 1]

    def spans(self) -> dict[str, float]:
        """Measured decades of C (as N D), N, D and D / N."""
        return {name: float(np.ptp(values)) for name, values in _coordinates(self.log_n, self.log_d).items()}

    def horizons(self, n: float, d: float) -> dict[str, float]:
        """Decades by which a target is beyond the measured range of C (as N D), N, D and D / N; 0 inside it."""
        target = _coordinates(np.array([math.log10(n)]), np.array([math.log10(d)]))
        return {
            name: max(0.0, float(target[name][0] - values.max()), float(values.min() - target[name][0]))
            for name, values in _coordinates(self.log_n, self.log_d).items()
        }

    def refuse(self, n: float, d: float) -> str:
        """Why the points support no forecast at this target, in a sentence; empty where they do."""
        spans, horizons = self.spans(), self.horizons(n, d)
        if spans["c"] < MIN_SPAN and max(horizons.values()) > _NEGLIGIBLE:
            return f"The points span {spans['c']:.2g} decades of compute; a forecast beyond them needs at least {MIN_SPAN:g}."
        if d < MIN_RATIO * n and max(horizons.values()) > _NEGLIGIBLE:
            return (
                f"The target has {d / n:.2g} tokens per parameter. Below {MIN_RATIO:g} a larger model can be a worse one, "
                "which no law here allows, so that nothing is forecast there beyond the measured range."
            )
        for name, horizon in horizons.items():
            if horizon > _NEGLIGIBLE and horizon > supported_horizon(spans[name]):
                return (
                    f"The target is a factor of {_factor(horizon)} beyond the measured {_WORDS[name]}, but {spans[name]:.2g} "
                    f"measured decades support a factor of {_factor(supported_horizon(spans[name]))}."
                )
        return ""


def supported_horizon(span: float) -> float:
    """Decades beyond a span of so many decades at which an honest interval is given."""
    return span * MAX_HORIZON


def furthest(law: Optimal, measured: Range, largest: float) -> tuple[float | None, str]:
    """Compute of the furthest compute-optimal model that may be predicted, over `largest`, and why none beyond it may be.

    Args:
        law: of N and D, with a compute optimum.
        measured: the range of the points.
        largest: their largest 6 N D.
    """

    def refusal(decades: float) -> str:
        compute = largest * 10**decades
        return measured.refuse(float(law.n_opt(compute)), float(law.d_opt(compute)))

    if reason := refusal(0.0):
        return None, reason
    # The upper end lies just past what the span of compute alone supports, where every model is refused. The sentence is that
    # of a model a thousandth of a decade past the limit: at the limit itself rounding decides whether there is one.
    low, high = 0.0, supported_horizon(measured.spans()["c"]) * 1.001
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if refusal(middle) else (middle, high)
    return 10**low, refusal(high + 1e-3)


def walk_sd(way: tuple[FloatArray, FloatArray], slopes: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Standard deviation in log loss of a drifting exponent, shape (targets,).

    Args:
        way: decades of N and of D to each target, each of shape (targets,).
        slopes: local exponents by N and by D where the way begins, each of shape (targets,).
    """
    length = np.abs(way[0]) + np.abs(way[1])
    fall = np.abs(way[0] * slopes[0]) + np.abs(way[1] * slopes[1])  # slope times length
    return np.asarray(DRIFT * math.log(10) * fall * np.sqrt(length / 3))


def _coordinates(log_n: FloatArray, log_d: FloatArray) -> dict[str, FloatArray]:
    return {"c": log_n + log_d, "n": log_n, "d": log_d, "r": log_d - log_n}


def _factor(decades: float) -> str:
    factor = 10.0**decades
    return f"{factor:.0f}" if factor >= 10 else f"{factor:.2g}"
