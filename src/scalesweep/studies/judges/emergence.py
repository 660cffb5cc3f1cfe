"""Whether abilities that appear at some scale were coming all along: facts, learnt one by one, and a skill that is found.

Arms: `facts` (values of keys, met more or less often) and `copy` (repeat random symbols), both with a column `answers`. Either
may be missing: its parts are then missing too.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.points.answers import Answers
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Axis, Chart, Dots, Line, Mark, Panel, Role, linear_axis, log_axis
from scalesweep.studies.base import CONFIDENCE, Arms, Control, Effect, Findings, Rule, replicate_noise
from scalesweep.studies.estimators.abilities import BUCKETS, abilities, appearing, groups, mixed_group, steadiness
from scalesweep.studies.estimators.ability_tables import draw_copy, draw_facts
from scalesweep.studies.estimators.jackknife import ratio
from scalesweep.studies.estimators.loss_as_predictor import correlation, held_out_error
from scalesweep.studies.estimators.modes import FEWEST, find_modes, separation
from scalesweep.studies.estimators.proportions import clopper_pearson, fisher_p, share_difference
from scalesweep.studies.estimators.shapes import shape_of
from scalesweep.units import format_count, format_number

SUCCESS = 0.5
"""Exact match from which a seed has learnt to copy: seeds that have not are at 0, and those that have near 1."""
_RARE = 0.5
"""Share of the keys, the rarest, that hardly a run of the smallest budget has met."""
_KNOWN = 0.02
"""By how much -ln p of what was never met may be below that of a guess, as a share: some of the rare ones were met once."""
_COLOURS: tuple[Role, ...] = ("first", "second", "third", "fit", "ink", "faint")
_PARTS = {"facts": ("metric", "loss_gives_facts"), "copy": ("breakthrough", "larger_earlier", "loss_foretells_copy")}
"""By the arm that they are of."""


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects `metric`, `breakthrough`, `larger_earlier`, `loss_gives_facts` and `loss_foretells_copy`.

    Raises:
        PointsError: neither arm is there, or one has no answers.
    """
    if not set(arms) & {"facts", "copy"}:
        raise PointsError(f"arms = {', '.join(arms)}: the study needs arm facts or arm copy, with answers.")
    effects = {part: Effect.missing(f"It needs the arm {arm}.") for arm, parts in _PARTS.items() for part in parts}
    facts = abilities(arms["facts"], BUCKETS) if "facts" in arms else None
    copy = abilities(arms["copy"]) if "copy" in arms else None
    shown: list[tuple[int, float]] = []
    controls: list[Control] = []
    tables: dict[str, list[dict[str, object]]] = {}
    if facts is not None:
        shown = appearing(facts)
        effects |= {"metric": _metric(facts, shown), "loss_gives_facts": _loss_gives_facts(facts)}
        controls.append(_chance(arms["facts"]))
        tables["Shape of each metric of facts against ln C, by AICc"] = _shapes(facts)
    if copy is not None:
        effects |= {
            "breakthrough": _breakthrough(copy),
            "larger_earlier": _larger_earlier(copy),
            "loss_foretells_copy": _loss_foretells(copy),
        }
        tables["Seeds that copy, by size and tokens"] = _successes(copy)
    return Findings(
        effects,
        _sentence(effects, facts, shown),
        _chart(facts, copy, shown),
        tuple(controls),
        replicate_noise(arms["facts" if "facts" in arms else "copy"])[0],
        ("Copying is asked on held-out problems, facts on all keys: a fact can be known only when it was met.",),
        tables,
    )


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """Whole answers of the arm that `part` is of, in which its effect is theta; see `base`. The other arm is left out.

    Raises:
        KeyError: there is no such part.
    """
    if part in _PARTS["facts"]:
        planted = {"steady": theta} if part == "metric" else {"error": theta}
        return {"facts": draw_facts(arms["facts"], rng, noise, **planted)}
    words = {"breakthrough": "separation", "larger_earlier": "difference", "loss_foretells_copy": "foretold"}
    return {"copy": draw_copy(arms["copy"], rng, noise, **{words[part]: theta})}


def _metric(facts: pd.DataFrame, shown: Sequence[tuple[int, float]]) -> Effect:
    if not shown:
        return Effect.missing("No group of facts is unknown at the smallest budget of a size and becomes known by its largest.")
    runs = steadiness(facts, shown)
    found = ratio([run.over for run in runs], [run.under for run in runs])
    if math.isnan(found.value):
        return found
    says = (
        f"While exact match went from nothing to something, {found.value:.0%} [{found.low:.0%}, {found.high:.0%}] of the "
        "progress in log-probability came evenly with ln C, and the rest when exact match moved."
    )
    return Effect(found.value, found.low, found.high, says=says)


