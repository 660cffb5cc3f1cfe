"""Which rows a law of one variable is fitted to. No row is chosen by its loss: luck that is chosen does not average out.

Kaplan's frontier, the rows that no cheaper row beats, keeps those whose noise was low: of simulated rays of 20 runs with 3 %
noise its exponent's interval held 66 % of the truths, and the band at twice the compute 44 %, nominal 90 %.
"""

from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.errors import Refused
from scalesweep.fit.floors import Cells
from scalesweep.laws import Variable
from scalesweep.points.clusters import Units
from scalesweep.points.design import MAX_CORRELATION, MIN_LEVELS, count_levels, find_levels, is_largest
from scalesweep.points.rows import Rows

NOUNS: dict[Variable, str] = {"N": "model sizes", "D": "token budgets", "C": "compute levels"}
_OTHERS: dict[Variable, tuple[str, str]] = {"N": ("D", "token budget"), "D": ("N", "model size")}


@dataclass(frozen=True, eq=False)
class Selection:
    """The rows that a law of one variable is fitted to."""

    rows: IntArray
    """Their positions."""
    words: str
    """Which they are."""
    caveat: str = ""
    """A sentence on what the choice does to the law; empty where it is the ideal one."""


def column_of(rows: Rows, variable: Variable) -> FloatArray:
    """The variable of each row; NaN where the table does not have it."""
    return {"N": rows.n, "D": rows.d, "C": rows.c}[variable]


def select_rows(rows: Rows, variable: Variable) -> Selection | Refused:
    """Rows on which the variable limits the loss, or why the design has none.

    Of N and D these are the rows at the largest value of the other. Along a ray, where no two models compete at one compute,
    all rows enter every law, and so they do where the table has one variable alone. Elsewhere a law of one
    variable can only come from the joint law (`frontier`).
    """
    every = np.arange(len(rows))
    if np.isnan(column_of(rows, variable)).any():
        return Refused(f"The table does not say {variable}.")
    if np.isnan(rows.n).any() or np.isnan(rows.d).any():
        others = " and ".join(name for name in NOUNS if np.isnan(column_of(rows, name)).any())
        return Selection(every, f"all points; the table does not say {others}")
    if variable != "C":
        x, other = (rows.n, rows.d) if variable == "N" else (rows.d, rows.n)
        symbol, name = _OTHERS[variable]
        top = np.flatnonzero(is_largest(other))
        if count_levels(x[top]) >= MIN_LEVELS:
            return Selection(top, f"points at the largest {name}")
        if is_ray(rows.n, rows.d):
            caveat = f"{symbol} changes along these points, so the exponent mixes both effects."
            return Selection(every, "all points along the ray", caveat)
        return Refused(
            f"No {MIN_LEVELS} {NOUNS[variable]} share the largest {name}, so that nothing measured shows L({variable}) alone."
        )
    if is_ray(rows.n, rows.d):
        return Selection(every, "all points along the ray", "It is the loss along these points, optimal or not.")
    return Refused("Models compete at equal compute, so that L(C) needs a joint law, which tells the best of them.")


def is_ray(n: FloatArray, d: FloatArray) -> bool:
    """Whether no point has more parameters and fewer tokens than another, or N and D move together as on a ray.

    Rays: one number of tokens per parameter, one size at several budgets, one budget at several sizes, or a staircase of these.
    """
    by_n, by_d = find_levels(n), find_levels(d)
    crosses = (by_n[:, None] < by_n) & (by_d[:, None] > by_d)
    if not crosses.any():
        return True
    if min(by_n.max(), by_d.max()) + 1 < MIN_LEVELS:
        return False
    return float(np.corrcoef(np.log(n), np.log(d))[0, 1]) > MAX_CORRELATION


def gather_cells(rows: Rows, x: FloatArray) -> Cells:
    """Means of log L over the rows of each cell, in which every independent run counts once.

    Args:
        rows: those that enter.
        x: their variable, shape (rows,).
    """
    places = np.nan_to_num(np.stack([x, rows.n, rows.d]))
    _, first, cell = np.unique(places, axis=1, return_index=True, return_inverse=True)
    cell = cell.ravel()
    share = 1 / np.bincount(rows.units.unit)[rows.units.unit]
    weights = np.bincount(cell, share).astype(np.float64)
    return Cells(
        log_x=np.log(x[first]),
        log_loss=np.bincount(cell, share * np.log(rows.loss)) / weights,
        weights=weights,
        num_independent=min(len(first), rows.units.num_units),
    )


def spans_cells(units: Units, cells: Cells) -> bool:
    """Whether runs were measured in several cells, so that these share noise."""
    return units.num_units < len(cells.log_x)
