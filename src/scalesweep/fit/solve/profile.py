"""Profile likelihood intervals: how far one parameter can move before no choice of the others fits the points.

The interval of a parameter holds the values v whose likelihood ratio against the optimum is within the quantile,

    2 (Q(v) - Q_min) / c <= t_{n-p}^2,    c = K^2 (sum psi^2 / (n - p)) / m,    K = 1 + (p / n) (1 - m) / m,    m = mean psi',

where Q(v) is the objective re-minimised with the parameter fixed at v, and psi the derivative of the Huber loss at the
residuals of the optimum (Schrader & Hettmansperger 1980, Biometrika 67, 93); K corrects for few points (Huber 1981, Robust
Statistics, section 7.6). With a Huber width beyond all residuals this is the usual likelihood ratio of normal noise with
estimated variance. It takes the points as independent.
"""

from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.fit.solve.huber import minimise, objective
from scalesweep.fit.solve.powers import Expansion, Problem

_OFFSETS = np.geomspace(0.25, 64, 33)
"""Distances from the optimum in standard errors; the root of the likelihood ratio is interpolated between them."""


@dataclass(frozen=True, eq=False)
class Pinned:
    """A problem in which one parameter keeps the value that it starts with, a different value in each problem of a batch."""

    problem: Problem
    """The problem in which it is free."""
    index: int
    """Position of the parameter in theta."""

    @property
    def y(self) -> FloatArray:
        """Logarithm of the loss, up to a constant, shape (rows,)."""
        return self.problem.y

    @property
    def lower(self) -> FloatArray:
        """Lower bounds of theta, shape (P,)."""
        return self.problem.lower

    @property
    def upper(self) -> FloatArray:
        """Upper bounds of theta, shape (P,)."""
        return self.problem.upper

    def with_y(self, y: FloatArray) -> "Pinned":
        """The same form and points with other y."""
        return Pinned(self.problem.with_y(y), self.index)

    def log_loss(self, theta: FloatArray) -> FloatArray:
        """Log L_predicted, shape (problems, rows), for theta of shape (problems, P)."""
        return self.problem.log_loss(theta)

    def expand(self, theta: FloatArray) -> Expansion:
        """The law at theta, with derivatives by the pinned parameter that are zero."""
        at = self.problem.expand(theta)
        jacobian = at.jacobian.copy()
        jacobian[:, :, self.index] = 0

        def curvature(factor: FloatArray) -> FloatArray:
            result = at.curvature(factor)
            result[:, self.index] = result[:, :, self.index] = 0
            return result

        return Expansion(at.log_loss, jacobian, curvature)


@dataclass(frozen=True, eq=False)
class ProfileCurve:
    """The root of the likelihood ratio along one parameter."""

    values: FloatArray
    """Values of the parameter, rising, shape (values,)."""
    root: FloatArray
    """Root of the likelihood ratio at each of them, shape (values,)."""
    centre: float
    """The estimate, where the root is 0."""
    threshold: float
    """The root at the ends of the interval."""
    low: float
    """Lower end of the interval: where the root meets the threshold, or the parameter's bound."""
    high: float
    """Upper end."""

    def in_unit(self, unit: float) -> "ProfileCurve":
        """The same with the parameter multiplied by its unit."""
        centre, low, high = (value * unit for value in (self.centre, self.low, self.high))
        return ProfileCurve(self.values * unit, self.root, centre, self.threshold, low, high)


def profile_interval(
    problem: Problem, theta: FloatArray, delta: float, index: int, num_units: int, confidence: float
) -> tuple[float, float] | None:
    """Profile likelihood interval of theta[index], in the solver's units.

    None without spare points, and for a parameter that changes no loss.

    An end that the points do not limit is the parameter's bound, or infinite.

    Args:
        problem: data and form.
        theta: the optimum, shape (P,).
        delta: Huber width, in log loss.
        index: position of the parameter.
        num_units: independent rows; copies of a row count once.
        confidence: nominal coverage.
    """
    curve = profile_curve(problem, theta, delta, index, num_units, confidence)
    return None if curve is None else (curve.low, curve.high)


def profile_curve(
    problem: Problem, theta: FloatArray, delta: float, index: int, num_units: int, confidence: float
) -> ProfileCurve | None:
    """The likelihood ratio behind `profile_interval`, which has the same arguments, in the solver's units."""
    sides = _sides(problem, theta, delta, index, num_units, confidence)
    if sides is None:
        return None
    threshold, (below, above) = sides
    values, root = (np.concatenate([one[:0:-1], other]) for one, other in zip(below, above, strict=True))
    low = _crossing(*below, threshold, float(problem.lower[index]))
    return ProfileCurve(
        values, root, float(theta[index]), threshold, low, _crossing(*above, threshold, float(problem.upper[index]))
    )


