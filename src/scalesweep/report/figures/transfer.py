"""Figures of `scalesweep check transfer`: activations against size, and loss against learning rate."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scalesweep.analysis.tuning.transfer import CoordinateCheck, LearningRates
from scalesweep.report.charts.chart import Axis, Chart, Dots, Line, Mark, Panel, Rule, log_axis, log_scale


def coordinates(checks: Sequence[CoordinateCheck]) -> Chart:
    """One panel a check and place: mean |x| against size, a line for each number of updates."""
    steps = next(iter(checks[0].values.values())).shape[1] - 1
    scale = log_scale("number", np.array([1.0, steps]), sorted({1.0, 2.0, 5.0, float(steps)} & set(range(steps + 1))))
    panels = [_coordinate(check, place) for check in checks for place in check.values]
    caption = "Mean absolute activation against size: flat lines pass, rising lines fail."
    return Chart("coordinates", caption, tuple(panels), replace(scale, label="updates"))


def _coordinate(check: CoordinateCheck, place: str) -> Panel:
    sizes = np.array(check.sizes, dtype=np.float64)
    values = np.asarray(check.values[place], dtype=np.float64)[:, 1:]
    marks: list[Mark] = []
    for i in range(values.shape[1]):
        update = float(i + 1)
        marks += [Line(sizes, values[:, i], update, width=1.0), Dots(sizes, values[:, i], np.full(len(sizes), update), size=3)]
    y = log_axis("loss", 0.8 * values[np.isfinite(values)], 1.25 * values[np.isfinite(values)], label="mean |activation|")
    return Panel(f"{place}: slope {check.worst(place):+.3f}", log_axis("number", sizes, label=check.axis), y, tuple(marks))


def learning_rates(rates: LearningRates) -> Chart:
    """Left: loss against learning rate, a line for each size. Right: the optimum against parameters."""
    lrs, params = (np.array(values, dtype=np.float64) for values in (rates.lrs, rates.params))
    left: list[Mark] = []
    right: list[Mark] = []
    for size, n, losses, optimum in zip(rates.sizes, params, rates.losses, rates.optima, strict=True):
        name = f"width {size[0]}, depth {size[1]}"
        left.append(Line(lrs, losses.mean(-1), float(n), width=1.2, name=name, group=name))
        left += [Dots(lrs, losses[:, seed], np.full(len(lrs), n), size=3) for seed in range(losses.shape[1])]
        left += [Rule("x", optimum.lr, "dot")] if optimum.interior else []
        right.append(Dots(np.array([n]), np.array([optimum.lr]), np.array([n]), is_hollow=not optimum.interior))
    y = Axis("lr", rates.lrs[0] / 1.3, rates.lrs[-1] * 1.3, "optimal recipe.lr")
    n_axis = Axis("n", params[0] / 1.3, params[-1] * 1.3, "parameters N")
    lr_axis = log_axis("lr", lrs, label="base learning rate recipe.lr")
    losses_axis = log_axis("loss", np.asarray(rates.losses, dtype=np.float64))
    return Chart(
        "learning_rate",
        "Loss against learning rate for each size, and the optimum against size.",
        (
            Panel("dots: seeds; dotted: optimum", lr_axis, losses_axis, tuple(left)),
            Panel("optimum; hollow: edge of the grid", n_axis, y, tuple(right)),
        ),
        log_scale("n", params),
    )
