"""Values that were computed before, kept in the user's cache by a hash of all that they were computed from.

The hash is of the given parts, of this package's code and of the libraries that it computes with, so that a changed point,
setting or program finds nothing and computes anew, as does whoever removed the cache: nothing is ever lost with it. A file is a
line of JSON with a checksum, and the bytes of the arrays behind it. It names frozen dataclasses and enumerations of this
package alone; reading it builds such values and runs nothing. What cannot be written so, or read back, is computed anew.
"""

import contextlib
import dataclasses
import enum
import functools
import hashlib
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from scalesweep.errors import DataError
from scalesweep.files import cache_home, digest, sibling

T = TypeVar("T")
MOST_BYTES = 256 * 2**20
"""Of all kept values together; what was not used for the longest time goes first. Judgement: some hundred analyses."""
_LIBRARIES = ("numpy", "scipy", "pandas", "matplotlib")
_CLASS = re.compile(r"scalesweep(?:\.\w+)+:\w+(?:\.\w+)*")
_PLAIN = "biuf"
"""Kinds of arrays that are kept as their bytes."""


class Unkept(Exception):
    """A value that has no form in a file."""


def recall(kind: str, parts: Mapping[str, Any], make: Callable[[], T], named: Mapping[str, Any] | None = None) -> T:
    """The value of `make`, from an earlier call by equal parts where one is kept.

    Args:
        kind: what it is, in a word; the beginning of the file's name.
        parts: all that the value depends on beside the program itself; where the value holds one, its file only names it.
        make: computes it; what it raises is passed on, and nothing is kept.
        named: objects that parts and value may hold and that files call by these names, such as functions.
    """
    if (path := _place(kind, parts, named)) is None:
        return make()
    names = {**(named or {}), **parts}
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError, ImportError):
        value: T = decode(path.read_bytes(), names)
        with contextlib.suppress(OSError):
            os.utime(path)
        return value
    value = make()
    with contextlib.suppress(OSError, Unkept):
        content = encode(value, names)
        path.parent.mkdir(parents=True, exist_ok=True)
        with sibling(path, content) as temporary:
            temporary.replace(path)
        _prune(path.parent)
    return value


def is_kept(kind: str, parts: Mapping[str, Any]) -> bool:
    """Whether `recall` would most likely find a value, without reading it."""
    path = _place(kind, parts)
    return path is not None and path.is_file()


def _place(kind: str, parts: Mapping[str, Any], named: Mapping[str, Any] | None = None) -> Path | None:
    """The file of a value; None for parts without a form in a file, or where there is no place of this user's."""
    try:
        return cache_home() / "results" / f"{kind}-{fingerprint(dict(parts), named)}"
    except (Unkept, DataError):
        return None


def fingerprint(parts: Any, named: Mapping[str, Any] | None = None) -> str:
    """A hash of the parts, of this package's code and of the libraries that it computes with, as hex digits."""
    return digest(program().encode() + encode(parts, named))


@functools.cache
def program() -> str:
    """A hash of every module of this package, of Python and of the libraries that decide numbers and pictures."""
    package = Path(__file__).parent
    found = hashlib.sha256(sys.version.encode())
    for path in sorted(path for suffix in ("py", "html", "css", "js") for path in package.rglob(f"*.{suffix}")):
        found.update(f"{path.relative_to(package)}\n".encode())
        found.update(path.read_bytes())
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found.update(f"{name} {version(name)}\n".encode())
    return found.hexdigest()


def _prune(directory: Path) -> None:
    """Remove what was not used for the longest time, until the rest has room."""
    total = 0
    for path, found in sorted(((p, p.stat()) for p in directory.iterdir()), key=lambda pair: -pair[1].st_mtime):
        total += found.st_size
        if total > MOST_BYTES:
            path.unlink(missing_ok=True)


