"""Whether the loss falls with N, D and C over the rows of a table, as laws of all of them take for granted."""

import math

import numpy as np

from scalesweep.arrays import FloatArray

MAX_P_VALUE = 0.01
"""Of the one-sided test of a rank correlation, below which a loss that rises is said to. One table in a hundred whose loss
depends on nothing would be told so."""
_MIN_ROWS = 5


def rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Spearman's correlation, equal values at their mean rank; NaN where one of them does not vary."""
    first, second = _ranks(x), _ranks(y)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def describe_rise(name: str, x: FloatArray, loss: FloatArray) -> str:
    """That the loss rises with a variable, with the numbers; empty where it does not, or too few rows show it.

    Args:
        name: the variable's symbol.
        x: its positive values, shape (rows,).
        loss: positive, shape (rows,).
    """
    from scipy.special import stdtr

    rank, spare = rank_correlation(x, loss), len(x) - 2
    if len(x) < _MIN_ROWS or not rank > 0:
        return ""
    t = math.inf if rank >= 1 else rank * math.sqrt(spare / (1 - rank**2))
    slope = float(np.polyfit(np.log(x), np.log(loss), 1)[0])
    if slope <= 0 or float(stdtr(spare, -t)) >= MAX_P_VALUE:
        return ""
    return f"the loss rises with {name} (rank correlation {rank:+.2f} over {len(x)} rows, slope of log L {slope:+.2g})"


def describe_rises(n: FloatArray, d: FloatArray, c: FloatArray, loss: FloatArray) -> str:
    """The variables with which the loss rises over the whole table, and what may be behind it, in sentences; empty if none.

    A variable of which the table has no value, NaN, is left out.
    """
    columns = {"N": n, "D": d, "C": c}
    known = {name: column for name, column in columns.items() if not np.isnan(column).any()}
    rises = {name: text for name, column in known.items() if (text := describe_rise(name, column, loss))}
    if not rises:
        return ""
    said = "; ".join(rises.values())
    return f"{said[0].upper()}{said[1:]}. {_cause(n, d, loss)}"


def _cause(n: FloatArray, d: FloatArray, loss: FloatArray) -> str:
    """Whether N and D apart explain it: the plane log L over log N and log D, where these are not one line."""
    log_n, log_d = np.log(n), np.log(d)
    apart = not np.isnan(log_n + log_d).any() and np.ptp(log_n) > 0 and np.ptp(log_d) > 0
    if apart and abs(together := float(np.corrcoef(log_n, log_d)[0, 1])) < 0.98 and len(loss) > 3:
        plane = np.column_stack([np.ones_like(log_n), log_n, log_d])
        _, by_n, by_d = np.linalg.lstsq(plane, np.log(loss), rcond=None)[0]
        slopes = f"Of both together, slopes are {by_n:+.2g} by log N and {by_d:+.2g} by log D"
        if by_n < 0 and by_d < 0:
            return f"{slopes}: it falls with either at equal values of the other; they move apart here ({together:+.2f})."
        return f"{slopes}: larger or longer runs are worse here. Look at the metric (count.loss) and at their tuning."
    return "Laws take a loss that falls: look at the metric (count.loss), and at how the larger runs were tuned."


def _ranks(values: FloatArray) -> FloatArray:
    _, level, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[level], dtype=np.float64)
