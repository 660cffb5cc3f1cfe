"""Own samples as training text, over generations: alone, pooled with all text before, or verified; and what a token is worth.

Arms: `base` is generation 0, of real text. `replace1`, `replace2`, ... learnt from what the generation before wrote,
`accumulate1`, ... from the real text and what all generations wrote, as many tokens, `verified1`, ... from right records alone.
`fresh1`, ... learnt from new real text with the seeds of their generation. `small` had fewer real tokens, and `own` these and
its samples up to the number of base. Cells of one place of all arms are a lineage, and lineages are independent; the excess of
a cell is its loss on real text minus that of the fresh cell of its seed. Control `wrong` learnt wrong values of some keys.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping

import numpy as np
from scipy.stats import t

from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.points.answers import Answers
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Axis, Chart, Dots, Line, Mark, Panel, Role, linear_axis
from scalesweep.report.charts.chart import Rule as Across
from scalesweep.studies.base import NOISE, Arms, Control, Effect, Findings, Rule, arm, with_losses
from scalesweep.studies.estimators.lineages import mean_interval, ratio_interval

ALPHA = 0.5
"""Keys have p_k ~ k^-(1 + ALPHA) (data.zipf_alpha), by which answers are weighted as held-out records are."""
KEY_TOKENS = 2
"""Of a record, before its value."""
VALIDATION_TOKENS = 65536
"""On which losses are measured (train.validation_tokens): their records are a sample of those that answers weight exactly."""
_CONTROL = 0.99
"""Confidence of A/A: at 90 % one study in ten would be withheld for nothing."""
_MOST_SDS = 3.0
"""Standard deviations by which a loss may miss its closed form."""
_WAYS: dict[str, tuple[str, Role]] = {
    "replace": ("own samples alone", "second"),
    "accumulate": ("accumulated", "third"),
    "verified": ("right ones alone", "first"),
}
_NEEDS = "It needs the arms {}."


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects `replace`, `accumulate`, `bounded`, `worth`, `verified` and `values`.

    Raises:
        PointsError: base, or replace and fresh of some generation, are missing, or differ in their number of cells.
    """
    base = losses(arm(arms, "base"))
    last = generations(arms)
    excess = {way: steps for way in _WAYS if (steps := _excess(arms, way, last)) is not None}
    effects = {
        "replace": _replace(excess["replace"], last),
        "accumulate": _share(excess, "accumulate", "With all text pooled the harm is"),
        "bounded": _bounded(excess),
        "worth": _worth(arms),
        "verified": _share(excess, "verified", "With wrong records dropped the harm is"),
        "values": _values(arms, last),
    }
    controls, sigma = _controls(arms, last)
    return Findings(
        effects,
        _sentence(effects, controls[0], last),
        _chart(arms, excess, last),
        tuple(controls),
        sigma / float(np.mean(base)),
        (),
        {"Loss on real text minus that of fresh text, nats per token": _rows(excess), **_split(arms, last)},
    )


def losses(points: Points) -> FloatArray:
    """Losses of the lineages, nats per token, in order of their seeds."""
    return np.asarray(points.used.sort_values("seed")["loss"], dtype=np.float64)


def generations(arms: Arms) -> int:
    """The last generation of replace with a fresh arm of its own.

    Raises:
        PointsError: there is none, or its cells are not all there.
    """
    last = 0
    while f"replace{last + 1}" in arms and f"fresh{last + 1}" in arms:
        last += 1
    if not last:
        raise PointsError(f"arms = {', '.join(arms)}: the study needs arms replace1 and fresh1.")
    number = len(losses(arms["base"]))
    names = [f"{name}{g}" for name in (*_WAYS, "fresh") for g in range(1, last + 1) if f"{name}{g}" in arms]
    if odd := [name for name in names if len(losses(arms[name])) != number]:
        raise PointsError(f"arm {odd[0]} has {len(losses(arms[odd[0]]))} usable cells and base {number}: a lineage is broken.")
    return last


def key_weights(number: int) -> FloatArray:
    """Probability of each key in a record, commonest first, shape (number,)."""
    weights = np.arange(1, number + 1, dtype=np.float64) ** -(1 + ALPHA)
    return np.asarray(weights / weights.sum())


def value_losses(points: Points) -> FloatArray:
    """-ln p of a key's value, nats, as often as keys are met: one for each lineage, in order of their seeds."""
    return np.array([float(key_weights(len(one.rank)) @ _by_rank(one)) for one in _answers(points)])


def _answers(points: Points) -> list[Answers]:
    return list(points.used.sort_values("seed")["answers"])


