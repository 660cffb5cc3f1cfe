"""Draws of L(x) = E + A x^-alpha for few points: what points of one variable say of its floor, and so of its bend.

A bootstrap of six points has too few different resamples, and a percentile of refits is no interval where E ends at its bound.
So E is drawn from its confidence distribution, the signed root of the likelihood ratio taken as Student's t (Bates & Watts
1988, Nonlinear Regression Analysis, section 6.1, the profile t function), over floors that may be negative. A draw below zero
is zero, where the law is the plain power law. Coefficient and exponent are drawn given E. Coverage: docs/coverage.md.
"""

from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.laws.base import MAX_EXPONENT

_FIRST_FLOORS = np.concatenate([-np.geomspace(20, 0.05, 18), np.linspace(0.0, 1.15, 60)])
"""Floors first tried, in units of the lowest loss; beyond the lowest loss, because it has noise."""
_PASSES = 10
_NODES = 41
"""Floors of each later pass, across those that the pass before left within `_REACH`."""
_REACH = 8.0
_ENOUGH = 12
"""Floors within `_REACH` of the best, between which the profile is smooth enough to be interpolated."""
_LEAST_SD = 1e-12
"""Standard deviation of log loss below which residuals are rounding."""
_ITERATIONS = 40
_LARGEST_LOG, _LARGEST = 200.0, 700.0
"""Logarithms of the loss above E in the middle of the points, and of A, that a draw of one degree of freedom may reach: double
precision ends at 709."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Means over the runs of each place, as every law of one variable is fitted to them; arrays have shape (cells,)."""

    log_x: FloatArray
    log_loss: FloatArray
    """Mean of log L."""
    weights: FloatArray
    """Independent runs behind each mean."""
    num_independent: int
    """Cells, or runs where they are fewer because one run was measured in several cells."""


@dataclass(frozen=True, eq=False)
class _Profile:
    """The best fits with the floor fixed; arrays over floors."""

    floors: FloatArray
    log_a: FloatArray
    """Log coefficient at x = the cells' mean."""
    alpha: FloatArray
    squares: FloatArray
    """Weighted sums of squared residuals."""
    roots: FloatArray
    """Lower Cholesky factors of the inverse of J^T J of log coefficient and exponent, shape (floors, 2, 2)."""


def draw_floor_laws(cells: Cells, num: int, rng: np.random.Generator, floor: float | None = None) -> FloatArray:
    """(E, A, alpha) under normal noise of unknown size, shape (num, 3); empty without a spare cell.

    Args:
        cells: the points.
        num: draws.
        rng: their source.
        floor: E, where it is given and not estimated.
    """
    spare = cells.num_independent - (3 if floor is None else 2)
    if spare < 1 or num < 1:
        return np.empty((0, 3))
    centre = float(np.average(cells.log_x, weights=cells.weights))
    u = cells.log_x - centre
    z = _draw_t(spare, num, rng)
    if floor is not None:
        found = _profile(u, cells, np.array([floor]))
        at, sd = np.full(num, floor), np.full(num, np.sqrt(found.squares[0] / spare))
    else:
        found, roots_t, sd_best = _signed_roots(u, cells, spare)
        at = np.maximum(np.interp(z[0], roots_t, found.floors), 0.0)
        # Where the points steepen, what the plain law leaves over counts as scatter.
        at_zero = np.sqrt(np.interp(0.0, found.floors, found.squares) / (spare + 1))
        sd = np.where(at > 0, sd_best, max(sd_best, at_zero))
    log_a, alpha = (np.interp(at, found.floors, part) for part in (found.log_a, found.alpha))
    one, two, three = (np.interp(at, found.floors, found.roots[:, i, j]) for i, j in ((0, 0), (1, 0), (1, 1)))
    log_a = np.clip(log_a + sd * one * z[1], -_LARGEST_LOG, _LARGEST_LOG)
    alpha = np.clip(alpha + sd * (two * z[1] + three * z[2]), -MAX_EXPONENT, MAX_EXPONENT)
    return np.stack([at, np.exp(np.minimum(log_a + alpha * centre, _LARGEST)), alpha], axis=1)


def _draw_t(spare: int, num: int, rng: np.random.Generator) -> FloatArray:
    """Three variables that are jointly Student's t, shape (3, num), each at evenly spaced probabilities given those before it.

    Given the first k, the next one has spare + k degrees of freedom and the scale sqrt((spare + their squares) / (spare + k)).
    """
    from scipy.special import stdtrit

    probabilities, squares, drawn = (np.arange(num) + 0.5) / num, np.zeros(num), []
    for k in range(3):
        shuffled = rng.permutation(probabilities) if k else probabilities
        drawn.append(stdtrit(spare + k, shuffled) * np.sqrt((spare + squares) / (spare + k)))
        squares = squares + drawn[-1] ** 2
    return np.array(drawn)


