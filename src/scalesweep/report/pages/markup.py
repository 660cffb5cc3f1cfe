"""Pieces of the HTML page: numbers that can be traced to fit.json, headings, sections."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from scalesweep.report.tables import Writer, data_html, from_records, write_html
from scalesweep.units import format_number


def at_path(content: Any, path: str) -> Any:
    """The value at a dotted path; numbers in it are places in a list."""
    for key in path.split("."):
        content = content[int(key)] if isinstance(content, list | tuple) else content[key]
    return content


def number(content: Mapping[str, Any], path: str, write: Writer = format_number, missing: str = "–") -> str:
    """The number at a path of fit.json, rounded for people, with the full value beside it; null is `missing`."""
    value = at_path(content, path)
    if value is None:
        return missing
    return data_html(value, write(value), path)


def interval(content: Mapping[str, Any], path: str, write: Writer = format_number) -> str:
    """The interval of the estimate at a path, or a dash where it has none; one end that is null is infinite, one that
    is a bound of the search is open.
    """
    ends = at_path(content, path)
    if ends is None or (ends["low"] is None and ends["high"] is None):
        return "–"
    low, high = (
        "open" if ends.get(f"is_{end}_open") else number(content, f"{path}.{end}", write, "∞") for end in ("low", "high")
    )
    return f"[{low}, {high}]"


def paragraphs(sentences: Sequence[str], kind: str = "") -> str:
    """Each sentence as its own paragraph, escaped."""
    start = f'<p class="{kind}">' if kind else "<p>"
    return "\n".join(f"{start}{escape(sentence)}</p>" for sentence in sentences)


def section(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A heading and a table; nothing where there are no rows."""
    return f"<section>{heading(title)}\n{write_html(from_records(rows))}</section>" if rows else ""


def sortable_section(title: str, rows: Sequence[Mapping[str, Any]], leading: int) -> str:
    """As `section`, with headings to click, a field that filters rows, and a switch for all but the leading columns."""
    if not rows:
        return ""
    table = from_records(rows)
    num = len(table.head)
    switch = f'<label><input type="checkbox"> all {num} columns</label>' if num > leading else ""
    return (
        f'<section>{heading(title)}\n<p class="filter"><input type="search" placeholder="filter rows" '
        f'aria-label="filter {escape(title)}"><output>{len(rows)} rows</output>{switch}</p>'
        f"{write_html(table, leading)}</section>"
    )


def heading(title: str) -> str:
    """A heading of the second level that can be linked to."""
    return f'<h2 id="{anchor(title)}">{escape(title)}</h2>'


def anchor(title: str) -> str:
    """The id of a heading."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
