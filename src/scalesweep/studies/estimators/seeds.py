"""A/A: one half of the seeds against the other, where every effect is known to be none."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.points.points import Points
from scalesweep.studies.base import Control

MOST_SDS = 3.0
"""Standard deviations by which the halves may differ. A 90 % interval would fail one sound sweep in ten, and a failed control
withholds every verdict; three standard deviations fail one in 370."""
SD_DRAWS = 60
"""Resamples of each half: enough for a standard deviation to a tenth."""
WITHOUT = "The table has no column seed: no A/A control was possible, and noise between seeds is not known."
"""What a study says of a table that does not tell its seeds."""


def halves(points: Points) -> tuple[Points, Points] | None:
    """The used rows of the lower and of the upper half of the seeds; None where the table has no column of seeds.

    Raises:
        PointsError: all rows have one seed, so that nothing shows how runs differ.
    """
    used = points.used
    if "seed" not in used:
        return None
    seeds = sorted(used["seed"].unique())
    if len(seeds) < 2:
        raise PointsError(f"{points.source} has one seed; a study needs at least 2, to know what is noise.")
    is_first = used["seed"].isin(seeds[: len(seeds) // 2])
    first, second = (dataclasses.replace(points, frame=used[mask].reset_index(drop=True)) for mask in (is_first, ~is_first))
    return first, second


def same_by_seed(both: tuple[Points, Points], measure: Callable[[Points], tuple[float, FloatArray]], of: str) -> Control:
    """The control that both halves of the seeds give the same number, within `MOST_SDS` deviations of their difference.

    Args:
        both: of `halves`.
        measure: points -> the number and its resamples, shape (draws,), as a logarithm where it is a ratio.
        of: what the number is, after "The two halves of the seeds give the same".
    """
    (one, drawn_one), (other, drawn_other) = (measure(half) for half in both)
    difference, sd = other - one, math.hypot(_deviation(drawn_one), _deviation(drawn_other))
    low, high = difference - MOST_SDS * sd, difference + MOST_SDS * sd
    return Control("A/A", f"The two halves of the seeds give the same {of}.", low <= 0 <= high, difference, low, high, 0.0)


def _deviation(drawn: FloatArray) -> float:
    """Standard deviation by the middle 90 % of the resamples, which a few that ran off do not move."""
    low, high = np.percentile(drawn[np.isfinite(drawn)], (5, 95))
    return float(high - low) / 3.29  # of a normal distribution these are 3.29 standard deviations apart
