"""What the files of a store contain, read and checked; sweep.json is kept in memory until the file changes."""

import functools
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.errors import StoreError
from scalesweep.files import Damaged, digest, read_json
from scalesweep.plan.cell import Cell, cell_from_dict
from scalesweep.plan.plan import Plan
from scalesweep.run.store.schema import SCHEMA, upgrade
from scalesweep.settings.base import shown
from scalesweep.settings.plan import CountSpec
from scalesweep.settings.run import RetrySpec

Signature = tuple[int, int, int]
"""Modification time in ns, size and inode of a file: what changes with every new one."""
_KEY = re.compile(r"[0-9a-f]{1,64}")
"""Keys name directories; nothing that could lead out of the store is one."""
IDLE = ("dir", "fit", "report", "launcher", "logger", "store")
"""Sections of the settings that are no part of a cell."""


def checked_key(key: str, directory: Path) -> str:
    """The key of a cell or a trunk, if it is one.

    Raises:
        StoreError: it is not, and could name a place outside the store.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise StoreError(
            f"{directory} names a cell {key!r}, but keys are hexadecimal digits: its sweep.json cannot be trusted."
        )
    return key


def cell_dir(directory: Path, key: str) -> Path:
    """The directory of a cell.

    Raises:
        StoreError: the key is none, and could name a place outside the store.
    """
    return directory / "cells" / checked_key(key, directory)


def record_file(directory: Path, key: str) -> Path:
    """The record of a cell; while it is there the cell is finished."""
    return cell_dir(directory, key) / "record.json"


@functools.lru_cache(maxsize=8)
def read_sweep(path: Path, signature: Signature) -> dict[str, Any]:
    """The content of a sweep.json; the signature tells it from an earlier one.

    Raises:
        StoreError: it is damaged, of another version, or names cells by what is no key.
    """
    try:
        value = read_json(path)
    except Damaged as error:
        raise StoreError(
            f"{error}; restore it, or remove it and repeat the `scalesweep run` that made it, which keeps all records."
        ) from None
    value = upgrade("sweep", value, path)
    for cell in value["cells"]:
        checked_key(cell["key"], path.parent)
    return value


@functools.lru_cache(maxsize=8)
def read_retries(path: Path, signature: Signature) -> RetrySpec:
    """How often a cell is tried again."""
    return RetrySpec(**read_sweep(path, signature)["settings"].get("launcher", {}).get("retries", {}))


@functools.lru_cache(maxsize=8)
def read_plan(path: Path, signature: Signature) -> Plan:
    """The plan in a sweep.json.

    Raises:
        StoreError: its cells are those of another version.
    """
    return plan_of(read_sweep(path, signature), path)


def plan_of(value: Mapping[str, Any], path: Path) -> Plan:
    """The plan that is the content of the sweep.json at `path`.

    Raises:
        StoreError: its cells are those of another version.
    """
    cells = tuple(read_cell({k: v for k, v in c.items() if k != "key"}, path) for c in value["cells"])
    if changed := [c["key"] for c, cell in zip(value["cells"], cells, strict=True) if c["key"] != cell.key]:
        raise StoreError(
            f"{path} was planned by a version for which the content of cell {changed[0]} meant another training; read it with "
            "the version that wrote it (facts.scalesweep), or measure the sweep anew with another dir=...."
        )
    return Plan(value["name"], CountSpec(**value["count"]), cells, tuple(value["warnings"]), value.get("columns", {}))


def read_cell(values: Mapping[str, Any], where: Path) -> Cell:
    """A cell of a file; fields that came later take their defaults, where they have one.

    Raises:
        StoreError: a field is missing or unknown.
    """
    try:
        return cell_from_dict(values)
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{where} describes its cell by other fields than this version ({error}); read it with the version of scalesweep "
            "that wrote it, or measure the sweep anew with another dir=...."
        ) from None


def read_curve(path: Path) -> tuple[int, list[dict[str, float]]]:
    """Number of the claim that wrote the curve, 0 if it is older than such numbers, and the points.

    Raises:
        Damaged: the file is not the one that was written.
    """
    content = path.read_bytes()
    first, _, rest = content.partition(b"\n")
    try:
        header = json.loads(first) if first else {"step": 0}
        if "step" in header:  # schema 1 has no header
            return 0, _points(content)
        if header["schema"] != SCHEMA or header["checksum"] != digest(rest):
            raise Damaged(f"{path} is damaged (its checksum is wrong)")
        return int(header["claim"]), _points(rest)
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} is damaged ({error})") from None


def _points(lines: bytes) -> list[dict[str, float]]:
    """All lines at once, in a third of the time that one after another takes."""
    points: list[dict[str, float]] = json.loads(f"[{lines.decode().strip().replace(chr(10), ',')}]")
    return points


@dataclass(frozen=True)
class CurveEnd:
    """The last point of a curve."""

    step: int
    tokens_per_second: float | None
    claim: int
    """Number of the claim that wrote it, 0 if it is older than such numbers."""
    age: float
    """Seconds since it was written."""


def read_curve_end(path: Path) -> CurveEnd | None:
    """The last point of a curve, by its first and last line alone; None where there is none, or the file is damaged."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            claim = json.loads(file.readline()).get("claim", 0)
            file.seek(max(0, found.st_size - 4096))  # a point is a line of some 200 bytes
            point = json.loads(file.read().splitlines()[-1])
            # A file of one line has no "step" there: the header, before the first point.
            return CurveEnd(int(point["step"]), point.get("tokens_per_second"), claim, max(0.0, time.time() - found.st_mtime))
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None


def changed_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings that differ and can matter to a cell, dotted, with both values; None where there is none."""
    before, now = _flat(old), _flat(new)
    names = [n for n in {**before, **now} if before.get(n) != now.get(n) and n.split(".")[0] not in IDLE]
    return {name: (before.get(name), now.get(name)) for name in names}


def describe_changes(changes: Mapping[str, tuple[Any, Any]], most: int = 3) -> str:
    """What `changed_settings` gives in words; of many the first ones."""
    said = [f"{name} {shown(old)} -> {shown(new)}" for name, (old, new) in list(changes.items())[:most]]
    return ", ".join(said + ([f"and {len(changes) - most} more"] if len(changes) > most else []))


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested settings by their paths."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{path}{name}.") if isinstance(value, Mapping) else {f"{path}{name}": value}
    return flat
