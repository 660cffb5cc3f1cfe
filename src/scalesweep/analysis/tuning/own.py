"""A user's columns as tuned settings: what makes `tune=lr,batch_size` of a table the same as a tuned sweep."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scalesweep.analysis.tuning.frontier import AXIS, BATCH, LR, TUNE
from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError, did_you_mean
from scalesweep.points.mixtures import find_repeats, plain
from scalesweep.points.points import Points
from scalesweep.units import plural

_SAME = {
    **dict.fromkeys(("lr", "learningrate", "maxlr", "peaklr", "maxlearningrate", "peaklearningrate", "recipelr"), LR),
    **dict.fromkeys(("batchtokens", "tokensperbatch", "tokensperstep", "globalbatchtokens", "recipebatchtokens"), BATCH),
}
"""Columns that mean a setting of this program, whose windows and laws they then have. A batch in sequences is not one."""
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
        frame[TUNE + _SAME.get(plain(column), column)] = _positive(points, column)
    kept = find_repeats(points.used)
    for name in {**kept.settings, **kept.families, **kept.evaluations} if kept else {}:
        if name not in columns and not name.startswith(AXIS):
            frame[AXIS + name] = frame[name]
    return replace(points, frame=frame)


def with_known_names(points: Points) -> Points:
    """The table with `tune.lr` and its like under the settings that they mean, such as `tune.recipe.lr`."""
    columns = {str(name): str(name).removeprefix(TUNE) for name in points.frame.columns if str(name).startswith(TUNE)}
    names = {old: TUNE + _SAME.get(plain(short), short) for old, short in columns.items()}
    new = {old: name for old, name in names.items() if old != name and name not in points.frame}
    return replace(points, frame=points.frame.rename(columns=new)) if len(set(new.values())) == len(new) and new else points


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
