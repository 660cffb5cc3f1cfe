"""Cells by hand: a table of N and D, one cell a row, as `scalesweep next out=` writes it and `cells=` reads it."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from scalesweep.errors import SpecError, did_you_mean
from scalesweep.files import plain_write_errors
from scalesweep.settings.base import parse
from scalesweep.settings.plan import FurtherCell
from scalesweep.settings.settings import Settings, with_values

_COLUMNS: Mapping[str, str] = {"n": "size", "size": "size", "d": "tokens", "budget": "tokens", "seed": "seed"}
"""Column of the table -> field of a cell."""
GRID = ("sweep.sizes", "sweep.budgets", "sweep.seeds", "sweep.design", "sweep.tokens_per_parameter", "sweep.further")
"""What such a table stands in place of."""


def read_cells(path: Path) -> list[FurtherCell]:
    """The cells of a table in CSV: n (or size), d (or budget, in tokens), and seed where there are replicates.

    Raises:
        SpecError: the file cannot be read, has another column or lacks one, or a row is wrong or there twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise SpecError(
            f"cells = {str(path)!r}: cannot be read ({why}); give a table with the columns n, d and seed."
        ) from None
    fields = [_field(name.strip().lower(), path) for name in rows[0]] if rows else []
    if sorted(fields) not in (["size", "tokens"], ["seed", "size", "tokens"]):
        raise SpecError(f"cells = {str(path)!r}: its columns must be n and d, and seed where there are replicates.")
    found: dict[FurtherCell, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(map(str.strip, row)):
            continue
        if len(row) != len(fields):
            raise SpecError(f"cells = {str(path)!r}: line {number} has {len(row)} values, and the header {len(fields)} names.")
        cell = parse(FurtherCell, dict(zip(fields, map(str.strip, row), strict=True)), f"{path}, line {number}: ")
        if cell in found:
            raise SpecError(f"cells = {str(path)!r}: line {number} is line {found[cell]} again; give a replicate its own seed.")
        found[cell] = number
    if not found:
        raise SpecError(f"cells = {str(path)!r}: holds no cell.")
    return list(found)


def _field(name: str, path: Path) -> str:
    if name not in _COLUMNS:
        hint = did_you_mean(name, _COLUMNS)
        raise SpecError(
            f"cells = {str(path)!r}: column {name!r} is none of a cell{hint}; they are n (or size), d (or budget) and seed, "
            "and all else is a setting."
        )
    return _COLUMNS[name]


def write_cells(path: Path, cells: Sequence[FurtherCell]) -> None:
    """Write the table that `read_cells` reads.

    Raises:
        StoreError: it cannot be written.
    """
    with plain_write_errors(path.parent, "name another place with out=...."):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("n", "d", "seed"), *((cell.size, cell.tokens, cell.seed) for cell in cells)])


def in_place_of_grid(settings: Settings, cells: Sequence[FurtherCell], named: Mapping[str, object]) -> Settings:
    """The settings with these cells and no others: the first as a grid of one, the rest beside it.

    Args:
        settings: all else.
        cells: at least one.
        named: what the command names, dotted.

    Raises:
        SpecError: the command names a grid too.
    """
    if twice := [name for name in named if name in GRID]:
        raise SpecError(f"cells= stands in place of a grid; leave {' and '.join(twice)} out, or leave out cells=.")
    first, *others = cells
    grid = {"sizes": [first.size], "budgets": [first.tokens], "seeds": [first.seed], "design": "full", "further": others}
    return with_values(settings, {f"sweep.{name}": value for name, value in (grid | {"tokens_per_parameter": None}).items()})
