"""Estimation of any law by its name: starts from a grid, the batched Newton method of `huber`, and a verdict in words.

A `FormProblem` evaluates a law in units in which every variable starts at 1 and the mean loss is 1. That makes coefficients the
largest measured size of their term, and the result independent of the user's units.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalesweep.errors import FitError, did_you_mean
from scalesweep.fit.huber import Expansion, nonnegative_least_squares
from scalesweep.fit.objectives import Descent, Objective, descend
from scalesweep.fit.results import FitStatus
from scalesweep.laws import LAWS, Law, Parameter

FloatArray = NDArray[np.float64]

NUM_STARTS = 8
MAX_CONDITION = 1e8
"""Condition number above which some combination of parameters is called undetermined."""
SAME_VALUE = 1e-6
"""Relative difference of two minima that count as one."""
_SMALLEST = 1e-8
"""Start of a positive parameter whose best start is zero."""
_DIFFERENCE = 1e-5
_MESH_VALUES = 2_000_000
_TOKENS = {"U": "D"}
"""Columns that have the unit of another."""


@dataclass(frozen=True, eq=False)
class FormProblem:
    """A law on one data set, in the solver's units; theta holds the logarithm of each parameter that is moved so."""

    form: type[Law]
    """The law."""
    columns: tuple[FloatArray, ...]
    """Variables of the law, each of shape (rows,), in the solver's units."""
    loss: FloatArray
    """Loss in the solver's unit, shape (rows,)."""
    precision: FloatArray
    """Factor of each residual, shape (rows,)."""
    is_log: bool
    """Whether residuals are of log L."""
    fixed: Mapping[str, float] = field(default_factory=dict)
    """Parameters that are not estimated, in the solver's units."""

    @cached_property
    def y(self) -> FloatArray:
        """What the law is compared with, shape (rows,)."""
        return np.asarray(self.precision * (np.log(self.loss) if self.is_log else self.loss))

    @cached_property
    def lower(self) -> FloatArray:
        """Lower bounds of theta, shape (P,)."""
        return self.to_solver(np.array([self.fixed.get(name, spec.lower) for name, spec in self._specs]))

    @cached_property
    def upper(self) -> FloatArray:
        """Upper bounds of theta, shape (P,)."""
        return self.to_solver(np.array([self.fixed.get(name, spec.upper) for name, spec in self._specs]))

    @cached_property
    def is_logarithmic(self) -> NDArray[np.bool_]:
        """Which parameters are moved by their logarithm, shape (P,)."""
        return np.array([spec.is_log for _, spec in self._specs])

    @property
    def _specs(self) -> list[tuple[str, Parameter]]:
        return list(self.form.parameters.items())

    def to_solver(self, parameters: FloatArray) -> FloatArray:
        """Theta from parameters, shape (..., P)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.is_logarithmic, np.log(parameters), parameters)

    def to_parameters(self, theta: FloatArray) -> FloatArray:
        """Parameters from theta, shape (..., P)."""
        return np.where(self.is_logarithmic, np.exp(np.where(self.is_logarithmic, theta, 0.0)), theta)

    def law_at(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Loss, shape (problems, rows), and its derivatives by the parameters, shape (problems, rows, P)."""
        loss, gradient = self.form.expand(list(parameters.T[:, :, None]), self.columns)
        shape = (len(parameters), len(self.loss))
        return np.broadcast_to(loss, shape), np.stack([np.broadcast_to(part, shape) for part in gradient], axis=2)

    def log_loss(self, theta: FloatArray) -> FloatArray:
        """What is compared with y, shape (problems, rows): log L, or L, times the precision."""
        return self._model(theta)[0]

    def _model(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        parameters = self.to_parameters(theta)
        loss, gradient = self.law_at(parameters)
        jacobian = gradient * np.where(self.is_logarithmic, parameters, 1.0)[:, None, :]
        if not self.is_log:
            return self.precision * loss, self.precision[:, None] * jacobian
        return self.precision * np.log(loss), jacobian * (self.precision / loss)[:, :, None]

    def expand(self, theta: FloatArray) -> Expansion:
        """The law and its derivatives at theta.

        Second derivatives are central differences of the analytic first ones. Gauss-Newton would do without, but a narrow Huber
        loss has few rows in its quadratic part, and without the curvature of the rest its steps are poor.
        """
        model, jacobian = self._model(theta)

        def curvature(factor: FloatArray) -> FloatArray:
            result = (jacobian * factor[:, :, None]).swapaxes(1, 2) @ jacobian
            for i, step in enumerate(_DIFFERENCE * np.eye(theta.shape[1])):
                if self.lower[i] < self.upper[i]:
                    change = self._model(theta + step)[1] - self._model(theta - step)[1]
                    result[:, i] += (factor[:, None, :] @ change)[:, 0] / (2 * _DIFFERENCE)
            return np.asarray((result + result.swapaxes(1, 2)) / 2)

        return Expansion(model, jacobian, curvature)


@dataclass(frozen=True, eq=False)
class FormFit:
    """A law estimated by name, without intervals."""

    law: Law
    """The law at its estimates, in the user's units."""
    objective: Objective
    """What was minimised."""
    delta: float | None
    """Huber width of the last stage, in log loss; None for least squares."""
    value: float
    """The objective at the estimates."""
    converged: bool
    """Whether the gradient test holds."""
    num_starts: int
    """Starts that were followed."""
    num_agreeing: int
    """Starts, the best included, that reached the same minimum."""
    at_bound: tuple[str, ...]
    """Parameters at a bound that was not asked for."""
    condition: float
    """Condition number of J^T J, scaled to a unit diagonal, of the free parameters; J are the residuals' derivatives."""
    status: FitStatus
    """How far the points determine the law."""
    messages: tuple[str, ...]
    """Sentences that explain the status."""
    residual_rms: float
    """Root mean square of log L - log L_predicted."""
    num_points: int
    """Rows."""

    @property
    def theta(self) -> tuple[float, ...]:
        """The estimates, in the order of the law's parameters."""
        return self.law.theta

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "name": self.law.name,
            "equation": self.law.equation,
            "source": self.law.source,
            "parameters": dict(zip(self.law.parameters, self.theta, strict=True)),
            "objective": self.objective.words,
            "objective_name": self.objective.name,
            "objective_value": self.value,
            "huber_delta": self.delta,
            "converged": self.converged,
            "starts": {"followed": self.num_starts, "agreeing": self.num_agreeing},
            "at_bound": list(self.at_bound),
            "condition": self.condition if math.isfinite(self.condition) else None,
            "status": self.status.name.lower(),
            "messages": list(self.messages),
            "residual_rms": self.residual_rms,
            "num_points": self.num_points,
        }


