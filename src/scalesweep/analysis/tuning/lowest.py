"""The lowest measured loss as the loss at the optimum, where no quadratic can be trusted: corrected, with its own error.

Two biases go against each other. *The winner's curse*: of m settings that the noise sigma cannot tell apart the lowest is, in
the mean, lower than what it measures by sigma E[max of m standard normals]. *Coarseness*: the minimum lies between settings, so
that it is lower than the lowest; how much is bracketed by the parabola through it and its neighbours, of whose depth half is
taken off, and the error covers both ends.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scalesweep.analysis.tuning.noise import UNKNOWN, TuningNoise
from scalesweep.arrays import FloatArray

SAME = 2.0
"""Settings are told apart from the lowest by a difference of so many standard deviations of a difference."""
COARSE = 0.35
"""Share of the smaller step up to a neighbour that the error of coarseness has at least (docs/tuning.md, by simulation)."""


@dataclass(frozen=True, eq=False)
class LowestLoss:
    """The lowest measured loss at N parameters and D tokens, and what is known of the minimum between the settings."""

    n: float
    d: float
    values: Mapping[str, float]
    """Setting -> its value there."""
    losses: FloatArray
    """All measured losses, nats per token."""
    depth: float
    """See `Profile.depth`."""
    smooth_depth: float
    """See `Profile.smooth_depth`."""
    rise: float
    """See `Profile.rise`."""
    why: str
    """Why there is no quadratic to be trusted."""
    noise: TuningNoise = UNKNOWN

    @property
    def settings(self) -> tuple[str, ...]:
        """All tuned settings."""
        return tuple(self.values)

    @property
    def value_ses(self) -> dict[str, float]:
        """Setting -> NaN: nothing says how far the best value is off."""
        return dict.fromkeys(self.values, math.nan)

    @property
    def curse(self) -> float:
        """How much too low the lowest is in the mean, in nats; 0 where the noise is not known."""
        sigma = self.noise.between
        if math.isnan(sigma):
            return 0.0
        num = int(np.sum(self.losses <= self.losses.min() + SAME * math.sqrt(2) * sigma))
        return sigma * expected_maximum(num)

    @property
    def loss(self) -> float:
        """Loss at the optimum in nats per token."""
        return float(self.losses.min()) + self.curse - self.smooth_depth / 2

    @property
    def loss_se(self) -> float:
        """Its standard error in nats per token, NaN where the noise is not known."""
        coarse = max(self.depth / 2, COARSE * self.rise)
        return self.noise.student * math.sqrt(self.noise.at_least**2 + (self.curse / 2) ** 2 + coarse**2)

    def regret(self, factor: str) -> tuple[float, float]:
        """Nothing is said of what other learning rates cost."""
        return math.nan, math.nan


@functools.cache
def expected_maximum(num: int) -> float:
    """Mean of the largest of `num` independent standard normals."""
    from scipy.stats import norm

    x = np.linspace(-8, 8, 2001)
    return float(np.trapezoid(x * num * norm.pdf(x) * norm.cdf(x) ** (num - 1), x))
