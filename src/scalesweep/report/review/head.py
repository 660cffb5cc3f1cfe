"""The first screen of a report in words: the verdict, what to do about it, and the three answers with their intervals.

Three states: clear, where one law of one recipe is identified and nothing speaks against it; limited; refused. What a warning
doubts is not said here, or is said with the doubt.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scalesweep.analysis.ahead import Ahead, Best, Doubling
from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.forecast.dated import Forecast
from scalesweep.arrays import FloatArray
from scalesweep.errors import Refused
from scalesweep.fit.estimates import Estimate, is_wide
from scalesweep.fit.results import Status
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.interval import Interval
from scalesweep.points.mixtures import find_repeats
from scalesweep.points.points import Points
from scalesweep.report.context import ReportContext
from scalesweep.report.review.warnings import meanings
from scalesweep.report.words.per_byte import bits_per_byte
from scalesweep.units import format_count, format_number, format_rough, format_within, plural

State = Literal["clear", "limited", "refused"]
QUESTIONS = ("What does doubling bring?", "What is the best model?", "What loss is to be expected?")
_DOUBTS = ("A15", "A16", "A17", "A18", "A19")
"""Findings that speak against one law: held-out runs that its intervals missed, rows far off it, units that contradict, rows
of several recipes."""
_REMEDIES = ("A17", "A18", "A19", "A23", "A01", "A03", "A02", "A06", "A15", "A20", "A16")
"""Findings by how much their remedy changes, the most first."""
NO_DEVICE = "CPU or GPU not said by the table"
_MAX_REMEDIES = 2
_OPEN = 10.0
"""High over low end of an interval of the best size above which no value is told. Judgement."""


@dataclass(frozen=True)
class Answer:
    """One of the three answers."""

    question: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Head:
    """The first screen."""

    state: State
    verdict: str
    """One or two sentences."""
    remedy: str
    """What to do about it; empty where nothing is to be done."""
    answers: tuple[Answer, ...]
    shows_law: bool
    """Whether the law stands in symbols: an identified one of one recipe alone."""


def head_of(analysis: Analysis) -> Head:
    """The first screen of this analysis."""
    fit, families = analysis.fit, analysis.families
    if fit.compute.is_contradiction:
        return Head("limited", f"A17: {fit.compute.unusual}", _remedies(fit), (), False)
    if mixed := pooled_over(analysis):
        remedy = "" if families else f"Fit each by itself: by={mixed[0]}."
        verdict = f"No single law: the rows differ by {', '.join(mixed)}.{' Each value has its own law.' if families else ''}"
        return Head("limited", verdict, remedy, (), False)
    best, of = fit.preferred, f"{families.reference.name}: " if families else ""
    answers = _answers(analysis)
    if best is None:
        remedy = _remedies(fit)
        why = fit.refusal.reason.partition("; ")[0].rstrip(".") if remedy else fit.refusal.reason.rstrip(".")
        return Head("refused", f"{of}{Status.NOT_IDENTIFIED.value} {why}.", remedy, answers, False)
    doubted = any(finding.code in _DOUBTS for finding in fit.findings)
    if best.status is Status.IDENTIFIED and not best.messages and not doubted:
        return Head("clear", f"{of}{best.status.value}", "", answers, True)
    why = " ".join((best.status.value, *best.messages[:1]))
    if doubted and best.status is Status.IDENTIFIED:
        codes = ", ".join(finding.code for finding in fit.findings if finding.code in _DOUBTS)
        why = f"A law fits these points, but {codes} {'doubts' if ',' not in codes else 'doubt'} it: read its intervals."
    return Head("limited", f"{of}{why}", _remedies(fit), answers, False)


def pooled_over(analysis: Analysis) -> list[str]:
    """Columns over whose values one law of all rows would be; none where the rows are of one recipe."""
    families, frame = analysis.families, analysis.points.used
    if families is not None:
        return [families.column] if families.is_pooled else []
    axes = [str(name) for name in frame if str(name).startswith("axis.") and frame[name].nunique() > 1]
    found = None if axes or analysis.points.is_partial else find_repeats(frame)
    return axes or ([*found.families, *found.evaluations] if found else [])


def _remedies(fit: SweepFit) -> str:
    """What the warnings ask for, the most important first."""
    codes = [code for code in _REMEDIES if any(finding.code == code for finding in fit.findings)][:_MAX_REMEDIES]
    said = [meanings()[code].remedy for code in codes if code in meanings()]
    return " ".join(f"{text[0].upper()}{text[1:]} ({code})." for code, text in zip(codes, said, strict=True))


def _answers(analysis: Analysis) -> tuple[Answer, ...]:
    ahead, fit = analysis.ahead, analysis.fit
    said = (_doubling(analysis), _best(ahead, fit), _losses(ahead, analysis))
    return tuple(Answer(question, tuple(lines)) for question, lines in zip(QUESTIONS, said, strict=True))


def _doubling(analysis: Analysis) -> list[str]:
    found, metric = analysis.ahead.doubling, analysis.fit.metric
    if isinstance(found, Refused):
        return _doubled_compute(analysis)
    rate, unit = bits_per_byte(analysis.points), metric.unit.split(" ")[0]
    parts = [f"Twice the parameters take {_gain(found.by_n, unit)} off it", f"twice the tokens {_gain(found.by_d, unit)}"]
    parts += (
        [f"twice the compute, split at its best, {_gain(found.by_c, unit)}"] if found.by_c and _is_known(found.by_c) else []
    )
    where = f"N {format_count(found.n)} and D {format_count(found.d)}, the middle of the points"
    here = f"the {metric.noun} is {_loss(found, rate, metric.unit)}"
    return [f"At {where}, {here}. {', '.join(parts)}."]


def _loss(found: Doubling, rate: float | None, unit: str) -> str:
    beside = f" ({rate * found.loss:.3g} bits per byte)" if rate else ""
    return f"{found.loss:.3g} {unit}{beside}".replace("  ", " ")


def _doubled_compute(analysis: Analysis) -> list[str]:
    """Where N and D are not told apart, what twice the compute brings along the points."""
    fit, points = analysis.fit, analysis.points
    name = fit.preferred_of("C")
    if fit.compute.is_contradiction or name is None or fit[name].status in (Status.REJECTED, Status.NO_TREND):
        return ["Not known: neither N and D, nor compute along these points, has a law."]
    law, largest = fit[name].law, float(points.c.max())
    gain = float(law.predict(largest / 2) - law.predict(largest))
    told = f"the last doubling of compute took {gain:.2g} {fit.metric.unit.split(' ')[0]} off the {fit.metric.noun}"
    return [f"Along these points {told.replace('  ', ' ')}. What N and D each bring is not known."]


def _gain(found: Estimate, unit: str) -> str:
    return f"{told(found)} {unit}".strip()


def told(found: Estimate) -> str:
    """The value with its interval, both with the digits that the interval allows."""
    if found.low is None or found.high is None:
        return f"{found.value:.2g}"
    half = (found.high - found.low) / 2
    value, low, high = (format_within(part, half) for part in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def told_count(found: Estimate) -> str:
    """A count with its interval: two digits where it spans more than a tenth of itself, three else."""
    if found.low is None or found.high is None:
        return format_count(found.value)
    digits = 2 if found.high > 1.2 * found.low else 3
    value, low, high = (format_count(float(f"{part:.{digits}g}")) for part in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def _best(ahead: Ahead, fit: SweepFit) -> list[str]:
    if fit.preferred is None:
        return ["Not known, because there is no law of both N and D."]
    if ahead.refusal or not ahead.best:
        return [f"Not known: {_lower(ahead.refusal or 'the points do not show it.')}"]
    where = _places(ahead.best)
    lines = []
    for best, place in zip(ahead.best, where, strict=True):
        if best.n is None or best.d is None:
            lines.append(f"{place}: not known.")
        elif is_wide(best.n.interval, _OPEN):
            low, high = (format_count(float(f"{end:.1g}")) for end in (best.n.low or 0.0, best.n.high or math.inf))
            lines.append(f"{place}: N lies between {low} and {high}, no closer.")
        else:
            ratio = f"{best.d.value / best.n.value:.2g} tokens per parameter"
            lines.append(f"{place}: N {told_count(best.n)}, D {told_count(best.d)}, {ratio}.")
    return lines


def _places(found: Sequence[Best]) -> list[str]:
    """Where each best model is, in words."""
    first = f"At the largest measured compute, {format_rough(found[0].c)} FLOPs"
    return [first, *(f"At {format_rough(best.c / found[0].c)} times that, the farthest supported" for best in found[1:])]


def _losses(ahead: Ahead, analysis: Analysis) -> list[str]:
    rate, unit = bits_per_byte(analysis.points), analysis.fit.metric.unit
    if not ahead.best:
        return ["Not known beyond the points, for the same reason."]
    lines = []
    places = (
        _places(ahead.best)
        if analysis.fit.preferred
        else [f"At {format_rough(analysis.support.reach)} times the largest measured compute, the farthest supported"]
    )
    for best, place in zip(ahead.best, places, strict=True):
        if isinstance(best.loss, Refused):
            lines.append(f"{place}: not known. {best.loss}")
        elif best.loss.honest is None:
            lines.append(f"{place}: no interval. {best.loss.abstention}")
        else:
            lines.append(f"{place}: {_forecast(best.loss, rate, unit)}.")
    share = f"{analysis.fit.confidence:.0%}"
    return [*lines, f"In brackets: {share} intervals of one new run."] if any("[" in line for line in lines) else lines


def _forecast(made: Forecast, rate: float | None, unit: str) -> str:
    honest = made.honest
    assert honest is not None
    found = Estimate(honest.value, honest.interval)
    beside = f", {told(Estimate(rate * honest.value, _scaled(honest.interval, rate)))} bits per byte" if rate else ""
    return f"{told(found)} {unit}".strip() + beside


def _scaled(found: Interval, rate: float) -> Interval:
    return Interval(rate * found.low, rate * found.high)


def _is_known(found: Estimate) -> bool:
    return math.isfinite(found.value)


def _lower(text: str) -> str:
    """A sentence as it goes on after a colon; a symbol keeps its letter."""
    return text if text[:2].strip() in {"N", "D", "C", "E"} or text[1:2].isupper() else f"{text[0].lower()}{text[1:]}"


def range_words(points: Points, unit: str) -> list[str]:
    """Sizes and tokens that were measured, for the line below the title."""

    def span(values: FloatArray) -> str:
        low, high = (format_count(end) for end in (values.min(), values.max()))
        return low if low == high else f"{low} to {high}"

    known = [(name, values) for name in ("n", "d") if not np.isnan(values := getattr(points, name)).any()]
    found = [f"{name.upper()} {span(values)}" for name, values in known]
    return found if np.isnan(points.c).any() else [*found, f"C up to {format_number(points.c.max())} {unit}"]


def facts_words(analysis: Analysis, context: ReportContext) -> list[str]:
    """The line below the title: text, model, sizes, day, and on what it was measured."""
    facts, told = context.facts, context.provenance
    unit = analysis.fit.compute.unit
    if not facts.states:
        day = f"reported {told['reported on']}" if "reported on" in told else ""
        found = [f"table of {plural(analysis.fit.num_used, 'row')}", *range_words(analysis.points, unit), day, NO_DEVICE]
    else:
        days = " to ".join(facts.dates)
        found = [f"text {facts.corpus}", f"model {facts.model}", plural(analysis.fit.num_used, "run")]
        found += [*range_words(analysis.points, unit), f"measured {days}" if days else "", *facts.devices]
    return [part for part in found if part]
