"""What filtering is worth: a multiplier of the tokens, whether it lasts with scale, and what it does to a fixed pool.

Arms: `base` is the clean text and `junk` the same stream with a share of its windows made uniform noise. `pool` has a limited
number of unique tokens with that share of junk among them, `filtered` is the pool without its junk. Controls: `constant`, in
which the share is one repeated token and costs its place alone, and `again`, the base with other seeds. All but the first two
may be missing.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Chart, Dots, Line, Mark, Panel, Role, log_axis
from scalesweep.studies.base import CONFIDENCE, Arms, Control, Effect, Findings, Rule, arm, replicate_noise
from scalesweep.studies.estimators.multipliers import (
    CONTROL_CONFIDENCE,
    FAR_APART,
    Worth,
    holds,
    laws_of_base,
    pair_runs,
    shorter_control,
    size_means,
    trunk_sum,
)
from scalesweep.studies.estimators.planted import LAW, drawn, noisy
from scalesweep.studies.estimators.theories import Theories
from scalesweep.units import format_count, format_number

FRESH_TOLERANCE = 0.006
"""Of log loss: 7 % of the tokens at the slope of the demo's grid at context 32, .08. Windows drawn once for all seeds differ
from others by about as much as seeds do (.012 nats at one epoch), while a prefix of the text was .31 nats off and blocks of
it .046 (docs/data.md)."""
_REPEATS = 15.4
"""R_D* of Muennighoff et al. 2023 (arXiv 2305.16264), by which repeated tokens count in simulated tables."""
_JUNK, _SHUFFLED = math.log(1.75), math.log(1.1)
"""Log worth of clean tokens in simulated tables in which another effect is planted."""


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects `multiplier`, `lasts`, `pool`, `shuffled` and `constant`.

    Raises:
        PointsError: an arm that the study needs is missing, or has no two seeds in common with the base.
        FitError: the base's runs do not determine a law.
    """
    base, junk = arm(arms, "base"), arm(arms, "junk")
    theories = laws_of_base(base, rule)
    worth = Worth.of(theories, base, junk)
    others = {name: Worth.of(theories, base, arms[name]) for name in ("again", "shuffled", "constant") if name in arms}
    effects = {
        "multiplier": _multiplier(worth, junk),
        "lasts": _lasts(worth),
        "pool": _pool(arms),
        "shuffled": _worth(others.get("shuffled"), "shuffled", "With a third of each document's words out of place"),
        "constant": _worth(others.get("constant"), "constant", "With a third of the windows one repeated token"),
    }
    alone = 1 / worth.by_law_alone()
    notes = [f"Read off the base's law alone, without its losses at the same cells, the multiplier is {format_number(alone)}."]
    if abs(math.log(alone * worth.multiplier().value)) > FAR_APART:
        notes.append("That is more than 10 % off: the law misses the base there.")
    notes += [f"There is no arm {name}, so that its control is left out." for name in ("shorter", "again") if name not in arms]
    cells = [{**row, "multiplier of tokens": 1 / row["multiplier of tokens"]} for row in worth.cells()]
    return Findings(
        effects,
        _sentence(effects, junk),
        _chart(arms, theories, worth),
        (*_known(arms, theories, others), *_fresh(arms)),
        replicate_noise(base)[0],
        tuple(notes),
        {"What clean tokens are worth, by cell": cells},
    )


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """Tables of this design in which the effect of `part` is theta; see `base`.

    Raises:
        KeyError: there is no such part.
    """
    if part not in ("multiplier", "lasts", "pool", "shuffled", "constant"):
        raise KeyError(part)
    centre = float(np.log(arms["junk"].c).mean())
    slope, junk = (theta if part == "lasts" else 0.0), (math.log(theta) if part == "multiplier" else _JUNK)

    def of_junk(points: Points) -> FloatArray:
        return np.asarray(-junk - slope * (np.log(points.frame["c"].to_numpy(dtype=np.float64)) - centre))

    found = {}
    for name, points in arms.items():
        if name == "pool":
            exact = _pool_losses(points, of_junk(points), arms["filtered"], theta if part == "pool" else None)
            found[name] = noisy(points, exact, noise, rng)
            continue
        log_rho: FloatArray | float = 0.0
        if name == "junk":
            log_rho = of_junk(points)
        elif name == "constant":
            log_rho = math.log(theta) if part == "constant" else math.log(1 - _share(points))
        elif name == "shuffled":
            log_rho = math.log(theta) if part == "shuffled" else -_SHUFFLED
        elif name == "filtered":
            log_rho = _repeated(points)
        found[name] = drawn(points, log_rho, noise, rng)
    return found


