"""Rival laws of N and D on the same rows: their estimates, resamples and criteria, their mean and their envelope.

No form is taken as right here. On public data the interval of one form misses most held-out losses, because the error of the
form, not the noise, dominates beyond the measured range; how far forms disagree at a point is the cheapest sign of that error.
Called by `backtest`, `tournament`, `forecast` and `design`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.errors import FitError
from scalesweep.fit.forms import FormFit, fit_form
from scalesweep.fit.intervals import resample
from scalesweep.fit.results import corrected_akaike
from scalesweep.fit.solve.huber import minimise
from scalesweep.fit.solve.objectives import Objective
from scalesweep.fit.solve.problems import FormProblem
from scalesweep.laws import Law
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
MIN_SPARE_ROWS = 2
"""Rows beyond the parameters that a rival needs, so that its residuals say something."""
MAX_FOLDS = 10
"""Neighbouring levels are left out together where there are more."""
_STEP = 1e-4
"""Step in log N and log D of the differences that give local slopes."""


@dataclass(frozen=True, eq=False)
class Rival:
    """One form on these rows, with what its resamples predict."""

    fit: FormFit
    """The estimates."""
    samples: FloatArray = field(repr=False)
    """Parameters refitted to each resample of the runs or rows, shape (resamples, P). Where `cluster_samples` has rows these
    leave out the noise that a size's points share, and say little by themselves."""
    cluster_samples: FloatArray = field(repr=False)
    """The same for resampled model sizes, where intervals are the union of both (`fit.intervals`); else without rows."""
    residuals: FloatArray = field(repr=False)
    """log L - log L_predicted, scaled up for the parameters that were estimated, shape (rows,)."""

    @property
    def name(self) -> str:
        """The form's name in `laws.LAWS`."""
        return self.fit.law.name

    @property
    def aicc(self) -> float:
        """Akaike's corrected criterion, as `LawFit.aicc`."""
        return corrected_akaike(self.fit.num_points, self.fit.num_free, self.fit.residual_rms)

    def log_loss(self, n: ArrayLike, d: ArrayLike) -> FloatArray:
        """Predicted log loss; the arguments are broadcast."""
        return np.asarray(np.log(self.fit.law.predict(n, d)))

    def interval(
        self, n: FloatArray, d: FloatArray, confidence: float, of: Of, seed: int, walk_sd: ArrayLike = 0.0
    ) -> tuple[FloatArray, FloatArray]:
        """Ends in log loss at n, d of shape (targets,): percentiles of the resamples, or their union over both schemes.

        Of a new run, each resample has a residual of the fit added: the noise of one run, heavy tails included, and what the
        form misses inside the measured range. A normal walk of standard deviation `walk_sd` is added to each.
        """
        sets = [self._draws(part, n, d, of, seed) for part in (self.samples, self.cluster_samples) if len(part)]
        walk = np.random.default_rng(seed + 1).standard_normal((len(self.samples), 1)) * np.asarray(walk_sd)
        percents = (50 * (1 - confidence), 50 * (1 + confidence))
        ends = np.array([np.nanpercentile(draws + walk, percents, axis=0) for draws in sets])
        return ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)

    def _draws(self, samples: FloatArray, n: FloatArray, d: FloatArray, of: Of, seed: int) -> FloatArray:
        """Log losses by each row of samples, shape (samples, targets); NaN where a resample predicts none."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            loss = np.log(type(self.fit.law).expand(list(samples.T[:, :, None]), (n, d))[0])
        loss = np.broadcast_to(np.where(np.isfinite(loss), loss, np.nan), (len(samples), len(n)))
        if of == "mean":
            return loss
        return np.asarray(loss + np.random.default_rng(seed).choice(self.residuals, size=loss.shape))

    def slopes(self, n: ArrayLike, d: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Local exponents -d log L / d log N and -d log L / d log D."""
        return local_slopes(self.log_loss, n, d)

    def excess_slopes(self, n: float, d: float) -> tuple[float, float] | None:
        """Local exponents of L - E, by N and by D; None without a floor E or without anything above it."""
        law = self.fit.law
        if not hasattr(law, "E"):
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            by_n, by_d = local_slopes(lambda n, d: np.log(law.predict(n, d) - law.E), n, d)
        return (float(by_n), float(by_d)) if np.isfinite(by_n) and np.isfinite(by_d) else None


