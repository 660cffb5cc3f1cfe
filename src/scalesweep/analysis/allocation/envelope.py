"""Approach 1: the rows with the lowest loss in bins of compute, the envelope of the measured losses."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scalesweep.analysis.allocation.lines import (
    MIN_BUDGETS,
    Approach,
    assemble_approach,
    fit_allocation,
    interval_words,
    refused_approach,
)
from scalesweep.analysis.allocation.minima import NoiseDraws
from scalesweep.arrays import FloatArray
from scalesweep.points.design import MIN_SIZES
from scalesweep.points.points import Points
from scalesweep.settings.fit import FitSpec

BINS_PER_DECADE = 4
"""Bins of C. Judgement: Hoffmann et al. 2022 take 1,500 values of C along whole training curves; where each run gives one loss,
a bin must hold several runs."""
ENVELOPE = f"lower envelope ({BINS_PER_DECADE} bins a decade)"
"""The approach in words."""


def fit_envelope(points: Points, spec: FitSpec, noise: NoiseDraws | None = None) -> Approach:
    """Approach 1: lines through the rows with the lowest loss in bins of C.

    A bin counts where smaller and larger models were measured in it and all cheaper bins have a higher loss. Intervals include
    that the best size may lie anywhere up to half-way to the next one.
    """
    logs = tuple(np.log(column) for column in (points.c, points.n, points.d))
    log_loss = np.log(points.loss)
    members = _bins(logs[0])
    rows = _envelope(members, logs[1], log_loss)
    counts = (len(rows), len(members) - len(rows))
    left_out = f"{counts[1]} of {len(members)} bins left out: no interior lowest loss, or none below all cheaper ones."
    messages = [left_out] if counts[1] else []
    if len(rows) < MIN_BUDGETS:
        return refused_approach("envelope", ENVELOPE, [*messages, f"Lines need {MIN_BUDGETS} bins."], counts, spec)
    allocation = fit_allocation(*(np.exp(log[rows]) for log in logs))
    draws = log_loss + noise.z * noise.log_loss_sd if noise else np.empty((0, len(log_loss)))
    chosen = [picked for draw in draws if len(picked := _envelope(members, logs[1], draw)) >= MIN_BUDGETS]
    reach, rng = _half_spacing(members, logs[1]), np.random.default_rng(spec.seed)
    samples = []
    for picked in chosen:
        c, n, d = (log[picked] for log in logs)
        shift = reach[picked] * rng.uniform(-1, 1, len(picked))
        samples.append(fit_allocation(np.exp(c), np.exp(n + shift), np.exp(d - shift)))
    words = f"{interval_words(noise.words)} and the spacing of sizes" if noise else ""
    return assemble_approach("envelope", ENVELOPE, allocation, samples, messages, counts, spec, words)


def _bins(log_c: FloatArray) -> list[NDArray[np.int64]]:
    """Rows of each bin of C, by increasing C; the smallest C is the centre of its bin, so that rounding splits no budget."""
    place = np.floor((log_c - log_c.min()) / math.log(10) * BINS_PER_DECADE + 0.5)
    return [np.flatnonzero(place == value) for value in np.unique(place)]


def _half_spacing(members: Sequence[NDArray[np.int64]], log_n: FloatArray) -> FloatArray:
    """Half the mean distance of the sizes in each row's bin, in log N, shape (rows,)."""
    half = np.zeros(len(log_n))
    for rows in members:
        half[rows] = np.ptp(log_n[rows]) / (2 * max(len(np.unique(log_n[rows])) - 1, 1))
    return half


def _envelope(members: Sequence[NDArray[np.int64]], log_n: FloatArray, log_loss: FloatArray) -> NDArray[np.int64]:
    """Rows that are lowest in their bin, at an interior size of it, and below all cheaper bins."""
    rows, best = [], math.inf
    for bin_rows in members:
        lowest = bin_rows[np.argmin(log_loss[bin_rows])]
        is_inside = log_n[bin_rows].min() < log_n[lowest] < log_n[bin_rows].max()
        if log_loss[lowest] < best and is_inside and len(np.unique(log_n[bin_rows])) >= MIN_SIZES:
            rows.append(lowest)
        best = min(best, float(log_loss[lowest]))
    return np.array(rows, dtype=np.int64)
