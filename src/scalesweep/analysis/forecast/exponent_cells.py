"""Which cells to measure next for the exponent a of the compute-optimal size, N* ~ C^a.

A c-optimal design (Elfving 1952, Annals of Mathematical Statistics 23, 255; Atkinson, Donev & Tobias 2007, chapter 10), found
greedily: each time the cell that lowers the variance of a the most for the root of its price, where the variance is averaged
over every law that the points allow and over some of its resamples. Per FLOP, instead of per root, only the smallest cells
would be bought, a hundred replicates of them, which one form takes for as good as large ones; without the price only the
largest. What it buys first are small models on much text and large ones on little, which hold the two slopes apart.

A law's information is its linear approximation (`information`), with a weak prior where points say nothing of a parameter.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scalesweep.analysis.forecast.dated import Prediction
from scalesweep.analysis.forecast.goal import exponent, voters
from scalesweep.analysis.forecast.information import log_derivatives
from scalesweep.analysis.forecast.next_cells import RATIOS
from scalesweep.analysis.forecast.rivals import THEORIES, Rivals, fit_rivals
from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, Refused
from scalesweep.fit.horizon import MIN_RATIO, Range
from scalesweep.fit.intervals import inflated_residuals
from scalesweep.fit.solve.objectives import robust_scale
from scalesweep.laws import JointLaw
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_number

STEP = math.sqrt(2)
"""Factor between neighbouring candidates in N and in D."""
GROWTH = 2.0
"""Factor by which a round may go beyond the largest N, D and C measured."""
CHEAPEST = 0.03
"""Least C of a cell, as a share of the largest measured: a law that holds over a decade and a half need not hold over more. In
four sweeps of each surface of scripts/adaptive_table.py .03 needed 9 and 8e12 FLOPs (medians), .1 13 and 21e12."""
MOST_RATIO = RATIOS[-1]
"""Tokens per parameter of a cell at most, as in the designs of `next_cells`: without a limit small models on ever more text
were proposed, which cost what large ones do and say little of them."""
MOST_CELLS = 12
"""Of one round; a judgement: the next round knows better."""
MOST_COPIES = 2
"""Runs of one size and budget in all, after which a neighbour is proposed: noise that the runs of a size share is only seen and
averaged over many sizes (`fit.intervals`)."""
NUM_LAWS = 8
"""Resamples of each form that the variance is averaged over."""
_PRIOR_SD = 2.0
"""Of the logarithm of each parameter, so wide that it matters only where points say nothing."""
_NEAR = math.log(1.1)
"""Gap in log N or log D below which a candidate takes a measured level, and two cells are one."""
_LEAST_NOISE = 1e-3
"""Standard deviation of log loss below which residuals of few points are luck; a third of the demo's seed noise."""


@dataclass(frozen=True)
class Place:
    """A cell that can be measured: a candidate after the recipe has made a shape and whole steps of it."""

    n: float
    """Parameters."""
    d: float
    """Training tokens."""
    c: float
    """Training FLOPs as the points count C."""


Snap = Callable[[float, float], Place | None]
"""The cell nearest to N parameters and D tokens that the recipe can make; None where there is none, as without enough text."""


@dataclass(frozen=True)
class ExponentCells:
    """Proposed cells, with what they are expected to tell of a."""

    cells: tuple[Place, ...]
    """In the order of compute; copies are replicates."""
    budget_flops: float
    """What may be spent."""
    before: Prediction | Refused
    """a with its interval now."""
    half_width: float
    """Of the interval after the cells are measured, if its variance falls as in the linear approximation."""
    source: str
    """Where the points come from."""

    @property
    def spent_flops(self) -> float:
        """Compute of all cells."""
        return sum(cell.c for cell in self.cells)


def exponent_cells(
    points: Points, spec: FitSpec, budget_flops: float, snap: Snap | None = None, rivals: Rivals | None = None
) -> ExponentCells:
    """Propose cells for the exponent a.

    Args:
        points: what was measured.
        spec: estimation.
        budget_flops: what the cells may cost together, counted as the points count C.
        snap: which cells can be had; by default those of any N and D.
        rivals: `fit_rivals` of the same points, where they are known already.

    Raises:
        FitError: no law can be fitted, none has a compute optimum, or no cell can be had for the budget.
    """
    rows = Rows.of(points)
    if rows.k is None:
        raise FitError(f"{points.source}: the units of N, D and C contradict each other, so that no cells are proposed (A17).")
    rivals = rivals or fit_rivals(rows, spec, THEORIES)
    pool = _candidates(rows, snap or (lambda n, d: Place(n, d, (rows.k or 0) * n * d)))
    views = _views(rivals, rows, pool)
    if not pool or not views:
        raise FitError(f"{points.source}: there is no cell that would tell more of a.")
    cost, before = np.array([place.c for place in pool]), _mean_variance(views)
    chosen: list[Place] = []
    copies = np.array([_copies(place, rows) for place in pool])
    while len(chosen) < MOST_CELLS:
        can = (cost <= budget_flops - sum(place.c for place in chosen)) & (copies < MOST_COPIES)
        if not can.any():
            break
        best = int(np.argmax(np.where(can, sum(view.gains() for view in views) / np.sqrt(cost), -math.inf)))
        copies[best] += 1
        chosen.append(pool[best])
        views = [view.after(best) for view in views]
    if not chosen:
        raise FitError(
            f"{format_number(budget_flops)} FLOPs buy no cell; the least that would tell more of a costs "
            f"{format_number(float(cost.min()))}."
        )
    now = exponent(rivals, spec.confidence)
    wide = math.nan if isinstance(now, Refused) else (now.high - now.low) / 2
    shrunk = math.sqrt(_mean_variance(views) / before)
    ordered = tuple(sorted(chosen, key=lambda place: (place.c, place.n)))
    return ExponentCells(ordered, budget_flops, now, wide * shrunk, points.source)


