"""The table of measured points: the only thing that the analysis sees of an experiment.

A row is one trained model. Columns, with their units:

    n                training parameters N, by `Points.params_convention`
    n_total          all parameters, where n counts those that a token passes through (optional)
    d                training tokens D
    c                training FLOPs C, by `Points.flops_convention`
    loss             validation loss L, by `Points.metric`; nats per token unless that says otherwise
    loss_se          standard error of the loss, in the same unit (optional)
    seed             seed of initialisation and data order (optional)
    key              identity of the cell (optional)
    excluded_reason  why fits leave the row out; empty: the row is used (optional)
    state, status    `diverged`, `failed` and the like leave the row out, with that as the reason (optional)

Further columns are kept; those of a CSV file are numbers where all their values are. Rows come from a sweep's store
(`points_from_rows`) or from a user's file (`read_points`), which may use other names for the columns. No row is dropped or
mended: a value that is not a positive finite number is an error, unless the row carries an `excluded_reason`. This module knows
no law.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.counting import FLOPS, PARAMS, LossMetric
from scalesweep.errors import PointsError
from scalesweep.points.convert import Losses, assume_nats, read_losses, scale_columns
from scalesweep.points.curves import Curves, find_curves
from scalesweep.points.experts import ACTIVE, TOTAL, Counts, find_counts
from scalesweep.points.metric import NATS_PER_TOKEN, Metric, find_headers, metric_of_header
from scalesweep.points.table import read_table
from scalesweep.points.unit_names import scale_of

if TYPE_CHECKING:
    import pandas as pd

Variable = Literal["n", "d", "c"]
VARIABLES: tuple[Variable, ...] = ("n", "d", "c")
REQUIRED = (*VARIABLES, "loss")
STATE_COLUMNS = ("state", "status")
LOST_STATES = ("diverged", "failed", "crashed", "killed", "lost", "nan")
"""Values of these columns, in any case, that leave a row out; wandb's and this project's names of runs without a result."""
ALIASES = {
    "n": (
        *("n", "params", "parameters", "num_params", "num_parameters", "n_params", "model_params", "model_size"),
        *("non_embedding_params", *ACTIVE, *TOTAL),
    ),
    "d": ("d", "tokens", "training_tokens", "train_tokens", "num_tokens", "n_tokens", "total_tokens", "tokens_seen"),
    "c": ("c", "flop", "flops", "compute", "training_flop", "training_flops", "train_flops", "total_flos"),
    "loss": ("loss", "l", "val_loss", "valid_loss", "validation_loss", "eval_loss", "final_loss", "test_loss"),
}
"""Accepted names of the required columns; case, spaces, hyphens, underscores and slashes do not matter."""
_IGNORED = " _-/"


@dataclass(frozen=True, eq=False)
class Points:
    """A validated table of measured points.

    Equality is identity: compare frames, not tables.
    """

    frame: "pd.DataFrame"
    """All rows, with the columns of the module's docstring; n, d, c, loss are float64."""
    params_convention: str
    """What `n` counts."""
    flops_convention: str
    """What `c` counts."""
    source: str
    """Where the rows come from, for messages and reports."""
    notes: tuple[str, ...] = ()
    """Sentences about what was derived while reading."""
    metric: Metric = NATS_PER_TOKEN
    """What `loss` is."""
    derived: str = ""
    """`n`, `d` or `c` where it was computed from C = 6 N D."""
    variables: tuple[Variable, ...] = VARIABLES
    """Which of n, d and c are known: all three, or one alone; the columns of the others are NaN in every row."""
    curves: Curves | None = None
    """The training curves that the table holds, of which the points are the last rows; None where its rows are runs."""

    @property
    def is_counted(self) -> bool:
        """Whether N and C were counted from the model's shape, as a sweep's are, so that their units need no question."""
        return self.params_convention in PARAMS and self.flops_convention in FLOPS

    @property
    def is_partial(self) -> bool:
        """Whether one of N, D and C alone is known, so that only a law of that variable can be fitted."""
        return len(self.variables) < len(VARIABLES)

    @property
    def used(self) -> "pd.DataFrame":
        """Rows that fits use."""
        return self.frame[self.frame["excluded_reason"] == ""].reset_index(drop=True)

    @property
    def excluded(self) -> "pd.DataFrame":
        """Rows that fits leave out, each with its `excluded_reason`."""
        return self.frame[self.frame["excluded_reason"] != ""].reset_index(drop=True)

    @property
    def n(self) -> FloatArray:
        """Parameters of the used rows, shape (rows,)."""
        return self._column("n")

    @property
    def d(self) -> FloatArray:
        """Training tokens of the used rows, shape (rows,)."""
        return self._column("d")

    @property
    def c(self) -> FloatArray:
        """Training FLOPs of the used rows, shape (rows,)."""
        return self._column("c")

    @property
    def loss(self) -> FloatArray:
        """Losses of the used rows in the unit of `metric`, shape (rows,)."""
        return self._column("loss")

    @property
    def size_name(self) -> Variable:
        """n, or the one of d and c that the table says instead."""
        return self.variables[0]

    @property
    def size(self) -> FloatArray:
        """The column `size_name` of the used rows, which colours them, shape (rows,)."""
        return self._column(self.size_name)

    def _column(self, name: str) -> FloatArray:
        return self._columns[name]

    @cached_property
    def _columns(self) -> dict[str, FloatArray]:
        """The numbers of the used rows, taken from the frame once: an analysis asks for them thousands of times."""
        used = self.used
        columns = {name: used[name].to_numpy(dtype=np.float64, copy=True) for name in REQUIRED if name in used}
        for column in columns.values():
            column.flags.writeable = False
        return columns

    def to_csv(self, path: Path | str) -> None:
        """Write all rows at full precision; `read_points` reads them back unchanged."""
        self.frame.to_csv(path, index=False)


