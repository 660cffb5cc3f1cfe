"""What seeds change: noise and A/A control of judges whose effects are read off the measured losses themselves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from scalesweep.errors import PointsError
from scalesweep.points.points import Points
from scalesweep.studies.base import CONFIDENCE, Control, Rule, replicate_noise
from scalesweep.studies.estimators.theories import Theories

_CONTROL = 0.99
"""Confidence of A/A: at 90 % one study in ten would be withheld for nothing."""
_LEAST_PAIRS = 3


@dataclass(frozen=True)
class LossNoise:
    """Standard deviation of log loss about its mean over runs."""

    sd: float
    degrees: int
    """Of freedom behind it."""
    is_seeds: bool
    """Whether it comes from replicates; else from what a law leaves over, which is too large rather than too small."""

    def quantile(self, tails: int = 1) -> float:
        """Of Student's t, for one end of a 90 % interval of which `tails` are looked at, with the error split over them."""
        return float(t.ppf(1 - (1 - CONFIDENCE) / 2 / tails, self.degrees))


def loss_noise(points: Points, rule: Rule) -> LossNoise:
    """Noise between seeds; in a table that names no seeds, the residuals of the preferred law of N and D.

    The budgets of one size and seed branch off one trunk and may share their luck, so that of replicates the trunks count: at
    most as many degrees of freedom as there are seeds beyond the first of each size.

    Raises:
        PointsError: there are seeds, but no size and budget has two; or there are none, and no law can be fitted.
        FitError: the points identify no law.
    """
    if "seed" in points.used:
        sd, degrees = replicate_noise(points)
        if not degrees:
            raise PointsError(
                f"{points.source}: no size and budget was run with two seeds, so nothing tells how large noise is."
            )
        spare = int((points.used.groupby("n")["seed"].nunique() - 1).sum())
        return LossNoise(sd, max(1, min(degrees, spare)), True)
    fit = Theories.of(points, Rule(draws=0, seed=rule.seed)).rivals.preferred
    spare = len(fit.residuals) - fit.num_free
    if spare < 1:
        raise PointsError(f"{points.source}: {len(fit.residuals)} rows without seeds leave nothing to tell the noise by.")
    return LossNoise(fit.residual_rms * math.sqrt(len(fit.residuals) / spare), spare, False)


def seed_control(log_ratios: Sequence[float], what: str) -> Control | None:
    """A/A: models of one size that differ in their seed alone are alike; None with fewer than three sizes.

    Args:
        log_ratios: of the first seed to the others, one for each size, which are independent; the interval is Student's.
        what: the quantity in words.
    """
    if len(log_ratios) < _LEAST_PAIRS:
        return None
    value = float(np.mean(log_ratios))
    spread = float(np.std(log_ratios, ddof=1)) / math.sqrt(len(log_ratios))
    half = float(t.ppf((1 + _CONTROL) / 2, len(log_ratios) - 1)) * spread
    return Control(
        name="A/A",
        asks=f"Models of one size that differ in their seed alone have {what}: a ratio of 1 (interval of {_CONTROL:.0%}).",
        passed=abs(value) <= half + 1e-9,  # equal seeds give a ratio of 1 up to rounding
        value=math.exp(value),
        low=math.exp(value - half),
        high=math.exp(value + half),
        truth=1.0,
    )
