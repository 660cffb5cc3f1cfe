"""The figures that a reviewer asks for: profile likelihood, tuning curves, collapse of training curves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.health import COLLAPSE_FROM, Curve, normalised_curve, rays
from scalesweep.analysis.health import collapse as statistic
from scalesweep.analysis.tuning.frontier import Frontier
from scalesweep.analysis.tuning.quantity import LR
from scalesweep.errors import Refused
from scalesweep.fit.profiles import profile_curves
from scalesweep.fit.solve.profile import ProfileCurve
from scalesweep.points.metric import Metric
from scalesweep.report.charts.chart import (
    Axis,
    Chart,
    Dots,
    Line,
    Mark,
    Panel,
    Rule,
    linear_axis,
    log_axis,
    log_scale,
    some_values,
)
from scalesweep.report.figures.material import Material
from scalesweep.report.figures.measured import loss_axis
from scalesweep.units import format_count, format_number

_SYMBOLS = {"alpha": "α", "beta": "β", "kappa": "κ", "E": "E"}
_REACH = 3.2
"""Highest root of the likelihood ratio that is drawn, in thresholds: enough to see whether a side goes on rising."""
_FEW = 5
"""Values without which a profile is no curve."""
_EXACT = 1e-9
"""Residuals in log loss below which they are rounding."""
_MAX_PANELS = 6
"""Token budgets that are shown, the largest of a tuned sweep."""
_ONE_CURVE = 1.5
"""Spread across sizes over spread across seeds up to which curves are one; about 1 says so (`analysis.health`). Judgement."""
_MOST_TICKS = 5
"""Labels along the narrow panels of profiles."""


def profile(analysis: Analysis) -> Chart | Refused:
    """Likelihood ratio against E and the exponents of the preferred law, all else re-estimated."""
    fit = analysis.fit
    if fit.preferred is None:
        return Refused("There is no joint law, so no likelihood to profile.")
    if fit.preferred.residual_rms < _EXACT:
        return Refused("The points lie on the law, so there is no noise to measure a likelihood by.")
    found = profile_curves(analysis.points, fit.preferred, fit.confidence)
    curves = {name: curve for name, curve in found.items() if _is_curve(curve)}
    if not curves:
        return Refused(
            "There are no spare points, or no parameter changes the likelihood smoothly, so there is no ratio to draw."
        )
    return Chart(
        "profile",
        "How much worse the law fits when one parameter is held. Inside the dashed line lies its "
        f"{fit.confidence:.0%} interval, points taken as independent; a side that stays below it is open.",
        tuple(_profile(name, curve, fit.metric) for name, curve in curves.items()),
    )


def _is_curve(curve: ProfileCurve) -> bool:
    """Whether there is something to draw: not so where the likelihood jumps, or does not change at all."""
    near = curve.root <= _REACH * curve.threshold
    return len(np.unique(curve.values[near])) >= _FEW and float(curve.root[near].max()) > 0


def _profile(name: str, curve: ProfileCurve, metric: Metric) -> Panel:
    near = curve.root <= _REACH * curve.threshold
    unit = metric.short if name == "E" else ""
    symbol = f"{_SYMBOLS[name]} ({unit})" if unit else _SYMBOLS[name]
    y = Axis(
        "number", 0.0, min(_REACH * curve.threshold, 1.1 * float(curve.root[near].max())), "√ likelihood ratio", is_log=False
    )
    ends = ["∞" if math.isinf(end) else format_number(end) for end in (curve.low, curve.high)]
    title = f"{symbol.split()[0]} in [{', '.join(ends)}]"
    at = replace(linear_axis("number", symbol, curve.values[near]), most_ticks=_MOST_TICKS)
    marks: tuple[Mark, ...] = (
        Rule("y", curve.threshold, "dash"),
        Rule("x", curve.centre, "dot"),
        Line(curve.values[near], curve.root[near], "fit"),
    )
    return Panel(title, at, y, marks)


def tuning(material: Material) -> Chart | Refused:
    """Loss against learning rate at each size and budget, with the optimum of the local quadratic."""
    frontier = material.frontier
    if frontier is None or LR not in frontier.settings:
        return Refused("No learning rate was tuned.")
    budgets = some_values(np.array([group.d for group in frontier.groups]))[-_MAX_PANELS:]
    measured = frontier.measured.used
    scale = log_scale("n", measured["n"].to_numpy(dtype=np.float64))
    every = measured[f"tune.{LR}"].to_numpy(dtype=np.float64)
    x = log_axis("lr", every, label=LR)
    panels = [_tuning(frontier, d, x) for d in budgets]
    return Chart(
        "tuning",
        "Where the best learning rate lies at each token budget. Ring: the optimum; a size without one has its lowest loss at "
        "an end of what was tried.",
        tuple(panels),
        scale,
    )


def _tuning(frontier: Frontier, d: float, x: Axis) -> Panel:
    sizes = sorted({group.n for group in frontier.groups if math.isclose(group.d, d, rel_tol=0.1)})
    frame = frontier.measured.used
    marks: list[Mark] = []
    losses = []
    for n in sizes:
        rows = frame[(frame["n"] == n) & (np.abs(np.log(frame["d"] / d)) < 0.1)]
        each = rows.groupby([f"tune.{LR}", *(["seed"] if "seed" in rows else [])])["loss"].min().groupby(level=0).mean()
        lr, loss = each.index.to_numpy(dtype=np.float64), each.to_numpy(dtype=np.float64)
        losses.append(loss)
        name = f"N {format_count(n)}"
        marks += [Line(lr, loss, n, width=1.1, name=name), Dots(lr, loss, np.full(len(lr), n), size=3.6, group=name)]
        here = [o for o in frontier.optima if o.n == n and math.isclose(o.d, d, rel_tol=0.1) and LR in o.settings]
        losses.append(np.array([o.loss for o in here]))
        marks += [Dots(np.array([o.values[LR]]), np.array([o.loss]), "fit", is_hollow=True, size=6) for o in here]
    return Panel(f"D = {format_count(d)} tokens", x, loss_axis(frontier.measured, *losses), tuple(marks))


def collapse(material: Material) -> Chart | Refused:
    """Normalised training curves of one tokens-per-parameter ratio, all sizes and seeds. Qiu et al. 2025 (arXiv 2507.02119)."""
    best = material.analysis.fit.preferred if material.analysis else None
    floor = getattr(best.law, "E", None) if best else None
    if floor is None:
        return Refused("There is no joint law, so no floor to normalise curves by.")
    found: Mapping[str, list[dict[str, float]]] = {
        key: [{"tokens": t, "loss": loss} for t, loss in curve if 0 < loss < math.inf] for key, curve in material.curves.items()
    }
    usable = [
        (ratio, ray)
        for ratio, ray in rays(material.points, found)
        if all(len(curve) > 2 and curve[-1]["loss"] > floor for seeds in ray.values() for curve in seeds)
    ]
    if not usable:
        return Refused("No ratio of tokens to parameters was measured at two sizes with the same two or more seeds.")
    ratio, ray = max(usable, key=lambda pair: (len(pair[1]), pair[0]))
    share = np.linspace(COLLAPSE_FROM, 1.0, 60)
    lines = [
        Line(share, normalised_curve(curve, floor, share), n, width=0.9, name=f"N {format_count(n)}" if i == 0 else "")
        for n, seeds in ray.items()
        for i, curve in enumerate(seeds)
    ]
    y = log_axis("number", *(line.y for line in lines), label="(L(x) - E) / (L(1) - E)")
    return Chart(
        "collapse",
        f"Training curves of {len(ray)} sizes at {format_number(ratio)} tokens per parameter, less E = {format_number(floor)} "
        f"and over their ends. {_collapses(ray, floor)}",
        (Panel("collapse", Axis("number", 0.08, 1.02, "share of the run", is_log=False), y, tuple(lines)),),
        log_scale("n", np.array(list(ray))),
    )


def _collapses(ray: Mapping[float, Sequence[Curve]], floor: float) -> str:
    """Whether the curves are one, in words."""
    found = statistic(ray, floor)
    told = f"sizes differ {found.ratio:.2g} times as much as seeds do"
    if found.ratio <= _ONE_CURVE:
        return f"They fall on one curve ({told}): the recipe carries over between sizes."
    return f"They do not fall on one curve ({told}): the recipe does not carry over between sizes."
