"""The estimator: Huber loss of log-loss residuals for any law. Knows no science.

A form gives log L and its derivatives: `SumOfPowers` and `CoupledPowers` in closed form, `problems.FormProblem` for any law
that has a gradient. Their variables are relative to the smallest measured value: that origin makes a coefficient the largest
measured size of its term and the Hessian well conditioned, for steep terms more than centring would. Coefficients of a sum,
instead of their logarithms, let a term vanish exactly at its bound.

Many problems are solved at once: theta has shape (problems, P), and each problem has its own integer row weights, which is
all that a bootstrap resample is. The minimiser is a projected Newton method with the exact Hessian, whose negative curvature
is reversed and whose steps are damped until they descend (Levenberg 1944); starts come from a grid over the exponents, on
which the coefficients are a non-negative least-squares problem of the relative residual with a closed form.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalesweep.arrays import FloatArray
from scalesweep.fit.solve.powers import Problem

GRADIENT_TOLERANCE = 1e-9
"""Largest free component of the gradient at convergence, relative to delta, the root of the number of rows and the scale of
the parameter. This does not depend on units."""
_ROUNDING = 4e-16
"""Rounding error of a residual: no gradient is known better than this, relative as above without delta."""
_MAX_STEPS = 300
_CHUNK_VALUES = 40_000
"""Problems times rows that are in work together: few enough for a processor's cache, many enough to hide Python's overhead."""


@dataclass(frozen=True, eq=False)
class Solution:
    """Minima of a batch of problems."""

    theta: FloatArray
    """Parameters, shape (problems, P)."""
    value: FloatArray
    """Sum of weighted Huber losses, shape (problems,)."""
    converged: NDArray[np.bool_]
    """Whether the gradient test holds, shape (problems,)."""


def objective(problem: Problem, theta: FloatArray, weights: FloatArray, delta: float) -> FloatArray:
    """Sum of w Huber_delta(y - log L_predicted) for each problem, shape (problems,); infinite where L_predicted is 0."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        size = np.abs(problem.y - problem.log_loss(theta))
        loss = np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))
        return np.asarray(np.sum(weights * loss, axis=1))


