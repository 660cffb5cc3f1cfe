"""Laws of one variable x, which may be N, D, C or any other positive column."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.laws.base import EXPONENT, FLOOR, Gradient, Law, Parameter, power
from scalesweep.units import format_number

Variable = Literal["N", "D", "C"]


@dataclass(frozen=True)
class PowerLaw(Law):
    """L(x) = (x_c / x)^alpha for x one of N, D, C. Kaplan et al. 2020 (arXiv 2001.08361), eq. (1.1) to (1.3).

    Kaplan's laws have no irreducible loss, so the exponent is that of the measured range.
    """

    name: ClassVar[str] = "power"
    source: ClassVar[str] = "Kaplan et al. 2020, arXiv 2001.08361, eq. (1.1)-(1.3)"
    variables: ClassVar[tuple[str, ...]] = ("x",)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "log_scale": Parameter(lower=-math.inf),
        "exponent": Parameter(lower=1e-6, upper=10.0, kind="pure"),
    }

    log_scale: float
    """Natural logarithm of x_c, the x at which the loss would be 1 nat per token."""
    exponent: float
    """alpha."""
    variable: Variable
    """What x is."""

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by log_scale and exponent."""
        log_scale, exponent = theta
        log_ratio = log_scale - np.log(columns[0])
        with np.errstate(over="ignore"):
            loss = np.asarray(np.exp(exponent * log_ratio))
        return loss, (exponent * loss, log_ratio * loss)

    @classmethod
    def initial(cls, columns: Sequence[FloatArray], loss: FloatArray) -> FloatArray:
        """The line of least squares in log-log, shape (1, 2)."""
        slope, level = np.polyfit(np.log(columns[0]), np.log(loss), 1)
        exponent = max(-slope, 1e-3)
        return np.array([[level / exponent, exponent]])

    @classmethod
    def build(cls, theta: Sequence[float], variables: Sequence[str]) -> Self:
        """The law with these parameters and variable."""
        return cls(theta[0], theta[1], cast(Variable, variables[0]))

    def in_units(self, units: Sequence[float], loss_unit: float) -> Self:
        """The same law with x multiplied by its unit, and the loss by its own."""
        return replace(self, log_scale=self.log_scale + math.log(units[0]) + math.log(loss_unit) / self.exponent)

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
        return super().predict(x)

    def formula(self) -> str:
        """The law with its numbers, for people."""
        x = self.variable
        return f"L({x}) = ({format_number(self.scale)} / {x})^{format_number(self.exponent)}"


@dataclass(frozen=True)
class _OneVariable(Law):
    """A law of any one variable, which is its last field."""

    variables: ClassVar[tuple[str, ...]] = ("x",)

    @classmethod
    def build(cls, theta: Sequence[float], variables: Sequence[str]) -> Self:
        """The law with these parameters and variable."""
        return cls(*theta, variables[0])  # type: ignore[call-arg]  # the fields are those of the subclass

    def predict(self, x: ArrayLike) -> FloatArray:
        """Loss in nats per token at x."""
        return super().predict(x)


@dataclass(frozen=True)
class PowerLawFloor(_OneVariable):
    """L(x) = E + A / x^alpha. Hoffmann et al. 2022 (arXiv 2203.15556), eq. (2), with one variable at its limit."""

    name: ClassVar[str] = "power_floor"
    equation: ClassVar[str] = "L(x) = E + A / x^alpha"
    source: ClassVar[str] = "Hoffmann et al. 2022, arXiv 2203.15556, eq. (2), with one term"
    parameters: ClassVar[Mapping[str, Parameter]] = {"E": FLOOR, "A": Parameter(group="A"), "alpha": EXPONENT}

    def formula(self) -> str:
        """The law with its numbers, for people."""
        x = self.variable
        return f"L({x}) = {format_number(self.E)} + {format_number(self.A)} / {x}^{format_number(self.alpha)}"

    E: float
    """Irreducible loss, nats per token."""
    A: float
    """Coefficient, nats per token at x = 1."""
    alpha: float
    """Exponent of x."""
    variable: str
    """What x is."""

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by E, A, alpha."""
        e, a, alpha = theta
        term, by_a, by_alpha = power(a, alpha, columns[0])
        loss = np.asarray(e + term)
        return loss, (np.ones_like(loss), by_a, by_alpha)

    def in_units(self, units: Sequence[float], loss_unit: float) -> Self:
        """The same law with x multiplied by its unit, and the loss by its own."""
        return replace(self, E=self.E * loss_unit, A=self.A * units[0] ** self.alpha * loss_unit)


@dataclass(frozen=True)
class Broken(_OneVariable):
    """L(x) = a + b x^-c0 (1 + (x / d1)^(1/f1))^(-c1 f1): a power law whose exponent turns from c0 to c0 + c1 around d1.

    Caballero et al. 2023 (arXiv 2210.14891), eq. (1), with one break. f1 is the width of the turn in the logarithm of x.
    """

    name: ClassVar[str] = "broken"
    equation: ClassVar[str] = "L(x) = a + b x^-c0 (1 + (x / d1)^(1/f1))^(-c1 f1)"
    source: ClassVar[str] = "Caballero et al. 2023, arXiv 2210.14891, eq. (1), one break"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "a": FLOOR,
        "b": Parameter(group="b"),
        "c0": replace(EXPONENT, grid=(0.05, 0.15, 0.4, 1.0)),
        "c1": Parameter(-10.0, 10.0, (-0.3, -0.1, 0.1, 0.3, 0.8), kind="pure"),
        "d1": Parameter(1e-6, 1e24, grid=(0.1, 0.3, 0.5, 0.7, 0.9), is_log=True, in_span=True),
        "f1": Parameter(0.01, 10.0, (0.1, 0.3, 1.0), is_log=True, kind="pure"),
    }

    a: float
    """Irreducible loss, nats per token."""
    b: float
    """Coefficient before the break, nats per token at x = 1."""
    c0: float
    """Exponent before the break."""
    c1: float
    """What the break adds to the exponent."""
    d1: float
    """Where the break is, in units of x."""
    f1: float
    """Width of the break in log x: small is sharp."""
    variable: str
    """What x is."""

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by a, b, c0, c1, d1, f1."""
        a, b, c0, c1, d1, f1 = theta
        log_x = np.log(columns[0])
        along = (log_x - np.log(d1)) / f1
        soft = np.logaddexp(0, along)
        share = np.exp(along - soft)
        by_b = np.exp(-c0 * log_x - c1 * f1 * soft)
        term = b * by_b
        loss = np.asarray(a + term)
        gradient = (by_b, -term * log_x, -term * f1 * soft, term * c1 * share / d1, -term * c1 * (soft - share * along))
        return loss, (np.ones_like(loss), *gradient)

    def in_units(self, units: Sequence[float], loss_unit: float) -> Self:
        """The same law with x multiplied by its unit, and the loss by its own."""
        b = self.b * units[0] ** self.c0 * loss_unit
        return replace(self, a=self.a * loss_unit, b=b, d1=self.d1 * units[0])