def points_from_rows(rows: Sequence[Mapping[str, Any]], params_convention: str, flops_convention: str, source: str) -> Points:
    """Validate rows that already have the canonical column names.

    Raises:
        PointsError: there is no row, a required column is missing, or a used row has an invalid value.
    """
    if not rows:
        raise PointsError(f"{source}: there are no points; a fit needs measured rows with n, d, c and loss.")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise PointsError(f"{source}: column {missing[0]} is missing; found {', '.join(columns)}.")
    table = {name: [row.get(name) for row in rows] for name in columns}
    return _validated(table, {name: name for name in REQUIRED}, source, params_convention, flops_convention)


def read_points(
    source: "Path | str | pd.DataFrame", units: Mapping[str, str] | None = None, loss: LossMetric | None = None
) -> Points:
    """Read a user's table of points from CSV (comma-separated, UTF-8), JSON lines, Parquet or a data frame.

    Columns are recognised by `ALIASES`; a table that has n, d, c and loss under exactly these names is taken as it is. Where
    one of d and c is missing it is derived from C = 6 N D, and a note says so.

    Args:
        source: a file, or a data frame.
        units: the unit of n, d or c where it is not one, by `unit_names.UNITS`: {"c": "GFLOPs", "d": "billions"}.
        loss: what the loss column holds; by default what its header says, such as val_bpb, or else nats per token.

    Raises:
        PointsError: one sentence that names the file and, where there is one, the data row (counted from 1; the header is
            row 0) and the column.
    """
    if isinstance(source, Path | str):
        path = Path(source)
        table = read_table(path)
    else:
        path = Path("data frame")
        table = {str(name): column.tolist() for name, column in source.items()}
    names = _recognise(list(table), path)
    if not next(iter(table.values())):
        raise PointsError(f"{path}: the table has a header but no rows.")
    table, converted = _converted(table, names, units or {}, loss, str(path))
    notes = converted.notes
    if counts := find_counts(list(table), [column for column in table if _plain(column) in set(map(_plain, ALIASES["n"]))]):
        table = _with_total(table, counts, scale_of("n", units["n"]) if units and "n" in units else 1.0)
        notes = (*notes, counts.note) if names.get("n") == counts.active else notes
    points = replace(_of_runs(table, names, str(path), notes), metric=converted.metric)
    if loss or metric_of_header(names["loss"]):
        return points
    scale = points.size if points.is_partial else points.n * points.d
    return replace(points, notes=(*points.notes, *assume_nats(names["loss"], points.loss, scale)))


def _converted(
    table: dict[str, list[Any]], names: Mapping[str, str], units: Mapping[str, str], loss: LossMetric | None, source: str
) -> tuple[dict[str, list[Any]], Losses]:
    """The table with n, d and c in parameters, tokens and FLOPs, and with the losses that are fitted."""
    columns = {name: _numbers(table[names[name]]) for name in ("n", "d", "c") if name in names}
    scaled, notes = scale_columns(columns, names, units, source)
    is_used = np.array([not reason for reason in _reasons(table, len(table[names["loss"]]))])
    losses = read_losses(_numbers(table[names["loss"]]), is_used, names["loss"], loss, source)
    changed = {names[name]: values for name, values in scaled.items()}
    if losses.is_changed:
        changed[names["loss"]] = losses.values
        if "loss_se" in table:
            changed["loss_se"] = _numbers(table["loss_se"]) * losses.slope
    # A value that is no number stays as it is, for a message to name.
    kept = {
        name: [old if math.isnan(new) else new for old, new in zip(table[name], values.tolist(), strict=True)]
        for name, values in changed.items()
    }
    return {**table, **kept}, replace(losses, notes=(*notes, *losses.notes))


