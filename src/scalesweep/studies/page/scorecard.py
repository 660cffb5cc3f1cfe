"""The scorecard as one HTML page: self-contained, without scripts, for light and dark screens, for phones and for paper.

`templates/` holds what the page says and in which order; here are the values that it shows. Numbers of parts are `<data>`
elements that carry the full value and its path in verdict.json, below the name of the study.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from scalesweep.files import plain_write_errors
from scalesweep.report.charts.chart import Chart
from scalesweep.report.charts.interactive import asset
from scalesweep.report.pages.markup import templates
from scalesweep.report.tables import Table, cell, data_html, from_records, percent, show, write_html
from scalesweep.studies.base import CONFIDENCE, PartVerdict
from scalesweep.studies.page.bar import bar_of
from scalesweep.studies.page.pictures import panel_pictures, thumbnail
from scalesweep.studies.result import Result
from scalesweep.studies.words import (
    MARKS,
    MEANINGS,
    control_text,
    controls_text,
    number_parts,
    tally,
    threshold_texts,
)
from scalesweep.units import format_share

_MOST_LISTED = 12
"""A longer list, such as one of cells, is counted, and only its first entries are shown."""


def write_scorecard(results: Sequence[Result], path: Path, command: str) -> None:
    """Write the page of these studies, replacing an older one.

    Args:
        results: of different studies, in the order of the rows.
        path: of the page.
        command: by which it is made again.

    Raises:
        StoreError: it cannot be written.
    """
    content = render_scorecard(results, command)
    with plain_write_errors(path.parent, "make it writable, or name another place with dir=...."):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def render_scorecard(results: Sequence[Result], command: str) -> str:
    """The page as HTML; arguments as of `write_scorecard`."""
    values = {
        "style": Markup(asset("report.css")),
        "studies": [_study(result) for result in results],
        "tally": tally(results),
        "counts": {word: count for word in MARKS if (count := sum(result.word == word for result in results))},
        "marks": MARKS,
        "meanings": MEANINGS,
        "confidence": f"{CONFIDENCE:.0%}",
        "command": command,
        "number": _number_html,
        "bar_of": bar_of,
        "controls_text": controls_text,
        "control_text": control_text,
        "threshold_texts": threshold_texts,
        "format_share": format_share,
    }
    return templates("scalesweep.studies.page").get_template("scorecard.html").render(values)


def _study(result: Result) -> dict[str, Any]:
    """What the templates need beside the result itself."""
    chart = result.findings.chart
    return {
        "result": result,
        "thumbnail": thumbnail(chart) if isinstance(chart, Chart) else None,
        "panels": panel_pictures(chart) if isinstance(chart, Chart) else [],
        "operating": write_html(_operating(result)) if result.operating else None,
        "tables": {title: write_html(_known(from_records(rows))) for title, rows in result.findings.tables.items() if rows},
        "origin": list(_scalars(result.origin)),
    }


def _number_html(result: Result, part: PartVerdict) -> Markup:
    """The number of a part with its interval, as `words.number_text` writes it."""
    path = f"{result.name}.parts.{result.parts.index(part)}"
    fields = {"value": "effect", "low": "low", "high": "high"}

    def piece(text: str, field: str) -> Markup:
        value = getattr(part.effect, field) if field else math.nan
        return data_html(value, text, f"{path}.{fields[field]}") if math.isfinite(value) else Markup.escape(text)

    return Markup("").join(piece(*pair) for pair in number_parts(part.effect, part.part.unit))


def _known(table: Table) -> Table:
    """The table with nothing where a number is not known, as in verdict.json."""
    rows = (tuple(None if isinstance(x, float) and not math.isfinite(x) else x for x in row) for row in table.rows)
    return Table(table.head, tuple(rows))


def _operating(result: Result) -> Table:
    """The rows of a simulation, with shares in per cent."""
    table = from_records(result.operating)
    names = [str(name).replace("_", " ") for name in table.head]
    is_share = [name in (*MARKS, "noise") for name in names]
    rows = [
        tuple(cell(x, percent(1)) if share and isinstance(x, float) else x for x, share in zip(row, is_share, strict=True))
        for row in table.rows
    ]
    return Table(tuple(names), tuple(rows))


def _scalars(content: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a nested mapping with its dotted path; a list of values is one row, what is null or empty none."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _scalars(value, f"{path}.{name}" if path else str(name))
    elif isinstance(content, list | tuple):
        if any(isinstance(value, Mapping | list | tuple) for value in content):
            yield from _scalars(dict(enumerate(content)), path)
        elif content:
            is_long = len(content) > _MOST_LISTED
            shown = ", ".join(map(show, content[: 3 if is_long else None]))
            yield path, f"{len(content)}: {shown}, …" if is_long else shown
    elif content is not None:
        yield path, show(content)
