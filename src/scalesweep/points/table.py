"""Tables from files, plain or packed, with no regard to what the columns mean."""

import gzip
import zlib
from pathlib import Path

from scalesweep.errors import PointsError
from scalesweep.points.formats import Table, read_csv, read_json, read_jsonl, read_parquet, read_tsv, read_xlsx

_READERS = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".xlsx": read_xlsx,
    ".parquet": read_parquet,
    ".pq": read_parquet,
}
_PACKINGS = (".gz", ".zst")
SUFFIXES = (*_READERS, *_PACKINGS)
"""Extensions of files that can be read."""


def read_table(path: Path) -> Table:
    """Column name -> values as they stand in the file, one for each row; text in CSV.

    Raises:
        PointsError: there is no such file, its extension is not known, or it is not what the extension says.
    """
    if path.is_dir():
        raise PointsError(f"{path}: this is a directory; give a file of points, or read a sweep with scalesweep.read_sweep.")
    if not path.is_file():
        raise PointsError(f"{path}: there is no such file.")
    packing = path.suffix.lower() if path.suffix.lower() in _PACKINGS else ""
    suffix = (path.with_suffix("") if packing else path).suffix.lower()
    if suffix not in _READERS:
        raise PointsError(
            f"{path}: the extension {suffix or '(none)'} is not known; give .csv, .tsv, .json, .jsonl, .xlsx or .parquet, each "
            "also .gz or .zst."
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PointsError(f"{path}: the file cannot be read ({error.strerror}).") from None
    content = _unpacked(content, packing, path)
    if not content:
        raise PointsError(f"{path}: the file is empty.")
    return _READERS[suffix](content, path)


def name_of(path: Path) -> str:
    """The file's name without the extensions of its format and packing."""
    bare = path.with_suffix("") if path.suffix.lower() in _PACKINGS else path
    return bare.stem


def _unpacked(content: bytes, packing: str, path: Path) -> bytes:
    try:
        if packing == ".gz":
            return gzip.decompress(content)
        if packing == ".zst":
            import pyarrow

            with pyarrow.CompressedInputStream(pyarrow.BufferReader(content), "zstd") as stream:
                return bytes(stream.read())
    except (OSError, EOFError, zlib.error) as error:
        raise PointsError(f"{path}: this is not a readable {packing} file ({error}).") from None
    return content
