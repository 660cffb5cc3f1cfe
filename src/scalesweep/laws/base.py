"""What every law is: a frozen value with an equation, a source, a prediction and its analytic gradient.

A law is written once, as `expand`: the loss and its derivatives by the parameters, for arrays that broadcast. Prediction and
estimation both use it, the latter in units in which every variable starts at 1 and the mean loss is 1; `in_units` carries the
parameters between those and the user's. `parameters` tells an estimator what it must know of each field: bounds, starting
values, and which fields multiply a part of the loss.
"""

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.units import format_number

Gradient = tuple[FloatArray, ...]
Kind = Literal["loss", "pure", "scaled"]
MAX_EXPONENT = 10.0
VANISHING = 1e-12
"""Size below which a positive coefficient counts as zero, where the largest loss is about 1."""


@dataclass(frozen=True)
class Parameter:
    """What an estimator must know of a field, in units in which every variable starts at 1 and the mean loss is 1."""

    lower: float = 0.0
    """Lower bound."""
    upper: float = math.inf
    """Upper bound; equal to the lower one, the parameter is fixed."""
    grid: tuple[float, ...] = (1.0,)
    """Values to start from; of the parameters of a group, their ratios."""
    group: str = ""
    """Parameters of one group multiply one part of the loss together; empty: the parameter enters otherwise."""
    is_log: bool = False
    """Whether the estimator moves the logarithm, because the parameter cannot vanish."""
    in_span: bool = False
    """Whether the grid counts from 0, the smallest value of the variable, to 1, the largest, in the logarithm."""
    kind: Kind = "scaled"
    """What units do to it: a loss is in nats per token, a pure number has no unit, anything else mixes units."""


class Law(abc.ABC):
    """A functional form with its parameters. A law of one's own is one subclass: a frozen dataclass."""

    name: ClassVar[str]
    """The name by which the law is found."""
    source: ClassVar[str]
    """Paper and equation."""
    variables: ClassVar[tuple[str, ...]]
    """Columns, in the order of `predict`'s arguments; ("x",) for a law of any one variable."""
    parameters: ClassVar[Mapping[str, Parameter]]
    """The fields that are estimated, in the order of the fields."""
    is_smooth: ClassVar[bool] = True
    """Whether the derivatives have no jumps; with jumps there are many local minima, and more starts are followed."""

    @property
    @abc.abstractmethod
    def equation(self) -> str:
        """The form in symbols."""

    @classmethod
    @abc.abstractmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by each parameter; parameters and columns are arrays that broadcast."""

    @abc.abstractmethod
    def in_units(self, units: Sequence[float], loss_unit: float) -> Self:
        """The same law with every column multiplied by its unit, and the loss by its own."""

    @classmethod
    def initial(cls, columns: Sequence[FloatArray], loss: FloatArray) -> FloatArray | None:
        """Closed-form starting values, shape (starts, P), where the law has them; None: the parameters' grids are used."""
        return None

    @classmethod
    def build(cls, theta: Sequence[float], variables: Sequence[str]) -> Self:
        """The law with these parameters, in the order of `parameters`."""
        return cls(*theta)

    @property
    def theta(self) -> tuple[float, ...]:
        """The parameters, in the order of `parameters`."""
        return tuple(getattr(self, name) for name in self.parameters)

    def with_theta(self, theta: Sequence[float]) -> Self:
        """The same law with other parameters, in the order of `parameters`."""
        return replace(self, **dict(zip(self.parameters, theta, strict=True)))  # type: ignore[type-var]  # a dataclass

    def predict(self, *columns: Any, **named: Any) -> FloatArray:
        """Loss in nats per token; the columns are broadcast."""
        return np.asarray(self.expand(self.theta, as_arrays(*columns, *named.values()))[0])

    def gradient(self, *columns: ArrayLike) -> FloatArray:
        """Derivatives of the loss by the parameters at the columns, shape (..., P), in the order of `parameters`."""
        loss, gradient = self.expand(self.theta, as_arrays(*columns))
        return np.stack([np.broadcast_to(part, loss.shape) for part in gradient], axis=-1)

    def formula(self) -> str:
        """The law with its numbers, for people."""
        return f"{self.equation}; " + ", ".join(f"{name} = {format_number(getattr(self, name))}" for name in self.parameters)


def as_arrays(*columns: ArrayLike) -> tuple[FloatArray, ...]:
    """The columns in double precision."""
    return tuple(np.asarray(column, dtype=np.float64) for column in columns)


def power(coefficient: Any, exponent: Any, x: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Power law c / x^s and its derivatives by c and s."""
    unit = x**-exponent
    value = coefficient * unit
    return value, unit, -np.log(x) * value


EXPONENT_GRID = (0.05, 0.12, 0.25, 0.45, 0.8, 1.5)
FLOOR = Parameter(group="E", kind="loss")
"""An irreducible loss, which may vanish."""
EXPONENT = Parameter(upper=MAX_EXPONENT, grid=tuple(np.geomspace(0.03, 3.0, 12).tolist()), kind="pure")
"""The exponent of a law that has few others."""
COARSE_EXPONENT = Parameter(upper=MAX_EXPONENT, grid=EXPONENT_GRID, kind="pure")
"""The exponent of a law that has many parameters to start."""
