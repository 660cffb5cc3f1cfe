"""A law posed on one data set for the minimiser: its problem in the solver's units, its starts, and the way back.

`FormProblem` serves any law. Those that are fitted most have a problem in closed form too, in the same coordinates: on 245
points it finds the same minimum to 13 digits in a third (additive) and a seventh (coupled) of the time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.fit.solve.objectives import Descent, Objective, descend
from scalesweep.fit.solve.powers import CoupledPowers, Problem, SumOfPowers
from scalesweep.fit.solve.problems import FormProblem, find_starts
from scalesweep.fit.solve.rivals import LinearLog, TiedPowers
from scalesweep.laws import Chinchilla, Coupled, KaplanFloor, Law, Quadratic
from scalesweep.laws.joint import KAPPA_BOUNDS
from scalesweep.points.rows import Rows

NUM_STARTS = 8
"""Starts that are followed; twice as many where more than five parameters are estimated, six times where the law has kinks."""
_TOKENS = {"U": "D"}
"""Columns that have the unit of another."""


def _additive(frame: FormProblem) -> SumOfPowers:
    logs = [np.log(column) for column in frame.columns]
    return SumOfPowers(np.stack([np.zeros_like(frame.y), *logs], axis=1), frame.y)


def _coupled(frame: FormProblem) -> CoupledPowers:
    return CoupledPowers(np.log(np.stack(frame.columns, axis=1)), frame.y, KAPPA_BOUNDS)


def _kaplan_floor(frame: FormProblem) -> TiedPowers:
    return TiedPowers(_coupled(frame), frame.lower, frame.upper)


def _quadratic(frame: FormProblem) -> LinearLog:
    _, basis = Quadratic.expand([0.0] * len(frame.lower), frame.columns)
    return LinearLog(np.stack(basis, axis=1), frame.y, frame.lower, frame.upper)


FAST_PROBLEMS: Mapping[type[Law], Callable[[FormProblem], Problem]] = {
    Chinchilla: _additive,
    Coupled: _coupled,
    KaplanFloor: _kaplan_floor,
    Quadratic: _quadratic,
}
"""Problems in closed form, for log losses of equal weight with every parameter free and every column varied."""


@dataclass(frozen=True, eq=False)
class Posed:
    """A law on one data set."""

    frame: FormProblem
    """The law with its data in the solver's units."""
    problem: Problem
    """What is minimised: the frame, or the same in closed form."""
    units: tuple[float, ...]
    """The solver's unit of each column, in the user's."""
    loss_unit: float
    """The solver's unit of the loss, in the user's."""
    variables: tuple[str, ...]
    """Names of the columns."""

    @classmethod
    def of(
        cls,
        form: type[Law],
        columns: Mapping[str, FloatArray],
        loss: FloatArray,
        *,
        is_log: bool = True,
        precision: FloatArray | None = None,
        fixed: Mapping[str, float] | None = None,
    ) -> "Posed":
        """Pose a law on columns in the order of its variables.

        Args:
            form: the law.
            columns: its variables by name, each of shape (rows,).
            loss: losses, shape (rows,).
            is_log: whether residuals are of log L, or of L.
            precision: factor of each residual up to a common one, shape (rows,); by default all count the same.
            fixed: parameters that are not estimated, in the user's units.
        """
        units = tuple(float(columns[_TOKENS.get(name, name)].min()) for name in columns)
        loss_unit = float(np.exp(np.mean(np.log(loss))))
        kept = {name: spec.lower for name, spec in form.parameters.items() if spec.lower == spec.upper}
        for name, value in (fixed or {}).items():
            kept.setdefault(name, value / (loss_unit if form.parameters[name].kind == "loss" else 1.0))
        weight = np.ones(len(loss)) if precision is None else precision / np.exp(np.mean(np.log(precision)))
        scaled = tuple(column / unit for column, unit in zip(columns.values(), units, strict=True))
        frame = FormProblem(form, scaled, loss / loss_unit, weight, is_log, kept)
        is_plain = is_log and precision is None and not fixed and all(np.ptp(column) > 0 for column in scaled)
        problem = FAST_PROBLEMS[form](frame) if is_plain and form in FAST_PROBLEMS else frame
        return cls(frame, problem, units, loss_unit, tuple(columns))

    @classmethod
    def of_rows(cls, form: type[Law], rows: Rows) -> "Posed":
        """Pose a law of N and D, or of N, D and U, on measured rows."""
        return cls.of(form, dict(zip(form.variables, rows.columns(form.variables), strict=True)), rows.loss)

    @property
    def num_free(self) -> int:
        """Parameters that are estimated."""
        return int(np.sum(self.frame.lower < self.frame.upper))

    def descend(self, objective: Objective) -> Descent:
        """Minima of the objective, reached from several starts."""
        form = self.frame.form
        num_starts = NUM_STARTS * (1 if self.num_free <= 5 else 2) * (1 if form.is_smooth else 6)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            return descend(self.problem, find_starts(self.frame, num_starts), objective, self.num_free)

    def position(self, parameter: str) -> int:
        """Where a parameter stands in theta."""
        return list(self.frame.form.parameters).index(parameter)

    def laws(self, theta: FloatArray) -> list[Law]:
        """Laws in the user's units at theta of shape (problems, P)."""
        form, rows = self.frame.form, self.frame.to_parameters(self.settled(theta)).tolist()
        return [form.build(row, self.variables).in_units(self.units, self.loss_unit) for row in rows]

    def parameters(self, theta: FloatArray) -> FloatArray:
        """Parameters of `laws`, shape (problems, P)."""
        return np.array([law.theta for law in self.laws(theta)]).reshape(theta.shape)

    def theta(self, law: Law) -> FloatArray:
        """Theta of a law in the user's units, within the bounds, shape (1, P)."""
        inner = law.in_units([1 / unit for unit in self.units], 1 / self.loss_unit)
        return np.clip(self.frame.to_solver(np.array([inner.theta])), self.frame.lower, self.frame.upper)

    def settled(self, theta: FloatArray) -> FloatArray:
        """Theta, shape (problems, P), with terms that do not change in the measured range counted to the constant."""
        return self.problem.without_flat_terms(theta) if isinstance(self.problem, SumOfPowers) else theta
