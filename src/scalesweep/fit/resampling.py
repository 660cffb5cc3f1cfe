"""What is resampled for an interval: which rows belong together, and whether points of one size share their noise.

Rows of one training run, and exact copies of a row, are one unit: copying a table must not make an interval narrower. Units of
one model size are one cluster, because a size that trained badly (initialisation, learning rate, instability) is off at every
budget: intervals that take such points as independent and claim 90 % covered 55 to 60 % of simulated sweeps. A resample is a
row of integer weights on the same rows, never a copy of rows, so that all refits run as one batch.
"""

import math
from collections.abc import Mapping

import numpy as np

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.fit.solve.huber import Solution, minimise
from scalesweep.fit.solve.powers import Problem
from scalesweep.points.clusters import Sharer

SHARED_P_VALUES: Mapping[Sharer, float] = {"size": 0.15, "budget": 0.3, "seed": 0.1}
"""Below this p value of the permutation test the points of one size, budget or seed are taken to share noise.

Above the usual levels on purpose: with some six groups the test has little power, a missed one costs up to thirty points of
coverage, and a false alarm some width. Budgets have the highest, because the law's own term of D, which takes up most of what
five budgets share, hides it best; seeds the lowest, because what a seed shares moves no exponent. What an identified law is
worth with these is in docs/coverage.md. With .15 for budgets too, intervals of beta held 75 % where budgets share their noise
(200 sweeps); with .3 for all, 43 % of 60 sweeps of 5 sizes, 5 budgets and 2 seeds that share nothing were called identified
(57 % with these).
"""
_PERMUTATIONS = 999
_RANK_TOLERANCE = 1e-6
"""Singular value, relative to the largest, below which a direction of the parameters moves no loss."""
_TESTABLE = 0.05
"""Share of what groups could differ by that the law must leave for a test. Of three budgets it leaves .01, of four .34."""
_ROUNDING = 1e-12
"""Residual of log loss below which a table is exact: differences between groups are those of rounding."""
_SAME_THETA = 1e-3
"""Difference of parameters in the solver's units, where all are of the size of 1, below which two starts lead to one end."""


def draw_weights(labels: IntArray, num: int, rng: np.random.Generator) -> FloatArray:
    """Bootstrap weights of the rows, shape (num, rows): as many labels as there are, drawn with replacement.

    Efron 1979 (Annals of Statistics 7, 1), for the labels as observations.
    """
    count = int(labels.max()) + 1
    draws = rng.multinomial(count, np.full(count, 1 / count), size=num)
    return np.asarray(draws[:, labels], dtype=np.float64)


def cluster_p_value(
    residual: FloatArray,
    unit: IntArray,
    labels: IntArray,
    jacobian: FloatArray,
    rng: np.random.Generator,
    delta: float = math.inf,
) -> float | None:
    """P value of the permutation test that residuals do not differ between groups; None where no test can be made.

    That is where no group has two runs, there is one group, no run is spare, or the law takes up all that groups could share.
    The statistic is the share of the sum of squares of the units' mean residuals that lies between groups, residuals clipped at
    `delta` as the Huber objective counts them, and without what the law can take up. Of what groups share it has taken up a
    part when it was fitted to them: of five budgets about two of four degrees of freedom. The 999 references are therefore
    the units' residuals, permuted, with what the law would have taken up of them taken off as well: Freedman and Lane 1983
    (Journal of Business & Economic Statistics 1, 292), for the law made linear at its optimum. Compared with plain
    permutations, 12 % of p values would be below 0.3 where five budgets share nothing. A unit that lies in several groups
    counts for its first.

    Args:
        residual: log L - log L_predicted, shape (rows,).
        unit: label of each row's run, from 0, shape (rows,).
        labels: label of each row's group, from 0, shape (rows,).
        jacobian: of log L_predicted by the parameters, shape (rows, P).
        rng: source of the permutations.
        delta: Huber width of the fit, in log loss.
    """
    first = np.unique(unit, return_index=True)[1]
    group = np.unique(labels[first], return_inverse=True)[1]
    count = int(group.max()) + 1
    if count < 2 or count == len(first):
        return None
    rows = np.bincount(unit)
    slopes = [np.bincount(unit, column) / rows for column in jacobian.T]
    level = np.ones(len(rows))
    taken_up = _basis(np.array([level, *slopes]))

    def left(values: FloatArray, by: FloatArray) -> FloatArray:
        return np.asarray(values - values @ by.T @ by)

    belongs = np.equal.outer(np.arange(count), group) / np.sqrt(np.bincount(group))[:, None]
    could_share = left(belongs, _basis(level[None]))
    if len(taken_up) >= len(rows) or np.sum(left(belongs, taken_up) ** 2) < _TESTABLE * np.sum(could_share**2):
        return None
    if np.abs(residual).max() < _ROUNDING:
        return 1.0
    mean = left(np.bincount(unit, np.clip(residual, -delta, delta)) / rows, taken_up)
    permuted = left(rng.permuted(np.tile(mean, (_PERMUTATIONS, 1)), axis=1), taken_up)
    between, found = np.sum((permuted @ belongs.T) ** 2, axis=1), np.sum((belongs @ mean) ** 2)
    differ_less = between * np.sum(mean**2) < found * np.sum(permuted**2, axis=1) * (1 - 1e-12)  # shares, multiplied across
    return float(1 + np.sum(~differ_less)) / (1 + _PERMUTATIONS)


