"""What a loss costs in tokens at each batch, and the critical batch, at which it costs twice the fewest.

At batch B a loss takes S steps and E = B S tokens, with (S / S_min - 1) (E / E_min - 1) = 1 (McCandlish et al. 2018, arXiv
1812.06162, eq. 2.11), so that

    E = E_min + S_min B = E_min (1 + B / B_crit),    B_crit = E_min / S_min

Losses are those of finished runs at the best learning rate of each size, batch and budget. They are read in two ways. A
*hyperbola* through the tokens to one loss assumes nothing of other losses; it tells whether E is linear in B. A *curve* of one
size takes all its losses at once: ln L is quadratic in ln E_min, and B_crit a power of E_min, which over the decade of E_min of
a grid is as good as a power of the loss. It tells B_crit and how it moves, with a fraction of the hyperbola's noise.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.errors import FitError
from scalesweep.laws.batch import steps_at_batch
from scalesweep.studies.estimators.best_losses import BestLosses
from scalesweep.studies.estimators.tokens import loss_levels, tokens_to_loss

LEAST_STEPS = 64
"""Of a run that counts: at fewer, its decay of a fifth is a dozen steps, and its loss is that of a schedule of its own."""
LEAST_BATCHES = 3
"""That must reach a loss before a hyperbola of two parameters says anything of it."""
_STEEPEST = 0.95
"""Largest exponent of B_crit in E_min: at 1, S_min would be the same for every loss, and a run of fewer steps have no E_min."""
_FLATTEST = -3.0
"""Smallest one; a bound for the solver alone."""
_NEWTON = 40
"""Steps; the function is monotone and close to linear, so that about five reach the rounding of double precision."""


def fewest_tokens(d: ArrayLike, batch: ArrayLike, log_scale: ArrayLike, exponent: ArrayLike, centre: ArrayLike) -> FloatArray:
    """Give ln E_min of a run of D tokens at batch B where ln B_crit = log_scale + exponent (ln E_min - centre).

    It solves D = E_min (1 + B / B_crit(E_min)) by Newton's method; with an exponent below 1 there is one solution.

    Args:
        d: training tokens; this and the others are broadcast.
        batch: tokens a step.
        log_scale: ln B_crit at the centre.
        exponent: d ln B_crit / d ln E_min.
        centre: a value of ln E_min.
    """
    log_d, batch = np.log(np.asarray(d, dtype=np.float64)), np.asarray(batch, dtype=np.float64)
    middle = np.asarray(centre, dtype=np.float64)
    # From above, where Newton's method comes down to the root without passing it: D is convex there for exponents of 0 to 1.
    found = log_d + np.zeros_like(batch)
    for _ in range(_NEWTON):
        share = batch * np.exp(-(log_scale + exponent * (found - middle)))
        step = (log_d - found - np.log1p(share)) / (1 - exponent * share / (1 + share))
        found = found + step
        if np.max(np.abs(step)) < 1e-12:
            break
    return np.asarray(found)


@dataclass(frozen=True, eq=False)
class Curve:
    """The losses of one size as a function of E_min, and its critical batch: ln L = a + b z + c z^2 with z = ln E_min - centre,
    and ln B_crit = log_scale + exponent z.
    """

    n: float
    """Parameters."""
    theta: FloatArray
    """log_scale, exponent, a, b, c."""
    covariance: FloatArray
    """Of `theta`, for noise of variance 1, shape (5, 5)."""
    centre: float
    """A value of ln E_min in the middle of the measured ones."""
    residuals: FloatArray
    """Of ln L over the standard deviation of each for noise of variance 1, shape (cells,)."""

    def log_critical(self, log_tokens: float) -> float:
        """Logarithm of B_crit at a logarithm of E_min."""
        return float(self.theta[0] + self.theta[1] * (log_tokens - self.centre))

    def log_tokens(self, loss: float) -> float:
        """Logarithm of E_min of a loss; NaN below the lowest that the curve has."""
        a, b, c = self.theta[2:]
        below = a - math.log(loss)
        root = b * b - 4 * c * below
        return float(self.centre + 2 * below / (-b + math.sqrt(root))) if root >= 0 and b < 0 else math.nan

    def log_loss(self, log_tokens: ArrayLike) -> FloatArray:
        """Logarithm of the loss at logarithms of E_min, of their shape."""
        z = np.asarray(log_tokens, dtype=np.float64) - self.centre
        return np.asarray(self.theta[2] + self.theta[3] * z + self.theta[4] * z * z)

    def critical_at(self, loss: float) -> float:
        """Logarithm of B_crit at a loss."""
        return self.log_critical(self.log_tokens(loss))

    def by_loss(self, loss: float) -> float:
        """Exponent of B_crit in the loss there, d ln B_crit / d ln L."""
        z = self.log_tokens(loss) - self.centre
        return float(self.theta[1] / (self.theta[3] + 2 * self.theta[4] * z))

    def log_fewest(self, cells: BestLosses) -> FloatArray:
        """Logarithms of E_min of every run, shape (cells,)."""
        return fewest_tokens(cells.d, cells.batch, self.theta[0], self.theta[1], self.centre)

    def log_steps(self, cells: BestLosses) -> FloatArray:
        """Logarithms of S_min = E_min / B_crit, the steps to each run's loss at a very large batch, shape (cells,)."""
        log_tokens = self.log_fewest(cells)
        return np.asarray(log_tokens - self.theta[0] - self.theta[1] * (log_tokens - self.centre))

    def estimate(self, of: Callable[["Curve"], float]) -> tuple[float, float]:
        """A number of the curve, and its standard error for noise of variance 1, to first order."""
        gradient = []
        for i, sd in enumerate(np.sqrt(np.diag(self.covariance))):
            step = np.zeros(len(self.theta))
            step[i] = max(1e-4 * sd, 1e-9)
            ends = [of(dataclasses.replace(self, theta=self.theta + sign * step)) for sign in (-1.0, 1.0)]
            gradient.append((ends[1] - ends[0]) / (2 * step[i]))
        return of(self), math.sqrt(float(np.array(gradient) @ self.covariance @ np.array(gradient)))


