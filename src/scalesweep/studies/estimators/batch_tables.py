"""Tables and figure of the critical batch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.laws.batch import KAPLAN_CRITICAL_BATCH
from scalesweep.report.charts.chart import Chart, Dots, Line, Mark, Panel, Role, log_axis
from scalesweep.studies.estimators.critical_batch import Size
from scalesweep.studies.estimators.noise import LossNoise
from scalesweep.units import format_count, format_number

ZHANG_EXPONENT = 0.47
"""Of the critical batch in D: Zhang et al. 2024, arXiv 2410.21676."""
_ROLES: tuple[Role, ...] = ("first", "second", "third")


def critical_interval(size: Size, loss: float, noise: LossNoise) -> tuple[float, float, float]:
    """B_crit of a size at a loss, in tokens, and its interval."""
    value, se = size.curve.estimate(lambda curve: curve.critical_at(loss))
    half = noise.quantile() * noise.sd * se
    return math.exp(value), math.exp(value - half), math.exp(value + half)


def by_level(sizes: Sequence[Size], noise: LossNoise) -> list[Mapping[str, Any]]:
    """E_min, S_min and B_crit of each size at each of its losses, by the curve and by the hyperbola of this loss alone."""
    rows: list[Mapping[str, Any]] = []
    for size in sizes:
        alone = {one.loss: one.critical for one in size.hyperbolas}
        for loss in map(float, size.levels):
            value, low, high = critical_interval(size, loss, noise)
            fewest = math.exp(size.curve.log_tokens(loss))
            rows.append(
                {
                    "n": size.n,
                    "loss": loss,
                    "E_min": fewest,
                    "S_min": fewest / value,
                    "B_crit": value,
                    "low": low,
                    "high": high,
                    "B_crit by this loss alone": alone.get(loss, math.nan),
                }
            )
    return rows


def by_batch(sizes: Sequence[Size]) -> list[Mapping[str, Any]]:
    """What each batch costs at a size's middle loss, and its best rate over that of the smallest batch.

    C / C_min = E / E_min = 1 + B / B_crit, because a token costs the same FLOPs at every batch.
    """
    rows: list[Mapping[str, Any]] = []
    for size in sizes:
        critical = math.exp(size.curve.critical_at(float(size.levels[1])))
        rates = {one: float(np.log(size.cells.rate[size.cells.batch == one]).mean()) for one in size.cells.batches}
        for batch, rate in rates.items():
            rows.append(
                {
                    "n": size.n,
                    "batch_tokens": float(batch),
                    "B / B_crit": float(batch) / critical,
                    "C / C_min": 1 + float(batch) / critical,
                    "best rate over that of the smallest batch": math.exp(rate - rates[size.cells.batches[0]]),
                    "vertices": f"{int(size.cells.is_inner[size.cells.batch == batch].sum())} of "
                    f"{int(np.sum(size.cells.batch == batch))}",
                }
            )
    return rows


def chart(sizes: Sequence[Size], noise: LossNoise) -> Chart:
    """Tokens to a loss against the batch, and the critical batch against E_min and against the loss."""
    shown = [sizes[0], sizes[-1]] if len(sizes) > 1 else [sizes[0]]
    by_tokens, by_loss = _critical(shown, noise, at_data=True), _critical(shown, noise, at_data=False)
    tokens, loss, critical = (np.concatenate(every) for every in zip(*(_levels(one, noise) for one in shown), strict=True))
    y = log_axis("d", critical, label="critical batch (tokens)")
    published = f"dashed: exponents {ZHANG_EXPONENT} (Zhang) and {-1 / KAPLAN_CRITICAL_BATCH.exponent:.2f} (Kaplan)"
    panels = (
        _trade(sizes[0]),
        Panel("By data", log_axis("d", tokens, label="fewest tokens to the loss"), y, tuple(by_tokens)),
        Panel("By loss", log_axis("loss", loss), y, tuple(by_loss)),
    )
    caption = (
        "Left: tokens to a loss against the batch, with one hyperbola a loss. Middle and right: the critical batch of each "
        f"size against its fewest tokens and against the loss; lines by the curve, hollow by one loss alone; {published}."
    )
    return Chart("batch", caption, panels)


def _trade(size: Size) -> Panel:
    """Tokens to three losses of one size against the batch."""
    marks: list[Mark] = []
    batch = np.geomspace(size.cells.batches[0], size.cells.batches[-1], 60)
    every = []
    for one, role in zip(size.hyperbolas, _ROLES, strict=False):
        name = f"loss {format_number(one.loss)}"
        marks += [Line(batch, one.tokens_at(batch), role), Dots(one.batch, one.tokens, role, name=name)]
        every += [one.tokens, one.tokens_at(batch)]
    x = log_axis("d", batch, label="batch (tokens)")
    y = log_axis("d", *(every or [size.cells.d]), label="tokens to the loss")
    return Panel(f"N = {format_count(size.n)}", x, y, tuple(marks))


def _levels(size: Size, noise: LossNoise) -> tuple[FloatArray, FloatArray, FloatArray]:
    """E_min and loss of a size's levels, and all of the critical batches that are shown."""
    ends = np.array([critical_interval(size, float(loss), noise) for loss in size.levels])
    alone = np.array([one.critical for one in size.hyperbolas])
    tokens = np.exp([size.curve.log_tokens(float(loss)) for loss in size.levels])
    return tokens, size.levels, np.concatenate([ends.ravel(), alone])


def _critical(sizes: Sequence[Size], noise: LossNoise, *, at_data: bool) -> list[Mark]:
    marks: list[Mark] = []
    for size, role in zip(sizes, _ROLES, strict=False):
        log_tokens = np.array([size.curve.log_tokens(float(loss)) for loss in size.levels])
        x = np.exp(log_tokens) if at_data else size.levels
        value, low, high = np.array([critical_interval(size, float(loss), noise) for loss in size.levels]).T
        marks += [Line(x, value, role), Dots(x, value, role, low, high, name=f"N = {format_count(size.n)}")]
        alone = {one.loss: one.critical for one in size.hyperbolas}
        single = np.array([alone.get(float(loss), math.nan) for loss in size.levels])
        if (known := np.isfinite(single)).any():
            marks.append(Dots(x[known], single[known], role, is_hollow=True))
    power = ZHANG_EXPONENT if at_data else -1 / KAPLAN_CRITICAL_BATCH.exponent
    marks.append(Line(x, value[1] * (x / x[1]) ** power, "faint", "dash"))
    return marks
