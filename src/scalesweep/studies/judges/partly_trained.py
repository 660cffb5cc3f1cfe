"""At equal compute, is the largest model best, even if it is only partly trained?

Losses at one C are read off finished runs of each size: ln L over ln C within the size, by the monotone cubic, never across
sizes and never beyond what the size measured. A cell counts as fully trained where s = g_N / g_D >= 3 by the preferred law: a
further per cent of tokens lowers its loss by at most a third of what a further per cent of parameters would.

A lower loss is looked for among several sizes, so that it is compared one way: the best *other* size, whose noise makes it
look better rather than worse. Regret of the learning rate, where arms measured it, widens an interval, and shifts nothing.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import brentq

from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.laws import Chinchilla, JointLaw
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.report.charts.chart import Chart, Dots, Line, Mark, Panel, log_axis, log_scale
from scalesweep.studies.base import Arms, Control, Effect, Findings, Rule, arm, with_losses
from scalesweep.studies.estimators.equal_compute import Contest, Size, against_best, levels_of_compute, sizes_of, vertex
from scalesweep.studies.estimators.noise import LossNoise, loss_noise, seed_control
from scalesweep.studies.estimators.theories import Theories
from scalesweep.studies.estimators.tokens import Trunk, elasticity, trunks_of
from scalesweep.units import format_count, format_number

FULLY = 3.0
"""s from which a cell counts as fully trained; at the compute optimum it is 1."""
CORNERS = ("small", "middle", "large")
"""Arms with other learning rates at one cell of the base each."""
PUBLISHED = {0.5: "Hoffmann et al. 2022", 0.73: "Kaplan et al. 2020", 0.88: "Kaplan et al. 2020, early stopping left out"}
"""Exponents a of N* ~ C^a that the interval is compared with."""


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects `partly_trained`, `largest_wins`, in units of the loss, `stops_short` and `allocation`.

    Raises:
        PointsError: no arm `base`, N, D and C are not all known, or nothing tells the noise.
        FitError: the points identify no law of N and D.
    """
    points = arm(arms, "base")
    if points.is_partial:
        raise PointsError(f"{points.source}: models of equal compute need the columns n, d and c of each row.")
    noise, theories, sizes = loss_noise(points, rule), Theories.of(points, rule), sizes_of(points)
    regrets = _regrets(arms, points)
    partly, largest = _partly_trained(sizes, theories.preferred, noise), _largest(sizes, noise)
    effects = {
        "partly_trained": _partly_effect(partly, noise, regrets.get("small", 0.0)),
        "largest_wins": _largest_effect(largest, noise, regrets.get("large", 0.0)),
        "stops_short": _stops_short(points, theories),
        "allocation": _allocation(theories),
    }
    control = _seeds_alike(trunks_of(points))
    return Findings(
        effects=effects,
        sentence=_sentence(points, partly, largest, effects),
        chart=_chart(points, sizes),
        controls=(control,) if control else (),
        noise=noise.sd,
        notes=tuple(_notes(regrets, noise, control, sizes, effects["allocation"])),
        tables={"Losses at equal compute": _table(sizes)},
    )


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """Losses of an additive law of the design in which the effect of `part` is theta; rows of every arm are drawn.

    The learning rates of the other arms change nothing in it.

    Raises:
        KeyError: there is no such part.
    """
    law = _planted_law(arm(arms, "base"), part, theta)

    def drawn(points: Points) -> Points:
        n, d = (points.frame[name].to_numpy(dtype=np.float64) for name in ("n", "d"))
        return with_losses(points, law.predict(n, d) * np.exp(noise * rng.standard_normal(len(n))))

    return {name: drawn(points) for name, points in arms.items()}


