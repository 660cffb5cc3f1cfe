"""Diminishing returns: is the next tenth of a nat ever dearer, and more so than by a power law?

Along the compute optimum, F(C) = C(L - .1) / C is how many times the compute a loss lower by .1 nats takes, and gamma(C) =
-d ln L / d ln C the local exponent. Both are read off every form of law that the points allow, `FreeBend` among them, which may
bend either way: forms with a floor alone would find diminishing returns in any table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import bisect

from scalesweep.arrays import FloatArray
from scalesweep.fit.forms import fit_law
from scalesweep.fit.horizon import Range
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.report.charts.chart import Band, Chart, Dots, Line, Panel, log_axis
from scalesweep.report.charts.chart import Rule as Across
from scalesweep.studies.base import Arms, Effect, Findings, Rule, arm, replicate_noise
from scalesweep.studies.estimators.along_optimum import AlongOptimum, Frontier, largest_compute
from scalesweep.studies.estimators.free_bend import FreeBend, fallen
from scalesweep.studies.estimators.planted import demo_surface, middle, noisy
from scalesweep.studies.estimators.seeds import SD_DRAWS, WITHOUT, halves, same_by_seed
from scalesweep.studies.words import number_text
from scalesweep.units import format_count, format_number

Functional = Callable[[Frontier], float]

STEP = 0.1
"""Nats per token that are bought."""
APART = 100.0
"""Factor of compute over which the price is compared; the points have to span it."""
_FURTHEST = 10.0
"""Factor beyond the largest compute up to which the figure goes, where the points support it."""
_PLACES = 13
"""Along the compute of the figure."""
_BENDS = (-0.9, 0.9)
"""Within which a planted bend is sought: the estimator stops at 1."""


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects `growth`, `exponent` and `price` of the arm `base`.

    Raises:
        FitError: the points identify no joint law.
        PointsError: there is no arm `base`, it has one seed, or its N, D and C contradict each other.
    """
    points = arm(arms, "base")
    both, optimum = halves(points), AlongOptimum.of(points, rule)
    c, per_six = optimum.c, float(np.max(points.c)) / optimum.c
    reason = _unsupported(points, optimum)
    growth, exponent = (optimum.effect(functional(c)) for functional in (_growth, _relative_exponent))
    price = optimum.effect(lambda frontier: float(frontier.factor(c, STEP)) * c * per_six)
    now, before = (optimum.effect(_factor(at)) for at in (c, c / APART))
    grew = f"What {STEP:g} nats cost in compute grew {number_text(growth)}-fold over a factor {APART:g} of compute"
    effects = {
        "growth": replace(growth, withheld=reason, says=grew),
        "exponent": replace(exponent, withheld=reason, says=f"gamma is {number_text(exponent)} of what it was before"),
        "price": replace(price, says=_bill(points, price)),
    }
    controls = () if both is None else (same_by_seed(both, lambda half: _log_growth(half, rule, c), "ln of the growth of F"),)
    voting = " and ".join(form.name for form in optimum.forms)
    return Findings(
        effects=effects,
        sentence=(
            f"Around the largest runs a loss lower by {STEP:g} nats per token took {number_text(now)} times the compute; with "
            f"a hundredth of that compute it had taken {number_text(before)} times."
        ),
        chart=_chart(points, optimum, per_six),
        controls=controls,
        noise=replicate_noise(points)[0],
        notes=(
            f"Forms with a vote: {voting}; the points reject the others.",
            _best(points, optimum),
            *((WITHOUT,) if both is None else ()),
        ),
        tables={"Price of 0.1 nats": _ladder(points, optimum, per_six)},
    )


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """Losses of `FreeBend` with the demo's curves of equal loss, its bend such that the part is theta exactly.

    A tenth of the largest compute gives the demo's loss and slope, whatever the bend.

    Raises:
        KeyError: the part is neither `growth` nor `exponent`.
    """
    points = arm(arms, "base")
    c = largest_compute(points)
    functional = {"growth": _growth, "exponent": _relative_exponent}[part](c)
    bend = bisect(lambda bend: functional(Frontier.of(_planted(points, c, bend), c)) - theta, *_BENDS, xtol=1e-12)
    columns = (points.frame[name].to_numpy(dtype=np.float64) for name in ("n", "d"))
    return {**arms, "base": noisy(points, _planted(points, c, bend).predict(*columns), noise, rng)}


def _planted(points: Points, c: float, bend: float) -> FreeBend:
    surface, (n, d) = demo_surface(points), middle(points)
    ratio = (surface.B * d**-surface.beta / (surface.A * n**-surface.alpha)) ** (1 / surface.kappa)
    curves = FreeBend(0.0, 1.0, bend, surface.alpha / surface.kappa, surface.beta / surface.kappa, ratio, n, d)
    at = Frontier.of(surface, c / 10)
    x = float(curves.x_opt(c / 10))
    slope = at.slope * float(np.exp(bend * x))
    return replace(curves, level=at.loss + slope * float(fallen(bend, x)[0]), slope=slope)


def _factor(c: float) -> Functional:
    return lambda frontier: float(frontier.factor(c, STEP))


def _growth(c: float) -> Functional:
    """F(C) / F(C / `APART`)."""

    def growth(frontier: Frontier) -> float:
        with np.errstate(invalid="ignore"):  # both are infinite where a resample is flat: it has no growth
            return float(frontier.factor(c, STEP) / frontier.factor(c / APART, STEP))

    return growth