@dataclass(frozen=True)
class M4(_OneVariable):
    """(L - E) / (L0 - L)^alpha = beta / x^c: a power law that starts from the loss L0 of a random guess.

    Alabdulmohsin et al. 2022 (arXiv 2209.06640), their estimator M4. L is found by Newton's method.
    """

    name: ClassVar[str] = "m4"
    equation: ClassVar[str] = "(L - E) / (L0 - L)^alpha = beta / x^c"
    source: ClassVar[str] = "Alabdulmohsin et al. 2022, arXiv 2209.06640, M4"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "E": FLOOR,
        "L0": Parameter(upper=1e3, kind="loss"),
        "alpha": Parameter(0.0, 20.0, kind="pure"),
        "log_beta": Parameter(lower=-math.inf),
        "c": EXPONENT,
    }

    E: float
    """Irreducible loss, nats per token."""
    L0: float
    """Loss of a random guess, nats per token."""
    alpha: float
    """How slowly the loss leaves L0; 0 is the power law with floor."""
    log_beta: float
    """Natural logarithm of beta."""
    c: float
    """Exponent of x."""
    variable: str
    """What x is."""

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by E, L0, alpha, log_beta, c; L0 exceeds E."""
        e, top, alpha, log_beta, c = theta
        log_x = np.log(columns[0])
        span = np.maximum(top - e, 1e-12)
        z = _solve_m4(log_beta - c * log_x - (1 - alpha) * np.log(span), alpha)
        above, below = span * np.exp(-np.logaddexp(0, -z)), span * np.exp(-np.logaddexp(0, z))  # L - E and L0 - L
        by_level = 1 / (1 / above + alpha / below)
        loss = np.asarray(e + above)
        return loss, (by_level / above, by_level * alpha / below, by_level * np.log(below), by_level, -by_level * log_x)

    @classmethod
    def initial(cls, columns: Sequence[FloatArray], loss: FloatArray) -> FloatArray:
        """For a grid of E, L0 and alpha, the line of least squares of the law's logarithm, shape (starts, 5)."""
        starts = []
        log_x = np.log(columns[0])
        for floor in loss.min() * np.array([0.0, 0.5, 0.8, 0.95]):
            for top in loss.max() * np.array([1.02, 1.2, 2.0, 4.0]):
                for alpha in (0.3, 1.0, 2.0):
                    slope, level = np.polyfit(log_x, np.log(loss - floor) - alpha * np.log(top - loss), 1)
                    starts.append((floor, top, alpha, level, max(-slope, 1e-3)))
        return np.array(starts)

    def in_units(self, units: Sequence[float], loss_unit: float) -> Self:
        """The same law with x multiplied by its unit, and the loss by its own."""
        log_beta = self.log_beta + (1 - self.alpha) * math.log(loss_unit) + self.c * math.log(units[0])
        return replace(self, E=self.E * loss_unit, L0=self.L0 * loss_unit, log_beta=log_beta)


def _solve_m4(level: FloatArray, alpha: Any) -> FloatArray:
    """Solve for z: log s(z) - alpha log s(-z) = level, s the logistic function.

    The left side is monotone and either convex or concave, so that Newton's method converges from everywhere.
    """
    z = np.where(level < 0, level, level / np.maximum(alpha, 0.05))
    for _ in range(60):
        fall, rise = np.exp(-np.logaddexp(0, z)), np.exp(-np.logaddexp(0, -z))
        step = (level + np.logaddexp(0, -z) - alpha * np.logaddexp(0, z)) / (fall + alpha * rise)
        z = z + np.clip(step, -50, 50)
        if np.all(np.abs(step) <= 1e-14 * (1 + np.abs(z))):
            break
    return np.asarray(z)
