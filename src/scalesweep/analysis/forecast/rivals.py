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
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.errors import FitError, Refused
from scalesweep.fit.criterion import tempered_weights
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
REPEATED = ("muennighoff", "lovelace")
"""Laws of repeated data, of which a forecast is made where that was chosen (`fit.law`)."""
_CHOICES = {"auto": None, "additive": "chinchilla", "coupled": "coupled", "repeated": "muennighoff"}
"""The form that a value of `fit.law` stands for."""
REFERENCE = "quadratic"
"""The flexible reference, quadratic in logs: it has no floor, so that it is compared with but not extrapolated."""
RIVALS = (*THEORIES, REFERENCE)
TITLES = {
    "chinchilla": "additive",
    "coupled": "coupled",
    "kaplan_floor": "Kaplan with E",
    "quadratic": "quadratic in logs",
    "muennighoff": "Muennighoff",
    "lovelace": "Lovelace",
}
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


def log_loss(fit: Fit, n: ArrayLike, d: ArrayLike, u: ArrayLike | None = None) -> FloatArray:
    """Log loss that a law predicts; the arguments are broadcast. Infinite where a law leaves double precision.

    Args:
        fit: a law of N and D, or of N, D and U.
        n: parameters.
        d: tokens.
        u: unique ones; None: all are. A law of N and D knows no difference.
    """
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(np.log(fit.law.predict(*_columns(fit, n, d, u))))


def _columns(fit: Fit, n: Any, d: Any, u: Any) -> tuple[Any, ...]:
    return (n, d, d if u is None else u) if "U" in fit.law.variables else (n, d)


def predict_interval(
    fit: Fit, n: FloatArray, d: FloatArray, draws: Draws, u: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Ends in log loss at n, d, u of shape (targets,): percentiles of the resamples, or their union over both schemes.

    Of a new run, each resample has a residual of the fit added: the noise of one run, heavy tails included, and what the
    form misses inside the measured range.
    """
    columns = _columns(fit, n, d, u)
    sets = [_draw(fit, part, columns, draws) for part in (fit.samples, fit.cluster_samples) if len(part)]
    percents = (50 * (1 - draws.confidence), 50 * (1 + draws.confidence))
    ends = np.array([_percentiles(part, percents) for part in sets])
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


def _draw(fit: Fit, samples: FloatArray, columns: Sequence[FloatArray], draws: Draws) -> FloatArray:
    """Log losses by each row of samples, shape (samples, targets); NaN where a resample predicts none."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        loss = np.log(type(fit.law).expand(list(samples.T[:, :, None]), columns)[0])
    loss = np.broadcast_to(np.where(np.isfinite(loss), loss, np.nan), (len(samples), len(columns[0])))
    if draws.of == "mean":
        return loss
    return np.asarray(loss + np.random.default_rng(draws.seed).choice(inflated_residuals(fit), size=loss.shape))


def slopes(fit: Fit, n: ArrayLike, d: ArrayLike, u: ArrayLike | None = None) -> tuple[FloatArray, FloatArray]:
    """Local exponents -d log L / d log N and -d log L / d log D, the latter at a fixed number of unique tokens."""
    return local_slopes(lambda n, d: log_loss(fit, n, d, u), n, d)


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
    chosen: str | None = None
    """The form that `fit.law` asks for; None: the points weigh them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the forms that were fitted."""
        return tuple(fit.law.name for fit in self.members)

    @property
    def theories(self) -> tuple[Fit, ...]:
        """The forms that forecasts are made of: all but the reference, which stands in only where it is alone."""
        return tuple(fit for fit in self.members if fit.law.name != REFERENCE) or self.members

    @property
    def preferred(self) -> Fit:
        """The chosen form, or the theory with the lowest criterion."""
        return self.find(self.chosen or "") or min(self.theories, key=lambda fit: fit.aicc)

    @property
    def weights(self) -> FloatArray:
        """Weights of the theories by what the points say of them, shape (theories,); see `criterion.tempered_weights`.

        A chosen form has all the weight, so that it is the centre of a forecast; what the others differ from it still counts.
        """
        if self.chosen in self.names:
            return np.array([float(fit.law.name == self.chosen) for fit in self.theories])
        return tempered_weights(np.array([fit.aicc for fit in self.theories]))

    def find(self, name: str) -> Fit | None:
        """The rival of this name, or None if it was refused or not asked for."""
        return next((fit for fit in self.members if fit.law.name == name), None)

    def log_losses(self, n: FloatArray, d: FloatArray, u: FloatArray | None = None) -> FloatArray:
        """Log loss of every theory, shape (theories, targets)."""
        return np.stack([log_loss(fit, n, d, u) for fit in self.theories])

    def mean_log_loss(self, n: FloatArray, d: FloatArray) -> FloatArray:
        """Weighted mean log loss of the theories, shape (targets,)."""
        return np.asarray(self.weights @ self.log_losses(n, d))

    def envelope(self, n: FloatArray, d: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
        """Ends in log loss of the union of the theories' intervals for the mean over runs, each of shape (targets,).

        Args:
            n: parameters, shape (targets,).
            d: tokens, shape (targets,).
            confidence: nominal coverage of each form's interval.
        """
        ends = np.array([predict_interval(fit, n, d, Draws(confidence, "mean", self.seed)) for fit in self.theories])
        centre, low, high = self.mean_log_loss(n, d), ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)
        return np.minimum(low, centre), np.maximum(high, centre)


def theories_of(spec: FitSpec) -> tuple[str, ...]:
    """The forms that forecasts are made of, by `fit.law`."""
    return REPEATED if spec.law == "repeated" else THEORIES


def fit_rivals(rows: Rows, spec: FitSpec, forms: Sequence[str] = RIVALS) -> Rivals:
    """Every form on the same rows, each fitted from nothing and resampled as the joint laws are, by `spec.interval`.

    Args:
        rows: measured runs.
        spec: Huber width, resampling, seed.
        forms: names in `laws.LAWS` of laws of N and D, or of N, D and U.

    Raises:
        FitError: the design does not tell N from D, no form can be fitted, or not the one that `fit.law` asks for.
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
    if (chosen := _CHOICES[spec.law]) in refusals:
        raise FitError(f"fit.law={spec.law}: {refusals[str(chosen)]}")
    return Rivals(tuple(members), refusals, spec.seed, chosen)


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
        predicted = np.log(type(fit.law).expand(list(theta.T[:, :, None]), rows.columns(fit.law.variables))[0])
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
    check_columns(law, dict(zip(law.variables, rows.columns(law.variables), strict=True)))
    if refusal := refuse_rows(law, len(rows)):
        raise FitError(refusal.reason)
    return fit_law(law, rows, spec)
