"""What k samples a problem are worth when a perfect verifier picks the right one: curves of pass@k, their form and their price.

Everything is computed from exact pass@k (`points.answers`), at temperature 1. Arrays may have leading axes of resamples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.errors import PointsError
from scalesweep.points.answers import Answers
from scalesweep.points.points import Points
from scalesweep.studies.base import CONFIDENCE, Effect

MOST_BY_CHANCE = 0.01
"""Largest k times chance: guesses alone then solve one problem in a hundred."""
_PLACES = 13
"""Values of k, even in ln k."""
_EQUAL_P = 200
"""Values of p of the exponential form, 6 % apart over the quick form's range."""


@dataclass(frozen=True, eq=False)
class Curves:
    """ln pass@k of every cell of a grid of sizes and seeds, whose budgets are branches of one trunk."""

    n: FloatArray
    """Parameters, shape (cells,)."""
    d: FloatArray
    """Training tokens, shape (cells,)."""
    trunk: IntArray
    """Which size and seed, shape (cells,): indices of `sizes` and `seeds`."""
    sizes: FloatArray
    """Parameters of each trunk, shape (trunks,)."""
    seeds: FloatArray
    """Seed of each trunk, shape (trunks,)."""
    k: FloatArray
    """Samples a problem, shape (numbers,)."""
    tokens: int
    """Of an answer."""
    log_pass: FloatArray
    """Shape (cells, numbers)."""
    resampled: FloatArray
    """The same with problems drawn with replacement, those of all cells together, shape (draws, cells, numbers)."""

    @classmethod
    def of(cls, points: Points, draws: int, seed: int) -> "Curves":
        """The curves of points with a column `answers`.

        Raises:
            PointsError: no answers, not the same problems in every cell, a trunk of one budget, or a size with one seed.
        """
        used = points.used
        if "answers" not in used or "seed" not in used:
            raise PointsError(f"{points.source} has no column answers, or none of seeds: pass@k is not known.")
        answers: list[Answers] = list(used["answers"])
        if len({(one.log_p.shape, one.chance) for one in answers}) > 1:
            raise PointsError(f"{points.source}: cells answered different problems, so that they cannot be compared.")
        names, trunk = np.unique(used[["n", "seed"]].to_numpy(dtype=np.float64), axis=0, return_inverse=True)
        if np.bincount(trunk.ravel()).min() < 2 or np.unique(names[:, 0], return_counts=True)[1].min() < 2:
            raise PointsError(
                f"{points.source}: every size needs at least 2 seeds and 2 budgets, to know slopes and their noise."
            )
        k = np.geomspace(1, MOST_BY_CHANCE / answers[0].chance, _PLACES)
        missed = np.array([one.log_missed for one in answers])
        solved = -np.expm1(missed[:, :, None] * k).transpose(1, 0, 2)
        number = len(solved)
        drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=draws) / number
        resampled = (drawn @ solved.reshape(number, -1)).reshape(draws, *solved.shape[1:])
        n, d = (used[name].to_numpy(dtype=np.float64) for name in ("n", "d"))
        shape = answers[0].log_p.shape
        return cls(n, d, trunk.ravel(), names[:, 0], names[:, 1], k, shape[1], _log(solved.mean(axis=0)), _log(resampled))

    def by_trunk(self, values: FloatArray) -> FloatArray:
        """Means of values of cells, shape (..., cells), over the budgets of each trunk, shape (..., trunks)."""
        return np.stack([values[..., self.trunk == i].mean(axis=-1) for i in range(len(self.sizes))], axis=-1)

    def along_tokens(self, values: FloatArray) -> FloatArray:
        """Least-squares slope of values of cells in ln C at a fixed size, shape (..., trunks)."""
        x = np.log(self.d)
        x = x - self.by_trunk(x)[self.trunk]
        return self.by_trunk(values * x) / self.by_trunk(x * x)


def _log(passed: FloatArray) -> FloatArray:
    return np.log(np.minimum(passed, 1 - 1e-12))  # of 1, -ln pass has no logarithm


def slope_in_k(log_pass: FloatArray, k: FloatArray) -> FloatArray:
    """Exponent b of -ln pass@k = a k^-b (Schaeffer et al. 2025, arXiv 2502.17578) by least squares in logs, shape (...,)."""
    x = np.log(k) - np.log(k).mean()
    return np.asarray(-(np.log(-log_pass) @ x) / (x @ x))