def _signed_roots(u: FloatArray, cells: Cells, spare: int) -> tuple[_Profile, FloatArray, float]:
    """The profile of E over the floors that matter, the profile t of each, increasing, and the residuals' sd at the best."""
    lowest = float(np.exp(cells.log_loss.min()))
    floors = _FIRST_FLOORS * lowest
    for _ in range(_PASSES):
        found = _profile(u, cells, floors)
        best = int(np.argmin(found.squares))
        sd = max(float(np.sqrt(found.squares[best] / spare)), _LEAST_SD)
        rise = np.sqrt(np.maximum(found.squares - found.squares[best], 0.0)) / sd
        below, above = np.maximum.accumulate(rise[best::-1])[::-1], np.maximum.accumulate(rise[best:])
        t = np.concatenate([-below, above[1:]])
        near = np.flatnonzero(np.abs(t) < _REACH)
        if np.sum(np.abs(t[floors >= 0]) < _REACH) >= _ENOUGH or floors[near[-1]] < 0:
            break
        low, high = floors[max(near[0] - 1, 0)], floors[min(near[-1] + 1, len(floors) - 1)]
        inside = np.linspace(max(low, 0.0), high, _NODES)
        floors = np.unique(np.concatenate([floors[(floors < 0) & (floors >= low)], [min(low, 0.0), 0.0], inside]))
    return found, t, sd


def _profile(u: FloatArray, cells: Cells, floors: FloatArray) -> _Profile:
    """Least squares of log L - log(E + exp(log_a - alpha u)) for each floor, by Levenberg's damped Gauss-Newton steps."""
    y, w = cells.log_loss, cells.weights
    loss = np.exp(y)
    above = np.log(np.maximum(loss - floors[:, None], 0.03 * loss))
    slope = -(above * w * u).sum(axis=1) / (w * u**2).sum()
    theta = np.stack([(above * w).sum(axis=1) / w.sum(), np.clip(slope, 1e-3, MAX_EXPONENT)], axis=1)
    residual, jacobian = _expand(u, y, floors, theta)
    squares = np.sum(w * residual**2, axis=1)
    damping = np.full(len(floors), 1e-3)
    for _ in range(_ITERATIONS):
        normal = np.einsum("fci,c,fcj->fij", jacobian, w, jacobian)
        gradient = np.einsum("fci,c,fc->fi", jacobian, w, residual)
        extra = damping[:, None] * np.einsum("fii->fi", normal) + 1e-14
        step = np.linalg.solve(normal + extra[:, :, None] * np.eye(2), gradient[:, :, None])[:, :, 0]
        tried = theta + np.clip(step, -2.0, 2.0)
        tried[:, 1] = np.clip(tried[:, 1], -MAX_EXPONENT, MAX_EXPONENT)
        new_residual, new_jacobian = _expand(u, y, floors, tried)
        new_squares = np.sum(w * new_residual**2, axis=1)
        better = new_squares <= squares
        theta, residual = np.where(better[:, None], tried, theta), np.where(better[:, None], new_residual, residual)
        jacobian = np.where(better[:, None, None], new_jacobian, jacobian)
        settled = np.all(np.abs(step) <= 1e-10 * (1 + np.abs(theta)), axis=1)
        squares = np.where(better, new_squares, squares)
        damping = np.where(better, damping / 5, np.minimum(damping * 5, 1e6))
        if settled.all():
            break
    normal = np.einsum("fci,c,fcj->fij", jacobian, w, jacobian)
    normal += 1e-14 * np.eye(2)
    return _Profile(floors, theta[:, 0], theta[:, 1], squares, np.linalg.cholesky(np.linalg.inv(normal)))


def _expand(u: FloatArray, y: FloatArray, floors: FloatArray, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Residuals, shape (floors, cells), and the derivatives of the predicted log loss, shape (floors, cells, 2)."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        term = np.exp(np.minimum(theta[:, :1] - theta[:, 1:] * u, 500.0))
        loss = floors[:, None] + term
        residual = np.where(loss > 0, y - np.log(np.where(loss > 0, loss, 1.0)), 1e3)
        share = np.where(loss > 0, term / np.where(loss > 0, loss, 1.0), 0.0)
    return residual, np.stack([share, -share * u], axis=2)
