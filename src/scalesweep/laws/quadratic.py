"""The flexible reference: log L as a quadratic polynomial of log N and log D."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.laws.base import Gradient, Law, Parameter

_FREE = Parameter(lower=-math.inf)


@dataclass(frozen=True)
class Quadratic(Law):
    """log L = c + n x + d y + nn x^2 + nd x y + dd y^2 with x = log N, y = log D.

    Six numbers that enter log L linearly. It has no floor and no theory: it describes the measured range, and a law that it
    beats misses something there.
    """

    name: ClassVar[str] = "quadratic"
    equation: ClassVar[str] = "log L = c + n x + d y + nn x^2 + nd x y + dd y^2, x = log N, y = log D"
    source: ClassVar[str] = "second-order Taylor polynomial in logarithms"
    variables: ClassVar[tuple[str, ...]] = ("N", "D")
    parameters: ClassVar[Mapping[str, Parameter]] = dict.fromkeys(("c", "n", "d", "nn", "nd", "dd"), _FREE)

    c: float
    """log L at N = D = 1."""
    n: float
    """Coefficient of log N."""
    d: float
    """Coefficient of log D."""
    nn: float
    """Coefficient of (log N)^2."""
    nd: float
    """Coefficient of log N log D."""
    dd: float
    """Coefficient of (log D)^2."""

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by the six coefficients."""
        basis = _basis(*columns)
        loss = np.asarray(np.exp(sum(coefficient * part for coefficient, part in zip(theta, basis, strict=True))))
        return loss, tuple(loss * part for part in basis)

    @classmethod
    def initial(cls, columns: Sequence[FloatArray], loss: FloatArray) -> FloatArray:
        """Least squares in log L, shape (1, 6)."""
        return np.linalg.lstsq(np.stack(_basis(*columns), axis=1), np.log(loss), rcond=None)[0][None]

    def in_units(self, units: Sequence[float], loss_unit: float) -> Self:
        """The same law with N and D multiplied by their units, and the loss by its own."""
        s, t = math.log(units[0]), math.log(units[1])
        constant = self.c - self.n * s - self.d * t + self.nn * s * s + self.nd * s * t + self.dd * t * t
        n = self.n - 2 * self.nn * s - self.nd * t
        d = self.d - 2 * self.dd * t - self.nd * s
        return type(self)(constant + math.log(loss_unit), n, d, self.nn, self.nd, self.dd)

    def n_opt(self, c: ArrayLike) -> FloatArray:
        """Parameters that minimise the loss at C = 6 N D, where the polynomial is convex along that line.

        Raises:
            FitError: it is not convex there, so that no allocation is optimal.
        """
        bend = self.nn - self.nd + self.dd
        if bend <= 0:
            raise FitError("The quadratic has no compute optimum, because it does not curve upwards along N D = C / 6.")
        budget = np.log(np.asarray(c, dtype=np.float64) / 6)
        return np.asarray(np.exp((self.d - self.n + (2 * self.dd - self.nd) * budget) / (2 * bend)))

    def d_opt(self, c: ArrayLike) -> FloatArray:
        """Tokens that minimise the loss at C = 6 N D.

        Raises:
            FitError: as `n_opt`.
        """
        return np.asarray(np.asarray(c, dtype=np.float64) / 6 / self.n_opt(c))


def _basis(n: Any, d: Any) -> Gradient:
    x, y = np.broadcast_arrays(np.log(n), np.log(d))
    return (np.ones_like(x), x, y, x * x, x * y, y * y)
