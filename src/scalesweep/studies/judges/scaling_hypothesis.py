"""Does more compute keep giving a lower loss, predictably?

Along the compute optimum every doubling is compared with the noise between seeds, on several texts. The larger cells of `base`
are forecast from its small ones before they are trained. Rival laws are compared over the measured range, a break is looked
for in it, and how far the points carry a prediction is said: beyond that, a wall could not be seen.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from scalesweep.analysis.forecast.tournament import run_tournament
from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, PointsError
from scalesweep.fit.horizon import Range, furthest
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Band, Chart, Dots, Line, Panel, linear_axis, log_axis
from scalesweep.report.charts.chart import Rule as Across
from scalesweep.studies.base import Arms, Effect, Findings, Rule, arm
from scalesweep.studies.estimators.along_optimum import AlongOptimum, Form, Frontier, largest_compute
from scalesweep.studies.estimators.effective import broken_loss, effective_compute, fit_frontier
from scalesweep.studies.estimators.foretold import PERCENT, TESTED_DRAWS, Foretold, foretell
from scalesweep.studies.estimators.planted import demo_surface, noisy
from scalesweep.studies.estimators.planted_texts import demo_curves, displaced, with_gain
from scalesweep.studies.estimators.seeds import SD_DRAWS, WITHOUT, halves, same_by_seed
from scalesweep.studies.estimators.texts import Text
from scalesweep.studies.estimators.theories import envelope
from scalesweep.studies.estimators.walls import MIN_GAIN, PLACES, Wall, find_wall
from scalesweep.studies.words import number_text
from scalesweep.units import format_plain, plural

SMALL = "small"
"""Beginning of the names of the arms that forecasts are made from."""


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects of all parts; of `held` and `error` only with a sealed forecast, or with the arms that it is made from.

    Raises:
        FitError: the points of `base` identify no joint law.
        PointsError: there is no arm `base`, it has one seed, or its N, D and C contradict each other.
    """
    points = arm(arms, "base")
    both, text, optimum = halves(points), Text.of(points, rule), AlongOptimum.of_every_form(points, rule)
    exponents = {form.name: _exponent(text, form) for form in optimum.forms}
    texts, refusals = _others(arms, rule)
    doublings = {name: one.doubling(rule) for name, one in {"base": text, **texts}.items()}
    wall, said = find_wall(points, rule.fit), _said(arms, rule)
    foretold = Foretold.of(said, points) if said else None
    nothing = Effect.missing(
        "Nothing was forecast: that needs the cells of at most an eighth of the largest compute by themselves."
    )
    effects = {
        "doubling": _least(doublings, refusals),
        "held": foretold.held(text.noise, rule) if foretold else nothing,
        "error": foretold.error(text.noise, rule) if foretold else nothing,
        "agreement": _agreement(list(exponents.values())),
        "wall": _kept(wall),
        "reach": _reach(points, optimum),
    }
    controls = () if both is None else (same_by_seed(both, lambda half: _by_half(half, text, rule), "exponent"),)
    return Findings(
        effects=effects,
        sentence=_sentence(effects, len(doublings), wall),
        chart=_chart(text, foretold),
        controls=controls,
        noise=text.noise.sd,
        notes=(
            f"AICc of the best unbroken law less that of the best broken one: {wall.gain:.1f}; a wall needs over {MIN_GAIN:g}.",
            *(
                [f"Of {plural(len(foretold.refused), 'cell')} nothing was forecast: {foretold.refused[0]}"]
                if foretold and foretold.refused
                else []
            ),
            *([] if rule.sealed or not foretold else ["The forecast was made when the points were judged."]),
            *((WITHOUT,) if both is None else ()),
        ),
        tables=_tables(points, doublings, exponents, foretold, rule),
    )


def forecast(arms: Arms, targets: Arms, rule: Rule) -> Mapping[str, Any]:
    """What the rival laws of the small cells say of the other cells of `base`.

    Raises:
        FitError: the points identify no joint law.
        PointsError: an arm is missing.
    """
    return _foretell([points for name, points in arms.items() if name.startswith(SMALL)], arm(targets, "base"), rule)


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """The demo's surface with the effect of a part, in the arms that decide it: the others are left out, for time.

    `doubling`: a text other than `base`, drawn, has theta, and the others the demo's own gain, some 10. `held`, `error`: a
    share theta of the runs of each forecast cell is inside its interval; the median error is theta. `wall`: at a quarter of
    the largest compute.

    Raises:
        KeyError: the effect of this part cannot be planted.
    """
    if part == "doubling":
        texts = {name: points for name, points in arms.items() if not name.startswith(SMALL)}
        least = rng.choice([name for name in texts if name != "base"] or ["base"])
        return {name: with_gain(points, noise * theta if name == least else None, noise, rng) for name, points in texts.items()}
    points = arm(arms, "base")
    n, d = (points.frame[name].to_numpy(dtype=np.float64) for name in ("n", "d"))
    surface = demo_surface(points)
    if part == "wall":
        place = largest_compute(points) / PLACES[0]
        loss = broken_loss(Frontier.of(surface, place), theta, effective_compute(demo_curves(points), n, d))
        return {"base": noisy(points, loss, noise, rng)}
    if part not in ("held", "error"):
        raise KeyError(part)
    small = {name: points for name, points in arms.items() if name.startswith(SMALL)}
    drawn = noisy(points, surface.predict(n, d), noise, rng)
    return {"base": displaced(drawn, _said({"base": drawn, **small}, Rule(draws=200)), part, theta, noise, rng), **small}