def _relative_exponent(c: float) -> Functional:
    """gamma(C) / gamma(C / `APART`)."""
    return lambda frontier: float(frontier.exponent(c) / frontier.exponent(c / APART))


def _log_growth(points: Points, rule: Rule, c: float) -> tuple[float, FloatArray]:
    """Ln of the growth of F by `FreeBend`, and its resamples, shape (draws,)."""
    few = replace(rule, draws=min(rule.draws, SD_DRAWS))
    fit, growth = fit_law(FreeBend, Rows.of(points), few.fit), _growth(c)
    laws = [fit.law, *fit.resampled_laws(), *fit.resampled_laws(fit.cluster_samples)]
    found = np.log([growth(Frontier.of(law, c)) for law in laws if isinstance(law, FreeBend)])
    return float(found[0]), found[1:]


def _unsupported(points: Points, optimum: AlongOptimum) -> str:
    """Why the points cannot compare the price at two places, in a sentence; empty where they can."""
    span = float(points.c.max() / points.c.min())
    if span < APART:
        return f"The points span a factor {format_number(span)} of compute; the comparison is over a factor {APART:g}."
    law, measured = optimum.forms[0].law, Range.of(points.n, points.d)
    reasons = (measured.refuse(float(law.n_opt(c)), float(law.d_opt(c))) for c in (optimum.c / APART, optimum.c))
    return next((f"The compute-optimal model is out of reach. {reason}" for reason in reasons if reason), "")


def _best(points: Points, optimum: AlongOptimum) -> str:
    law, c = optimum.forms[0].law, optimum.c
    return (
        f"The best model at the largest compute has {format_count(float(law.n_opt(c)))} parameters and "
        f"{format_count(float(law.d_opt(c)))} tokens; measured were up to {format_count(float(points.n.max()))} and "
        f"{format_count(float(points.d.max()))}."
    )


def _bill(points: Points, price: Effect) -> str:
    """The price in FLOPs and, where training seconds are known, in hours of the device of the largest run."""
    said = f"a loss lower by {STEP:g} nats than the best at the largest compute takes {_powers(price, 1.0)} FLOPs"
    used = points.used
    if "seconds" not in used:
        return said
    largest = used.nlargest(1, "c")
    hours = float((largest["seconds"] / largest["c"]).iloc[0]) / 3600
    return f"{said}, {_powers(price, hours)} hours of one device as fast as in the largest run"


def _powers(effect: Effect, unit: float) -> str:
    """The number with its interval in another unit, large numbers with an exponent."""
    value, *ends = (format_number(float(f"{part * unit:.3g}")) for part in (effect.value, effect.low, effect.high))
    return f"{value} [{', '.join('open' if end == 'inf' else end for end in ends)}]"


def _places(points: Points, optimum: AlongOptimum, wanted: FloatArray) -> FloatArray:
    """Those of the values of 6 N D at which the points support the compute-optimal model."""
    law, measured = optimum.forms[0].law, Range.of(points.n, points.d)
    return np.array([c for c in wanted.tolist() if not measured.refuse(float(law.n_opt(c)), float(law.d_opt(c)))])


def _ladder(points: Points, optimum: AlongOptimum, per_six: float) -> Sequence[Mapping[str, Any]]:
    rows = []
    for c in _places(points, optimum, optimum.c * np.array([1 / APART, 1 / 10, 1, _FURTHEST])).tolist():
        found = optimum.effect(_factor(c))
        row = {"C, FLOPs": c * per_six, "loss": float(optimum.forms[0].frontier.loss_at(c))}
        rows.append(row | {"F": found.value, "low": found.low, "high": found.high})
    return rows


def _chart(points: Points, optimum: AlongOptimum, per_six: float) -> Chart:
    smallest = optimum.c * float(points.c.min() / points.c.max())
    c = _places(points, optimum, np.geomspace(smallest, optimum.c * _FURTHEST, _PLACES))
    found = [optimum.effect(_factor(one)) for one in c.tolist()]
    value, low, high = (np.array([getattr(effect, name) for effect in found]) for name in ("value", "low", "high"))
    top = 3 * float(value[np.isfinite(value)].max(initial=2.0))
    x, first = c * per_six, optimum.forms[0].frontier
    loss_panel = Panel(
        "Loss of the compute-optimal model",
        log_axis("c", points.c, x),
        log_axis("loss", points.loss, first.loss_at(c), label=f"validation loss ({points.metric.unit})"),
        (Dots(points.c, points.loss, "faint", name="runs"), Line(x, first.loss_at(c), name="best at each compute")),
    )
    price_panel = Panel(
        f"Compute for {STEP:g} nats less",
        log_axis("c", x),
        log_axis("number", value, low, np.minimum(high, top), label="times the compute"),
        (Band(x, low, np.minimum(high, top)), Line(x, value, name="F"), Across("x", float(points.c.max()), "dot")),
    )
    caption = (
        "Left: every run, and the loss of the best model at each compute. Right: how many times that compute "
        f"{STEP:g} nats less take, with the envelope of the 90 % intervals of all forms; the dotted line is the largest run."
    )
    return Chart("diminishing_returns", caption, (loss_panel, price_panel))
