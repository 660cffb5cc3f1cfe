"""Known mistakes made on purpose, each against the number that was published of it.

Parts of published points and of surfaces without noise need no arm. The others compare arms of the demo's grid: `base` is done
right, `undecayed` ends its runs without decay, and `long_warmup` warms all runs up for half of the shortest one.
"""

import functools
import math
from collections.abc import Mapping

import numpy as np
from scipy.stats import t

from scalesweep.analysis.allocation.approaches import fit_isoflops
from scalesweep.analysis.allocation.lines import Approach
from scalesweep.analysis.allocation.minima import draw_noise, isoflop_minima
from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.points.points import Points
from scalesweep.points.published import published_points
from scalesweep.report.charts.chart import Chart, Line, Mark, Missing, Panel, Role, log_axis
from scalesweep.studies.base import CONFIDENCE, Arms, Control, Effect, Findings, Rule, replicate_noise, with_losses
from scalesweep.studies.estimators.known_mistakes import (
    HOFFMANN,
    OPTIMUM,
    PORIAN_NOISE,
    isoflop_bias,
    ray_errors,
    rounding,
    stopped_early,
)
from scalesweep.units import format_number

_STEPS = {
    "kaplan": "rw|base|long|kaplan|kaplan|train",
    "head": "rw|base|long|kaplan|standard|val",
    "warmup": "rw|base|short|kaplan|standard|val",
    "decay": "rw|base|short|chinchilla|standard|val",
    "tuned": "rw|tuned|short|const|standard|val",
}
"""From Kaplan's way to a tuned one, as in figure 1 of Porian et al. 2024: what is mended -> variant of their points."""
_MISTAKES = {
    "head": ("kaplan", "Without the head in N and C"),
    "warmup": ("head", "With a warm-up that is long for short runs"),
    "decay": ("warmup", "With one cosine for runs of every length"),
    "tuning": ("decay", "With one learning rate, batch and beta2 for all sizes"),
}
_RATES, _VALLEYS = 5, 20_000
"""Learning rates that noise alone tells apart, and simulated searches over them."""


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects of the eleven parts; a mistake that needs an arm which is not there is missing.

    An arm with the name of a step of `_STEPS` stands for its published points.

    Raises:
        FitError: published points give no minima.
    """
    steps = {
        name: _exponent(arms[name], rule.draws, rule.seed) if name in arms else _published(name, rule.draws, rule.seed)
        for name in _STEPS
    }
    mended = {"head": "head", "warmup": "warmup", "decay": "decay", "tuning": "tuned"}
    effects = {part: _shift(steps[of], steps[mended[part]], how) for part, (of, how) in _MISTAKES.items()}
    effects |= {"parabola": _parabola(), "rounding": _rounding(), "mean": _mean(), "ray": _ray()}
    base = arms.get("base")
    effects["undecayed"] = _paired(base, arms.get("undecayed"), "Without decay the loss is higher by")
    effects["best_of_two"] = _best_of_two(base, rule)
    effects["winner"] = _winner(rule)
    effects["long_warmup"] = _bent(base, arms.get("long_warmup"))
    a = [format_number(round(step.a.value, 3)) for step in steps.values() if step.a]
    sentence = (
        f"As Kaplan et al. counted and trained, the exponent of the best size comes out at {a[0]}; with the head counted, a "
        f"short warm-up, matched decay and tuning it falls to {', '.join(a[1:])}."
    )
    noise = replicate_noise(base)[0] if base is not None else math.nan
    return Findings(effects, sentence, _chart(steps, arms), _controls(), noise)


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """Published points of the first two steps, with parabolas whose minima have exponents theta apart, at their own noise.

    Raises:
        KeyError: the part is not `head`; the others follow from published points or from pairs of measured cells.
    """
    if part != "head":
        raise KeyError(part)
    drawn = {}
    for name, a in (("kaplan", 0.7 + theta), ("head", 0.7)):
        points = published_points("porian", _STEPS[name])
        frame = points.frame
        log_n, log_c = np.log(frame["n"].to_numpy(dtype=np.float64)), np.log(frame["c"].to_numpy(dtype=np.float64))
        away = (log_n - log_n.mean()) - a * (log_c - log_c.mean())
        exact = 4.0 * np.exp(-0.05 * (log_c - log_c.mean())) + 0.08 * away**2
        drawn[name] = with_losses(points, exact + PORIAN_NOISE * rng.standard_normal(len(exact)))
    return drawn


def _exponent(points: Points, draws: int, seed: int) -> Approach:
    """Weighted line through Akima minima, with the authors' noise."""
    noise = draw_noise(PORIAN_NOISE / points.loss, draws, seed, "published")
    return fit_isoflops(isoflop_minima(points, "akima", noise), Rule(draws, seed).fit)