def _others(arms: Arms, rule: Rule) -> tuple[dict[str, Text], list[str]]:
    """The other texts, and why some of them give nothing."""
    found, refusals = {}, []
    for name, points in arms.items():
        if name != "base" and not name.startswith(SMALL):
            try:
                found[name] = Text.of(points, rule)
            except (FitError, PointsError) as error:
                refusals.append(f"The text {name} cannot be judged: {error}")
    return found, refusals


def _least(doublings: Mapping[str, Effect], refusals: Sequence[str]) -> Effect:
    """Over the texts: every one has to be above the claim, and one below nothing contradicts it."""
    value, low, high = (min(getattr(one, end) for one in doublings.values()) for end in ("value", "low", "high"))
    withheld = next((one.withheld for one in doublings.values() if one.withheld), "") or " ".join(refusals)
    found = Effect(value, low, high, withheld)
    return replace(found, says=f"The least of {plural(len(doublings), 'text')} gains {number_text(found)} sigma in a doubling")


def _exponent(text: Text, form: Form) -> Effect:
    """Over the measured range, by one form."""
    drawn = [np.array([text.exponent(frontier) for frontier in draws]) for draws in form.draws]
    return envelope(text.exponent(form.frontier), {form.name: drawn})


def _agreement(found: Sequence[Effect]) -> Effect:
    """Over the exponents of all forms, with the ends of every pair joined as if their errors were independent."""
    least, most = min(one.value for one in found), max(one.value for one in found)
    says = f"the exponents of {plural(len(found), 'form')} are {least:.3f} to {most:.3f}"
    if len(found) < 2:
        return Effect.missing("A single form can be fitted, so that there is nothing to compare it with.")
    if not min(one.low for one in found) > 0:
        return Effect(math.inf if least <= 0 else PERCENT * (most / least - 1), 0.0, math.inf, says=says)
    lows, highs = [], []
    for large, small in itertools.permutations(found, 2):
        value = math.log(large.value / small.value)
        highs.append(value + math.hypot(math.log(large.high / large.value), math.log(small.value / small.low)))
        lows.append(value - math.hypot(math.log(large.value / large.low), math.log(small.high / small.value)))
    low, high = (PERCENT * math.expm1(end) for end in (max(0.0, *lows), max(highs)))
    return Effect(PERCENT * (most / least - 1), low, high, says=says)


def _kept(wall: Wall) -> Effect:
    """Without a break that the points need, nothing speaks against an exponent that stays."""
    high = wall.high if wall.is_found else max(wall.high, 1.0)
    found = Effect(wall.kept, wall.low, high)
    return replace(
        found, says=f"beyond 1/{wall.factor:g} of the largest compute the exponent is {number_text(found)} of what it was"
    )


def _reach(points: Points, optimum: AlongOptimum) -> Effect:
    """By the preferred form, and the others beside it."""
    measured = Range.of(points.n, points.d)
    found = [furthest(form.law, measured, optimum.c) for form in optimum.forms]
    factors = [factor for factor, _ in found if factor is not None]
    if found[0][0] is None:
        return Effect.missing(found[0][1])
    return Effect(found[0][0], min(factors), max(factors), says=f"up to {format_plain(found[0][0])} times the largest run")


def _said(arms: Arms, rule: Rule) -> Mapping[str, Any]:
    """The sealed forecast; else one from the rows of `base` that small arms have; empty without these."""
    small = [points.frame[["n", "d"]] for name, points in arms.items() if name.startswith(SMALL)]
    if rule.sealed or not small:
        return rule.sealed
    base = arm(arms, "base")
    is_small = base.frame.set_index(["n", "d"]).index.isin(pd.concat(small).set_index(["n", "d"]).index)
    return _foretell([replace(base, frame=base.frame[is_small].reset_index(drop=True))], base, rule)


