"""The figures that compare: isoFLOP curves, N*(C) and D*(C) by three approaches, the back-test, the cost of the next gain."""

import math
from collections.abc import Sequence

import numpy as np

from scalesweep.analysis.allocation.approaches import Approaches
from scalesweep.analysis.allocation.lines import Approach
from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.forecast.backtest import BackTest, Outcomes
from scalesweep.arrays import BoolArray, FloatArray
from scalesweep.errors import Refused
from scalesweep.fit import Fit
from scalesweep.fit.estimates import percentile_union
from scalesweep.fit.results import Status
from scalesweep.laws import JointLaw
from scalesweep.points.design import MIN_SIZES, Curve, isoflop_curves
from scalesweep.report.charts.chart import (
    Axis,
    Band,
    Chart,
    Dots,
    Line,
    Mark,
    Panel,
    Role,
    Rule,
    linear_axis,
    log_axis,
    log_scale,
)
from scalesweep.report.figures.measured import loss_axis
from scalesweep.report.figures.reach import SHADED, supported

_APPROACHES: dict[str, Role] = {
    "envelope": "first",
    "isoflop": "second",
    "law": "third",
    "coupled": "third",
    "repeated": "third",
}
LABELS = {
    "envelope": "lower envelope",
    "isoflop": "IsoFLOP minima",
    "law": "fitted law, additive",
    "coupled": "fitted law, coupled",
    "repeated": "fitted law of repeated data",
}
"""Short names of the approaches."""
_FAR = 1e9
"""Multiples of compute beyond which a gain is not asked for: no plan reaches them."""
_SOME_SAMPLES = 200
"""Resamples behind the band of the cost, which takes a grid of 2,000 computes for each: more do not move a percentile that is
drawn. Judgement."""


def isoflops(analysis: Analysis) -> Chart | Refused:
    """Loss against parameters at equal compute, with the minimum of each budget. Hoffmann et al. 2022, figure 3, left."""
    points, approaches = analysis.points, analysis.approaches
    if points.is_partial:
        return Refused("IsoFLOP curves need N and C of each row.")
    if analysis.fit.compute.is_contradiction:
        return Refused(analysis.fit.compute.withheld)
    curves = [c for c in isoflop_curves(points, approaches.minima.tolerance) if len(c.log_n) >= MIN_SIZES]
    if not curves:
        return Refused(f"No compute budget was measured at {MIN_SIZES} sizes or more, so there are no isoFLOP curves.")
    found = {minimum.rows: minimum for minimum in approaches.minima.minima}
    budgets = np.array([curve.c for curve in curves])
    marks: list[Mark] = []
    for curve in curves:
        minimum = found[tuple(int(row) for row in curve.rows)]
        colour: Role | float = "faint" if minimum.rejection else curve.c
        marks += _isoflop(curve, np.log(points.loss), colour, math.nan if minimum.rejection else minimum.n_opt)
    rows = np.concatenate([curve.rows for curve in curves])
    panel = Panel("isoFLOP curves", log_axis("n", points.n[rows]), loss_axis(points, points.loss[rows]), tuple(marks))
    return Chart(
        "isoflops",
        "The best size at each compute is the lowest point of its curve (ring). Grey: budgets without a minimum between their "
        "sizes. Curves: Akima interpolants.",
        (panel,),
        log_scale("c", budgets),
    )


def _isoflop(curve: Curve, log_losses: FloatArray, colour: Role | float, n_opt: float) -> list[Mark]:
    from scipy.interpolate import Akima1DInterpolator

    log_loss = curve.over_sizes(log_losses)
    interpolant = Akima1DInterpolator(curve.log_n, log_loss)
    dense = np.linspace(curve.log_n[0], curve.log_n[-1], 60)
    own = colour if isinstance(colour, str) else np.full(len(log_loss), colour)
    marks: list[Mark] = [
        Line(np.exp(dense), np.exp(interpolant(dense)), colour, width=1.1),
        Dots(np.exp(curve.log_n), np.exp(log_loss), own, size=3.6),
    ]
    if math.isfinite(n_opt):
        marks.append(Dots(np.array([n_opt]), np.exp(interpolant(np.log([n_opt]))), "fit", is_hollow=True, size=7))
    return marks