@dataclass(frozen=True, eq=False)
class Rivals:
    """Rivals fitted to the same rows."""

    members: tuple[Rival, ...]
    """In the order asked for."""
    refusals: dict[str, str]
    """Why a form was not fitted, by its name."""
    seed: int
    """Seed of resamples and of residuals."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the forms that were fitted."""
        return tuple(rival.name for rival in self.members)

    @property
    def preferred(self) -> Rival:
        """The theory with the lowest AICc; the reference only where it stands alone."""
        theories = [rival for rival in self.members if rival.name != REFERENCE]
        return min(theories or self.members, key=lambda rival: rival.aicc)

    def find(self, name: str) -> Rival | None:
        """The rival of this name, or None if it was refused or not asked for."""
        return next((rival for rival in self.members if rival.name == name), None)

    def log_losses(self, n: FloatArray, d: FloatArray) -> FloatArray:
        """Log loss of every form, shape (forms, targets)."""
        return np.stack([rival.log_loss(n, d) for rival in self.members])

    def is_falling(self, n: FloatArray, d: FloatArray) -> NDArray[np.bool_]:
        """Where each form still predicts that more parameters and more tokens help, shape (forms, targets).

        A form whose loss rises has left the region that it describes. Where all do, none is left out.
        """
        slopes = np.array([rival.slopes(n, d) for rival in self.members])
        falling = np.all(slopes >= -1e-9, axis=1)
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
        ends = np.array([rival.interval(n, d, confidence, of, self.seed, walk_sd) for rival in self.members])
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
        raise FitError(refusal)
    members, refusals = [], {}
    for form in forms:
        try:
            members.append(_fit_rival(form, rows, spec))
        except FitError as error:
            refusals[form] = str(error)
        except np.linalg.LinAlgError:
            refusals[form] = f"The minimiser broke down on the law {form!r}: a start left double precision."
    if not members:
        raise FitError(" ".join(refusals.values()))
    return Rivals(tuple(members), refusals, spec.seed)


def refit(fit: FormFit, rows: Rows, weights: FloatArray) -> FloatArray:
    """Parameters under each row of weights, shape (problems, rows), from the estimates on; shape (problems, P)."""
    problem, start, to_theta = _pose(fit, rows)
    assert fit.delta is not None  # `fit_rivals` asks for a Huber loss
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        return to_theta(minimise(problem, np.repeat(start, len(weights), axis=0), weights, fit.delta).theta)


def _pose(fit: FormFit, rows: Rows) -> tuple[FormProblem, FloatArray, Callable[[FloatArray], FloatArray]]:
    """The fit in the solver's coordinates: the problem, its minimum of shape (1, P), and the way back to parameters."""
    n, d, loss = rows.n, rows.d, rows.loss
    units, loss_unit = (float(n.min()), float(d.min())), float(np.exp(np.mean(np.log(loss))))
    problem = FormProblem(type(fit.law), (n / units[0], d / units[1]), loss / loss_unit, np.ones(len(loss)), is_log=True)
    inner: Law = fit.law.in_units([1 / unit for unit in units], 1 / loss_unit)

    def to_theta(found: FloatArray) -> FloatArray:
        laws = [inner.build(row, ("N", "D")).in_units(units, loss_unit) for row in problem.to_parameters(found).tolist()]
        return np.array([law.theta for law in laws]).reshape(-1, len(fit.law.parameters))

    return problem, np.clip(problem.to_solver(np.array([inner.theta])), problem.lower, problem.upper), to_theta


def cross_validate(rival: Rival, rows: Rows, fold: IntArray) -> float:
    """Root mean square held-out log residual when each fold, shape (rows,), is left out in turn.

    Points that share a size or a budget share its luck, so that leaving out single points would flatter a flexible form.
    """
    labels = np.unique(fold)
    weights = (fold[None, :] != labels[:, None]).astype(np.float64)
    theta = refit(rival.fit, rows, weights)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        predicted = np.log(type(rival.fit.law).expand(list(theta.T[:, :, None]), (rows.n, rows.d))[0])
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
    by_n = (log_loss(n * down, d) - log_loss(n * up, d)) / (2 * _STEP)
    by_d = (log_loss(n, d * down) - log_loss(n, d * up)) / (2 * _STEP)
    return np.asarray(by_n), np.asarray(by_d)


def _fit_rival(form: str, rows: Rows, spec: FitSpec) -> Rival:
    fit = fit_form(form, {"N": rows.n, "D": rows.d}, rows.loss, objective=Objective("huber", spec.huber_delta))
    num = len(rows)
    if num < fit.num_free + MIN_SPARE_ROWS:
        raise FitError(f"{num} points leave fewer than {MIN_SPARE_ROWS} to judge the {fit.num_free} parameters of {form!r}.")
    residual = np.log(rows.loss) - np.log(fit.law.predict(rows.n, rows.d))
    problem, minimum, to_theta = _pose(fit, rows)
    assert fit.delta is not None  # the objective is a Huber loss
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        resampled = resample(problem, minimum, fit.delta, spec, rows.units)
        samples, cluster_samples = (to_theta(part.theta) for part in (resampled.first, resampled.second))
    return Rival(fit, samples, cluster_samples, residual * math.sqrt(num / (num - fit.num_free)))
