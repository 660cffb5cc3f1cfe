"""How many groups a handful of seeds falls into: mixtures of normals of one variance, by BIC, and how far groups are apart.

One variance for all groups, because with free ones two seeds that happen to be alike make a group of no width and of infinite
likelihood (Day 1969, Biometrika 56, 463). Three groups are allowed, as seeds may have found a part of a solution.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from scalesweep.arrays import FloatArray
from scalesweep.studies.base import CONFIDENCE, Effect

DETECTABLE = 6.0
"""Standard deviations between two groups, a quarter of the seeds in one of them, that 16 seeds show in 94 % of
samples (docs/studies/emergence.md)."""
FEWEST = 16
"""Seeds for which `DETECTABLE` was measured."""
MOST_GROUPS = 3
EVIDENCE = 2.0
"""BIC that more groups must gain over fewer: positive evidence of Kass & Raftery 1995 (JASA 90, 773). Of 16 seeds of one normal
4 % are then taken for more."""
_ROUNDS = 100
_WIDEST = 4
"""Gaps between neighbouring values at which groups may begin."""
_NARROWEST = 1e-3
"""Standard deviation of a group, as a share of the range: below it, seeds are equal but for rounding."""


@dataclass(frozen=True, eq=False)
class Modes:
    """The mixture that BIC prefers."""

    means: FloatArray
    """Ascending, shape (groups,)."""
    shares: FloatArray
    """Of the seeds, shape (groups,)."""
    deviation: float
    """Within each group."""
    bic_gain: float
    """BIC of one group minus that of this mixture; 0 where one group is preferred."""
    seeds: int

    @property
    def groups(self) -> int:
        """How many there are."""
        return len(self.means)

    @property
    def ashman_d(self) -> float:
        """Widest gap between neighbouring groups in standard deviations; 0 for one group.

        Ashman, Bird & Zepf 1994 (AJ 108, 2348): D = sqrt(2) |m1 - m2| / sqrt(s1^2 + s2^2), here with s1 = s2; above 2 the
        groups are apart.
        """
        return float(np.diff(self.means).max() / self.deviation) if self.groups > 1 else 0.0

    @property
    def is_bimodal(self) -> bool:
        """Whether there are groups that are apart."""
        return self.ashman_d > 2


def find_modes(values: FloatArray) -> Modes:
    """The mixture of 1 to `MOST_GROUPS` normals with the lowest BIC (Schwarz 1978).

    Args:
        values: one for each seed, shape (seeds,).
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    floor = max(_NARROWEST * float(np.ptp(x)), 1e-12)
    fits = [_best_fit(x, groups, floor) for groups in range(1, min(MOST_GROUPS, len(x) - 1) + 1)]
    bics = [2 * len(one[1]) * math.log(len(x)) - 2 * one[0] for one in fits]  # k means, k - 1 shares, one deviation
    best = int(np.argmin([bic + EVIDENCE * i for i, bic in enumerate(bics)]))
    _, means, shares, deviation = fits[best]
    order = np.argsort(means)
    return Modes(means[order], shares[order], deviation, bics[0] - bics[best], len(x))


def separation(modes: Modes) -> Effect:
    """Ashman's D with its interval; where one group is preferred, 0 up to what so many seeds would have shown.

    The gap over the pooled deviation has a noncentral t distribution, whose noncentrality is inverted (Hedges & Olkin 1985,
    chapter 5).
    """
    if modes.groups == 1:
        return Effect(0.0, 0.0, DETECTABLE if modes.seeds >= FEWEST else math.inf)
    i = int(np.diff(modes.means).argmax())
    counts = np.maximum(modes.shares[i : i + 2] * modes.seeds, 1.0)
    scale, spare = math.sqrt(float((1 / counts).sum())), modes.seeds - modes.groups
    # The mixture's deviation is that of maximum likelihood: per seed, not per degree of freedom.
    d = modes.ashman_d * math.sqrt(spare / modes.seeds)
    low, high = (_noncentrality(d / scale, spare, share) * scale for share in ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2))
    return Effect(d, low, high)


def _noncentrality(t: float, spare: int, share: float) -> float:
    """Noncentrality at which a share of the distribution lies below t; a normal deviate over a root of chi square far out."""
    if t > 30:  # scipy's nct loses its digits; the deviation alone counts there
        return t * math.sqrt(float(stats.chi2.ppf(1 - share, spare)) / spare)
    if stats.nct.cdf(t, spare, 0.0) < share:
        return 0.0
    return float(optimize.brentq(lambda ncp: stats.nct.cdf(t, spare, ncp) - share, 0.0, 3 * t + 10, xtol=1e-3))


def _best_fit(x: FloatArray, groups: int, floor: float) -> tuple[float, FloatArray, FloatArray, float]:
    """(log-likelihood, means, shares, deviation) of a mixture, from every division of the sorted values at wide gaps."""
    gaps = np.sort(np.argsort(-np.diff(x))[:_WIDEST] + 1)
    starts = itertools.combinations(gaps, groups - 1)
    fits = [_maximise(x, np.array([part.mean() for part in np.split(x, cuts)]), floor) for cuts in starts]
    return max(fits, key=lambda fit: fit[0])


def _maximise(x: FloatArray, means: FloatArray, floor: float) -> tuple[float, FloatArray, FloatArray, float]:
    """Expectation maximisation from hard assignment to the nearest of the means."""
    nearest = np.abs(x[:, None] - means).argmin(axis=1)
    weights = (nearest[:, None] == np.arange(len(means))).astype(np.float64)
    last = -math.inf
    for _ in range(_ROUNDS):
        size = np.maximum(weights.sum(axis=0), 1e-9)
        means, shares = weights.T @ x / size, size / len(x)
        deviation = max(math.sqrt(float((weights * (x[:, None] - means) ** 2).sum()) / len(x)), floor)
        log_terms = np.log(shares) - 0.5 * ((x[:, None] - means) / deviation) ** 2 - math.log(deviation)
        top = log_terms.max(axis=1, keepdims=True)
        total = top[:, 0] + np.log(np.exp(log_terms - top).sum(axis=1))
        weights = np.exp(log_terms - total[:, None])
        log_likelihood = float(total.sum()) - 0.5 * len(x) * math.log(2 * math.pi)
        if log_likelihood - last < 1e-6:
            break
        last = log_likelihood
    return log_likelihood, means, shares, deviation
