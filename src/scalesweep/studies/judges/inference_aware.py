"""Smaller models, trained longer: what serving does to the cheapest model of a given loss, and whether laws hold that far out.

At its cheapest a model that trains for 6 N D and serves for 2 N D_inf FLOPs has serving / training cost r = s - 1, where s is
the elasticity of the law (`estimators.serving`). D_inf is k times the tokens of the compute-optimal model of the same loss, so
that nothing here depends on which loss it is, on E, or on where the data end. Small models trained on far more tokens than the
optimum are measured after the law has forecast them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import bisect

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.fit.forms import fit_law
from scalesweep.laws import Coupled, JointLaw
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.report.charts.chart import Band, Chart, Dots, Line, Panel, log_axis
from scalesweep.report.charts.chart import Rule as Across
from scalesweep.studies.base import Arms, Effect, Findings, Rule, arm, replicate_noise
from scalesweep.studies.estimators.along_optimum import largest_compute
from scalesweep.studies.estimators.noise import loss_noise
from scalesweep.studies.estimators.planted import demo_surface, noisy
from scalesweep.studies.estimators.seeds import SD_DRAWS, WITHOUT, halves, same_by_seed
from scalesweep.studies.estimators.serving import serve
from scalesweep.studies.estimators.theories import Functional, Theories
from scalesweep.studies.estimators.tokens import trunks_of
from scalesweep.studies.words import number_text
from scalesweep.units import format_count, format_plain, plural

DEMAND = 10.0
"""k at which the saving is judged."""
DEMANDS = (10.0, 100.0)
"""k at which the two costs are compared. k = 1 is left out: r <= k / 3 under every law, so that it is never near 1 there."""
_SHOWN = (0.0, 1.0, 10.0, 100.0)
_KAPPAS = (1e-3, 5.0)
"""Couplings among which that of a planted effect is sought."""
_PLACES = 9
_PERCENT = 100.0


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects `saving` and `equal_costs` of the arm `base`, and `overstated` of the arm `long` where there is one.

    Raises:
        FitError: the points identify no joint law, or none with a compute optimum.
        PointsError: there is no arm `base`, it has one seed, or its N, D and C contradict each other.
    """
    points = arm(arms, "base")
    both, theories = halves(points), Theories.of(points, rule)
    if not theories.preferred.has_optimum:
        raise FitError(f"{points.source}: by the preferred law a term vanishes, so that no model is compute-optimal.")
    saving, costs = theories.effect(_saving(DEMAND)), theories.effect(_off_equal)
    by_demand = [theories.effect(_ratio(k)) for k in DEMANDS]
    ratios = " and ".join(f"{number_text(found)} at k = {k:g}" for k, found in zip(DEMANDS, by_demand, strict=True))
    best = serve(theories.preferred, DEMAND)
    effects = {
        "saving": replace(saving, says=f"The cheapest model saves {number_text(saving)} % of training and serving together"),
        "equal_costs": replace(costs, says=f"serving over training cost is {ratios}"),
        "overstated": _overstated(arms, theories, rule),
    }
    controls = () if both is None else (same_by_seed(both, lambda half: _by_half(half, rule), "saving, %"),)
    return Findings(
        effects=effects,
        sentence=(
            f"A model that will serve {DEMAND:g} times the tokens that the compute-optimal model of its loss is trained on is "
            f"cheapest with {format_plain(best.n)} times the parameters and {format_plain(best.d)} times the tokens of that "
            f"one, which saves {number_text(saving)} % of all compute; serving it then costs {number_text(by_demand[0])} times "
            f"what training did, and {number_text(by_demand[1])} times where {DEMANDS[1]:g} times as many are served."
        ),
        chart=_chart(points, theories),
        controls=controls,
        noise=replicate_noise(points)[0],
        notes=(
            "Serving is 2 N and training 6 N D FLOPs; where a FLOP of one costs p times one of the other, read k as p k.",
            *([] if rule.sealed or "long" not in arms else ["The forecast was made when the points were judged, from `base`."]),
            *((WITHOUT,) if both is None else ()),
        ),
        tables={"Cheapest model by demand": _table(points, theories)},
    )


