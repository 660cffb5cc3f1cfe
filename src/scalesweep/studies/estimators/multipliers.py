"""Multipliers: how many times its tokens, FLOPs or seconds a run of another arm is worth to the base.

At equal N and D an arm ends at L_B where the base ends at L_A. The base's law says how many times D the base would need to come
from L_A to L_B, so that each pair of runs has a multiplier rho of tokens:

    ln L(N, rho D) - ln L(N, D) = ln L_B - ln L_A,      L the law of N and D fitted to the base alone

That is L_B(N, D) = L(N, rho D) with the base's parameters shared, of which the two sides are compared with what was measured
instead of with the law itself: what the form misses at a cell stands on both sides and cancels. Read off the law alone,
ln L(N, rho D) = ln L_B is the check; where the two are far apart, the law misses the base there.

At one size a token costs the base k_A and the arm k_B, in FLOPs with the optimizer's own or in seconds. So for one loss the
base pays rho k_A / k_B times what the arm does: the compute-equivalent gain at that size (Davidson et al. 2023, arXiv
2312.07413). That of the whole frontier is in `frontiers`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from scalesweep.analysis.forecast.rivals import THEORIES, fit_rivals
from scalesweep.arrays import FloatArray, IntArray
from scalesweep.errors import PointsError
from scalesweep.fit.results import Fit
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.studies.base import CONFIDENCE, Control, Effect, Rule
from scalesweep.studies.estimators.theories import MOST_UNDEFINED, Theories

Currency = Literal["tokens", "flops", "seconds"]
CURRENCIES: tuple[Currency, ...] = ("tokens", "flops", "seconds")
CONTROL_CONFIDENCE = 0.99
"""Of the interval that must hold a control's truth: at 90 % one study in ten would fail a control that is in order."""
SHORTER = 0.75
"""Share of the base's budgets that the arm `shorter` is trained on: the multiplier that it must show, exactly."""
FAR_APART = math.log(1.1)
"""Difference of log multipliers above which the law is said to miss the base: studies' own tolerance for the check."""
_MOST_LAWS = 100
"""Resamples of the base's law, which add to the noise of the runs in quadrature: ends of 5 % are then off by 2 % of
probability."""
_ITERATIONS = 12
"""Gauss-Newton steps, each of at most `_LONGEST_STEP`: log L is nearly straight in ln D, so that five suffice for a factor of
ten; where the losses come near to what a size can reach, the others do."""
_LONGEST_STEP = 1.0
_SETTLED = 1e-3
"""Largest change of the last step, far below what any interval can show."""
_DIFFERENCE = 1e-4
_NO_SPREAD = 1e-9
"""Variance of ln C within sizes below which there is one budget."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Runs of an arm beside runs of the base at equal N and D; every array has shape (pairs,)."""

    n: FloatArray
    d: FloatArray
    c: FloatArray
    """Of the base."""
    log_base: FloatArray
    log_arm: FloatArray
    """Log losses."""
    size: IntArray
    """Label of each pair's N, from 0."""
    trunk: IntArray
    """Label of each pair's size and seed, from 0: the budgets of one training run are drawn together."""
    cheaper: Mapping[Currency, FloatArray]
    """Log of what a token costs the base over what it costs the arm, over all budgets of the trunk; NaN where not known."""

    @property
    def delta(self) -> FloatArray:
        """Log of L_B / L_A."""
        return self.log_arm - self.log_base


Weigh = Callable[[Pairs, FloatArray], FloatArray]
"""Weights of a sum over the pairs, from the pairs and the precision of each, shape (pairs,)."""