def derivatives(
    problem: Problem, theta: FloatArray, weights: FloatArray, delta: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gradient and exact Hessian of `objective`, and the natural scale of each parameter.

    Returns:
        Gradient, shape (problems, P); Hessian, shape (problems, P, P); root of the weighted sum over rows of the squared
        derivative of log L, shape (problems, P).
    """
    at = problem.expand(theta)
    residual = problem.y - at.log_loss
    slope = weights * np.clip(residual, -delta, delta)
    gradient = -(slope[:, None, :] @ at.jacobian)[:, 0, :]
    # d2 log L = d2L / L - (d log L)(d log L)^T, so the outer product is weighted by psi' + psi.
    weight = weights * (np.abs(residual) <= delta) + slope
    hessian = (at.jacobian * weight[:, :, None]).swapaxes(1, 2) @ at.jacobian - at.curvature(slope)
    return gradient, hessian, np.sqrt(weights[:, None, :] @ at.jacobian**2)[:, 0, :]


def minimise(
    problem: Problem, starts: FloatArray, weights: FloatArray, delta: float, *, width: float | None = None
) -> Solution:
    """Local minima reached from `starts`, shape (problems, P), under `weights`, shape (problems, rows).

    `width` is the size of residual that the gradient test is relative to: delta, unless that is so wide that the loss is least
    squares.
    """
    chunk = max(1, _CHUNK_VALUES // len(problem.y))
    test = max(GRADIENT_TOLERANCE * (delta if width is None else width), _ROUNDING)
    parts = [
        _minimise_chunk(problem, starts[i : i + chunk], weights[i : i + chunk], delta, test)
        for i in range(0, len(starts), chunk)
    ]
    return Solution(
        np.concatenate([part.theta for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.converged for part in parts]),
    )


def nonnegative_least_squares(basis: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coefficients >= 0, shape (problems, K), of least squares, and the sums of squares, shape (problems,).

    With few terms the solution is the best of the unconstrained ones over all supports that come out non-negative.

    Args:
        basis: shape (problems, rows, K).
        target: shape (problems, rows).
    """
    gram, moment = basis.swapaxes(1, 2) @ basis, (target[:, None, :] @ basis)[:, 0]
    num_problems, num_terms = moment.shape
    best = np.zeros((num_problems, num_terms))
    total = np.sum(target**2, axis=1)
    misfit = total.copy()
    for size in range(1, num_terms + 1):
        for support in map(list, itertools.combinations(range(num_terms), size)):
            inverse = np.linalg.pinv(gram[:, support][:, :, support], hermitian=True)
            part = (inverse @ moment[:, support, None])[:, :, 0]
            rss = total - np.sum(part * moment[:, support], axis=1)
            better = (part >= 0).all(axis=1) & (rss < misfit)
            misfit[better] = rss[better]
            best[better] = 0
            best[np.ix_(better, support)] = part[better]
    return best, misfit


def _minimise_chunk(problem: Problem, starts: FloatArray, weights: FloatArray, delta: float, test: float) -> Solution:
    """Projected, damped Newton on all problems of the chunk; problems that have converged leave the batch."""
    theta = np.clip(starts, problem.lower, problem.upper)
    value = objective(problem, theta, weights, delta)
    damping = np.full(len(theta), 1e-4)
    converged = np.zeros(len(theta), dtype=bool)
    active = np.arange(len(theta))
    tolerance = test * np.sqrt(weights.sum(axis=1))
    for _ in range(_MAX_STEPS):
        gradient, hessian, scale = derivatives(problem, theta[active], weights[active], delta)
        free = _free(problem, theta[active], gradient)
        scale = np.where(scale > 0, scale, 1.0)
        small = np.max(np.abs(gradient * free) / scale, axis=1) <= tolerance[active]
        converged[active[small]] = True
        # Derivatives overflow where a parameter has run away; such a problem stops there, not converged.
        known = np.isfinite(hessian).all(axis=(1, 2)) & np.isfinite(gradient).all(axis=1)
        going = ~small & (damping[active] < 1e12) & known
        active = active[going]
        if not len(active):
            break
        step = _newton_step(gradient[going], hessian[going], scale[going], free[going], damping[active])
        candidate = np.clip(theta[active] + step, problem.lower, problem.upper)
        new = objective(problem, candidate, weights[active], delta)
        better = new <= value[active] * (1 + 1e-13)
        theta[active[better]] = candidate[better]
        value[active[better]] = new[better]
        damping[active] *= np.where(better, 0.1, 10.0)
        damping[active] = np.maximum(damping[active], 1e-14)
    return Solution(theta, value, converged)


def _free(problem: Problem, theta: FloatArray, gradient: FloatArray) -> NDArray[np.bool_]:
    """Parameters that may move: not those at a bound that the gradient pushes against."""
    at_lower = (theta <= problem.lower) & (gradient >= 0)
    at_upper = (theta >= problem.upper) & (gradient <= 0)
    return np.asarray(~(at_lower | at_upper | (problem.lower == problem.upper)))


def _newton_step(
    gradient: FloatArray, hessian: FloatArray, scale: FloatArray, free: NDArray[np.bool_], damping: FloatArray
) -> FloatArray:
    """Step of the free parameters with |Hessian| + damping (its largest eigenvalue) I, a direction of descent.

    It is computed in units of the parameters' scales, because powers of far rows make the plain Hessian ill-conditioned.
    """
    scaled = np.where(free[:, :, None] & free[:, None, :], hessian, 0.0) / (scale[:, :, None] * scale[:, None, :])
    # A problem whose derivatives overflow has no step; without this, one such problem would stop the whole batch.
    broken = ~np.isfinite(scaled).all(axis=(1, 2))
    scaled[broken] = 0.0
    values, vectors = np.linalg.eigh(scaled)
    size = np.abs(values)
    size = size + (damping * size.max(axis=1))[:, None] + np.finfo(np.float64).tiny
    along = (vectors.swapaxes(1, 2) @ (gradient * free / scale)[:, :, None])[:, :, 0] / size
    along[broken] = 0.0
    return np.asarray(-(vectors @ along[:, :, None])[:, :, 0] * free / scale)
