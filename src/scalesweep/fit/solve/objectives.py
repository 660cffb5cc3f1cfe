"""What a fit minimises, by name.

    huber              sum of Huber losses of log L - log L_predicted; the width is 1.345 times the residuals' robust scale,
                       or given (1e-3 in Hoffmann et al. 2022 and Besiroglu et al. 2024)
    lad                sum of absolute values of the same: Huber of width 1e-8
    huber_scale        negative log likelihood of the Huber density with a free scale (Besiroglu et al. 2024, their headline
                       numbers): the best scale makes the width tiny, which leaves least absolute deviations
    least_squares_log  sum of squares of log L - log L_predicted
    least_squares      sum of squares of L - L_predicted

All are Huber losses of some width, so that one minimiser serves them. The sum, not the mean, and a gradient test: a minimiser
that stops when the value, some 1e-3, no longer changes by 1e-9 or so stops far from the minimum.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, did_you_mean
from scalesweep.fit.solve.huber import Solution, minimise
from scalesweep.fit.solve.powers import Problem

FIRST_DELTA = 1e-3
"""Huber width of Hoffmann et al. 2022, and of the stage from which the adaptive width is estimated."""
SMALLEST_DELTA = 1e-5
"""Floor of the adaptive width, for data without noise."""
CONTINUATION = (3e-2, 5e-3)
"""Wide Huber losses first: a narrow one has many shallow minima."""
LAD_DELTA = 1e-8
_SQUARES_DELTA = 1e6
"""So wide that no residual leaves the quadratic part."""
_DENSITY_DELTA = 1e-3
"""Width of Besiroglu's Huber density, in units of its scale."""
_SMALLEST_SCALE = 1e-9
"""Floor of the free scale, for data without noise."""
_MAX_TURNS = 50
_WORDS = {
    "huber": "sum of Huber losses of log L - log L_predicted",
    "lad": f"sum of absolute values of log L - log L_predicted (Huber loss of width {LAD_DELTA:g})",
    "huber_scale": "negative log likelihood of the Huber density (1e-3) of log L - log L_predicted with a free scale",
    "least_squares_log": "sum of squares of log L - log L_predicted",
    "least_squares": "sum of squares of L - L_predicted",
}


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Raises:
        FitError: no objective has this name, or a width is given that it does not have or that is not positive.
    """

    name: str = "huber"
    """One of the module's list."""
    delta: float | None = None
    """Width of `huber`; None: estimated from the residuals."""

    def __post_init__(self) -> None:
        """Refuse what would be ignored."""
        if self.name not in _WORDS:
            near = did_you_mean(self.name, _WORDS)
            raise FitError(f"There is no objective {self.name!r}{near}; choose one of {', '.join(_WORDS)}.")
        if self.delta is not None and (self.name != "huber" or not self.delta > 0):
            raise FitError(f"delta {self.delta:g} is not possible: it belongs to the objective huber and must be positive.")

    @property
    def words(self) -> str:
        """The objective as a sentence would name it."""
        return _WORDS[self.name]

    @property
    def is_log(self) -> bool:
        """Whether residuals are of log L."""
        return self.name != "least_squares"


@dataclass(frozen=True, eq=False)
class Descent:
    """Minima of an objective."""

    minima: Solution
    """Minimum reached from each start, best first."""
    delta: float | None
    """Huber width of the last stage; None for least squares."""
    value: float
    """The objective at the best."""


def descend(problem: Problem, starts: FloatArray, objective: Objective, num_parameters: int) -> Descent:
    """Minima of the objective reached from `starts`, shape (starts, P)."""
    if objective.name in ("least_squares", "least_squares_log"):
        return _squares(problem, starts)
    if objective.name in ("lad", "huber_scale"):
        return _absolute(problem, starts, objective)
    return _huber(problem, starts, objective.delta, num_parameters)


def through(problem: Problem, starts: FloatArray, deltas: Sequence[float]) -> Solution:
    """Minima from every start through narrowing Huber losses, best first."""
    weights = np.ones((len(starts), len(problem.y)))
    solution = minimise(problem, starts, weights, deltas[0])
    for delta in deltas[1:]:
        solution = minimise(problem, solution.theta, weights, delta)
    return best_first(solution)


