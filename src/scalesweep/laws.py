"""Functional forms of scaling laws: pure values with an equation, a source and closed forms. Estimation is in `fit`.

Symbols: N parameters, D training tokens, C training FLOPs, L loss in nats per token.
"""

import abc
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalesweep.errors import FitError

FloatArray = NDArray[np.float64]
Variable = Literal["N", "D", "C"]


def format_number(value: float) -> str:
    """The value with four significant digits, for people; stored values keep full precision."""
    return f"{value:.4g}".replace("e+0", "e").replace("e+", "e")


def format_count(value: float) -> str:
    """A count with a unit: 30k, 1.5M, 2B."""
    for unit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit * 0.9995:
            return f"{value / unit:.3g}{suffix}"
    return f"{value:.3g}"


@dataclass(frozen=True)
class JointLaw(abc.ABC):
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

    equation: ClassVar[str]
    source: ClassVar[str]

    @abc.abstractmethod
    def predict(self, n: ArrayLike, d: ArrayLike) -> FloatArray:
        """Loss in nats per token of models with n parameters trained on d tokens; the arguments are broadcast."""

    @abc.abstractmethod
    def formula(self) -> str:
        """The law with its numbers, for people."""

    @property
    def coupling(self) -> float:
        """kappa: 1 where the terms add up, towards 0 where only the larger one counts."""
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
        if min(self.A, self.B, self.alpha, self.beta) <= 0:
            raise FitError("The law has no compute optimum, because its parameter term or its data term is zero or constant.")
        return (math.log(self.A / self.B) + self.coupling * math.log(self.alpha / self.beta)) / self._exponent_sum()


@dataclass(frozen=True)
class Chinchilla(JointLaw):
    """L(N, D) = E + A / N^alpha + B / D^beta. Hoffmann et al. 2022 (arXiv 2203.15556), eq. (2)."""

    equation: ClassVar[str] = "L(N, D) = E + A / N^alpha + B / D^beta"
    source: ClassVar[str] = "Hoffmann et al. 2022, arXiv 2203.15556, eq. (2)"

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
    law, which it is at kappa = 1: alpha and beta are the slopes that either term has alone. Kaplan et al. 2020, eq. (1.5), is
    the case kappa = beta, E = 0.
    """

    equation: ClassVar[str] = "L(N, D) = E + ((A / N^alpha)^(1/kappa) + (B / D^beta)^(1/kappa))^kappa"
    source: ClassVar[str] = "Videau et al. 2026, arXiv 2608.07222, with A, B, alpha, beta as in the additive law"

    kappa: float
    """Coupling: 1 where the terms add up, towards 0 where only the larger one counts."""

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


@dataclass(frozen=True)
class PowerLaw:
    """L(x) = (x_c / x)^alpha for x one of N, D, C. Kaplan et al. 2020 (arXiv 2001.08361), eq. (1.1) to (1.3).

    Kaplan's laws have no irreducible loss, so the exponent is that of the measured range.
    """

    source: ClassVar[str] = "Kaplan et al. 2020, arXiv 2001.08361, eq. (1.1)-(1.3)"

    log_scale: float
    """Natural logarithm of x_c, the x at which the loss would be 1 nat per token."""
    exponent: float
    """alpha."""
    variable: Variable
    """What x is."""

    @property
    def equation(self) -> str:
        """The form in symbols."""
        x = self.variable
        return f"L({x}) = ({x}_c / {x})^alpha_{x}"

    @property
    def scale(self) -> float:
        """x_c in parameters, tokens or FLOPs; infinite where it is beyond double precision."""
        return math.exp(self.log_scale) if self.log_scale < 709 else math.inf

    def predict(self, x: ArrayLike) -> FloatArray:
        """Loss in nats per token at x parameters, tokens or FLOPs."""
        return _exp(self.exponent * (self.log_scale - _log(x)))

    def formula(self) -> str:
        """The law with its numbers, for people."""
        x = self.variable
        return f"L({x}) = ({format_number(self.scale)} / {x})^{format_number(self.exponent)}"


def _log(values: ArrayLike, unit: float = 1.0) -> FloatArray:
    return np.asarray(np.log(np.asarray(values, dtype=np.float64) / unit))


def _exp(values: FloatArray) -> FloatArray:
    """exp, infinite beyond double precision: a nearly flat law puts its optimum there."""
    with np.errstate(over="ignore"):
        return np.exp(values)