def _foretell(small: Sequence[Points], base: Points, rule: Rule) -> Mapping[str, Any]:
    if not small:
        raise PointsError(f"There is no arm whose name begins with {SMALL}, from which the others could be forecast.")
    joined = replace(small[0], frame=pd.concat([points.frame for points in small], ignore_index=True))
    places = base.frame[["n", "d"]].drop_duplicates().astype(float)
    known = joined.frame.set_index(["n", "d"]).index
    targets = places[~places.set_index(["n", "d"]).index.isin(known)].to_numpy()
    return foretell(joined, targets[:, 0], targets[:, 1], rule)


def _by_half(half: Points, text: Text, rule: Rule) -> tuple[float, FloatArray]:
    """The exponent of the half of the seeds, and its draws."""
    fit = fit_frontier(half, text.curves, text.c)
    drawn = fit.draws(min(rule.draws, SD_DRAWS), np.random.default_rng(rule.seed))
    return text.exponent(fit.frontier), np.array([text.exponent(frontier) for frontier in drawn])


def _sentence(effects: Mapping[str, Effect], texts: int, wall: Wall) -> str:
    said = (
        f"Within the measured range every doubling of compute took at least {number_text(effects['doubling'])} times the noise "
        f"between seeds off the loss, on {plural(texts, 'text')}"
    )
    if not math.isnan(effects["held"].value):
        said += f"; {effects['held'].says}, and {effects['error'].says}"
    broke = effects["wall"].says if wall.is_found else "there is no wall up to 1/4 of the largest compute"
    reach = effects["reach"].value
    beyond = f", and beyond {format_plain(reach)} times it nothing is known" if math.isfinite(reach) else ""
    return f"{said}. In these data {broke}; a wall further out than 1/4 would not show{beyond}."


def _tables(
    points: Points,
    doublings: Mapping[str, Effect],
    exponents: Mapping[str, Effect],
    foretold: Foretold | None,
    rule: Rule,
) -> dict[str, Sequence[Mapping[str, Any]]]:
    tables: dict[str, Sequence[Mapping[str, Any]]] = {
        title: [{kind: name, what: one.value, "low": one.low, "high": one.high} for name, one in found.items()]
        for title, kind, what, found in (
            ("Least gain of a doubling, sigma", "text", "sigma", doublings),
            ("Exponent of the loss in compute", "form", "exponent", exponents),
        )
    }
    if foretold and foretold.runs:
        tables["Forecast and measured"] = [
            {
                "N": n,
                "D": d,
                "forecast": math.exp(at),
                "low": math.exp(low),
                "high": math.exp(high),
                "measured": math.exp(runs.mean()),
            }
            for n, d, at, low, high, runs in zip(
                foretold.n, foretold.d, foretold.centre, foretold.low, foretold.high, foretold.runs, strict=True
            )
        ]
    if rule.draws >= TESTED_DRAWS:
        tables["Rivals"] = [
            {
                "form": one.name,
                "AICc": one.aicc,
                "held-out sizes, %": PERCENT * one.size_rms,
                "forecasts, %": PERCENT * one.rolling_rms,
            }
            for one in run_tournament(points, rule.fit).standings
        ]
    return tables


def _chart(text: Text, foretold: Foretold | None) -> Chart:
    points = text.points
    effective = effective_compute(text.curves, points.n, points.d)
    c = np.geomspace(effective.min(), text.c, 30)
    panels = [
        Panel(
            "Every run at the compute of the best model of its loss",
            log_axis("c", effective, c, label="effective compute (FLOPs, 6 N D)"),
            log_axis("loss", points.loss, label=f"validation loss ({points.metric.unit})"),
            (
                Dots(effective, points.loss, "faint", name="runs"),
                Line(c, text.fit.frontier.loss_at(c), name="law"),
                Across("x", text.c / PLACES[0], "dot"),
            ),
        )
    ]
    caption = "Runs and their law against effective compute; a wall could be seen to the left of the dotted line."
    if foretold and foretold.runs:
        order = np.argsort(foretold.c)
        low, high = (PERCENT * np.expm1(end - foretold.centre)[order] for end in (foretold.low, foretold.high))
        x = np.concatenate([np.full(len(runs), c) for runs, c in zip(foretold.runs, foretold.c, strict=True)])
        off = np.concatenate([PERCENT * np.expm1(runs - at) for runs, at in zip(foretold.runs, foretold.centre, strict=True)])
        marks = (
            Band(foretold.c[order], low, high),
            Across("y", 0.0, "dash"),
            Dots(x, off, "first", name="measured after the forecast"),
        )
        title = "Measured over forecast loss"
        panels.insert(
            0, Panel(title, log_axis("c", foretold.c), linear_axis("number", "% above the forecast", off, low, high), marks)
        )
        caption = f"Left: runs beside the honest interval of their forecast, 90 %. Right: {caption[0].lower()}{caption[1:]}"
    return Chart("scaling_hypothesis", caption, tuple(panels))
