"""Whether a better algorithm is worth compute: Muon against AdamW in tokens, in FLOPs with the optimizer's own, and in seconds.

Arms: `base` (AdamW) and `muon`, each at the same number of learning rates, of which the best counts, one for a size. Controls:
`again`, the base with other seeds, and `shorter`, the base with three quarters of its tokens; both may be missing, and have the
base's rows of their own rates beside them.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Axis, Chart, Dots, Line, Mark, Panel, Role, Rule, linear_axis, log_axis
from scalesweep.studies import base as grammar
from scalesweep.studies.base import Arms, Control, Effect, Findings, arm, replicate_noise
from scalesweep.studies.estimators.frontiers import Gain, frontier_gains, lower_hull
from scalesweep.studies.estimators.multipliers import (
    CONTROL_CONFIDENCE,
    CURRENCIES,
    FAR_APART,
    Currency,
    Worth,
    costs_of,
    holds,
    laws_of_base,
    pair_runs,
    shorter_control,
)
from scalesweep.studies.estimators.planted import drawn
from scalesweep.studies.estimators.theories import Theories
from scalesweep.units import format_count, format_number, plural

_WORDS: Mapping[Currency, str] = {
    "tokens": "tokens",
    "flops": "FLOPs, the optimizer's own included",
    "seconds": "seconds on this machine",
}
_ROLES: Mapping[Currency, Role] = {"tokens": "first", "flops": "second", "seconds": "third"}
_UNTUNED = 0.02
"""Log loss that a rate other than the best costs in simulated tables, about what twice the rate costs at the demo's sizes."""
_MULTIPLIER = math.log(1.25)
"""Log multiplier of simulated tables in which another effect is planted."""


def judge(arms: Arms, rule: grammar.Rule) -> Findings:
    """Effects `flops`, `tokens`, `seconds`, `lasts` and `tokens_slope`.

    Raises:
        PointsError: an arm that the study needs is missing, or has no two seeds in common with the base.
        FitError: the base's runs do not determine a law.
    """
    every = arm(arms, "base")
    base, muon = at_best_rates(every), at_best_rates(arm(arms, "muon"))
    theories = laws_of_base(base, rule)
    worth = Worth.of(theories, base, muon)
    gains = {currency: frontier_gains(base, muon, currency) for currency in CURRENCIES}
    effects = {currency: _multiplier(worth, currency) for currency in CURRENCIES} | {
        "lasts": _slope(worth, "flops"),
        "tokens_slope": _slope(worth, "tokens"),
    }
    load = "Seconds hold what else the machine did while either arm was trained, and their interval does not."
    notes = [load, _rates(every, base, "AdamW"), _rates(arms["muon"], muon, "Muon")]
    alone = worth.by_law_alone()
    if abs(math.log(alone / worth.multiplier().value)) > FAR_APART:
        notes.append(
            f"Read off the base's law alone the multiplier of tokens is {format_number(alone)}: it misses the base there."
        )
    notes += [f"There is no arm {name}, so that its control is left out." for name in ("again", "shorter") if name not in arms]
    return Findings(
        effects,
        _sentence(effects),
        _chart(base, muon, gains),
        _controls(arms, theories),
        replicate_noise(every)[0],
        tuple(notes),
        {"By cell": worth.cells(), "On the frontier, by loss": _gain_rows(gains)},
    )


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """Tables of this design in which the effect of `part` is theta; see `studies.base`.

    Raises:
        KeyError: there is no such part.
    """
    if part not in (*CURRENCIES, "lasts", "tokens_slope"):
        raise KeyError(part)
    chosen = {"base": _extreme_rates(arms["base"], 1), "muon": _extreme_rates(arms["muon"], -1)}
    base, muon = (_taken(arms[name], keep) for name, keep in chosen.items())
    pairs = pair_runs(base, muon)
    frame = arms["muon"].frame
    log_c = np.log(frame["c"].to_numpy(dtype=np.float64))
    centred = log_c - log_c.mean()
    cheaper = {size: pairs.cheaper["flops"][pairs.n == size].mean() for size in np.unique(pairs.n)}
    by_size = np.array([cheaper.get(size, 0.0) for size in frame["n"]])
    if part == "lasts":
        log_rho = _MULTIPLIER - by_size + theta * centred
    elif part == "tokens_slope":
        log_rho = _MULTIPLIER + theta * centred
    else:
        costs = pairs.cheaper["tokens" if part == "tokens" else "flops" if part == "flops" else "seconds"]
        log_rho = np.full(len(frame), math.log(theta) - np.mean([costs[pairs.n == size].mean() for size in cheaper]))
    found = {}
    for name, points in arms.items():
        own: FloatArray | float = 0.0
        if name == "muon":
            own = log_rho
        made = drawn(points, own, noise, rng)
        if name in chosen:
            made.frame["loss"] *= np.where(chosen[name], 1.0, math.exp(_UNTUNED))
        found[name] = made
    return found


