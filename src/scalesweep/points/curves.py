"""Tables whose rows are points of training curves: which they are, and the last row of each run.

A log holds many rows a run, and all but the last are of a model half-way, before its decay: a law fitted to them all is that of
the schedule. Pure functions over a pandas frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scalesweep.arrays import BoolArray, FloatArray, IntArray
from scalesweep.points.mixtures import EVALUATION_NAMES, SEED_NAMES
from scalesweep.points.states import COLUMNS, FINISHED
from scalesweep.points.values import DecimalMark, plain
from scalesweep.points.values import numbers as parsed
from scalesweep.units import plural

if TYPE_CHECKING:
    import pandas as pd

RUN_NAMES = ("runid", "run", "runname", "runpath", "key", "id", "name", "experiment", "experimentname", "expname", "modelname")
"""Columns that name a run, best first; case, spaces, hyphens, underscores, slashes and dots do not matter."""
STEP_NAMES = ("step", "globalstep", "trainerglobalstep", "trainstep", "iteration", "iter", "update", "updates")
"""Columns that count what a run has done so far. Not `steps`, which is as often the length of the whole run."""
PLANNED_TOKENS = ("plannedtokens", "targettokens", "maxtokens", "tokensplanned", "tokenbudget", "plannedd", "tokenstotal")
PLANNED_STEPS = ("plannedsteps", "maxsteps", "totalsteps", "stepsplanned", "stepsmax", "numsteps", "targetsteps")
MANY_ROWS = 8
"""Rows a run (median) from which its rising tokens make a curve. Branches that decay from one trunk, each a point of its
own, are fewer. Judgement."""
FEW_ROWS = 3
"""The same beside a column of `STEP_NAMES`, where several runs have one size: names of runs are then not names of sizes."""
DONE = 0.98
"""Share of the planned tokens or steps from which a run counts as done: logs end some steps early. Judgement."""
RUNNING_STATES = ("running", "pending", "preempted", "preempting", "resuming")


@dataclass(frozen=True, eq=False)
class Curves:
    """The curves of a table."""

    column: str
    """The column that names runs."""
    position: str
    """The column that rises along a run: steps, or tokens."""
    frame: "pd.DataFrame"
    """One row a point: `run` (counted from 0 in the order of the table), `label`, `n`, `d`, `loss`, `share` of the planned run
    (of the last row, where nothing is planned), `is_planned`, `is_running`; by run and position."""
    last: "pd.DataFrame"
    """The last row with a loss of each run, in the table's own columns, what it lacks filled from the rows before."""
    rows: IntArray
    """Position of each of these in the table, shape (runs,)."""
    unfinished: tuple[str, ...]
    """Of each run: why it has not reached its end, or empty."""

    @property
    def num_runs(self) -> int:
        """Number of curves."""
        return len(self.last)

    @property
    def note(self) -> str:
        """What was done, as a sentence."""
        return (
            f"Curves of {plural(self.num_runs, 'run')} ({self.column}) over {len(self.frame):,} rows: the last row of each, by "
            f"{self.position}, is taken as its point; to keep every row, rename {self.column}."
        )


def find_curves(table: "pd.DataFrame", names: Mapping[str, str], mark: DecimalMark = "?") -> Curves | None:
    """The curves that a table holds; None where its rows are runs.

    Args:
        table: a user's rows, in their own columns.
        names: `n`, `d`, `loss` (those that are there) -> column of the table.
        mark: what the table writes before decimals.
    """
    if "loss" not in names:
        return None
    for run in _ordered(table, RUN_NAMES, set(names.values())):
        keys = [run, *(name for name in table if plain(name) in (*SEED_NAMES, *EVALUATION_NAMES) and name != run)]
        label = np.asarray(table.groupby(keys, dropna=False, sort=False).ngroup(), dtype=np.int64)
        if (position := _position(table, names, label, mark)) is not None:
            return _curves(table, names, run, position, label, mark)
    return None


def _ordered(table: "pd.DataFrame", wanted: tuple[str, ...], taken: set[str]) -> list[str]:
    """Columns with one of these names, in the order of the names."""
    found = [str(name) for name in table if plain(name) in wanted and name not in taken]
    return sorted(found, key=lambda name: wanted.index(plain(name)))


