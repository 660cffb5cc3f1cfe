"""What is resampled for an interval: which rows belong together, and whether points of one size share their noise.

Rows of one training run, and exact copies of a row, are one unit: copying a table must not make an interval narrower. Units of
one model size are one cluster, because a size that trained badly (initialisation, learning rate, instability) is off at every
budget: intervals that take such points as independent and claim 90 % covered 55 to 60 % of simulated sweeps. A resample is a
row of integer weights on the same rows, never a copy of rows, so that all refits run as one batch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scalesweep.fit.design import find_levels
from scalesweep.fit.huber import Solution, minimise
from scalesweep.fit.powers import Problem

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

RUN_COLUMNS = ("trunk", "run")
"""Columns whose equal values, at one model size, mean one training run that was measured several times."""
CLUSTER_P_VALUE = 0.3
"""Below this p value of the permutation test the points of one size are taken to share noise.

Far above the usual levels on purpose: with some six sizes the test has little power, a missed cluster costs thirty points of
coverage, and a false alarm costs some width.
"""
_PERMUTATIONS = 999


@dataclass(frozen=True, eq=False)
class Units:
    """Which rows are drawn together; labels count from 0 in the order of the rows."""

    unit: IntArray
    """Label of the run or distinct row that each row belongs to, shape (rows,)."""
    cluster: IntArray
    """Label of the model size that each row belongs to, shape (rows,); a unit has one size."""

    @property
    def num_units(self) -> int:
        """Number of runs or distinct rows."""
        return int(self.unit.max()) + 1

    @property
    def num_clusters(self) -> int:
        """Number of model sizes."""
        return int(self.cluster.max()) + 1

    def take(self, rows: IntArray) -> "Units":
        """The units of `rows`, in that order."""
        return Units(_first_come(self.unit[rows]), _first_come(self.cluster[rows]))


def separate_rows(n: FloatArray) -> Units:
    """Every row a unit of its own, and every model size in n, shape (rows,), a cluster."""
    return Units(np.arange(len(n)), _size_levels(n))


def group_rows(frame: "pd.DataFrame") -> Units:
    """The units of a table with columns n, d, loss and perhaps seed, `trunk` and `run`.

    Rows that agree in n, d, loss and seed are one unit, and so are rows of one size that agree in `trunk` or in `run`; an empty
    value agrees with nothing.
    """
    same = [name for name in ("n", "d", "loss", "seed") if name in frame]
    unit = _first_come(frame.groupby(same, dropna=False, sort=False).ngroup().to_numpy())
    for name in RUN_COLUMNS:
        if name in frame:
            known = (frame[name].notna() & (frame[name].astype(str).str.strip() != "")).to_numpy()
            run = frame.groupby(["n", name], dropna=False, sort=False).ngroup().to_numpy()
            unit = _merge(unit, np.where(known, run, run.max() + 1 + np.arange(len(run))))
    return Units(unit, _size_levels(frame["n"].to_numpy(dtype=np.float64)))


def draw_weights(labels: IntArray, num: int, rng: np.random.Generator) -> FloatArray:
    """Bootstrap weights of the rows, shape (num, rows): as many labels as there are, drawn with replacement.

    Efron 1979 (Annals of Statistics 7, 1), for the labels as observations.
    """
    count = int(labels.max()) + 1
    draws = rng.multinomial(count, np.full(count, 1 / count), size=num)
    return np.asarray(draws[:, labels], dtype=np.float64)


def cluster_p_value(residual: FloatArray, units: Units, rng: np.random.Generator) -> float | None:
    """P value of the permutation test that residuals do not differ between sizes; None if no size has two units.

    The statistic is the between-size sum of squares of the units' mean residuals, its reference 999 permutations of the units
    over the sizes. A law that was fitted to the sizes has taken up a part of their differences, which makes the test cautious
    about alarms.

    Args:
        residual: log L - log L_predicted, shape (rows,).
        units: their runs and sizes.
        rng: source of the permutations.
    """
    first = np.unique(units.unit, return_index=True)[1]
    size = units.cluster[first]
    if units.num_clusters < 2 or units.num_clusters == len(first):
        return None
    mean = np.bincount(units.unit, residual) / np.bincount(units.unit)
    mean = mean - mean.mean()
    belongs = np.equal.outer(size, np.arange(units.num_clusters)) / np.sqrt(np.bincount(size))
    shuffled = rng.permuted(np.tile(mean, (_PERMUTATIONS, 1)), axis=1)
    reference, found = np.sum((shuffled @ belongs) ** 2, axis=1), np.sum((mean @ belongs) ** 2)
    return float(1 + np.sum(reference >= found * (1 - 1e-12))) / (1 + _PERMUTATIONS)


def within_sizes(residual: FloatArray, units: Units) -> FloatArray:
    """What is left of residuals, shape (rows,), when each size's mean is taken off: noise that its units do not share.

    Scaled by sqrt(k / (k - 1)) for the k units of the size, one of whose degrees of freedom the mean has taken; a size of one
    unit keeps its residuals, because nothing tells what it shares.
    """
    in_unit = np.bincount(units.unit)[units.unit]
    num = np.bincount(units.cluster, 1 / in_unit)[units.cluster].round()
    mean = (np.bincount(units.cluster, residual / in_unit))[units.cluster] / num
    return np.where(num > 1, (residual - mean) * np.sqrt(num / np.maximum(num - 1, 1)), residual)


def refit(problem: Problem, minima: FloatArray, weights: FloatArray, delta: float) -> Solution:
    """Minima under each row of `weights`, shape (resamples, rows), started at the full optimum.

    A resample whose refit fails the gradient test is started again from every minimum of the full data, and the best is kept.

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
    for start in minima[1:] if len(lost) else ():
        again = minimise(problem, np.repeat(start[None], len(lost), axis=0), weights[lost], delta)
        better = (again.value < best.value[lost]) | (again.converged & ~best.converged[lost])
        for old, new in ((best.theta, again.theta), (best.value, again.value), (best.converged, again.converged)):
            old[lost[better]] = new[better]
    return best


def _size_levels(n: FloatArray) -> IntArray:
    """Label of each row's model size; sizes within `design.LEVEL_TOLERANCE` are one."""
    return _first_come(find_levels(n))


def _first_come(labels: NDArray[np.integer[Any]]) -> IntArray:
    """The same groups, counted from 0 in the order in which they appear."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], dtype=np.int64)


def _merge(one: IntArray, other: IntArray) -> IntArray:
    """The finest groups that contain the groups of both."""
    labels, before = one, np.full(len(one), -1)
    while not np.array_equal(labels, before):
        before = labels
        for groups in (one, other):
            smallest = np.full(int(groups.max()) + 1, len(one))
            np.minimum.at(smallest, groups, labels)
            labels = smallest[groups]
    return _first_come(labels)
