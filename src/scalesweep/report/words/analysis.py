"""An analysis as text for a terminal: laws first, then what supports or limits them, then warnings and conventions."""

import math

import numpy as np

from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.forecast.backtest import BackTest
from scalesweep.analysis.forecast.rivals import TITLES
from scalesweep.analysis.forecast.tournament import Tournament
from scalesweep.errors import Refused
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.laws import JointLaw
from scalesweep.points.points import Points
from scalesweep.report.tables import Table, cell, percent, write_plain
from scalesweep.report.words.approaches import approaches_table, sentences, start
from scalesweep.report.words.families import each_family, families_text, running_sentences, whose
from scalesweep.report.words.fit import closing, contradiction, law_blocks, wrap
from scalesweep.units import format_count, format_number


def summarise(analysis: Analysis) -> str:
    """The whole text; of families side by side theirs, for a law of all rows together is then not what was asked for."""
    if analysis.families is not None:
        return "\n\n".join(beside(analysis))
    blocks = [
        *contradiction(analysis.fit),
        *beside(analysis),
        *law_blocks(analysis.fit),
        in_words(analysis),
        allocation_text(analysis),
        rivals_text(analysis),
    ]
    if not isinstance(analysis.tournament, Refused):
        blocks.append(back_test_text(analysis.tournament.tested))
    return "\n\n".join([*blocks, *closing(analysis.fit)])


def beside(analysis: Analysis) -> list[str]:
    """What a table holds beside one law: families, and runs that are still training; before the laws, which leave them out."""
    blocks = []
    if analysis.families is not None:
        together = wrap(whose(analysis.families), "")
        blocks += [families_text(analysis.families), *each_family(analysis.families), together]
    if analysis.running:
        blocks.append("\n".join(wrap(sentence, "") for sentence in running_sentences(analysis.running)))
    return blocks


def in_words(analysis: Analysis) -> str:
    """The preferred law in words, and how far it may be used."""
    said = (law_in_words(analysis.points, analysis.fit), analysis.support.words)
    return "\n".join(wrap(sentence, "") for sentence in said if sentence)


def allocation_text(analysis: Analysis) -> str:
    """The three approaches side by side where one of them adds to approach 3, which the laws show; else why none does."""
    if analysis.fit.compute.is_contradiction:
        return wrap(f"Compute-optimal allocation by any approach: withheld. {analysis.fit.compute.withheld}", "")
    others = [row for row in analysis.approaches.rows if row.name in ("envelope", "isoflop")]
    if any(row.allocation for row in others):
        table = write_plain(approaches_table(analysis.approaches), "")
        return "\n".join([table, *(wrap(line, "  ") for line in sentences(analysis.approaches))])
    reasons = [f"{start(row)}: {' '.join(row.messages)}" for row in others]
    title = "Compute-optimal allocation by envelope and IsoFLOP minima: refused (that of the fitted law is its a and b)."
    return "\n".join([title, *(wrap(reason, "  ") for reason in reasons)])


def rivals_text(analysis: Analysis) -> str:
    """The rivals, best forecaster first, or why there are none."""
    result = analysis.tournament
    if isinstance(result, Refused):
        return wrap(f"Rival laws and back-test: refused. {result}", "")
    n, d = result.at
    band = result.envelope(n, d)
    lines = [write_plain(rivals_table(result))]
    lines += [wrap(f"{TITLES.get(name, name)}: refused. {reason}", "  ") for name, reason in result.rivals.refusals.items()]
    middle = (
        f"Exponents at the measured centre, N = {format_count(n)}, D = {format_count(d)}: there the forms' mean is "
        f"{format_number(result.mean(n, d)[0])}, their {result.confidence:.0%} envelope "
        f"[{format_number(band.low[0])}, {format_number(band.high[0])}]."
    )
    return "\n".join([*lines, wrap(columns_text(result), "  "), wrap(middle, "  ")])


def rivals_table(result: Tournament) -> Table:
    """The errors of each form, its distance in AICc from the best, and its exponents."""
    best = min(standing.aicc for standing in result.standings)
    rows = []
    for i, row in enumerate(result.standings):
        path = f"rivals.standings.{i}"
        errors = ("residual_rms", "size_rms", "budget_rms", "rolling_rms")
        rows.append(
            (
                TITLES.get(row.name, row.name),
                cell(row.aicc - best, "{:.1f}".format, f"rivals.delta_aicc.{row.name}"),
                *(cell(getattr(row, name), percent(), f"{path}.{name}") for name in errors),
                cell(row.exponents.by_n, path=f"{path}.exponents.by_n"),
                cell(row.exponents.by_d, path=f"{path}.exponents.by_d"),
            )
        )
    return Table(
        ("form", "ΔAICc", "in range", "size out", "budget out", "forecast", "-d ln L/d ln N", "-d ln L/d ln D"),
        tuple(rows),
        f"Rival laws on {result.num_points} points, best forecaster first; errors are rms of log L",
        ("text", *["number"] * 7),
    )


