"""A user's columns as tuned settings: what makes `tune=lr,batch_size` of a table the same as a tuned sweep."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scalesweep.analysis.tuning.frontier import AXIS, TUNE
from scalesweep.analysis.tuning.quantity import known_names
from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError, did_you_mean
from scalesweep.points.mixtures import find_repeats
from scalesweep.points.points import Points
from scalesweep.units import plural

MIN_VALUES = 3
"""Values that a quadratic needs."""


def tune_by(points: Points, columns: Sequence[str]) -> Points:
    """The table with a `tune.SETTING` for each column, so that laws are fitted to the optimum over them.

    Other columns that tell rows of equal N and D apart keep optima apart, as the axes of a sweep do.

    Raises:
        PointsError: there is no such column, or it has not at least three different positive numbers.
    """
    frame = points.frame.copy()
    for column in columns:
        if column not in frame:
            others = [str(name) for name in frame.columns if name != "excluded_reason"]
            hint = did_you_mean(column, others)
            raise PointsError(f"tune = {column!r}: {points.source} has no such column{hint}; it has {', '.join(others)}.")
        frame[TUNE + known_names(columns)[column]] = _positive(points, column)
    kept = find_repeats(points.used)
    for name in {**kept.settings, **kept.families, **kept.evaluations} if kept else {}:
        if name not in columns and not name.startswith(AXIS):
            frame[AXIS + name] = frame[name]
    return replace(points, frame=frame)


def with_known_names(points: Points) -> Points:
    """The table with `tune.lr` and its like under the settings that they mean, such as `tune.recipe.lr`."""
    names = [str(name).removeprefix(TUNE) for name in points.frame.columns if str(name).startswith(TUNE)]
    known = {TUNE + old: TUNE + new for old, new in known_names(names).items() if old != new}
    return replace(points, frame=points.frame.rename(columns=known)) if known else points


def _positive(points: Points, column: str) -> FloatArray:
    import pandas as pd

    values = np.asarray(pd.to_numeric(points.frame[column], errors="coerce"), dtype=np.float64)
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        raise PointsError(
            f"tune = {column!r}: {len(bad)} of {len(values)} rows of {points.source} have no positive number there, first row "
            f"{bad[0] + 1}: {points.frame[column].iloc[bad[0]]!r}; leave these rows out."
        )
    if (num := len(np.unique(values))) < MIN_VALUES:
        raise PointsError(
            f"tune = {column!r}: {points.source} has {plural(num, 'value')} of it; an optimum needs at least {MIN_VALUES}."
        )
    return values