def _by_rank(answers: Answers) -> FloatArray:
    return np.asarray(answers.nll[np.argsort(answers.rank, kind="stable")])


def _excess(arms: Arms, way: str, last: int) -> FloatArray | None:
    """Excess by generation and lineage, shape (last, lineages); None where an arm is missing."""
    if any(f"{way}{g}" not in arms for g in range(1, last + 1)):
        return None
    return np.array([losses(arms[f"{way}{g}"]) - losses(arms[f"fresh{g}"]) for g in range(1, last + 1)])


def _replace(excess: FloatArray, last: int) -> Effect:
    value, low, high = mean_interval(excess[-1])
    said = (
        f"After {last} generations on its own samples a model is {value:.3f} [{low:.3f}, {high:.3f}] nats worse on real text."
    )
    return Effect(value, low, high, says=said)


def _share(excess: Mapping[str, FloatArray], way: str, words: str) -> Effect:
    if way not in excess:
        return Effect.missing(_NEEDS.format(f"{way}1, {way}2, ..."))
    value, low, high = ratio_interval(excess[way][-1], excess["replace"][-1])
    return Effect(value, low, high, says=f"{words} {_number(value, low, high)} of that of own samples alone.")


def _bounded(excess: Mapping[str, FloatArray]) -> Effect:
    if "accumulate" not in excess:
        return Effect.missing(_NEEDS.format("accumulate1, accumulate2, ..."))
    steps = np.diff(excess["accumulate"], axis=0, prepend=0.0)
    if len(steps) < 3:
        return Effect.missing("It needs three generations.")
    value, low, high = ratio_interval(steps[-1], steps[0])
    return Effect(value, low, high, says=f"The last step of the pooled loss is {_number(value, low, high)} of the first.")


def _worth(arms: Arms) -> Effect:
    """(D' - U) / S: D' fresh tokens have the loss of U real and S own ones, by a line in ln D through those at U and U + S."""
    if lacking := [name for name in ("small", "own", "fresh1") if name not in arms]:
        return Effect.missing(_NEEDS.format(", ".join(lacking)))
    small, own, fresh = (losses(arms[name]) for name in ("small", "own", "fresh1"))
    if len({len(small), len(own), len(fresh)}) > 1:
        return Effect.missing("Arms small, own and fresh1 differ in their number of usable cells.")
    times = float(arms["fresh1"].used["d"].iloc[0] / arms["small"].used["d"].iloc[0])
    shares = ratio_interval(small - own, small - fresh)
    with np.errstate(over="ignore"):
        value, low, high = ((times ** np.array(shares)) - 1) / (times - 1)
    said = f"Beside real text an own token stands in for {_number(value, low, high)} fresh ones."
    return Effect(float(value), float(low), float(high), says=said)


def _values(arms: Arms, last: int) -> Effect:
    if lacking := [name for name in (f"verified{last}", "base") if not _is_answered(arms, name)]:
        return Effect.missing(f"It needs answers of the arms {', '.join(lacking)}.")
    value, low, high = mean_interval(value_losses(arms[f"verified{last}"]) - value_losses(arms["base"]))
    said = f"After {last} verified generations a value costs {value:+.3f} [{low:+.3f}, {high:+.3f}] nats more than at first."
    return Effect(value, low, high, says=said)


def _is_answered(arms: Arms, name: str) -> bool:
    return name in arms and "answers" in arms[name].used


def _controls(arms: Arms, last: int) -> tuple[list[Control], float]:
    """The controls, A/A first, and the standard deviation of the loss between seeds of real text, nats."""
    base, groups = losses(arms["base"]), [losses(arms[f"fresh{g}"]) for g in range(1, last + 1)]
    spare = sum(len(group) - 1 for group in (base, *groups))
    sigma = math.sqrt(sum(float(np.sum((group - group.mean()) ** 2)) for group in (base, *groups)) / spare)
    drift = float(groups[-1].mean() - base.mean())
    half = float(t.ppf((1 + _CONTROL) / 2, spare)) * sigma * math.sqrt(1 / len(base) + 1 / len(groups[-1]))
    asks = (
        f"Fresh text of generation {last} is as good as that of generation 0: no drift, in nats (interval of {_CONTROL:.0%})."
    )
    controls = [Control("A/A", asks, abs(drift) <= half, drift, drift - half, drift + half, 0.0)]
    if all(_is_answered(arms, name) for name in ("wrong", "base")):
        controls.append(_closed_form(arms, sigma))
    return controls, sigma


