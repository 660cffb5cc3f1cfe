"""Means and ratios over few independent runs, with exact intervals of Student's t."""

import math

import numpy as np
from scipy.stats import t

from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.studies.base import CONFIDENCE


def mean_interval(values: FloatArray) -> tuple[float, float, float]:
    """Mean of independent values, shape (runs,), and the ends of its interval.

    Raises:
        PointsError: there are fewer than two.
    """
    if len(values) < 2:
        raise PointsError("one run alone tells nothing of how runs differ; the study needs at least 2 seeds.")
    half = _quantile(len(values)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    mean = float(np.mean(values))
    return mean, mean - half, mean + half


def ratio_interval(above: FloatArray, below: FloatArray) -> tuple[float, float, float]:
    """Ratio of two means over the same independent runs, and the ends of its interval, infinite where it is open.

    Fieller 1954 (J. R. Stat. Soc. B 16, 175): all ratios r for which the mean of above - r below is zero within its interval.
    Where the mean below is itself no further from zero, every ratio may be the true one.

    Args:
        above: of each run, shape (runs,).
        below: of each run.
    """
    n = len(above)
    if n < 2:
        raise PointsError("one run alone tells nothing of how runs differ; the study needs at least 2 seeds.")
    x, y = float(np.mean(above)), float(np.mean(below))
    scale = _quantile(n) ** 2 / n
    covariance = np.cov(above, below, ddof=1) * scale
    # (x - r y)^2 = covariance of above - r below, in powers of r.
    a, b, c = y**2 - covariance[1, 1], x * y - covariance[0, 1], x**2 - covariance[0, 0]
    root = b**2 - a * c
    value = x / y if y else math.nan
    if a <= 0:
        return value, -math.inf, math.inf
    half = math.sqrt(max(root, 0.0))
    return value, (b - half) / a, (b + half) / a


def _quantile(runs: int) -> float:
    return float(t.ppf((1 + CONFIDENCE) / 2, runs - 1))
