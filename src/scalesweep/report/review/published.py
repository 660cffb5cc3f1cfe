"""Beside published studies: each published value with this analysis's own, in the same count where the points allow it.

Whether two values agree is said by their intervals and by nothing else. Every row says how far apart the ranges are, so that
nobody takes two numbers that agree for two experiments that do. Pure data, which `report.pages` shows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalesweep.analysis.conventions import Convention, Counted
from scalesweep.counting import flops_in_words, params_in_words
from scalesweep.errors import Refused
from scalesweep.fit.estimates import Estimate
from scalesweep.interval import Interval
from scalesweep.points.design import Span
from scalesweep.points.published.results import Measure, Result, published_results
from scalesweep.report.words.fit import interval
from scalesweep.units import format_count, format_number

METHODS: Mapping[Measure, str] = {
    "by_n": "L(N), line in logs",
    "by_d": "L(D), line in logs",
    "by_c": "L(C), line in logs",
    "by_c_min": "none",
    "alpha": "additive law",
    "beta": "additive law",
    "E": "additive law",
    "tokens_per_parameter": "additive law, at the largest C",
    "a_envelope": "lower envelope",
    "a_isoflop": "IsoFLOP minima",
    "a_law": "fitted law",
}
"""How this analysis comes to what it sets beside a value."""
_NEEDS_BOTH = ("by_c", "a_envelope", "a_isoflop")
"""Values that depend on the count of C; the others depend on that of N alone, as the law's optimum takes C = 6 N D."""
_OBTAINED = {"read": "read at source", "computed": "computed from published constants", "quoted": "quoted"}


@dataclass(frozen=True)
class PublishedRow:
    """A published value and this analysis's own."""

    published: Result
    """The published value."""
    own: Estimate | None
    """This analysis's value; None where there is none."""
    path: str
    """Where it stands in fit.json; empty where it was refitted in the study's count, or where there is none."""
    confidence: float
    """Nominal coverage of its interval."""
    convention: Convention
    """What N and C count in it."""
    same_count: bool
    """Whether that is the study's count."""
    method: str
    """How it was estimated."""
    reason: str
    """Why there is no value, or why its count is another; empty where there is one in the study's count."""
    agreement: str
    """What the two intervals say, in words."""
    distance: str
    """How far apart the ranges are, in a sentence."""


def studies_of(found: Mapping[Convention, Counted]) -> tuple[PublishedRow, ...]:
    """The rows from the values under each convention, that of the analysis first (`under_conventions`)."""
    return tuple(_row(result, found) for result in published_results())


def _row(result: Result, by_count: Mapping[Convention, Counted]) -> PublishedRow:
    counted, same = _choose(result, by_count)
    none = Refused("An analysis has no C_min, which needs the critical batch size.")
    found = counted.estimates.get(result.measure, none)
    if counted.metric.unit != "nats per token" and (result.measure == "E" or not counted.metric.is_cross_entropy):
        found = Refused(f"Not compared: here it is of {counted.metric.phrase}.")
    own, reasons = (None, [found.reason]) if isinstance(found, Refused) else (found, [])
    reasons += [] if same else [f"The points have one count only: {_in_words(counted.convention)}."]
    return PublishedRow(
        published=result,
        own=own,
        path=counted.paths.get(result.measure, "") if own else "",
        confidence=counted.confidence,
        convention=counted.convention,
        same_count=same,
        method=METHODS[result.measure],
        reason=" ".join(reasons),
        agreement=agreement_words(result, own, counted.confidence, same),
        distance=distance_words(result, counted.span),
    )


def _choose(result: Result, found: Mapping[Convention, Counted]) -> tuple[Counted, bool]:
    """The values in the study's count, of the analysis itself where it has that count; else those of the analysis."""
    own = next(iter(found.values()))
    if _is_same(result, own.convention):
        return own, True
    match = found.get(result.counts) or next((c for c in found.values() if _is_same(result, c.convention)), None)
    return (match, True) if match else (own, False)


def _is_same(result: Result, convention: Convention) -> bool:
    return convention == result.counts or (result.measure not in _NEEDS_BOTH and convention[0] == result.counts[0])


def agreement_words(result: Result, own: Estimate | None, confidence: float, same: bool) -> str:
    """What the intervals say; never an adjective."""
    if own is None:
        return "nothing to compare"
    if result.measure == "tokens_per_parameter":
        return "at different C: not compared"
    prefix = "nats per token depend on tokenizer and text; " if result.measure == "E" else ""
    prefix += "" if same else "counts may differ; "
    if own.interval is None:
        return f"{prefix}no interval here{_against_theirs(result, own.value)}"
    if result.interval is None or result.confidence is None:
        inside = "inside" if own.interval.holds(result.value) else "outside"
        return f"{prefix}published value {inside} our {confidence:.0%} interval"
    meets = own.interval.low <= result.interval[1] and result.interval[0] <= own.interval.high
    pair = f"{result.confidence:.0%} and {confidence:.0%}"
    return f"{prefix}intervals ({pair}) {'overlap' if meets else 'do not overlap'}"