def _planted_law(points: Points, part: str, theta: float) -> JointLaw:
    """An additive law whose terms are u and v at one place of the design: a corner, the middle, or the optimum."""
    n, d = points.n, points.d
    corner = float(n.min()), float(d[n == n.min()].max())
    middle = math.exp(np.log(n).mean()), math.exp(np.log(d).mean())

    def pinned(u: float, v: float, alpha: float, beta: float, at: tuple[float, float], e: float = 2.6) -> JointLaw:
        return Chinchilla(e, u * at[0] ** alpha, v * at[1] ** beta, alpha, beta)

    def solved(family: Callable[[float], JointLaw], pick: Callable[[Sequence[Size]], Contest | None], sign: int) -> JointLaw:
        def miss(x: float) -> float:
            law = family(x)
            contest = pick(sizes_of(with_losses(points, law.predict(points.frame["n"], points.frame["d"]))))
            if contest is None:
                raise PointsError(
                    f"{points.source}: the design compares no two sizes at one compute, so nothing can be planted."
                )
            return sign * (contest.loss - contest.other_loss) - theta

        return family(float(brentq(miss, *_BRACKETS[part], xtol=1e-10)))

    if part == "partly_trained":  # s = 4 in the smallest model at its most tokens, whatever the exponent
        excess = 0.4 + 5 * max(theta, 0.0)  # a fifth of it is the most that a larger model can save
        return solved(lambda x: pinned(0.8 * excess, 0.2 * excess, x, x, corner), _larger_than_first, 1)
    if part == "largest_wins":
        v = 0.3 + 3 * max(-theta, 0.0)  # three fifths of it is the most that the largest can lose
        return solved(lambda x: pinned(v * math.exp(x), v, 0.4, 0.4, middle), lambda sizes: _largest(sizes, None), -1)
    if part == "stops_short":  # with alpha = beta the terms are equal at the optimum: f* = v / (E + v)
        e, v = 2.6, 2.6 * theta / (1 - theta)
        largest = Rows.of(points).largest_six or 6 * float((n * d).max())
        ratio = middle[1] / middle[0]
        return pinned(v, v, 1.0, 1.0, (math.sqrt(largest / 6 / ratio), math.sqrt(largest / 6 * ratio)), e)
    if part == "allocation":  # a = beta / (alpha + beta), and the optimum passes through the middle of the design
        alpha, beta = 0.7 * (1 - theta), 0.7 * theta
        return pinned(2 * theta, 2 * (1 - theta), alpha, beta, middle, 1.4)
    raise KeyError(part)


_BRACKETS = {"partly_trained": (0.66, 3.0), "largest_wins": (-6.0, 6.0)}
"""Of the exponent, and of the logarithm of the parameter term over the data term."""


def _larger_than_first(sizes: Sequence[Size]) -> Contest | None:
    """The smallest size at its most tokens against larger ones."""
    c = float(sizes[0].c[-1])
    others = [size for size in sizes[1:] if size.reaches(c)]
    return against_best(sizes[0], c, others, None) if others else None


def _partly_trained(sizes: Sequence[Size], law: JointLaw, noise: LossNoise) -> Contest | None:
    """The cell with s >= `FULLY` and the most compute at which a larger size was measured, against the best larger size."""
    found = []
    for i, size in enumerate(sizes):
        for c, d in zip(size.c.tolist(), size.d.tolist(), strict=True):
            others = [other for other in sizes[i + 1 :] if other.reaches(c)]
            if others and float(elasticity(law, size.n, d)) >= FULLY:
                found.append((c, size, others))
    if not found:
        return None
    c, size, others = max(found, key=lambda one: one[0])
    return against_best(size, c, others, noise)


def _largest(sizes: Sequence[Size], noise: LossNoise | None) -> Contest | None:
    """The largest size against the best smaller one, at the most compute that three sizes measured."""
    for c in sorted((float(size.c[-1]) for size in sizes), reverse=True):
        there = [size for size in sizes if size.reaches(c)]
        if len(there) >= 3:
            return against_best(there[-1], c, there[:-1], noise)
    return None


