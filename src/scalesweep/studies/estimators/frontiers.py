"""Compute-equivalent gain along the frontier: what two arms pay for one loss, each with the best of its own sizes and budgets.

CEG(L) = C_base(L) / C_arm(L), each read off the lower convex hull of the arm's finished runs in ln C and ln L (Gundlach et al.
2025, arXiv 2511.21622, compare algorithms so). Never beyond the losses that both hulls reach.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from scalesweep.arrays import FloatArray
from scalesweep.points.points import Points
from scalesweep.studies.base import CONFIDENCE
from scalesweep.studies.estimators.multipliers import Currency, costs_of

NUM_LEVELS = 5
"""Levels of loss: a single one may lie on the flat end of a hull, where .01 nats are a fifth of the compute."""


@dataclass(frozen=True)
class Gain:
    """What the base pays over what the arm pays for one loss."""

    loss: float
    value: float
    """Geometric mean over seeds."""
    low: float
    """Of t over the seeds; NaN with a single one."""
    high: float


def frontier_gains(base: Points, arm: Points, currency: Currency, confidence: float = CONFIDENCE) -> list[Gain]:
    """The gain at `NUM_LEVELS` losses, evenly spaced in ln L, that every hull reaches; empty where there is none.

    Seeds are paired in their order, and each pair gives its own gain.

    Args:
        base: finished runs of the base, one a size, budget and seed.
        arm: of the arm.
        currency: what is paid.
        confidence: nominal coverage.
    """
    hulls = list(zip(_hulls(base, currency), _hulls(arm, currency), strict=False))
    if not hulls:
        return []
    every = [hull for pair in hulls for hull in pair]
    low, high = max(hull[1].min() for hull in every), min(hull[1].max() for hull in every)
    if not low < high:
        return []
    levels = np.linspace(low, high, NUM_LEVELS)
    log_gains = np.array([_cost_at(of_base, levels) - _cost_at(of_arm, levels) for of_base, of_arm in hulls])
    mean, half = log_gains.mean(axis=0), np.full(NUM_LEVELS, math.nan)
    if len(hulls) > 1:
        t = stats.t.ppf(0.5 + confidence / 2, len(hulls) - 1)
        half = t * log_gains.std(axis=0, ddof=1) / math.sqrt(len(hulls))
    return [
        Gain(math.exp(level), math.exp(m), math.exp(m - h), math.exp(m + h))
        for level, m, h in zip(levels.tolist(), mean.tolist(), half.tolist(), strict=True)
    ]


def lower_hull(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The falling part of the lower convex hull of points, by rising x (Andrew 1979, the monotone chain)."""
    kept: list[tuple[float, float]] = []
    for point in sorted(zip(x.tolist(), y.tolist(), strict=True)):
        while len(kept) > 1 and _turn(kept[-2], kept[-1], point) <= 0:
            kept.pop()
        kept.append(point)
    lowest = min(range(len(kept)), key=lambda i: kept[i][1])
    hull = np.array(kept[: lowest + 1])
    return hull[:, 0], hull[:, 1]


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _hulls(points: Points, currency: Currency) -> list[tuple[FloatArray, FloatArray]]:
    """Of each seed, in ln cost and ln loss; none where a cost is not known."""
    used: Any = points.used.assign(cost=costs_of(points.used, currency))
    if not (used["cost"] > 0).all():
        return []
    return [lower_hull(np.log(rows["cost"].to_numpy()), np.log(rows["loss"].to_numpy())) for _, rows in used.groupby("seed")]


def _cost_at(hull: tuple[FloatArray, FloatArray], log_loss: FloatArray) -> FloatArray:
    return np.interp(-log_loss, -hull[1], hull[0])
