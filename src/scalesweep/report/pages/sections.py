"""The sections of the HTML page that compare: allocation by three approaches, rivals, back-test, and what warnings mean."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from scalesweep.analysis.allocation.minima import Minimum
from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.forecast.rivals import TITLES
from scalesweep.errors import Refused
from scalesweep.points.design import MIN_SIZES
from scalesweep.report.charts.chart import Chart, Missing
from scalesweep.report.charts.interactive import figure
from scalesweep.report.pages.markup import heading, number, paragraphs
from scalesweep.report.review.checklist import ChecklistRow, checklist_table, count_status
from scalesweep.report.review.published import PublishedRow, caveat, sources_table, values_table
from scalesweep.report.review.warnings import meanings
from scalesweep.report.tables import Part, Table, Writer, cell, from_records, percent, write_html
from scalesweep.report.words.analysis import back_test_table, columns_text, horizon_columns, no_origin, rivals_table
from scalesweep.report.words.approaches import approaches_table, sentences
from scalesweep.units import format_count, format_number

Content = Mapping[str, Any]


def allocation_section(analysis: Analysis, charts: Sequence[Chart | Missing]) -> str:
    """The three approaches: figure, table, what each says of itself, and the isoFLOP budgets."""
    parts = [heading("Compute-optimal allocation"), figures_of(charts, "isoflops", "optima")]
    parts += [write_html(approaches_table(analysis.approaches))]
    parts += [paragraphs(sentences(analysis.approaches), "soft"), figures_of(charts, "next_gain")]
    budgets = _budgets(analysis.approaches.minima.minima)
    parts += ["<h3>IsoFLOP budgets</h3>", write_html(budgets)] if budgets.rows else []
    return "\n".join(parts)


def _budgets(minima: Sequence[Minimum]) -> Table:
    """The minimum of each isoFLOP budget, or why there is none."""
    writers: dict[str, Writer] = {"n_opt": format_count, "d_opt": format_count, "log_n_se": format_number}
    rows = []
    for i, budget in enumerate(minima):
        path = f"approaches.isoflop.budgets.{i}"
        sizes = cell(budget.num_sizes, str, f"{path}.num_sizes")
        numbers = (cell(getattr(budget, name), write, f"{path}.{name}") for name, write in writers.items())
        if budget.num_sizes >= MIN_SIZES:
            rows.append((cell(budget.c, path=f"{path}.c"), sizes, *numbers, budget.rejection or budget.caveat))
    head = ("budget, FLOPs", "sizes", "N*", "D*", "se of ln N*", "remark")
    return Table(head, tuple(rows), kinds=("text", *["number"] * 4, "words"))


def rivals_section(analysis: Analysis, content: Content, charts: Sequence[Chart | Missing]) -> str:
    """The rivals, best forecaster first, or why there are none."""
    title = heading("Rival laws")
    if isinstance(analysis.tournament, Refused):
        return f"{title}\n{paragraphs([f'Refused. {analysis.tournament}'])}"
    table = write_html(rivals_table(analysis.tournament))
    refused = [f"{TITLES.get(name, name)}: refused. {reason}" for name, reason in content["rivals"]["refusals"].items()]
    words = paragraphs([*refused, columns_text(analysis.tournament)], "soft")
    return "\n".join([title, figures_of(charts, "kaplan_form"), table, _centre(content), words, _equations(content)])


def _equations(content: Content) -> str:
    """The forms in symbols."""
    rows = content["rivals"]["standings"]
    lines = [f"{TITLES.get(row['name'], row['name'])}: {row['equation']}" for row in rows]
    return f'<p class="soft">{"<br>".join(map(escape, lines))}</p>'


def _centre(content: Content) -> str:
    """Where the exponents are taken, and what the forms say there."""
    n, d = (number(content, f"rivals.at.{name}", format_count) for name in "nd")
    low, high = (number(content, f"rivals.envelope.{i}") for i in range(2))
    share = number(content, "rivals.confidence", percent(0))
    mean = number(content, "rivals.at.mean")
    return (
        f"<p>Exponents at the measured centre, <var>N</var> = {n}, <var>D</var> = {d}; there the mean of the forms is {mean}, "
        f"their {share} envelope [{low}, {high}].</p>"
    )


def back_test_section(analysis: Analysis, charts: Sequence[Chart | Missing]) -> str:
    """The rolling origin: figure and table by horizon, or why there is none."""
    title = heading("Back-test")
    if isinstance(analysis.tournament, Refused):
        return f"{title}\n{paragraphs([f'Refused. {analysis.tournament}'])}"
    tested = analysis.tournament.tested
    if not tested.rows:
        return f"{title}\n{paragraphs([no_origin()])}"
    table = write_html(back_test_table(tested))
    words = [horizon_columns(tested), "Every prediction is in back_test.csv."]
    return "\n".join([title, figures_of(charts, "back_test"), table, paragraphs(words, "soft")])


def meanings_section(codes: Sequence[str]) -> str:
    """What the codes mean, each under its anchor; nothing without a documented code."""
    known = [code for code in dict.fromkeys(codes) if code in meanings()]
    if not known:
        return ""
    items = "".join(
        f'<dt id="{code}">{code}: {escape(meanings()[code].says)}</dt>'
        f"<dd>Why it matters: {escape(meanings()[code].why)}.<br>What to do: {escape(meanings()[code].remedy)}.</dd>"
        for code in known
    )
    return f"<h2>What the warnings mean</h2>\n<dl>{items}</dl>"


def warning_item(code: str, text: str) -> str:
    """A warning that leads to its meaning, where that is documented."""
    name = f'<a href="#{code}">{code}</a>' if code in meanings() else escape(code)
    return f"<li>{name}: {escape(text)}</li>"


def studies_section(rows: Sequence[PublishedRow]) -> str:
    """Published values beside those of the analysis; sources are folded away."""
    compact = Table(
        ("study, quantity", "published", "here", "counted here", "comparison", "distance"),
        tuple(
            (
                f"{shown['study']}\n{shown['quantity']}",
                _lines(shown["published"], shown["published interval"]),
                _lines(_own(row), shown["interval here"]),
                f"{shown['counted here']}; by {shown['estimated here by']}" if row.own else "",
                shown["comparison"],
                row.distance,
            )
            for shown, row in zip(values_table(rows), rows, strict=True)
        ),
        kinds=("words", "number", "number", "words", "words", "words"),
    )
    sources = sources_table(rows)
    folded = write_html(replace(from_records(sources), kinds=("text", *["words"] * (len(sources[0]) - 1))))
    return "\n".join(
        [
            heading("Beside published studies"),
            paragraphs([caveat(rows)]),
            f'<div class="compact">{write_html(compact)}</div>',
            f"<details><summary>Sources, counts and ranges of the published values</summary>{folded}</details>",
        ]
    )


def _lines(value: Part, interval_words: str) -> tuple[Part, ...]:
    """A value with its interval below it, where there is one."""
    return (value,) if interval_words == "-" else (value, f"\n{interval_words}")


def _own(row: PublishedRow) -> Part:
    """The analysis's value, traceable where fit.json holds it; elsewhere it was refitted in the study's count."""
    if row.own is None:
        return "–"
    return cell(row.own.value, path=f"{row.path}.value") if row.path else format_number(row.own.value)


def checklist_section(rows: Sequence[ChecklistRow]) -> str:
    """The reviewer's questions with their answers."""
    shown = write_html(checklist_table(rows))
    return "\n".join([heading("Reviewer's checklist"), paragraphs([count_status(rows)]), f'<div class="whole">{shown}</div>'])


def figures_of(charts: Sequence[Chart | Missing], *names: str) -> str:
    """The figures of these names, in this order; where the data do not allow one, why."""
    known = {chart.name: chart for chart in charts}
    return "\n".join(_figure(known[name]) for name in names if name in known)


def _figure(chart: Chart | Missing) -> str:
    if isinstance(chart, Chart):
        return figure(chart)
    return f'<p class="missing" id="figure-{chart.name}"><b>{escape(chart.title)}</b>: not drawn. {escape(chart.reason)}</p>'