def forecast(arms: Arms, targets: Arms, rule: Rule) -> Mapping[str, Any]:
    """What the laws of `base` say of the cells of `long`: of each, and of their mean ln L, with its envelope.

    Raises:
        FitError: the points identify no joint law.
        PointsError: an arm is missing.
    """
    return _forecast(Theories.of(arm(arms, "base"), rule), arm(targets, "long"))


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """The demo's surface, coupled such that saving or costs are theta exactly; for `overstated`, `long` is theta % above it.

    Raises:
        KeyError: there is no such part.
    """
    surface = demo_surface(arm(arms, "base"))
    if part in ("saving", "equal_costs"):
        functional = _saving(DEMAND) if part == "saving" else _above_equal
        kappa = bisect(lambda kappa: functional(replace(surface, kappa=kappa)) - theta, *_KAPPAS, xtol=1e-12)
        surface = replace(surface, kappa=float(kappa))
    elif part != "overstated":
        raise KeyError(part)
    above = {"long": theta / _PERCENT if part == "overstated" else 0.0}
    return {name: _drawn(points, surface, above.get(name, 0.0), noise, rng) for name, points in arms.items()}


def _drawn(points: Points, law: JointLaw, above: float, noise: float, rng: np.random.Generator) -> Points:
    columns = (points.frame[name].to_numpy(dtype=np.float64) for name in ("n", "d"))
    return noisy(points, law.predict(*columns) * np.exp(above), noise, rng)


def _saving(k: float) -> Functional:
    """Per cent of all compute at a demand."""
    return lambda law: _PERCENT * serve(law, k).saving if law.has_optimum else math.nan


def _ratio(k: float) -> Functional:
    """R at a demand."""
    return lambda law: serve(law, k).ratio if law.has_optimum else math.nan


def _off_equal(law: JointLaw) -> float:
    """Doublings between the two costs, where they are furthest apart."""
    return max(abs(math.log2(serve(law, k).ratio)) for k in DEMANDS) if law.has_optimum else math.nan


def _above_equal(law: JointLaw) -> float:
    """Doublings of serving over training at the largest demand, where it falls with the coupling at every kappa."""
    return math.log2(serve(law, DEMANDS[-1]).ratio)


def _by_half(points: Points, rule: Rule) -> tuple[float, FloatArray]:
    """The saving by the coupled law, of which all rivals are cases, and its resamples, shape (draws,)."""
    fit = fit_law(Coupled, Rows.of(points), replace(rule, draws=min(rule.draws, SD_DRAWS)).fit)
    laws = [fit.law, *fit.resampled_laws(), *fit.resampled_laws(fit.cluster_samples)]
    found = np.array([_saving(DEMAND)(law) for law in laws if isinstance(law, JointLaw)])
    return float(found[0]), found[1:]


def _forecast(theories: Theories, targets: Points) -> Mapping[str, Any]:
    rows = targets.frame.sort_values(["n", "d"])
    n, d = (rows[name].to_numpy(dtype=np.float64) for name in ("n", "d"))
    mean = theories.effect(lambda law: float(np.mean(np.log(law.predict(n, d)))))
    predicted = theories.preferred.predict(n, d)
    cells = [{"n": one[0], "d": one[1], "loss": one[2]} for one in np.stack([n, d, predicted], axis=1).tolist()]
    return {"cells": cells, "mean_log_loss": mean.value, "low": mean.low, "high": mean.high}


