"""The estimator: Huber loss of log-loss residuals for any law that is a sum of power terms. Knows no science.

The law is log L = log sum_k c_k exp(-s_k x_k), with coefficients c_k >= 0 and exponents 0 <= s_k <= 10; x_k is the logarithm
of the k-th term's variable over its smallest value, or 0 for a constant term. Parameters are theta = (c_1..c_K, s_1..s_K).
That origin makes c_k the largest measured size of its term and the Hessian well conditioned, for steep terms more than
centring would; coefficients instead of their logarithms let a term vanish exactly at its bound.

Many problems are solved at once: theta has shape (problems, 2K), and each problem has its own integer row weights, which is
all that a bootstrap resample is. The minimiser is a projected Newton method with the exact Hessian, whose negative curvature
is reversed and whose steps are damped until they descend (Levenberg 1944); starts come from a grid over the exponents, on
which the coefficients are a non-negative least-squares problem of the relative residual with a closed form.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MAX_EXPONENT = 10.0
GRADIENT_TOLERANCE = 1e-9
"""Largest free component of the gradient at convergence, relative to delta, the root of the number of rows and the scale of
the parameter. This does not depend on units."""
_GRID = np.geomspace(0.03, 3.0, 16)
_MAX_STEPS = 300
_CHUNK_VALUES = 400_000
"""Problems times rows that are held in memory together."""


@dataclass(frozen=True, eq=False)
class SumOfPowers:
    """One data set and the shape of the law."""

    x: FloatArray
    """Logarithms of the terms' variables over their smallest values, shape (rows, K); a column of zeros is a constant term."""
    y: FloatArray
    """Logarithm of the loss, up to a constant, shape (rows,)."""

    @property
    def lower(self) -> FloatArray:
        """Lower bounds of theta, shape (2K,)."""
        return np.zeros(2 * self.x.shape[1])

    @property
    def upper(self) -> FloatArray:
        """Upper bounds of theta, shape (2K,); the exponent of a constant term is fixed at 0."""
        exponents = np.where(self.is_power, MAX_EXPONENT, 0.0)
        return np.concatenate([np.full(self.x.shape[1], np.inf), exponents])

    @property
    def is_power(self) -> NDArray[np.bool_]:
        """Which terms have an exponent, shape (K,)."""
        return np.asarray(np.any(self.x != 0, axis=0))


@dataclass(frozen=True, eq=False)
class Solution:
    """Minima of a batch of problems."""

    theta: FloatArray
    """Parameters, shape (problems, 2K)."""
    value: FloatArray
    """Sum of weighted Huber losses, shape (problems,)."""
    converged: NDArray[np.bool_]
    """Whether the gradient test holds, shape (problems,)."""


def objective(problem: SumOfPowers, theta: FloatArray, weights: FloatArray, delta: float) -> FloatArray:
    """Sum of w Huber_delta(y - log sum of terms) for each problem, shape (problems,); infinite where all terms vanish."""
    basis, coefficients = _basis(problem, theta)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        size = np.abs(problem.y - np.log((basis @ coefficients[:, :, None])[:, :, 0]))
        loss = np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))
        return np.asarray(np.sum(weights * loss, axis=1))


