"""How well a run's loss tells what it can do."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from scalesweep.arrays import FloatArray
from scalesweep.studies.base import CONFIDENCE, Effect

_DEGREE = 2
"""Of the polynomial through ln x; three budgets' worth of freedom for 4 budgets of each size."""
_TAIL = (1 + CONFIDENCE) / 2


def held_out_error(table: pd.DataFrame, by: str) -> Effect:
    """Error of a task's -ln p of sizes left out, read off the other sizes at equal `by`, over what seeds differ by.

    In each bucket a parabola in ln(by) through all other sizes; rows outside of their range are not asked. The error of a
    size is common to its rows, so that sizes are the degrees of freedom of the error, and replicates those of the noise: the
    interval is that of a ratio of two mean squares (F).

    Args:
        table: of `abilities.abilities`.
        by: loss or c.
    """
    squares, asked = _held_out(table, by)
    if not asked:
        return Effect.missing("No size can be left out: the losses of the others do not reach its own.")
    groups = table.groupby(["bucket", "n", "d"])["nll"]
    spare = int((groups.size() - 1).sum())
    if not spare:
        return Effect.missing("It needs two seeds, to tell what seeds differ by.")
    noise = math.sqrt(float((groups.var().fillna(0.0) * (groups.size() - 1)).sum()) / spare)
    if noise == 0:
        return Effect.missing("Seeds do not differ at all.")
    value = math.sqrt(squares / asked) / noise
    free = table["n"].nunique()
    return Effect(
        value,
        value / math.sqrt(float(stats.f.ppf(_TAIL, free, spare))),
        value / math.sqrt(float(stats.f.ppf(1 - _TAIL, free, spare))),
    )


def correlation(y: FloatArray, x: FloatArray) -> Effect:
    """Squared correlation of x and y with Fisher's interval: atanh r is normal with deviation 1 / sqrt(rows - 3)."""
    if len(x) < 5:
        return Effect.missing(f"It needs 5 seeds at least, and there are {len(x)}.")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Effect.missing("Seeds do not differ at all.")
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -1 + 1e-12, 1 - 1e-12))
    half = float(stats.norm.ppf(_TAIL)) / math.sqrt(len(x) - 3)
    ends = [math.tanh(math.atanh(r) + side * half) for side in (-1, 1)]
    low = 0.0 if ends[0] < 0 < ends[1] else min(end**2 for end in ends)
    return Effect(r**2, low, max(end**2 for end in ends))


def _held_out(table: pd.DataFrame, by: str) -> tuple[float, int]:
    """(sum of squared errors, rows that were asked)."""
    squares, asked = 0.0, 0
    for _, own in table.groupby("bucket"):
        x, y, n = (own[name].to_numpy(dtype=np.float64) for name in (by, "nll", "n"))
        for size in np.unique(n):
            others = n != size
            inside = ~others & (x >= x[others].min(initial=np.inf)) & (x <= x[others].max(initial=-np.inf))
            if len(np.unique(x[others])) <= _DEGREE or not inside.any():
                continue
            curve = np.polynomial.Polynomial.fit(np.log(x[others]), y[others], _DEGREE)
            squares += float(((y[inside] - curve(np.log(x[inside]))) ** 2).sum())
            asked += int(inside.sum())
    return squares, asked
