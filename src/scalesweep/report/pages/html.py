"""The report as one HTML page: self-contained, offline, for light and dark screens and for phones.

`templates/` holds what the page says and in which order; here are the values that they show. Numbers of the fit are `<data>`
elements that carry the full value and its path in fit.json, so that text and file can be compared mechanically.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from markupsafe import Markup

from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.forecast.rivals import TITLES as FORM_TITLES
from scalesweep.errors import Refused
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.report.charts.chart import Chart, Missing
from scalesweep.report.charts.interactive import asset, charts_json, figure, gradients
from scalesweep.report.context import ReportContext
from scalesweep.report.pages.cells import cell_rows, num_leading
from scalesweep.report.pages.markdown import excluded_rows
from scalesweep.report.pages.markup import anchor, at_path, digits, interval, number, templates
from scalesweep.report.pages.sections import budgets_table, published_table, wrapped_sources
from scalesweep.report.review.checklist import Reviewed, checklist_table, count_status
from scalesweep.report.review.head import facts_words, head_of
from scalesweep.report.review.published import caveat
from scalesweep.report.review.warnings import meanings
from scalesweep.report.tables import from_records, percent, write_html
from scalesweep.report.words.analysis import (
    back_test_table,
    columns_text,
    horizon_columns,
    law_in_words,
    no_origin,
    rivals_table,
)
from scalesweep.report.words.approaches import approaches_table, sentences
from scalesweep.report.words.families import families_sentences, families_table, running_sentences
from scalesweep.report.words.fit import TITLES, footer, meaning
from scalesweep.units import format_count, format_number

_SYMBOLS = {
    "alpha": Markup("<var>α</var>"),
    "beta": Markup("<var>β</var>"),
    "kappa": Markup("<var>κ</var>"),
    "exponent": Markup("<var>α</var>"),
    "scale": Markup("<var>x</var><sub>c</sub>"),
    "tokens_per_parameter": Markup("<var>D</var>*/<var>N</var>*"),
}


def render_html(analysis: Analysis, context: ReportContext, found: Reviewed, charts: Sequence[Chart | Missing]) -> str:
    """The whole page."""
    values = {**_numbers(analysis.to_dict()), **_document(context, charts), **_lead(analysis, context)}
    values |= {**_analysed(analysis), **_measured(analysis, context), **_reviewed(analysis.fit, found)}
    return templates("scalesweep.report.pages").get_template("page.html").render(values)


def _numbers(content: Mapping[str, Any]) -> dict[str, Any]:
    """Functions from paths of fit.json to what the page shows, and from values to markup."""
    headings: list[str] = []

    def heading(title: str, linked: bool = True) -> Markup:
        """Of a section, whose id it carries unless what is around it does."""
        headings.append(title)
        own = Markup(' id="{}"').format(anchor(title)) if linked else ""
        return Markup("<h2{}>{}</h2>").format(own, title)

    return {
        "at": partial(at_path, content),
        "number": partial(number, content),
        "interval": partial(interval, content),
        "digits": lambda path: digits(at_path(content, path)),
        "symbol": lambda name: _SYMBOLS.get(name, Markup("<var>{}</var>").format(name)),
        "heading": heading,
        "headings": headings,
        "anchor": anchor,
        "table": write_html,
        "figure": figure,
        "format_count": format_count,
        "format_number": format_number,
        "format_whole": str,
        "format_share": percent(0),
    }


def _document(context: ReportContext, charts: Sequence[Chart | Missing]) -> dict[str, Any]:
    """Title, style, scripts and data; the last three are this program's own files and numbers, escaped where they are made."""
    style = ":root {" + "".join(f"--{name}: linear-gradient(to right,{stops});" for name, stops in gradients().items()) + "}"
    return {
        "title": context.title,
        "style": Markup(f"{style}\n{asset('report.css')}"),
        "plotly": Markup(asset("plotly-basic.min.js")),
        "script": Markup(asset("report.js")),
        "data": Markup(charts_json([chart for chart in charts if isinstance(chart, Chart)])),
        "charts": {chart.name: chart for chart in charts},
        "is_drawn": [chart.name for chart in charts if isinstance(chart, Chart)].__contains__,
        "missing": [chart for chart in charts if isinstance(chart, Missing)],
    }


def _lead(analysis: Analysis, context: ReportContext) -> dict[str, Any]:
    """The first screen: facts, verdict, answers, how far they reach, warnings."""
    fit = analysis.fit
    return {
        "fit": fit,
        "facts": facts_words(analysis, context),
        "head": head_of(analysis),
        "reach": analysis.support.words if len(analysis.ahead.best) > 1 else "",
        "in_words": law_in_words(analysis.points, fit),
        "warnings": context.warnings,
        "meanings": meanings(),
        "law_titles": TITLES,
        "meaning_of": partial(meaning, metric=fit.metric),
    }


def _analysed(analysis: Analysis) -> dict[str, Any]:
    """Families, approaches, rivals and back-test."""
    families = analysis.families
    values: dict[str, Any] = {
        "families": families_table(families) if families else None,
        "family_column": families.column if families else "",
        "family_sentences": families_sentences(families) if families else [],
        "only": families.reference.name if families and not families.is_pooled else "",
        "running": running_sentences(analysis.running),
        "approaches": approaches_table(analysis.approaches),
        "approaches_known": any(row.allocation for row in analysis.approaches.rows),
        "approach_sentences": sentences(analysis.approaches),
        "budgets": budgets_table(analysis.approaches.minima.minima),
        "form_titles": FORM_TITLES,
        "refused": "",
    }
    if isinstance(analysis.tournament, Refused):
        return {**values, "refused": analysis.tournament.reason}
    tested = analysis.tournament.tested
    return {
        **values,
        "tested": tested,
        "back_test": back_test_table(tested) if tested.rows else None,
        "no_origin": no_origin(),
        "horizon_columns": horizon_columns(tested),
        "rivals": rivals_table(analysis.tournament),
        "rival_columns": columns_text(analysis.tournament),
    }


def _measured(analysis: Analysis, context: ReportContext) -> dict[str, Any]:
    """Cells and where they come from."""
    rows = cell_rows(analysis, context)
    return {
        "tuning": context.tuning,
        "sets": from_records(context.sets),
        "rounds": context.rounds,
        "rounds_table": from_records(context.rounds_table),
        "sealed_table": from_records(context.sealed_table),
        "cells": from_records(rows),
        "num_leading": num_leading(rows),
        "excluded": from_records(excluded_rows(analysis.points)),
        "method": footer(analysis.fit),
        "provenance": from_records([{"what": key, "value": value} for key, value in context.provenance.items()]),
        "command": context.command,
    }


def _reviewed(fit: SweepFit, found: Reviewed) -> dict[str, Any]:
    """Published values, what the warnings mean, the checklist."""
    return {
        "published": published_table(found.studies),
        "published_caveat": caveat(found.studies),
        "sources": wrapped_sources(found.studies),
        "codes": [code for code in dict.fromkeys(finding.code for finding in fit.findings) if code in meanings()],
        "checklist": checklist_table(found.checklist),
        "checklist_counts": count_status(found.checklist),
    }
