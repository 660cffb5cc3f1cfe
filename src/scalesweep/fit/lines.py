"""Kaplan's laws of one variable: straight lines in log-log through the points where that variable is the bottleneck."""

from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.errors import Refused
from scalesweep.fit.curvature import Curvature, find_curvature
from scalesweep.fit.estimates import Estimate, estimate, is_wide, join
from scalesweep.fit.resampling import draw_weights
from scalesweep.fit.results import Fit, Status
from scalesweep.fit.solve.objectives import Objective
from scalesweep.laws import PowerLaw, Variable
from scalesweep.points.clusters import Units
from scalesweep.points.design import MIN_LEVELS, count_levels, is_largest
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec
from scalesweep.units import plural

FEW_POINTS = 6
"""Independent points below which a bootstrap has too few different resamples for its interval to be trusted."""
FEW_X = 4
"""Different x up to which a resample of points leaves too little of the spread of x, and of its own residuals, to go by."""
_NOUNS: dict[Variable, str] = {"N": "model sizes", "D": "token budgets", "C": "compute levels"}


@dataclass(frozen=True, eq=False)
class Selection:
    """The rows that a law of one variable is fitted to."""

    rows: IntArray
    """Their positions."""
    words: str
    """Which they are."""
    caveat: str = ""
    """A sentence on what the choice does to the law; empty where it is the ideal one."""


def select_rows(rows: Rows, variable: Variable) -> Selection:
    """Rows on which the variable limits the loss; of C, the compute frontier.

    Of N and D these are the rows at the largest value of the other. The lower envelope stands in where a design, such as rays
    or isoFLOP, has no largest budget that several sizes share.
    """
    if variable == "C":
        return Selection(select_envelope(rows.c, rows.loss), "compute frontier: points that no cheaper point beats")
    x, other = (rows.n, rows.d) if variable == "N" else (rows.d, rows.n)
    if np.isnan(other).any():
        return Selection(np.arange(len(rows)), f"all points; the table does not say {'D' if variable == 'N' else 'N'}")
    names = ("model size", "token budget") if variable == "N" else ("token budget", "model size")
    top = np.flatnonzero(is_largest(other))
    if count_levels(x[top]) >= MIN_LEVELS:
        return Selection(top, f"points at the largest {names[1]}")
    return Selection(
        select_envelope(x, rows.loss),
        f"lower envelope: points that no smaller {names[0]} beats",
        f"The {names[1]} changes along these points, so the exponent mixes both effects.",
    )


def select_envelope(x: FloatArray, loss: FloatArray) -> IntArray:
    """Positions of the rows that have a lower loss than all rows of smaller or equal x."""
    order = np.lexsort((loss, x))
    best_before = np.concatenate([[np.inf], np.minimum.accumulate(loss[order])[:-1]])
    return np.asarray(order[loss[order] < best_before])


def fit_line(rows: Rows, variable: Variable, spec: FitSpec, selection: Selection | None = None) -> Fit | Refused:
    """The power law of the loss in one variable by least squares in log-log, or why there is none.

    The rows that enter are those of `select_rows`, unless a selection is given.
    """
    if np.isnan({"N": rows.n, "D": rows.d, "C": rows.c}[variable]).any():
        return Refused(f"The table does not say {variable}.")
    selection = selection or select_rows(rows, variable)
    chosen = rows.take(selection.rows)
    x, units = {"N": chosen.n, "D": chosen.d, "C": chosen.c}[variable], chosen.units
    levels = count_levels(x)
    if levels < MIN_LEVELS:
        needs = f"needs at least {MIN_LEVELS} {_NOUNS[variable]}, but has {levels}"
        return Refused(f"A law in {variable} {needs} ({selection.words}).")
    log_x, log_loss = np.log(x), np.log(chosen.loss)
    value, residual = _least_squares(log_x, log_loss, np.ones((1, len(chosen))))
    if not value[0, 1] > 0:
        return Refused(f"The loss does not fall with {variable} ({selection.words}), so there is no power law in {variable}.")
    samples, normal = _bootstrap(log_x, log_loss, spec, units), np.empty((0, 2))
    if levels <= FEW_X and len(samples):
        normal = _draw_normal(log_x, log_loss, spec, units)
    law = PowerLaw(float(value[0, 0]), float(value[0, 1]), variable)
    exponent, scale = (_union(law, name, (samples, normal), spec) for name in ("exponent", "scale"))
    curvature = find_curvature(log_x, log_loss, 1 / np.bincount(units.unit)[units.unit])
    messages = _doubts(units)
    if is_wide(exponent.interval):
        messages.append("The interval of the exponent spans more than a factor of 2.")
    status = Status.WEAK if messages else Status.IDENTIFIED if len(samples) else Status.UNKNOWN
    if curvature and curvature.is_bent:
        status, messages = Status.REJECTED, [_bend(curvature, variable), *messages]
    return Fit(
        law=law,
        estimates={"exponent": exponent, "scale": scale},
        status=status,
        messages=(*messages, *([selection.caveat] if selection.caveat else [])),
        objective=Objective("least_squares_log"),
        objective_value=float(np.sum(residual**2)),
        huber_delta=None,
        residuals=residual,
        rows=tuple(sorted(chosen.order.tolist())),
        selection=selection.words,
        num_free=2,
        confidence=spec.confidence,
        samples=samples,
        cluster_samples=normal,
        intervals=_words(units, spec) if not len(normal) else _normal_words(levels, units, spec),
        curvature=curvature,
    )


