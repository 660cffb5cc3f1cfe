"""Pieces of the HTML page: numbers that can be traced to fit.json, headings, tables that scroll in their own box."""

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from scalesweep.report.pages.cells import Shown
from scalesweep.report.pages.markdown import columns_of, show
from scalesweep.units import format_number

Writer = Callable[[Any], str]
"""How a number is written for people."""


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
    mantissa, _, exponent = write(value).partition("e")
    text = f"{mantissa}·10<sup>{int(exponent)}</sup>" if exponent else mantissa
    return f'<data value="{value!r}" data-path="{escape(path)}">{text}</data>'


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


def percent(digits: int = 2, sign: str = "") -> Writer:
    """Writer of shares."""
    return lambda value: f"{value:{sign}.{digits}%}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str] = ()) -> str:
    """A table of ready markup; columns are `text`, `number` or `words` that may wrap, by default text and then numbers."""
    kinds = kinds or ["text", *["number"] * (len(head) - 1)]

    def line(tag: str, cells: Sequence[str]) -> str:
        marked = (f'<{tag} class="{kind}">{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))
        return f"<tr>{''.join(marked)}</tr>"

    body = "".join(line("td", row) for row in rows)
    return f'<div class="scroll"><table>{line("th", head)}{body}</table></div>'


def paragraphs(sentences: Sequence[str], kind: str = "") -> str:
    """Each sentence as its own paragraph, escaped."""
    start = f'<p class="{kind}">' if kind else "<p>"
    return "\n".join(f"{start}{escape(sentence)}</p>" for sentence in sentences)


def section(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A heading and a table that scrolls inside its own box; nothing where there are no rows."""
    if not rows:
        return ""
    kinds = _kinds(rows)
    head = "".join(f'<th class="{kind}">{escape(name)}</th>' for name, kind in kinds.items())
    return f'<section>{heading(title)}\n<div class="scroll"><table>{_body(head, rows, kinds)}</table></div></section>'


def sortable_section(title: str, rows: Sequence[Mapping[str, Any]], leading: int) -> str:
    """As `section`, with headings to click, a field that filters rows, and a switch for all but the leading columns."""
    if not rows:
        return ""
    kinds = {name: kind + " more" * (i >= leading) for i, (name, kind) in enumerate(_kinds(rows).items())}
    buttons = (f'<th class="{kind}"><button type="button">{escape(name)}</button></th>' for name, kind in kinds.items())
    switch = f'<label><input type="checkbox"> all {len(kinds)} columns</label>' if len(kinds) > leading else ""
    return (
        f'<section>{heading(title)}\n<p class="filter"><input type="search" placeholder="filter rows" '
        f'aria-label="filter {escape(title)}"><output>{len(rows)} rows</output>{switch}</p>'
        f'<div class="scroll"><table class="sortable">{_body("".join(buttons), rows, kinds)}</table></div></section>'
    )


def heading(title: str) -> str:
    """A heading of the second level that can be linked to."""
    return f'<h2 id="{anchor(title)}">{escape(title)}</h2>'


def anchor(title: str) -> str:
    """The id of a heading."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _kinds(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """CSS class of each column."""
    return {name: _kind([row.get(name) for row in rows]) for name in columns_of(rows)}


def _body(head: str, rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> str:
    lines = "".join(f"<tr>{''.join(_cell(row.get(name), kind) for name, kind in kinds.items())}</tr>" for row in rows)
    return f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody>"


def _cell(value: Any, kind: str) -> str:
    """A number carries its full value, by which it is sorted."""
    number = value.value if isinstance(value, Shown) else value
    full = f' data-v="{number!r}"' if kind.startswith("number") and value is not None else ""
    return f'<td class="{kind}"{full}>{escape(show(value))}</td>'


def _kind(values: Sequence[Any]) -> str:
    """CSS class of a column: number, words (long text that may wrap) or text."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, (int, float, Shown)) and not isinstance(value, bool) for value in known):
        return "number"
    return "words" if any(len(str(value)) > 40 and " " in str(value) for value in known) else "text"