def _with_total(table: dict[str, list[Any]], counts: Counts, factor: float) -> dict[str, list[Any]]:
    """The table with all parameters of a mixture of experts as `n_total`."""
    if not counts.total or "n_total" in table:
        return table
    rest = {name: values for name, values in table.items() if name != counts.total}
    return {**rest, "n_total": (_numbers(table[counts.total]) * factor).tolist()}


def _of_runs(table: dict[str, list[Any]], names: dict[str, str], source: str, notes: tuple[str, ...]) -> Points:
    """Points from a user's table, of whose curves, where it has such, only the last rows are points."""
    import pandas as pd

    curves = find_curves(pd.DataFrame(table), names)
    if curves is None:
        return _derived(table, names, source, notes)
    ends = {str(name): column.tolist() for name, column in curves.last.items()}
    given = ends.get("excluded_reason", [""] * curves.num_runs)
    ends["excluded_reason"] = ["" if _is_empty(one) else str(one) for one in given]
    ends["excluded_reason"] = [one or other for one, other in zip(ends["excluded_reason"], curves.unfinished, strict=True)]
    points = _derived(ends, names, source, notes)
    return replace(points, notes=(curves.note, *points.notes), curves=curves)


def _recognise(columns: Sequence[str], path: Path) -> dict[str, str]:
    """Canonical name -> name in the file, for the required columns that the file has."""
    if all(name in columns for name in REQUIRED):
        return {name: name for name in REQUIRED}
    names: dict[str, str] = {}
    for canonical, aliases in ALIASES.items():
        plain = {_plain(alias) for alias in aliases}
        found = [column for column in columns if _plain(column) in plain]
        if canonical == "n" and (counts := find_counts(columns, found)):
            found = [counts.active]
        if len(found) > 1:
            both = " and ".join(repr(column) for column in found)
            raise PointsError(f"{path}: columns {both} can all mean {canonical}; {_which(canonical, found)}.")
        if found:
            names[canonical] = found[0]
    if "loss" not in names and len(stated := find_headers(columns)) == 1:
        names["loss"] = stated[0]
    if "loss" not in names:
        raise PointsError(_missing(path, "loss", ", ".join(ALIASES["loss"]), columns))
    if not set(names) & set(VARIABLES):
        raise PointsError(_missing(path, "n, d or c", ", ".join(alias for v in VARIABLES for alias in ALIASES[v]), columns))
    return names


def _which(canonical: str, found: Sequence[str]) -> str:
    """What to do about columns that mean the same; beside one validation loss, `loss` is that of training."""
    training = [column for column in found if _plain(column) == "loss"]
    if canonical == "loss" and len(training) == 1 and len(found) == 2:
        (other,) = (column for column in found if column not in training)
        return f"if {training[0]!r} is the training loss, rename it, for instance to train_loss, and {other!r} is fitted"
    return "keep one or rename the others"


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in _IGNORED)


def _missing(path: Path, canonical: str, accepted: str, columns: Sequence[str]) -> str:
    return (
        f"{path}: column {canonical} is missing; accepted names are {accepted}; found {', '.join(columns) or 'none'}; "
        f"rename the column that holds it."
    )


def _derived(table: dict[str, list[Any]], names: dict[str, str], source: str, notes: tuple[str, ...]) -> Points:
    """Points from a user's table, with the one of n, d, c that it lacks from C = 6 N D; where it lacks two, they are NaN."""
    lacking = [name for name in VARIABLES if name not in names]
    if not lacking:
        return _validated(table, names, source, "as in the file", "as in the file", notes)
    known = {name: _numbers(table[names[name]]) for name in VARIABLES if name in names}
    if len(lacking) == 1:
        (name,), one = lacking, next(iter(known.values()))
        with np.errstate(all="ignore"):  # invalid values are reported by row and column below
            made = {name: 6 * known["n"] * known["d"] if name == "c" else known["c"] / (6 * one)}
        formula = {"n": "n = c / (6 d)", "d": "d = c / (6 n)", "c": "c = 6 n d"}[name]
        note = f"Column {name} is not in {source}; it was derived as {formula}."
    else:
        made = {name: np.full(len(next(iter(known.values()))), np.nan) for name in lacking}
        note = f"{source} has {next(iter(known)).upper()} and the loss alone, so that only the law of that variable is fitted."
    points = _validated(
        {**table, **{name: values.tolist() for name, values in made.items()}},
        {**names, **{name: name for name in lacking}},
        source,
        "as in the file",
        "six_n" if lacking == ["c"] else "as in the file",
        (note, *notes),
        tuple(known) if len(lacking) > 1 else VARIABLES,
    )
    return replace(points, derived=lacking[0] if len(lacking) == 1 else "")