def fit_curve(cells: BestLosses, shared: float = 0.0) -> Curve:
    """The curve of one size, by least squares in ln L weighted with the variances.

    Args:
        cells: the size's losses.
        shared: part of the noise's variance that the budgets of a batch have in common, as they branch off one trunk.

    Raises:
        FitError: fewer cells than the five parameters, or fewer than two batches or three budgets.
    """
    num = len(cells.d)
    if num <= 5 or len(cells.batches) < 2 or len(np.unique(cells.d)) < 3:
        raise FitError(
            f"{num} runs of {len(cells.batches)} batches at N = {cells.n:g} do not determine a critical batch: it takes at "
            f"least 6 of {LEAST_STEPS} steps or more, at two batches and three budgets."
        )
    sd = np.sqrt(cells.variance)
    # Where the trade is thought to be does not matter to the fit, only to the range of z: a batch in the middle of those tried.
    start = math.log(math.sqrt(cells.batches[0] * cells.batches[-1]) * 4)
    centre = float(np.mean(fewest_tokens(cells.d, cells.batch, start, 0.0, 0.0)))

    def polynomial(theta: FloatArray) -> FloatArray:
        z = fewest_tokens(cells.d, cells.batch, theta[0], theta[1], centre) - centre
        return np.column_stack([np.ones_like(z), z, z * z])

    def residuals(theta: FloatArray) -> FloatArray:
        return np.asarray((polynomial(theta) @ theta[2:] - cells.log_loss) / sd)

    design = polynomial(np.array([start, 0.0]))
    first = np.linalg.lstsq(design / sd[:, None], cells.log_loss / sd, rcond=None)[0]
    span = math.log(cells.batches[-1] / cells.batches[0])
    bounds = (
        [math.log(cells.batches[0]) - span, _FLATTEST, *[-math.inf] * 3],
        [math.log(cells.batches[-1]) + span, _STEEPEST, *[math.inf] * 3],
    )
    found = least_squares(residuals, np.array([start, 0.3, *first]), bounds=bounds, x_scale=[1.0, 1.0, 0.1, 0.1, 0.1])
    slopes = np.asarray(found.jac)
    inverse = np.linalg.pinv(slopes.T @ slopes)
    by_noise = inverse @ slopes.T
    covariance = (1 - shared) * inverse
    for one in cells.batches:
        of_trunk = by_noise[:, cells.batch == one].sum(axis=1)
        covariance = covariance + shared * np.outer(of_trunk, of_trunk)
    return Curve(cells.n, found.x, covariance, centre, np.asarray(found.fun))


def levels_of(cells: BestLosses) -> FloatArray:
    """Three losses that at least `LEAST_BATCHES` batches reach, decreasing; empty where there are none."""
    return loss_levels(cells.trunks(), LEAST_BATCHES)


