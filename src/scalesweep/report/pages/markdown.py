"""The report as Markdown, for reading beside the code or pasting into an issue."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from scalesweep.analysis.analyse import Analysis
from scalesweep.errors import Refused
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Chart, Missing
from scalesweep.report.context import ReportContext
from scalesweep.report.pages.cells import Shown, cell_rows
from scalesweep.report.review.checklist import Reviewed, checklist_table, count_status
from scalesweep.report.review.published import caveat, sources_table, values_table
from scalesweep.report.review.warnings import meanings
from scalesweep.report.words.analysis import allocation_text, back_test_text, in_words, rivals_text
from scalesweep.report.words.fit import summarise
from scalesweep.units import format_number


def render_markdown(analysis: Analysis, context: ReportContext, found: Reviewed, charts: Sequence[Chart | Missing]) -> str:
    """The whole report as Markdown that refers to figures/*.png."""
    points, fit = analysis.points, analysis.fit
    parts = [f"# {_plain(context.title)}"]
    parts += [f"**{_plain(fit.preferred.law.formula())}**"] if fit.preferred else []
    parts += [_plain(fit.verdict)]
    warnings = [*context.warnings, *(f"{finding.code}: {finding.text}" for finding in fit.findings)]
    parts += ["\n".join(f"- {_plain(warning)}" for warning in warnings)] if warnings else []
    parts += [f"## {title}\n\n```text\n{text}\n```" for title, text in _texts(analysis).items()]
    parts += ["## Tuned frontier", f"```text\n{context.tuning}\n```"] if context.tuning else []
    parts += _reviewed(found)
    parts += ["## Figures"]
    parts += map(_figure, charts)
    meant = {code: meanings()[code] for code in sorted({f.code for f in fit.findings} & set(meanings()))}
    if meant:
        parts += ["## What the warnings mean", _table([{"code": code, **asdict(row)} for code, row in meant.items()])]
    if context.cells:
        parts += ["## Cells", _table(cell_rows(analysis, context))]
    if len(points.excluded):
        parts += ["## Excluded rows", _table(excluded_rows(points))]
    parts += ["## Provenance", _table([{"what": key, "value": value} for key, value in context.provenance.items()])]
    parts += ["## Make this report again", f"```sh\n{context.command}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figure(chart: Chart | Missing) -> str:
    """The picture with its caption, or why there is none."""
    if isinstance(chart, Missing):
        return f"**{_plain(chart.title)}**: not drawn. {_plain(chart.reason)}"
    return f"![{_plain(chart.caption)}](figures/{chart.name}.png)\n\n{_plain(chart.caption)}"


def _reviewed(found: Reviewed) -> list[str]:
    """Published studies, and the reviewer's checklist."""
    studies, checklist = found.studies, found.checklist
    return [
        "## Beside published studies",
        _plain(caveat(studies)),
        _table(values_table(studies)),
        _table(sources_table(studies)),
        "## Reviewer's checklist",
        _plain(count_status(checklist)),
        _table(checklist_table(checklist)),
    ]


def _texts(analysis: Analysis) -> dict[str, str]:
    """The blocks that the terminal shows too, by heading."""
    blocks = {
        "In words": in_words(analysis),
        "Laws": summarise(analysis.fit),
        "Compute-optimal allocation": allocation_text(analysis),
        "Rival laws": rivals_text(analysis),
    }
    if isinstance(analysis.tournament, Refused):
        return blocks
    return {**blocks, "Back-test": back_test_text(analysis.tournament.tested)}


def excluded_rows(points: Points) -> list[dict[str, Any]]:
    """Rows that fits left out, with identity, position, loss and reason."""
    shown = [name for name in ("key", "n", "d", "c", "loss", "seed", "excluded_reason") if name in points.frame]
    return [{str(name): value for name, value in row.items()} for row in points.excluded[shown].to_dict("records")]


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Union of the rows' names in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def show(value: Any) -> str:
    """A cell of a table for people: numbers with four digits, or as whole numbers where those are longer."""
    if value is None:
        return ""
    if isinstance(value, Shown):
        return value.text
    if isinstance(value, float):
        return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else format_number(value)
    return str(value)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    columns = columns_of(rows)
    lines = [columns, ["---"] * len(columns), *([show(row.get(name)) for name in columns] for row in rows)]
    return "\n".join("| " + " | ".join(_plain(item) for item in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """The text on one line, with the characters that Markdown or HTML would interpret escaped."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*[]<>|" else letter for letter in text)
    return " ".join(escaped.split())
