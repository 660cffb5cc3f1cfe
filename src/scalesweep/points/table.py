"""Tables from files of CSV (comma-separated, UTF-8), JSON lines and Parquet, with no regard to what the columns mean."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from scalesweep.errors import PointsError


def read_table(path: Path) -> dict[str, list[Any]]:
    """Column name -> values as they stand in the file, one for each row; text in CSV.

    Raises:
        PointsError: there is no such file, its extension is not known, or it is not what the extension says.
    """
    if path.is_dir():
        raise PointsError(f"{path}: this is a directory; give a file of points, or read a sweep with scalesweep.read_sweep.")
    if not path.is_file():
        raise PointsError(f"{path}: there is no such file.")
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise PointsError(f"{path}: the extension {suffix or '(none)'} is not known; give .csv, .jsonl or .parquet.")
    return _READERS[suffix](path)


def _read_csv(path: Path) -> dict[str, list[Any]]:
    try:
        lines = [line for line in csv.reader(io.StringIO(_text(path), newline="")) if line]
    except csv.Error as error:
        raise PointsError(f"{path}: this is not a CSV file ({error}).") from None
    if not lines:
        raise PointsError(f"{path}: the file is empty.")
    header = [name.strip() for name in lines[0]]
    doubled = [name for name in header if header.count(name) > 1]
    if doubled:
        raise PointsError(f"{path}: two columns are called {doubled[0]!r}; rename one.")
    for row, line in enumerate(lines[1:], start=1):
        if len(line) != len(header):
            raise PointsError(f"{path}: row {row} has {len(line)} values, but the header has {len(header)} columns.")
    return {name: [line[i] for line in lines[1:]] for i, name in enumerate(header)}


def _read_jsonl(path: Path) -> dict[str, list[Any]]:
    rows = []
    for row, line in enumerate((line for line in _text(path).splitlines() if line.strip()), start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise PointsError(f"{path}: row {row} is not JSON ({error}).") from None
        if not isinstance(value, dict):
            raise PointsError(f"{path}: row {row} is not a JSON object with named values.")
        rows.append(value)
    if not rows:
        raise PointsError(f"{path}: the file is empty.")
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    import pandas as pd
    import pyarrow

    if path.stat().st_size == 0:
        raise PointsError(f"{path}: the file is empty.")
    try:
        frame = pd.read_parquet(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise PointsError(f"{path}: this is not a readable Parquet file ({str(error).splitlines()[0]}).") from None
    return {str(name): frame[name].tolist() for name in frame.columns}


_READERS = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
}
SUFFIXES = tuple(_READERS)
"""Extensions of files that can be read."""


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise PointsError(f"{path}: this is not a text file in UTF-8.") from None
    except OSError as error:
        raise PointsError(f"{path}: the file cannot be read ({error.strerror}).") from None
    if "\0" in text:
        raise PointsError(f"{path}: this is not a text file (it contains NUL bytes).")
    return text
