"""Laws of one variable: Kaplan's straight line in log-log, and the power law with a floor, through the means of each cell.

Both are fitted by least squares of log L. Intervals are Student's t: of the line, with the spread about a quadratic in log x as
its noise, because a floor bends the points and a bend is no noise; of the floor, by `floors`. Coverage: docs/coverage.md.
"""

from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.errors import Refused
from scalesweep.fit.curvature import Curvature, find_curvature
from scalesweep.fit.estimates import Estimate, estimate, is_wide, join
from scalesweep.fit.floors import Cells, draw_floor_laws
from scalesweep.fit.forms import fit_form
from scalesweep.fit.judge import judge
from scalesweep.fit.resampling import draw_weights
from scalesweep.fit.results import Fit, Status
from scalesweep.fit.selection import NOUNS, Selection, column_of, gather_cells, select_rows, spans_cells
from scalesweep.fit.solve.objectives import Objective
from scalesweep.interval import Interval
from scalesweep.laws import PowerLaw, PowerLawFloor, Variable
from scalesweep.points.design import MIN_LEVELS, count_levels
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_number, plural

FEW_POINTS = 6
"""Independent points below which an interval rests on so few degrees of freedom that it is called a rough guide."""
MIN_BENT = 5
"""Cells from which the noise of a line is the spread about a quadratic; with four it would have one degree of freedom."""


@dataclass(frozen=True, eq=False)
class _Posed:
    """The rows of a law of one variable, and their means."""

    rows: Rows
    cells: Cells
    variable: Variable
    selection: Selection
    line: tuple[float, float]
    """Log scale and exponent of the least-squares line."""

    @property
    def residuals(self) -> FloatArray:
        """Log L of the cells less the line."""
        log_scale, exponent = self.line
        return np.asarray(self.cells.log_loss - exponent * (log_scale - self.cells.log_x))


def fit_line(
    rows: Rows, variable: Variable, spec: FitSpec, selection: Selection | None = None, wider: Fit | None = None
) -> Fit | Refused:
    """The power law of the loss in one variable by least squares in log-log, or why there is none.

    Its exponent is that of the same line through these places without noise: the local exponent of the measured range.

    Args:
        rows: measured rows.
        variable: what the law is in.
        spec: draws, confidence and seed.
        selection: the rows that enter; by default those of `select_rows`.
        wider: the law with a floor through the same rows, whose band is this law's too.
    """
    posed = _pose(rows, variable, selection)
    if isinstance(posed, Refused):
        return posed
    cells = posed.cells
    drawn, spare = _draw_lines(posed, spec)
    resampled = _resample_runs(posed, spec) if len(drawn) and spans_cells(posed.rows.units, cells) else np.empty((0, 2))
    law = PowerLaw(*posed.line, variable)
    exponent, scale = (_union(law, name, (drawn, resampled), spec) for name in ("exponent", "scale"))
    curvature = find_curvature(cells.log_x, cells.log_loss, cells.weights * cells.num_independent / cells.weights.sum())
    status, messages = _judge_line(exponent, cells, variable, curvature)
    if wider is not None and (floor := wider.estimates["E"].interval) is not None and floor.low <= 0:
        messages.append(f"The points leave a floor E of up to {format_number(floor.high)} open, and the band holds its bend.")
    return Fit(
        law=law,
        estimates={"exponent": exponent, "scale": scale},
        status=status,
        messages=(*messages, *([posed.selection.caveat] if posed.selection.caveat else [])),
        objective=Objective("least_squares_log"),
        objective_value=float(np.sum(posed.residuals**2)),
        huber_delta=None,
        residuals=posed.residuals,
        rows=tuple(sorted(posed.rows.order.tolist())),
        selection=posed.selection.words,
        num_free=2,
        confidence=spec.confidence,
        samples=drawn,
        cluster_samples=resampled,
        intervals=_words(spec, spare, len(resampled) > 0) if len(drawn) else "",
        curvature=curvature,
        wider=wider,
    )


