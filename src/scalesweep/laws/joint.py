"""Laws of parameters and tokens with a closed compute optimum: additive, coupled, Kaplan's, the larger term, saturating."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.laws.base import COARSE_EXPONENT, EXPONENT, FLOOR, VANISHING, Gradient, Law, Parameter, power
from scalesweep.units import format_number

_RATIOS = tuple(np.geomspace(0.03, 30, 7).tolist())
COUPLED = {
    "E": FLOOR,
    "A": Parameter(lower=VANISHING, group="T", is_log=True),
    "B": Parameter(lower=VANISHING, group="T", is_log=True, grid=_RATIOS),
    "alpha": COARSE_EXPONENT,
    "beta": COARSE_EXPONENT,
}
"""Parameters of the laws that are E plus a homogeneous function of A / N^alpha and B / D^beta."""
FLAT = 1e-10
"""Exponent, or change of a term over the measured range relative to the loss, that cannot be told from zero."""
KAPPA_BOUNDS = (0.05, 5.0)
"""Below the lower one the coupled law is max(u, v) within a per cent."""


@dataclass(frozen=True)
class JointLaw(Law):
    """A law of N and D built from u = A / N^alpha and v = B / D^beta, with its compute optimum under C = 6 N D."""

    E: float
    """Irreducible loss, nats per token."""
    A: float
    """Coefficient of the parameter term, nats per token at N = 1."""
    B: float
    """Coefficient of the data term, nats per token at D = 1."""
    alpha: float
    """Exponent of N."""
    beta: float
    """Exponent of D."""

    variables: ClassVar[tuple[str, ...]] = ("N", "D")

    def predict(self, n: ArrayLike, d: ArrayLike) -> FloatArray:
        """Loss in nats per token of models with n parameters trained on d tokens; the arguments are broadcast."""
        return super().predict(n, d)

    def in_units(self, units: Sequence[float], loss_unit: float) -> Self:
        """The same law with N and D multiplied by their units, and the loss by its own."""
        a, b = self.A * units[0] ** self.alpha, self.B * units[1] ** self.beta
        return replace(self, E=self.E * loss_unit, A=a * loss_unit, B=b * loss_unit)

    @property
    def has_optimum(self) -> bool:
        """Whether both terms fall, so that a compute-optimal allocation exists."""
        return min(self.A, self.B) > 0 and min(self.alpha, self.beta) > FLAT

    @property
    def coupling(self) -> float:
        """kappa: 1 where the terms add up, towards 0 where only the larger one counts; above 1, more than their sum."""
        return 1.0

    @property
    def a(self) -> float:
        """Exponent of N*(C), beta / (alpha + beta). Hoffmann et al. 2022, eq. (4)."""
        return self.beta / self._exponent_sum()

    @property
    def b(self) -> float:
        """Exponent of D*(C), alpha / (alpha + beta). Hoffmann et al. 2022, eq. (4)."""
        return self.alpha / self._exponent_sum()

    def n_opt(self, c: ArrayLike) -> FloatArray:
        """Compute-optimal parameters N*(C) = G (C/6)^a, with C = 6 N D. Hoffmann et al. 2022, eq. (4).

        Raises:
            FitError: a term of the law is zero or constant, so that no allocation is optimal.
        """
        return _exp(self._log_g() + self.a * _log(c, 6))

    def d_opt(self, c: ArrayLike) -> FloatArray:
        """Compute-optimal tokens D*(C) = (C/6)^b / G, with C = 6 N D. Hoffmann et al. 2022, eq. (4).

        Raises:
            FitError: a term of the law is zero or constant, so that no allocation is optimal.
        """
        return _exp(self.b * _log(c, 6) - self._log_g())

    def tokens_per_parameter_opt(self, c: ArrayLike) -> FloatArray:
        """Compute-optimal D*(C) / N*(C), with C = 6 N D.

        Raises:
            FitError: a term of the law is zero or constant, so that no allocation is optimal.
        """
        return _exp((self.b - self.a) * _log(c, 6) - 2 * self._log_g())

    def _terms(self, n: ArrayLike, d: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """The terms u and v, nats per token."""
        n_values, d_values = np.asarray(n, dtype=np.float64), np.asarray(d, dtype=np.float64)
        return self.A * n_values**-self.alpha, self.B * d_values**-self.beta

    def _exponent_sum(self) -> float:
        if self.alpha + self.beta <= 0:
            raise FitError("The law has no compute optimum, because alpha and beta are both zero.")
        return self.alpha + self.beta

    def _log_g(self) -> float:
        """Log G, with G^(alpha + beta) = (A / B) (alpha / beta)^kappa: where dL/dN vanishes at N D = C/6."""
        if not self.has_optimum:
            raise FitError("The law has no compute optimum, because its parameter term or its data term is zero or constant.")
        return (math.log(self.A / self.B) + self.coupling * math.log(self.alpha / self.beta)) / self._exponent_sum()


@dataclass(frozen=True)
class Chinchilla(JointLaw):
    """L(N, D) = E + A / N^alpha + B / D^beta. Hoffmann et al. 2022 (arXiv 2203.15556), eq. (2)."""

    name: ClassVar[str] = "chinchilla"
    equation: ClassVar[str] = "L(N, D) = E + A / N^alpha + B / D^beta"
    source: ClassVar[str] = "Hoffmann et al. 2022, arXiv 2203.15556, eq. (2)"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "E": FLOOR,
        "A": Parameter(group="A"),
        "B": Parameter(group="B"),
        "alpha": EXPONENT,
        "beta": EXPONENT,
    }

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by E, A, B, alpha, beta."""
        e, a, b, alpha, beta = theta
        u, by_a, by_alpha = power(a, alpha, columns[0])
        v, by_b, by_beta = power(b, beta, columns[1])
        loss = np.asarray(e + u + v)
        return loss, (np.ones_like(loss), by_a, by_b, by_alpha, by_beta)

    def predict(self, n: ArrayLike, d: ArrayLike) -> FloatArray:
        """Loss in nats per token of models with n parameters trained on d tokens; the arguments are broadcast."""
        u, v = self._terms(n, d)
        return np.asarray(self.E + u + v)

    def formula(self) -> str:
        """The law with its numbers, for people."""
        e, a, b, alpha, beta = (format_number(v) for v in (self.E, self.A, self.B, self.alpha, self.beta))
        return f"L(N, D) = {e} + {a} / N^{alpha} + {b} / D^{beta}"


