"""Sizes at equal compute, read off finished runs: ln L over ln C within a size, by the monotone cubic.

Never across sizes, and never beyond what a size measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from scalesweep.arrays import FloatArray
from scalesweep.points.points import Points
from scalesweep.studies.estimators.noise import LossNoise
from scalesweep.studies.estimators.tokens import trunks_of


@dataclass(frozen=True, eq=False)
class Size:
    """Mean losses over seeds of one size at increasing budgets."""

    n: float
    c: FloatArray
    """Training FLOPs, shape (budgets,)."""
    d: FloatArray
    log_loss: FloatArray
    seeds: int
    """The fewest at a budget."""

    def reaches(self, c: float) -> bool:
        """Whether c lies between its measured budgets, up to rounding."""
        return bool(self.c[0] * (1 - 1e-9) <= c <= self.c[-1] * (1 + 1e-9))

    def loss_at(self, c: float) -> float:
        """Loss at this compute, between the measured budgets."""
        log_c = float(np.clip(math.log(c), np.log(self.c[0]), np.log(self.c[-1])))
        return math.exp(float(PchipInterpolator(np.log(self.c), self.log_loss)(log_c)))


@dataclass(frozen=True)
class Contest:
    """Two sizes at one compute."""

    c: float
    n: float
    """Parameters of the one that is asked about."""
    loss: float
    other: float
    """Parameters of the best of those that it is compared with."""
    other_loss: float
    error: float
    """Standard error of the difference of the losses."""


def sizes_of(points: Points) -> list[Size]:
    """Sizes with two budgets or more, the smallest first; cells of equal N and D, such as seeds, are averaged in ln L."""
    n, c, d, log_loss = points.n, points.c, points.d, np.log(points.loss)
    seeds: dict[float, set[str]] = {}
    trunks = trunks_of(points)
    for trunk in trunks:
        seeds.setdefault(trunk.n, set()).add(trunk.seed)
    found = []
    for size in sorted(seeds):
        rows = np.abs(np.log(n / size)) < 0.03  # what `trunks_of` takes as one size
        budgets, which, runs = np.unique(d[rows], return_inverse=True, return_counts=True)
        means = [np.bincount(which, values) / runs for values in (np.log(c[rows]), log_loss[rows])]
        if len(budgets) > 1:
            found.append(Size(size, np.exp(means[0]), budgets, means[1], int(runs.min())))
    return found


def against_best(size: Size, c: float, others: Sequence[Size], noise: LossNoise | None) -> Contest:
    """A size against the best of the others at this compute, which all of them reach; without noise its error is 0."""
    loss = size.loss_at(c)
    best = min(others, key=lambda other: other.loss_at(c))
    other = best.loss_at(c)
    return Contest(c, size.n, loss, best.n, other, _error(noise, (size, loss), (best, other)))


def levels_of_compute(sizes: Sequence[Size]) -> list[float]:
    """Five levels of compute over the range that three sizes reach."""
    ends = sorted(float(end) for size in sizes for end in (size.c[0], size.c[-1]))
    shared = [c for c in ends if sum(size.reaches(c) for size in sizes) >= 3]
    return np.geomspace(shared[0], shared[-1], 5).tolist() if shared else []


def vertex(sizes: Sequence[Size], c: float) -> float | None:
    """N at the vertex of the parabola in ln N through the best size and its neighbours; None where the best is at an end."""
    there = [size for size in sizes if size.reaches(c)]
    losses = [size.loss_at(c) for size in there]
    best = int(np.argmin(losses))
    if not 0 < best < len(there) - 1:
        return None
    window = slice(best - 1, best + 2)
    log_n = np.log([size.n for size in there[window]])
    second, first, _ = np.polyfit(log_n - log_n[1], losses[window], 2)
    return math.exp(log_n[1] - first / (2 * second))


def _error(noise: LossNoise | None, *at: tuple[Size, float]) -> float:
    """Of a difference of two losses; all of a seed's noise is charged to an interpolated one."""
    return math.hypot(*(noise.sd * loss / math.sqrt(size.seeds) for size, loss in at)) if noise else 0.0
