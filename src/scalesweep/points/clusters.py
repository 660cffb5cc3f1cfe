"""Which rows share their noise."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.points.design import find_levels

if TYPE_CHECKING:
    import pandas as pd

RUN_COLUMNS = ("trunk", "run")
"""Columns whose equal values, at one model size, mean one training run that was measured several times."""


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
    """The units of a table with columns n, d, c, loss and perhaps seed, `trunk` and `run`.

    Where the table does not say n, the budget stands in for the size.

    Rows that agree in n, d, loss and seed are one unit, and so are rows of one size that agree in `trunk` or in `run`; an empty
    value agrees with nothing.
    """
    size = next(name for name in ("n", "d", "c") if frame[name].notna().all())
    same = [name for name in dict.fromkeys(("n", "d", size, "loss", "seed")) if name in frame]
    unit = _first_come(frame.groupby(same, dropna=False, sort=False).ngroup().to_numpy())
    for name in RUN_COLUMNS:
        if name in frame:
            known = (frame[name].notna() & (frame[name].astype(str).str.strip() != "")).to_numpy()
            run = frame.groupby([size, name], dropna=False, sort=False).ngroup().to_numpy()
            unit = _merge(unit, np.where(known, run, run.max() + 1 + np.arange(len(run))))
    return Units(unit, _size_levels(frame[size].to_numpy(dtype=np.float64)))


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
