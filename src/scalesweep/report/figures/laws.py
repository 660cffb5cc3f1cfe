"""The figures of the laws: loss against N, D and C; training curves; the joint law and what it leaves over.

A figure is a function of an analysis, or of `Material`, that gives a chart or a refusal. Colours are by log N.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from scalesweep.analysis.analyse import Analysis
from scalesweep.arrays import FloatArray
from scalesweep.errors import Refused
from scalesweep.fit import Fit, Status
from scalesweep.fit.sweep_fit import LINES
from scalesweep.laws import JointLaw, Law, PowerLaw, PowerLawFloor
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import (
    Axis,
    Band,
    Chart,
    Dots,
    Line,
    Mark,
    Panel,
    Rule,
    Scale,
    diverging_scale,
    linear_axis,
    log_axis,
    log_scale,
    some_values,
)
from scalesweep.report.figures.material import Curves, Material
from scalesweep.report.figures.measured import bars_in_words, hovers, loss_axis, measured
from scalesweep.report.words.fit import preference
from scalesweep.units import format_count, format_number

_CLIPPED = 0.95
"""Share of the residuals that a map's colours tell apart: a few outliers would leave the others white."""
_CHANCE = 0.01
"""Chance by noise below which a structure in residuals is told. Judgement."""
CURVE_POINTS = 60
"""Points of a curve that are drawn, evenly spaced in the logarithm of tokens."""


def power_laws(analysis: Analysis) -> Chart:
    """Loss against each variable where it is the bottleneck. Kaplan et al. 2020, figure 1."""
    points, fit = analysis.points, analysis.fit
    preferred = {variable.lower(): fit.preferred_of(variable) for variable in LINES}
    laws = {symbol: fit.fits[name] if name else None for symbol, name in preferred.items() if symbol in points.variables}
    y = loss_axis(points, points.loss, *(_on_law(points, name, law)[1] for name, law in laws.items() if law))
    refusals: Mapping[str, str] = {str(name): refused.reason for name, refused in fit.refusals.items()}
    doubted = {"c": "C in the table's unit, which is in doubt"} if fit.compute.is_contradiction else {}
    panels = [_power_law(points, name, law, refusals.get(f"by_{name}", ""), y, doubted.get(name)) for name, law in laws.items()]
    caption = (
        "How fast the loss falls where one thing limits it. Filled: the points that enter a line; hollow: the others. "
        f"Band: {fit.confidence:.0%} interval, with and without a floor. Lines end with the points. {bars_in_words(points)}"
    ).strip()
    return Chart("power_laws", caption, tuple(panels), log_scale(points.size_name, points.size))


def _power_law(points: Points, name: str, law: Fit | None, refusal: str, y: Axis, label: str | None) -> Panel:
    x, bent = getattr(points, name), law is not None and law.status is Status.REJECTED
    chosen = np.zeros(len(x), dtype=bool)
    chosen[list(law.rows) if law else []] = True
    others = measured(points, x, ~chosen)
    marks: list[Mark] = [replace(others, colour="faint", low=None, high=None, is_hollow=True, size=3.6)]
    if law is not None:
        line, predicted = _on_law(points, name, law)
        if (band := law.band(line)) is not None:
            marks.append(Band(line, *band))
        marks.append(measured(points, x, chosen))
        marks.append(Line(line, predicted, dash="dash" if bent else "solid"))
    title = formula(law.law) if law else "no law"
    axis = log_axis(name, x, label=label)  # type: ignore[arg-type]
    return Panel(title, axis, y, tuple(marks), "Rejected: the points bend away from this line." if bent else refusal)


def _on_law(points: Points, name: str, law: Fit) -> tuple[FloatArray, FloatArray]:
    """The line over the rows that entered."""
    x = getattr(points, name)[list(law.rows)]
    line = np.geomspace(x.min(), x.max(), 60)
    return line, law.law.predict(line)