def _closed_form(arms: Arms, sigma: float) -> Control:
    """Wrong values cost what answers say, as keys are learnt alike: sum over keys of p_k times the change of -ln p(value)."""
    wrong, base = arms["wrong"], arms["base"]
    changes = [_by_rank(b) - _by_rank(a) for a, b in zip(_answers(base), _answers(wrong), strict=True)]
    weights, tokens = key_weights(len(changes[0])), KEY_TOKENS + _answers(base)[0].log_p.shape[1]
    truth = float(np.mean([weights @ one for one in changes])) / tokens
    value = float(losses(wrong).mean() - losses(base).mean())
    change = np.mean(changes, axis=0)
    # Held-out records are drawn; seeds move the losses of keys and, apart, the answers.
    sampled = math.sqrt(float(weights @ (change - weights @ change) ** 2) * tokens / VALIDATION_TOKENS) / tokens
    half = _MOST_SDS * math.hypot(sampled, sigma * math.sqrt(4 / len(changes)))
    asks = "Records with wrong values cost what the answers to the right ones say, in nats per token."
    return Control("wrong values", asks, abs(value - truth) <= half, value, value - half, value + half, truth)


def _rows(excess: Mapping[str, FloatArray]) -> list[dict[str, float | str]]:
    return [
        {"arm": f"{way}{g + 1}", "mean": float(row.mean()), "least": float(row.min()), "most": float(row.max())}
        for way, steps in excess.items()
        for g, row in enumerate(steps)
    ]


def _split(arms: Arms, last: int) -> dict[str, list[dict[str, float | str]]]:
    """Of the last generation: what its excess is made of, by answers. Keys cost what is left of a record."""
    shown = [name for name in (f"{way}{last}" for way in _WAYS) if _is_answered(arms, name)]
    if not shown or not _is_answered(arms, f"fresh{last}"):
        return {}
    fresh = arms[f"fresh{last}"]
    tokens = KEY_TOKENS + _answers(fresh)[0].log_p.shape[1]
    rows: list[dict[str, float | str]] = []
    for name in shown:
        of_values = float((value_losses(arms[name]) - value_losses(fresh)).mean()) / tokens
        whole = float((losses(arms[name]) - losses(fresh)).mean())
        rows.append({"arm": name, "excess": whole, "of keys": whole - of_values, "of values": of_values})
    return {"What the excess of the last generation is made of, nats per token": rows}


def _sentence(effects: Mapping[str, Effect], fresh: Control, last: int) -> str:
    one, pooled, verified = effects["replace"], effects["accumulate"], effects["verified"]
    said = (
        f"After {last} generations on its own samples a model is {_number(one.value, one.low, one.high)} nats per token worse "
        f"on real text; fresh text of the same size makes {fresh.value:+.2f}."
    )
    shares = [
        f"{_number(effect.value, effect.low, effect.high)} of that with {what}"
        for effect, what in ((pooled, "all earlier text kept"), (verified, "wrong records dropped"))
        if not math.isnan(effect.value)
    ]
    return f"{said} It is {' and '.join(shares)}." if shares else said


def _number(value: float, low: float, high: float) -> str:
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _chart(arms: Arms, excess: Mapping[str, FloatArray], last: int) -> Chart:
    """Excess by generation, and -ln p of values by how common their keys are."""
    g, every = np.arange(last + 1.0), [np.zeros(1)]
    marks: list[Mark] = [Across("y", 0.0, "dot")]
    for way, steps in excess.items():
        label, colour = _WAYS[way]
        marks.append(Line(g, np.concatenate([[0.0], steps.mean(axis=1)]), colour))
        marks.append(Dots(np.repeat(g[1:], steps.shape[1]), steps.ravel(), colour, name=label))
        every.append(steps.ravel())
    y = linear_axis("number", "Loss on real text above fresh text (nats per token)", *every)
    panels = [Panel("Harm by generation", Axis("number", 0.0, last + 0.2, "Generation", is_log=False), y, tuple(marks))]
    if all(_is_answered(arms, name) for name in ("base", f"replace{last}")):
        panels.append(_by_rank_panel(arms, last))
    caption = "Loss on held-out real text of models that learnt from what earlier ones wrote. Every dot is one model."
    return Chart("synthetic", caption, tuple(panels))