def _position(table: "pd.DataFrame", names: Mapping[str, str], label: IntArray, mark: DecimalMark) -> str | None:
    """The column along which the rows of a run are ordered; None where they are no curve.

    It tells the rows of every run apart, and a run has one N. Few rows a run are a curve only beside a column of steps, and
    where runs are not one a size: otherwise `name` may be that of a size, each trained to several lengths.
    """
    counts = np.bincount(label)
    typical = float(np.median(counts))
    sizes = None if "n" not in names else numbers(table, names["n"], mark)
    if sizes is not None:
        known = ~np.isnan(sizes)
        pairs = np.unique(np.stack([label[known].astype(np.float64), sizes[known]]), axis=1)
        if len(np.unique(pairs[0])) < pairs.shape[1]:  # a run of several sizes is no run
            return None
        one_a_size = len(np.unique(pairs[1])) == len(counts)
    else:
        one_a_size = True
    steps = _ordered(table, STEP_NAMES, set(names.values()))
    candidates = steps + [name for key in ("d", "c") if (name := names.get(key)) and typical >= MANY_ROWS]
    if typical < (MANY_ROWS if one_a_size else FEW_ROWS):
        return None
    for name in candidates:
        values = numbers(table, name, mark)
        known = ~np.isnan(values)
        pairs = np.unique(np.stack([label[known].astype(np.float64), values[known]]), axis=1)
        if known.mean() > 0.5 and pairs.shape[1] == known.sum():
            return name
    return None


def _curves(
    table: "pd.DataFrame", names: Mapping[str, str], run: str, position: str, label: IntArray, mark: DecimalMark
) -> Curves:
    import pandas as pd

    order = np.lexsort((numbers(table, position, mark), label))
    rows, label = table.iloc[order].reset_index(drop=True), label[order]
    # Logs write what they measure on rows of their own: what a row lacks is what the run said last, its N what it ever said.
    missing = rows.replace(r"^\s*$", np.nan, regex=True)
    others = [name for name in rows if name != names["loss"]]
    filled = missing.groupby(label, sort=False)[others].ffill().groupby(label, sort=False).bfill()
    filled[names["loss"]] = rows[names["loss"]]
    loss = numbers(filled, names["loss"], mark)
    measured = np.isfinite(loss)
    kept = np.array([*(np.flatnonzero(measured) if measured.any() else [])], dtype=np.int64)
    ends = np.append(np.flatnonzero(np.diff(label[kept])), len(kept) - 1) if len(kept) else kept
    lost = np.setdiff1d(np.unique(label), label[kept])  # runs without any loss keep their last row, to be counted
    last_rows = np.sort(np.concatenate([kept[ends], np.searchsorted(label, lost, side="right") - 1]))
    last = filled.iloc[last_rows][list(table.columns)].reset_index(drop=True)
    share, is_planned = _shares(filled, names, position, label, mark)
    states = [name for name in table if str(name).lower() in COLUMNS]
    state = filled[states[0]].astype(str).str.strip().str.lower().to_numpy() if states else np.full(len(rows), "")
    nothing = np.full(len(rows), np.nan)
    frame = pd.DataFrame(
        {
            "run": label,
            "label": filled[run].astype(str).to_numpy(),
            "n": numbers(filled, names["n"], mark) if "n" in names else nothing,
            "d": numbers(filled, names["d"], mark) if "d" in names else nothing,
            "loss": loss,
            "share": share,
            "is_planned": is_planned,
            "is_running": np.isin(state, RUNNING_STATES),
        }
    )
    ended = frame.iloc[last_rows]
    is_done = np.isin(state[last_rows], FINISHED)
    unfinished = tuple(
        f"stopped at {part:.0%} of what was planned" if planned and not done and part < DONE else ""
        for part, planned, done in zip(ended["share"], ended["is_planned"], is_done, strict=True)
    )
    return Curves(run, position, frame[measured].reset_index(drop=True), last, order[last_rows], unfinished)


def _shares(
    rows: "pd.DataFrame", names: Mapping[str, str], position: str, label: IntArray, mark: DecimalMark
) -> tuple[FloatArray, BoolArray]:
    """How much of its planned tokens or steps each row has done, and whether a plan is known; else of the run's last row."""
    done = numbers(rows, position, mark)
    last = np.full(int(label.max()) + 1, -np.inf)
    np.maximum.at(last, label, np.nan_to_num(done, nan=-np.inf))
    share, is_planned = done / last[label], np.zeros(len(rows), dtype=np.bool_)
    pairs = [(PLANNED_TOKENS, names.get("d")), (PLANNED_STEPS, position if position not in names.values() else None)]
    for wanted, counted in pairs:
        for planned in _ordered(rows, wanted, set(names.values())) if counted else ():
            assert counted is not None
            parts = numbers(rows, counted, mark) / numbers(rows, planned, mark)
            known = np.isfinite(parts) & ~is_planned
            share, is_planned = np.where(known, parts, share), is_planned | known
    return share, is_planned


def numbers(table: "pd.DataFrame", name: str, mark: DecimalMark) -> FloatArray:
    """A column as float64, what is no number as NaN."""
    from pandas.api.types import is_float_dtype, is_integer_dtype

    column = table[name]
    if is_float_dtype(column) or is_integer_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return parsed(column.tolist(), mark)