def derivatives(
    problem: SumOfPowers, theta: FloatArray, weights: FloatArray, delta: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gradient and exact Hessian of `objective`, and the natural scale of each parameter.

    Returns:
        Gradient, shape (problems, 2K); Hessian, shape (problems, 2K, 2K); root of the weighted sum over rows of the squared
        derivative of log L, shape (problems, 2K).
    """
    num_terms = problem.x.shape[1]
    basis, coefficients = _basis(problem, theta)
    total = basis @ coefficients[:, :, None]
    by_coefficient = basis / total
    by_exponent = -problem.x * by_coefficient * coefficients[:, None, :]
    jacobian = np.concatenate([by_coefficient, by_exponent], axis=2)
    residual = problem.y - np.log(total[:, :, 0])
    slope = weights * np.clip(residual, -delta, delta)
    gradient = -(slope[:, None, :] @ jacobian)[:, 0, :]
    # d2 log S = d2S / S - (d log S)(d log S)^T, so the outer product is weighted by psi' + psi.
    weight = weights * (np.abs(residual) <= delta) + slope
    hessian = (jacobian * weight[:, :, None]).swapaxes(1, 2) @ jacobian
    c, s = np.arange(num_terms), np.arange(num_terms) + num_terms
    mixed = np.einsum("bn,nk,bnk->bk", slope, -problem.x, by_coefficient)
    hessian[:, c, s] -= mixed
    hessian[:, s, c] -= mixed
    hessian[:, s, s] -= np.einsum("bn,nk,bnk->bk", slope, -problem.x, by_exponent)
    return gradient, hessian, np.sqrt(weights[:, None, :] @ jacobian**2)[:, 0, :]


def minimise(problem: SumOfPowers, starts: FloatArray, weights: FloatArray, delta: float) -> Solution:
    """Local minima reached from `starts`, shape (problems, 2K), under `weights`, shape (problems, rows)."""
    chunk = max(1, _CHUNK_VALUES // len(problem.y))
    parts = [
        _minimise_chunk(problem, starts[i : i + chunk], weights[i : i + chunk], delta) for i in range(0, len(starts), chunk)
    ]
    return Solution(
        np.concatenate([part.theta for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.converged for part in parts]),
    )


def profile_starts(problem: SumOfPowers, num: int) -> FloatArray:
    """The best points of `num` separate regions of the exponent grid, best first, shape (at most num, 2K).

    Every exponent has 16 grid values in 4 blocks; each combination of blocks gives its best point, so that different basins
    stay represented.
    """
    powers = np.flatnonzero(problem.is_power)
    mesh = np.stack(np.meshgrid(*[_GRID] * len(powers), indexing="ij"), axis=-1).reshape(-1, len(powers))
    theta = np.zeros((len(mesh), 2 * problem.x.shape[1]))
    theta[:, problem.x.shape[1] + powers] = mesh
    theta[:, : problem.x.shape[1]], misfit = _nonnegative_coefficients(problem, theta)
    blocks = np.digitize(mesh, _GRID[[4, 8, 12]]) @ 4 ** np.arange(len(powers))
    best = [np.flatnonzero(blocks == b)[np.argmin(misfit[blocks == b])] for b in np.unique(blocks)]
    return np.asarray(theta[sorted(best, key=lambda i: float(misfit[i]))[:num]])


def _basis(problem: SumOfPowers, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Powers exp(-s_k x_k), shape (problems, rows, K), and coefficients, shape (problems, K)."""
    num_terms = problem.x.shape[1]
    return np.exp(-theta[:, None, num_terms:] * problem.x), theta[:, :num_terms]


def _nonnegative_coefficients(problem: SumOfPowers, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coefficients >= 0 of least squares of L_predicted / L - 1 at given exponents, and the sum of squares.

    With few terms the solution is the best of the unconstrained ones over all supports that come out non-negative.
    """
    basis = _basis(problem, theta)[0] * np.exp(-problem.y)[:, None]
    gram, moment = basis.swapaxes(1, 2) @ basis, basis.sum(axis=1)
    num_problems, num_terms = moment.shape
    best = np.zeros((num_problems, num_terms))
    misfit = np.full(num_problems, np.inf)
    for size in range(1, num_terms + 1):
        for support in map(list, itertools.combinations(range(num_terms), size)):
            inverse = np.linalg.pinv(gram[:, support][:, :, support], hermitian=True)
            part = (inverse @ moment[:, support, None])[:, :, 0]
            rss = len(problem.y) - np.sum(part * moment[:, support], axis=1)
            better = (part >= 0).all(axis=1) & (rss < misfit)
            misfit[better] = rss[better]
            best[better] = 0
            best[np.ix_(better, support)] = part[better]
    return best, misfit


def _minimise_chunk(problem: SumOfPowers, starts: FloatArray, weights: FloatArray, delta: float) -> Solution:
    """Projected, damped Newton on all problems of the chunk; problems that have converged leave the batch."""
    theta = np.clip(starts, problem.lower, problem.upper)
    value = objective(problem, theta, weights, delta)
    damping = np.full(len(theta), 1e-4)
    converged = np.zeros(len(theta), dtype=bool)
    active = np.arange(len(theta))
    tolerance = GRADIENT_TOLERANCE * np.sqrt(weights.sum(axis=1)) * delta
    for _ in range(_MAX_STEPS):
        gradient, hessian, scale = derivatives(problem, theta[active], weights[active], delta)
        free = _free(problem, theta[active], gradient)
        scale = np.where(scale > 0, scale, 1.0)
        small = np.max(np.abs(gradient * free) / scale, axis=1) <= tolerance[active]
        converged[active[small]] = True
        going = ~small & (damping[active] < 1e12)
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


def _free(problem: SumOfPowers, theta: FloatArray, gradient: FloatArray) -> NDArray[np.bool_]:
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
    values, vectors = np.linalg.eigh(scaled)
    size = np.abs(values)
    size = size + (damping * size.max(axis=1))[:, None] + np.finfo(np.float64).tiny
    along = (vectors.swapaxes(1, 2) @ (gradient * free / scale)[:, :, None])[:, :, 0] / size
    return np.asarray(-(vectors @ along[:, :, None])[:, :, 0] * free / scale)
