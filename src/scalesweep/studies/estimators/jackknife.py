"""A ratio of sums over independent runs, with an interval that asks nothing of how the runs scatter."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from scalesweep.studies.base import CONFIDENCE, Effect

FEWEST = 4
"""Units behind an interval: with three, t at 95 % is 2.9 and the deviation itself is unknown to 50 %."""


def ratio(over: ArrayLike, under: ArrayLike) -> Effect:
    """sum(over) / sum(under) with a t-interval from leaving out one unit at a time.

    Quenouille's and Tukey's jackknife (Efron & Tibshirani 1993, chapter 11): pseudo-values n r - (n - 1) r_(-i), t with n - 1
    degrees of freedom.

    Args:
        over: one for each unit, shape (units,).
        under: the same.
    """
    y, x = np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)
    if len(x) < FEWEST:
        return Effect.missing(f"It needs at least {FEWEST} runs (sizes times seeds) that show it, and there are {len(x)}.")
    whole = y.sum() / x.sum()
    pseudo = len(x) * whole - (len(x) - 1) * (y.sum() - y) / (x.sum() - x)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 1)) * float(pseudo.std(ddof=1)) / math.sqrt(len(x))
    return Effect(float(whole), float(whole - half), float(whole + half))