def share_of_misfit(log_pass: FloatArray, k: FloatArray) -> FloatArray:
    """Share r / (r + e), shape (...,): rms of ln pass@k about a power law, r, and about an exponential, e. 0: a power law.

    The power law is ln pass@k = -a k^-b. The exponential is pass@k = z (1 - (1 - p)^k): a share z <= 1 of problems that are all
    equally hard. Both have two parameters and are fitted to ln pass@k by least squares.
    """
    y, x = np.log(-log_pass), np.log(k)
    weight = log_pass**2 / (log_pass**2).sum(axis=-1, keepdims=True)  # errors of y -> errors of ln pass@k
    mean_x, mean_y = ((weight * one).sum(axis=-1, keepdims=True) for one in (x, y))
    slope = (weight * (x - mean_x) * (y - mean_y)).sum(axis=-1) / (weight * (x - mean_x) ** 2).sum(axis=-1)
    fitted = -np.exp(mean_y + slope[..., None] * (x - mean_x))
    power = np.sqrt(((log_pass - fitted) ** 2).mean(axis=-1))
    p = np.geomspace(0.01 / k[-1], 0.999, _EQUAL_P)
    curve = np.log(-np.expm1(np.multiply.outer(np.log1p(-p), k)))  # (p, numbers)
    squares = (log_pass**2).mean(axis=-1)[..., None] - 2 * log_pass @ curve.T / len(k) + (curve**2).mean(axis=1)
    log_z = np.minimum(log_pass.mean(axis=-1)[..., None] - curve.mean(axis=1), 0.0)
    gap = log_pass.mean(axis=-1)[..., None] - curve.mean(axis=1)
    exponential = np.sqrt(np.maximum(squares - 2 * log_z * gap + log_z**2, 1e-20).min(axis=-1))
    return np.asarray(power / (power + exponential))


def over_seeds(curves: Curves, value: float, trunks: FloatArray, resampled: FloatArray) -> Effect:
    """The mean over trunks with a t-interval: seeds of one size differ by noise, sizes by right; problems add their variance.

    Degrees of freedom are those of Welch and Satterthwaite, because the sizes have unequal noise.

    Args:
        curves: whose trunks they are.
        value: the number.
        trunks: each trunk's own number, or its linear influence on it, shape (trunks,).
        resampled: the number under resampled problems, shape (draws,).
    """
    sizes = np.unique(curves.sizes)
    groups = [trunks[curves.sizes == size] for size in sizes]
    variances = [float(np.var(one, ddof=1)) / len(one) / len(sizes) ** 2 for one in groups]
    problems = float(np.var(resampled, ddof=1))
    total = sum(variances) + problems
    spare = sum(one**2 / (len(group) - 1) for one, group in zip(variances, groups, strict=True))
    freedom = total**2 / spare if spare > 0 else math.inf
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(total)
    return Effect(value, value - half, value + half)


@dataclass(frozen=True)
class Best:
    """The best use of one budget of FLOPs."""

    k: float
    n: float
    d: float
    passed: float
    """pass@k."""


def best_use(curves: Curves, mean: Sequence[FloatArray], budget: float, queries: float) -> Best:
    """The size, tokens and k with the largest pass@k where 6 N D + queries 2 N m k = budget, m tokens an answer.

    Tokens are interpolated between a size's budgets (ln(-ln pass@k) is linear in ln D there) and never extrapolated: what a
    size cannot spend stays unspent. k goes from 1 to the largest.

    Args:
        curves: sizes, tokens and k.
        mean: ln(-ln pass@k), mean over seeds, by size as of `by_budget`.
        budget: FLOPs in all.
        queries: problems that are asked.

    Raises:
        PointsError: the budget does not pay for any size's fewest tokens.
    """
    k = np.geomspace(1, curves.k[-1], 10 * _PLACES)
    place = np.interp(np.log(k), np.log(curves.k), np.arange(len(curves.k)))
    low = np.minimum(place.astype(int), len(curves.k) - 2)
    found: list[Best] = []
    for n, rows in zip(np.unique(curves.sizes).tolist(), mean, strict=True):
        x = np.unique(np.log(curves.d[curves.n == n]))
        tokens = (budget - queries * 2 * n * curves.tokens * k) / (6 * n)
        can = tokens >= math.exp(x[0]) * (1 - 1e-9)
        if not can.any():
            continue
        at = np.log(np.clip(tokens[can], math.exp(x[0]), math.exp(x[-1])))
        between = rows[:, low[can]] + (place - low)[can] * (rows[:, low[can] + 1] - rows[:, low[can]])
        j, column = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2), np.arange(len(at))
        y = between[j, column] + (at - x[j]) / (x[j + 1] - x[j]) * (between[j + 1, column] - between[j, column])
        i = int(np.argmin(y))
        found.append(Best(float(k[can][i]), n, math.exp(at[i]), math.exp(-math.exp(y[i]))))
    if not found:
        raise PointsError(f"A budget of {budget:.3g} FLOPs does not pay for {queries:.3g} queries of any measured model.")
    return max(found, key=lambda best: best.passed)


def by_budget(curves: Curves, log_pass: FloatArray) -> Sequence[FloatArray]:
    """ln(-ln pass@k) of each size's trunks, shape (seeds, budgets, numbers) each, budgets ascending.

    Raises:
        PointsError: trunks of one size have different budgets.
    """
    y, found = np.log(-log_pass), []
    for size in np.unique(curves.sizes):
        rows = [np.flatnonzero(curves.trunk == i) for i in np.flatnonzero(curves.sizes == size)]
        rows = [one[np.argsort(curves.d[one])] for one in rows]
        if len({tuple(curves.d[one]) for one in rows}) > 1:
            raise PointsError("Seeds of one size have different budgets, so that they cannot be averaged.")
        found.append(np.array([y[one] for one in rows]))
    return found
