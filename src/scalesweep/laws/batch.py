"""Steps, batch size and compute: Kaplan et al. 2020 (arXiv 2001.08361), eq. (1.4), (1.6) and sections 5 and 6.3."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.laws.base import EXPONENT, Gradient, Law, Parameter, power
from scalesweep.laws.single import PowerLaw

PF_DAY_FLOPS = 8.64e19


@dataclass(frozen=True)
class StepsLaw(Law):
    """L(N, S_min) = A / N^alpha + B / S_min^beta, with A = N_c^alpha and B = S_c^beta. Kaplan et al. 2020, eq. (1.6).

    S_min is the number of steps at a batch far above the critical one: `CriticalBatch.min_steps`.
    """

    name: ClassVar[str] = "steps"
    equation: ClassVar[str] = "L(N, S_min) = A / N^alpha + B / S_min^beta"
    source: ClassVar[str] = "Kaplan et al. 2020, arXiv 2001.08361, eq. (1.6)"
    variables: ClassVar[tuple[str, ...]] = ("N", "S_min")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "A": Parameter(group="A"),
        "B": Parameter(group="B"),
        "alpha": EXPONENT,
        "beta": EXPONENT,
    }

    A: float
    """Coefficient of the parameter term, nats per token at N = 1."""
    B: float
    """Coefficient of the steps' term, nats per token at one step."""
    alpha: float
    """Exponent of N."""
    beta: float
    """Exponent of S_min."""

    @classmethod
    def from_scales(cls, n_c: float, s_c: float, alpha: float, beta: float) -> Self:
        """The law from Kaplan's constants N_c (parameters) and S_c (steps)."""
        return cls(n_c**alpha, s_c**beta, alpha, beta)

    @property
    def n_c(self) -> float:
        """N_c, parameters."""
        return float(self.A ** (1 / self.alpha))

    @property
    def s_c(self) -> float:
        """S_c, steps."""
        return float(self.B ** (1 / self.beta))

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by A, B, alpha, beta."""
        a, b, alpha, beta = theta
        u, by_a, by_alpha = power(a, alpha, columns[0])
        v, by_b, by_beta = power(b, beta, columns[1])
        return np.asarray(u + v), (by_a, by_b, by_alpha, by_beta)

    def in_units(self, units: Sequence[float], loss_unit: float) -> Self:
        """The same law with N and S_min multiplied by their units, and the loss by its own."""
        a, b = self.A * units[0] ** self.alpha, self.B * units[1] ** self.beta
        return replace(self, A=a * loss_unit, B=b * loss_unit)


@dataclass(frozen=True)
class CriticalBatch:
    """B_crit(L) = B_* / L^(1/alpha_B) tokens. Kaplan et al. 2020, eq. (1.4).

    At batch B a loss takes S steps and E = B S tokens with (S / S_min - 1)(E / E_min - 1) = 1 and B_crit = E_min / S_min
    (McCandlish et al. 2018, arXiv 1812.06162), from which the conversions follow.
    """

    scale: float
    """B_*, tokens."""
    exponent: float
    """alpha_B."""

    def predict(self, loss: ArrayLike) -> FloatArray:
        """Critical batch in tokens at a loss in nats per token."""
        return np.asarray(self.scale * np.asarray(loss, dtype=np.float64) ** (-1 / self.exponent))

    def min_steps(self, steps: ArrayLike, batch: ArrayLike, loss: ArrayLike) -> FloatArray:
        """S_min = S / (1 + B_crit / B), the steps that a very large batch would take. Kaplan et al. 2020, section 5."""
        return np.asarray(np.asarray(steps) / (1 + self.predict(loss) / np.asarray(batch)))

    def min_tokens(self, tokens: ArrayLike, batch: ArrayLike, loss: ArrayLike) -> FloatArray:
        """E_min = E / (1 + B / B_crit), the tokens that a very small batch would take."""
        return np.asarray(np.asarray(tokens) / (1 + np.asarray(batch) / self.predict(loss)))

    def min_compute(self, compute: ArrayLike, batch: ArrayLike, loss: ArrayLike) -> FloatArray:
        """C_min = C / (1 + B / B_crit), the compute that a very small batch would take. Kaplan et al. 2020, section 5."""
        return self.min_tokens(compute, batch, loss)


def steps_at_batch(batch: ArrayLike, min_steps: float, min_tokens: float) -> FloatArray:
    """Steps to a loss at a batch of so many tokens, S = S_min + E_min / B: the hyperbola of McCandlish et al. 2018.

    As a law of B it is `PowerLawFloor` with alpha = 1, by which measured (B, S) are fitted.
    """
    return np.asarray(min_steps + min_tokens / np.asarray(batch, dtype=np.float64))


def breakdown(by_compute: PowerLaw, by_data: PowerLaw, tokens: float, exponent: float) -> tuple[float, float]:
    """Where the loss that compute promises meets the one that its data allow. Kaplan et al. 2020, section 6.3.

    Compute-optimal training uses `tokens` C^`exponent` tokens, so that L(C) cannot go below L(D(C)). Small changes of the
    constants move the crossing by orders of magnitude.

    Args:
        by_compute: L(C).
        by_data: L(D).
        tokens: tokens at C = 1, in the unit of `by_compute`.
        exponent: exponent of C in the tokens.

    Returns:
        C in the unit of `by_compute`, and the loss in nats per token.

    Raises:
        FitError: the loss from compute falls no faster than that from data, so that they never cross.
    """
    gain = by_compute.exponent - by_data.exponent * exponent
    if gain <= 0:
        raise FitError("The laws do not cross, because the loss falls no faster with compute than with the data it uses.")
    level = by_compute.exponent * by_compute.log_scale - by_data.exponent * (by_data.log_scale - math.log(tokens))
    log_c = level / gain
    return math.exp(log_c), math.exp(by_compute.exponent * (by_compute.log_scale - log_c))


KAPLAN_STEPS = StepsLaw.from_scales(6.5e13, 2.1e3, 0.077, 0.76)
"""Kaplan et al. 2020, eq. (1.6), of WebText2: N without embeddings, S_min in steps."""
KAPLAN_CRITICAL_BATCH = CriticalBatch(2.1e8, 0.21)
"""Kaplan et al. 2020, eq. (1.4), of WebText2."""
KAPLAN_N = PowerLaw(math.log(8.8e13), 0.076, "N")
"""Kaplan et al. 2020, eq. (1.1): N without embeddings."""
KAPLAN_D = PowerLaw(math.log(5.4e13), 0.095, "D")
"""Kaplan et al. 2020, eq. (1.2): tokens of WebText2."""
KAPLAN_C_MIN = PowerLaw(math.log(3.1e8), 0.050, "C")
"""Kaplan et al. 2020, eq. (1.3): compute at a small batch, in PF-days."""
