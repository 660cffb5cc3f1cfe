"""What an adaptive sweep is to find out, and how well the points tell it: a quantity, and the half-width that is wanted.

    a      exponent of the compute-optimal size, N* ~ C^a: the union of the intervals of the rival laws that the points allow
    error  loss of the compute-optimal model at a target compute, relative: the honest interval of `forecast`

Either interval holds more than the noise: laws that disagree widen it, so that it cannot be narrowed by cheap replicates alone.
"""

import functools
import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scalesweep.analysis.forecast.dated import Prediction
from scalesweep.analysis.forecast.forecast import forecast
from scalesweep.analysis.forecast.rivals import THEORIES, Rivals, fit_rivals
from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, Refused
from scalesweep.fit.estimates import estimate, join
from scalesweep.fit.results import Fit
from scalesweep.laws import JointLaw
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_number, format_share

Quantity = Literal["a", "error"]
LARGEST: dict[Quantity, float] = {"a": 0.5, "error": 1.0}
"""Half-widths from which on an interval says nothing: a lies between 0 and 1, and a loss is positive."""
ALLOWED = (
    "must be a half-width to reach: 'a<.03' for the exponent of the best size, N* ~ C^a, or 'error<3%' for the loss at "
    "target=FLOPs; {a: .03} and {error: 3%} mean the same"
)
_GOAL = re.compile(
    r"^\{?\s*(?P<name>[A-Za-z_]+)\s*(?:<=?|:|=)\s*(?P<number>[0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*(?P<share>%?)\s*\}?$"
)


@dataclass(frozen=True)
class Goal:
    """The half-width that is asked for."""

    quantity: Quantity
    half_width: float
    """Of the interval: of a itself, or of the loss as a share of it."""
    target_flops: float | None = None
    """Compute at which the loss is wanted, as the points count C; None for a."""

    def width(self, reading: Prediction | Refused) -> float:
        """Half-width of an interval in the unit of the goal; infinite where there is none."""
        if isinstance(reading, Refused):
            return math.inf
        half = (reading.high - reading.low) / 2
        return half if self.quantity == "a" else half / reading.value

    def is_met(self, reading: Prediction | Refused) -> bool:
        """Whether the interval is as narrow as asked."""
        return self.width(reading) <= self.half_width

    def write(self, half_width: float) -> str:
        """A half-width for people."""
        return f"± {format_number(half_width) if self.quantity == 'a' else format_share(half_width)}"

    @property
    def words(self) -> str:
        """What is asked for."""
        if self.target_flops is None:
            return f"a {self.write(self.half_width)}"
        return f"loss at {format_number(self.target_flops)} FLOPs {self.write(self.half_width)}"


def parse_goal(text: str) -> Goal:
    """The goal of the command line: 'a<.03', 'error<3%', {a: .03}, {error: .03}; the target is added by who knows it.

    Raises:
        ValueError: the text is none; its message says what is allowed.
    """
    if (match := _GOAL.match(text.strip())) is None or match["name"] not in LARGEST:
        raise ValueError(ALLOWED)
    quantity: Quantity = "a" if match["name"] == "a" else "error"
    half_width = float(match["number"]) / (100 if match["share"] else 1)
    if quantity == "a" and match["share"]:
        raise ValueError("a is a number between 0 and 1, and its half-width no share of it: write 'a<.03'")
    if not 0 < half_width < LARGEST[quantity]:
        raise ValueError(f"a half-width of {quantity} must be above 0 and below {LARGEST[quantity]:g}")
    return Goal(quantity, half_width)


def read_goal(points: Points, goal: Goal, spec: FitSpec, rivals: Rivals | None = None) -> Prediction | Refused:
    """The quantity with its interval by these points, or why they give none; `rivals` are theirs, where they are known."""
    try:
        if goal.target_flops is None:
            return exponent(fit_rivals(Rows.of(points), spec, THEORIES) if rivals is None else rivals, spec.confidence)
        made = forecast(points, spec, compute=goal.target_flops)
    except FitError as error:
        return Refused(str(error))
    return made.honest or Refused(made.abstention)


def voters(rivals: Rivals) -> list[Fit]:
    """The forms that the points leave a vote (`criterion.tempered_weights`), the preferred one first."""
    allowed = [fit for fit, weight in zip(rivals.theories, rivals.weights, strict=True) if weight > 0]
    return sorted(allowed, key=lambda fit: fit is not rivals.preferred)


def exponent(rivals: Rivals, confidence: float) -> Prediction | Refused:
    """Exponent a by the preferred form, with the union of the intervals of every form that has a vote."""
    preferred = rivals.preferred.law
    if not isinstance(preferred, JointLaw) or not preferred.has_optimum:
        return Refused("The preferred law has no compute optimum.")
    parts = [
        estimate(preferred.a, _exponents(fit, samples), confidence)
        for fit in voters(rivals)
        for samples in (fit.samples, fit.cluster_samples)
    ]
    found = functools.reduce(join, parts).interval
    if found is None:
        return Refused("No resample has a compute optimum; set fit.bootstrap above 0.")
    return Prediction(preferred.a, min(found.low, preferred.a), max(found.high, preferred.a))


def _exponents(fit: Fit, samples: FloatArray) -> FloatArray:
    """The exponent beta / (alpha + beta) of each row of resampled parameters, shape (resamples,); NaN where both vanish."""
    names = list(type(fit.law).parameters)
    alpha, beta = (samples.reshape(-1, len(names))[:, names.index(name)] for name in ("alpha", "beta"))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(beta / (alpha + beta))