def fit_form(
    form: str | type[Law],
    columns: Mapping[str, ArrayLike],
    loss: ArrayLike,
    *,
    objective: Objective | str = "huber",
    weights: ArrayLike | None = None,
    fixed: Mapping[str, float] | None = None,
) -> FormFit:
    """Estimate a law from measured losses.

    Args:
        form: name in `laws.LAWS`, or a class of one's own.
        columns: the law's variables by name, each positive, shape (rows,), in any unit (U in that of D); for a law of one
            variable, exactly one column of any name.
        loss: positive losses, shape (rows,), in the unit that the law shall predict.
        objective: name in `objectives`, or an `Objective`.
        weights: inverse variances of log L (of L under `least_squares`), up to a factor, shape (rows,): residuals are divided
            by their standard deviation, scaled to a geometric mean of 1.
        fixed: parameters that are not estimated, losses or pure numbers, in the user's units: {"E": 0.0}.

    Raises:
        FitError: there is no such form, objective, column or parameter; a value is not positive and finite; or there are
            fewer points than parameters.
    """
    law = _find_form(form)
    objective = Objective(objective) if isinstance(objective, str) else objective
    names, arrays = _check_columns(law, columns)
    losses = _positive("loss", loss)
    precision = np.ones(len(losses)) if weights is None else np.sqrt(_positive("weights", weights))
    _check_rows(law, names, [*arrays, precision], losses, fixed or {})
    units = [float(arrays[names.index(_TOKENS.get(name, name))].min()) for name in names]
    loss_unit = float(np.exp(np.mean(np.log(losses))))
    problem = FormProblem(
        form=law,
        columns=tuple(array / unit for array, unit in zip(arrays, units, strict=True)),
        loss=losses / loss_unit,
        precision=precision / np.exp(np.mean(np.log(precision))),
        is_log=objective.is_log,
        fixed=_fixed(law, fixed or {}, loss_unit),
    )
    num_free = int(np.sum(problem.lower < problem.upper))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        descent = descend(problem, find_starts(problem, NUM_STARTS), objective, num_free)
        estimated = law.build(problem.to_parameters(descent.minima.theta[0]).tolist(), names).in_units(units, loss_unit)
        return _judge(problem, descent, objective, estimated, loss_unit)


