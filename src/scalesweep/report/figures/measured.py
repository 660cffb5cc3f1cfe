"""Measured losses as dots of a figure: one a cell, the mean where it has several seeds, with a bar that the caption names."""

from typing import TYPE_CHECKING, Any

import numpy as np

from scalesweep.arrays import BoolArray, FloatArray
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Axis, Dots, log_axis
from scalesweep.units import format_count, format_number

if TYPE_CHECKING:
    import pandas as pd


def loss_axis(points: Points, *losses: FloatArray) -> Axis:
    """A logarithmic axis of what was measured, with its unit."""
    metric = points.metric
    return log_axis("loss", *losses, label=f"validation {metric.symbol}" if metric.noun == "loss" else metric.symbol)


def measured(points: Points, x: FloatArray, chosen: BoolArray | None = None) -> Dots:
    """The measured losses of some rows over x, coloured by N, seeds of one cell as their mean, with bars where there are any.

    A bar is the standard deviation over the seeds of a cell or, of a cell with one, the standard error of its loss.
    """
    rows, used = np.ones(len(x), dtype=bool) if chosen is None else chosen, points.used
    cells, losses = _cells(used, x, rows), points.loss
    first = np.array([cell[0] for cell in cells], dtype=np.int64)
    loss = np.array([losses[cell].mean() for cell in cells])
    bar = _bars(used, cells)
    low, high = (loss - bar, loss + bar) if bar.any() else (None, None)
    hover = tuple(_hover(used, cell, float(y), float(e)) for cell, y, e in zip(cells, loss, bar, strict=True))
    return Dots(x[first], loss, points.size[first], low, high, hover=hover)


def bars_in_words(points: Points) -> str:
    """What the dots and bars of `measured` are; empty where each dot is one loss without a bar."""
    used = points.used
    cells = _cells(used, points.size if points.is_partial else points.d, np.ones(len(used), dtype=bool))
    has_seeds = any(len(cell) > 1 for cell in cells)
    has_errors = any(len(cell) == 1 and bar > 0 for cell, bar in zip(cells, _bars(used, cells), strict=True))
    if has_seeds and has_errors:
        return (
            "Dots of cells with several seeds are means, with the standard deviation over seeds as bar; other bars are "
            "standard errors of the loss."
        )
    if has_seeds:
        return "Dots of cells with several seeds are means, with the standard deviation over seeds as bar."
    return "Bars: standard errors of the loss." if has_errors else ""


def hovers(points: Points, rows: BoolArray) -> tuple[str, ...]:
    """What the page says of each row."""
    used, losses = points.used, points.loss
    return tuple(_hover(used, [int(row)], float(losses[row]), 0.0) for row in np.flatnonzero(rows))


def _cells(used: "pd.DataFrame", x: FloatArray, rows: BoolArray) -> list[list[int]]:
    """The rows by cell: equal N, D and x with different seeds; a row without a seed is its own cell."""
    n, d = (np.nan_to_num(used[name].to_numpy()) for name in ("n", "d"))
    seeds = [str(seed) for seed in used["seed"]] if "seed" in used else [""] * len(used)
    found: dict[Any, list[int]] = {}
    for row in np.flatnonzero(rows).tolist():
        found.setdefault((n[row], d[row], x[row]), []).append(row)
    cells: list[list[int]] = []
    for same in found.values():
        are_seeds = len({seeds[row] for row in same}) == len(same)
        cells += [same] if are_seeds else [[row] for row in same]
    return cells


def _bars(used: "pd.DataFrame", cells: list[list[int]]) -> FloatArray:
    losses = used["loss"].to_numpy(dtype=np.float64)
    errors = np.nan_to_num(used["loss_se"].to_numpy(dtype=np.float64)) if "loss_se" in used else np.zeros(len(used))
    return np.array([np.std(losses[cell], ddof=1) if len(cell) > 1 else errors[cell[0]] for cell in cells])


def _hover(used: "pd.DataFrame", cell: list[int], loss: float, bar: float) -> str:
    row = used.iloc[cell[0]]
    places = (("N", format_count(row["n"])), ("D", format_count(row["d"])), ("C", format_number(row["c"])))
    known = [f"{symbol} {text}" for (symbol, text) in places if np.isfinite(row[symbol.lower()])]
    place = ", ".join(known[:2])
    if len(cell) > 1:
        return f"{place}, {len(cell)} seeds: {loss:.4f}, sd {bar:.4f}"
    key = str(row["key"])[:12] if "key" in row else ""
    seed = row.get("seed", "")
    words = f", seed {seed:g}" if isinstance(seed, (int, float, np.number)) else f", seed {seed}" if seed else ""
    return f"{key} {place}{words}: {loss:.4f}".strip()