def _sides(
    problem: Problem, theta: FloatArray, delta: float, index: int, num_units: int, confidence: float
) -> tuple[float, tuple[tuple[FloatArray, FloatArray], ...]] | None:
    """The threshold, and (values, roots of the ratio) from the optimum downwards and upwards; None as in `profile_interval`."""
    from scipy.special import stdtrit

    spare = num_units - int(np.sum(problem.lower != problem.upper))
    at = problem.expand(theta[None])
    residual = problem.y - at.log_loss[0]
    psi_squares = float(np.sum(np.clip(residual, -delta, delta) ** 2))
    within = float(np.mean(np.abs(residual) <= delta))
    if spare <= 0 or psi_squares == 0 or within == 0:
        return None
    correction = 1 + (num_units - spare) / num_units * (1 - within) / within
    scale = correction**2 * psi_squares / spare / within
    found = _direction(problem, theta, at.jacobian[0], index)
    if found is None:
        return None
    direction, variance = found
    error = np.sqrt(scale / within * variance)
    sides = []
    for sign in (-1, 1):
        values = np.clip(theta[index] + sign * error * _OFFSETS, problem.lower[index], problem.upper[index])
        with np.errstate(divide="ignore", invalid="ignore"):  # held where all terms vanish, no law has a loss
            ratio = _profile(problem, theta, delta, index, values, direction) / scale
        sides.append((np.append(theta[index], values), np.sqrt(np.append(0.0, ratio))))
    return float(stdtrit(spare, 0.5 + 0.5 * confidence)), tuple(sides)


def _direction(problem: Problem, theta: FloatArray, jacobian: FloatArray, index: int) -> tuple[FloatArray, float] | None:
    """How theta follows its parameter `index` to first order, shape (P,), and that parameter's variance at unit noise.

    None where the loss does not change with it, as with the exponent of a term that is zero.
    """
    at_bound = (theta <= problem.lower) | (theta >= problem.upper)
    free = ~at_bound | ((np.arange(len(theta)) == index) & (problem.lower != problem.upper))
    size = np.linalg.norm(jacobian, axis=0)
    unit = np.where(size > 0, size, 1.0)
    inverse = np.zeros((len(theta), len(theta)))
    part = jacobian[:, free] / unit[free]
    inverse[np.ix_(free, free)] = np.linalg.pinv(part.T @ part, hermitian=True)
    if not inverse[index, index] > 0:
        return None
    return inverse[:, index] / inverse[index, index] * unit[index] / unit, float(inverse[index, index] / unit[index] ** 2)


def _profile(
    problem: Problem, theta: FloatArray, delta: float, index: int, values: FloatArray, direction: FloatArray
) -> FloatArray:
    """2 (Q(v) - Q_min) at each value, shape (values,).

    Starts are the better of two, along the valley and at the optimum, and then the minima of the neighbouring values: where a
    law has a ridge, a value by itself may end beside the minimum.
    """
    weights = np.ones((len(values), len(problem.y)))
    still = np.repeat(theta[None], len(values), axis=0)
    still[:, index] = values
    along = np.clip(theta + np.outer(values - theta[index], direction), problem.lower, problem.upper)
    along[:, index] = values
    is_better = objective(problem, along, weights, delta) < objective(problem, still, weights, delta)
    starts = np.where(is_better[:, None], along, still)
    pinned = Pinned(problem, index)
    found = minimise(pinned, starts, weights, delta)
    lowest, at = found.value, found.theta
    for shift in (1, -1):
        near = np.roll(at, shift, axis=0)
        near[:, index] = values
        again = minimise(pinned, near, weights, delta)
        at = np.where((again.value < lowest)[:, None], again.theta, at)
        lowest = np.minimum(again.value, lowest)
    least = objective(problem, theta[None], weights[:1], delta)[0]
    return np.asarray(np.maximum(2 * (lowest - least), 0.0))


def _crossing(values: FloatArray, root: FloatArray, threshold: float, bound: float) -> float:
    """Where the root of the likelihood ratio first exceeds the threshold, or the bound."""
    beyond = np.flatnonzero(root > threshold)
    if not len(beyond):
        return bound
    after = int(beyond[0])
    share = (threshold - root[after - 1]) / (root[after] - root[after - 1])
    return float(values[after - 1] + share * (values[after] - values[after - 1]))