def _partly_effect(contest: Contest | None, noise: LossNoise, regret: float) -> Effect:
    """L of the fully trained model minus that of the best larger one; a better rate would take `regret` off the former."""
    if contest is None:
        return Effect.missing(
            f"No cell with s >= {FULLY:g} by the preferred law has a larger size at its compute: train the smallest longer."
        )
    value, half = contest.loss - contest.other_loss, noise.quantile() * contest.error
    low, high = value - half - regret, value + half
    return Effect(value, low, high, says=f"The larger model ends {value:.3f} [{low:.3f}, {high:.3f}] lower in loss")


def _largest_effect(contest: Contest | None, noise: LossNoise, regret: float) -> Effect:
    """L of the best smaller model minus that of the largest; a better rate would take `regret` off the latter."""
    if contest is None:
        return Effect.missing("No compute was measured with three sizes: measure more budgets of the larger and smaller ones.")
    value, half = contest.other_loss - contest.loss, noise.quantile() * contest.error
    low, high = value - half, value + half + regret
    return Effect(value, low, high, says=f"The best smaller model minus the largest: {value:+.3f} [{low:+.3f}, {high:+.3f}]")


def _stops_short(points: Points, theories: Theories) -> Effect:
    """L(N*, D*) / L(N*, infinite D) - 1 at the largest measured compute, the envelope over the laws."""
    if (c := Rows.of(points).largest_six) is None:
        return Effect.missing("The units of N, D and C contradict each other, so there is no compute optimum.")

    def short(law: JointLaw) -> float:
        if not law.has_optimum:
            return math.nan
        n = float(law.n_opt(c))
        return float(law.predict(n, law.d_opt(c)) / (law.E + law.A * n**-law.alpha) - 1)

    found = theories.effect(short)
    value, low, high = (100 * end for end in (found.value, found.low, found.high))
    says = f"at the optimum of the largest compute a model ends {value:.1f} % [{low:.1f}, {high:.1f}] above its own limit"
    return Effect(found.value, found.low, found.high, found.withheld, says)


def _allocation(theories: Theories) -> Effect:
    """Exponent a of N* ~ C^a, the envelope over the laws."""
    found = theories.effect(lambda law: law.a if law.has_optimum else math.nan)
    outside = [f"{a:g} ({who})" for a, who in PUBLISHED.items() if not found.low <= a <= found.high]
    says = f"a = {found.value:.2f} [{found.low:.2f}, {found.high:.2f}], which excludes {', '.join(outside) or 'none published'}"
    return Effect(found.value, found.low, found.high, found.withheld, says)


def _seeds_alike(trunks: Sequence[Trunk]) -> Control | None:
    """A/A: of each size, the first seed's loss over that of the others at their common budgets, a mean over budgets."""
    ratios = []
    for n in sorted({trunk.n for trunk in trunks}):
        first, *others = [trunk for trunk in trunks if trunk.n == n]
        common = [d for d in first.d.tolist() if all(d in other.d for other in others)]
        if others and common:
            means = [[np.log(trunk.loss[trunk.d == d]).mean() for d in common] for trunk in (first, *others)]
            ratios.append(float(np.mean(means[0] - np.mean(means[1:], axis=0))))
    return seed_control(ratios, "the same loss")


def _regrets(arms: Arms, base: Points) -> dict[str, float]:
    """What another learning rate takes off the loss of one cell, by its corner; 0 where none is lower."""
    found = {}
    for name in CORNERS:
        if name in arms and len(arms[name].loss):
            tried, used = arms[name].used, base.used
            same = (used["n"] == tried["n"].iloc[0]) & (used["d"] == tried["d"].iloc[0])
            if "seed" in used:
                same &= used["seed"].isin(set(tried["seed"]))
            if same.any():
                found[name] = max(0.0, float(used["loss"][same].mean() - tried["loss"].min()))
    return found


