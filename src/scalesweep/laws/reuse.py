"""Laws of repeated data: N parameters, D tokens seen, U of them unique.

With U at least D and, where parameters have a limit of use, N below it, they are the additive law.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.laws.base import COARSE_EXPONENT, FLOOR, VANISHING, Gradient, Law, Parameter, power
from scalesweep.laws.joint import JointLaw

REUSE_BOUNDS = (1e-3, 1e6)
"""Of R_D* and R_N*: where repetition is worth nothing at once, and where it is worth as much as fresh text."""
_REUSE = Parameter(lower=REUSE_BOUNDS[0], upper=REUSE_BOUNDS[1], grid=(1.0, 5.0, 25.0), is_log=True, kind="pure")
_POSITIVE = replace(COARSE_EXPONENT, lower=1e-3)


@dataclass(frozen=True)
class Muennighoff(JointLaw):
    """L(N, D, U) = E + A / N'^alpha + B / D'^beta, where repeated tokens and excess parameters lose their worth exponentially.

    D' = U_D + U_D R_D* (1 - exp(-R_D / R_D*)) with U_D = min(U, D) and R_D = D / U_D - 1 repetitions; N' likewise from
    U_N = min(N, N*(U_D)), the compute-optimal parameters for U_D fresh tokens. Muennighoff et al. 2023 (arXiv 2305.16264).
    n_opt and d_opt are those of fresh data.
    """

    name: ClassVar[str] = "muennighoff"
    equation: ClassVar[str] = "L(N, D, U) = E + A / N'^alpha + B / D'^beta, x' = U_x (1 + R_x* (1 - exp(-R_x / R_x*)))"
    source: ClassVar[str] = "Muennighoff et al. 2023, arXiv 2305.16264"
    variables: ClassVar[tuple[str, ...]] = ("N", "D", "U")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "E": FLOOR,
        "A": Parameter(lower=VANISHING, group="A", is_log=True),
        "B": Parameter(lower=VANISHING, group="B", is_log=True),
        "alpha": _POSITIVE,
        "beta": _POSITIVE,
        "R_D": _REUSE,
        "R_N": _REUSE,
    }

    R_D: float
    """R_D*, repetitions after which repeated tokens have lost all but 1/e of their worth."""
    R_N: float
    """R_N*, the same of parameters beyond U_N."""

    def predict(self, n: ArrayLike, d: ArrayLike, u: ArrayLike = math.inf) -> FloatArray:
        """Loss in nats per token of n parameters trained on d tokens drawn from u unique ones; the arguments are broadcast."""
        return Law.predict(self, n, d, u)

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by E, A, B, alpha, beta, R_D, R_N; A, B and the exponents are positive."""
        e, a, b, alpha, beta, r_d, r_n = theta
        n, d, u = columns
        unique = np.minimum(u, d)
        log_n_unique = (np.log(alpha * a / (beta * b)) + beta * np.log(unique)) / alpha
        is_excess = log_n_unique < np.log(n)
        n_unique = np.where(is_excess, np.exp(np.minimum(log_n_unique, np.log(n))), n)
        n_worth, log_n_by_unique, n_by_r = _worth(n, n_unique, r_n)
        d_worth, _, d_by_r = _worth(d, unique, r_d)
        term_n, by_a, by_alpha = power(a, alpha, n_worth)
        term_d, by_b, by_beta = power(b, beta, d_worth)
        # N* moves with the parameters of its own formula, G (6 N D / 6)^a solved for N at D = U_D.
        through = np.where(is_excess, -alpha * term_n * log_n_by_unique, 0.0)
        gradient = (
            by_a + through / (alpha * a),
            by_b - through / (alpha * b),
            by_alpha + through * (1 / alpha - log_n_unique) / alpha,
            by_beta + through * (np.log(unique) - 1 / beta) / alpha,
            -beta * term_d / d_worth * d_by_r,
            -alpha * term_n / n_worth * n_by_r,
        )
        loss = np.asarray(e + term_n + term_d)
        return loss, (np.ones_like(loss), *gradient)


@dataclass(frozen=True)
class Lovelace(JointLaw):
    """L(N, D, U) = E + A / N^alpha + B / D^beta + P R^delta (N / U)^kappa with R = D / U - 1 repetitions, 0 where U > D.

    The last term says that repetition past a point hurts, most a large model. arXiv 2605.01640 (Lovelace). n_opt and d_opt are
    those of fresh data.
    """

    name: ClassVar[str] = "lovelace"
    equation: ClassVar[str] = "L(N, D, U) = E + A / N^alpha + B / D^beta + P (D/U - 1)^delta (N/U)^kappa"
    source: ClassVar[str] = "Lovelace 2026, arXiv 2605.01640"
    variables: ClassVar[tuple[str, ...]] = ("N", "D", "U")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "E": FLOOR,
        "A": Parameter(group="A"),
        "B": Parameter(group="B"),
        "alpha": COARSE_EXPONENT,
        "beta": COARSE_EXPONENT,
        "P": Parameter(group="P"),
        "delta": replace(_POSITIVE, grid=(0.3, 0.8, 1.6)),
        "kappa": replace(COARSE_EXPONENT, grid=(0.1, 0.4, 1.0)),
    }

    P: float
    """Coefficient of overfitting, nats per token at one repetition and N = U."""
    delta: float
    """Exponent of the repetitions."""
    kappa: float
    """Exponent of N / U."""

    def predict(self, n: ArrayLike, d: ArrayLike, u: ArrayLike = math.inf) -> FloatArray:
        """Loss in nats per token of n parameters trained on d tokens drawn from u unique ones; the arguments are broadcast."""
        return Law.predict(self, n, d, u)

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by E, A, B, alpha, beta, P, delta, kappa."""
        e, a, b, alpha, beta, p, delta, kappa = theta
        n, d, u = columns
        unique = np.minimum(u, d)
        term_n, by_a, by_alpha = power(a, alpha, n)
        term_d, by_b, by_beta = power(b, beta, d)
        repetitions = d / unique - 1
        log_r, log_ratio = np.log(np.where(repetitions > 0, repetitions, 1.0)), np.log(n / unique)
        by_p = np.where(repetitions > 0, np.exp(delta * log_r + kappa * log_ratio), 0.0)
        loss = np.asarray(e + term_n + term_d + p * by_p)
        return loss, (np.ones_like(loss), by_a, by_b, by_alpha, by_beta, by_p, p * by_p * log_r, p * by_p * log_ratio)

    def in_units(self, units: Sequence[float], loss_unit: float) -> Self:
        """The same law with N, D and U multiplied by their units (one for D and U), and the loss by its own."""
        p = self.P * (units[1] / units[0]) ** self.kappa * loss_unit
        return replace(super().in_units(units, loss_unit), P=p)


def _worth(x: Any, unique: Any, r: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Worth x' = U + U r (1 - exp(-R / r)) with R = x / U - 1, d log x' / d log U and dx' / dr."""
    repetitions = x / unique - 1
    decay = np.exp(-repetitions / r)
    factor = 1 - r * np.expm1(-repetitions / r)
    worth = unique * factor
    return worth, 1 - decay * (1 + repetitions) / factor, unique * (-np.expm1(-repetitions / r) - decay * repetitions / r)