def optima(analysis: Analysis) -> Chart | Refused:
    """N*(C) and D*(C) by approaches 1, 2 and 3 with intervals. Hoffmann et al. 2022, figures 1 to 3."""
    approaches = analysis.approaches
    if analysis.fit.compute.is_contradiction:
        return Refused(analysis.fit.compute.withheld)
    allocating = [row for row in approaches.rows if row.allocation is not None]
    known = [row for row in allocating if not _is_at_bound(analysis, row)]
    bound = [LABELS[row.name] for row in allocating if _is_at_bound(analysis, row)]
    left_out = f"Not drawn: {' and '.join(bound)}, with a parameter at its bound." if bound else ""
    if not known:
        reasons = [row.messages[0] for row in approaches.rows if row.allocation is None]
        return Refused(" ".join(["No approach gives a compute-optimal allocation.", *reasons, left_out]).strip())
    used = approaches.minima.used
    largest, farthest = approaches.compared_at[0], approaches.compared_at[-1]
    first = min(used[0].c if used else float(analysis.points.c.min()), largest)
    spans = [np.geomspace(first, largest, 30), *([np.geomspace(largest, farthest, 12)] if farthest > largest else [])]
    caption = (
        "The best parameters and tokens for each compute. Where the bands overlap, the approaches agree "
        f"({known[0].confidence:.0%} intervals). {SHADED if farthest > largest else ''}"
    ).strip()
    if used:
        caption += " Points: the isoFLOP minima with standard errors."
    panels = tuple(_optimum(approaches, known, name, spans) for name in ("n", "d"))
    return Chart("optima", f"{caption} {left_out}".strip(), panels)


def _is_at_bound(analysis: Analysis, row: Approach) -> bool:
    """Whether this approach is a law whose optimum is not known."""
    laws = {"law": "joint", "coupled": "coupled", "repeated": "repeated"}
    found = [law for name, law in analysis.fit.fits.items() if name == laws.get(row.name)]
    return any(law.hides_optimum for law in found)


def _optimum(approaches: Approaches, known: Sequence[Approach], name: str, spans: Sequence[FloatArray]) -> Panel:
    marks: list[Mark] = []
    shown: list[FloatArray] = []
    c = np.unique(np.concatenate(spans))
    for row in known:
        colour = _colour(row, known)
        if row.samples:
            sets = [samples for samples in (row.samples, row.cluster_samples) if samples]
            band = percentile_union(
                [np.array([getattr(sample, f"{name}_opt")(c) for sample in samples]) for samples in sets], row.confidence
            )
            marks.append(Band(c, *band, colour=colour, group=row.name))
            shown += band
        lines = _optimum_lines(row, name, spans, colour)
        marks += lines
        shown += [line.y for line in lines]
    if used := approaches.minima.used:
        centre = np.array([getattr(minimum, f"{name}_opt") for minimum in used])
        error = np.exp(np.nan_to_num([minimum.log_n_se for minimum in used], posinf=0.0))
        dots = Dots(np.array([m.c for m in used]), centre, "second", centre / error, centre * error, group="isoflop")
        marks.append(dots)
        shown.append(centre)
    what = {"n": "parameters N*", "d": "tokens D*"}[name]
    y = log_axis(name, *shown, label=f"compute-optimal {what}")  # type: ignore[arg-type]
    largest, reach = approaches.compared_at[0], approaches.compared_at[-1] / approaches.compared_at[0]
    return Panel(f"optimal {what}", log_axis("c", c), y, (*supported(largest, reach, y), *marks))