@functools.cache
def _published(step: str, draws: int, seed: int) -> Approach:
    return _exponent(published_points("porian", _STEPS[step]), draws, seed)


def _shift(wrong: Approach, right: Approach, how: str) -> Effect:
    """Exponent of the mistake less that of the right way, of independent resamples."""
    if wrong.a is None or right.a is None:
        return Effect.missing("The points give no line through minima.")
    first, second = (np.array([line.a for line in approach.samples]) for approach in (wrong, right))
    drawn = first[: len(second)] - second[: len(first)][::-1]  # in other order: the same draws of noise would cancel
    value = wrong.a.value - right.a.value
    low, high = np.percentile(drawn, (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)))
    says = f"{how} a is {wrong.a.value:.3f} instead of {right.a.value:.3f}."
    return Effect(value, min(float(low), value), max(float(high), value), says=says)


def _exact(value: float, says: str) -> Effect:
    """A number without noise."""
    return Effect(value, value, value, says=says)


def _parabola() -> Effect:
    found = {span: 100 * isoflop_bias(HOFFMANN, span) for span in (2, 4, 8, 16)}
    words = ", ".join(f"{bias:.3f} % at ±{span}x" for span, bias in found.items())
    return _exact(-found[8], f"Parabolas through isoFLOP curves without noise miss D* at 1e24 FLOPs by {words}.")


def _rounding() -> Effect:
    printed, exact = rounding()
    return _exact(printed / exact, f"At the printed parameters the objective is {printed:.3e}, at the unrounded {exact:.4e}.")


def _mean() -> Effect:
    stopped, steps = stopped_early()
    says = f"Minimising the mean, L-BFGS-B reports success after {steps} steps at {stopped:.4e}; the minimum is {OPTIMUM:.4e}."
    return _exact(100 * (stopped / OPTIMUM - 1), says)


def _ray() -> Effect:
    ray, grid = ray_errors()
    return _exact(
        ray / grid, f"With D = 20 N in every run the standard error of alpha is {ray / grid:.0f} times that of a grid."
    )


def _pairs(base: Points | None, other: Points | None) -> "tuple[FloatArray, FloatArray, FloatArray] | None":
    """N, D and log ratio of losses of runs of equal N, D and seed; None where an arm is missing."""
    if base is None or other is None or not {"n", "d", "seed"} <= set(base.used):
        return None
    both = base.used.merge(other.used, on=["n", "d", "seed"], suffixes=("", "_other"))
    if not len(both):
        raise PointsError("The arms have no N, D and seed in common.")
    n, d, loss, wrong = (both[name].to_numpy(dtype=np.float64) for name in ("n", "d", "loss", "loss_other"))
    return n, d, np.log(wrong / loss)


def _over_sizes(n: FloatArray, values: FloatArray) -> tuple[float, float]:
    """Mean over sizes, which are independent, and the half-width of Student's interval."""
    means = np.array([values[n == size].mean() for size in np.unique(n)])
    if len(means) < 2:
        return float(means.mean()), math.inf
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(means) - 1)) * float(means.std(ddof=1)) / math.sqrt(len(means))
    return float(means.mean()), half


def _paired(base: Points | None, other: Points | None, what: str) -> Effect:
    """Mean log ratio of losses, in per cent."""
    if (pairs := _pairs(base, other)) is None:
        return Effect.missing("It needs the arms base and undecayed.")
    value, half = (100 * number for number in _over_sizes(pairs[0], pairs[2]))
    return Effect(value, value - half, value + half, says=f"{what} {value:.1f} % [{value - half:.1f}, {value + half:.1f}].")


