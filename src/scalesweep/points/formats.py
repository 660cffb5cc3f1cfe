"""From the content of a file to columns, one function a format; nothing is known here of what the columns mean."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalesweep.errors import PointsError
from scalesweep.packages import pip_line
from scalesweep.points.values import is_blank

if TYPE_CHECKING:
    import pandas as pd

Table = dict[str, list[Any]]
"""Column name -> cells, one for each row."""
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
_ENCODINGS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_UNNAMED = re.compile(r"(unnamed: ?\d+)?(_level_\d+)?", re.IGNORECASE)


def read_csv(content: bytes, path: Path) -> Table:
    """Text with one of four separators: the one by which every row has as many cells as the header."""
    text = _text(content, path)
    header = next((line for line in text.splitlines() if line.strip()), "")
    found = {mark: lines for mark in _SEPARATORS if mark in header and len((lines := _lines(text, mark, path))[0]) > 1}
    even = [mark for mark, lines in found.items() if all(len(line) == len(lines[0]) for line in lines)]
    if len(even) > 1:
        marks = " or ".join(_SEPARATORS[mark] for mark in even)
        raise PointsError(f"{path}: the cells may be separated by {marks}; quote the header's names that hold one of them.")
    widest = max(found, key=lambda mark: len(found[mark][0]), default=",")
    mark = even[0] if even else widest
    return _of_lines(found.get(mark) or _lines(text, mark, path), path)


def read_tsv(content: bytes, path: Path) -> Table:
    """Text separated by tabs."""
    return _of_lines(_lines(_text(content, path), "\t", path), path)


def read_jsonl(content: bytes, path: Path) -> Table:
    """A JSON object a line."""
    records = []
    for row, line in enumerate((line for line in _text(content, path).splitlines() if line.strip()), start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise PointsError(f"{path}: row {row} is not JSON ({error}).") from None
        if not isinstance(value, dict):
            raise PointsError(f"{path}: row {row} is not a JSON object with named values.")
        records.append(value)
    return of_records(records, str(path))


def read_json(content: bytes, path: Path) -> Table:
    """A list of records, columns by name (pandas' `columns` and `split` too), records by name, or an object around one list."""
    try:
        value = json.loads(_text(content, path) or "null")
    except ValueError as error:
        raise PointsError(f"{path}: this is not JSON ({error}); one object a line goes into a .jsonl file.") from None
    return _of_json(value, path)


def read_xlsx(content: bytes, path: Path) -> Table:
    """The first sheet of a workbook that holds anything."""
    import pandas as pd

    try:
        sheets = pd.read_excel(io.BytesIO(content), sheet_name=None, header=None, dtype=object, engine="openpyxl")
    except ImportError:
        raise PointsError(
            f"{path}: reading .xlsx needs openpyxl; install it with: {pip_line('openpyxl')}, or save the sheet as .csv."
        ) from None
    except Exception as error:  # openpyxl and zipfile raise many kinds for a damaged file
        raise PointsError(f"{path}: this is not a readable workbook ({str(error).splitlines()[0]}).") from None
    filled = {name: sheet for name, sheet in sheets.items() if not sheet.isna().all(axis=None)}
    if len(filled) > 1:
        names = ", ".join(map(repr, filled))
        raise PointsError(
            f"{path}: {len(filled)} sheets hold something ({names}); keep one, or save the one to be read as .csv."
        )
    lines = [[None if is_blank(cell) else cell for cell in line] for sheet in filled.values() for line in sheet.values.tolist()]
    return _of_lines([line for line in lines if any(cell is not None for cell in line)], path)


def read_parquet(content: bytes, path: Path) -> Table:
    """Apache Parquet."""
    import pandas as pd
    import pyarrow

    try:
        frame = pd.read_parquet(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise PointsError(f"{path}: this is not a readable Parquet file ({str(error).splitlines()[0]}).") from None
    return of_frame(frame, str(path))


def of_frame(frame: "pd.DataFrame", source: str) -> Table:
    """The columns of a data frame, and those levels of its index that have names."""
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    frame = frame.reset_index(level=named) if named else frame
    names = [".".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in frame.columns]
    return of_columns(names, [frame.iloc[:, i].tolist() for i in range(len(names))], source)


def of_records(records: Sequence[Mapping[Any, Any]], source: str) -> Table:
    """Rows as mappings; a mapping in a cell gives columns of its own, with dotted names."""
    flat = [_flat(record) for record in records]
    names = list(dict.fromkeys(name for record in flat for name in record))
    return of_columns(names, [[record.get(name) for record in flat] for name in names], source)


def of_columns(names: Sequence[str], columns: Sequence[Sequence[Any]], source: str) -> Table:
    """Columns by name, without one that numbers the rows and has no name, as pandas writes it, and without a column's copy.

    Raises:
        PointsError: two columns of one name differ, or columns are not of one length.
    """
    table: Table = {}
    for name, column in zip((name.strip() for name in names), columns, strict=True):
        cells = list(column)
        if table and len(cells) != len(next(iter(table.values()))):
            raise PointsError(
                f"{source}: column {name!r} has {len(cells)} values, column {next(iter(table))!r} another number."
            )
        if _UNNAMED.fullmatch(name) and _numbers_rows(cells):
            continue
        if name in table and [str(cell) for cell in table[name]] != [str(cell) for cell in cells]:
            raise PointsError(f"{source}: two columns are called {name!r} and differ; rename one.")
        table[name] = cells
    return table


def _numbers_rows(cells: Sequence[Any]) -> bool:
    """Whether a column is empty, or counts the rows from any start."""
    if all(is_blank(cell) for cell in cells):
        return True
    texts = [str(cell).strip().removesuffix(".0") for cell in cells]
    return texts[0].isdigit() and texts == [str(int(texts[0]) + i) for i in range(len(texts))]


def _lines(text: str, mark: str, path: Path) -> list[list[str]]:
    try:
        lines = [
            line for line in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if any(cell.strip() for cell in line)
        ]
    except csv.Error as error:
        raise PointsError(f"{path}: this is not a CSV file ({error}).") from None
    if not lines:
        raise PointsError(f"{path}: the file is empty.")
    return lines


def _of_lines(lines: Sequence[Sequence[Any]], path: Path) -> Table:
    if not lines:
        raise PointsError(f"{path}: the file is empty.")
    header = ["" if name is None else str(name) for name in lines[0]]
    for row, line in enumerate(lines[1:], start=1):
        if len(line) != len(header):
            raise PointsError(f"{path}: row {row} has {len(line)} values, but the header has {len(header)} columns.")
    return of_columns(header, [[line[i] for line in lines[1:]] for i in range(len(header))], str(path))


def _of_json(value: Any, path: Path) -> Table:
    source = str(path)
    if isinstance(value, list):
        if not value:
            raise PointsError(f"{path}: the file is empty.")
        if not all(isinstance(record, dict) for record in value):
            raise PointsError(f"{path}: the list holds something else than JSON objects with named values.")
        return of_records(value, source)
    if not isinstance(value, dict) or not value:
        raise PointsError(f"{path}: there is no table in this JSON; give a list of records, or columns by name.")
    if {"columns", "data"} <= value.keys():
        rows, names = value["data"], [str(name) for name in value["columns"]]
        return _of_lines([names, *rows], path)
    if all(isinstance(column, list) for column in value.values()) and (
        len(value) > 1 or not all(isinstance(cell, dict) for column in value.values() for cell in column)
    ):
        return of_columns([str(name) for name in value], list(value.values()), source)
    lists = [inner for inner in value.values() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
    if len(lists) == 1:
        return _of_json(lists[0], path)
    if all(isinstance(inner, dict) for inner in value.values()):
        return _of_json_objects(value, source)
    raise PointsError(f"{path}: the JSON holds {len(lists)} lists of records; keep one of them.")


def _of_json_objects(value: Mapping[str, Mapping[str, Any]], source: str) -> Table:
    """Columns as {name: {row: cell}}, as pandas writes them, or records as {name: {column: cell}}."""
    rows = list(dict.fromkeys(row for column in value.values() for row in column))
    if all(row.isdigit() for row in rows):
        return of_columns(list(value), [[column.get(row) for row in rows] for column in value.values()], source)
    return of_records([{"name": name, **record} for name, record in value.items()], source)


def _flat(record: Mapping[Any, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, Mapping) else {str(name): value}
    return flat


def _text(content: bytes, path: Path) -> str:
    encoding = next((name for mark, name in _ENCODINGS if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise PointsError(
            f"{path}: this is not a text file in UTF-8, nor in UTF-16 with a byte order mark; save it as UTF-8."
        ) from None
    if "\0" in text:
        raise PointsError(f"{path}: this is not a text file (it contains NUL bytes).")
    return text
