"""Estimation of any law by its name: several starts, the batched Newton method of `huber`, and a verdict in words.

The point estimate only; intervals and the choice between laws are made elsewhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, did_you_mean
from scalesweep.fit.results import FitStatus
from scalesweep.fit.solve.objectives import Descent, Objective, descend
from scalesweep.fit.solve.problems import FormProblem, find_starts
from scalesweep.laws import LAWS, Law
from scalesweep.laws.base import VANISHING

NUM_STARTS = 8
"""Starts that are followed; twice as many where more than five parameters are estimated, six times where the law has kinks."""
MAX_CONDITION = 1e8
"""Condition number above which some combination of parameters is called undetermined."""
SAME_VALUE = 1e-6
"""Relative difference of two minima that count as one."""
_TOKENS = {"U": "D"}
"""Columns that have the unit of another."""


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
    num_free: int
    """Parameters that were estimated."""

    @property
    def verdict(self) -> str:
        """The status and its reasons, in one line."""
        return " ".join((self.status.value, *self.messages))

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
        num_starts = NUM_STARTS * (1 if num_free <= 5 else 2) * (1 if law.is_smooth else 6)
        descent = descend(problem, find_starts(problem, num_starts), objective, num_free)
        estimated = law.build(problem.to_parameters(descent.minima.theta[0]).tolist(), names).in_units(units, loss_unit)
        return _judge(problem, descent, objective, estimated, loss_unit)


def _judge(problem: FormProblem, descent: Descent, objective: Objective, law: Law, loss_unit: float) -> FormFit:
    theta, value = descent.minima.theta[:1], descent.minima.value
    bounds = _at_bounds(problem, theta[0], loss_unit)
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
        num_free=int(np.sum(problem.lower < problem.upper)),
    )


def _at_bounds(problem: FormProblem, theta: FloatArray, loss_unit: float) -> tuple[str, ...]:
    """Parameters at a bound, as name = value, without those that the form or the user fixes.

    The value of a parameter that mixes units is in the solver's.
    """
    found = []
    for i, (name, spec) in enumerate(problem.form.parameters.items()):
        at_lower, at_upper = theta[i] <= problem.lower[i], theta[i] >= problem.upper[i]
        if at_lower != at_upper:
            bound = spec.lower if at_lower else spec.upper
            found.append(
                f"{name} = {0.0 if abs(bound) <= VANISHING else bound * (loss_unit if spec.kind == 'loss' else 1.0):g}"
            )
    return tuple(found)


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