def at_best_rates(points: Points) -> Points:
    """The rows of each size's learning rate with the lowest mean log loss over its budgets and seeds.

    One rate for a size, and not for a cell: of two rates that differ by noise alone the lower loss is then taken once for a
    dozen runs, so that it is too low by a sixth of the noise of one, and by as much in both arms.
    """
    used = points.used
    if "lr" not in used:
        return points
    means = np.log(used["loss"]).groupby([used["n"], used["lr"]]).mean()
    best = dict(means.groupby("n").idxmin())
    pairs = zip(points.frame["n"], points.frame["lr"], strict=True)
    return _taken(points, np.array([(n, lr) == best.get(n) for n, lr in pairs]))


def _at_rates_of(base: Points, other: Points) -> Points:
    """The rows of the base at the rates that another arm has at each size."""
    if "lr" not in base.used or "lr" not in other.used:
        return base
    rates = set(zip(other.used["n"], other.used["lr"], strict=True))
    return _taken(base, np.array([pair in rates for pair in zip(base.frame["n"], base.frame["lr"], strict=True)]))


def _taken(points: Points, keep: np.ndarray) -> Points:
    return dataclasses.replace(points, frame=points.frame[keep].reset_index(drop=True))


def _extreme_rates(points: Points, sign: int) -> np.ndarray:
    """Whether each row has the lowest (sign 1) or the highest rate (sign -1) of its size."""
    if "lr" not in points.frame:
        return np.ones(len(points.frame), dtype=bool)
    rates = sign * points.frame["lr"]
    return np.asarray(rates == rates.groupby(points.frame["n"]).transform("min"))


def _multiplier(worth: Worth, currency: Currency) -> Effect:
    effect = worth.multiplier(currency)
    if math.isnan(effect.value):
        return effect
    said = f"For one loss AdamW takes {_number(effect)} times as many {_WORDS[currency]}."
    return dataclasses.replace(effect, says=said)


def _slope(worth: Worth, currency: Currency) -> Effect:
    effect = worth.slope(currency)
    if math.isnan(effect.value):
        return effect
    tenfold = [10**x - 1 for x in (effect.value, effect.low, effect.high)]
    what = f"With ten times the compute the factor in {currency.replace('flops', 'FLOPs')} changes by"
    return dataclasses.replace(effect, says=f"{what} {tenfold[0]:+.0%} [{tenfold[1]:+.0%}, {tenfold[2]:+.0%}].")


def _controls(arms: Arms, theories: Theories) -> tuple[Control, ...]:
    controls = []
    if "again" in arms:
        found = Worth.of(theories, _at_rates_of(arms["base"], arms["again"]), arms["again"])
        asks = "The base with other seeds is worth its own tokens, 1"
        controls.append(holds("A/A", asks, 1.0, found.multiplier(confidence=CONTROL_CONFIDENCE)))
    if "shorter" in arms:
        controls.append(shorter_control(theories, _at_rates_of(arms["base"], arms["shorter"]), arms["shorter"]))
    return tuple(controls)


