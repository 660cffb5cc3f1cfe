"""What a fit returns: frozen values with intervals, a status in words, and what is needed to trace them."""

import math
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.fit.curvature import Curvature
from scalesweep.interval import Interval
from scalesweep.laws import JointLaw, PowerLaw
from scalesweep.points.design import Noise

_ROUNDING = 1e-15
_NO_INTERVAL = {"low": None, "high": None, "is_low_open": False, "is_high_open": False}
Name = Literal["joint", "coupled", "by_n", "by_d", "by_c"]


class FitStatus(Enum):
    """How far the points determine a law, as a sentence for the user."""

    IDENTIFIED = "The points identify this law."
    WEAK = "The points identify this law only weakly: read its intervals, not its values."
    AT_BOUND = "A parameter lies at its bound: the points do not show that part of the law."
    UNKNOWN = "No intervals were computed, so it is not known how well the points identify this law."
    REJECTED = "Rejected: the points bend away from this law, so do not extrapolate it."
    NOT_IDENTIFIED = "The points do not identify the joint law L(N, D)."


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


@dataclass(frozen=True)
class Finding:
    """One coded warning."""

    code: str
    """A and two digits; docs/warnings.md explains each."""
    text: str
    """One sentence with its numbers."""


@dataclass(frozen=True, eq=False)
class LawFit:
    """One law with estimated parameters."""

    law: JointLaw | PowerLaw
    """The law at its point estimates."""
    estimates: dict[str, Estimate]
    """Parameters and what follows from them, by name."""
    status: FitStatus
    """Whether the points determine the law."""
    messages: tuple[str, ...]
    """Sentences that explain the status and warn of what limits it."""
    objective: str
    """What was minimised, in words."""
    objective_value: float
    """Its value at the estimates."""
    huber_delta: float | None
    """Width of the Huber loss in log loss; None for least squares."""
    residual_rms: float
    """Root mean square of log L - log L_predicted."""
    rows: tuple[int, ...]
    """Positions, among the used rows of the points, of the rows that entered."""
    selection: str
    """Which rows entered, in words."""
    confidence: float
    """Nominal coverage of the intervals."""
    samples: FloatArray = field(repr=False)
    """Parameters refitted to each resample, in the order of the law's fields, shape (resamples, parameters). Where
    `cluster_samples` has rows, these leave out the noise that a size's points share, and say little by themselves."""
    cluster_samples: FloatArray = field(default_factory=lambda: np.empty((0, 0)), repr=False)
    """The same for resampled model sizes, or by Student's t, where the intervals are the union of both; else without rows."""
    residuals: FloatArray = field(default_factory=lambda: np.empty(0), repr=False)
    """log L - log L_predicted of the rows that entered; empty where they were not kept."""
    intervals: str = ""
    """What the intervals are, as a sentence; empty where there are none, or where they are a plain pairs bootstrap."""
    curvature: Curvature | None = None
    """Of the points of a law of one variable about its line; None where they cannot show any, and for joint laws."""

    def band(self, *x: ArrayLike) -> tuple[FloatArray, FloatArray] | None:
        """Percentile interval of the predicted loss at x (N, D of a joint law, else its variable); None without resamples."""
        if not len(self.samples):
            return None
        predict: Any = type(self.law).predict  # takes (n, d) or x, as the caller gave them
        sets = [self.resampled_laws(), self.resampled_laws(self.cluster_samples)]
        return percentile_union([np.array([predict(law, *x) for law in laws]) for laws in sets if laws], self.confidence)

    def noise_ratio(self, noise: Noise | None) -> float | None:
        """Residual sd, with the parameters taken off the degrees of freedom, over the replicate noise; None if not known."""
        spare = len(self.rows) - self.samples.shape[1]
        if noise is None or noise.log_loss_sd == 0 or spare <= 0:
            return None
        return self.residual_rms * math.sqrt(len(self.rows) / spare) / noise.log_loss_sd

    def resampled_laws(self, samples: FloatArray | None = None) -> list[JointLaw] | list[PowerLaw]:
        """The law refitted to each resample, or with each row of `samples`."""
        samples = self.samples if samples is None else samples
        if isinstance(self.law, PowerLaw):
            return [PowerLaw(float(scale), float(exponent), self.law.variable) for scale, exponent in samples]
        return [type(self.law)(*map(float, sample)) for sample in samples]

    @property
    def aicc(self) -> float:
        """Akaike's criterion corrected for few points; see `corrected_akaike`."""
        return corrected_akaike(len(self.rows), int(self.samples.shape[1]), self.residual_rms)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content; the resamples are left out."""
        return {
            "equation": self.law.equation,
            "source": self.law.source,
            "formula": self.law.formula(),
            "status": self.status.name.lower(),
            "verdict": self.status.value,
            "messages": list(self.messages),
            "intervals": self.intervals,
            "estimates": {name: estimate.to_dict() for name, estimate in self.estimates.items()},
            "objective": self.objective,
            "objective_value": self.objective_value,
            "huber_delta": self.huber_delta,
            "residual_rms": self.residual_rms,
            "curvature": asdict(self.curvature) if self.curvature else None,
            "aicc": self.aicc if math.isfinite(self.aicc) else None,
            "num_points": len(self.rows),
            "rows": list(self.rows),
            "selection": self.selection,
        }


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


def corrected_akaike(num_points: int, num_parameters: int, residual_rms: float) -> float:
    """Akaike's criterion corrected for few points, from the mean square residual; infinite without spare points.

    Hurvich & Tsai 1989 (Biometrika 76, 297). Only differences between laws of the same points mean something. Residuals below
    rounding count as rounding, so that of two exact laws the smaller wins.
    """
    count = num_parameters + 1  # and the residual variance
    if num_points <= count + 1:
        return math.inf
    return 2 * num_points * math.log(max(residual_rms, _ROUNDING)) + 2 * count * num_points / (num_points - count - 1)


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


def _percents(confidence: float) -> tuple[float, float]:
    return 50 * (1 - confidence), 50 * (1 + confidence)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
