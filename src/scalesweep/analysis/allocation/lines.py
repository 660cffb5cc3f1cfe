"""Compute-optimal allocation as lines in logs, N* = n0 (C / c0)^a and D* = d0 (C / c0)^b: the value, and its least squares.

`approaches` gets such lines in three ways; here is what they share.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.fit.estimates import Estimate, estimate, is_wide, join
from scalesweep.settings.fit import FitSpec

Name = Literal["envelope", "isoflop", "law", "coupled", "repeated"]
MIN_BUDGETS = 3
"""A line through fewer says nothing about itself."""
FEW_BUDGETS = 5
"""A line through fewer leaves at most two optima to judge it by."""


class ApproachStatus(Enum):
    """How far the points determine an allocation, as a sentence for the user."""

    DETERMINED = "The points determine this line."
    WEAK = "The points determine this line only weakly: read its interval, not its value."
    UNKNOWN = "No interval was computed, so it is not known how well the points determine this line."
    REFUSED = "The points do not determine this line."


@dataclass(frozen=True)
class Allocation:
    """N*(C) = n0 (C / c0)^a and D*(C) = d0 (C / c0)^b. Hoffmann et al. 2022, section 3."""

    c0: float
    """Reference compute, FLOPs."""
    n0: float
    d0: float
    a: float
    b: float

    def n_opt(self, c: ArrayLike) -> FloatArray:
        """Compute-optimal parameters at c FLOPs."""
        return np.asarray(self.n0 * (np.asarray(c, dtype=np.float64) / self.c0) ** self.a)

    def d_opt(self, c: ArrayLike) -> FloatArray:
        """Compute-optimal tokens at c FLOPs."""
        return np.asarray(self.d0 * (np.asarray(c, dtype=np.float64) / self.c0) ** self.b)


@dataclass(frozen=True, eq=False)
class Approach:
    """What one approach says."""

    name: Name
    """envelope, isoflop, law: approach 1, 2, 3; coupled: the optimum of the coupled law."""
    title: str
    """The approach and its method, in words."""
    status: ApproachStatus
    messages: tuple[str, ...]
    """Sentences that explain the status and what was left out."""
    allocation: Allocation | None
    """The lines; None where they are refused."""
    num_used: int
    """Budgets (approach 1: bins; approach 3: points) that entered."""
    num_rejected: int
    """Those that were left out."""
    confidence: float
    """Nominal coverage of the intervals."""
    intervals: str
    """What the intervals are, in words; empty where there are none."""
    samples: tuple[Allocation, ...] = field(repr=False)
    """The allocation in each resample."""
    cluster_samples: tuple[Allocation, ...] = field(default=(), repr=False)
    """The same for resampled model sizes, where the intervals are the union of both."""

    @property
    def a(self) -> Estimate | None:
        """Exponent of N* with its interval; None where the lines are refused."""
        return self._estimate(lambda allocation: allocation.a)

    @property
    def b(self) -> Estimate | None:
        """Exponent of D* with its interval; None where the lines are refused."""
        return self._estimate(lambda allocation: allocation.b)

    def n_opt(self, c: float) -> Estimate | None:
        """Compute-optimal parameters at c FLOPs with their interval; None where the lines are refused."""
        return self._estimate(lambda allocation: float(allocation.n_opt(c)))

    def d_opt(self, c: float) -> Estimate | None:
        """Compute-optimal tokens at c FLOPs with their interval; None where the lines are refused."""
        return self._estimate(lambda allocation: float(allocation.d_opt(c)))

    def _estimate(self, value: Callable[[Allocation], float]) -> Estimate | None:
        if self.allocation is None:
            return None
        sets = [np.array([value(sample) for sample in samples]) for samples in (self.samples, self.cluster_samples)]
        centre = value(self.allocation)
        return functools.reduce(join, [estimate(centre, samples, self.confidence) for samples in sets])


def fit_allocation(c: ArrayLike, n_opt: ArrayLike, d_opt: ArrayLike, weights: ArrayLike | None = None) -> Allocation:
    """Lines in logs through optima at c FLOPs, by least squares with these weights, each of shape (budgets,).

    Raises:
        FitError: there are fewer than two different c.
    """
    logs = [np.log(np.asarray(values, dtype=np.float64)) for values in (c, n_opt, d_opt)]
    weight = np.ones_like(logs[0]) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(logs[0]) < 2 or np.ptp(logs[0]) == 0:
        raise FitError("A line through optima needs at least two different compute budgets.")
    return resampled_allocations(logs[0], logs[1][None], logs[2][None], weight)[0]


def resampled_allocations(log_c: FloatArray, log_n: FloatArray, log_d: FloatArray, weight: FloatArray) -> list[Allocation]:
    """Lines through each row of log_n and log_d, shape (problems, budgets), with weights of shape (budgets,).

    NaN stands for a budget without a minimum; problems with fewer than `MIN_BUDGETS` minima are left out.
    """
    reference = float(log_c.mean())
    found = ~np.isnan(log_n)
    enough = found.sum(axis=1) >= min(MIN_BUDGETS, len(log_c))
    weights = np.where(found, weight, 0.0)[enough]
    a, n0 = _lines(log_c - reference, np.nan_to_num(log_n[enough]), weights)
    b, d0 = _lines(log_c - reference, np.nan_to_num(log_d[enough]), weights)
    columns = (np.exp(n0), np.exp(d0), a, b)
    return [Allocation(math.exp(reference), *row) for row in np.stack(columns, axis=1).tolist()]


def _lines(x: FloatArray, y: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slopes, and values at x = 0, of the weighted lines y(x), shape (problems,)."""
    weights = weights / weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = weights @ x, np.sum(weights * y, axis=1)
    away = x - mean_x[:, None]
    slope = np.sum(weights * away * y, axis=1) / np.sum(weights * away**2, axis=1)
    return slope, mean_y - slope * mean_x


def interval_words(noise: str) -> str:
    """What intervals from noise of this origin are; empty where none is known."""
    return f"parametric bootstrap of the losses ({noise})" if noise else ""


def refused_approach(name: Name, title: str, messages: Sequence[str], counts: tuple[int, int], spec: FitSpec) -> Approach:
    """An approach without lines; the messages say why. Counts are of what entered and what was left out."""
    status = ApproachStatus.REFUSED
    return Approach(name, title, status, tuple(messages), None, *counts, spec.confidence, "", ())


def assemble_approach(
    name: Name,
    title: str,
    allocation: Allocation,
    samples: Sequence[Allocation],
    messages: Sequence[str],
    counts: tuple[int, int],
    spec: FitSpec,
    intervals: str,
) -> Approach:
    """An approach with its status. Counts are of what entered and what was left out."""
    a = estimate(allocation.a, np.array([sample.a for sample in samples]), spec.confidence)
    weak = []
    if counts[0] < FEW_BUDGETS:
        weak.append(f"Only {counts[0]} optima: the line is a rough guide.")
    if is_wide(a.interval):
        weak.append("The interval of a spans more than a factor of 2.")
    status = ApproachStatus.DETERMINED if samples else ApproachStatus.UNKNOWN
    return Approach(
        name,
        title,
        ApproachStatus.WEAK if weak else status,
        (*weak, *messages),
        allocation,
        *counts,
        spec.confidence,
        intervals if samples else "",
        tuple(samples),
    )