class _Writer:
    """Objects as rows of a table, each once, so that what was one object is one again; arrays as bytes behind it."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self.rows: list[Any] = []
        self.bytes = bytearray()
        self._seen: dict[int, tuple[int, Any]] = {}
        self._named = {id(value): name for name, value in named.items()}

    def entry(self, value: Any) -> Any:
        """A plain value as it is, another as a list with the number of its row."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if id(value) not in self._seen:
            row = self._row(value)
            self.rows.append(row)
            self._seen[id(value)] = (len(self.rows) - 1, value)
        return [self._seen[id(value)][0]]

    def _row(self, value: Any) -> dict[str, Any]:
        kind = type(value)
        if id(value) in self._named:
            return {"named": self._named[id(value)]}
        if isinstance(value, enum.Enum):
            return {"enum": _class_name(kind), "name": value.name}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = [self.entry(getattr(value, field.name)) for field in dataclasses.fields(value)]
            return {"class": _class_name(kind), "fields": fields}
        if kind in (tuple, list):
            return {kind.__name__: [self.entry(inner) for inner in value]}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return {"record": _class_name(kind), "fields": [self.entry(inner) for inner in value]}
        if kind is dict:
            return {"dict": [[self.entry(name), self.entry(inner)] for name, inner in value.items()]}
        if kind is bytes:
            return {"bytes": self._store(value)}
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in _PLAIN:
            array = np.ascontiguousarray(value)
            return {"array": self._store(array.tobytes()), "dtype": array.dtype.str, "shape": list(value.shape)} | (
                {"scalar": True} if isinstance(value, np.generic) else {}
            )
        if kind.__module__.partition(".")[0] == "pandas" and kind.__name__ == "DataFrame":
            return self._frame(value)
        raise Unkept(kind)

    def _frame(self, frame: Any) -> dict[str, Any]:
        if type(frame.index).__name__ != "RangeIndex" or (frame.index.start, frame.index.step) != (0, 1):
            raise Unkept(type(frame.index))
        columns = []
        for name in frame.columns:
            values = frame[name]
            is_plain = isinstance(values.dtype, np.dtype) and values.dtype.kind in _PLAIN
            columns.append([self.entry(name), str(values.dtype), self.entry(values.to_numpy() if is_plain else list(values))])
        return {"frame": columns, "length": len(frame)}

    def _store(self, content: bytes) -> list[int]:
        start = len(self.bytes)
        self.bytes += content
        return [start, len(content)]


def encode(value: Any, named: Mapping[str, Any] | None = None) -> bytes:
    """The value as the content of a file.

    Raises:
        Unkept: a part of it has no form in a file.
    """
    writer = _Writer(named or {})
    root = writer.entry(value)
    table = json.dumps({"rows": writer.rows, "root": root})
    return f"{digest(table.encode() + writer.bytes)}\n{table}\n".encode() + writer.bytes


def decode(content: bytes, named: Mapping[str, Any] | None = None) -> Any:
    """The value in a file, which names frozen dataclasses and enumerations of this package alone.

    Raises:
        ValueError: the file is not what was written; other errors, of values that this program does not know.
    """
    stated, _, rest = content.partition(b"\n")
    table, _, blob = rest.partition(b"\n")
    if stated.decode() != digest(table + blob):
        raise ValueError("the checksum is wrong")
    read = json.loads(table)
    built: list[Any] = []

    def entry(found: Any) -> Any:
        return built[found[0]] if isinstance(found, list) else found

    for row in read["rows"]:
        built.append(_build(row, entry, blob, named or {}))
    return entry(read["root"])


def _build(row: dict[str, Any], entry: Callable[[Any], Any], blob: bytes, named: Mapping[str, Any]) -> Any:
    match row:
        case {"named": name}:
            return named[name]
        case {"enum": kind, "name": name}:
            return _class(kind)[name]
        case {"class": kind, "fields": values}:
            made = object.__new__(_class(kind))
            for field, value in zip(dataclasses.fields(made), values, strict=True):
                object.__setattr__(made, field.name, entry(value))
            return made
        case {"record": kind, "fields": values}:
            return _class(kind)(*map(entry, values))
        case {"tuple": values}:
            return tuple(map(entry, values))
        case {"list": values}:
            return list(map(entry, values))
        case {"dict": pairs}:
            return {entry(name): entry(value) for name, value in pairs}
        case {"bytes": (start, length)}:
            return blob[start : start + length]
        case {"array": (start, length), "dtype": dtype, "shape": shape}:
            array = np.frombuffer(blob[start : start + length], dtype).reshape(shape).copy()
            return array[()] if "scalar" in row else array
        case {"frame": columns, "length": length}:
            import pandas as pd

            series = {entry(name): pd.Series(entry(values), dtype=dtype) for name, dtype, values in columns}
            return pd.DataFrame(series, index=pd.RangeIndex(length))
    raise ValueError(f"{row} is no value")


def _class_name(kind: type) -> str:
    name = f"{kind.__module__}:{kind.__qualname__}"
    if not _CLASS.fullmatch(name):
        raise Unkept(name)
    return name


def _class(name: str) -> Any:
    """A dataclass, an enumeration or a named tuple of this package."""
    if not _CLASS.fullmatch(name):
        raise ValueError(f"{name} is no class of this package")
    module, _, path = name.partition(":")
    found: Any = functools.reduce(getattr, path.split("."), importlib.import_module(module))
    if not (isinstance(found, type) and (dataclasses.is_dataclass(found) or issubclass(found, enum.Enum | tuple))):
        raise ValueError(f"{name} is no class of values")
    return found
