"""Rows of equal N and D that differ by something else than the seed: a tuned setting, a family, an evaluation set.

A law L(N, D) has one loss at one (N, D). Rows that differ by another setting there are not draws of one recipe: their spread is
that of the setting, and a fit through their mean is a law of no recipe at all.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scalesweep.arrays import IntArray
from scalesweep.points.values import plain

if TYPE_CHECKING:
    import pandas as pd

SEED_NAMES = ("seed", "dataseed", "initseed", "modelseed", "randomseed", "trial", "replicate", "rep", "repeat")
"""Columns whose values make replicates of one recipe."""
EVALUATION_NAMES = (
    *(
        "task",
        "tasks",
        "eval",
        "evalset",
        "evaldataset",
        "evalname",
        "evaluation",
        "benchmark",
        "split",
        "metric",
        "metricname",
    ),
    *("validationset", "valset", "testset", "domain"),
)
"""Columns whose values name what a loss was measured on."""
_RUN_LIKE = (
    *("key", "run", "runid", "runname", "runpath", "name", "id"),
    *("experiment", "experimentname", "expname", "trunk", "group"),
)
_SETTING = re.compile(
    r"lr|learningrate|batch|weightdecay|^wd$|warmup|beta[12]?$|momentum|epsilon|^eps$|dropout|clip|anneal|decay|initstd|sigma|rank"
)
"""Numeric settings of a recipe by their usual names: drawn at random, no two of their values need be equal."""
_OUTCOME = re.compile(
    r"loss|acc|ppl|perplexity|bpb|score|time|second|minute|hour|speed|persec|throughput|mfu|gradnorm|memory|flop|params|epoch|step"
    r"|token|date|created|updated|host|node|device|cost|kwh|usd|state|status|reason"
)
"""What a run gives, or what follows from N, D and C, rather than what it was given."""
_FOUND = ("tune.", "best.", "best_log_se.", "regret_", "num_settings", "num_diverged")
"""Columns of a tuned frontier, which say what tuning found."""
SAME_D = 0.01
"""Token counts of one size closer than this, relatively, are one: batches of different size round them to different steps."""
MAX_VALUES = 24
"""More words than this in a column are names of runs, or notes."""


@dataclass(frozen=True)
class Repeats:
    """Rows of equal N and D that differ by another column."""

    num_rows: int
    """Rows in such cells."""
    num_cells: int
    """Distinct (N, D) among them."""
    settings: dict[str, int]
    """Numeric column that varies within cells -> its number of values."""
    families: dict[str, int]
    """The same of words."""
    evaluations: dict[str, int]
    """The same of columns that tell evaluation sets apart."""


def find_repeats(frame: "pd.DataFrame") -> Repeats | None:
    """What tells rows of equal N and D apart beside the seed; None where nothing does.

    Args:
        frame: used rows with columns n, d, loss and any other; n and d known.
    """
    if not len(frame) or frame[["n", "d"]].isna().to_numpy().any():
        return None
    cell = find_cells(frame)
    found: dict[str, dict[str, int]] = {"settings": {}, "families": {}, "evaluations": {}}
    in_cells = np.zeros(len(frame), dtype=np.bool_)
    for name in map(str, frame):
        if (kind := kind_of(frame, name)) is None:
            continue
        varied = frame.groupby(cell)[name].transform("nunique").to_numpy() > 1
        if varied.any():
            found[kind][name] = int(frame.loc[varied, name].nunique())
            in_cells |= varied
    if not in_cells.any():
        return None
    return Repeats(int(in_cells.sum()), len(np.unique(cell[in_cells])), **found)


def find_cells(frame: "pd.DataFrame") -> IntArray:
    """Label of each row's cell, shape (rows,): equal N, and D within `SAME_D`."""
    n, d = (frame[name].to_numpy(dtype=np.float64) for name in ("n", "d"))
    order = np.lexsort((d, n))
    is_new = np.ones(len(n), dtype=np.bool_)
    is_new[1:] = (np.diff(n[order]) != 0) | (np.diff(np.log(d[order])) > np.log1p(SAME_D))
    cell = np.empty(len(n), dtype=np.int64)
    cell[order] = np.cumsum(is_new) - 1
    return cell


def kind_of(frame: "pd.DataFrame", name: str) -> str | None:
    """Whether a column holds `settings`, `families` or `evaluations`; None for anything else.

    Numbers are a setting by their name, or where their values come again and again, as those of a grid do and outcomes do not.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    short, values = plain(name), frame[name]
    if name in ("n", "d", "c", "loss", "loss_se", "excluded_reason") or short in (*SEED_NAMES, *_RUN_LIKE):
        return None
    if name.startswith(_FOUND) or (name.startswith("axis.") and name.removeprefix("axis.") in frame):
        return None
    if _OUTCOME.search(short) and not _SETTING.search(short):
        return None
    num = int(values.nunique())
    if num < 2:
        return None
    if is_numeric_dtype(values) and not is_bool_dtype(values):
        comes_again = num <= max(2, len(values) // 3)
        # Of a tuned frontier, settings are those of the best measured row.
        is_frontier = any(str(other).startswith("best.") for other in frame)
        return "settings" if (_SETTING.search(short) or comes_again) and not is_frontier else None
    if num > min(MAX_VALUES, len(values) // 2):
        return None
    return "evaluations" if is_evaluation(frame, name) else "families"


def is_evaluation(frame: "pd.DataFrame", column: str) -> bool:
    """Whether a column tells evaluation sets apart: by its name, or because rows of one named run differ by it alone."""
    if plain(column) in EVALUATION_NAMES:
        return True
    runs = [
        name
        for name in map(str, frame)
        if plain(name) in ("key", "run", "runid", "runname", "id") and frame[name].nunique() > 1
    ]
    return any(bool((frame.groupby(name)[column].nunique() > 1).all()) for name in runs if name != column)