def columns_text(result: Tournament) -> str:
    """What the columns of the rivals are."""
    return (
        "In range: on the rows of the fit. Size out, budget out: on model sizes or budgets left out, at most 10 folds. "
        f"Forecast: on rows above the cuts of the back-test. {len(result.rivals.members[0].samples)} resamples of each form."
    )


def back_test_text(tested: BackTest) -> str:
    """The rolling origin by compute, horizon by horizon."""
    table = back_test_table(tested)
    if not tested.rows:
        return f"{table.caption}\n{wrap(no_origin(), '  ')}"
    return f"{write_plain(table)}\n{wrap(horizon_columns(tested), '  ')}"


def back_test_table(tested: BackTest) -> Table:
    """What was predicted at each horizon, how far off, and how many intervals held it."""
    rows = []
    for i, row in enumerate(tested.rows):
        path = f"back_test.horizons.{i}"
        covers = [
            part
            for kind in ("honest", "form")
            for part in (
                cell(row.covered[kind], percent(0), f"{path}.covered.{kind}"),
                cell(row.width[kind], percent(1), f"{path}.width.{kind}"),
            )
        ]
        rows.append(
            (
                row.horizon,
                cell(row.num, str, f"{path}.num"),
                cell(row.abstained, percent(0), f"{path}.abstained"),
                cell(row.error, percent(), f"{path}.error"),
                cell(row.bias, percent(sign="+"), f"{path}.bias"),
                *covers,
            )
        )
    return Table(
        ("horizon", "rows", "abstained", "error", "bias", "honest covers", "width", "preferred law covers", "width"),
        tuple(rows),
        "Back-test: fit all points up to a compute, predict every point above it (rolling origin)",
        ("text", *["number"] * 8),
        frozenset(i for i, row in enumerate(tested.rows) if row.abstained == 1),
    )


def horizon_columns(tested: BackTest) -> str:
    """What the columns of the back-test are."""
    return (
        f"{len(tested.cuts)} origins. Horizon: compute of the predicted row over the largest fitted. Abstained: no interval "
        "would have been printed. Error: median |L_predicted / L - 1| of the forms' mean; bias: mean of log(L_predicted / L). "
        f"Covers: share of {tested.confidence:.0%} intervals of a run that hold the measured loss (median width): those of "
        "`scalesweep forecast`, and those of the preferred law alone."
    )


def no_origin() -> str:
    """Why there is no back-test."""
    return "No cut leaves enough rows below it to determine a law, and one above it."


def law_in_words(points: Points, fit: SweepFit) -> str:
    """What doubling N or D gains at the middle of the measured points, where the loss ends, and how the best size grows."""
    best = fit.preferred
    if best is None or not isinstance(best.law, JointLaw):
        return ""
    law, n, d = best.law, *(float(np.exp(np.log(column).mean())) for column in (points.n, points.d))
    here = float(law.predict(n, d))
    by_n, by_d = here - float(law.predict(2 * n, d)), here - float(law.predict(n, 2 * d))
    ends = f" {found.interval}" if (found := best.estimates["E"]).interval else ""
    end = f"With both without limit it ends at E = {format_number(found.value)}{ends}, if this form holds so far."
    if any(finding.code == "A06" for finding in fit.findings):
        end = "Where it ends with both without limit, the points do not show (A06)."
    said = f"the {fit.metric.noun}{' of fresh text' if 'U' in law.variables else ''} is {fit.metric.of(f'{here:.3g}')}"
    text = (
        f"At the middle of the points, N = {format_count(n)} and D = {format_count(d)}, {said}; "
        f"twice the parameters take {by_n:.2g} off it, twice the tokens {by_d:.2g}. {end}"
    )
    a = best.estimates.get("a")
    if a is None or not math.isfinite(a.value):
        return text
    return (
        f"{text} For the lowest loss at a given compute, ten times the compute asks for {10**a.value:.2g} times the parameters."
    )
