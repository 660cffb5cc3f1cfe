"""What a fit returns: frozen values with intervals, a status in words, and what is needed to trace them."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalesweep.fit.curvature import Curvature
from scalesweep.laws import JointLaw, PowerLaw

FloatArray = NDArray[np.float64]
_ROUNDING = 1e-15
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
    """A number with its interval."""

    value: float
    """Point estimate."""
    low: float | None
    """Lower end of the interval; None where there is none."""
    high: float | None
    """Upper end of the interval; None where there is none."""
    is_low_open: bool = False
    """Whether the lower end is where a search had to stop, at a bound of its own, and not what the points allow."""
    is_high_open: bool = False
    """The same of the upper end."""


@dataclass(frozen=True)
class Noise:
    """Replicate noise: what changes when only the seed changes."""

    log_loss_sd: float
    """Standard deviation of log loss, pooled over cells."""
    degrees_of_freedom: int
    """Replicates minus cells."""


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
            "estimates": {name: _finite(asdict(estimate)) for name, estimate in self.estimates.items()},
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


@dataclass(frozen=True)
class Span:
    """The measured range, outside of which a law extrapolates."""

    n: tuple[float, float]
    """Smallest and largest N."""
    d: tuple[float, float]
    """Smallest and largest D, tokens."""
    c: tuple[float, float]
    """Smallest and largest C, FLOPs."""
    tokens_per_parameter: tuple[float, float]
    """Smallest and largest D/N."""

    @property
    def decades(self) -> dict[str, float]:
        """log10(largest / smallest) of n, d and c."""
        return {name: math.log10(high / low) for name, (low, high) in (("n", self.n), ("d", self.d), ("c", self.c))}


@dataclass(frozen=True, eq=False)
class SweepFit:
    """All laws estimated from one table of points."""

    joint: LawFit | None
    """The additive L(N, D), or None where it was refused."""
    coupled: LawFit | None
    """The coupled L(N, D), or None where it was refused."""
    by_n: LawFit | None
    """Kaplan's L(N), or None where it was refused."""
    by_d: LawFit | None
    """Kaplan's L(D), or None where it was refused."""
    by_c: LawFit | None
    """Kaplan's L(C), or None where it was refused."""
    refusals: Mapping[Name, str]
    """Why a law was refused, by its name."""
    noise: Noise | None
    """Replicate noise; None without replicates."""
    span: Span
    """The measured range."""
    num_used: int
    """Rows that fits used."""
    num_excluded: int
    """Rows that carry an excluded_reason."""
    params_convention: str
    """What N counts."""
    flops_convention: str
    """What C counts."""
    source: str
    """Where the points come from."""
    notes: tuple[str, ...]
    """What was derived while reading the points."""
    bootstrap: int
    """Resamples asked for."""
    confidence: float
    """Nominal coverage of the intervals."""
    seed: int
    """Seed of the resampling."""
    findings: tuple[Finding, ...] = ()
    """Coded warnings, by `checks.check`."""

    @property
    def noise_ratio(self) -> float | None:
        """Residual sd of the preferred joint law over the replicate noise; None where one of them is not known."""
        best = self.preferred
        return best.noise_ratio(self.noise) if best else None

    @property
    def preferred_name(self) -> Name:
        """The joint law that the points prefer: the additive one unless the coupled one has the lower AICc."""
        return "coupled" if self.joint and self.coupled and self.coupled.aicc < self.joint.aicc else "joint"

    @property
    def preferred(self) -> LawFit | None:
        """The fit of that law; None where the joint law was refused."""
        return self.laws.get(self.preferred_name)

    @property
    def joint_refusal(self) -> str:
        """Why there is no joint law; empty where there is one."""
        return self.refusals.get("joint", "")

    @property
    def laws(self) -> dict[Name, LawFit]:
        """The laws that were fitted, by name."""
        every: dict[Name, LawFit | None] = {
            "joint": self.joint,
            "coupled": self.coupled,
            "by_n": self.by_n,
            "by_d": self.by_d,
            "by_c": self.by_c,
        }
        return {name: law for name, law in every.items() if law is not None}

    @property
    def order(self) -> list[Name]:
        """Names of the fitted laws, the preferred joint law first."""
        return sorted(self.laws, key=lambda name: name != self.preferred_name)

    @property
    def verdict(self) -> str:
        """One line on the preferred joint law: its status and reasons, or the refusal."""
        best = self.preferred
        if best is None:
            return f"{FitStatus.NOT_IDENTIFIED.value} {self.joint_refusal}"
        return " ".join((best.status.value, *best.messages))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "laws": {name: law.to_dict() for name, law in self.laws.items()},
            "preferred": self.preferred_name if self.preferred else None,
            "refusals": dict(self.refusals),
            "noise": asdict(self.noise) if self.noise else None,
            "noise_ratio": self.noise_ratio,
            "findings": [asdict(finding) for finding in self.findings],
            "extrapolation": {"measured": asdict(self.span), "decades": self.span.decades},
            "points": {
                "source": self.source,
                "used": self.num_used,
                "excluded": self.num_excluded,
                "params_convention": self.params_convention,
                "flops_convention": self.flops_convention,
                "notes": list(self.notes),
            },
            "intervals": {
                "method": "percentiles of a pairs bootstrap, unless the law says otherwise",
                "resamples": self.bootstrap,
                "confidence": self.confidence,
                "seed": self.seed,
            },
        }

    def to_json(self) -> str:
        """`to_dict` as the text of a file."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def summary(self) -> str:
        """The result as text for a terminal."""
        from scalesweep.fit.summary import summarise

        return summarise(self)


def estimate(value: float, samples: FloatArray, confidence: float) -> Estimate:
    """The value with the percentile interval of its samples, shape (resamples,); samples that are not numbers are left out."""
    known = samples[~np.isnan(samples)]
    if not len(known):
        return Estimate(value, None, None)
    # Order statistics, because the law's scale may be infinite in a resample and infinities cannot be interpolated.
    low, high = np.percentile(known, _percents(confidence), method="nearest")
    if low == high == 0:  # every resample ended at the bound, which says nothing of how far from it the truth may be
        return Estimate(value, None, None)
    return Estimate(value, float(low), float(high))


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
    lows = [end for end in (one.low, other.low) if end is not None]
    highs = [end for end in (one.high, other.high) if end is not None]
    return Estimate(one.value, min(lows, default=None), max(highs, default=None))


def percentile_union(sets: list[FloatArray], confidence: float) -> tuple[FloatArray, FloatArray]:
    """Union of the percentile intervals, over the first axis, of each set of samples."""
    ends = np.array([np.percentile(samples, _percents(confidence), axis=0) for samples in sets])
    return ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)


def is_wide(interval: Estimate, factor: float = 2.0) -> bool:
    """Whether the interval of a positive quantity reaches 0 or spans more than the factor."""
    return interval.low is not None and interval.high is not None and interval.high > factor * max(interval.low, 0.0)


def _percents(confidence: float) -> tuple[float, float]:
    return 50 * (1 - confidence), 50 * (1 + confidence)


def _finite(values: dict[str, float | None]) -> dict[str, float | None]:
    """JSON has no infinity; it becomes null."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}