def _union(law: PowerLaw, name: str, sets: tuple[FloatArray, FloatArray], spec: FitSpec) -> Estimate:
    """The law's exponent or scale, with the union of the intervals of each set of (log scale, exponent)."""
    with np.errstate(over="ignore"):
        columns = [s[:, 1] if name == "exponent" else np.where(s[:, 1] > 0, np.exp(s[:, 0]), np.inf) for s in sets]
    one, other = (estimate(getattr(law, name), column, spec.confidence) for column in columns)
    return join(one, other)


def _bend(found: Curvature, variable: Variable) -> str:
    """What the test of curvature found, as a sentence."""
    return (
        f"A quadratic in log {variable} has t = {found.t:.1f} and takes the rms from {found.rms_line:.2%} to "
        f"{found.rms_quadratic:.2%}; the local exponent goes from {found.exponent_first:.3f} at the smallest {variable} to "
        f"{found.exponent_last:.3f} at the largest."
    )


def _doubts(units: Units) -> list[str]:
    """Sentences on too few independent points."""
    if units.num_units == 1:
        return ["All these points are of one run, so that nothing shows how another run would differ: no interval."]
    if units.num_units >= FEW_POINTS:
        return []
    noun = "points" if units.num_units == len(units.unit) else "independent points or runs"
    return [f"Only {units.num_units} {noun}: the interval is a rough guide."]


def _words(units: Units, spec: FitSpec) -> str:
    """What the intervals are, as a sentence; empty where rows are resampled one by one."""
    rows = len(units.unit)
    if not spec.bootstrap or not 1 < units.num_units < rows:
        return ""
    return f"Intervals: {spec.confidence:.0%}, bootstrap of {units.num_units} distinct points or runs (of {rows} rows)."


def _normal_words(levels: int, units: Units, spec: FitSpec) -> str:
    """What the intervals of points at few x are, as a sentence."""
    spare = units.num_units - 2
    return (
        f"Intervals: {spec.confidence:.0%}, union of a bootstrap of {units.num_units} points and of Student's t with "
        f"{plural(spare, 'degree')} of freedom, because resamples of points at {levels} different values are too "
        "much alike."
    )


def _bootstrap(log_x: FloatArray, log_loss: FloatArray, spec: FitSpec, units: Units) -> FloatArray:
    """(log scale, exponent) of each resample of units with at least two different x, shape (at most bootstrap, 2)."""
    if units.num_units == 1:
        return np.empty((0, 2))
    weights = draw_weights(units.unit, spec.bootstrap, np.random.default_rng(spec.seed))
    spread = weights @ log_x**2 - (weights @ log_x) ** 2 / weights.sum(axis=1)
    samples, _ = _least_squares(log_x, log_loss, weights[spread > 1e-9])
    return np.asarray(samples[samples[:, 1] != 0])


def _draw_normal(log_x: FloatArray, log_loss: FloatArray, spec: FitSpec, units: Units) -> FloatArray:
    """(log scale, exponent) under normal noise of unknown size, shape (bootstrap, 2); empty without a spare point.

    The mean of log L and the slope are jointly Student's t about their estimates (Box & Tiao 1973, Bayesian Inference in
    Statistical Analysis, section 2.7). Slopes, and means given the slope, are taken at evenly spaced probabilities in random
    pairs, so that the percentiles of slopes are the textbook's t interval.
    """
    from scipy.special import stdtrit

    spare, weights = units.num_units - 2, (1 / np.bincount(units.unit)[units.unit])[None]
    if spare < 1:
        return np.empty((0, 2))
    value, residual = _least_squares(log_x, log_loss, weights)
    mean_x, mean_y = (float(np.sum(weights * column) / weights.sum()) for column in (log_x, log_loss))
    sd = np.sqrt(np.sum(weights * residual**2) / spare)
    rng = np.random.default_rng(spec.seed)
    probabilities = (np.arange(spec.bootstrap) + 0.5) / spec.bootstrap
    slope = stdtrit(spare, probabilities)
    mean = stdtrit(spare + 1, rng.permutation(probabilities)) * np.sqrt((spare + slope**2) / (spare + 1))
    exponent = value[0, 1] + sd / np.sqrt(np.sum(weights * (log_x - mean_x) ** 2)) * slope
    level = mean_y + sd / np.sqrt(weights.sum()) * mean
    return np.stack([mean_x + level / exponent, exponent], axis=1)


def _least_squares(log_x: FloatArray, log_loss: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(log scale, exponent) of the weighted lines, shape (problems, 2), and the residuals of the first, shape (rows,)."""
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = weights @ log_x[:, None] / total, weights @ log_loss[:, None] / total
    x, y = log_x - mean_x, log_loss - mean_y
    exponent = -np.sum(weights * x * y, axis=1) / np.sum(weights * x**2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_scale = mean_x[:, 0] + mean_y[:, 0] / exponent
    residual = (y + exponent[:, None] * x)[:1].ravel()
    return np.stack([log_scale, exponent], axis=1), residual
