"""The report as Markdown, for reading beside the code or pasting into an issue."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from scalesweep.analysis.analyse import Analysis
from scalesweep.errors import Refused
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Chart, Missing
from scalesweep.report.context import ReportContext
from scalesweep.report.pages.cells import cell_rows
from scalesweep.report.review.checklist import Reviewed, checklist_table, count_status
from scalesweep.report.review.head import facts_words, head_of
from scalesweep.report.review.published import caveat, sources_table, values_table
from scalesweep.report.review.warnings import meanings
from scalesweep.report.tables import from_records, plain_markdown, write_markdown
from scalesweep.report.words.analysis import allocation_text, back_test_text, in_words, rivals_text
from scalesweep.report.words.families import families_sentences, families_table, running_sentences, whose
from scalesweep.report.words.fit import summarise


def render_markdown(
    analysis: Analysis, context: ReportContext, found: Reviewed, charts: Sequence[Chart | Missing], has_pictures: bool = True
) -> str:
    """The whole report as Markdown that refers to figures/*.png, where they are drawn."""
    points, fit = analysis.points, analysis.fit
    shown = charts if has_pictures else ()
    parts = [f"# {plain_markdown(context.title)}", *_head(analysis, context, shown)]
    if analysis.families is not None:
        parts += [write_markdown(families_table(analysis.families)), plain_markdown(whose(analysis.families))]
    warnings = [*context.warnings, *(f"{f.code}: {f.text}" for f in fit.findings)]
    parts += ["\n".join(f"- {plain_markdown(warning)}" for warning in warnings)] if warnings else []
    parts += ["## Figures", *(_figure(chart) for chart in shown if chart.name != "frontier")] if shown else []
    if analysis.running:
        parts += ["## Running", "\n".join(f"- {plain_markdown(line)}" for line in running_sentences(analysis.running))]
    parts += [f"## {title}\n\n```text\n{text}\n```" for title, text in _texts(analysis).items()]
    parts += ["## Tuned frontier", f"```text\n{context.tuning}\n```"] if context.tuning else []
    if context.rounds:
        parts += ["## Rounds", *map(plain_markdown, context.rounds), write_markdown(from_records(context.rounds_table))]
        parts += [write_markdown(from_records(context.sealed_table))]
    meant = {code: meanings()[code] for code in sorted({f.code for f in fit.findings} & set(meanings()))}
    if meant:
        parts += [
            "## What the warnings mean",
            write_markdown(from_records([{"code": code, **asdict(row)} for code, row in meant.items()])),
        ]
    parts += _reviewed(found)
    if context.sets:
        parts += ["## Validation sets", write_markdown(from_records(context.sets))]
    if context.cells:
        parts += ["## Cells", write_markdown(from_records(cell_rows(analysis, context)))]
    if len(points.excluded):
        parts += ["## Excluded rows", write_markdown(from_records(excluded_rows(points)))]
    parts += [
        "## Provenance",
        write_markdown(from_records([{"what": key, "value": value} for key, value in context.provenance.items()])),
    ]
    parts += ["## Make this report again", f"```sh\n{context.command}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(analysis: Analysis, context: ReportContext, charts: Sequence[Chart | Missing]) -> list[str]:
    """The first screen: facts, verdict, what to do, the picture, the answers."""
    head, best, families = head_of(analysis), analysis.fit.preferred, analysis.families
    parts = [" · ".join(map(plain_markdown, facts_words(analysis, context))), f"**{plain_markdown(head.verdict)}**"]
    parts += [f"What to do: {plain_markdown(head.remedy)}"] if head.remedy else []
    parts += [f"**{plain_markdown(best.law.formula())}**"] if head.shows_law and best else []
    parts += [_figure(chart) for chart in charts if chart.name == "frontier"]
    for answer in head.answers:
        parts.append(f"**{answer.question}** {' '.join(map(plain_markdown, answer.sentences))}")
    if families is not None:
        said = " ".join(map(plain_markdown, families_sentences(families)))
        parts.append(f"**One law for each {plain_markdown(families.column)}** {said}")
    return parts


def _figure(chart: Chart | Missing) -> str:
    """The picture with its caption, or why there is none."""
    if isinstance(chart, Missing):
        return f"**{plain_markdown(chart.title)}**: not drawn. {plain_markdown(chart.reason)}"
    return f"![{plain_markdown(chart.caption)}](figures/{chart.name}.png)\n\n{plain_markdown(chart.caption)}"


def _reviewed(found: Reviewed) -> list[str]:
    """Published studies, and the reviewer's checklist."""
    studies, checklist = found.studies, found.checklist
    return [
        "## Beside published studies",
        plain_markdown(caveat(studies)),
        write_markdown(from_records(values_table(studies))),
        write_markdown(from_records(sources_table(studies))),
        "## Reviewer's checklist",
        plain_markdown(count_status(checklist)),
        write_markdown(checklist_table(checklist)),
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