def _basis(vectors: FloatArray) -> FloatArray:
    """Orthonormal rows that span those of `vectors`; rows that are zero or not finite, of terms that vanished, span nothing."""
    size = np.linalg.norm(vectors, axis=1)
    kept = vectors[np.isfinite(size) & (size > 0)]
    _, values, rows = np.linalg.svd(kept / np.linalg.norm(kept, axis=1, keepdims=True), full_matrices=False)
    return np.asarray(rows[values > _RANK_TOLERANCE * values[0]])


def within_groups(residual: FloatArray, unit: IntArray, labels: IntArray) -> FloatArray:
    """What is left of residuals, shape (rows,), when each group's mean is taken off: noise that its units do not share.

    Scaled by sqrt(k / (k - 1)) for the k units of the group, one of whose degrees of freedom the mean has taken; a group of one
    unit keeps its residuals, because nothing tells what it shares.
    """
    in_unit = np.bincount(unit)[unit]
    num = np.bincount(labels, 1 / in_unit)[labels].round()
    mean = (np.bincount(labels, residual / in_unit))[labels] / num
    return np.where(num > 1, (residual - mean) * np.sqrt(num / np.maximum(num - 1, 1)), residual)


def refit(problem: Problem, minima: FloatArray, weights: FloatArray, delta: float) -> Solution:
    """Minima under each row of `weights`, shape (resamples, rows), started at the full optimum.

    A resample whose refit fails the gradient test is started again from every other minimum of the full data, and the best is
    kept.

    Args:
        problem: data and form.
        minima: minima of the full data, best first, shape (minima, P).
        weights: of the rows in each resample.
        delta: Huber width.
    """
    if not len(weights):
        return Solution(np.empty((0, minima.shape[1])), np.empty(0), np.empty(0, dtype=bool))
    best = minimise(problem, np.repeat(minima[:1], len(weights), axis=0), weights, delta)
    lost = np.flatnonzero(~best.converged)
    for start in _others(minima) if len(lost) else ():
        again = minimise(problem, np.repeat(start[None], len(lost), axis=0), weights[lost], delta)
        better = (again.value < best.value[lost]) | (again.converged & ~best.converged[lost])
        for old, new in ((best.theta, again.theta), (best.value, again.value), (best.converged, again.converged)):
            old[lost[better]] = new[better]
    return best


def _others(minima: FloatArray) -> list[FloatArray]:
    """The minima that differ from the first and from each other: most starts end in one place, and again only costs time."""
    kept = [minima[0]]
    for theta in minima[1:]:
        if not any(np.allclose(theta, other, rtol=_SAME_THETA, atol=_SAME_THETA) for other in kept):
            kept.append(theta)
    return kept[1:]
