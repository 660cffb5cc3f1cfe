"""Other laws of N and D whose compute optimum is that of a coupled law: Kaplan's, the larger term, and the saturating one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.laws.base import COARSE_EXPONENT, FLOOR, VANISHING, Gradient, Parameter
from scalesweep.laws.joint import COUPLED, JointLaw, couple

_SATURATING = Parameter(lower=VANISHING, upper=1 / VANISHING, is_log=True, grid=(0.03, 0.2, 1.0, 5.0))
_POSITIVE_EXPONENT = replace(COARSE_EXPONENT, lower=1e-3)


@dataclass(frozen=True)
class KaplanFloor(JointLaw):
    """L(N, D) = E + ((N_c / N)^(alpha/beta) + D_c / D)^beta: Kaplan et al. 2020, eq. (1.5), with an irreducible loss.

    It is the coupled law with kappa = beta, A = N_c^alpha and B = D_c^beta.
    """

    name: ClassVar[str] = "kaplan_floor"
    equation: ClassVar[str] = "L(N, D) = E + ((A / N^alpha)^(1/beta) + (B / D^beta)^(1/beta))^beta"
    source: ClassVar[str] = "Kaplan et al. 2020, arXiv 2001.08361, eq. (1.5), with an irreducible loss"
    parameters: ClassVar[Mapping[str, Parameter]] = COUPLED | {"beta": _POSITIVE_EXPONENT}

    @classmethod
    def from_scales(cls, n_c: float, d_c: float, alpha: float, beta: float, floor: float = 0.0) -> Self:
        """The law from Kaplan's constants N_c (parameters) and D_c (tokens)."""
        return cls(floor, n_c**alpha, d_c**beta, alpha, beta)

    @property
    def n_c(self) -> float:
        """N_c, parameters."""
        return float(self.A ** (1 / self.alpha))

    @property
    def d_c(self) -> float:
        """D_c, tokens."""
        return float(self.B ** (1 / self.beta))

    @property
    def coupling(self) -> float:
        """Beta."""
        return self.beta

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by E, A, B, alpha, beta; A and B are positive."""
        e, a, b, alpha, beta = theta
        coupled, (by_a, by_b, by_alpha, by_beta, by_kappa) = couple(a, b, alpha, beta, beta, columns[0], columns[1])
        return np.asarray(e + coupled), (np.ones_like(coupled), by_a, by_b, by_alpha, by_beta + by_kappa)


@dataclass(frozen=True)
class Kaplan(KaplanFloor):
    """L(N, D) = ((N_c / N)^(alpha/beta) + D_c / D)^beta. Kaplan et al. 2020, eq. (1.5): E is fixed at 0."""

    name: ClassVar[str] = "kaplan"
    equation: ClassVar[str] = "L(N, D) = ((A / N^alpha)^(1/beta) + (B / D^beta)^(1/beta))^beta"
    source: ClassVar[str] = "Kaplan et al. 2020, arXiv 2001.08361, eq. (1.5)"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        **KaplanFloor.parameters,
        "E": Parameter(0.0, 0.0, (0.0,), kind="loss"),
    }


@dataclass(frozen=True)
class LargerTerm(JointLaw):
    """L(N, D) = E + max(A / N^alpha, B / D^beta): the limit kappa = 0 of the coupled law.

    Its derivatives jump where the terms are equal; there they are those of the parameter term.
    """

    name: ClassVar[str] = "max"
    equation: ClassVar[str] = "L(N, D) = E + max(A / N^alpha, B / D^beta)"
    source: ClassVar[str] = "limit kappa = 0 of Videau et al. 2026, arXiv 2608.07222"
    parameters: ClassVar[Mapping[str, Parameter]] = COUPLED
    is_smooth: ClassVar[bool] = False

    @property
    def coupling(self) -> float:
        """Zero."""
        return 0.0

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by E, A, B, alpha, beta."""
        e, a, b, alpha, beta = theta
        log_n, log_d = np.log(columns[0]), np.log(columns[1])
        u, v = a * np.exp(-alpha * log_n), b * np.exp(-beta * log_d)
        by_u, larger = (u >= v).astype(np.float64), np.maximum(u, v)
        by_v = 1 - by_u
        gradient = (by_u * larger / a, by_v * larger / b, -by_u * larger * log_n, -by_v * larger * log_d)
        return np.asarray(e + larger), (np.ones_like(larger), *gradient)


@dataclass(frozen=True)
class Saturating(JointLaw):
    """L(N, D) = E + (L0 - E) h / (1 + h) with h = A / N^alpha + B / D^beta, which no model of any size leaves upwards.

    L0 is the loss of a predictor that knows nothing, ln V for a vocabulary of V tokens: fix it where V is known. A and B are
    pure numbers here. Since L grows with h, the compute optimum is that of the additive law. The source has a further term of h
    for overfitting repeated data, which is left out.
    """

    name: ClassVar[str] = "saturating"
    equation: ClassVar[str] = "L(N, D) = E + (L0 - E) h / (1 + h), h = A / N^alpha + B / D^beta"
    source: ClassVar[str] = "arXiv 2605.09189 without its overfitting term"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "E": FLOOR,
        "A": _SATURATING,
        "B": _SATURATING,
        "alpha": COARSE_EXPONENT,
        "beta": COARSE_EXPONENT,
        "L0": Parameter(lower=VANISHING, upper=1e3, group="L0", is_log=True, kind="loss"),
    }

    L0: float
    """Loss without any knowledge, nats per token."""

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by E, A, B, alpha, beta, L0."""
        e, a, b, alpha, beta, top = theta
        log_n, log_d = np.log(columns[0]), np.log(columns[1])
        by_a, by_b = np.exp(-alpha * log_n), np.exp(-beta * log_d)
        h = a * by_a + b * by_b
        share = h / (1 + h)
        slope = (top - e) / (1 + h) ** 2
        gradient = (slope * by_a, slope * by_b, -slope * a * by_a * log_n, -slope * b * by_b * log_d)
        return np.asarray(e + (top - e) * share), (1 - share, *gradient, share)

    def in_units(self, units: Sequence[float], loss_unit: float) -> Self:
        """The same law with N and D multiplied by their units, and the loss by its own."""
        a, b = self.A * units[0] ** self.alpha, self.B * units[1] ** self.beta
        return replace(self, E=self.E * loss_unit, A=a, B=b, L0=self.L0 * loss_unit)