def _candidates(rows: Rows, snap: Snap) -> list[Place]:
    """Cells by factors of `STEP` from the smallest measured N and D to one step beyond the largest, as the points support."""
    largest = float(np.max(rows.n * rows.d))
    measured = Range.of(rows.n, rows.d)
    found = (snap(n, d) for n in _steps(rows.n) for d in _steps(rows.d) if MIN_RATIO * n <= d <= MOST_RATIO * n)
    places = dict.fromkeys(place for place in found if place is not None)
    return [
        place
        for place in places
        if CHEAPEST * largest <= place.n * place.d <= GROWTH * largest * (1 + 1e-9) and not measured.refuse(place.n, place.d)
    ]


def _steps(values: FloatArray) -> list[float]:
    """Levels by factors of `STEP`; one that is near a measured level is that level, so that copies are replicates."""
    low, high = float(values.min()), GROWTH * float(values.max())
    levels = [low * STEP**k for k in range(round(math.log(high / low, STEP)) + 1)]
    nearest = [float(values[np.argmin(np.abs(np.log(values / level)))]) for level in levels]
    return [near if abs(math.log(near / level)) < _NEAR else level for near, level in zip(nearest, levels, strict=True)]


def _copies(place: Place, rows: Rows) -> int:
    """Measured runs of this size and budget."""
    return int(np.sum((np.abs(np.log(rows.n / place.n)) < _NEAR) & (np.abs(np.log(rows.d / place.d)) < _NEAR)))


@dataclass(frozen=True, eq=False)
class _View:
    """What one estimate of a law says of the variance of a."""

    inverse: FloatArray
    """Covariance of the logarithms of the parameters, shape (P, P)."""
    gradient: FloatArray
    """Derivatives of a by them, shape (P,)."""
    moves: FloatArray
    """Derivatives of log loss at the candidates by them, in units of the noise, shape (candidates, P)."""

    @property
    def variance(self) -> float:
        return float(self.gradient @ self.inverse @ self.gradient)

    def gains(self) -> FloatArray:
        """Share of the variance that each candidate would take away, shape (candidates,)."""
        spread = self.moves @ self.inverse
        return np.asarray((spread @ self.gradient) ** 2 / (1 + np.sum(spread * self.moves, axis=1)) / self.variance)

    def after(self, candidate: int) -> "_View":
        """Once this candidate is measured too."""
        spread = self.inverse @ self.moves[candidate]
        taken = np.outer(spread, spread) / (1 + self.moves[candidate] @ spread)
        return _View(self.inverse - taken, self.gradient, self.moves)


def _views(rivals: Rivals, rows: Rows, pool: Sequence[Place]) -> list[_View]:
    """Of every law with a vote and of its resamples, as far as they have a compute optimum."""
    n, d = np.array([place.n for place in pool]), np.array([place.d for place in pool])
    views = []
    for fit in voters(rivals):
        noise = max(robust_scale(inflated_residuals(fit), 0), _LEAST_NOISE)
        for law in [fit.law, *fit.resampled_laws(fit.samples[:NUM_LAWS])]:
            if not isinstance(law, JointLaw) or not law.has_optimum:
                continue
            measured = log_derivatives(law, rows.n, rows.d) / noise
            information = measured.T @ measured + np.eye(measured.shape[1]) / _PRIOR_SD**2
            covariance: FloatArray = np.asarray(np.linalg.inv(information), dtype=np.float64)
            views.append(_View(covariance, _gradient(law), log_derivatives(law, n, d) / noise))
    return views


def _gradient(law: JointLaw) -> FloatArray:
    """Derivatives of a = beta / (alpha + beta) by the logarithms of the parameters, shape (P,)."""
    slopes = {"alpha": -law.a * law.b, "beta": law.a * law.b}
    return np.array([slopes.get(name, 0.0) for name in type(law).parameters])


def _mean_variance(views: Sequence[_View]) -> float:
    return float(np.mean([view.variance for view in views])) if views else math.nan