def training_curves(material: Material) -> Chart | Refused:
    """Loss against tokens and against compute: sample efficiency and the frontier. Kaplan et al. 2020, figures 2 and 4."""
    points = material.points
    rows = _rows_of_curves(points, material.curves)
    if not rows:
        return Refused("There are no training curves: a table of points holds none.")
    scale = log_scale("n", np.array([n for n, _, _ in rows]))
    named = set(some_values(np.array([n for n, _, _ in rows])))
    by_tokens: list[Mark] = []
    by_compute: list[Mark] = []
    for n, per_token, line in rows:
        name, group = (f"N {format_count(n)}" if n in named else ""), f"{n:.6g}"
        named.discard(n)
        by_tokens.append(Line(line[:, 0], line[:, 1], n, width=0.9, name=name, group=group))
        by_compute.append(Line(line[:, 0] * per_token, line[:, 1], n, width=0.9, group=group))
    every = np.concatenate([line for _, _, line in rows])
    compute = np.concatenate([line[:, 0] * per_token for _, per_token, line in rows])
    frontier = _frontier(compute, every[:, 1])
    by_compute.append(Line(*frontier, colour="fit", width=1.6))
    y = log_axis("loss", every[:, 1], label="training loss (nats/token)")
    return Chart(
        "curves",
        "Left: larger models need fewer tokens for a loss where their curves lie lower. Right: which size is the best at each "
        "compute, the lowest loss so far in red.",
        (
            Panel("sample efficiency", log_axis("d", every[:, 0], label="tokens seen"), y, tuple(by_tokens)),
            Panel("compute frontier", log_axis("c", compute, label="training FLOPs so far"), y, tuple(by_compute)),
        ),
        scale,
    )


def _rows_of_curves(points: Points, curves: Curves) -> list[tuple[float, float, FloatArray]]:
    """N, FLOPs a token, and (tokens, loss) of each curve, the smallest models first."""
    if "key" not in points.frame:
        return []
    facts = {k: (n, c / d) for k, n, d, c in zip(*(points.frame[name] for name in ("key", "n", "d", "c")), strict=True)}
    found = []
    for key, curve in curves.items():
        line = np.array([(t, loss) for t, loss in curve if t > 0 and 0 < loss < math.inf]).reshape(-1, 2)
        n, per_token = facts.get(key, (math.nan, math.nan))
        if len(line) and math.isfinite(n * per_token):
            found.append((float(n), float(per_token), thin(line)))
    return sorted(found, key=lambda row: row[0])


def thin(line: FloatArray, points: int = CURVE_POINTS) -> FloatArray:
    """At most so many rows of a curve, evenly spaced in the logarithm of its first column, ends included."""
    if len(line) <= points:
        return line
    wanted = np.geomspace(line[0, 0], line[-1, 0], points)
    # Rounding of the last wanted place must not put it past the end.
    return line[np.unique(np.clip(np.searchsorted(line[:, 0], wanted * (1 - 1e-12)), 0, len(line) - 1))]


