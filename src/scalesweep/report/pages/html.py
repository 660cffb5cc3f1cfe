"""The report as one HTML page: self-contained, offline, for light and dark screens and for phones.

Numbers of the fit are `<data>` elements that carry the full value and its path in fit.json, so that text and file can be
compared mechanically.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from scalesweep.analysis.analyse import Analysis
from scalesweep.fit import Status
from scalesweep.fit.sweep_fit import Name
from scalesweep.report.charts.chart import Chart, Missing
from scalesweep.report.charts.interactive import asset, charts_json, gradients
from scalesweep.report.context import ReportContext
from scalesweep.report.pages.cells import cell_rows, num_leading
from scalesweep.report.pages.markdown import excluded_rows
from scalesweep.report.pages.markup import at_path, heading, interval, number, paragraphs, section, sortable_section
from scalesweep.report.pages.sections import (
    allocation_section,
    back_test_section,
    checklist_section,
    figures_of,
    meanings_section,
    rivals_section,
    studies_section,
    warning_item,
)
from scalesweep.report.review.checklist import Reviewed
from scalesweep.report.tables import Writer
from scalesweep.report.words.analysis import law_in_words
from scalesweep.report.words.fit import MEANINGS, TITLES, footer
from scalesweep.units import format_count, format_number

_SYMBOLS = {
    "alpha": "<var>α</var>",
    "beta": "<var>β</var>",
    "kappa": "<var>κ</var>",
    "exponent": "<var>α</var>",
    "scale": "<var>x</var><sub>c</sub>",
    "tokens_per_parameter": "<var>D</var>*/<var>N</var>*",
}
_DOUBTS = ("A15", "A16")
"""Findings about the law itself: held-out runs that its intervals missed, and rows that lie far off it."""
_LABELS = {
    "E": "irreducible loss",
    "alpha": "exponent of N",
    "beta": "exponent of D",
    "kappa": "coupling of the terms",
    "a": "best N grows as Cᵃ",
    "tokens_per_parameter": "best D/N at the largest C",
}


def render_html(analysis: Analysis, context: ReportContext, found: Reviewed, charts: Sequence[Chart | Missing]) -> str:
    """The whole page."""
    content, fit = analysis.to_dict(), analysis.fit
    sections = [
        heading("Loss and scale"),
        figures_of(charts, "power_laws", "curves", "joint_fit"),
        heading("Laws"),
        *(_law(content, name) for name in fit.order),
        *(f"<h3>{escape(TITLES[name])}</h3>\n<p>Refused. {escape(str(reason))}</p>" for name, reason in fit.refusals.items()),
        figures_of(charts, "residuals", "profile"),
        allocation_section(analysis, charts),
        back_test_section(analysis, charts),
        rivals_section(analysis, content, charts),
        _recipe(context, charts),
        studies_section(found.studies),
        meanings_section([finding.code for finding in fit.findings]),
        checklist_section(found.checklist),
        _cells(analysis, context),
        section("Excluded rows", excluded_rows(analysis.points)),
        heading("Data and method"),
        paragraphs(footer(fit)),
        section("Provenance", [{"what": key, "value": value} for key, value in context.provenance.items()]),
        f"{heading('Make this report again')}\n<pre><code>{escape(context.command)}</code></pre>",
    ]
    body = "\n".join(part for part in sections if part)
    first = [f"<h1>{escape(context.title)}</h1>", _question(content), _lead(content, analysis, context)]
    top = "\n".join([*first, _contents(body)])
    return _page(context.title, f"{top}\n{body}", charts_json([chart for chart in charts if isinstance(chart, Chart)]))


def _page(title: str, body: str, data: str) -> str:
    """The document: style, body, data and scripts in one file, which by its own policy can load nothing else."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
    style = ":root {" + "".join(f"--{name}: linear-gradient(to right,{stops});" for name, stops in gradients().items()) + "}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>{style}\n{asset('report.css')}</style>\n</head>\n"
        "<body>\n<noscript><p>Without JavaScript the figures stay empty; they also lie in figures/.</p></noscript>\n"
        f"<main>\n{body}\n</main>\n"
        f'<script type="application/json" id="charts">{data}</script>\n<script>{asset("plotly-basic.min.js")}</script>\n'
        f"<script>{asset('report.js')}</script>\n</body>\n</html>\n"
    )


def _contents(body: str) -> str:
    """Links to the headings."""
    links = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body)
    return "<nav>" + "".join(f'<a href="#{name}">{title}</a>' for name, title in links) + "</nav>"


def _question(content: Mapping[str, Any]) -> str:
    """What was asked, of which range."""
    path = "extrapolation.measured"
    used = number(content, "points.used", str)

    def span(name: str, write: Writer) -> str:
        ends = [number(content, f"{path}.{name}.{i}", write) for i in range(2)]
        low, high = at_path(content, f"{path}.{name}")
        return f"{ends[0]} to {ends[1]}" if low != high else ends[0]

    return (
        '<p class="question">How does the validation loss <var>L</var> (nats per token) fall with parameters <var>N</var> and '
        f"training tokens <var>D</var>? Measured at {used} points: <var>N</var> {span('n', format_count)}, <var>D</var> "
        f"{span('d', format_count)}, <var>C</var> {span('c', format_number)} FLOPs, <var>D</var>/<var>N</var> "
        f"{span('tokens_per_parameter', format_number)}.</p>"
    )