def _by_rank_panel(arms: Arms, last: int) -> Panel:
    shown: list[tuple[str, str, Role]] = [("base", "generation 0", "ink")]
    shown += [(f"{way}{last}", label, colour) for way, (label, colour) in _WAYS.items()]
    marks: list[Mark] = []
    every = []
    for name, label, colour in shown:
        if not _is_answered(arms, name):
            continue
        nll = np.mean([_by_rank(one) for one in _answers(arms[name])], axis=0)
        edges = np.unique(np.geomspace(1, len(nll) + 1, 13).astype(int))
        x = np.log10(np.sqrt(edges[:-1] * (edges[1:] - 1.0)))
        y = np.array([nll[a - 1 : b - 1].mean() for a, b in itertools.pairwise(edges)])
        marks.append(Line(x, y, colour, name=label))
        every.append(y)
    axis = linear_axis("number", "Rank of the key, log10", x)
    return Panel(
        f"Values after generation {last}", axis, linear_axis("number", "-ln p of the right value", *every), tuple(marks)
    )


# Simulated tables: losses near those of records of 4 tokens at N = 28k and D = 262k (docs/studies/synthetic.md).
_FRESH, _SMALL = 0.886, 0.937
_REPLACE = (0.08, 0.21, 0.43)
_LINEAGE = 0.12
"""Standard deviation of an excess over lineages, as a share of it."""
_KEYS, _TOKENS = 512, 4
_UNKNOWN, _KNOWN = 2 * math.log(16), 3e-4
"""-ln p of a value that was never seen, and the probability of a key from which on it is known, about."""
_WRONG = 0.25


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """Tables of this design in which the effect of `part` is theta; see `base`.

    Raises:
        KeyError: there is no such part.
    """
    if part not in ("replace", "accumulate", "bounded", "worth", "verified", "values"):
        raise KeyError(part)
    last = generations(arms)
    replace = np.interp(np.arange(1, last + 1), np.arange(1, len(_REPLACE) + 1), _REPLACE)
    replace *= theta / replace[-1] if part == "replace" else 1.0
    share = {way: theta if part == way else 0.3 for way in ("accumulate", "verified")}
    steps = replace[0] * 0.5 * np.linspace(1.0, theta, last)  # from the first to theta times it
    pooled = np.cumsum(steps) if part == "bounded" else share["accumulate"] * replace
    exact = {"replace": replace, "accumulate": pooled, "verified": share["verified"] * replace}
    number = len(arms["base"].used)
    apart = {way: 1 + _LINEAGE * noise / NOISE * rng.standard_normal(number) for way in exact}
    answered = ("base", "wrong", *(f"{way}{last}" for way in (*exact, "fresh")))
    found = {}
    for name, points in arms.items():
        way, generation = name.rstrip("0123456789"), int("0" + name.lstrip("abcdefghijklmnopqrstuvwxyz_"))
        excess = exact[way][generation - 1] * apart[way] if way in exact and generation <= last else np.zeros(len(points.frame))
        if name == "small":
            excess = excess + _SMALL - _FRESH
        elif name == "own":
            excess = excess + (_SMALL - _FRESH) * (1 - _log_share(arms, theta if part == "worth" else 0.05))
        lost = 6.0 * (rng.random(_KEYS) < _WRONG) if name == "wrong" else np.zeros(_KEYS)
        excess = excess + float(key_weights(_KEYS) @ lost) / _TOKENS
        # In most tables all of the excess is at the values.
        shift = np.full(len(excess), theta) if part == "values" and name == f"verified{last}" else _TOKENS * excess
        order = points.frame["seed"].rank().to_numpy(dtype=np.int64) - 1
        drawn = with_losses(points, (_FRESH + excess + noise * _FRESH * rng.standard_normal(len(excess)))[order])
        if name in answered:
            shift = shift if name != "wrong" else np.zeros(len(excess))
            shift = shift + _TOKENS * noise * _FRESH * rng.standard_normal(len(excess))
            drawn = _answering(drawn, [lost + one for one in shift[order]])
        found[name] = drawn
    return found


def _log_share(arms: Arms, worth: float) -> float:
    """The share of the way from `small` to `fresh1`, in ln D, at which tokens of this worth end."""
    if "small" not in arms:
        return 0.0
    times = float(arms["fresh1"].frame["d"].iloc[0] / arms["small"].frame["d"].iloc[0])
    return math.log1p(worth * (times - 1)) / math.log(times)


def _answering(points: Points, more: list[FloatArray]) -> Points:
    """The rows with answers of a model that knows common keys, and -ln p of all values higher by `more`, nats, of each row."""
    nll = _UNKNOWN * np.exp(-key_weights(_KEYS) / _KNOWN)
    found = np.empty(len(more), dtype=object)
    for i, each in enumerate(more):
        log_p = -np.tile(((nll + each) / 2)[:, None], (1, 2))
        found[i] = Answers(log_p, log_p > -math.log(2), np.arange(1, _KEYS + 1), 16.0**-2)
    return dataclasses.replace(points, frame=points.frame.assign(answers=found))
