"""Shares of seeds that succeed, and how far two of them are apart."""

import math

import numpy as np
from scipy import stats

from scalesweep.studies.base import CONFIDENCE, Effect


def clopper_pearson(successes: int, trials: int) -> tuple[float, float]:
    """Exact interval of a probability (Clopper & Pearson 1934)."""
    found = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="exact")
    return float(found.low), float(found.high)


def fisher_p(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided p of Fisher's exact test that two shares are equal; each is (successes, trials)."""
    table = np.array([[successes, trials - successes] for successes, trials in (first, second)])
    return float(stats.fisher_exact(table).pvalue)


def share_difference(first: tuple[int, int], second: tuple[int, int]) -> Effect:
    """Share of `first` minus share of `second` by Newcombe's interval, which also holds at shares of 0 and 1.

    Newcombe 1998 (Statistics in Medicine 17, 873), method 10: Wilson's intervals of the two shares, combined in quadrature.
    """
    (p, low, high), (q, lower, upper) = (_wilson(*one) for one in (first, second))
    return Effect(p - q, p - q - math.hypot(p - low, upper - q), p - q + math.hypot(high - p, q - lower))


def _wilson(successes: int, trials: int) -> tuple[float, float, float]:
    found = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return successes / trials, float(found.low), float(found.high)
