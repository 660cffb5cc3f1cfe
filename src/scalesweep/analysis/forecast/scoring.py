"""The comparison of a filed forecast with what was measured later."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scalesweep.analysis.forecast.dated import DatedForecast, Forecast, hash_points, name_target
from scalesweep.errors import PointsError
from scalesweep.laws import LAWS
from scalesweep.points.metric import METRICS
from scalesweep.points.points import Points


@dataclass(frozen=True)
class Comparison:
    """A forecast and one measured row."""

    key: str
    """The row's key; empty without."""
    n: float
    d: float
    loss: float
    """Nats per token."""
    form_error: float
    """L_predicted / L - 1 of the preferred form."""
    in_form: bool
    """Whether the loss lies in the interval *if this form holds*."""
    error: float | None
    """L_predicted / L - 1 of the mean of the forms, beside which the honest interval stands; None if the forecast abstained."""
    in_honest: bool | None
    """Whether it lies in the honest interval; None if the forecast abstained."""


@dataclass(frozen=True)
class Score:
    """A forecast compared with what was measured."""

    filed: DatedForecast
    rows: tuple[Comparison, ...]
    """The measured rows that it was about."""
    is_unseen: bool
    """Whether the points differ from those that the forecast was made from."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "date": self.filed.day.isoformat(),
            "sha256": self.filed.sha256,
            "is_unseen": self.is_unseen,
            "rows": [asdict(row) for row in self.rows],
        }


def score(filed: DatedForecast, points: Points, tolerance: float = 0.05) -> Score:
    """Compare a filed forecast with rows that were measured later.

    Of a model, these are the rows whose N and D are both within the tolerance, and by a law of repeated data U too; of a
    compute, the row with the lowest loss among those whose k N D is.

    Raises:
        PointsError: no used row is near the target, or the points are of another metric.
    """
    made = filed.forecast
    if points.metric.name != made.origin.metric:
        raise PointsError(
            f"{points.source}: the loss is {points.metric.title}, and the forecast is of {METRICS[made.origin.metric].title}; "
            "name the metric of the points by count.loss=...."
        )
    n, d, c, loss = points.n, points.d, points.c, points.loss
    limit = math.log1p(tolerance) + 1e-12  # a row at the very tolerance is near, whatever the rounding
    if made.target == "model":
        assert made.n is not None  # a model is asked for by its N and D
        assert made.d is not None
        near = (np.abs(np.log(n / made.n)) <= limit) & (np.abs(np.log(d / made.d)) <= limit)
        if made.unique_tokens or "U" in LAWS[made.form_name].variables:
            near &= np.abs(np.log(points.u / (made.unique_tokens or made.d))) <= limit
    else:
        count = c if made.n is None else made.origin.flops_per_parameter_and_token * n * d
        near = np.abs(np.log(count / made.c)) <= limit
    rows = np.flatnonzero(near)
    if not len(rows):
        raise PointsError(f"{points.source} has no used row within {tolerance:.0%} of the forecast's {name_target(made)}.")
    if made.target == "compute":
        rows = rows[[int(np.argmin(loss[rows]))]]
    keys = points.used["key"].tolist() if "key" in points.used else [""] * len(n)
    compared = tuple(_compare(made, str(keys[row]), float(n[row]), float(d[row]), float(loss[row])) for row in rows)
    return Score(filed, compared, hash_points(points) != made.origin.sha256)


def _compare(made: Forecast, key: str, n: float, d: float, loss: float) -> Comparison:
    form, honest = made.form, made.honest
    error, in_honest = (honest.value / loss - 1, honest.interval.holds(loss)) if honest else (None, None)
    return Comparison(key, n, d, loss, form.value / loss - 1, form.interval.holds(loss), error, in_honest)
