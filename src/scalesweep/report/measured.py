"""Measured losses as dots of a figure: one a cell, the mean where it has several seeds, with a bar that the caption names."""

from typing import Any

import numpy as np

from scalesweep.laws import format_count
from scalesweep.points import Points
from scalesweep.report.chart import BoolArray, Dots, FloatArray


def measured(points: Points, x: FloatArray, chosen: BoolArray | None = None) -> Dots:
    """The measured losses of some rows over x, coloured by N, seeds of one cell as their mean, with bars where there are any.

    A bar is the standard deviation over the seeds of a cell or, of a cell with one, the standard error of its loss.
    """
    rows = np.ones(len(x), dtype=bool) if chosen is None else chosen
    cells = _cells(points, x, rows)
    first = np.array([cell[0] for cell in cells], dtype=np.int64)
    loss = np.array([points.loss[cell].mean() for cell in cells])
    bar = np.array([_bar(points, cell) for cell in cells])
    low, high = (loss - bar, loss + bar) if bar.any() else (None, None)
    hover = tuple(_hover(points, cell, float(y), float(e)) for cell, y, e in zip(cells, loss, bar, strict=True))
    return Dots(x[first], loss, points.n[first], low, high, hover=hover)


def bars_in_words(points: Points) -> str:
    """What the dots and bars of `measured` are; empty where each dot is one loss without a bar."""
    cells = _cells(points, points.d, np.ones(len(points.d), dtype=bool))
    has_seeds = any(len(cell) > 1 for cell in cells)
    has_errors = any(len(cell) == 1 and _bar(points, cell) > 0 for cell in cells)
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
    return tuple(_hover(points, [int(row)], float(points.loss[row]), 0.0) for row in np.flatnonzero(rows))


def _cells(points: Points, x: FloatArray, rows: BoolArray) -> list[list[int]]:
    """The rows by cell: equal N, D and x with different seeds; a row without a seed is its own cell."""
    used, n, d = points.used, points.n, points.d
    seeds = [str(seed) for seed in used["seed"]] if "seed" in used else [""] * len(used)
    found: dict[Any, list[int]] = {}
    for row in np.flatnonzero(rows).tolist():
        found.setdefault((n[row], d[row], x[row]), []).append(row)
    cells: list[list[int]] = []
    for same in found.values():
        are_seeds = len({seeds[row] for row in same}) == len(same)
        cells += [same] if are_seeds else [[row] for row in same]
    return cells


def _bar(points: Points, cell: list[int]) -> float:
    if len(cell) > 1:
        return float(np.std(points.loss[cell], ddof=1))
    return float(np.nan_to_num(points.used["loss_se"].iloc[cell[0]])) if "loss_se" in points.frame else 0.0


def _hover(points: Points, cell: list[int], loss: float, bar: float) -> str:
    row = points.used.iloc[cell[0]]
    place = f"N {format_count(row['n'])}, D {format_count(row['d'])}"
    if len(cell) > 1:
        return f"{place}, {len(cell)} seeds: {loss:.4f}, sd {bar:.4f}"
    key = str(row["key"])[:12] if "key" in row else ""
    seed = row.get("seed", "")
    words = f", seed {seed:g}" if isinstance(seed, (int, float, np.number)) else f", seed {seed}" if seed else ""
    return f"{key} {place}{words}: {loss:.4f}".strip()
