"""Rival laws of N and D on the same rows: their estimates, resamples and criteria, their mean and their envelope.

No form is taken as right here. On public data the interval of one form misses most held-out losses, because the error of the
form, not the noise, dominates beyond the measured range; how far forms disagree at a point is the cheapest sign of that error.
Called by `backtest`, `tournament`, `forecast` and `design`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.errors import FitError, Refused
from scalesweep.fit.forms import check_columns, find_form, fit_law, refuse_rows
from scalesweep.fit.intervals import inflated_residuals
from scalesweep.fit.pose import Posed
from scalesweep.fit.results import Fit
from scalesweep.fit.solve.huber import minimise
from scalesweep.points.design import find_levels, refuse_joint
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec

Of = Literal["mean", "run"]
THEORIES = ("chinchilla", "coupled", "kaplan_floor")
"""Additive, coupled and Kaplan's with a floor: what forecasts are made of."""
REFERENCE = "quadratic"
"""The flexible reference, quadratic in logs: it has no floor, so that it is compared with but not extrapolated."""
RIVALS = (*THEORIES, REFERENCE)
TITLES = {"chinchilla": "additive", "coupled": "coupled", "kaplan_floor": "Kaplan with E", "quadratic": "quadratic in logs"}
"""What the texts call them; another form goes by its name."""
MAX_FOLDS = 10
"""Neighbouring levels are left out together where there are more."""
_STEP = 1e-4
"""Step in log N and log D of the differences that give local slopes."""


@dataclass(frozen=True, eq=False)
class Draws:
    """What is drawn for an interval of a prediction."""

    confidence: float
    """Nominal coverage."""
    of: Of
    """A new run, or the mean over runs."""
    seed: int
    """Seed of residuals and of the walk."""


def log_loss(fit: Fit, n: ArrayLike, d: ArrayLike) -> FloatArray:
    """Log loss that a law of N and D predicts; the arguments are broadcast. Infinite where a law leaves double precision."""
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(np.log(fit.law.predict(n, d)))


