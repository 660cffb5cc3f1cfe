"""The first picture of a report: the losses over compute, what the law says of the best model, and the forecast."""

from collections.abc import Sequence
from html import escape

import numpy as np

from scalesweep.analysis.ahead import Best, largest_of
from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.families import Family
from scalesweep.analysis.forecast.dated import Forecast, Prediction
from scalesweep.analysis.support import Support, support_of
from scalesweep.arrays import FloatArray
from scalesweep.errors import Refused
from scalesweep.fit import Fit, Status
from scalesweep.fit.estimates import percentile_union
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.laws import JointLaw
from scalesweep.points.compute import SAME
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Axis, Band, Chart, Dots, Line, Mark, Panel, log_axis, log_scale
from scalesweep.report.figures.measured import loss_axis, measured
from scalesweep.report.figures.reach import SHADED, supported

_Curve = tuple[FloatArray, tuple[FloatArray, FloatArray] | None]
"""Losses, and the ends of their interval."""
_SOME_SAMPLES = 200
"""Resamples behind the band: more do not move a percentile that is drawn. Judgement."""
_MAX_FAMILIES = 3
"""Families that get a panel: a row holds no more."""


def frontier(analysis: Analysis) -> Chart | Refused:
    """Loss over compute with the best that the law says of each, as far as the points support it; a panel for each family."""
    families = analysis.families
    if families is not None:
        shown = [family for family in families.families if not isinstance(family.fit, Refused)][:_MAX_FAMILIES]
        panels = [_of_family(family) for family in shown if not np.isnan(family.points.c).any()]
        points, said = analysis.points, f"each {families.column} by itself"
    else:
        points, said = analysis.points, ""
        losses = analysis.ahead.best[-1:]
        panels = [] if np.isnan(points.c).any() else [_panel(points, analysis.fit, analysis.support, losses, "")]
    if not panels:
        return Refused("The table does not say C, over which losses would be shown.")
    return Chart("frontier", _caption(analysis, panels, said), tuple(panels), log_scale(points.size_name, points.size))


def _of_family(family: Family) -> Panel:
    assert not isinstance(family.fit, Refused)
    return _panel(family.points, family.fit, support_of(family.points, family.fit, None), [], escape(family.name))


def _panel(points: Points, fit: SweepFit, support: Support, losses: Sequence[Best], title: str) -> Panel:
    largest, reach = largest_of(points, fit), support.reach
    # The law's best model has 6 N D, or k N D: the points stand where they have that, whatever else their count holds.
    is_counted = points.is_partial or fit.compute.is_contradiction or fit.preferred is None
    where = points.c if is_counted else fit.compute.k * points.n * points.d
    marks: list[Mark] = [measured(points, where)]
    drawn = _law(fit, support, float(where.min()), largest, reach)
    reach = reach if drawn else 1.0
    known = [(best.c, best.loss.honest) for best in losses if isinstance(best.loss, Forecast) and best.loss.honest]
    ahead = [_forecast(c, honest) for c, honest in known] if drawn else []
    marks += drawn
    marks += ahead
    lines = [mark.y for mark in drawn if isinstance(mark, Line)]
    y = loss_axis(points, points.loss, *lines, *(end for ring in ahead for end in (ring.low, ring.high) if end is not None))
    label = "" if is_counted or fit.compute.gap(points) <= SAME else f"training FLOPs, {fit.compute.symbols}"
    x: Axis = log_axis("c", np.append(where, largest * reach), label=label)
    note = "" if drawn else "No law is drawn: the points do not identify one."
    return Panel(title or _title(fit, bool(drawn)), x, y, (*supported(largest, reach, y), *marks), note)


def _title(fit: SweepFit, has_law: bool) -> str:
    if not has_law:
        return "loss against compute"
    return "loss against compute, and the best at each" if fit.preferred else "loss against compute, and its law"


def _law(fit: SweepFit, support: Support, first: float, largest: float, reach: float) -> list[Mark]:
    """The best loss at each compute by the joint law, or L(C) where that is all there is: dashed beyond the points."""
    best = fit.preferred
    spans = [np.geomspace(first, largest, 40), *([np.geomspace(largest, largest * reach, 20)] if reach > 1 else [])]
    marks: list[Mark] = []
    for c, dash in zip(spans, ("solid", "dash"), strict=False):
        found = _best_loss(best, fit, c) if best is not None else _by_compute(fit, support, c)
        if found is None:
            return []
        line, band = found
        marks += [Band(c, *band)] if band is not None else []
        marks.append(Line(c, line, "fit", "dash" if dash == "dash" else "solid"))
    return marks


def _best_loss(best: Fit, fit: SweepFit, c: FloatArray) -> _Curve | None:
    law = best.law
    if fit.compute.is_contradiction or best.status is Status.AT_BOUND or not isinstance(law, JointLaw) or not law.has_optimum:
        return None
    six = fit.compute.as_six(c)
    sets = []
    for samples in (best.samples, best.cluster_samples):
        laws = [one for one in best.resampled_laws(samples[:_SOME_SAMPLES]) if isinstance(one, JointLaw) and one.has_optimum]
        sets += [np.array([one.predict(one.n_opt(six), one.d_opt(six)) for one in laws])] if laws else []
    band = percentile_union(sets, fit.confidence) if sets else None
    return law.predict(law.n_opt(six), law.d_opt(six)), band


def _by_compute(fit: SweepFit, support: Support, c: FloatArray) -> _Curve | None:
    name = fit.preferred_of("C")
    if name is None or fit[name].status in (Status.REJECTED, Status.NO_TREND) or support.along != "points":
        return None
    return fit[name].law.predict(c), fit[name].band(c)


def _forecast(c: float, honest: Prediction) -> Dots:
    said = f"forecast {honest.value:.4g} [{honest.low:.4g}, {honest.high:.4g}]"
    at, value, low, high = (np.array([number]) for number in (c, honest.value, honest.low, honest.high))
    return Dots(at, value, "fit", low, high, is_hollow=True, size=7, hover=(said,))


def _caption(analysis: Analysis, panels: Sequence[Panel], said: str) -> str:
    """What to see."""
    fit, marks = analysis.fit, [mark for panel in panels for mark in panel.marks]
    dots = f"Dots: measured losses{f', {said}' if said else ''}."
    line = ""
    if any(isinstance(mark, Line) for mark in marks):
        what = "the lowest loss at each compute by the law" if fit.preferred else "the law of compute along these points"
        line = f" Red: {what}, with its {fit.confidence:.0%} interval."
    ring = " Ring: the forecast of one new run." if any(isinstance(mark, Dots) and mark.is_hollow for mark in marks) else ""
    nothing = " Nothing is drawn beyond the largest measured compute, because nothing there is supported." if line else ""
    is_shaded = any(isinstance(mark, Band) and mark.colour == "ink" for mark in marks)
    return f"{dots}{line}{ring}{f' {SHADED}' if is_shaded else nothing}"
