"""A table as a value, with a writer for each place where it is read: a terminal, Markdown, HTML, and CSV."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from scalesweep.interval import Interval
from scalesweep.units import format_number, format_share

_PLAIN, _FAINT = Markup("<tr>{}</tr>"), Markup('<tr class="faint">{}</tr>')
Writer = Callable[[Any], str]
"""How a number is written for people."""


@dataclass(frozen=True)
class Cell:
    """A number of a table that is written in its own way."""

    value: float
    """At full precision; by it a column is sorted."""
    text: str
    """What people read."""
    path: str = ""
    """Where fit.json holds the value, dotted; empty where it does not."""


@dataclass(frozen=True)
class Label:
    """One of a few words, which the page shows in the colour of its kind."""

    text: str


Part = str | Cell | Label
Entry = Part | int | float | None | tuple[Part, ...]
"""What stands in one place: text, a number, nothing, or several parts in a row."""


@dataclass(frozen=True)
class Table:
    """Rows below a head, each as long as the head."""

    head: tuple[Entry, ...]
    rows: tuple[tuple[Entry, ...], ...]
    caption: str = ""
    kinds: tuple[str, ...] = ()
    """Of each column: `number`, `words` that may wrap, or `text`; found from the rows where empty."""
    faint: frozenset[int] = frozenset()
    """Rows about what the points do not support, which the page shows in grey."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The kind of each column."""
        return self.kinds or tuple(_kind([row[i] for row in self.rows]) for i in range(len(self.head)))


def from_records(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The table of named values; its head is the union of the names in order of appearance."""
    head = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(head, tuple(tuple(row.get(name) for name in head) for row in rows))


def cell(value: float | None, write: Writer = format_number, path: str = "", missing: str = "–") -> Part:
    """The number with how it is written; one that is not finite, which fit.json holds as null, is `missing`."""
    if value is None or not math.isfinite(value):
        return missing
    plain = int(value) if isinstance(value, int) else float(value)
    return Cell(plain, write(plain), path)


def interval_parts(found: Interval | None, path: str, write: Writer = format_number) -> tuple[Part, ...]:
    """Both ends in brackets, or a dash; an infinite end is written as such, one at a bound of the search as open."""
    if found is None:
        return ("–",)
    low = "open" if found.is_low_open else cell(found.low, write, f"{path}.low", "∞")
    return ("[", low, ", ", "open" if found.is_high_open else cell(found.high, write, f"{path}.high", "∞"), "]")


def percent(digits: int = 2, sign: str = "") -> Writer:
    """Writer of shares."""
    return lambda value: format_share(value, digits, sign)


def show(entry: Any) -> str:
    """An entry for people: numbers with four digits, or as whole numbers where those are longer."""
    if entry is None:
        return ""
    if isinstance(entry, tuple):
        return "".join(map(show, entry))
    if isinstance(entry, Cell | Label):
        return entry.text
    if isinstance(entry, float):
        return f"{entry:.0f}" if 1e4 <= abs(entry) < 1e9 else format_number(entry)
    return str(entry)


def write_plain(table: Table, indent: str = "  ") -> str:
    """Aligned columns below the caption, numbers to the right."""
    lines = [[show(entry) for entry in line] for line in (table.head, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligns = [str.rjust if kind == "number" else str.ljust for kind in table.columns]
    texts = ["  ".join(a(text, w) for a, text, w in zip(aligns, line, widths, strict=True)) for line in lines]
    return "\n".join([*([table.caption] if table.caption else []), *(f"{indent}{text}".rstrip() for text in texts)])


def write_markdown(table: Table) -> str:
    """A table of Markdown, in which nothing is interpreted; the caption stands above it."""
    if not table.head:
        return ""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    rows = ["| " + " | ".join(plain_markdown(show(entry)) for entry in line) + " |" for line in lines]
    return "\n".join([*([plain_markdown(table.caption), ""] if table.caption else []), *rows])


def plain_markdown(text: str) -> str:
    """The text on one line, with the characters that Markdown or HTML would interpret escaped."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*[]<>|" else letter for letter in text)
    return " ".join(escaped.split())


def write_html(table: Table, leading: int | None = None) -> Markup:
    """A table of HTML that scrolls in its own box; the caption is left to the page, which has a heading.

    Args:
        table: what to write.
        leading: where given, the head has buttons to sort by, and the columns after these are marked as `more`.
    """
    more = len(table.head) if leading is None else leading
    kinds = [kind + " more" * (i >= more) for i, kind in enumerate(table.columns)]
    names = [_html(entry) for entry in table.head]
    if leading is not None:
        names = [Markup('<button type="button">{}</button>').format(name) for name in names]
    head = _join(Markup('<th class="{}">{}</th>').format(kind, name) for kind, name in zip(kinds, names, strict=True))
    # On a phone each row is a card, whose entries carry the name of their column; one that is sorted by its head stays a table.
    labels = [show(entry) if leading is None else "" for entry in table.head]
    rows = [(_FAINT if i in table.faint else _PLAIN, row) for i, row in enumerate(table.rows)]
    body = _join(start.format(_join(map(_td, row, kinds, labels))) for start, row in rows)
    start = Markup('<table class="cards">' if leading is None else '<table class="sortable">')
    frame = Markup('<div class="scroll">{}<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>')
    return frame.format(start, head, body)


def data_html(value: Any, text: str, path: str) -> Markup:
    """A number of fit.json, rounded for people, with the full value and its path beside it."""
    mantissa, _, exponent = text.partition("e")
    power = Markup("·10<sup>{}</sup>").format(int(exponent)) if exponent else ""
    return Markup('<data value="{}" data-path="{}">{}{}</data>').format(repr(value), path, mantissa, power)


def write_csv(table: Table) -> str:
    """Numbers at full precision, nothing as nothing; without the caption, which no program reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_full(entry) for entry in line] for line in (table.head, *table.rows))
    return text.getvalue()


def _join(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)


def _html(entry: Entry) -> Markup:
    if isinstance(entry, tuple):
        return _join(map(_html, entry))
    if isinstance(entry, Cell) and entry.path:
        return data_html(entry.value, entry.text, entry.path)
    if isinstance(entry, Label):
        return Markup('<span class="status {}">{}</span>').format(entry.text.replace(" ", "-"), entry.text)
    return Markup("<br>").join(show(entry).split("\n"))


def _td(entry: Entry, kind: str, label: str) -> Markup:
    """A number that fit.json does not hold carries its full value, by which it is sorted."""
    number = entry.value if isinstance(entry, Cell) and not entry.path else entry
    is_number = kind.startswith("number") and isinstance(number, (int, float))
    full = Markup(' data-v="{}"').format(repr(number)) if is_number else ""
    name = Markup(' data-label="{}"').format(label) if label else ""
    return Markup('<td class="{}"{}{}>{}</td>').format(kind, full, name, _html(entry))


def _full(entry: Entry) -> str:
    if isinstance(entry, tuple):
        return "".join(map(_full, entry))
    value = entry.value if isinstance(entry, Cell) else entry.text if isinstance(entry, Label) else entry
    return repr(value) if isinstance(value, float) else "" if value is None else str(value)


def _kind(entries: Sequence[Entry]) -> str:
    """Number, words (long text that may wrap) or text."""
    known = [entry for entry in entries if entry is not None]
    if known and all(isinstance(entry, (int, float, Cell)) and not isinstance(entry, bool) for entry in known):
        return "number"
    return "words" if any(len(str(entry)) > 40 and " " in str(entry) for entry in known) else "text"