def pair_runs(base: Points, arm: Points) -> Pairs:
    """Pair the runs of equal N and D, those of equal seeds with each other and the others in the order of their seeds.

    Raises:
        PointsError: no size has two pairs of trunks, so that nothing tells the noise; a run stands in a table twice.
    """
    import pandas as pd

    frames = {}
    for side, points in (("base", base), ("arm", arm)):
        used = points.used
        if "seed" not in used:
            raise PointsError(f"{points.source}: a multiplier needs a column seed, by which runs are paired.")
        if used.duplicated(["n", "d", "seed"]).any():
            raise PointsError(f"{points.source}: two runs have one N, D and seed, so that no pair is the right one.")
        frames[side] = used.assign(**{name: costs_of(used, name) for name in CURRENCIES}).sort_values(["n", "d", "seed"])
    frames["arm"]["partner"] = _partners(frames["base"], frames["arm"])
    both = pd.merge(
        frames["base"][["n", "d", "c", "seed", "loss", *CURRENCIES]],
        frames["arm"][["n", "d", "seed", "partner", "loss", *CURRENCIES]],
        left_on=["n", "d", "seed"],
        right_on=["n", "d", "partner"],
        suffixes=("_base", "_arm"),
    ).sort_values(["n", "seed_arm", "d"])
    size, trunks = (np.asarray(both.groupby(names).ngroup(), dtype=np.int64) for names in (["n"], ["n", "seed_arm"]))
    if not len(both) or both.groupby("n")["seed_arm"].nunique().max() < 2:
        raise PointsError(f"{arm.source}: a multiplier needs two seeds at an N and D that the base has too.")
    cheaper: dict[Currency, FloatArray] = {}
    for currency in CURRENCIES:
        base_pays, arm_pays = (np.bincount(trunks, both[f"{currency}_{side}"])[trunks] for side in ("base", "arm"))
        cheaper[currency] = np.log(base_pays / arm_pays)
    column = {name: both[name].to_numpy(dtype=np.float64) for name in ("n", "d", "c", "loss_base", "loss_arm")}
    log_base, log_arm = np.log(column["loss_base"]), np.log(column["loss_arm"])
    return Pairs(column["n"], column["d"], column["c"], log_base, log_arm, size, trunks, cheaper)


def laws_of_base(base: Points, rule: Rule) -> Theories:
    """The rival laws of the base, with as many resamples as a multiplier needs.

    Rows are resampled and not budgets, as draws of four budgets that hold one or two of them say nothing of D; what the budgets
    of a trunk share is in the interval by `trunk_sum`.

    Raises:
        FitError: the base's runs determine none.
    """
    spec = rule.fit.model_copy(update={"bootstrap": min(rule.draws, _MOST_LAWS), "interval": "pairs"})
    return Theories(fit_rivals(Rows.of(base), spec, THEORIES))


def shorter_control(theories: Theories, base: Points, shorter: Points) -> Control:
    """The base at `SHORTER` of its budgets, taken for an arm at the budgets themselves, is worth that share of its tokens.

    Nothing but their number differs. Junk would be no such arm: it takes tokens from a batch and leaves the run its steps, so
    that of a constant third .84 and .80 of the tokens were left at 256 steps, .71 and .69 at 2,048, of 14k and 42k parameters.

    Args:
        theories: laws of the base.
        base: its runs.
        shorter: the runs of the arm, by their own tokens.
    """
    frame = shorter.frame.assign(d=shorter.frame["d"] / SHORTER, c=shorter.frame["c"] / SHORTER)
    found = Worth.of(theories, base, dataclasses.replace(shorter, frame=frame)).multiplier(confidence=CONTROL_CONFIDENCE)
    return holds("planted tokens", f"The base with {SHORTER:g} of its tokens is worth {SHORTER:g} of them", SHORTER, found)


@dataclass(frozen=True, eq=False)
class Worth:
    """Multipliers of one arm against the base."""

    theories: Theories
    """Of the base."""
    pairs: Pairs

    @classmethod
    def of(cls, theories: Theories, base: Points, arm: Points) -> "Worth":
        """Pair an arm with the base that the laws were fitted to.

        Raises:
            PointsError: see `pair_runs`.
        """
        return cls(theories, pair_runs(base, arm))

    def multiplier(self, currency: Currency = "tokens", confidence: float = CONFIDENCE) -> Effect:
        """What the base pays over what the arm pays for one loss: geometric mean over sizes, of budgets by their precision."""
        found = self._sum(currency, size_means, confidence)
        with np.errstate(over="ignore"):  # an end beyond double precision is open
            value, low, high = np.exp([found.value, found.low, found.high]).tolist()
        return Effect(value, low, high, found.withheld)

    def slope(self, currency: Currency = "tokens", confidence: float = CONFIDENCE) -> Effect:
        """Slope d ln multiplier / d ln C over all sizes and budgets, C that of the base."""
        return self._sum(currency, _slope, confidence)

    def by_law_alone(self) -> float:
        """The multiplier of tokens by the preferred law without the base's own losses: the joint fit with shared parameters."""
        fit, pairs = self.theories.rivals.preferred, self.pairs
        delta = pairs.log_arm - np.log(fit.law.predict(pairs.n, pairs.d))
        log_rho, precision = log_multipliers(fit, np.array([fit.law.theta]), pairs, delta)
        return math.exp(float(size_means(pairs, precision[0]) @ log_rho[0]))

    def cells(self) -> list[dict[str, Any]]:
        """Rows of N, D, C and the multiplier of tokens by the preferred law, geometric mean over the seeds."""
        fit, pairs = self.theories.rivals.preferred, self.pairs
        log_rho, cell = log_multipliers(fit, np.array([fit.law.theta]), pairs, pairs.delta)[0][0], _cell(pairs)
        where = [int(np.flatnonzero(cell == label)[0]) for label in range(int(cell.max()) + 1)]
        means = np.exp(np.bincount(cell, log_rho) / np.bincount(cell))
        return [
            {"N": float(pairs.n[i]), "D": float(pairs.d[i]), "C": float(pairs.c[i]), "multiplier of tokens": float(mean)}
            for i, mean in zip(where, means, strict=True)
        ]

    def _sum(self, currency: Currency, weigh: Weigh, confidence: float) -> Effect:
        """A weighted sum of the pairs' log multipliers: envelope over the voting forms, each of its laws and of the runs."""
        cheaper = self.pairs.cheaper[currency]
        if not np.isfinite(cheaper).all():
            return Effect.missing(f"What a token costs in {currency} is not known of every run.")
        ends = []
        for fit in self.theories.voting:
            found = _sum_of_form(fit, self.pairs, cheaper, weigh, confidence)
            if found is None:
                return Effect.missing("The arm's losses lie beyond what the base's law reaches with any number of tokens.")
            ends.append(found)
            if fit is self.theories.rivals.preferred:
                value = found[0]
        return Effect(value, min(low for _, low, _ in ends), max(high for _, _, high in ends))