def fit_floor(rows: Rows, variable: Variable, spec: FitSpec, selection: Selection | None = None) -> Fit | Refused:
    """The power law with a floor by least squares of log L, or why there is none; E is free, or `spec.floor`."""
    posed = _pose(rows, variable, selection)
    if isinstance(posed, Refused):
        return posed
    cells, pinned = posed.cells, {} if spec.floor is None else {"E": spec.floor}
    free = 3 - len(pinned)
    if (num := len(cells.log_x)) <= free:
        given = "a given floor" if pinned else "a floor"
        return Refused(f"A law in {variable} with {given} needs at least {free + 1} points, but has {num}.")
    losses = np.exp(cells.log_loss)
    if spec.floor is not None and spec.floor >= losses.min():
        return Refused(f"fit.floor = {spec.floor:g} is not below the lowest loss, {format_number(losses.min())}.")
    found = fit_form(
        PowerLawFloor,
        {variable: np.exp(cells.log_x)},
        losses,
        objective="least_squares_log",
        weights=cells.weights,
        fixed=pinned,
    )
    drawn = draw_floor_laws(cells, spec.bootstrap, np.random.default_rng(spec.seed), spec.floor)
    names = [name for name in found.estimates if name not in pinned]
    columns = dict(zip(PowerLawFloor.parameters, drawn.T, strict=True))
    estimates = {name: Estimate(part.value) for name, part in found.estimates.items()}
    estimates |= {name: _around(estimate(found.estimates[name].value, columns[name], spec.confidence)) for name in names}
    assert found.search is not None
    status, reasons = judge(found.law, found.search, estimates)
    messages = [*reasons, *_doubts(cells)] + ([f"E = {spec.floor:g} is given, not estimated."] if pinned else [])
    if status is Status.IDENTIFIED and _doubts(cells):
        status = Status.WEAK
    if (ends := estimates["E"].interval) is not None and ends.low <= 0:
        messages.append("The points do not tell this law from the one without a floor, and its band holds both.")
    return Fit(
        law=found.law,
        estimates=estimates,
        status=status,
        messages=(*messages, *([posed.selection.caveat] if posed.selection.caveat else [])),
        objective=found.objective,
        objective_value=found.objective_value,
        huber_delta=None,
        residuals=found.residuals,
        rows=tuple(sorted(posed.rows.order.tolist())),
        selection=posed.selection.words,
        num_free=free,
        confidence=spec.confidence,
        samples=drawn,
        cluster_samples=np.empty((0, 3)),
        intervals=_words(spec, cells.num_independent - free, False) if len(drawn) else "",
        search=found.search,
    )


def _pose(rows: Rows, variable: Variable, selection: Selection | None) -> _Posed | Refused:
    chosen = selection or select_rows(rows, variable)
    if isinstance(chosen, Refused):
        return chosen
    taken = rows.take(chosen.rows)
    x = column_of(taken, variable)
    if (levels := count_levels(x)) < MIN_LEVELS:
        needs = f"needs at least {MIN_LEVELS} {NOUNS[variable]}, but has {levels}"
        return Refused(f"A law in {variable} {needs} ({chosen.words}).")
    cells = gather_cells(taken, x)
    line = _least_squares(cells, cells.weights[None])[0]
    if not line[1] > 0:
        return Refused(
            f"The loss does not fall with {variable} ({chosen.words}), so there is no power law in {variable}: a line "
            f"through them has the exponent {line[1]:.3g}."
        )
    return _Posed(taken, cells, variable, chosen, (float(line[0]), float(line[1])))


def _judge_line(exponent: Estimate, cells: Cells, variable: Variable, curvature: Curvature | None) -> tuple[Status, list[str]]:
    messages = _doubts(cells)
    ends = exponent.interval
    if ends is not None and ends.low <= 0:
        return Status.NO_TREND, [f"The interval of the exponent, {ends}, holds 0.", *messages]
    if is_wide(ends):
        messages.append("The interval of the exponent spans more than a factor of 2.")
    if curvature and curvature.is_bent:
        bend = (
            f"A quadratic in log {variable} has t = {curvature.t:.1f} and takes the rms from {curvature.rms_line:.2%} to "
            f"{curvature.rms_quadratic:.2%}; the local exponent goes from {curvature.exponent_first:.3f} at the smallest "
            f"{variable} to {curvature.exponent_last:.3f} at the largest."
        )
        return Status.REJECTED, [bend, *messages]
    return Status.WEAK if messages else Status.IDENTIFIED if ends else Status.UNKNOWN, messages


def _union(law: PowerLaw, name: str, sets: tuple[FloatArray, FloatArray], spec: FitSpec) -> Estimate:
    """The law's exponent or scale, with the union of the intervals of each set of (log scale, exponent)."""
    with np.errstate(over="ignore"):
        columns = [s[:, 1] if name == "exponent" else np.where(s[:, 1] > 0, np.exp(s[:, 0]), np.inf) for s in sets]
    one, other = (estimate(getattr(law, name), column, spec.confidence) for column in columns)
    return join(one, other)


