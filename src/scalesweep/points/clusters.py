"""Which rows share their noise."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.points.design import find_levels

if TYPE_CHECKING:
    import pandas as pd

Sharer = Literal["size", "budget", "seed"]
RUN_COLUMNS = ("trunk", "run")
"""Columns whose equal values, at one model size, mean one training run that was measured several times."""


@dataclass(frozen=True, eq=False)
class Units:
    """Which rows are drawn together; labels count from 0 in the order of the rows."""

    unit: IntArray
    """Label of the run or distinct row that each row belongs to, shape (rows,)."""
    cluster: IntArray
    """Label of the model size that each row belongs to, shape (rows,); a unit has one size."""
    budget: IntArray | None = None
    """Label of the token budget, shape (rows,); None where the table does not say it."""
    seed: IntArray | None = None
    """Label of the seed, shape (rows,); None where the table does not say it."""

    @property
    def num_units(self) -> int:
        """Number of runs or distinct rows."""
        return int(self.unit.max()) + 1

    @property
    def num_clusters(self) -> int:
        """Number of model sizes."""
        return int(self.cluster.max()) + 1

    @property
    def shares(self) -> FloatArray:
        """One over the rows of the unit that each row belongs to, shape (rows,)."""
        return np.asarray(1 / np.bincount(self.unit)[self.unit])

    @property
    def sharers(self) -> dict[Sharer, IntArray]:
        """What rows may have in common besides the run: labels by name, those that are known."""
        known: dict[Sharer, IntArray | None] = {"size": self.cluster, "budget": self.budget, "seed": self.seed}
        return {name: labels for name, labels in known.items() if labels is not None}

    def take(self, rows: IntArray) -> "Units":
        """The units of `rows`, in that order."""
        parts = (self.unit, self.cluster, self.budget, self.seed)
        unit, cluster, budget, seed = (None if part is None else _first_come(part[rows]) for part in parts)
        assert unit is not None
        assert cluster is not None
        return Units(unit, cluster, budget, seed)


def separate_rows(n: FloatArray, d: FloatArray | None = None) -> Units:
    """Every row a unit of its own, and every model size in n, and every budget in d, each of shape (rows,), a group."""
    return Units(np.arange(len(n)), _levels(n), None if d is None else _levels(d))


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
    budget = _levels(frame["d"].to_numpy(dtype=np.float64)) if frame["d"].notna().all() else None
    seed = _first_come(frame.groupby("seed").ngroup().to_numpy()) if "seed" in frame and frame["seed"].notna().all() else None
    return Units(unit, _levels(frame[size].to_numpy(dtype=np.float64)), budget, seed)


def _levels(values: FloatArray) -> IntArray:
    """Label of each row's size or budget; values within `design.LEVEL_TOLERANCE` are one."""
    return _first_come(find_levels(values))


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