def _notes(
    regrets: dict[str, float], noise: LossNoise, control: Control | None, sizes: Sequence[Size], allocation: Effect
) -> list[str]:
    notes = []
    if regrets:
        said = ", ".join(f"{regret:.3f} ({name})" for name, regret in regrets.items())
        notes.append(f"Another learning rate lowers the loss at these corners by {said}; the intervals allow for it.")
    else:
        notes.append("No other learning rate was tried, so nothing tells how far the largest models are from their best.")
    vertices = [(c, n) for c in levels_of_compute(sizes) if (n := vertex(sizes, c)) is not None]
    if len(vertices) >= 3:
        log_c, log_n = np.log(np.array(vertices)).T
        slope = float(np.polyfit(log_c, log_n, 1)[0])
        notes.append(
            f"Through the minima of {len(vertices)} levels of compute a is {slope:.2f}; by laws it is {allocation.value:.2f}."
        )
    if control is None:
        notes.append("Fewer than three sizes have two seeds, so there is no A/A control.")
    if not noise.is_seeds:
        notes.append("The table names no seeds: the noise is what the preferred law leaves over.")
    return notes


def _table(sizes: Sequence[Size]) -> list[dict[str, float]]:
    return [
        {"c": c, "n": size.n, "loss": size.loss_at(c), "best n": vertex(sizes, c) or math.nan}
        for c in levels_of_compute(sizes)
        for size in sizes
        if size.reaches(c)
    ]


def _sentence(points: Points, partly: Contest | None, largest: Contest | None, effects: dict[str, Effect]) -> str:
    def at(contest: Contest, part: str, sign: int) -> str:
        effect = effects[part]
        low, high = sorted((sign * effect.low, sign * effect.high))
        return f"{sign * effect.value:+.2f} [{low:+.2f}, {high:+.2f}]"

    unit, said = points.metric.unit, []
    if partly is not None:
        said.append(
            f"At {format_number(partly.c)} FLOPs a model of {format_count(partly.other)} parameters, partly trained, ends at "
            f"{partly.other_loss:.2f} {unit}, and one of {format_count(partly.n)}, trained fully, at {partly.loss:.2f} "
            f"({at(partly, 'partly_trained', 1)})."
        )
    if largest is not None:
        said.append(
            f"At {format_number(largest.c)} FLOPs the largest, of {format_count(largest.n)}, ends at {largest.loss:.2f}, and "
            f"the best smaller one, of {format_count(largest.other)}, at {largest.other_loss:.2f} "
            f"({at(largest, 'largest_wins', 1)})."
        )
    return " ".join(said) or "No two sizes were measured at one compute."


def _chart(points: Points, sizes: Sequence[Size]) -> Chart:
    levels = levels_of_compute(sizes)
    panels = []
    for title, is_ratio in (("Size at equal compute", False), ("Tokens per parameter", True)):
        marks: list[Mark] = []
        every: list[FloatArray] = []
        losses: list[FloatArray] = []
        for c in levels:
            there = [size for size in sizes if size.reaches(c)]
            d = [math.exp(np.interp(math.log(c), np.log(size.c), np.log(size.d))) for size in there]
            x = np.array([(tokens / size.n) if is_ratio else size.n for size, tokens in zip(there, d, strict=True)])
            y = np.array([size.loss_at(c) for size in there])
            marks += [Line(x, y, c), Dots(x, y, np.full(len(x), c))]
            every.append(x)
            losses.append(y)
            if not is_ratio and (best := vertex(sizes, c)) is not None:
                marks.append(Dots(np.array([best]), np.array([y.min()]), "ink", is_hollow=True, size=7))
        x = np.concatenate(every) if every else points.n
        axis = log_axis("number", x, label="tokens per parameter D / N") if is_ratio else log_axis("n", x)
        panels.append(
            Panel(title, axis, log_axis("loss", *losses or [points.loss], label=f"loss ({points.metric.unit})"), tuple(marks))
        )
    caption = "Loss of each size at five levels of compute, read between its budgets; rings: the best size by a parabola."
    return Chart("partly_trained", caption, tuple(panels), log_scale("c", np.array(levels or points.c)))
