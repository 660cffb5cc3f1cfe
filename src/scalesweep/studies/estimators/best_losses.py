"""Losses at the best learning rate of each size, batch and budget, by a quadratic in the logarithm of the rate."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scalesweep.analysis.tuning.optima import REACH
from scalesweep.analysis.tuning.profile import before_cliffs, profile
from scalesweep.analysis.tuning.quantity import LR
from scalesweep.analysis.tuning.response import LIMIT, fit_surface
from scalesweep.arrays import BoolArray, FloatArray
from scalesweep.studies.estimators.tokens import Trunk

_LEAST_RATES = 3
"""That a quadratic takes."""


@dataclass(frozen=True, eq=False)
class BestLosses:
    """One size's log losses at the best learning rate of each batch and budget; every array has shape (cells,)."""

    n: float
    """Parameters."""
    batch: FloatArray
    """Tokens a step."""
    d: FloatArray
    """Training tokens."""
    log_loss: FloatArray
    """ln L at the vertex of the quadratic in ln(rate), or the lowest mean where that has no vertex among the rates tried."""
    variance: FloatArray
    """Of `log_loss`, for noise of variance 1 of one run's ln L."""
    is_inner: BoolArray
    """Whether it is at a vertex."""
    rate: FloatArray
    """The best rate, in the unit of the table; NaN where it names none."""

    @property
    def batches(self) -> FloatArray:
        """The distinct batches, increasing."""
        return np.unique(self.batch)

    def trunks(self) -> list[Trunk]:
        """The budgets of each batch as a curve of its own, with the batch in the place of N."""
        rows = [self.batch == one for one in self.batches]
        return [
            Trunk(float(b), "", self.d[i], np.exp(self.log_loss[i])) for b, i in zip(self.batches, rows, strict=True) if i.any()
        ]


def best_losses(frame: pd.DataFrame, noise: float) -> list[BestLosses]:
    """The losses at the best rate of each size, batch and budget, by size.

    Args:
        frame: used rows with columns n, d, loss and batch_tokens, and lr where rates were tried.
        noise: standard deviation of ln L of one run, by which the minimum's optimism is corrected.
    """
    places, cell = np.unique(frame[["n", "batch_tokens", "d"]].to_numpy(dtype=np.float64), axis=0, return_inverse=True)
    log_loss = np.log(frame["loss"].to_numpy(dtype=np.float64))
    log_rate = np.log(frame["lr"].to_numpy(dtype=np.float64)) if "lr" in frame else np.full(len(frame), math.nan)
    best = [_best(log_rate[cell == i], log_loss[cell == i], noise) for i in range(len(places))]
    lowest, variance, is_inner, rate = (np.array(column) for column in zip(*best, strict=True))
    found = []
    for n in np.unique(places[:, 0]):
        one = places[:, 0] == n
        _, batch, d = places[one].T
        found.append(BestLosses(float(n), batch, d, lowest[one], variance[one], is_inner[one], rate[one]))
    return found


def _best(log_rate: FloatArray, log_loss: FloatArray, noise: float) -> tuple[float, float, bool, float]:
    """Lowest ln L over rates, its variance for noise of variance 1, whether it is a vertex, and its rate."""
    if not np.isnan(log_rate).any():
        is_smooth = before_cliffs(profile(log_rate, np.exp(log_loss)), log_rate, LIMIT * REACH[LR])
        log_rate, log_loss = log_rate[is_smooth], log_loss[is_smooth]
    rates = np.unique(log_rate)
    if len(rates) >= _LEAST_RATES and not np.isnan(rates).any():
        surface = fit_surface(log_rate[:, None], log_loss, [REACH[LR]])
        if surface is not None and rates[0] < surface.x[0] < rates[-1]:
            return surface.value(noise), surface.y_variance, True, math.exp(surface.x[0])
    if np.isnan(rates).any():
        return float(log_loss.mean()), 1 / len(log_loss), False, math.nan
    means = [float(log_loss[log_rate == rate].mean()) for rate in rates]
    lowest = rates[int(np.argmin(means))]
    return min(means), 1 / int(np.sum(log_rate == lowest)), False, math.exp(lowest)