def _colour(row: Approach, known: Sequence[Approach]) -> Role:
    """Faint where others have intervals and this one has none, and where another law is preferred."""
    has_none = not row.samples and any(other.samples for other in known)
    beside = row.name == "law" and any(other.name in ("coupled", "repeated") for other in known)
    return "faint" if has_none or beside else _APPROACHES[row.name]


def _optimum_lines(row: Approach, name: str, spans: Sequence[FloatArray], colour: Role) -> list[Line]:
    """The optimum over the measured C, solid, and as far beyond as is supported, dashed; thin where it has no interval."""
    optimum, width = getattr(row.allocation, f"{name}_opt"), 1.4 if row.samples else 0.9
    label = LABELS[row.name] + ("" if row.samples else " (no interval)")
    measured, *beyond = spans
    lines = [Line(measured, optimum(measured), colour, width=width, name=label, group=row.name)]
    return [*lines, *(Line(c, optimum(c), colour, "dash", width=width, group=row.name) for c in beyond)]


def back_test(analysis: Analysis) -> Chart | Refused:
    """Predicted against measured loss of a rolling origin, and the error by horizon."""
    tournament = analysis.tournament
    if isinstance(tournament, Refused):
        return Refused(f"There is no back-test. {tournament}")
    tested, outcomes = tournament.tested, tournament.tested.outcomes
    if outcomes is None:
        return Refused("There is no origin to predict from: too few rows lie below any cut.")
    kept = outcomes if outcomes.abstained.all() else outcomes.select(~outcomes.abstained)
    left, right = _predicted(outcomes, kept, analysis.fit.metric.symbol), _errors(outcomes, kept)
    beyond = max(_num_outside(left.y, np.exp(outcomes.centre)), _num_outside(right.y, _percent_error(outcomes)))
    left_out = f" {beyond} abstained predictions are off the axes." if beyond else ""
    return Chart(
        "back_test",
        f"How well larger runs were foretold from smaller ones, {len(tested.cuts)} times over. {_held(tested, kept)} Grey "
        f"rings: too far for the points below, so that no interval would have been printed.{left_out}",
        (left, right),
    )


def _predicted(outcomes: Outcomes, kept: Outcomes, symbol: str) -> Panel:
    actual, centre, shy = np.exp(outcomes.actual), np.exp(outcomes.centre), outcomes.abstained
    span, holds = np.concatenate([actual, np.exp(kept.centre)]), outcomes.holds("honest")
    ends = np.array([span.min(), span.max()])
    marks: tuple[Mark, ...] = (
        Line(ends, ends, "ink", width=0.8),
        Dots(actual[shy], centre[shy], "faint", is_hollow=True, size=3.4, group="abstained"),
        Dots(actual[holds & ~shy], centre[holds & ~shy], "first", size=3.9, group="held by the interval"),
        Dots(actual[~holds & ~shy], centre[~holds & ~shy], "fit", size=3.9, group="missed by it"),
    )
    x, y = (log_axis("loss", span, label=f"{what} {symbol}") for what in ("measured", "predicted"))
    return Panel("predicted against measured", x, y, marks)


def _errors(outcomes: Outcomes, kept: Outcomes) -> Panel:
    error, shy, holds = _percent_error(outcomes), outcomes.abstained, outcomes.holds("honest")

    def dots(rows: BoolArray, colour: Role, name: str, is_hollow: bool = False) -> Dots:
        return Dots(outcomes.factor[rows], error[rows], colour, name=name if rows.any() else "", size=3.7, is_hollow=is_hollow)

    marks: tuple[Mark, ...] = (
        Rule("y", 0.0),
        dots(shy, "faint", "abstained", True),
        dots(holds & ~shy, "first", "held by the interval"),
        dots(~holds & ~shy, "fit", "missed by it"),
    )
    y = linear_axis("percent", "predicted / measured - 1 (%)", _percent_error(kept), around_zero=True)
    return Panel("error by horizon", log_axis("factor", outcomes.factor), y, marks)