def _reasons(table: Mapping[str, list[Any]], num_rows: int) -> list[str]:
    """Why each row is left out; empty where it is used. A run that its own table calls diverged or failed is no point."""
    reasons = ["" if _is_empty(reason) else str(reason) for reason in table.get("excluded_reason", [""] * num_rows)]
    for name in (name for name in table if name.lower() in STATE_COLUMNS):
        states = ["" if _is_empty(state) else str(state).strip() for state in table[name]]
        reasons = [
            reason or (f"{name}: {state}" if state.lower() in LOST_STATES else "")
            for reason, state in zip(reasons, states, strict=True)
        ]
    return reasons


def _validated(
    table: Mapping[str, list[Any]],
    names: Mapping[str, str],
    source: str,
    params_convention: str,
    flops_convention: str,
    notes: tuple[str, ...] = (),
    variables: tuple[Variable, ...] = VARIABLES,
) -> Points:
    """Points with canonical columns; `names` maps them to columns of the table, which messages name."""
    import pandas as pd

    num_rows = len(next(iter(table.values())))
    reasons = _reasons(table, num_rows)
    numeric = {canonical: _numbers(table[names[canonical]]) for canonical in REQUIRED}
    for row, reason in enumerate(reasons):
        for canonical in names if not reason else ():  # derived columns come last
            value = numeric[canonical][row]
            if canonical in (*variables, "loss") and not (math.isfinite(value) and value > 0):
                raise PointsError(_complaint(source, row + 1, names[canonical], table[names[canonical]][row]))
    data: dict[str, Any] = dict(numeric)
    if "loss_se" in table:
        data["loss_se"] = _standard_errors(table["loss_se"], reasons, source)
    if "key" in table:
        data["key"] = ["" if _is_empty(key) else str(key) for key in table["key"]]
    kept = {name: _typed(values) for name, values in table.items() if name not in names.values() and name not in data}
    frame = pd.DataFrame({**data, **kept, "excluded_reason": reasons})
    return Points(frame, params_convention, flops_convention, source, notes, variables=variables)


def _standard_errors(values: Sequence[Any], reasons: Sequence[str], source: str) -> FloatArray:
    """Standard errors as float64; NaN where a row gives none."""
    numbers = _numbers(values)
    for row, (value, number, reason) in enumerate(zip(values, numbers, reasons, strict=True), start=1):
        if not reason and not _is_empty(value) and not (math.isfinite(number) and number >= 0):
            raise PointsError(f"{source}: row {row}, column loss_se: {value!r} is not a standard error (0 or more, or empty).")
    return numbers


def _typed(values: list[Any]) -> list[Any]:
    """A column of text, as CSV has it, as numbers where every value is one or empty (NaN); any other one as it is."""
    if not all(isinstance(value, str) for value in values):
        return values
    numbers = [math.nan if _is_empty(value) else _number(value) for value in values]
    if all(_is_empty(v) or math.isfinite(n) for v, n in zip(values, numbers, strict=True)) and any(map(math.isfinite, numbers)):
        return [int(n) for n in numbers] if all(v.strip().lstrip("+-").isdigit() for v in values) else numbers
    return values


def _numbers(values: Sequence[Any]) -> FloatArray:
    """The values as float64; what is not a number becomes NaN."""
    return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: Any) -> float:
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _complaint(source: str, row: int, column: str, value: Any) -> str:
    place = f"{source}: row {row}, column {column}"
    remedy = "give a positive number, or leave the row out by an excluded_reason or by state=diverged"
    if value is None or (isinstance(value, str) and not value.strip()):
        return f"{place}: the value is missing; {remedy}."
    number = _number(value)
    if math.isnan(number):
        return f"{place}: {value!r} is not a number; {remedy}."
    kind = "not finite" if math.isinf(number) else "zero" if number == 0 else "negative"
    return f"{place}: {value!r} is {kind}; n, d, c and loss must be positive numbers."
