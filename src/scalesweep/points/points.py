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
    state, status    any but `finished` and the like leaves the row out, with that as the reason (optional)

Further columns are kept; those of text are numbers where all their values are. Rows come from a sweep's store
(`points_from_rows`) or from a user's table (`reading.read_points`), which may use other names for the columns. No row is
dropped or mended: a value that is not a positive finite number is an error, unless the row carries an `excluded_reason`. This
module knows no law.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.counting import FLOPS, PARAMS
from scalesweep.errors import PointsError
from scalesweep.points.columns import VARIABLES, Variable
from scalesweep.points.curves import Curves
from scalesweep.points.epochs import find_epochs
from scalesweep.points.metric import NATS_PER_TOKEN, Metric
from scalesweep.points.sheet import Sheet
from scalesweep.points.states import reasons_of
from scalesweep.points.values import is_blank, typed

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = (*VARIABLES, "loss")


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
    reading: str = ""
    """What a user's table was read as, in words: columns, rows, and what was left out; empty for a sweep's rows."""
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
    def u(self) -> FloatArray:
        """Unique training tokens of the used rows, by `epochs` or `unique_tokens`; D where neither says less, shape (rows,)."""
        return self._column("u")

    def columns(self, symbols: Sequence[str]) -> list[FloatArray]:
        """The variables of a law, by N, D, C and U, of the used rows."""
        return [self._column(symbol.lower()) for symbol in symbols]

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
        if "d" in columns:
            epochs = find_epochs(used)
            columns["u"] = columns["d"] / np.fmax(1.0, 1.0 if epochs is None else epochs)
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
    names = {name: name for name in (*REQUIRED, "loss_se", "seed") if name in columns}
    sheet = Sheet(table, names, source, reasons_of(table), range(1, len(rows) + 1))
    sheet.check(REQUIRED)
    return points_of_sheet(sheet, {name: sheet.numbers(name) for name in VARIABLES}, params_convention, flops_convention)


def points_of_sheet(
    sheet: Sheet, variables: Mapping[Variable, FloatArray], params_convention: str, flops_convention: str
) -> Points:
    """Points of rows that were checked.

    Args:
        sheet: the rows, with their losses.
        variables: n, d and c of each, shape (rows,).
        params_convention: what n counts.
        flops_convention: what c counts.
    """
    import pandas as pd

    data: dict[str, Any] = {**{name: variables[name] for name in VARIABLES}, "loss": sheet.numbers("loss")}
    if "loss_se" in sheet.names:
        data["loss_se"] = sheet.numbers("loss_se")
    if "seed" in sheet.names:
        data["seed"] = typed(sheet.table[sheet.names["seed"]], sheet.mark)
    if "key" in sheet.table:
        data["key"] = ["" if is_blank(key) else str(key) for key in sheet.table["key"]]
    others = sheet.others((*data, "excluded_reason"))
    frame = pd.DataFrame({**data, **others, "excluded_reason": list(sheet.reasons)})
    return Points(frame, params_convention, flops_convention, sheet.source)