def _against_theirs(result: Result, value: float) -> str:
    if result.interval is None or result.confidence is None:
        return ""
    inside = "inside" if result.interval[0] <= value <= result.interval[1] else "outside"
    return f"; our value {inside} the published {result.confidence:.0%} interval"


def distance_words(result: Result, span: Span) -> str:
    """How far the ranges of C are apart, or those of N where the study's C is not known."""
    if result.c_range is not None:
        return _apart("C", span.c, result.c_range, lambda value: f"{format_number(value)} FLOPs")
    return _apart("N", span.n, result.n_range, format_count)


def _apart(symbol: str, ours: tuple[float, float] | None, theirs: tuple[float, float], write: Any) -> str:
    if ours is None:
        return f"The table does not say {symbol}, so that the ranges cannot be compared."
    if ours[1] < theirs[0]:
        gap = math.log10(theirs[0] / ours[1])
        return f"Our largest {symbol}, {write(ours[1])}, is {gap:.1f} decades below the study's smallest, {write(theirs[0])}."
    if ours[0] > theirs[1]:
        gap = math.log10(ours[0] / theirs[1])
        return f"Our smallest {symbol}, {write(ours[0])}, is {gap:.1f} decades above the study's largest, {write(theirs[1])}."
    shared = math.log10(min(ours[1], theirs[1]) / max(ours[0], theirs[0]))
    both = f"{shared:.1f} decades of {symbol}"
    return f"The ranges share {both}; ours has {_decades(ours):.1f}, the study's {_decades(theirs):.1f}."


def _decades(span: tuple[float, float]) -> float:
    return math.log10(span[1] / span[0])


def values_table(rows: Sequence[PublishedRow]) -> list[dict[str, str]]:
    """One row a value: published, ours, and what the intervals say."""
    return [
        {
            "study": row.published.study,
            "quantity": row.published.quantity,
            "published": format_number(row.published.value),
            "published interval": _interval(row.published),
            "here": format_number(row.own.value) if row.own else "-",
            "interval here": _own_interval(row),
            "counted here": _in_words(row.convention) + ("" if row.same_count else " (their only count)"),
            "estimated here by": row.method,
            "comparison": row.agreement,
        }
        for row in rows
    ]


def sources_table(rows: Sequence[PublishedRow]) -> list[dict[str, str]]:
    """One row a value: what the study counted, how and where, how the number came here, and how far its range is."""
    return [
        {
            "study": row.published.study,
            "quantity": row.published.quantity,
            "N counts": params_in_words(row.published.params),
            "C counts": flops_in_words(row.published.flops),
            "range of N": _range(row.published.n_range, format_count),
            "range of C": _range(row.published.c_range, format_number) if row.published.c_range else "not known",
            "objective": row.published.objective,
            "source": row.published.source,
            "obtained": _OBTAINED[row.published.obtained],
            "distance": row.distance,
            "remarks": " ".join(part for part in (row.published.note, row.reason) if part),
        }
        for row in rows
    ]


def caveat(rows: Sequence[PublishedRow]) -> str:
    """What the tables may not be read as, in two sentences, with the counts that stand behind them."""
    compared = [row for row in rows if row.own is not None]
    other = sum(not row.same_count for row in compared)
    start = f"{len(compared)} of {len(rows)} published values have one of these points beside them"
    counts = f", {other} of these in another count than the study's, or one that is not known" if other else ""
    return (
        f"{start}{counts}. Overlapping intervals do not mean agreement where the ranges are apart, and exponents of small, "
        "short runs need not be those of large ones."
    )


def _interval(result: Result) -> str:
    if result.interval is None or result.confidence is None:
        return "-"
    return f"{Interval(*result.interval)} {result.confidence:.0%}"


def _own_interval(row: PublishedRow) -> str:
    words = interval(row.own) if row.own else "-"
    return words if words == "-" else f"{words} {row.confidence:.0%}"


def _in_words(convention: Convention) -> str:
    return f"N: {params_in_words(convention[0])}; C: {flops_in_words(convention[1])}"


def _range(span: tuple[float, float], write: Any) -> str:
    return f"{write(span[0])} to {write(span[1])}"
