"""From a user's file, data frame, mapping or records to points, with what was read, derived and left out in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.points.columns import VARIABLES, Chosen, Variable, choose_columns
from scalesweep.points.curves import find_curves
from scalesweep.points.formats import Table, of_columns, of_frame, of_records
from scalesweep.points.points import Points, points_of_sheet
from scalesweep.points.sheet import Sheet
from scalesweep.points.states import NO_LOSS, counted, reasons_of
from scalesweep.points.table import read_table
from scalesweep.points.values import decimal_mark, is_empty
from scalesweep.points.where import choose_rows

if TYPE_CHECKING:
    import pandas as pd

_SMALLEST_LARGE_MODEL = 1e4
"""Where the largest model has fewer parameters than this, they are likely counted in millions."""
_FORMULAS = {"n": "n = c / (6 d)", "d": "d = c / (6 n)", "c": "c = 6 n d"}


@dataclass(frozen=True)
class Reading:
    """How a table is to be read, beyond what its header says."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Role (n, d, c, loss, loss_se, seed) -> column that holds it."""
    where: str = ""
    """Condition on the rows, by `where.choose_rows`; empty: every row."""


def read_points(
    source: "Path | str | pd.DataFrame | Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | np.ndarray[Any, Any]",
    columns: Mapping[str, str] | None = None,
    where: str = "",
) -> Points:
    """Read a user's table of points.

    Columns are recognised by `columns.choose_columns`; a table that has n, d, c and loss under exactly these names is taken as
    it is. Of n, d and c one that is missing is derived from C = 6 N D; where two are, they stay unknown (`Points.variables`).
    Where rows are points of training curves the last of each run is its point (`curves.find_curves`).
    Rows whose state is not finished, and rows without a loss, are left out and counted. `Points.reading` says all of this.

    Args:
        source: a file (.csv with commas, semicolons, tabs or pipes, .tsv, .json, .jsonl, .xlsx, .parquet, each also .gz or
            .zst), a data frame, a mapping of columns, a sequence of records, or a structured array.
        columns: n, d, c, loss, loss_se or seed -> the column that holds it, where the header does not say so.
        where: which rows are read, such as 'arch == "dense" and step > 100'.

    Raises:
        PointsError: one sentence that names the file, and the columns and data rows (counted from 1; the header is row 0) that
            are wrong, all of them at once.
    """
    import pandas as pd

    table, name = _table_of(source)
    if not table or not next(iter(table.values())):
        choose_columns(table, columns or {}, name)
        raise PointsError(f"{name}: the table has a header but no rows.")
    chosen = choose_columns(table, columns or {}, name)
    mark = decimal_mark(table)
    num_rows = len(next(iter(table.values())))
    rows = np.flatnonzero(choose_rows(table, where, mark, name)) if where else np.arange(num_rows)
    if not len(rows):
        raise PointsError(f"{name}: where={where!r} holds for none of the {num_rows} rows.")
    kept = {column: [cells[row] for row in rows] for column, cells in table.items()} if where else table
    num_chosen, curves = len(rows), find_curves(pd.DataFrame(kept), chosen.names, mark)
    if curves is not None:
        kept, rows = {str(column): cells.tolist() for column, cells in curves.last.items()}, rows[curves.rows]
    short = curves.unfinished if curves else [""] * len(rows)
    losses = kept[chosen.names["loss"]]
    reasons = [
        state or stopped or (NO_LOSS if is_empty(loss) else "")
        for state, stopped, loss in zip(reasons_of(kept), short, losses, strict=True)
    ]
    sheet = Sheet(kept, chosen.names, name, reasons, (rows + 1).tolist(), mark, chosen.factors)
    points = replace(_derived(sheet), curves=curves)
    words = _in_words(chosen, points, where, num_chosen, num_rows)
    return replace(points, reading=f"{curves.note} {words}" if curves else words)