def _frontier(compute: FloatArray, loss: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lowest loss at or below each compute, at the computes where it falls."""
    order = np.lexsort((loss, compute))
    lowest = np.minimum.accumulate(loss[order])
    falls = np.append(True, lowest[1:] < lowest[:-1])
    return compute[order][falls], lowest[falls]


def joint_fit(analysis: Analysis) -> Chart | Refused:
    """The preferred joint law's lines over the points, and its residuals over compute."""
    points, fit = analysis.points, analysis.fit
    best = fit.preferred
    if best is None:
        return Refused(f"There is no joint law: {fit.refusal}")
    law = best.law
    assert isinstance(law, JointLaw)
    residual = 100 * np.log(points.loss / law.predict(*points.columns(law.variables)))
    every = np.ones(len(residual), dtype=bool)
    left_over = Dots(points.c, residual, points.n, hover=hovers(points, every))
    percent = linear_axis("percent", "log(measured / fitted), %", residual, around_zero=True)
    right = Panel("measured against fitted", log_axis("c", points.c), percent, (Rule("y", 0.0), left_over))
    return Chart(
        "joint_fit",
        f"Left: the law's line for some sizes, inside the measured tokens. Right: what the law leaves over of each loss; "
        f"{_structure(points.c, residual)} {bars_in_words(points)}".strip(),
        (_lines_by_size(points, law.predict, preference(fit)), right),
        log_scale("n", points.n),
    )


def kaplan_form(analysis: Analysis) -> Chart | Refused:
    """Loss against tokens and parameters with Kaplan's L(N, D) and a floor E. Kaplan et al. 2020, eq. (1.5), figure 4."""
    points, tournament = analysis.points, analysis.tournament
    if isinstance(tournament, Refused):
        return Refused(f"Kaplan's joint form was not fitted. {tournament}")
    if (found := tournament.rivals.find("kaplan_floor")) is None:
        return Refused(f"Kaplan's joint form was not fitted. {tournament.rivals.refusals.get('kaplan_floor', '')}")
    law = found.law
    values = ", ".join(f"{name} = {format_number(getattr(law, name))}" for name in law.parameters)
    left = _lines_by_size(points, law.predict, "loss against tokens")
    budgets = some_values(points.d)
    sizes = np.geomspace(points.n.min(), points.n.max(), 60)
    lines = [Line(sizes, law.predict(sizes, d), "ink", "dot", 1.0) for d in budgets]
    right = Panel("loss against parameters", log_axis("n", points.n), left.y, (*lines, measured(points, points.n)))
    return Chart(
        "kaplan_form",
        f"A form in which N and D limit one another, {law.equation}: {values}. Left: its line for some sizes; right: for some "
        "token counts. "
        f"{bars_in_words(points)}".strip(),
        (left, right),
        log_scale("n", points.n),
    )


def _lines_by_size(points: Points, predict: Callable[..., FloatArray], title: str) -> Panel:
    """Loss over tokens with a line for some sizes."""
    tokens = np.geomspace(points.d.min(), points.d.max(), 60)
    sizes = some_values(points.n)
    lines = [Line(tokens, predict(n, tokens), n, width=1.1, name=f"N {format_count(n)}", group=f"{n:.6g}") for n in sizes]
    y = loss_axis(points, points.loss, *(line.y for line in lines))
    return Panel(title, log_axis("d", points.d), y, (*lines, measured(points, points.d)))


def residuals(analysis: Analysis) -> Chart | Refused:
    """What the additive and the coupled law leave over, on the map of (N, D)."""
    points, fit = analysis.points, analysis.fit
    laws = {"additive law": fit.fits.get("joint"), "coupled law": fit.fits.get("coupled")}
    left = {
        title: 100 * np.log(points.loss / found.law.predict(points.n, points.d))
        for title, found in laws.items()
        if found is not None and isinstance(found.law, JointLaw)
    }
    if not left:
        return Refused("There is no joint law, so nothing is left over.")
    limit = float(np.quantile(np.abs(np.concatenate(list(left.values()))), _CLIPPED))
    scale = diverging_scale("percent", np.array([limit]), "log(measured / fitted), %")
    panels = [_residual_map(points, title, values, scale) for title, values in left.items()]
    return Chart(
        "residuals",
        "What each law leaves over, by place. A form that holds leaves specks of both signs everywhere. "
        f"{_saddles(points, left)}",
        tuple(panels),
        scale,
    )


def _structure(c: FloatArray, residual: FloatArray) -> str:
    """Whether residuals bend along compute, in words: what a parabola in log C explains of them, of what chance would."""
    share, chance = _explained(np.stack([np.log(c), np.log(c) ** 2], axis=1), residual)
    if not chance < _CHANCE:
        return "here it shows no bend along compute."
    return f"here it bends along compute ({share:.0%} of its variance), so the form is wrong somewhere."


def _saddles(points: Points, left: Mapping[str, FloatArray]) -> str:
    """Whether N and D interact in what each law leaves over, in words."""
    logs = [np.log(column) - np.log(column).mean() for column in (points.n, points.d)]
    said = []
    for title, residual in left.items():
        share, chance = _explained((logs[0] * logs[1])[:, None], residual)
        has = f"has a saddle ({share:.0%} of the variance): N and D interact in another way than it says"
        said.append(f"the {title} {has}" if chance < _CHANCE else f"the {title} has no saddle")
    text = "; ".join(said)
    return f"Here {text}."


def _explained(columns: FloatArray, residual: FloatArray) -> tuple[float, float]:
    """Share of the variance that a linear fit in these columns explains, and the chance of as much by noise (F test)."""
    from scipy.special import fdtrc

    design = np.column_stack([np.ones(len(residual)), (columns - columns.mean(axis=0)) / (columns.std(axis=0) + 1e-12)])
    rank, spare = int(np.linalg.matrix_rank(design)) - 1, len(residual) - int(np.linalg.matrix_rank(design))
    total = float(np.sum((residual - residual.mean()) ** 2))
    if rank < 1 or spare < 1 or total == 0:
        return 0.0, 1.0
    rest = float(np.sum((residual - design @ np.linalg.lstsq(design, residual, rcond=None)[0]) ** 2))
    if rest == 0:
        return 1.0, 0.0
    share = max(0.0, 1 - rest / total)
    return share, float(fdtrc(rank, spare, (total - rest) / rank / (rest / spare)))


def _residual_map(points: Points, title: str, values: FloatArray, scale: Scale) -> Panel:
    places, inverse = np.unique(np.stack([points.n, points.d], axis=1), axis=0, return_inverse=True)
    mean = np.bincount(inverse.ravel(), values) / np.bincount(inverse.ravel())
    hover = tuple(f"N {format_count(n)}, D {format_count(d)}: {v:+.2f} %" for (n, d), v in zip(places, mean, strict=True))
    size = float(np.clip(60 / math.sqrt(len(places)), 4.0, 10.0))  # fewer places leave room for larger squares
    dots = Dots(places[:, 0], places[:, 1], mean, size=size, symbol="square", hover=hover)
    rms = float(np.sqrt(np.mean(values**2)))
    return Panel(f"{title}: rms {rms:.2g} %", log_axis("n", points.n), log_axis("d", points.d), (dots,))


def formula(law: Law) -> str:
    """The law with its numbers, as the markup of a title."""
    if isinstance(law, PowerLaw):
        return (
            f"<i>L</i>({law.variable}) = ({markup_number(law.scale)} / {law.variable})<sup>{format_number(law.exponent)}</sup>"
        )
    if isinstance(law, PowerLawFloor):
        term = f"{markup_number(law.A)} / {law.variable}<sup>{format_number(law.alpha)}</sup>"
        return f"<i>L</i>({law.variable}) = {format_number(law.E)} + {term}"
    assert isinstance(law, JointLaw)
    u = f"{markup_number(law.A)} / N<sup>{format_number(law.alpha)}</sup>"
    v = f"{markup_number(law.B)} / D<sup>{format_number(law.beta)}</sup>"
    if law.coupling == 1:
        return f"<i>L</i>(N, D) = {markup_number(law.E)} + {u} + {v}"
    inner, outer = f"<sup>1/{format_number(law.coupling)}</sup>", f"<sup>{format_number(law.coupling)}</sup>"
    return f"<i>L</i>(N, D) = {markup_number(law.E)} + [({u}){inner} + ({v}){inner}]{outer}"


def markup_number(value: float) -> str:
    """A number with four digits, its power of ten raised."""
    if math.isinf(value):
        return "∞"
    mantissa, _, exponent = format_number(value).partition("e")
    return f"{mantissa}·10<sup>{int(exponent)}</sup>" if exponent else mantissa