def _around(found: Estimate) -> Estimate:
    """The estimate with its interval stretched to hold it, where the draws are few."""
    if found.interval is None:
        return found
    return join(found, Estimate(found.value, Interval(found.value, found.value)))


def _doubts(cells: Cells) -> list[str]:
    """Sentences on too few independent points."""
    if cells.num_independent == 1:
        return ["All these points are of one run, so that nothing shows how another run would differ: no interval."]
    if cells.num_independent >= FEW_POINTS:
        return []
    noun = "points" if cells.num_independent == len(cells.log_x) else "independent points or runs"
    return [f"Only {cells.num_independent} {noun}: the interval is a rough guide."]


def _words(spec: FitSpec, spare: int, is_resampled: bool) -> str:
    """What the intervals are, as a sentence."""
    also = ", joined with a bootstrap of the runs, each measured at several places" if is_resampled else ""
    return f"Intervals: {spec.confidence:.0%}, Student's t with {plural(spare, 'degree')} of freedom{also}."


def _resample_runs(posed: _Posed, spec: FitSpec) -> FloatArray:
    """(log scale, exponent) of each resample of runs with at least two different x, shape (at most bootstrap, 2)."""
    rows = posed.rows
    single = Cells(np.log(column_of(rows, posed.variable)), np.log(rows.loss), np.ones(len(rows)), rows.units.num_units)
    weights = draw_weights(rows.units.unit, spec.bootstrap, np.random.default_rng(spec.seed))
    spread = weights @ single.log_x**2 - (weights @ single.log_x) ** 2 / weights.sum(axis=1)
    samples = _least_squares(single, weights[spread > 1e-9])
    return np.asarray(samples[samples[:, 1] != 0])


def _draw_lines(posed: _Posed, spec: FitSpec) -> tuple[FloatArray, int]:
    """(log scale, exponent) under normal noise of unknown size, shape (bootstrap, 2), and the degrees of freedom.

    The mean of log L and the slope are jointly Student's t about their estimates (Box & Tiao 1973, Bayesian Inference in
    Statistical Analysis, section 2.7). Slopes, and means given the slope, are taken at evenly spaced probabilities in random
    pairs, so that the percentiles of slopes are the textbook's t interval. No draws without a spare cell.
    """
    from scipy.special import stdtrit

    cells, exponent = posed.cells, posed.line[1]
    weights, num = cells.weights, cells.num_independent
    centre, level = (float(np.average(column, weights=weights)) for column in (cells.log_x, cells.log_loss))
    u, residuals, spare = cells.log_x - centre, posed.residuals, num - 2
    if num >= MIN_BENT:
        root = np.sqrt(weights)
        basis = root[:, None] * np.stack([np.ones_like(u), u, u**2], axis=1)
        residuals = cells.log_loss - (basis @ np.linalg.lstsq(basis, root * cells.log_loss)[0]) / root
        spare = num - 3
    if spare < 1 or spec.bootstrap < 1:
        return np.empty((0, 2)), spare
    sd = np.sqrt(np.sum(weights * residuals**2) / spare)
    probabilities = (np.arange(spec.bootstrap) + 0.5) / spec.bootstrap
    slope = stdtrit(spare, probabilities)
    shuffled = np.random.default_rng(spec.seed).permutation(probabilities)
    mean = stdtrit(spare + 1, shuffled) * np.sqrt((spare + slope**2) / (spare + 1))
    exponents = exponent + sd / np.sqrt(np.sum(weights * u**2)) * slope
    levels = level + sd / np.sqrt(weights.sum()) * mean
    return np.stack([centre + levels / exponents, exponents], axis=1), spare


def _least_squares(cells: Cells, weights: FloatArray) -> FloatArray:
    """(log scale, exponent) of the lines under each row of weights, shape (problems, 2)."""
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = weights @ cells.log_x[:, None] / total, weights @ cells.log_loss[:, None] / total
    x, y = cells.log_x - mean_x, cells.log_loss - mean_y
    exponent = -np.sum(weights * x * y, axis=1) / np.sum(weights * x**2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([mean_x[:, 0] + mean_y[:, 0] / exponent, exponent], axis=1)