def _table_of(source: Any) -> tuple[Table, str]:
    """The columns of a source, and what messages call it."""
    import pandas as pd

    if isinstance(source, Path | str):
        return read_table(Path(source)), str(source)
    if isinstance(source, pd.DataFrame):
        return of_frame(source, "data frame"), "data frame"
    if isinstance(source, np.ndarray):
        if source.dtype.names is None:
            raise PointsError(
                "array: its columns have no names; give a mapping, such as {'n': a[:, 0], 'd': a[:, 1], 'loss': a[:, 2]}."
            )
        return of_columns(source.dtype.names, [source[name].tolist() for name in source.dtype.names], "array"), "array"
    if isinstance(source, Mapping):
        columns = {str(name): _cells(cells, str(name)) for name, cells in source.items()}
        return of_columns(list(columns), list(columns.values()), "mapping"), "mapping"
    if isinstance(source, Sequence) and all(isinstance(record, Mapping) for record in source):
        return of_records(source, "records"), "records"
    raise PointsError(
        f"{type(source).__name__}: this is no table of points; give a file, a data frame, a mapping of columns or records."
    )


def _cells(column: Any, name: str) -> list[Any]:
    if isinstance(column, str) or not hasattr(column, "__len__") or np.ndim(column) > 1:
        raise PointsError(f"mapping: column {name!r} is no list of values.")
    return list(column.tolist() if hasattr(column, "tolist") else column)


def _derived(sheet: Sheet) -> Points:
    """Points, with the one of n, d, c that the table lacks from C = 6 N D; where it lacks two, they are NaN."""
    given = [name for name in VARIABLES if name in sheet.names]
    sheet.check([*given, "loss"])
    known: dict[Variable, FloatArray] = {name: sheet.numbers(name) for name in given}
    lacking = [name for name in VARIABLES if name not in given]
    notes = _doubts(known, sheet)
    if len(lacking) == 1:
        (name,) = lacking
        known[name] = _third(known, name)
        notes = (f"Column {name} is not in {sheet.source}; it was derived as {_FORMULAS[name]}.", *notes)
    elif lacking:
        known |= {name: np.full(len(sheet.rows), np.nan) for name in lacking}
        only = given[0].upper()
        settings = " and ".join(f"columns.{name}=..." for name in lacking)
        note = f"{sheet.source} has {only} and the loss alone, so that only the law of {only} is fitted ({settings} name more)."
        notes = (note, *notes)
    points = points_of_sheet(sheet, known, "as in the file", "six_n" if lacking == ["c"] else "as in the file")
    return replace(points, notes=notes, variables=tuple(given) if len(lacking) > 1 else VARIABLES)


def _third(known: Mapping[Variable, FloatArray], name: str) -> FloatArray:
    with np.errstate(all="ignore"):  # rows that are left out may hold anything
        if name == "c":
            return 6 * known["n"] * known["d"]
        return known["c"] / (6 * known["d" if name == "n" else "n"])


def _doubts(known: Mapping[Variable, FloatArray], sheet: Sheet) -> tuple[str, ...]:
    """What a user's table probably does not mean. Exponents and E do not depend on units, but D / N and C = 6 N D do."""
    largest = float(np.nan_to_num(known["n"], nan=0.0).max()) if "n" in known else 0.0
    if not 0 < largest < _SMALLEST_LARGE_MODEL:
        return ()
    return (
        f"The largest {sheet.names['n']} is {largest:g}: if it counts millions or billions, only alpha, beta, E and losses are "
        f"right; give parameters and tokens one by one for D/N, C and compute optima.",
    )


def _in_words(chosen: Chosen, points: Points, where: str, num_chosen: int, num_rows: int) -> str:
    """What was read: columns, rows, and what was left out."""
    parts = []
    for role in (*VARIABLES, "loss", "loss_se", "seed"):
        if role in chosen.names:
            factor = f" times {chosen.factors[role]:g}" if role in chosen.factors else ""
            parts.append((role if chosen.names[role] == role else f"{role} from {chosen.names[role]}") + factor)
        elif role in points.variables:
            parts.append(_FORMULAS[role])
    rows = f"{len(points.used)} of {num_chosen} rows"
    if points.curves is not None:
        rows = f"{len(points.used)} of {len(points.frame)} runs in {num_chosen} rows"
    if where:
        rows += f" ({num_rows - num_chosen} of {num_rows} are not of {where})"
    left_out = counted(points.frame["excluded_reason"].tolist())
    unread = [
        f"{column} is not read: a letter beside words (columns.{column.lower()[-1]}={column} reads it)"
        for column in chosen.unread
    ]
    return "; ".join([", ".join([*parts, rows]), *([left_out] if left_out else []), *unread]) + "."