def _multiplier(worth: Worth, junk: Points) -> Effect:
    found = worth.multiplier()
    effect = Effect(1 / found.value, 1 / found.high, 1 / found.low, found.withheld)
    if math.isnan(effect.value):
        return effect
    alone = "" if (share := _share(junk)) == 0 else f" ({1 / (1 - share):.2f} if junk cost nothing but its place)"
    return dataclasses.replace(effect, says=f"A run on clean text is worth {_times(effect)} the tokens{alone}.")


def _lasts(worth: Worth) -> Effect:
    found = worth.slope()
    effect = Effect(-found.value, -found.high, -found.low, found.withheld)
    if math.isnan(effect.value):
        return effect
    tenfold = [10**x - 1 for x in (effect.value, effect.low, effect.high)]
    said = f"With ten times the compute the multiplier changes by {tenfold[0]:+.0%} [{tenfold[1]:+.0%}, {tenfold[2]:+.0%}]."
    return dataclasses.replace(effect, says=said)


def _pool(arms: Arms) -> Effect:
    """Best loss over the budgets of the pool as it is, minus that of the filtered one: mean over sizes, in nats per token."""
    if "pool" not in arms or "filtered" not in arms:
        return Effect.missing("It needs the arms pool and filtered.")
    pairs = pair_runs(_best(arms["filtered"]), _best(arms["pool"]))
    ones = np.ones(len(pairs.n))
    value, half = trunk_sum(np.exp(pairs.log_arm) - np.exp(pairs.log_base), size_means(pairs, ones), ones, pairs, CONFIDENCE)
    effect = Effect(value, value - half, value + half)
    sign = 1 if value > 0 else -1
    low, high = sorted((sign * effect.low, sign * effect.high))
    apart = f"{abs(value):.3f} [{low:.3f}, {high:.3f}] nats {'lower' if value > 0 else 'higher'}"
    said = f"Trained to its best epoch, the filtered pool ends {apart}."
    return dataclasses.replace(effect, says=said)


def _best(points: Points) -> Points:
    """The lowest loss over the budgets of each size and seed, as if it were the largest budget's."""
    used = points.used
    lowest = used.loc[used.groupby(["n", "seed"])["loss"].idxmin()]
    return dataclasses.replace(points, frame=lowest.assign(d=used["d"].max()).reset_index(drop=True))


def _worth(worth: Worth | None, name: str, how: str) -> Effect:
    """What a token of a changed text is worth, in clean ones."""
    if worth is None:
        return Effect.missing(f"It needs the arm {name}.")
    effect = worth.multiplier()
    if math.isnan(effect.value):
        return effect
    return dataclasses.replace(effect, says=f"{how}, a token is worth {_number(effect)} clean ones.")


def _known(arms: Arms, theories: Theories, others: Mapping[str, Worth]) -> list[Control]:
    """The controls whose truth is known: the base against itself, and the base with fewer tokens."""
    controls = []
    if "again" in others:
        found = others["again"].multiplier(confidence=CONTROL_CONFIDENCE)
        controls.append(holds("A/A", "The base with other seeds is worth its own tokens, 1", 1.0, found))
    if "shorter" in arms:
        controls.append(shorter_control(theories, arms["base"], arms["shorter"]))
    return controls


def _fresh(arms: Arms) -> list[Control]:
    """Within its first epoch a pool is as good as text that never repeats."""
    controls = []
    for name, like in (("pool", "junk"), ("filtered", "base")):
        if name not in arms or "epochs" not in arms[name].used:
            continue
        frame = arms[name].used
        first = dataclasses.replace(arms[name], frame=frame[frame["epochs"] <= 1].reset_index(drop=True))
        try:
            pairs = pair_runs(arms[like], first)
        except PointsError:  # no budget within the first epoch
            continue
        ones = np.ones(len(pairs.n))
        value, half = trunk_sum(pairs.delta, size_means(pairs, ones), ones, pairs, CONTROL_CONFIDENCE)
        passed = value - half <= FRESH_TOLERANCE and value + half >= -FRESH_TOLERANCE
        asks = f"Within its first epoch arm {name} ends as arm {like} does: log loss apart by {FRESH_TOLERANCE:g} at most"
        controls.append(Control(f"fresh {name}", asks, passed, value, value - half, value + half, 0.0))
    return controls