def _overstated(arms: Arms, theories: Theories, rule: Rule) -> Effect:
    """Per cent by which the measured losses of `long` are above the forecast, in the mean.

    The ends join the forecast's own and Student's t of the noise between seeds, all of which the budgets of a trunk may share.
    """
    if "long" not in arms or not len(arms["long"].loss):
        return Effect.missing("The small models with far more tokens were not measured: they are the arm `long`.")
    long, base = arms["long"], arms["base"]
    said = rule.sealed or _forecast(theories, long)
    used = long.used.sort_values(["n", "d"])
    wanted = np.array([[cell["n"], cell["d"]] for cell in said["cells"]])
    if wanted.shape != (len(used), 2) or not np.allclose(wanted, used[["n", "d"]].to_numpy(dtype=np.float64)):
        return Effect.missing(f"The forecast is of {plural(len(wanted), 'cell')} that are not the {len(used)} measured ones.")
    seeds = loss_noise(base, rule)
    noise = seeds.quantile() * seeds.sd / math.sqrt(len(trunks_of(long)))
    value = float(np.mean(np.log(used["loss"]))) - said["mean_log_loss"]
    ends = (math.hypot(said["high"] - said["mean_log_loss"], noise), math.hypot(said["mean_log_loss"] - said["low"], noise))
    found = Effect(_PERCENT * value, _PERCENT * (value - ends[0]), _PERCENT * (value + ends[1]))
    most = format_plain(float((long.d / long.n).max()), 3)
    return replace(found, says=f"at up to {most} tokens a parameter losses are {number_text(found)} % above their forecast")


def _table(points: Points, theories: Theories) -> Sequence[Mapping[str, Any]]:
    law, c = theories.preferred, largest_compute(points)
    rows = []
    for k in _SHOWN:
        best, ratio = serve(law, k), theories.effect(_ratio(k)) if k else Effect(0.0, 0.0, 0.0)
        saving = theories.effect(_saving(k))
        n, d = float(law.n_opt(c)) * best.n, float(law.d_opt(c)) * best.d
        rows.append(
            {"served / D*": k, "N": n, "D": d, "D / N": d / n, "serving / training": best.ratio}
            | {"ratio low": ratio.low, "ratio high": ratio.high}
            | {"saving, %": saving.value, "saving low": saving.low, "saving high": saving.high}
        )
    return rows


def _chart(points: Points, theories: Theories) -> Chart:
    law, c = theories.preferred, largest_compute(points)
    n_opt, d_opt = float(law.n_opt(c)), float(law.d_opt(c))
    curve = [serve(law, k) for k in (0.0, *np.geomspace(1e-2, 1e3, 4 * _PLACES).tolist())]
    chosen = [serve(law, k) for k in _SHOWN]
    n, d = (np.array([getattr(one, name) for one in curve]) * at for name, at in (("n", n_opt), ("d", d_opt)))
    at_n, at_d = (np.array([getattr(one, name) for one in chosen]) * at for name, at in (("n", n_opt), ("d", d_opt)))
    k = np.geomspace(0.3, 300, _PLACES)
    found = [theories.effect(_ratio(one)) for one in k.tolist()]
    value, low, high = (np.array([getattr(effect, name) for effect in found]) for name in ("value", "low", "high"))
    hover = tuple(
        f"k = {one:g}: {format_count(x)} parameters, {format_count(y)} tokens"
        for one, x, y in zip(_SHOWN, at_n, at_d, strict=True)
    )
    panels = (
        Panel(
            "Models of one loss",
            log_axis("n", n, points.n),
            log_axis("d", d, points.d),
            (
                Dots(points.n, points.d, "faint", name="measured", size=3.0),
                Line(n, d, name="equal loss"),
                Dots(at_n, at_d, "first", name="cheapest, k = 0, 1, 10, 100", hover=hover),
            ),
        ),
        Panel(
            "Serving cost over training cost",
            log_axis("number", k, label="tokens served / tokens of the compute-optimal model"),
            log_axis("number", value, low, high, label="serving / training"),
            (Band(k, low, high), Line(k, value), Across("y", 1.0, "dash")),
        ),
    )
    caption = (
        "Left: models of the loss that is best at the largest compute, and the cheapest of them for k times the tokens of the "
        "compute-optimal one. Right: how its two costs compare, with the envelope of the 90 % intervals; dashed: equal costs."
    )
    return Chart("inference_aware", caption, panels)
