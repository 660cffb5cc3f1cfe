"""A law as the minimiser sees it, in units in which every variable starts at 1 and the mean loss is 1, and its starts.

These units make coefficients the largest measured size of their term, which conditions the Hessian well, and the result
independent of the user's units. Called by `forms`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scalesweep.arrays import FloatArray
from scalesweep.fit.solve.huber import nonnegative_least_squares
from scalesweep.fit.solve.powers import Expansion
from scalesweep.laws import Law, Parameter

_SMALLEST = 1e-8
"""Start of a positive parameter whose best start is zero."""
_DIFFERENCE = 1e-5
"""Step of the differences of first derivatives: their error is of its square."""
_MAX_VALUES = 2_000_000
"""Parameter vectors times rows times parameters that are evaluated together."""


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

    def with_y(self, y: FloatArray) -> "FormProblem":
        """The same law and points with other y."""
        value = y / self.precision
        return replace(self, loss=np.exp(value) if self.is_log else value)

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

    def _slopes(self, theta: FloatArray) -> FloatArray:
        """Derivatives of the model at a stack of batches, shape (stack, problems, rows, P), from (stack, problems, P)."""
        jacobian = self._model(theta.reshape(-1, theta.shape[-1]))[1]
        return jacobian.reshape(*theta.shape[:2], *jacobian.shape[1:])

    def expand(self, theta: FloatArray) -> Expansion:
        """The law and its derivatives at theta.

        Second derivatives are central differences of the analytic first ones. Gauss-Newton would do without, but a narrow Huber
        loss has few rows in its quadratic part, and without the curvature of the rest its steps are poor.
        """
        model, jacobian = self._model(theta)

        def curvature(factor: FloatArray) -> FloatArray:
            result = (jacobian * factor[:, :, None]).swapaxes(1, 2) @ jacobian
            free = np.flatnonzero(self.lower < self.upper)
            for block in np.array_split(free, 1 + 2 * len(free) * jacobian.size // _MAX_VALUES):
                change = self._slopes(theta + _DIFFERENCE * np.eye(len(self.lower))[block, None])
                change -= self._slopes(theta - _DIFFERENCE * np.eye(len(self.lower))[block, None])
                result[:, block] += ((factor[:, None, :] @ change)[:, :, 0] / (2 * _DIFFERENCE)).swapaxes(0, 1)
            return np.asarray((result + result.swapaxes(1, 2)) / 2)

        return Expansion(model, jacobian, curvature)


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
    chunk = max(1, _MAX_VALUES // (len(problem.loss) * len(axes)))
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
