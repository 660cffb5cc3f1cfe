"""A joint law whose loss along the compute optimum bends either way.

Every joint law here is E + K C^-gamma on its compute optimum, with E >= 0: by their form each further nat costs more than the
last one, so that none of them can say that returns do not diminish. `FreeBend` can. It keeps the curves of equal loss of these
laws and leaves the loss along the optimum free to bend either way; laws with E of either sign are in it, and the straight line
in log C, a constant price of a nat, lies in the middle.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.laws import Law
from scalesweep.laws.base import COARSE_EXPONENT, VANISHING, Gradient, Parameter

_REFERENCE = Parameter(1.0, 1.0)
"""The smallest measured N and D, from which sizes and tokens are counted; not estimated."""


@dataclass(frozen=True)
class FreeBend(Law):
    """L = level - slope (1 - exp(-bend x)) / bend with x = -(1/alpha + 1/beta) ln((N/N_0)^-alpha + ratio (D/D_0)^-beta).

    Along the compute optimum x is ln C and a constant, so that the loss there falls by slope exp(-bend x) nats for each
    factor e of compute: bend > 0 is a power law of compute with the floor level - slope / bend, of whatever sign, bend = 0 a
    straight line in ln C, bend < 0 returns that grow. The curves of equal loss are those of the coupled law, whose alpha and
    beta are kappa times these; with a floor of either sign it is a case of this law.
    """

    name: ClassVar[str] = "free_bend"
    equation: ClassVar[str] = (
        "L(N, D) = level - slope (1 - exp(-bend x)) / bend, x = -(1/alpha + 1/beta) ln((N/N_0)^-alpha + ratio (D/D_0)^-beta)"
    )
    source: ClassVar[str] = "the coupled law of Videau et al. 2026, arXiv 2608.07222, with a floor of either sign"
    variables: ClassVar[tuple[str, ...]] = ("N", "D")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "level": Parameter(lower=-math.inf, kind="loss"),
        "slope": Parameter(lower=VANISHING, kind="loss"),
        # Chinchilla's gamma is .16 to .18 and those of the tables in docs/forecasts.md are below .4.
        "bend": Parameter(lower=-1.0, upper=1.0, kind="pure"),
        "alpha": replace(COARSE_EXPONENT, lower=1e-2),
        "beta": replace(COARSE_EXPONENT, lower=1e-2),
        "ratio": Parameter(lower=VANISHING, is_log=True, kind="pure"),
        "n_0": _REFERENCE,
        "d_0": _REFERENCE,
    }

    level: float
    """Loss at x = 0, nats per token."""
    slope: float
    """Fall of the loss there, nats per token and factor e of compute."""
    bend: float
    """How fast that fall itself falls with ln C."""
    alpha: float
    """Exponent of N in the curves of equal loss."""
    beta: float
    """Exponent of D there."""
    ratio: float
    """Weight of the data term there."""
    n_0: float
    """Parameters from which N is counted."""
    d_0: float
    """Tokens from which D is counted."""

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by the eight fields."""
        level, slope, bend, alpha, beta, ratio, n_0, d_0 = theta
        log_n, log_d = np.log(columns[0] / n_0), np.log(columns[1] / d_0)
        log_u, log_v = -alpha * log_n, np.log(ratio) - beta * log_d
        total = np.logaddexp(log_u, log_v)
        p, q = np.exp(log_u - total), np.exp(log_v - total)
        per = 1 / alpha + 1 / beta
        x = -per * total
        fall, by_bend = fallen(bend, x)
        by_x = -slope * np.exp(-bend * x)
        loss = np.asarray(level - slope * fall)
        by_alpha = by_x * (total / alpha**2 + per * p * log_n)
        by_beta = by_x * (total / beta**2 + per * q * log_d)
        by_ratio = -by_x * per * q / ratio
        by_n_0, by_d_0 = -by_x * per * p * alpha / n_0, -by_x * per * q * beta / d_0
        return loss, (np.ones_like(loss), -fall, -slope * by_bend, by_alpha, by_beta, by_ratio, by_n_0, by_d_0)

    @classmethod
    def initial(cls, columns: Sequence[FloatArray], loss: FloatArray) -> FloatArray:
        """Level and slope by least squares at each of a grid of the others, shape (starts, 8)."""
        starts = []
        for exponent, bend in itertools.product((0.4, 1.2), (0.0, 0.2)):
            theta = [0.0, 1.0, bend, exponent, exponent, 1.0, 1.0, 1.0]
            fall = -cls.expand(theta, columns)[0]
            centre = fall - fall.mean()
            slope = max(-float(centre @ loss) / float(centre @ centre), 1e-3)
            starts.append([float(loss.mean() + slope * fall.mean()), slope, *theta[2:]])
        return np.array(starts)

    def in_units(self, units: Sequence[float], loss_unit: float) -> Self:
        """The same law with N and D multiplied by their units, and the loss by its own."""
        return replace(
            self,
            level=self.level * loss_unit,
            slope=self.slope * loss_unit,
            n_0=self.n_0 * units[0],
            d_0=self.d_0 * units[1],
        )

    def n_opt(self, c: ArrayLike) -> FloatArray:
        """Compute-optimal parameters at C = 6 N D."""
        a, b = self.alpha, self.beta
        # Along N D = C / 6, with N and D in units of N_0 and D_0, the optimum has a N^-a = b ratio D^-b.
        log_product = np.log(np.asarray(c, dtype=np.float64) / (6 * self.n_0 * self.d_0))
        return np.asarray(self.n_0 * np.exp((math.log(a / (b * self.ratio)) + b * log_product) / (a + b)))

    def d_opt(self, c: ArrayLike) -> FloatArray:
        """Compute-optimal tokens at C = 6 N D."""
        return np.asarray(np.asarray(c, dtype=np.float64) / 6 / self.n_opt(c))

    def x_opt(self, c: ArrayLike) -> FloatArray:
        """X of the compute-optimal model, which is ln C and a constant."""
        n, d = self.n_opt(c) / self.n_0, self.d_opt(c) / self.d_0
        return np.asarray(-(1 / self.alpha + 1 / self.beta) * np.log(n**-self.alpha + self.ratio * d**-self.beta))


def fallen(bend: Any, x: Any) -> tuple[FloatArray, FloatArray]:
    """(1 - exp(-bend x)) / bend and its derivative by bend; x and -x^2/2 where bend vanishes."""
    t = np.asarray(bend * x, dtype=np.float64)
    is_small = np.abs(t) < 1e-4
    safe = np.where(is_small, 1.0, t)
    # Taylor's series to an error of 1e-13 below 1e-4, above which the differences keep eight digits.
    share = np.where(is_small, 1 - t / 2 + t**2 / 6, -np.expm1(-safe) / safe)
    change = np.where(is_small, -0.5 + t / 3 - t**2 / 8, (np.exp(-safe) * (1 + safe) - 1) / safe**2)
    return np.asarray(x * share), np.asarray(x**2 * change)