def predict_interval(
    fit: Fit, n: FloatArray, d: FloatArray, draws: Draws, walk_sd: ArrayLike = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Ends in log loss at n, d of shape (targets,): percentiles of the resamples, or their union over both schemes.

    Of a new run, each resample has a residual of the fit added: the noise of one run, heavy tails included, and what the
    form misses inside the measured range. A normal walk of standard deviation `walk_sd` is added to each.
    """
    sets = [_draw(fit, part, n, d, draws) for part in (fit.samples, fit.cluster_samples) if len(part)]
    walk = np.random.default_rng(draws.seed + 1).standard_normal((len(fit.samples), 1)) * np.asarray(walk_sd)
    percents = (50 * (1 - draws.confidence), 50 * (1 + draws.confidence))
    ends = np.array([_percentiles(part + walk, percents) for part in sets])
    return ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)


def _percentiles(values: FloatArray, percents: tuple[float, float]) -> FloatArray:
    """Percentiles of the known values of each column, shape (2, columns); NaN where none is known.

    `nanpercentile` goes column by column in Python, so that it is asked only where something is missing.
    """
    ends = np.full((2, values.shape[1]), np.nan)
    missing = np.isnan(values)
    whole, some = ~missing.any(axis=0), missing.any(axis=0) & ~missing.all(axis=0)
    for columns, percentile in ((whole, np.percentile), (some, np.nanpercentile)):
        if columns.any():
            ends[:, columns] = percentile(values[:, columns], percents, axis=0)
    return ends


def _draw(fit: Fit, samples: FloatArray, n: FloatArray, d: FloatArray, draws: Draws) -> FloatArray:
    """Log losses by each row of samples, shape (samples, targets); NaN where a resample predicts none."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        loss = np.log(type(fit.law).expand(list(samples.T[:, :, None]), (n, d))[0])
    loss = np.broadcast_to(np.where(np.isfinite(loss), loss, np.nan), (len(samples), len(n)))
    if draws.of == "mean":
        return loss
    return np.asarray(loss + np.random.default_rng(draws.seed).choice(inflated_residuals(fit), size=loss.shape))


def slopes(fit: Fit, n: ArrayLike, d: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Local exponents -d log L / d log N and -d log L / d log D."""
    return local_slopes(lambda n, d: log_loss(fit, n, d), n, d)


def excess_slopes(fit: Fit, n: float, d: float) -> tuple[float, float] | None:
    """Local exponents of L - E, by N and by D; None without a floor E or without anything above it."""
    law = fit.law
    if not hasattr(law, "E"):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        by_n, by_d = local_slopes(lambda n, d: np.log(law.predict(n, d) - law.E), n, d)
    return (float(by_n), float(by_d)) if np.isfinite(by_n) and np.isfinite(by_d) else None


@dataclass(frozen=True, eq=False)
class Rivals:
    """Rivals fitted to the same rows."""

    members: tuple[Fit, ...]
    """In the order asked for."""
    refusals: dict[str, Refused]
    """Why a form was not fitted, by its name."""
    seed: int
    """Seed of resamples and of residuals."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the forms that were fitted."""
        return tuple(fit.law.name for fit in self.members)

    @property
    def preferred(self) -> Fit:
        """The theory with the lowest AICc; the reference only where it stands alone."""
        theories = [fit for fit in self.members if fit.law.name != REFERENCE]
        return min(theories or self.members, key=lambda fit: fit.aicc)

    def find(self, name: str) -> Fit | None:
        """The rival of this name, or None if it was refused or not asked for."""
        return next((fit for fit in self.members if fit.law.name == name), None)

    def log_losses(self, n: FloatArray, d: FloatArray) -> FloatArray:
        """Log loss of every form, shape (forms, targets)."""
        return np.stack([log_loss(fit, n, d) for fit in self.members])

    def is_falling(self, n: FloatArray, d: FloatArray) -> NDArray[np.bool_]:
        """Where each form still predicts that more parameters and more tokens help, shape (forms, targets).

        A form whose loss rises has left the region that it describes. Where all do, none is left out.
        """
        local = np.array([slopes(fit, n, d) for fit in self.members])
        falling = np.all(local >= -1e-9, axis=1)
        return np.where(falling.any(axis=0), falling, True)

    def mean_log_loss(self, n: FloatArray, d: FloatArray) -> FloatArray:
        """Mean log loss of the forms that fall there, shape (targets,)."""
        keep = self.is_falling(n, d)
        return np.asarray(np.sum(np.where(keep, self.log_losses(n, d), 0.0), axis=0) / keep.sum(axis=0))

    def envelope(
        self, n: FloatArray, d: FloatArray, confidence: float, *, of: Of = "run", walk_sd: ArrayLike = 0.0
    ) -> tuple[FloatArray, FloatArray]:
        """Ends in log loss of the union of the intervals of the forms that fall there, each of shape (targets,).

        Args:
            n: parameters, shape (targets,).
            d: tokens, shape (targets,).
            confidence: nominal coverage of each form's interval.
            of: a new run, or the mean over runs.
            walk_sd: standard deviation in log loss, shape (targets,), of what is not in the forms.
        """
        keep = self.is_falling(n, d)
        draws = Draws(confidence, of, self.seed)
        ends = np.array([predict_interval(fit, n, d, draws, walk_sd) for fit in self.members])
        centre = self.mean_log_loss(n, d)
        low = np.min(np.where(keep, ends[:, 0], np.inf), axis=0)
        high = np.max(np.where(keep, ends[:, 1], -np.inf), axis=0)
        return np.minimum(low, centre), np.maximum(high, centre)


def fit_rivals(rows: Rows, spec: FitSpec, forms: Sequence[str] = RIVALS) -> Rivals:
    """Every form on the same rows, each fitted from nothing and resampled as the joint laws are, by `spec.interval`.

    Args:
        rows: measured runs.
        spec: Huber width, resampling, seed.
        forms: names in `laws.LAWS` of laws of N and D.

    Raises:
        FitError: the design does not tell N from D, or no form can be fitted.
    """
    if refusal := refuse_joint(rows.n, rows.d):
        raise FitError(refusal.reason)
    members: list[Fit] = []
    refusals: dict[str, Refused] = {}
    for form in forms:
        try:
            members.append(_fit_rival(form, rows, spec))
        except FitError as error:
            refusals[form] = Refused(str(error))
        except np.linalg.LinAlgError:
            refusals[form] = Refused(f"The minimiser broke down on the law {form!r}: a start left double precision.")
    if not members:
        raise FitError(" ".join(map(str, refusals.values())))
    return Rivals(tuple(members), refusals, spec.seed)


def refit(fit: Fit, rows: Rows, weights: FloatArray) -> FloatArray:
    """Parameters under each row of weights, shape (problems, rows), from the estimates on; shape (problems, P)."""
    posed = Posed.of_rows(type(fit.law), rows)
    assert fit.huber_delta is not None  # `fit_law` minimises a Huber loss
    starts = np.repeat(posed.theta(fit.law), len(weights), axis=0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        return posed.parameters(minimise(posed.problem, starts, weights, fit.huber_delta).theta)


def cross_validate(fit: Fit, rows: Rows, fold: IntArray) -> float:
    """Root mean square held-out log residual when each fold, shape (rows,), is left out in turn.

    Points that share a size or a budget share its luck, so that leaving out single points would flatter a flexible form.
    """
    labels = np.unique(fold)
    weights = (fold[None, :] != labels[:, None]).astype(np.float64)
    theta = refit(fit, rows, weights)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        predicted = np.log(type(fit.law).expand(list(theta.T[:, :, None]), (rows.n, rows.d))[0])
    own = np.searchsorted(labels, fold)
    return float(np.sqrt(np.mean((np.log(rows.loss) - predicted[own, np.arange(len(rows))]) ** 2)))


def folds_of(values: FloatArray) -> IntArray:
    """Fold of each row: its level, up to `design.LEVEL_TOLERANCE`, or at most `MAX_FOLDS` groups of neighbouring levels."""
    level = find_levels(values)
    count = int(level.max()) + 1
    return level if count <= MAX_FOLDS else level * MAX_FOLDS // count


def local_slopes(log_loss: Callable[[Any, Any], FloatArray], n: ArrayLike, d: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Central differences of -log_loss(n, d) by log N and by log D."""
    up, down = math.exp(_STEP), math.exp(-_STEP)
    n, d = np.asarray(n, dtype=np.float64), np.asarray(d, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # infinite on both sides: no slope
        by_n = (log_loss(n * down, d) - log_loss(n * up, d)) / (2 * _STEP)
        by_d = (log_loss(n, d * down) - log_loss(n, d * up)) / (2 * _STEP)
    return np.asarray(by_n), np.asarray(by_d)


def _fit_rival(form: str, rows: Rows, spec: FitSpec) -> Fit:
    law = find_form(form)
    check_columns(law, {"N": rows.n, "D": rows.d})
    if refusal := refuse_rows(law, len(rows)):
        raise FitError(refusal.reason)
    return fit_law(law, rows, spec)