def _cells(analysis: Analysis, context: ReportContext) -> str:
    """The cells, all but the leading columns behind a switch."""
    rows = cell_rows(analysis, context)
    return sortable_section("Cells", rows, num_leading(rows))


def _recipe(context: ReportContext, charts: Sequence[Chart | Missing]) -> str:
    """Tuning and collapse: whether the recipe is that of a fair comparison."""
    drawn = figures_of(charts, "tuning", "collapse")
    words = f"<pre><code>{escape(context.tuning)}</code></pre>" if context.tuning else ""
    return f"{heading('Recipe')}\n{drawn}\n{words}" if drawn or words else ""


def _lead(content: Mapping[str, Any], analysis: Analysis, context: ReportContext) -> str:
    """First screen: the law in symbols and words, its intervals, the verdict, how far it reaches, and the warnings."""
    parts, state, fit = [], "refused", analysis.fit
    best = fit.preferred
    if best is not None:
        doubted = any(finding.code in _DOUBTS for finding in fit.findings)
        state = "clear" if best.status is Status.IDENTIFIED and not best.messages and not doubted else "limited"
        parts.append(f'<p class="law">{_formula(content, fit.preferred_name)}</p>')
        spans = "".join(
            f"<span>{_estimate(content, fit.preferred_name, name)} <small>{escape(label)}</small></span>"
            for name, label in _LABELS.items()
            if name in best.estimates
        )
        parts.append(f'<p class="intervals">{spans}<span>[{fit.confidence:.0%} intervals]</span></p>')
    verdict, reasons = (best.status.value, best.messages) if best else (fit.verdict, ())
    parts.append(f'<p class="verdict {state}">{escape(verdict)}</p>')
    parts.append(paragraphs([*reasons, law_in_words(analysis.points, fit), analysis.support.words]))
    items = [f"<li>{escape(warning)}</li>" for warning in context.warnings]
    items += [warning_item(finding.code, finding.text) for finding in fit.findings]
    if items:
        parts.append(f'<ul class="warnings">{"".join(items)}</ul>')
    return f'<section class="lead">{"".join(parts)}</section>'


def _estimate(content: Mapping[str, Any], law: Name, parameter: str) -> str:
    """A parameter of a law with its interval."""
    value = number(content, f"laws.{law}.estimates.{parameter}.value", missing="∞")
    return f"{_symbol(parameter)} = {value} {_ends(content, law, parameter)}"


def _formula(content: Mapping[str, Any], name: str) -> str:
    """The law in symbols with its numbers."""

    def value(parameter: str) -> str:
        return number(content, f"laws.{name}.estimates.{parameter}.value", missing="∞")

    if name in ("joint", "coupled"):
        left = f"<var>L</var>(<var>N</var>, <var>D</var>) = {value('E')} + "
        u = f"{value('A')} / <var>N</var><sup>{value('alpha')}</sup>"
        v = f"{value('B')} / <var>D</var><sup>{value('beta')}</sup>"
        if name == "joint":
            return f"{left}{u} + {v}"
        power = f"<sup>1/{value('kappa')}</sup>"
        return f"{left}[({u}){power} + ({v}){power}]<sup>{value('kappa')}</sup>"
    x = f"<var>{name[-1].upper()}</var>"
    return f"<var>L</var>({x}) = ({value('scale')} / {x})<sup>{value('exponent')}</sup>"


def _law(content: Mapping[str, Any], name: Name) -> str:
    law = content["laws"][name]
    rows = "".join(
        f"<tr><td>{_symbol(parameter)}</td>"
        f'<td class="number">{number(content, f"laws.{name}.estimates.{parameter}.value", missing="∞")}</td>'
        f'<td class="number">{_ends(content, name, parameter)}</td><td class="words">{escape(MEANINGS[parameter])}</td></tr>'
        for parameter in law["estimates"]
    )
    percent = f"{content['intervals']['confidence']:.0%}"
    return (
        f'<h3>{escape(TITLES[name])}</h3>\n<p class="law">{_formula(content, name)}</p>\n'
        f"<p>{escape(' '.join((law['verdict'], *law['messages'])))}</p>\n"
        f'<div class="scroll"><table><tr><th></th><th class="number">estimate</th><th class="number">{percent} interval</th>'
        f"<th>meaning</th></tr>{rows}</table></div>\n"
        f'<p class="soft">{_method(content, name)}</p>'
    )


def _method(content: Mapping[str, Any], name: Name) -> str:
    """Which points entered, what was minimised, and what is left over."""
    law, path = content["laws"][name], f"laws.{name}"
    delta = f", delta {number(content, path + '.huber_delta')}" if law["huber_delta"] is not None else ""
    return (
        f"{number(content, path + '.num_points')} points ({escape(law['selection'])}). "
        f"Minimised: {escape(law['objective'])}{delta}; it is {number(content, path + '.objective_value')}. "
        f"Residual rms {number(content, path + '.residual_rms')} in log loss. Form: {escape(law['source'])}. "
        f"{escape(law['intervals'])}"
    )


def _ends(content: Mapping[str, Any], name: str, parameter: str) -> str:
    """The interval of a parameter, or a dash where none was asked for."""
    return interval(content, f"laws.{name}.estimates.{parameter}") if content["intervals"]["resamples"] else "–"


def _symbol(parameter: str) -> str:
    return _SYMBOLS.get(parameter, f"<var>{escape(parameter)}</var>")
