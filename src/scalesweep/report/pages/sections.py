"""The sections of the HTML page that compare: allocation by three approaches, rivals, back-test, and what warnings mean."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.forecast.rivals import TITLES
from scalesweep.errors import Refused
from scalesweep.points.design import MIN_SIZES
from scalesweep.report.charts.chart import Chart, Missing
from scalesweep.report.charts.interactive import figure
from scalesweep.report.figures.comparisons import LABELS
from scalesweep.report.pages.markup import Writer, heading, interval, number, paragraphs, percent, table
from scalesweep.report.review.checklist import ChecklistRow, count_status
from scalesweep.report.review.published import PublishedRow, caveat, sources_table, values_table
from scalesweep.report.review.warnings import meanings
from scalesweep.report.words.analysis import columns_text, horizon_columns, no_origin
from scalesweep.report.words.approaches import sentences
from scalesweep.units import format_count, format_number

Content = Mapping[str, Any]


def allocation_section(analysis: Analysis, content: Content, charts: Sequence[Chart | Missing]) -> str:
    """The three approaches: figure, table, what each says of itself, and the isoFLOP budgets."""
    known = content["approaches"]
    at = [number(content, f"approaches.compared_at.{i}") for i in range(len(known["compared_at"]))]
    head = ["approach", "a", *(f"{x}* at {c}" for c in at for x in ("N", "D")), "used", "left out"]
    rows = [_approach(content, i) for i in range(len(known["approaches"]))]
    parts = [heading("Compute-optimal allocation"), figures_of(charts, "isoflops", "optima"), table(head, rows)]
    parts += [paragraphs(sentences(analysis.approaches), "soft"), figures_of(charts, "next_gain")]
    budgets = [i for i, budget in enumerate(known["isoflop"]["budgets"]) if budget["num_sizes"] >= MIN_SIZES]
    if budgets:
        head = ["budget, FLOPs", "sizes", "N*", "D*", "se of ln N*", "remark"]
        parts += [
            "<h3>IsoFLOP budgets</h3>",
            table(head, [_budget(content, i) for i in budgets], ["text", *["number"] * 4, "words"]),
        ]
    return "\n".join(parts)


def _approach(content: Content, i: int) -> list[str]:
    path = f"approaches.approaches.{i}"
    row = content["approaches"]["approaches"][i]
    optima = [
        "–" if row[f"{x}_opt"][k] is None else number(content, f"{path}.{x}_opt.{k}.value", format_count)
        for k in range(2)
        for x in "nd"
    ]
    a = "refused" if row["a"] is None else f"{number(content, f'{path}.a.value')} {interval(content, f'{path}.a')}"
    title = LABELS[row["name"]]
    return [escape(title), a, *optima, *(number(content, f"{path}.num_{x}", str) for x in ("used", "rejected"))]


def _budget(content: Content, i: int) -> list[str]:
    """One isoFLOP budget: its minimum, or why there is none."""
    path = f"approaches.isoflop.budgets.{i}"
    budget = content["approaches"]["isoflop"]["budgets"][i]
    writers: dict[str, Writer] = {"c": format_number, "num_sizes": str, "n_opt": format_count, "d_opt": format_count}
    numbers = [number(content, f"{path}.{name}", write) for name, write in writers.items()]
    return [*numbers, number(content, f"{path}.log_n_se"), escape(budget["rejection"] or budget["caveat"])]


def rivals_section(analysis: Analysis, content: Content, charts: Sequence[Chart | Missing]) -> str:
    """The rivals, best forecaster first, or why there are none."""
    title = heading("Rival laws")
    if isinstance(analysis.tournament, Refused):
        return f"{title}\n{paragraphs([f'Refused. {analysis.tournament}'])}"
    head = ["form", "ΔAICc", "in range", "size out", "budget out", "forecast", "-d ln L/d ln N", "-d ln L/d ln D"]
    rows = [_rival(content, i) for i in range(len(content["rivals"]["standings"]))]
    refused = [f"{TITLES.get(name, name)}: refused. {reason}" for name, reason in content["rivals"]["refusals"].items()]
    words = paragraphs([*refused, columns_text(analysis.tournament)], "soft")
    return "\n".join(
        [title, figures_of(charts, "kaplan_form"), table(head, rows), _centre(content), words, _equations(content)]
    )


def _rival(content: Content, i: int) -> list[str]:
    path = f"rivals.standings.{i}"
    row = content["rivals"]["standings"][i]
    errors = [
        number(content, f"{path}.{name}", percent()) for name in ("residual_rms", "size_rms", "budget_rms", "rolling_rms")
    ]
    slopes = [number(content, f"{path}.exponents.{name}") for name in ("by_n", "by_d")]
    difference = number(content, f"rivals.delta_aicc.{row['name']}", lambda value: f"{value:.1f}")
    return [escape(TITLES.get(row["name"], row["name"])), difference, *errors, *slopes]


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


def back_test_section(analysis: Analysis, content: Content, charts: Sequence[Chart | Missing]) -> str:
    """The rolling origin: figure and table by horizon, or why there is none."""
    title = heading("Back-test")
    if isinstance(analysis.tournament, Refused):
        return f"{title}\n{paragraphs([f'Refused. {analysis.tournament}'])}"
    if not content["back_test"]["horizons"]:
        return f"{title}\n{paragraphs([no_origin()])}"
    head = ["horizon", "rows", "abstained", "error", "bias", "honest covers", "width", "preferred law covers", "width"]
    rows = [_horizon(content, i) for i in range(len(content["back_test"]["horizons"]))]
    words = [horizon_columns(analysis.tournament.tested), "Every prediction is in back_test.csv."]
    return "\n".join([title, figures_of(charts, "back_test"), table(head, rows), paragraphs(words, "soft")])


def _horizon(content: Content, i: int) -> list[str]:
    path = f"back_test.horizons.{i}"
    writers: dict[str, Writer] = {"num": str, "abstained": percent(0), "error": percent(), "bias": percent(sign="+")}
    numbers = [number(content, f"{path}.{name}", write) for name, write in writers.items()]
    for kind in ("honest", "form"):
        numbers += [number(content, f"{path}.covered.{kind}", percent(0)), number(content, f"{path}.width.{kind}", percent(1))]
    return [escape(content["back_test"]["horizons"][i]["horizon"]), *numbers]


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


def studies_section(content: Content, rows: Sequence[PublishedRow]) -> str:
    """Published values beside those of the analysis; sources are folded away."""
    head = ["study, quantity", "published", "here", "counted here", "comparison", "distance"]
    kinds = ["words", "number", "number", "words", "words", "words"]
    body = [
        [
            f"{escape(shown['study'])}<br>{escape(shown['quantity'])}",
            _lines(escape(shown["published"]), shown["published interval"]),
            _lines(_own(content, row), shown["interval here"]),
            escape(f"{shown['counted here']}; by {shown['estimated here by']}") if row.own else "",
            escape(shown["comparison"]),
            escape(row.distance),
        ]
        for shown, row in zip(values_table(rows), rows, strict=True)
    ]
    sources = sources_table(rows)
    lines = [[escape(value) for value in source.values()] for source in sources]
    folded = table(list(sources[0]), lines, ["text", *["words"] * (len(sources[0]) - 1)])
    return "\n".join(
        [
            heading("Beside published studies"),
            paragraphs([caveat(rows)]),
            f'<div class="compact">{table(head, body, kinds)}</div>',
            f"<details><summary>Sources, counts and ranges of the published values</summary>{folded}</details>",
        ]
    )


def _lines(value: str, interval_words: str) -> str:
    """A value with its interval below it, where there is one."""
    return value if interval_words == "-" else f"{value}<br>{escape(interval_words)}"


def _own(content: Content, row: PublishedRow) -> str:
    """The analysis's value, traceable where fit.json holds it; elsewhere it was refitted in the study's count."""
    if row.own is None:
        return "–"
    return number(content, f"{row.path}.value") if row.path else format_number(row.own.value)


def checklist_section(rows: Sequence[ChecklistRow]) -> str:
    """The reviewer's questions with their answers."""
    body = [[str(r.number), escape(r.question), _status(r.status), escape(r.answer)] for r in rows]
    shown = table(["", "question", "status", "answer"], body, ["text", "words", "text", "words"])
    return "\n".join([heading("Reviewer's checklist"), paragraphs([count_status(rows)]), f'<div class="whole">{shown}</div>'])


def _status(status: str) -> str:
    return f'<span class="status {status.replace(" ", "-")}">{status}</span>'


def figures_of(charts: Sequence[Chart | Missing], *names: str) -> str:
    """The figures of these names, in this order; where the data do not allow one, why."""
    known = {chart.name: chart for chart in charts}
    return "\n".join(_figure(known[name]) for name in names if name in known)


def _figure(chart: Chart | Missing) -> str:
    if isinstance(chart, Chart):
        return figure(chart)
    return f'<p class="missing" id="figure-{chart.name}"><b>{escape(chart.title)}</b>: not drawn. {escape(chart.reason)}</p>'