def _breakthrough(copy: pd.DataFrame) -> Effect:
    if not (copy["exact"] > SUCCESS).any():
        return Effect.missing("No seed has learnt to copy at any budget.")
    rows = mixed_group(copy, SUCCESS)
    if len(rows) < FEWEST:
        return Effect.missing(f"It needs {FEWEST} seeds of one size and budget, and there are {len(rows)}.")
    modes = find_modes(rows["nll"].to_numpy())
    found = separation(modes)
    where = f"At {_place(rows)}, where most seeds disagree"
    if modes.groups == 1:
        return Effect(found.value, found.low, found.high, says=f"{where}, their log-probabilities make one group.")
    counts = " and ".join(f"{round(share * modes.seeds)}" for share in modes.shares)
    says = (
        f"{where}, they fall into groups of {counts}, {format_number(found.value)} "
        f"[{format_number(found.low)}, {format_number(found.high)}] standard deviations apart."
    )
    return Effect(found.value, found.low, found.high, says=says)


def _larger_earlier(copy: pd.DataFrame) -> Effect:
    small, large = copy["n"].min(), copy["n"].max()
    if small == large:
        return Effect.missing("It needs two sizes.")
    ends = copy[copy["n"].isin([small, large])]
    # By the seeds of both sizes together, which says nothing of which of them succeeds more often.
    d = min(ends["d"].unique(), key=lambda d: abs(float((ends[ends["d"] == d]["exact"] > SUCCESS).mean()) - 0.5))
    counts = [_count(ends[(ends["n"] == n) & (ends["d"] == d)]) for n in (large, small)]
    if min(trials for _, trials in counts) < FEWEST:
        return Effect.missing(f"It needs {FEWEST} seeds of each size at {format_count(float(d))} tokens.")
    found = share_difference(*counts)
    (big, of_big), (few, of_few) = counts
    says = (
        f"After {format_count(float(d))} tokens {big} of {of_big} seeds of {format_count(large)} parameters copy, and {few} of "
        f"{of_few} of {format_count(small)}: a difference of {found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]; "
        f"Fisher's exact test gives p = {fisher_p(*counts):.2g}."
    )
    return Effect(found.value, found.low, found.high, says=says)


def _loss_gives_facts(facts: pd.DataFrame) -> Effect:
    found = held_out_error(facts, "loss")
    if math.isnan(found.value):
        return found
    by_compute = held_out_error(facts, "c").value
    says = (
        f"The loss gives -ln p of facts of a size left out to {found.value:.1f} [{found.low:.1f}, {found.high:.1f}] times what "
        f"seeds differ by, and compute alone to {by_compute:.1f} times."
    )
    return Effect(found.value, found.low, found.high, says=says)


def _loss_foretells(copy: pd.DataFrame) -> Effect:
    if copy["d"].nunique() < 2:
        return Effect.missing("It needs two budgets.")
    now = mixed_group(copy, SUCCESS, has_earlier=True)
    n, d = now["n"].iloc[0], now["d"].iloc[0]
    own = copy[copy["n"] == n]
    before = own[own["d"] == own["d"][own["d"] < d].max()].set_index("seed")["loss"]
    both = now.set_index("seed").join(before.rename("before"), how="inner")
    found = correlation(both["nll"].to_numpy(), both["before"].to_numpy())
    if math.isnan(found.value):
        return found
    says = (
        f"Of how well seeds copy at {_place(now)} their loss one budget before tells {found.value:.0%} "
        f"[{found.low:.0%}, {found.high:.0%}] of the variance."
    )
    return Effect(found.value, found.low, found.high, says=says)


def _chance(facts: Points) -> Control:
    """What was hardly ever met cannot be known."""
    used = facts.used
    first: list[Answers] = list(used[used["d"] == used["d"].min()]["answers"])
    guess = -math.log(first[0].chance)
    values = [one.nll[one.rank > _RARE * one.rank.max()].mean() / guess for one in first]
    low = float(min(values))
    asks = "At the smallest budget the rarest half of the keys is answered as by a guess: -ln p over that of a guess"
    return Control("chance", asks, low >= 1 - _KNOWN, low, low, float(max(values)), 1.0)


def _shapes(facts: pd.DataFrame) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for (bucket, n), own in groups(facts, ["bucket", "n"]):
        log_c = np.log(own["c"].to_numpy())
        first, last = BUCKETS[int(bucket)]
        found: dict[str, object] = {"ranks": f"{first}-{last}", "N": n}
        for metric, name in (("exact", "exact match"), ("token", "token accuracy"), ("nll", "-ln p")):
            shape = shape_of(log_c, own[metric].to_numpy())
            found[name] = f"{shape.name}{', sharp' if shape.is_sharp else ''}"
        rows.append(found)
    return rows


