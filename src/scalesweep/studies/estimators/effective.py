"""Runs of any N and D at their effective compute: that of the compute-optimal model of the same loss.

Curves of equal loss are those of `FreeBend`, and the loss along the optimum may bend either way and break once. All of it is
one least-squares fit of log loss, which takes hundredths of a second, so that it can be made for every place of a break and
every simulated table. Of a sound table without a break it is the estimate of `FreeBend`, but for the Huber loss of that.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.fit.forms import fit_law
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec
from scalesweep.studies.estimators.along_optimum import Frontier
from scalesweep.studies.estimators.free_bend import FreeBend

NUM_FREE = 6
"""Parameters without a break: loss, slope and bend of the frontier, and three of the curves of equal loss."""
_WIDEST = 30.0
"""Of the logarithm of an exponent or of the ratio of the curves of equal loss, where the search is stopped."""
_MOST_STEPS = 60
"""Evaluations of the Jacobian; sound tables take 5 to 15, and flat ones, whose bend is not known, creep."""


def effective_compute(curves: FreeBend, n: ArrayLike, d: ArrayLike) -> FloatArray:
    """6 N D of the compute-optimal model with the loss of each run, shape (rows,)."""
    log_n, log_d = np.log(np.asarray(n) / curves.n_0), np.log(np.asarray(d) / curves.d_0)
    a, b = curves.alpha, curves.beta
    x = -(1 / a + 1 / b) * np.logaddexp(-a * log_n, math.log(curves.ratio) - b * log_d)
    one = 6 * curves.n_0 * curves.d_0
    return np.asarray(one * np.exp(x - curves.x_opt(one)))


def broken_loss(frontier: Frontier, kept: float, c: ArrayLike) -> FloatArray:
    """Loss along an optimum that breaks at the frontier's own C, beyond which its exponent is `kept` times what it was.

    Caballero et al. 2023 (arXiv 2210.14891), eq. (1), with one sharp break.
    """
    z = np.log(np.asarray(c) / frontier.c)
    return frontier.loss_at(frontier.c * np.exp(z - (1 - kept) * np.fmax(z, 0.0)))


def fit_curves(points: Points, spec: FitSpec) -> FreeBend:
    """The curves of equal loss from which `fit_frontier` begins.

    Raises:
        FitError: the rows are too few.
    """
    rows = Rows.of(points)
    if len(rows) < NUM_FREE + 3:
        raise FitError(f"{points.source}: {len(rows)} runs are too few for the {NUM_FREE} parameters of a law that may bend.")
    law = fit_law(FreeBend, rows, spec.model_copy(update={"bootstrap": 0})).law
    assert isinstance(law, FreeBend)
    return law


@dataclass(frozen=True, eq=False)
class FrontierFit:
    """The loss along the optimum by least squares."""

    frontier: Frontier
    """About the place that was asked for."""
    kept: float
    """Exponent beyond that place over the one before it; 1 without a break."""
    spread: FloatArray
    """Covariance of loss, slope, bend and, with a break, kept, under noise of deviation 1."""
    residuals: FloatArray
    """Of log loss, shape (rows,)."""
    spare: int
    """Degrees of freedom of the residuals."""

    @property
    def squares(self) -> float:
        """Their sum of squares."""
        return float(self.residuals @ self.residuals)

    def draws(self, number: int, rng: np.random.Generator) -> list[Frontier]:
        """Frontiers from Student's t about the estimate, by the linear approximation."""
        sd = np.sqrt(self.squares / rng.chisquare(self.spare, number))
        at = np.array([self.frontier.loss, self.frontier.slope, self.frontier.bend])
        away = rng.multivariate_normal(np.zeros(3), self.spread[:3, :3], number, check_valid="ignore")
        return [Frontier(self.frontier.c, *row) for row in (at + sd[:, None] * away).tolist()]


def fit_frontier(points: Points, curves: FreeBend, place: float, is_broken: bool = False) -> FrontierFit:
    """Least squares of log loss about 6 N D = `place`, from `curves` on; with a break there if asked for."""
    rows, at = Rows.of(points), Frontier.of(curves, place)

    def residuals(theta: FloatArray) -> FloatArray:
        loss, slope, bend, *_ = theta.tolist()
        kept = float(theta[NUM_FREE]) if is_broken else 1.0
        a, b, ratio = np.exp(np.clip(theta[3:NUM_FREE], -_WIDEST, _WIDEST)).tolist()
        own = FreeBend(0.0, 1.0, 0.0, a, b, ratio, curves.n_0, curves.d_0)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            c = effective_compute(own, rows.n, rows.d)
            predicted = broken_loss(Frontier(place, loss, slope, bend), kept, c)
            return np.asarray(np.nan_to_num(np.log(rows.loss) - np.log(predicted), nan=1e3, posinf=1e3, neginf=-1e3))

    start = [at.loss, at.slope, at.bend, *np.log([curves.alpha, curves.beta, curves.ratio]), *([1.0] if is_broken else [])]
    found = least_squares(residuals, start, x_scale="jac", max_nfev=_MOST_STEPS)
    jacobian, x = np.asarray(found.jac), found.x.tolist()
    kept = [0, 1, 2, *([NUM_FREE] if is_broken else [])]
    spread = np.linalg.pinv(jacobian.T @ jacobian)[np.ix_(kept, kept)]
    return FrontierFit(Frontier(place, *x[:3]), x[NUM_FREE] if is_broken else 1.0, spread, found.fun, len(rows) - len(x))
