"""From a user's file, data frame, mapping or records to points, with what was read, derived and left out in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.counting import LossMetric
from scalesweep.errors import PointsError
from scalesweep.points.columns import VARIABLES, Chosen, Variable, choose_columns
from scalesweep.points.convert import Losses, assume_nats, read_losses, scale_columns
from scalesweep.points.curves import Curves, find_curves
from scalesweep.points.experts import Counts
from scalesweep.points.formats import Table, of_columns, of_frame, of_records
from scalesweep.points.metric import METRIC_COLUMN, METRICS, metric_of_header
from scalesweep.points.points import Points, points_of_sheet
from scalesweep.points.sheet import Sheet
from scalesweep.points.states import NO_LOSS, counted, reasons_of
from scalesweep.points.table import read_table
from scalesweep.points.unit_names import scale_of
from scalesweep.points.values import decimal_mark, is_blank, is_empty, numbers, typed
from scalesweep.points.where import choose_rows

if TYPE_CHECKING:
    import pandas as pd

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
    units: Mapping[str, str] | None = None,
    loss: LossMetric | None = None,
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
        units: the unit of n, d or c where it is not one, by `unit_names.UNITS`: {"c": "GFLOPs", "d": "billions"}.
        loss: what the loss column holds; by default what its header says, such as val_bpb, or else nats per token.

    Raises:
        PointsError: one sentence that names the file, and the columns and data rows (counted from 1; the header is row 0) that
            are wrong, all of them at once.
    """
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
    sheet = Sheet(kept, chosen.names, name, reasons_of(kept), (rows + 1).tolist(), mark, chosen.factors)
    loss = loss or _stated_metric(kept, name)
    sheet, converted = _converted(sheet, chosen.counts, units or {}, loss)
    curves = find_curves(_frame_of(sheet), chosen.names, mark)
    if curves is not None:
        sheet = _ends_of(curves, sheet)
    losses = sheet.table[chosen.names["loss"]]
    reasons = [why or (NO_LOSS if is_empty(loss) else "") for why, loss in zip(sheet.reasons, losses, strict=True)]
    points = replace(_derived(replace(sheet, reasons=reasons)), curves=curves)
    notes = [*points.notes, *converted.notes]
    if not loss and not metric_of_header(chosen.names["loss"]):
        scale = points.size if points.is_partial else points.n * points.d
        notes += assume_nats(chosen.names["loss"], points.loss, scale)
    words = _in_words(chosen, points, where, len(rows), num_rows)
    return replace(points, reading=f"{curves.note} {words}" if curves else words, notes=tuple(notes), metric=converted.metric)


def _stated_metric(table: Table, source: str) -> LossMetric | None:
    """What the table's own column says that its losses are; None where it has none.

    Raises:
        PointsError: it says several things, or none that is known.
    """
    stated = {str(cell).strip() for cell in table.get(METRIC_COLUMN, ()) if not is_blank(cell)}
    if not stated:
        return None
    if len(stated) > 1 or not stated <= METRICS.keys():
        raise PointsError(
            f"{source}: the column {METRIC_COLUMN} holds {', '.join(sorted(stated))}; it must hold one of "
            f"{', '.join(METRICS)}, or choose rows by where=...."
        )
    return METRICS[stated.pop()].name


def _converted(sheet: Sheet, counts: Counts | None, units: Mapping[str, str], loss: LossMetric | None) -> tuple[Sheet, Losses]:
    """The rows with n, d and c in parameters, tokens and FLOPs, and with the losses that are fitted."""
    variables = {str(name): sheet.numbers(name) for name in VARIABLES if name in sheet.names}
    scaled, notes = scale_columns(variables, sheet.names, units, sheet.source)
    is_used = np.array([not reason for reason in sheet.reasons])
    losses = read_losses(sheet.numbers("loss"), is_used, sheet.rows, sheet.names["loss"], loss, sheet.source)
    changed = {role: scaled.get(role, variables[role]) for role in {*scaled, *sheet.factors}}
    if losses.is_changed:
        changed["loss"] = losses.values
        if "loss_se" in sheet.names:
            changed["loss_se"] = sheet.numbers("loss_se") * losses.slope
    table = dict(sheet.table)
    for role, values in changed.items():  # a cell that is no number stays as it is, for a message to name
        cells = sheet.table[sheet.names[role]]
        table[sheet.names[role]] = [old if math.isnan(new) else new for old, new in zip(cells, values.tolist(), strict=True)]
    if counts and sheet.names.get("n") == counts.active:
        notes = (*notes, counts.note)
        if counts.total and "n_total" not in table:
            total = numbers(table.pop(counts.total), sheet.mark) * (scale_of("n", units["n"]) if "n" in units else 1.0)
            table["n_total"] = total.tolist()
    return replace(sheet, table=table, factors={}), replace(losses, notes=(*notes, *losses.notes))


def _frame_of(sheet: Sheet) -> "pd.DataFrame":
    """The rows with numbers in the columns that have a role, as far as these hold nothing else."""
    import pandas as pd

    roles = set(sheet.names.values())
    return pd.DataFrame({name: typed(cells, sheet.mark) if name in roles else cells for name, cells in sheet.table.items()})


def _ends_of(curves: Curves, sheet: Sheet) -> Sheet:
    """The last row of each run."""
    table = {str(name): column.tolist() for name, column in curves.last.items()}
    rows = [sheet.rows[row] for row in curves.rows]
    given = table.get("excluded_reason", [""] * len(rows))
    stopped = [other if is_blank(one) else one for one, other in zip(given, curves.unfinished, strict=True)]
    return replace(sheet, table=table, rows=rows, reasons=reasons_of({**table, "excluded_reason": stopped}))


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
    notes: tuple[str, ...] = ()
    if len(lacking) == 1:
        (name,) = lacking
        known[name] = _third(known, name)
        notes = (f"Column {name} is not in {sheet.source}; it was derived as {_FORMULAS[name]}.",)
    elif lacking:
        known |= {name: np.full(len(sheet.rows), np.nan) for name in lacking}
        only = given[0].upper()
        settings = " and ".join(f"columns.{name}=..." for name in lacking)
        note = f"{sheet.source} has {only} and the loss alone, so that only the law of {only} is fitted ({settings} name more)."
        notes = (note,)
    points = points_of_sheet(sheet, known, "as in the file", "six_n" if lacking == ["c"] else "as in the file")
    derived = lacking[0] if len(lacking) == 1 else ""
    return replace(points, notes=notes, variables=tuple(given) if len(lacking) > 1 else VARIABLES, derived=derived)


def _third(known: Mapping[Variable, FloatArray], name: str) -> FloatArray:
    with np.errstate(all="ignore"):  # rows that are left out may hold anything
        if name == "c":
            return 6 * known["n"] * known["d"]
        return known["c"] / (6 * known["d" if name == "n" else "n"])


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
