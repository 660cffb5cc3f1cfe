"""Rows to documents, and the account of it: what of a text was left out, replaced or cut, in numbers."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scalesweep.errors import DataError

Row = Mapping[str, Any]
_MISSING = object()
"""Where a row lacks the column."""
_NAMES_SHOWN = 20
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Unreadable:
    """Stands in place of a row that cannot be read."""

    where: str
    """File and line or row."""
    reason: str

    def __str__(self) -> str:
        return f"{self.where} could not be read: {self.reason}"


@dataclass
class Reading:
    """What one reading of a text found. It is filled while the source's generator runs, so it is no frozen value."""

    rows: int = 0
    """Rows, or whole files of plain text, that were looked at; reading ends at data.max_bytes."""
    without_text: int = 0
    """Rows that lack the column or have nothing in it."""
    unreadable: int = 0
    """Rows that were passed over because they cannot be read."""
    first_unreadable: str = ""
    """Where and why, for the first of them."""
    replaced_characters: int = 0
    """Half surrogates, which JSON can spell and UTF-8 cannot, replaced by U+FFFD."""
    converted_files: int = 0
    """Files that begin with a byte order mark, which is no text; those in UTF-16 or UTF-32 were converted."""
    duplicates: int = 0
    """Exact copies of an earlier document, left out."""
    is_cut: bool = False
    """Whether the last document was cut at data.max_bytes."""
    documents: int = 0
    """Distinct documents that were kept."""
    characters: int = 0
    """Of these documents."""

    def pass_over(self, row: Unreadable, max_skipped: float) -> None:
        """Count a row that cannot be read.

        Raises:
            DataError: none may be passed over.
        """
        if max_skipped == 0:
            raise DataError(f"{row}; mend it, or let data.max_skipped=0.01 pass over up to that share of the rows.")
        self.unreadable += 1
        self.first_unreadable = self.first_unreadable or str(row)

    def check(self, max_skipped: float) -> None:
        """Raise DataError where a larger share of the rows than `max_skipped` was passed over; only the whole tells."""
        if self.unreadable > max_skipped * self.rows:
            raise DataError(
                f"{self.unreadable:,} of {self.rows:,} rows could not be read, more than data.max_skipped = {max_skipped:g}: "
                f"mend them or raise it. The first is {self.first_unreadable}."
            )

    def losses(self) -> str:
        """What was left out, replaced or cut, as clauses for a sentence; empty where nothing was."""
        counted = (
            (self.without_text, "row", "without text left out"),
            (self.unreadable, "row", "passed over that could not be read"),
            (self.duplicates, "document", "left out as exact copies"),
            (self.replaced_characters, "half surrogate", "replaced"),
            (self.converted_files, "file", "freed of a byte order mark, UTF-16 converted"),
        )
        clauses = [f"{number:,} {noun}{'s' if number > 1 else ''} {what}" for number, noun, what in counted if number]
        return "; ".join([*clauses, *(["the last document cut at data.max_bytes"] if self.is_cut else [])])


def reading_of(values: Mapping[str, Any]) -> Reading:
    """A reading as JSON stated it; what it does not know is left out."""
    return Reading(**{field.name: values[field.name] for field in dataclasses.fields(Reading) if field.name in values})


def text_column(
    rows: Iterable[Row | Unreadable],
    column: str,
    where: str,
    reading: Reading,
    max_skipped: float = 0.0,
    is_uniform: bool = False,
) -> Iterator[bytes]:
    """The strings of `column` as UTF-8; what is passed over is counted in `reading`.

    Args:
        rows: mappings, or what stands for rows that could not be read.
        column: a name, or a path into nested mappings: doc.text.
        where: the file or data set, for messages.
        reading: takes the counts.
        max_skipped: share of rows that may be passed over because they cannot be read.
        is_uniform: whether all rows have the same columns, so that the first one tells whether there is such a column.

    Raises:
        DataError: no row has the column, or one cannot be read and none may be passed over.
    """
    lacking: Row | None = None
    is_known = False
    for number, row in enumerate(rows, start=1):
        reading.rows += 1
        if isinstance(row, Unreadable):
            reading.pass_over(row, max_skipped)
            continue
        value = _field(row, column)
        is_known = is_known or column in row or (value is not None and value is not _MISSING)
        lacking = row if lacking is None and value is _MISSING else lacking
        if is_uniform and lacking is not None and not is_known:
            raise DataError(_no_such_column(lacking, column, where))
        if value is _MISSING or value is None or value == "":
            reading.without_text += 1
        elif isinstance(value, str):
            yield _utf8(value, reading)
        else:
            reason = f"data.column={column!r} holds {type(value).__name__} where text is needed"
            reading.pass_over(Unreadable(f"row {number} of {where}", reason), max_skipped)
    if lacking is not None and not is_known:
        raise DataError(_no_such_column(lacking, column, where))


def _field(row: Row, column: str) -> Any:
    """The value of a column; None also where what should hold it is null."""
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _no_such_column(row: Row, column: str, where: str) -> str:
    names = list(_paths(row))
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"data.column={column!r} is not a column of {where}: it has {', '.join(sorted(names)[:_NAMES_SHOWN])}{more}."


def _paths(row: Row) -> Iterator[str]:
    """Names of columns, nested ones as paths: doc.text."""
    for name, value in row.items():
        yield from (f"{name}.{below}" for below in _paths(value)) if isinstance(value, Mapping) and value else [str(name)]


def _utf8(text: str, reading: Reading) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        mended, replaced = _HALF_SURROGATE.subn("\ufffd", text)
        reading.replaced_characters += replaced
        return mended.encode()
