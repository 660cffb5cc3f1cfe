"""Columns of a user's table in the units and the form that are fitted, with sentences on what was changed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import BoolArray, FloatArray
from scalesweep.counting import LossMetric
from scalesweep.errors import PointsError
from scalesweep.points.metric import METRICS, NATS_PER_TOKEN, Metric, doubt, metric_of_header
from scalesweep.points.trends import rank_correlation
from scalesweep.points.unit_names import scale_of
from scalesweep.units import plural


@dataclass(frozen=True, eq=False)
class Losses:
    """A loss column as it is fitted."""

    metric: Metric
    values: FloatArray
    """In the metric's unit, shape (rows,)."""
    slope: FloatArray
    """What a standard error of the table's value is multiplied by, shape (rows,)."""
    notes: tuple[str, ...]
    """What the column holds, and what was done to it."""
    is_changed: bool = False
    """Whether the values are others than the table's."""


def scale_columns(
    columns: Mapping[str, FloatArray], headers: Mapping[str, str], units: Mapping[str, str], source: str
) -> tuple[dict[str, FloatArray], tuple[str, ...]]:
    """Those of n, d and c that have a unit, in parameters, tokens and FLOPs, and sentences on that.

    Args:
        columns: by n, d and c, the values, shape (rows,).
        headers: their names in the table.
        units: by n, d and c, names of `unit_names.UNITS`.
        source: for messages.

    Raises:
        SpecError: there is no such unit.
        PointsError: the table has no such column.
    """
    scaled, notes = {}, []
    for name, unit in units.items():
        factor = scale_of(name, unit)
        if name not in columns:
            raise PointsError(f"{source}: units.{name} = {unit!r}, but the table has no column of {name}.")
        scaled[name] = columns[name] * factor
        notes.append(f"{name.upper()} is {headers[name]} times {factor:g} (units.{name}={unit}).")
    return scaled, tuple(notes)


def read_losses(
    values: FloatArray, is_used: BoolArray, numbers: Sequence[int], header: str, stated: LossMetric | None, source: str
) -> Losses:
    """The losses that are fitted, of what the column holds: as stated, or else as its header says, or nats per token.

    Args:
        values: of the table, NaN where there is none, shape (rows,).
        is_used: rows that no reason leaves out, shape (rows,).
        numbers: of the rows in their file, from 1.
        header: name of the column.
        stated: value of `count.loss`, if any.
        source: for messages.

    Raises:
        PointsError: a used value cannot be one of the metric.
    """
    metric = METRICS[stated] if stated else metric_of_header(header) or NATS_PER_TOKEN
    known = is_used & np.isfinite(values)
    is_percent = metric.is_share and bool(known.any()) and 1 < float(values[known].max()) <= 100
    plain = values / 100 if is_percent else values
    with np.errstate(all="ignore"):  # what cannot be turned is named below, unless its row is left out
        losses, slope = metric.turn(plain), metric.slope(plain) / (100 if is_percent else 1)
    if metric is not NATS_PER_TOKEN:  # positive numbers are asked for by the table anyway
        bad = np.flatnonzero(known & ~(np.isfinite(losses) & (losses > 0) & metric.holds(plain)))
        if len(bad):
            others = f" (and {plural(len(bad) - 1, 'row')} more)" if len(bad) > 1 else ""
            raise PointsError(
                f"{source}: row {numbers[bad[0]]}, column {header}: {values[bad[0]]:g} is no {metric.title}{others}, which is "
                f"{metric.allowed}; "
                "name the right metric by count.loss=..., or leave the row out by an excluded_reason."
            )
    if metric is NATS_PER_TOKEN:
        return Losses(metric, losses, slope, ())
    note = f"The column {header} holds {metric.title}{', in percent and taken as a share' if is_percent else ''}"
    notes = (f"{note}; {metric.turned}." if metric.turned else f"{note}.",)
    return Losses(metric, losses, slope, notes, is_percent or bool(metric.turned))


def assume_nats(header: str, loss: FloatArray, scale: FloatArray) -> tuple[str, ...]:
    """That nobody stated the unit of the loss, and what else its values may be.

    Args:
        header: name of the column.
        loss: of the used rows, shape (rows,).
        scale: N D of the used rows, or what the table has of it, shape (rows,).
    """
    said = f"The loss, {header}, is taken as nats per token, which nothing states (count.loss)."
    if not len(loss) or math.isnan(rank := rank_correlation(scale, loss)):
        return (said,)
    return (said, doubted) if (doubted := doubt(loss, rank)) else (said,)
