"""Test time: does drawing more samples from a small model buy what training compute buys?

A perfect verifier is assumed, and samples at temperature 1. -ln pass@k = a k^-b is the power law of repeated sampling (Brown et
al. 2024, arXiv 2407.21787), which comes of many problems of unequal difficulty (Schaeffer et al. 2025, arXiv 2502.17578).
"""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy import stats

from scalesweep.arrays import FloatArray
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Chart, Line, Panel, log_axis, log_scale
from scalesweep.studies.base import CONFIDENCE, Arms, Control, Effect, Findings, Rule, arm
from scalesweep.studies.estimators.planted_answers import Difficulty, drawn_answers, solve
from scalesweep.studies.estimators.repeated_samples import (
    Curves,
    best_use,
    by_budget,
    over_seeds,
    share_of_misfit,
    slope_in_k,
)
from scalesweep.studies.words import number_text
from scalesweep.units import format_count, format_number

QUERIES = 1e3
"""Problems asked, of the part `best_k`."""
SHARE_OF_LARGEST = 0.25
"""Budget of training and sampling together over 6 N D of the largest run: one that leaves every size a choice."""
_MOST_QUERIES = 1e12
_ONE = 1.5
"""Below this many samples the best k is called a single one."""
_PER_BEST = 4
"""Resamples for each of the best k, which takes two searches."""


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects `power_law`, `exchange`, `tail`, `best_k` and `queries` of the arm `facts`.

    Raises:
        PointsError: no answers, cells with different problems, or fewer than two seeds or budgets of a size.
    """
    points = arm(arms, "facts")
    curves = Curves.of(points, rule.draws, rule.seed)
    share, chi, tail = power_law(curves), exchange(curves), steeper_tail(curves)
    budget = SHARE_OF_LARGEST * float((6 * curves.n * curves.d).max())
    best_k, queries = _best(curves, budget, rule)
    means = [one.mean(axis=0) for one in by_budget(curves, curves.log_pass)]
    best = best_use(curves, means, budget, QUERIES)
    with np.errstate(over="ignore"):  # where training gains nothing, samples are worth any amount
        low, value, high = np.float_power(10, (chi.low, chi.value, chi.high)).tolist()
    worth = Effect(value, low, high)
    return Findings(
        effects={
            "power_law": replace(share, says=f"A power law has {number_text(share)} of both forms' misfit"),
            "exchange": replace(chi, says=f"ten samples a problem are worth {number_text(worth)} times the training compute"),
            "tail": replace(tail, says=f"b grows by {number_text(tail)} with each e-fold of training compute"),
            "best_k": replace(best_k, says=f"the best number of samples is {best.k:.0f} for {QUERIES:g} problems"),
            "queries": replace(queries, says=f"from {format_number(queries.value)} problems on one sample each is best"),
        },
        sentence=(
            f"Ten samples a problem, with a verifier that knows the right one, are worth {number_text(worth)} times the "
            f"training compute of a model of the same size. With {format_number(QUERIES)} problems and "
            f"{format_number(float(f'{budget:.2g}'))} FLOPs in all, the best use is a model of {format_count(best.n)} "
            f"parameters, {format_count(best.d)} tokens and {best.k:.0f} samples a problem, which solves {best.passed:.1%}."
        ),
        chart=_chart(curves),
        controls=(_mean_of_p(points, curves), *_same_by_seed(curves)),
        notes=("A perfect verifier at no cost is assumed, and samples at temperature 1.",),
        tables={"pass@k": _rows(curves)},
    )


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """Answers of problems whose -ln p is log-normal, such that the part is theta exactly but for noise of seeds and problems.

    Raises:
        KeyError: the part is neither `power_law`, `exchange` nor `tail`.
    """
    points = arm(arms, "facts")
    columns = tuple(tuple(points.frame[name].astype(float)) for name in ("n", "d", "seed"))
    return {**arms, "facts": drawn_answers(points, _planted(_Design(points, columns), part, theta), noise, rng)}


def power_law(curves: Curves) -> Effect:
    """Share of the misfit of a power law in that of both forms, mean over cells."""
    cells, drawn = (share_of_misfit(one, curves.k) for one in (curves.log_pass, curves.resampled))
    return over_seeds(
        curves, float(curves.by_trunk(cells).mean()), curves.by_trunk(cells), curves.by_trunk(drawn).mean(axis=-1)
    )


def exchange(curves: Curves) -> Effect:
    """Exchange chi = (d y / d ln k) / (d y / d ln C), y = ln(-ln pass@k), both slopes means over trunks, at fixed sizes."""

    def slopes(log_pass: FloatArray) -> tuple[FloatArray, FloatArray]:
        in_k = curves.by_trunk(slope_in_k(log_pass, curves.k))
        return in_k, -curves.along_tokens(np.log(-log_pass).mean(axis=-1))

    (in_k, in_c), (drawn_k, drawn_c) = slopes(curves.log_pass), slopes(curves.resampled)
    chi = float(in_k.mean() / in_c.mean())
    influence = chi + (in_k - chi * in_c) / in_c.mean()  # of each trunk on the ratio of means, to first order
    return over_seeds(curves, chi, influence, drawn_k.mean(axis=-1) / drawn_c.mean(axis=-1))


def steeper_tail(curves: Curves) -> Effect:
    """Slope of b in ln C along tokens at a fixed size, mean over trunks."""
    trunks, drawn = (curves.along_tokens(slope_in_k(one, curves.k)) for one in (curves.log_pass, curves.resampled))
    return over_seeds(curves, float(trunks.mean()), trunks, drawn.mean(axis=-1))


class _Design:
    """Points that are equal where their grid is, so that what is planted is solved for once a grid."""

    def __init__(self, points: Points, columns: tuple[tuple[float, ...], ...]) -> None:
        self.points, self.columns = points, columns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Design) and self.columns == other.columns

    def __hash__(self) -> int:
        return hash(self.columns)


@lru_cache(maxsize=64)
def _planted(design: _Design, part: str, theta: float) -> Difficulty:
    effect = {"power_law": power_law, "exchange": exchange, "tail": steeper_tail}[part]
    place, ends = {
        # With equal p all of them are .004.
        "power_law": (lambda width: Difficulty(1.7 + 1.45 * width, width, learns=0.0), (0.0, 1.0)),
        "exchange": (lambda learns: Difficulty(learns=learns), (0.05, 9.0)),
        "tail": (lambda widens: Difficulty(widens=widens), (-0.8, 0.8)),
    }[part]
    return solve(design.points, lambda points: effect(Curves.of(points, 2, 0)).value, theta, place, ends)


def _best(curves: Curves, budget: float, rule: Rule) -> tuple[Effect, Effect]:
    """log10 of the best k for `QUERIES`, and from how many queries on it is 1.

    Intervals are percentiles of tables with the seeds of each size and the problems drawn with replacement; deviations of s
    drawn seeds from their mean are sqrt(s / (s - 1)) times as wide, because a sample of s has that much less spread.
    """
    rng = np.random.default_rng(rule.seed)
    trunks = by_budget(curves, curves.log_pass)
    means = [one.mean(axis=0) for one in trunks]
    found = [(math.log10(best_use(curves, means, budget, QUERIES).k), _last_queries(curves, means, budget))]
    for log_pass in curves.resampled[::_PER_BEST]:
        drawn = []
        for one, mean, size in zip(by_budget(curves, log_pass), means, trunks, strict=True):
            number = len(size)
            seeds = size[rng.integers(number, size=number)].mean(axis=0)
            drawn.append(one.mean(axis=0) + math.sqrt(number / (number - 1)) * (seeds - mean))
        found.append((math.log10(best_use(curves, drawn, budget, QUERIES).k), _last_queries(curves, drawn, budget)))
    values = np.array(found)
    low, high = np.percentile(values[1:], (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)), axis=0)
    k, queries = (Effect(float(values[0, i]), float(low[i]), float(high[i])) for i in (0, 1))
    return k, queries


def _last_queries(curves: Curves, means: list[FloatArray], budget: float) -> float:
    """From how many queries on the best k is 1; where no model can answer so many, from the last that one can."""
    cheapest = min(curves.n)
    low, high = 0.0, math.log10(min(_MOST_QUERIES, budget / (2 * cheapest * curves.tokens)))
    left = budget - 6 * cheapest * curves.d[curves.n == cheapest].min()
    high = min(high, math.log10(max(left, 1.0) / (2 * cheapest * curves.tokens)) - 1e-6)
    for _ in range(10):  # to 2 %
        middle = (low + high) / 2
        is_single = best_use(curves, means, budget, 10**middle).k < _ONE
        low, high = (low, middle) if is_single else (middle, high)
    return float(10**high)


def _mean_of_p(points: Points, curves: Curves) -> Control:
    """The identity pass@1 = mean p, with p multiplied token by token."""
    p = np.array([np.prod(np.exp(one.log_p), axis=1).mean() for one in points.used["answers"]])
    off = float(np.abs(np.exp(curves.log_pass[:, 0]) / p - 1).max())
    return Control(
        "pass@1", "pass@1 is the mean probability of the right answer, to 1e-6", off < 1e-6, off, math.nan, math.nan, 0.0
    )


def _same_by_seed(curves: Curves) -> tuple[Control, ...]:
    """A/A: b of the lower and of the upper half of the seeds, over sizes; none where there are fewer than three sizes."""
    sizes, seeds = np.unique(curves.sizes), np.unique(curves.seeds)
    if len(sizes) < 3:
        return ()
    b = curves.by_trunk(slope_in_k(curves.log_pass, curves.k))
    is_first = np.isin(curves.seeds, seeds[: len(seeds) // 2])
    apart = np.array([b[(curves.sizes == n) & ~is_first].mean() - b[(curves.sizes == n) & is_first].mean() for n in sizes])
    mean = float(apart.mean())
    # 99.7 %, as three standard deviations are: a failed control withholds every verdict.
    half = float(stats.t.ppf(0.99865, len(sizes) - 1) * apart.std(ddof=1) / math.sqrt(len(sizes)))
    passed = mean - half <= 0 <= mean + half
    return (Control("A/A", "The two halves of the seeds give the same b", passed, mean, mean - half, mean + half, 0.0),)


def _rows(curves: Curves) -> list[dict[str, float]]:
    columns = (curves.n, curves.d, curves.seeds[curves.trunk], slope_in_k(curves.log_pass, curves.k))
    ends = np.exp(curves.log_pass[:, [0, -1]])
    names = ("n", "d", "seed", "b", "misfit of the power law", "pass@1", f"pass@{curves.k[-1]:.0f}")
    table = np.column_stack([*columns, share_of_misfit(curves.log_pass, curves.k), ends])
    return [dict(zip(names, row, strict=True)) for row in table.tolist()]


def _chart(curves: Curves) -> Chart:
    c = 6 * curves.n * curves.d
    passed = np.exp(curves.log_pass)
    lines = tuple(Line(curves.k, one, float(of)) for one, of in zip(passed, curves.n, strict=True))
    by_k = Panel(
        "More samples",
        log_axis("number", curves.k, label="samples a problem"),
        log_axis("number", passed, label="share of problems solved, pass@k"),
        lines,
    )
    trained = []
    for i, n in enumerate(curves.sizes.tolist()):
        rows = np.flatnonzero(curves.trunk == i)
        rows = rows[np.argsort(curves.d[rows])]
        trained += [Line(c[rows], passed[rows, 0], n), Line(c[rows], passed[rows, len(curves.k) // 2], n, "dash")]
    by_c = Panel(
        "More training",
        log_axis("c", c),
        log_axis("number", passed[:, [0, len(curves.k) // 2]], label="share of problems solved, pass@k"),
        tuple(trained),
    )
    caption = (
        "Left: share of problems of which one of k samples is right, each run a line. Right: the same against training compute "
        f"for one sample (solid) and {curves.k[len(curves.k) // 2]:.0f} (dashed), a line for each size and seed."
    )
    return Chart("test_time", caption, (by_k, by_c), log_scale("n", curves.n, np.unique(curves.n).tolist()))