def _rates(every: Points, best: Points, name: str) -> str:
    """Which learning rates were chosen among how many, and what the others cost."""
    used = every.used
    if "lr" not in used:
        return f"{name}: the table does not say the learning rates."
    number = used.groupby("n")["lr"].nunique().max()
    rows = best.used.drop_duplicates("n").sort_values("n")
    said = ", ".join(f"{rate:.3g} at N = {format_count(n)}" for n, rate in zip(rows["n"], rows["lr"], strict=True))
    return f"{name}: the best of {plural(int(number), 'learning rate')} a size, of the layers' matrices {said}."


def _sentence(effects: Mapping[str, Effect]) -> str:
    flops, tokens, seconds = (effects[name] for name in ("flops", "tokens", "seconds"))
    said = f"For one loss AdamW needs {_number(tokens)} times the tokens of Muon"
    if not math.isnan(flops.value):
        said += f"; with the optimizer's own FLOPs counted the factor in compute is {_number(flops)}"
    if not math.isnan(seconds.value):
        said += f", in seconds of this machine, whatever else it did, {_number(seconds)}"
    return said + "."


def _number(effect: Effect) -> str:
    return f"{effect.value:.2f} [{effect.low:.2f}, {effect.high:.2f}]"


def _gain_rows(gains: Mapping[Currency, list[Gain]]) -> list[dict[str, float | str]]:
    return [
        {"currency": currency, "loss": gain.loss, "gain": gain.value, "low": gain.low, "high": gain.high}
        for currency, found in gains.items()
        for gain in found
    ]


def _chart(base: Points, muon: Points, gains: Mapping[Currency, list[Gain]]) -> Chart:
    """Loss against FLOPs of both arms with their lower hulls, and the gain on the frontier by loss."""
    marks: list[Mark] = []
    costs, losses = [], []
    arms: tuple[tuple[str, Points, Role], ...] = (("AdamW", base, "first"), ("Muon", muon, "second"))
    for name, points, colour in arms:
        used = points.used.assign(cost=costs_of(points.used, "flops"))
        means = used.groupby(["n", "d"])[["cost", "loss"]].mean()
        x, y = (means[column].to_numpy(dtype=np.float64) for column in ("cost", "loss"))
        known = np.isfinite(x)
        x, y = x[known], y[known]
        if not len(x):
            continue
        hull = lower_hull(np.log(x), np.log(y))
        marks += [Line(np.exp(hull[0]), np.exp(hull[1]), colour), Dots(x, y, colour, name=name)]
        costs.append(x)
        losses.append(y)
    label = "training FLOPs, optimizer included"
    left = Panel("Loss against compute", log_axis("c", *costs, label=label), log_axis("loss", *losses), tuple(marks))
    caption = "AdamW and Muon at their best learning rates, mean over seeds, with the lower hull of each."
    right = _gain_panel(gains)
    return Chart("algorithms", caption, (left,) if right is None else (left, right))


def _gain_panel(gains: Mapping[Currency, list[Gain]]) -> Panel | None:
    marks: list[Mark] = [Rule("y", 1.0, "dot")]
    ends, losses = [np.ones(1)], []
    for currency, found in gains.items():
        if found:
            loss, value, low, high = (
                np.array([getattr(gain, name) for gain in found]) for name in ("loss", "value", "low", "high")
            )
            colour = _ROLES[currency]
            marks += [
                Line(loss, value, colour),
                Dots(loss, value, colour, low, high, name=currency.replace("flops", "FLOPs")),
            ]
            ends += [low, high, value]
            losses.append(loss)
    if not losses:
        return None
    at = Axis("loss", *_span(losses), "loss reached (nats/token)", is_log=False)
    return Panel("AdamW's cost over Muon's, on the frontier", at, linear_axis("number", "times", *ends), tuple(marks))


def _span(losses: list[FloatArray]) -> tuple[float, float]:
    every = np.concatenate(losses)
    room = 0.05 * float(np.ptp(every))
    return float(every.min()) - room, float(every.max()) + room