def stages(delta: float) -> list[float]:
    """Huber widths that lead to delta."""
    return [wide for wide in CONTINUATION if wide > delta] + [delta]


def best_first(solution: Solution) -> Solution:
    """The solutions in the order of their values."""
    order = np.argsort(solution.value, kind="stable")
    return Solution(solution.theta[order], solution.value[order], solution.converged[order])


def adaptive_delta(residual: FloatArray, num_parameters: int) -> float:
    """1.345 times the robust scale of the residuals: 95 % efficiency under normal noise."""
    return max(1.345 * robust_scale(residual, num_parameters), SMALLEST_DELTA)


def robust_scale(residual: FloatArray, num_parameters: int) -> float:
    """Scaled median absolute residual, without the num_parameters smallest, which a fit near least absolute deviations zeroes.

    Street, Carroll & Ruppert 1988 (The American Statistician 42, 152).
    """
    size = np.sort(np.abs(residual))
    return 1.4826 * float(np.median(size[min(num_parameters, len(size) - 1) :]))


def _huber(problem: Problem, starts: FloatArray, delta: float | None, num_parameters: int) -> Descent:
    first = FIRST_DELTA if delta is None else delta
    minima = through(problem, starts, stages(first))
    if delta is None:
        first = adaptive_delta(_residual(problem, minima), num_parameters)
        minima = through(problem, minima.theta, [first])
    return Descent(minima, first, float(minima.value[0]))


def _squares(problem: Problem, starts: FloatArray) -> Descent:
    weights = np.ones((len(starts), len(problem.y)))
    rough = through(problem, starts, CONTINUATION[:1])
    width = max(float(np.sqrt(np.mean(_residual(problem, rough) ** 2))), SMALLEST_DELTA)
    minima = best_first(minimise(problem, rough.theta, weights, _SQUARES_DELTA, width=width))
    return Descent(minima, None, 2 * float(minima.value[0]))


def _absolute(problem: Problem, starts: FloatArray, objective: Objective) -> Descent:
    minima = through(problem, starts, [*CONTINUATION, *np.geomspace(1e-3, LAD_DELTA, 6).tolist()])
    size = np.abs(_residual(problem, minima))
    if objective.name == "lad":
        return Descent(minima, LAD_DELTA, float(size.sum()))
    return _free_scale(problem, minima)


def _free_scale(problem: Problem, minima: Solution) -> Descent:
    """Scale and parameters by turns, which is exact at the fixed point: each step lowers the joint likelihood."""
    rows = len(problem.y)
    scale = _best_scale(_residual(problem, minima))
    for _ in range(_MAX_TURNS):
        minima = through(problem, minima.theta, [_DENSITY_DELTA * scale])
        before, scale = scale, _best_scale(_residual(problem, minima))
        if abs(scale / before - 1) <= 1e-9:
            break
    norm = (
        math.sqrt(2 * math.pi) * math.erf(_DENSITY_DELTA / math.sqrt(2))
        + 2 * math.exp(-0.5 * _DENSITY_DELTA**2) / _DENSITY_DELTA
    )
    value = float(minima.value[0]) / scale**2 + rows * math.log(scale * norm)
    return Descent(minima, _DENSITY_DELTA * scale, value)


def _best_scale(residual: FloatArray) -> float:
    """The scale s that minimises the sum of Huber(r / s) plus rows times log s.

    Its stationarity, sum of psi(r / s) r / s = rows, is solved by iterating from least absolute deviations.
    """
    size = np.abs(residual)
    scale = max(_DENSITY_DELTA * float(size.mean()), _SMALLEST_SCALE)
    for _ in range(100):
        standard = size / scale
        new = max(scale * float(np.mean(np.minimum(standard, _DENSITY_DELTA) * standard)), _SMALLEST_SCALE)
        if abs(new / scale - 1) < 1e-12:
            break
        scale = new
    return scale


def _residual(problem: Problem, minima: Solution) -> FloatArray:
    return np.asarray(problem.y - problem.log_loss(minima.theta[:1])[0])