@dataclass(frozen=True, eq=False)
class Hyperbola:
    """E = E_min + S_min B through the tokens to one loss, by least squares of relative errors."""

    loss: float
    batch: FloatArray
    """Batches that reach the loss, shape (batches,)."""
    tokens: FloatArray
    """Tokens to the loss at each, shape (batches,)."""
    fewest: float
    """E_min, tokens."""
    least_steps: float
    """S_min."""
    misfit: FloatArray
    """Relative errors (E - E_min - S_min B) / E, shape (batches,)."""
    by_cell: FloatArray
    """Derivatives of `misfit` by the log loss of each cell, shape (batches, cells)."""

    @property
    def critical(self) -> float:
        """B_crit in tokens; NaN where the tokens do not grow with the batch."""
        return self.fewest / self.least_steps if self.fewest > 0 and self.least_steps > 0 else math.nan

    def tokens_at(self, batch: ArrayLike) -> FloatArray:
        """Tokens to the loss at batches of any shape."""
        return np.asarray(batch) * steps_at_batch(batch, self.least_steps, self.fewest)


def fit_hyperbola(cells: BestLosses, loss: float) -> Hyperbola | None:
    """The hyperbola of one size at one loss; None where fewer than `LEAST_BATCHES` batches reach it."""
    batch, tokens, moves = [], [], []
    for one in cells.batches:
        rows = np.flatnonzero(cells.batch == one)
        found = float(tokens_to_loss(cells.d[rows], np.exp(cells.log_loss[rows]), loss))
        if not math.isnan(found):
            batch.append(float(one))
            tokens.append(found)
            moves.append(_sensitivity(cells, rows, found))
    if len(batch) < LEAST_BATCHES:
        return None
    b, e = np.array(batch), np.array(tokens)
    design = np.column_stack([1 / e, b / e])
    (fewest, steps), *_ = np.linalg.lstsq(design, np.ones(len(b)), rcond=None)
    remains = np.eye(len(b)) - design @ np.linalg.pinv(design)
    return Hyperbola(loss, b, e, float(fewest), float(steps), 1 - design @ [fewest, steps], remains @ np.array(moves))


def _sensitivity(cells: BestLosses, rows: IntArray, tokens: float) -> FloatArray:
    """Derivatives d ln tau / d ln L by each cell, shape (cells,), by a straight line in logs between the budgets around tau."""
    found = np.zeros(len(cells.d))
    rows = rows[np.argsort(cells.d[rows])]
    log_d, log_loss = np.log(cells.d[rows]), cells.log_loss[rows]
    left = int(np.clip(np.searchsorted(log_d, math.log(tokens)) - 1, 0, len(rows) - 2))
    width = log_d[left + 1] - log_d[left]
    share = (math.log(tokens) - log_d[left]) / width
    # The mean slope of the batch, where noise has made two neighbours equal or turned them round.
    overall = (log_loss[0] - log_loss[-1]) / (log_d[-1] - log_d[0])
    slope = max((log_loss[left] - log_loss[left + 1]) / width, overall / 2)
    found[rows[left]], found[rows[left + 1]] = (1 - share) / slope, share / slope
    return found


@dataclass(frozen=True, eq=False)
class Size:
    """One size with all that is read off its runs."""

    cells: BestLosses
    curve: Curve

    @classmethod
    def of(cls, cells: BestLosses, shared: float = 0.0) -> "Size":
        """The size with its curve; see `fit_curve` for `shared` and errors."""
        return cls(cells, fit_curve(cells, shared))

    @property
    def n(self) -> float:
        """Parameters."""
        return self.cells.n

    @cached_property
    def levels(self) -> FloatArray:
        """Three losses that at least `LEAST_BATCHES` of its batches reach, decreasing; empty where there are none."""
        return levels_of(self.cells)

    @cached_property
    def ends(self) -> FloatArray:
        """The highest and the lowest loss that so many reach; empty where there is none."""
        return loss_levels(self.cells.trunks(), LEAST_BATCHES, (0.0, 1.0))

    @cached_property
    def hyperbolas(self) -> list[Hyperbola]:
        """One for each of the losses."""
        found = [fit_hyperbola(self.cells, float(loss)) for loss in self.levels]
        return [one for one in found if one is not None]


def common_place(small: Size, large: Size, *, at_data: bool) -> float | None:
    """The middle of the losses, or of ln E_min, that enough batches of both sizes reach; None where there are none."""
    if not len(small.ends) or not len(large.ends):
        return None
    ranges = [[one.curve.log_tokens(loss) if at_data else float(loss) for loss in one.ends] for one in (small, large)]
    low, high = max(min(pair) for pair in ranges), min(max(pair) for pair in ranges)
    return (low + high) / 2 if low < high else None