def log_multipliers(fit: Fit, theta: FloatArray, pairs: Pairs, delta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log rho of each pair with log L(N, rho D) = log L(N, D) + delta by each law, and its precision, both (laws, pairs).

    Each is one Newton step from a smooth fit by least squares in log loss: a level for every size and one slope in ln C. Solved
    for one pair alone, noise would take a run that is near what its size can reach beyond it, where no rho is an answer. The
    precision is the squared slope of log L in ln D there: the noise of a log loss is divided by it. NaN where the fit of a law
    does not settle, as where the losses are below all that it reaches.

    Args:
        fit: of the form of the laws.
        theta: parameters of each law, shape (laws, P).
        pairs: N, D, C and sizes.
        delta: change of log loss, shape (pairs,).
    """
    parameters = list(theta.T[:, :, None])
    is_size = (pairs.size == np.arange(pairs.size.max() + 1)[:, None]).astype(np.float64)
    log_c = np.log(pairs.c)

    def log_loss(log_rho: FloatArray | float) -> FloatArray:
        return np.asarray(np.log(type(fit.law).expand(parameters, [pairs.n, pairs.d * np.exp(log_rho)])[0]))

    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        target = log_loss(0.0) + delta
        smooth = np.zeros_like(target)
        for _ in range(_ITERATIONS):
            here = log_loss(smooth)
            by_rho = (log_loss(smooth + _DIFFERENCE) - here) / _DIFFERENCE
            each, precision = smooth + (target - here) / by_rho, by_rho**2
            in_size = precision @ is_size.T
            level, mean = ((precision * x) @ is_size.T / in_size @ is_size for x in (each, log_c))
            apart = precision * (log_c - mean)
            spread = np.sum(apart * log_c, axis=1, keepdims=True)
            has_slope = spread > _NO_SPREAD * in_size.sum(axis=1, keepdims=True)
            slope = np.where(has_slope, np.sum(apart * each, axis=1, keepdims=True) / spread, 0.0)
            step = level + slope * (log_c - mean) - smooth
            smooth = smooth + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        settled = np.all(np.abs(step) < _SETTLED, axis=1, keepdims=True)
        return np.where(settled, each, math.nan), np.where(settled, precision, math.nan)


def costs_of(used: Any, currency: Currency) -> Any:
    """What each row of a frame cost: D, C with the FLOPs of the optimizer's own products, or seconds; NaN where not known."""
    if currency == "tokens":
        return used["d"]
    if currency == "flops":
        return used["c"] + (used["c_optimizer"] if "c_optimizer" in used else 0.0)
    return used["seconds"].astype(np.float64) if "seconds" in used else math.nan


def holds(name: str, asks: str, truth: float, effect: Effect) -> Control:
    """A control whose truth must lie in the effect's interval, which is one of `CONTROL_CONFIDENCE`."""
    return Control(name, asks, effect.low <= truth <= effect.high, effect.value, effect.low, effect.high, truth)


def trunk_sum(
    values: FloatArray, weights: FloatArray, precision: FloatArray, pairs: Pairs, confidence: float
) -> tuple[float, float]:
    """Sum of weights * values, and half the width of its interval.

    Seeds of one size are draws of one thing, and sizes are not: each trunk's part of the sum is compared with those of its
    size, whatever its budgets share. The parts of all sizes tell one variance, relative to what the precisions let expect, so
    that two sizes of three seeds have four degrees of freedom and not two; quantiles are those of t. The half-width is
    infinite where no size has two trunks.

    Args:
        values: one of each pair, shape (pairs,).
        weights: shape (pairs,).
        precision: inverse variances of the values up to a factor, shape (pairs,).
        pairs: which pairs are of one trunk, and of one size.
        confidence: nominal coverage.
    """
    cell = _cell(pairs)
    part = np.bincount(pairs.trunk, weights * (values - (np.bincount(cell, values) / np.bincount(cell))[cell]))
    expected = np.bincount(pairs.trunk, weights**2 / precision)
    first = np.unique(pairs.trunk, return_index=True)[1]
    number = np.bincount(pairs.size[first])
    degrees = int(np.sum(number - 1))
    total = float(weights @ values)
    if not degrees:
        return total, math.inf
    usable = number[pairs.size[first]] > 1
    variance = float(np.sum(part[usable] ** 2 / expected[usable])) / degrees * float(expected.sum())
    return total, float(stats.t.ppf(0.5 + confidence / 2, degrees) * math.sqrt(variance))


def size_means(pairs: Pairs, weights: FloatArray) -> FloatArray:
    """Weights of the mean over sizes of the mean over a size's trunks, in each of which pairs count by `weights`."""
    in_trunk = np.bincount(pairs.trunk, weights)[pairs.trunk]
    trunks = np.array([len(np.unique(pairs.trunk[pairs.size == size])) for size in range(int(pairs.size.max()) + 1)])
    return np.asarray(weights / in_trunk / trunks[pairs.size] / len(trunks))


def _sum_of_form(
    fit: Fit, pairs: Pairs, cheaper: FloatArray, weigh: Weigh, confidence: float
) -> tuple[float, float, float] | None:
    """Value and ends by one form; None where its law reaches no such loss.

    The noise of the runs and that of the law add up in quadrature, as both are small beside the value's own scale.
    """
    log_rho, precision = (of_law[0] for of_law in log_multipliers(fit, np.array([fit.law.theta]), pairs, pairs.delta))
    if not np.isfinite(log_rho).all():
        return None
    weights = weigh(pairs, precision)
    value, half = trunk_sum(log_rho + cheaper, weights, precision, pairs, confidence)
    below = above = 0.0
    wider = float(stats.norm.ppf(0.5 + confidence / 2) / stats.norm.ppf(0.5 + CONFIDENCE / 2))  # the tails of 100 laws jump
    for samples in (fit.samples, fit.cluster_samples):
        if len(samples):
            sums = (log_multipliers(fit, samples, pairs, pairs.delta)[0] + cheaper) @ weights
            if np.isnan(sums).mean() > MOST_UNDEFINED:
                return None
            low, high = np.nanpercentile(sums, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
            below, above = max(below, wider * (value - float(low))), max(above, wider * (float(high) - value))
    return value, value - math.hypot(half, below), value + math.hypot(half, above)


def _slope(pairs: Pairs, precision: FloatArray) -> FloatArray:
    """Weights of the least-squares slope on ln C."""
    log_c = np.log(pairs.c)
    apart = precision * (log_c - np.average(log_c, weights=precision))
    return np.asarray(apart / np.sum(apart * log_c))


def _cell(pairs: Pairs) -> IntArray:
    """Label of each pair's N and D, from 0."""
    return np.asarray(np.unique(np.stack([pairs.n, pairs.d]), axis=1, return_inverse=True)[1].ravel())


def _partners(base: Any, arm: Any) -> list[float]:
    """The base's seed that each row of the arm is paired with at its size; NaN where none is left."""
    found: dict[tuple[float, Any], Any] = {}
    for n, seeds in arm.groupby("n")["seed"].unique().items():
        theirs, mine = sorted(seeds), sorted(base["seed"][base["n"] == n].unique())
        common = [seed for seed in theirs if seed in mine]
        others = [seed for seed in mine if seed not in common]
        found |= {(n, seed): seed for seed in common}
        found |= {(n, seed): partner for seed, partner in zip((s for s in theirs if s not in common), others, strict=False)}
    return [found.get(place, math.nan) for place in zip(arm["n"], arm["seed"], strict=True)]