def find_starts(problem: FormProblem, num: int) -> FloatArray:
    """At most `num` starts of theta, shape (starts, P), best first by the sum of squares of L_predicted / L - 1.

    Where the law has no closed-form start they come from the mesh of its parameters' grids, at each node of which the parts
    that enter linearly have their best non-negative factors. Neighbours of a better node are left out, so that different basins
    stay represented.
    """
    closed = problem.form.initial(problem.columns, problem.loss)
    if closed is not None:
        closed = _with_fixed(problem, closed)
        misfit = np.sum((problem.law_at(closed)[0] / problem.loss - 1) ** 2, axis=1)
        return _clip(problem, closed[np.argsort(misfit, kind="stable")[:num]])
    axes = _axes(problem)
    size = np.array([len(axis) for axis in axes])
    node = np.stack(np.unravel_index(np.arange(size.prod()), size), axis=1)
    mesh = np.stack([axis[index] for axis, index in zip(axes, node.T, strict=True)], axis=1)
    chunk = max(1, _MESH_VALUES // (len(problem.loss) * len(axes)))
    parts = [_with_factors(problem, mesh[i : i + chunk]) for i in range(0, len(mesh), chunk)]
    theta, misfit = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    chosen: list[int] = []
    for candidate in np.argsort(misfit, kind="stable"):
        if len(chosen) == num or not np.isfinite(misfit[candidate]):
            break
        if not chosen or np.max(np.abs(node[chosen] - node[candidate]), axis=1).min() > 1:
            chosen.append(int(candidate))
    return _clip(problem, theta[chosen])


def _axes(problem: FormProblem) -> list[FloatArray]:
    """Grid of each parameter in the solver's units; a fixed one has its value alone."""
    axes = []
    for name, spec in problem.form.parameters.items():
        grid = np.array(spec.grid)
        if spec.in_span:
            grid = problem.columns[0].max() ** grid
        axes.append(np.array([problem.fixed[name]]) if name in problem.fixed else np.clip(grid, spec.lower, spec.upper))
    return axes


def _with_factors(problem: FormProblem, mesh: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The mesh with each group of parameters multiplied by its best factor, and the sum of squares of L_predicted / L - 1.

    A part of the loss to which the group's parameters are factors is, by Euler's theorem, the sum of each of them times the
    derivative by it.
    """
    specs = problem.form.parameters
    groups = sorted({spec.group for name, spec in specs.items() if spec.group and name not in problem.fixed})
    member = np.array([[spec.group == group and name not in problem.fixed for name, spec in specs.items()] for group in groups])
    loss, gradient = problem.law_at(mesh)
    parts = (gradient * mesh[:, None, :]) @ member.reshape(-1, len(specs)).T / problem.loss[:, None]
    rest = loss / problem.loss - parts.sum(axis=2)
    factors, misfit = nonnegative_least_squares(parts, 1 - rest)
    scale = np.where(member.any(axis=0), factors @ member, 1.0) if groups else np.ones_like(mesh)
    return mesh * scale, misfit


def _with_fixed(problem: FormProblem, parameters: FloatArray) -> FloatArray:
    names = list(problem.form.parameters)
    result = parameters.copy()
    for name, value in problem.fixed.items():
        result[:, names.index(name)] = value
    return result


def _clip(problem: FormProblem, parameters: FloatArray) -> FloatArray:
    positive = np.where(problem.is_logarithmic, np.maximum(parameters, _SMALLEST), parameters)
    return np.clip(problem.to_solver(positive), problem.lower, problem.upper)


def _judge(problem: FormProblem, descent: Descent, objective: Objective, law: Law, loss_unit: float) -> FormFit:
    theta, value = descent.minima.theta[:1], descent.minima.value
    bounds = _at_bounds(problem, theta[0])
    condition = _condition(problem, theta)
    agreeing = int(np.sum(value <= value[0] * (1 + SAME_VALUE) + 1e-15))
    converged = bool(descent.minima.converged[0])
    messages = [f"{', '.join(bounds)} at the bound."] if bounds else []
    if not converged:
        messages.append("The minimiser did not meet its gradient test.")
    if agreeing == 1 and len(value) > 1:
        messages.append(f"No second start of {len(value)} reached the same minimum, so it may not be the global one.")
    if condition > MAX_CONDITION:
        messages.append(f"The points do not tell some parameters apart (condition number {condition:.1g}).")
    fitted = problem.law_at(problem.to_parameters(theta))[0][0]
    return FormFit(
        law=law,
        objective=objective,
        delta=descent.delta,
        value=descent.value * (1.0 if objective.is_log else loss_unit**2),
        converged=converged,
        num_starts=len(value),
        num_agreeing=agreeing,
        at_bound=bounds,
        condition=condition,
        status=FitStatus.AT_BOUND if bounds else FitStatus.WEAK if messages else FitStatus.UNKNOWN,
        messages=tuple(messages),
        residual_rms=float(np.sqrt(np.mean(np.log(fitted / problem.loss) ** 2))),
        num_points=len(problem.loss),
    )


def _at_bounds(problem: FormProblem, theta: FloatArray) -> tuple[str, ...]:
    """Parameters at a bound, as name = value, without those that the form or the user fixes."""
    return tuple(
        f"{name} = {low if x <= low else high:g}"
        for (name, spec), x, low, high in zip(
            problem.form.parameters.items(), problem.to_parameters(theta), problem.lower, problem.upper, strict=True
        )
        if low < high and (x <= spec.lower or x >= spec.upper)
    )


def _condition(problem: FormProblem, theta: FloatArray) -> float:
    """Condition number of J^T J with a unit diagonal, infinite where a free parameter moves nothing."""
    free = (problem.lower < theta[0]) & (theta[0] < problem.upper)
    jacobian = problem.expand(theta).jacobian[0][:, free]
    size = np.sqrt(np.sum(jacobian**2, axis=0))
    if not np.all(np.isfinite(size)) or np.any(size == 0):
        return math.inf
    values = np.linalg.eigvalsh((jacobian / size).T @ (jacobian / size))
    return float(values[-1] / values[0]) if values[0] > 0 else math.inf


def _find_form(form: str | type[Law]) -> type[Law]:
    if not isinstance(form, str):
        return form
    if form not in LAWS:
        raise FitError(f"There is no law {form!r}{did_you_mean(form, LAWS)}; choose one of {', '.join(LAWS)}.")
    return LAWS[form]


def _check_columns(form: type[Law], columns: Mapping[str, ArrayLike]) -> tuple[list[str], list[FloatArray]]:
    """Names and values of the law's variables."""
    wanted = list(form.variables)
    if wanted == ["x"]:
        if len(columns) != 1:
            raise FitError(f"The law {form.name!r} has one variable, but {len(columns)} columns were given.")
        wanted = list(columns)
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise FitError(f"The law {form.name!r} needs the column {missing[0]}; found {', '.join(columns) or 'none'}.")
    return wanted, [_positive(name, columns[name]) for name in wanted]


def _positive(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    bad = np.flatnonzero(~((array > 0) & np.isfinite(array)))
    if array.ndim != 1 or len(bad):
        where = f"; row {bad[0]} has {array.ravel()[bad[0]]:g}" if len(bad) else ""
        raise FitError(f"{name} must be one positive finite number a row{where}.")
    return array


def _check_rows(
    form: type[Law], names: Sequence[str], arrays: Sequence[FloatArray], loss: FloatArray, fixed: Mapping[str, float]
) -> None:
    for name, array in zip([*names, "weights"], arrays, strict=True):
        if len(array) != len(loss):
            raise FitError(f"{name} has {len(array)} rows, but loss has {len(loss)}.")
    free = sum(spec.lower < spec.upper and name not in fixed for name, spec in form.parameters.items())
    if len(loss) < free:
        raise FitError(f"{len(loss)} points cannot determine the {free} parameters of the law {form.name!r}.")


def _fixed(form: type[Law], fixed: Mapping[str, float], loss_unit: float) -> dict[str, float]:
    """Fixed parameters in the solver's units."""
    divisors: dict[Literal["loss", "pure", "scaled"], float] = {"loss": loss_unit, "pure": 1.0}
    result = {}
    for name, value in fixed.items():
        spec = form.parameters.get(name)
        if spec is None or spec.kind not in divisors:
            allowed = [name for name, spec in form.parameters.items() if spec.kind in divisors]
            raise FitError(f"{name} of the law {form.name!r} cannot be fixed; choose among {', '.join(allowed)}.")
        result[name] = value / divisors[spec.kind]
    return result | {name: spec.lower for name, spec in form.parameters.items() if spec.lower == spec.upper}