def _successes(copy: pd.DataFrame) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for (n, d), own in groups(copy, ["n", "d"]):
        successes, trials = _count(own)
        low, high = clopper_pearson(successes, trials)
        rows.append(
            {
                "N": n,
                "D": d,
                "seeds": trials,
                "copy": successes,
                f"share, low {CONFIDENCE:.0%}": low,
                f"share, high {CONFIDENCE:.0%}": high,
                "-ln p, mean": own["nll"].mean(),
                "-ln p, deviation": own["nll"].std(),
                "loss, deviation": own["loss"].std(),
            }
        )
    return rows


def _count(rows: pd.DataFrame) -> tuple[int, int]:
    return int((rows["exact"] > SUCCESS).sum()), len(rows)


def _place(rows: pd.DataFrame) -> str:
    return f"{format_count(float(rows['n'].iloc[0]))} parameters and {format_count(float(rows['d'].iloc[0]))} tokens"


def _sentence(effects: Mapping[str, Effect], facts: pd.DataFrame | None, shown: Sequence[tuple[int, float]]) -> str:
    said = []
    if facts is not None and not math.isnan(effects["metric"].value):
        bucket, n = max(shown, key=lambda one: _gain(facts, one))
        means = _means(facts, bucket, n)
        first, last = means.iloc[0], means.iloc[-1]
        found = effects["metric"]
        said.append(
            f"The share of facts that a model of {format_count(n)} parameters knows went from {first['exact']:.0%} to "
            f"{last['exact']:.0%}, while the log-probability of the same answers improved by {first['nll'] - last['nll']:.1f} "
            f"nats, {found.value:.0%} [{found.low:.0%}, {found.high:.0%}] of it evenly with each doubling of compute."
        )
    if not math.isnan(effects["larger_earlier"].value):
        said.append(effects["larger_earlier"].says)
    return " ".join(said) or "No ability appeared between the smallest and the largest budget."


def _gain(facts: pd.DataFrame, one: tuple[int, float]) -> float:
    exact = _means(facts, *one)["exact"]
    return float(exact.iloc[-1] - exact.iloc[0])


def _means(table: pd.DataFrame, bucket: int, n: float) -> pd.DataFrame:
    rows = table[(table["bucket"] == bucket) & (table["n"] == n)]
    return rows.groupby("d")[["c", "exact", "token", "nll"]].mean()


def _chart(facts: pd.DataFrame | None, copy: pd.DataFrame | None, shown: Sequence[tuple[int, float]]) -> Chart:
    panels = []
    if facts is not None:
        bucket = max(shown, key=lambda one: _gain(facts, one))[0] if shown else 0
        own, (first, last) = facts[facts["bucket"] == bucket], BUCKETS[bucket]
        panels = [
            _metric_panel(own, "exact", f"Facts of rank {first} to {last}: exact match", "share of answers"),
            _metric_panel(own, "nll", "The same answers: -ln p", "nats per answer"),
        ]
    if copy is not None:
        panels.append(_seeds_panel(copy))
    caption = "Two metrics of the same answers against training FLOPs by size, and -ln p of each seed on copying by tokens."
    return Chart("emergence", caption, tuple(panels))


def _metric_panel(own: pd.DataFrame, metric: str, title: str, label: str) -> Panel:
    marks: list[Mark] = []
    for i, ((n,), rows) in enumerate(groups(own, ["n"])):
        means = rows.groupby("d")[["c", metric]].mean()
        colour = _COLOURS[i % len(_COLOURS)]
        marks.append(Line(_values(means, "c"), _values(means, metric), colour))
        marks.append(Dots(_values(rows, "c"), _values(rows, metric), colour, name=format_count(n)))
    return Panel(title, log_axis("c", _values(own, "c")), linear_axis("number", label, _values(own, metric)), tuple(marks))


def _seeds_panel(copy: pd.DataFrame) -> Panel:
    """A strip of seeds at each budget, sizes side by side."""
    marks: list[Mark] = []
    for i, ((n,), rows) in enumerate(groups(copy, ["n"])):
        beside = _values(rows, "d") * 1.06 ** (2 * i - 1)
        marks.append(Dots(beside, _values(rows, "nll"), _COLOURS[i % len(_COLOURS)], is_hollow=True, name=format_count(n)))
    y: Axis = linear_axis("number", "-ln p (nats per answer)", _values(copy, "nll"))
    return Panel("Copying, a ring a seed", log_axis("d", _values(copy, "d")), y, tuple(marks))


def _values(rows: pd.DataFrame, name: str) -> FloatArray:
    return rows[name].to_numpy(dtype=np.float64)
