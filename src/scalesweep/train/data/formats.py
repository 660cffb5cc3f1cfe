"""Local files of text: .txt, .md and such are documents, .jsonl, .json, .csv, .tsv and .parquet rows; most may be packed.

Rows are parsed here and not by a library that infers types: a text that looks like a date stays the text that it is, and a row
that cannot be read is known by its line.
"""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scalesweep.errors import DataError
from scalesweep.settings.data import PACKINGS, TEXTS
from scalesweep.train.data.hub import first_line
from scalesweep.train.data.reading import Reading, Row, Unreadable, text_column

Stream = io.BufferedReader | gzip.GzipFile
FORMATS = (*TEXTS, ".jsonl", ".json", ".csv", ".tsv", ".parquet")
_MARKS = (  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_LOOKED_AT = 4096
"""Bytes by which UTF-16 without a byte order mark is noticed."""
_NUL_SHARE = 0.3
"""Share of NULs among every second byte that only UTF-16 has; a judgement: Latin text in it has nearly 1, UTF-8 text 0."""
_FIELD_CHARACTERS = 2**31 - 1
"""Longest cell of a .csv; the library's own limit of 131,072 is below many documents."""


def unpacked(file: Path) -> Path:
    """The file's name without the extension of a packing."""
    return file.with_suffix("") if file.suffix in PACKINGS else file


def format_of(file: Path) -> str:
    """The extension that says the format."""
    return unpacked(file).suffix


def is_text(file: Path) -> bool:
    """Whether the file is text as it stands, without rows."""
    return format_of(file) in TEXTS


def is_known(file: Path) -> bool:
    """Whether the file's extension is one that `read_file` reads."""
    return file.suffix == ".parquet" or format_of(file) in FORMATS[:-1]


def read_file(
    file: Path, reading: Reading, *, column: str = "text", separator: str | None = None, max_skipped: float = 0.0
) -> Iterator[bytes]:
    """The documents of a file as UTF-8.

    Args:
        file: the file; its extension says the format.
        reading: takes the counts of what is passed over.
        column: of formats with rows: what holds the text, a path where it is nested.
        separator: of text: what stands between documents; None makes the whole file one document.
        max_skipped: share of rows that may be passed over because they cannot be read.

    Raises:
        DataError: the file cannot be read, or does not hold what its extension says.
    """
    name = format_of(file)
    with _plain_errors(file, name):
        if file.stat().st_size == 0:
            return
        if name == ".parquet":
            yield from text_column(_parquet_rows(file, column), column, str(file), reading, max_skipped, is_uniform=True)
            return
        with _open(file) as stream:
            encoding = _encoding(file, stream, reading)
            if name in TEXTS:
                yield from _texts(file, stream, encoding, separator, reading, max_skipped)
            else:
                rows = {".jsonl": _jsonl_rows, ".json": _json_rows, ".csv": _csv_rows, ".tsv": _csv_rows}[name]
                uniform = name in (".csv", ".tsv")
                yield from text_column(rows(file, stream, encoding), column, str(file), reading, max_skipped, uniform)


def _texts(
    file: Path, stream: Stream, encoding: str, separator: str | None, reading: Reading, max_skipped: float
) -> Iterator[bytes]:
    """The file as one document, or what stands between separators without the line breaks around them."""
    reading.rows += 1
    try:
        text = stream.read().decode(encoding)
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
        reading.pass_over(Unreadable(f"data.paths: {file}", f"it is not {name} text (byte {error.start})"), max_skipped)
        return
    documents = [text] if separator is None else [part.strip("\r\n") for part in text.split(separator)]
    yield from (document.encode() for document in documents if document)


def _jsonl_rows(file: Path, stream: Stream, encoding: str) -> Iterator[Row | Unreadable]:
    for number, line in enumerate(_lines(stream, encoding), start=1):
        if line.strip():
            try:
                yield _record(json.loads(line.decode()), f"line {number} of {file}")
            except (ValueError, RecursionError) as error:
                yield Unreadable(f"line {number} of {file}", _json_fault(error))


def _json_rows(file: Path, stream: Stream, encoding: str) -> Iterator[Row | Unreadable]:
    try:
        records = json.loads(stream.read().decode(encoding))
    except (ValueError, RecursionError) as error:
        raise DataError(f"data.paths: {file} could not be read as json: {_json_fault(error)}.") from None
    if not isinstance(records, list):
        raise DataError(f"data.paths: {file} holds {type(records).__name__} where a list of records is needed.")
    for number, record in enumerate(records, start=1):
        yield _record(record, f"record {number} of {file}")


def _json_fault(error: Exception) -> str:
    """Why a text is no JSON; the library counts lines from the start of what it was given, which may be a line itself."""
    if isinstance(error, json.JSONDecodeError):
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        return f"it is not JSON ({error.msg.removesuffix(' at')} at {place})"
    return f"it is not JSON ({error})"


def _record(value: Any, where: str) -> Row | Unreadable:
    if isinstance(value, dict):
        return value
    return Unreadable(where, f"it is {type(value).__name__} where a record with names is needed")


def _csv_rows(file: Path, stream: Stream, encoding: str) -> Iterator[Row | Unreadable]:
    """Cells by the header's names. Bytes that are no text come as half surrogates (PEP 383), which tell the row with them."""
    lines = (line.decode(errors="surrogateescape") for line in _lines(stream, encoding))
    reader = csv.reader(lines, delimiter="\t" if format_of(file) == ".tsv" else ",", strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        where = f"line {line} of {file}"
        limit = csv.field_size_limit(_FIELD_CHARACTERS)  # of the whole process, and so only while a row is read
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num > line:  # what an open quote has swallowed is more than a row
                raise DataError(f"{where} opens a quote that is not closed as it should be ({error}): mend it.") from None
            fault = str(error)
        else:
            fault = ""
        finally:
            csv.field_size_limit(limit)
        if fault:
            yield Unreadable(where, fault)
            continue
        if not cells:
            continue
        if header is None:
            header = cells
        elif len(cells) != len(header):
            yield Unreadable(where, f"it has {len(cells)} cells where the header has {len(header)}")
        elif any("\udc80" <= character <= "\udcff" for cell in cells if not cell.isascii() for character in cell):
            yield Unreadable(where, "it is not UTF-8 text")
        else:
            yield dict(zip(header, cells, strict=True))


def _parquet_rows(file: Path, column: str) -> Iterator[Row]:
    """Rows with the column alone, or with the struct that holds it; of a shard without rows none, whatever its columns."""
    from pyarrow import parquet

    with parquet.ParquetFile(file) as table:
        names = table.schema_arrow.names
        wanted = column if column in names else column.split(".")[0]
        for batch in table.iter_batches(batch_size=1024, columns=[wanted] if wanted in names else None):
            yield from batch.to_pylist()


def _open(file: Path) -> Stream:
    if file.suffix == ".gz":
        return gzip.open(file, "rb")
    if file.suffix == ".zst":
        import pyarrow

        return io.BufferedReader(pyarrow.input_stream(str(file), compression="zstd"))
    return file.open("rb")


def _lines(stream: Stream, encoding: str) -> Iterator[bytes]:
    """Lines as UTF-8; where the file is, each as it stands, so that one that is no text spoils no other."""
    if encoding == "utf-8-sig":
        stream.read(len(codecs.BOM_UTF8))
    return iter(stream if encoding.startswith("utf-8") else io.BytesIO(stream.read().decode(encoding).encode()))


def _encoding(file: Path, stream: Stream, reading: Reading) -> str:
    """By the byte order mark; UTF-8 without one."""
    head = stream.peek(_LOOKED_AT)[:_LOOKED_AT]
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            reading.converted_files += 1
            return encoding
    if max(head[::2].count(0), head[1::2].count(0)) > _NUL_SHARE * len(head) / 2:
        raise DataError(
            f"data.paths: {file} looks like UTF-16 without a byte order mark (every second byte is 0): convert it to UTF-8, "
            "for example by iconv -f UTF-16LE -t UTF-8."
        )
    return "utf-8"


@contextmanager
def _plain_errors(file: Path, name: str) -> Iterator[None]:
    """Turn what the file system and the libraries say of a file into one sentence with the remedy."""
    try:
        yield
    except (OSError, EOFError, zlib.error, UnicodeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise DataError(
                f"data.paths: {file} could not be read ({error.strerror}): make it readable, or leave it out."
            ) from None
        raise DataError(f"data.paths: {file} could not be read as {name.removeprefix('.')}: {first_line(error)}.") from None