def _held(tested: BackTest, kept: Outcomes) -> str:
    """How many intervals held what was measured, in a sentence."""
    if kept.abstained.all():
        return "None was near enough for an interval."
    share = float(np.mean(kept.holds("honest")))
    return f"The honest {tested.confidence:.0%} interval held {share:.0%} of what was then measured; red: missed."


def _percent_error(outcomes: Outcomes) -> FloatArray:
    return np.asarray(100 * np.expm1(outcomes.centre - outcomes.actual))


def _num_outside(axis: Axis, values: FloatArray) -> int:
    return int(np.sum((values < axis.low) | (values > axis.high)))


def next_gain(analysis: Analysis) -> Chart | Refused:
    """By what the table's C must be multiplied for one gain of the metric along the compute optimum of the preferred law."""
    points, fit, compute, metric = analysis.points, analysis.fit, analysis.fit.compute, analysis.fit.metric
    if compute.is_contradiction:
        return Refused(compute.withheld)
    best = fit.preferred
    if best is None or not {"a", "b"} <= set(best.estimates):
        return Refused("There is no joint law with a compute optimum, so the cost of a lower loss is not known.")
    if best.status is Status.AT_BOUND:
        return Refused("A parameter of the law lies at its bound, so the cost of a lower loss is not known.")
    law = best.law
    assert isinstance(law, JointLaw)
    product = points.n * points.d
    largest = float((compute.k * product).max())
    reach = min(analysis.support.reach, _FAR)
    c = np.geomspace(float((compute.k * product).min()), reach * largest, 40)
    six = compute.as_six(c)
    factor = cost_of_gain(law, six, metric.gain)
    if not np.isfinite(factor).any():
        return Refused(f"By the law no compute buys {metric.gain_words} less anywhere in the measured range: E is too near.")
    marks: list[Mark] = []
    band = _cost_band(best, six, metric.gain)
    if band is not None:
        marks.append(Band(c, *band))
    marks.append(Line(c, factor))
    # Where line and band run off to `_FAR`, the axis must not follow them, or the rest would be flat.
    shown = [part[np.isfinite(part) & (part < max(1e4, 2 * np.nanmin(factor)))] for part in (factor, *(band or ()))]
    y = log_axis("factor", *shown, label=f"compute for {metric.gain_words} less / C")
    return Chart(
        "next_gain",
        f"How many times the compute the next {metric.gain_words} costs, from each compute on. It rises as the law nears its E "
        f"and ends where E leaves no such gain. Band: {fit.confidence:.0%} interval. {SHADED if reach > 1 else ''}".strip(),
        (Panel(f"cost of the next {metric.gain_words}", log_axis("c", c), y, (*supported(largest, reach, y), *marks)),),
    )


def cost_of_gain(law: JointLaw, c: FloatArray, gain: float) -> FloatArray:
    """Factor k with L*(k C) = L*(C) - gain for each C, L* being the loss at the compute optimum; infinite where none is."""
    grid = np.geomspace(c[0], c[-1] * _FAR, 2000)
    best = law.predict(law.n_opt(grid), law.d_opt(grid))
    wanted = np.interp(np.log(c), np.log(grid), best) - gain
    at = np.interp(-wanted, -best, np.log(grid), right=np.inf)
    return np.asarray(np.exp(at) / c)


def _cost_band(fit: Fit, c: FloatArray, gain: float) -> tuple[FloatArray, FloatArray] | None:
    """Percentile interval of the cost; resamples in which no compute buys the gain count as dear."""
    draws = []
    for samples in (fit.samples, fit.cluster_samples):
        every = fit.resampled_laws(samples[:_SOME_SAMPLES])
        laws = [law for law in every if isinstance(law, JointLaw) and law.has_optimum]
        if laws:
            draws.append(np.minimum(np.array([cost_of_gain(law, c, gain) for law in laws]), _FAR))
    return percentile_union(draws, fit.confidence) if draws else None
