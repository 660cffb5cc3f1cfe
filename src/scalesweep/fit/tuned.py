"""The warning about tuned optima that are no vertex of a quadratic."""

from collections.abc import Iterator

import numpy as np

from scalesweep.fit.results import Finding
from scalesweep.points.points import Points
from scalesweep.units import format_number


def check_tuned(points: Points) -> Iterator[Finding]:
    """A21: tuned optima without a quadratic that can be trusted; a column `loss_from` says which."""
    used = points.used
    if "loss_from" not in used or not (lowest := used["loss_from"] == "lowest").any():
        return
    errors = used["loss_se"][lowest].dropna().to_numpy(dtype=np.float64) if "loss_se" in used else np.array([])
    error = (
        f", with a standard error of {points.metric.by(format_number(float(np.median(errors))))} (median)"
        if len(errors)
        else ""
    )
    yield Finding(
        "A21",
        f"{int(lowest.sum())} of {len(used)} tuned optima are the lowest loss measured, corrected for noise and for the "
        f"distance between settings{error}, because no quadratic beside them can be trusted. Try finer settings there, "
        "at a ratio of 2 or less.",
    )