def _share(points: Points) -> float:
    """The share of windows that the transform of these rows changes; 0 where they do not say."""
    said = str(points.used["transform"].iloc[0]).split() if "transform" in points.used else []
    return float(said[1]) if len(said) == 2 else 0.0


def _repeated(points: Points) -> FloatArray:
    """Log of effective over visited tokens, where epochs beyond the first count by Muennighoff et al. 2023, eq. (5)."""
    d = points.frame["d"].to_numpy(dtype=np.float64)
    unique = np.minimum(points.frame["unique_tokens"].to_numpy(dtype=np.float64), d)
    return np.asarray(np.log(unique * (1 + _REPEATS * (1 - np.exp(-(d / unique - 1) / _REPEATS))) / d))


def _pool_losses(pool: Points, junk: FloatArray, filtered: Points, theta: float | None) -> FloatArray:
    """Losses of the pool with junk, shape (rows,): with theta, those of the last budget are that much above the filtered best.

    Other budgets beyond the first epoch are clearly worse then, so that noise does not choose among equals.
    """
    n, d = (pool.frame[name].to_numpy(dtype=np.float64) for name in ("n", "d"))
    loss = LAW.predict(n, d * np.exp(junk + _repeated(pool)))
    if theta is None:
        return loss
    of_filtered = LAW.predict(filtered.frame["n"], filtered.frame["d"] * np.exp(_repeated(filtered)))
    best = np.array([of_filtered[filtered.frame["n"].to_numpy() == size].min() for size in n])
    beyond = pool.frame["epochs"].to_numpy(dtype=np.float64) > 1
    return np.where(beyond, best + theta + np.where(d < d.max(), 0.1, 0.0), loss)


def _sentence(effects: Mapping[str, Effect], junk: Points) -> str:
    multiplier, pool = effects["multiplier"], effects["pool"]
    share = _share(junk)
    what = f"the {share:.0%} of the training text that is noise" if share else "the junk"
    said = f"With {what} removed, a run is worth {_times(multiplier)} the tokens."
    return said if math.isnan(pool.value) else f"{said} {pool.says.replace('pool', 'part of one fixed pool')}"


def _times(effect: Effect) -> str:
    return f"{effect.value:.2f} [{effect.low:.2f}, {effect.high:.2f}] times"


def _number(effect: Effect) -> str:
    return f"{effect.value:.2f} [{effect.low:.2f}, {effect.high:.2f}]"


def _chart(arms: Arms, theories: Theories, worth: Worth) -> Chart:
    """Loss against tokens at the largest size of all arms: text that never repeats, and the pool."""
    n = float(worth.pairs.n.max())
    fresh: list[tuple[str, str, Role]] = [("base", "clean", "first"), ("junk", "with junk", "second")]
    pools: list[tuple[str, str, Role]] = [("filtered", "filtered", "first"), ("pool", "as it is", "second")]
    panels = [_panel(f"Text that never repeats, N = {format_count(n)}", arms, n, fresh)]
    found = worth.multiplier().value
    d = np.geomspace(worth.pairs.d.min(), worth.pairs.d.max(), 60)
    if not math.isnan(found):
        clean, moved = (theories.preferred.predict(np.full_like(d, n), d * rho) for rho in (1.0, found))
        lines = (Line(d, clean, "first"), Line(d, moved, "second", "dash", name=f"clean law, D / {1 / found:.2f}"))
        panels[0] = dataclasses.replace(panels[0], marks=(*lines, *panels[0].marks))
    if all(name in arms for name, _, _ in pools):
        panels.append(_panel("A fixed pool, repeated", arms, n, pools))
    caption = f"Validation loss on clean text of models of {format_count(n)} parameters, mean over seeds."
    return Chart("data_quality", caption, tuple(panels))


def _panel(title: str, arms: Arms, n: float, shown: list[tuple[str, str, Role]]) -> Panel:
    """Mean loss over seeds against D of some arms at one size."""
    marks: list[Mark] = []
    every: list[tuple[FloatArray, FloatArray]] = []
    for name, label, colour in shown:
        used = arms[name].used
        means = used[used["n"] == n].groupby("d")["loss"].mean()
        x, y = means.index.to_numpy(dtype=np.float64), means.to_numpy(dtype=np.float64)
        every.append((x, y))
        if title.startswith("A fixed"):
            marks.append(Line(x, y, colour))
        marks.append(Dots(x, y, colour, name=label))
    xs, ys = (np.concatenate([pair[i] for pair in every]) for i in (0, 1))
    return Panel(title, log_axis("d", xs), log_axis("loss", ys), tuple(marks))