@dataclass(frozen=True)
class Coupled(JointLaw):
    """L(N, D) = E + ((A / N^alpha)^(1/kappa) + (B / D^beta)^(1/kappa))^kappa.

    The form of Videau et al. 2026 (arXiv 2608.07222), written so that A, B, alpha and beta mean what they do in the additive
    law, which it is at kappa = 1: alpha and beta are the slopes that either term has alone. Below 1 the smaller term counts
    less than it would in a sum, above 1 more: two terms of size t make 2^kappa t. Kaplan et al. 2020, eq. (1.5), is the case
    kappa = beta, E = 0.
    """

    name: ClassVar[str] = "coupled"
    equation: ClassVar[str] = "L(N, D) = E + ((A / N^alpha)^(1/kappa) + (B / D^beta)^(1/kappa))^kappa"
    source: ClassVar[str] = "Videau et al. 2026, arXiv 2608.07222, with A, B, alpha, beta as in the additive law"
    parameters: ClassVar[Mapping[str, Parameter]] = COUPLED | {
        "kappa": Parameter(lower=KAPPA_BOUNDS[0], upper=KAPPA_BOUNDS[1], grid=(0.15, 0.4, 0.8, 1.5), kind="pure")
    }

    kappa: float
    """Coupling: 1 where the terms add up, towards 0 where only the larger one counts."""

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by E, A, B, alpha, beta, kappa; A and B are positive."""
        e, a, b, alpha, beta, kappa = theta
        coupled, gradient = couple(a, b, alpha, beta, kappa, columns[0], columns[1])
        return np.asarray(e + coupled), (np.ones_like(coupled), *gradient)

    def predict(self, n: ArrayLike, d: ArrayLike) -> FloatArray:
        """Loss in nats per token of models with n parameters trained on d tokens; the arguments are broadcast."""
        u, v = self._terms(n, d)
        larger, smaller = np.maximum(u, v), np.minimum(u, v)
        return np.asarray(self.E + larger * (1 + (smaller / larger) ** (1 / self.kappa)) ** self.kappa)

    @property
    def coupling(self) -> float:
        """Kappa."""
        return self.kappa

    def formula(self) -> str:
        """The law with its numbers, for people."""
        e, a, b, alpha, beta, k = (format_number(v) for v in (self.E, self.A, self.B, self.alpha, self.beta, self.kappa))
        return f"L(N, D) = {e} + (({a} / N^{alpha})^(1/{k}) + ({b} / D^{beta})^(1/{k}))^{k}"


def couple(a: Any, b: Any, alpha: Any, beta: Any, kappa: Any, n: Any, d: Any) -> tuple[FloatArray, Gradient]:
    """T = ((a / n^alpha)^(1/kappa) + (b / d^beta)^(1/kappa))^kappa and its derivatives by a, b, alpha, beta, kappa.

    With the shares p and q of the two terms in their sum, log T has the derivatives p and q by their logarithms, and the
    entropy of the shares by kappa.
    """
    log_n, log_d = np.log(n), np.log(d)
    log_u, log_v = np.log(a) - alpha * log_n, np.log(b) - beta * log_d
    gap = (log_u - log_v) / kappa
    t = np.exp(np.maximum(log_u, log_v) + kappa * np.log1p(np.exp(-np.abs(gap))))
    log_p, log_q = -np.logaddexp(0, -gap), -np.logaddexp(0, gap)
    p, q = np.exp(log_p), np.exp(log_q)
    entropy = -(p * log_p + q * log_q)
    return t, (t * p / a, t * q / b, -t * p * log_n, -t * q * log_d, t * entropy)


def _log(values: ArrayLike, unit: float = 1.0) -> FloatArray:
    return np.asarray(np.log(np.asarray(values, dtype=np.float64) / unit))


def _exp(values: FloatArray) -> FloatArray:
    """exp, infinite beyond double precision: a nearly flat law puts its optimum there."""
    with np.errstate(over="ignore"):
        return np.exp(values)