def _bent(base: Points | None, other: Points | None) -> Effect:
    """What a fixed warm-up costs the shortest runs, less what it costs the longest, in per cent of the loss."""
    if (pairs := _pairs(base, other)) is None:
        return Effect.missing("It needs the arms base and long_warmup.")
    n, d, ratio = pairs
    if d.min() == d.max():
        return Effect.missing("It needs two budgets.")
    sizes = np.unique(n)
    bend = np.array([ratio[(n == s) & (d == d.min())].mean() - ratio[(n == s) & (d == d.max())].mean() for s in sizes])
    value, half = (100 * number for number in _over_sizes(sizes, bend))
    cost = f"{value:.1f} % [{value - half:.1f}, {value + half:.1f}]"
    says = f"A warm-up of half the shortest run costs it {cost} more than the longest."
    return Effect(value, value - half, value + half, says=says)


def _best_of_two(base: Points | None, rule: Rule) -> Effect:
    """How far the lower of two seeds lies below their mean, in standard deviations of a seed; .564 for normal noise."""
    if base is None or "seed" not in base.used or base.used["seed"].nunique() < 2:
        return Effect.missing("It needs a base with two seeds.")
    table = base.used.pivot_table(index=["n", "d"], columns="seed", values="loss").dropna()
    gap = np.abs(np.log(table.iloc[:, 0].to_numpy() / table.iloc[:, 1].to_numpy()))
    if np.count_nonzero(gap) < 2:
        return Effect.missing("Its seeds have equal losses, so that there is nothing to choose between.")
    picked = np.random.default_rng(rule.seed).integers(len(gap), size=(rule.draws, len(gap)))
    drawn = gap[picked].mean(axis=1) / np.sqrt(2 * (gap[picked] ** 2).mean(axis=1))
    value = float(gap.mean() / math.sqrt(2 * float((gap**2).mean())))
    low, high = np.percentile(drawn, (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)))
    says = f"The better of two runs is {value:.2f} [{low:.2f}, {high:.2f}] standard deviations too good."
    return Effect(value, float(low), float(high), says=says)


def _winner(rule: Rule) -> Effect:
    """How far the lowest of `_RATES` losses that noise alone tells apart is below the truth, in standard deviations."""
    lowest = -np.random.default_rng(rule.seed).standard_normal((_VALLEYS, _RATES)).min(axis=1)
    value, half = float(lowest.mean()), 1.645 * float(lowest.std()) / math.sqrt(_VALLEYS)
    says = f"The lowest of {_RATES} learning rates that are as good is {value:.2f} standard deviations too good."
    return Effect(value, value - half, value + half, says=says)


def _controls() -> tuple[Control, ...]:
    """What must not show the mistake: parabolas on a surface that is one in ln N."""
    even = HOFFMANN.__class__(E=1.69, A=406.4, B=410.7, alpha=0.31, beta=0.31)
    bias = 100 * isoflop_bias(even, 8)
    return (
        Control("even surface", "With alpha = beta parabolas miss nothing, in per cent", abs(bias) < 1e-6, bias, truth=0.0),
    )


def _chart(steps: Mapping[str, Approach], arms: Arms) -> Chart | Missing:
    """N* of the isoFLOP minima against C, step by step from Kaplan's way."""
    marks: list[Mark] = []
    every_c, every_n = [], []
    colours: tuple[Role, ...] = ("second", "faint", "faint", "faint", "first")
    for (name, approach), colour in zip(steps.items(), colours, strict=True):
        if approach.allocation is None:
            return Missing("artefacts", "the exponent of Kaplan et al.", "The points give no line through minima.")
        points = arms.get(name) or published_points("porian", _STEPS[name])
        c = np.geomspace(points.c.min(), points.c.max(), 30)
        n = approach.allocation.n_opt(c)
        marks.append(Line(c, n, colour, name=f"{name}: a = {approach.allocation.a:.2f}"))
        every_c.append(c)
        every_n.append(n)
    panel = Panel(
        "Compute-optimal size, as mistakes are mended", log_axis("c", *every_c), log_axis("n", *every_n), tuple(marks)
    )
    caption = "Lines through isoFLOP minima of the runs of Porian et al. 2024 on RefinedWeb: from Kaplan's way to a tuned one."
    return Chart("artefacts", caption, (panel,))
