"""Is there a critical batch, and what decides it: the loss, the data, or the size?

`estimators.critical_batch` has the formulas. All arms are one table: sizes at several batches, each with rates around its best
one, and a second seed at the middle rate, which is the noise. A size's three losses are those that at least three of its
batches reach. Numbers of curves have intervals by first order, with Student's t on the replicated trunks; where the curves
leave more than the noise, their residuals stand for it.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import chi2, norm, t

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, PointsError
from scalesweep.laws.batch import KAPLAN_CRITICAL_BATCH
from scalesweep.points.points import Points
from scalesweep.studies.base import CONFIDENCE, Arms, Control, Effect, Findings, Rule, replicate_noise
from scalesweep.studies.estimators.batch_tables import ZHANG_EXPONENT, by_batch, by_level, chart, critical_interval
from scalesweep.studies.estimators.best_losses import best_losses
from scalesweep.studies.estimators.critical_batch import (
    LEAST_BATCHES,
    LEAST_STEPS,
    Curve,
    Size,
    common_place,
)
from scalesweep.studies.estimators.noise import LossNoise
from scalesweep.studies.estimators.planted_batch import (
    Truth,
    apart_at_data,
    apart_at_loss,
    planted,
    with_misfit,
    with_ratio,
)
from scalesweep.studies.estimators.steps_law import fit_steps_law
from scalesweep.units import format_count, format_number

RECOVERED = 1.25
"""Factor within which the control must find a planted critical batch: three of the standard errors of quick tables."""
_TABLES = 2
"""Of that control, of which the geometric mean counts."""
_CONTROL = 0.99
"""Confidence of A/A: at 90 % one study in ten would be withheld for nothing."""
_LEAST_COST = 0.5
"""Part of E_min that the largest batch must cost beyond it somewhere: where tokens hardly grow, any curve is as good."""
_LEAST_DRAWS = 1000
"""Of noise about hyperbolas; they are one product of matrices."""
_PLANTED = {"hyperbola": with_misfit, "rises": with_ratio, "same_loss": apart_at_loss, "same_data": apart_at_data}


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects `hyperbola`, `rises`, `same_loss`, `same_data`, `by_data`, `by_loss` and `steps_law`.

    Raises:
        PointsError: there is no column batch_tokens, no two seeds at one size, batch, rate and budget, or no loss that enough
            batches reach.
        FitError: the runs of a size do not determine a critical batch.
    """
    points, short = _runs(arms)
    noise = _seed_noise(points)
    shared = _shared(points.frame)
    every = [Size.of(cells, shared) for cells in best_losses(points.frame, noise.sd)]
    sizes = [one for one in every if len(one.levels)]
    if not sizes:
        raise PointsError(f"No loss is reached by {LEAST_BATCHES} batches of one size: measure budgets that are wider apart.")
    left = _left_over(every)
    wide = dataclasses.replace(noise, sd=max(noise.sd, left))
    effects = {
        "hyperbola": _misfit(sizes, noise, shared, rule),
        "rises": _rises(sizes, wide),
        "same_loss": _apart(sizes, wide, at_data=False),
        "same_data": _apart(sizes, wide, at_data=True),
        "by_data": _exponent(sizes, wide, at_data=True),
        "by_loss": _exponent(sizes, wide, at_data=False),
        "steps_law": _steps_law(every, noise),
    }
    notes = [f"{short} runs of fewer than {LEAST_STEPS} steps were left out."] if short else []
    if edge := sum(int(np.sum(~one.cells.is_inner)) for one in every):
        num = sum(len(one.cells.d) for one in every)
        notes.append(f"{edge} of {num} losses are at no vertex among the rates tried: their lowest mean stands.")
    if left > noise.sd:
        notes.append(
            f"The curves leave {left / noise.sd:.2f} times the noise between seeds; their intervals are as much wider."
        )
    if shared > 0:
        notes.append(f"Budgets of a batch, which branch off one trunk, share {shared:.0%} of the variance between seeds.")
    again = _same_by_seed(points, sizes, noise, shared)
    if again is None:
        notes.append("The second seed has too few batches or budgets for critical batches of its own: there is no A/A control.")
    controls = (*((again,) if again else ()), _recovered(points, noise, rule))
    tables = {"Critical batch by loss": by_level(sizes, wide), "What a batch costs": by_batch(sizes)}
    return Findings(effects, _sentence(sizes[0], wide), chart(sizes, wide), controls, noise.sd, tuple(notes), tables)


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """Losses of a law of N and E_min in which the effect of `part` is theta; see `estimators.planted_batch`.

    Raises:
        KeyError: the effect of this part cannot be planted.
    """
    return planted(arms, _PLANTED[part](_runs(arms)[0].frame, theta), noise, rng)


def _runs(arms: Arms) -> tuple[Points, int]:
    """The used rows of all arms with steps enough, each once, and how many have not.

    Raises:
        PointsError: a table does not say the batch, or no run has steps enough.
    """
    frames = []
    for points in arms.values():
        if "batch_tokens" not in points.frame:
            raise PointsError(f"{points.source}: the critical batch needs a column batch_tokens, the tokens of a step.")
        frames.append(points.used)
    frame = pd.concat(frames, ignore_index=True)
    if "key" in frame:
        frame = frame.drop_duplicates("key")
    # Tables of others may round D.
    is_enough = (frame["d"] / frame["batch_tokens"] >= LEAST_STEPS * (1 - 1e-6)).to_numpy()
    if not is_enough.any():
        raise PointsError(f"No run has {LEAST_STEPS} steps or more.")
    first = next(iter(arms.values()))
    return dataclasses.replace(first, frame=frame[is_enough].reset_index(drop=True)), int(np.sum(~is_enough))


def _seed_noise(points: Points) -> LossNoise:
    """Noise between seeds, with the replicated trunks as its degrees of freedom.

    Raises:
        PointsError: there are no two seeds at one size, batch, rate and budget.
    """
    sd, degrees = replicate_noise(points)
    trunks = int((points.frame.groupby(_trunk(points.frame))["seed"].nunique() - 1).sum()) if degrees else 0
    if not degrees:
        raise PointsError("No size, batch, rate and budget was run with two seeds, so nothing tells how large noise is.")
    return LossNoise(sd, max(1, min(degrees, trunks)), True)


def _trunk(frame: pd.DataFrame) -> list[str]:
    """Columns that tell the trunks of one seed from each other."""
    return ["n", "batch_tokens", *(["lr"] if "lr" in frame else [])]


def _shared(frame: pd.DataFrame) -> float:
    """Part of the variance between seeds that the budgets of a trunk have in common: the intraclass correlation of the
    differences between seeds, from its mean square between and within trunks; at least 0.
    """
    log_loss = np.log(frame["loss"]).groupby([frame[name] for name in (*_trunk(frame), "d")])
    apart = (np.log(frame["loss"]) - log_loss.transform("mean"))[frame["seed"] != frame["seed"].min()]
    apart = apart[log_loss.transform("size") > 1]
    trunks = apart.groupby([frame.loc[apart.index, name] for name in _trunk(frame)])
    total, sizes = trunks.sum(), trunks.size()
    pairs = float((sizes * (sizes - 1)).sum())
    square = float((apart**2).mean())
    products = float((total**2).sum() - (apart**2).sum())
    return min(1.0, max(0.0, products / pairs / square)) if pairs and square else 0.0


def _left_over(sizes: Sequence[Size]) -> float:
    """Standard deviation of one run's ln L by what the curves leave."""
    spare = sum(len(one.curve.residuals) - len(one.curve.theta) for one in sizes)
    return math.sqrt(sum(float(np.sum(one.curve.residuals**2)) for one in sizes) / spare)


def _misfit(sizes: Sequence[Size], noise: LossNoise, shared: float, rule: Rule) -> Effect:
    """Root mean square of what hyperbolas leave, without the noise in it.

    Of misfits r = mu + z, with z normal of known covariance, the interval is that of all lengths of mu, in the direction of r,
    at which the measured |r| is neither among the smallest nor the largest 5 %: for each drawn z, the length that gives |r|.
    """
    r = np.concatenate([one.misfit for size in sizes for one in size.hyperbolas])
    rng, draws = np.random.default_rng([rule.seed, 1]), max(rule.draws, _LEAST_DRAWS)
    sd = noise.sd * np.sqrt(noise.degrees / rng.chisquare(noise.degrees, (draws, 1)))
    z = sd * np.hstack([_drawn(size, shared, rng, draws) for size in sizes])
    along = z @ (r / max(float(np.linalg.norm(r)), 1e-300))
    room = along**2 + float(r @ r) - np.sum(z**2, axis=1)
    length = np.where(room > 0, np.maximum(0.0, np.sqrt(np.maximum(room, 0.0)) - along), 0.0)
    value, low, high = np.quantile(length / math.sqrt(len(r)), [0.5, (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    says = f"Tokens to a loss are off a hyperbola in the batch by {value:.1%} [{low:.1%}, {high:.1%}], noise aside."
    cost = max(size.cells.batches[-1] / math.exp(size.curve.critical_at(float(loss))) for size in sizes for loss in size.levels)
    withheld = "" if cost >= _LEAST_COST else f"The largest batch costs {cost:.0%} more tokens at most: measure larger ones."
    return Effect(float(value), float(low), float(high), withheld, says)


def _drawn(size: Size, shared: float, rng: np.random.Generator, draws: int) -> FloatArray:
    """Misfits of a size's hyperbolas by noise of variance 1 alone, shape (draws, points)."""
    cells = size.cells
    own, of_trunk = rng.standard_normal((draws, len(cells.d))), rng.standard_normal((draws, len(cells.batches)))
    noise = math.sqrt(1 - shared) * own + math.sqrt(shared) * of_trunk[:, np.searchsorted(cells.batches, cells.batch)]
    return np.asarray((noise * np.sqrt(cells.variance)) @ np.concatenate([one.by_cell for one in size.hyperbolas]).T)


def _mean_over(sizes: Sequence[Size], of: Callable[[Size, Curve], float], noise: LossNoise) -> tuple[float, float]:
    """Mean over sizes of a number of each one's curve, and half its interval."""
    found = [size.curve.estimate(lambda curve, size=size: of(size, curve)) for size in sizes]  # type: ignore[misc]
    values, errors = np.array(found).T
    return float(values.mean()), noise.quantile() * noise.sd * float(np.linalg.norm(errors)) / len(sizes)


def _rises(sizes: Sequence[Size], noise: LossNoise) -> Effect:
    value, half = _mean_over(
        sizes, lambda size, curve: curve.critical_at(size.levels[-1]) - curve.critical_at(size.levels[0]), noise
    )
    if math.isnan(value):
        return Effect.missing("A curve does not come down to the lowest of its losses.")
    ratio, low, high = (math.exp(value + sign * half) for sign in (0, -1, 1))
    says = f"From the highest to the lowest of three losses the critical batch grows {ratio:.2f} [{low:.2f}, {high:.2f}] times."
    return Effect(ratio, low, high, says=says)


def _apart(sizes: Sequence[Size], noise: LossNoise, *, at_data: bool) -> Effect:
    """Factor between the critical batches of the smallest and the largest size where they have a loss, or E_min, in common."""
    what = "number of fewest tokens" if at_data else "loss"
    small, large = sizes[0], sizes[-1]
    place = common_place(small, large, at_data=at_data) if len(sizes) > 1 else None
    if place is None:
        return Effect.missing(f"There are no two sizes with a {what} in common that enough batches reach.")
    both = [one.curve.estimate(lambda c: c.log_critical(place) if at_data else c.critical_at(place)) for one in (small, large)]
    value, half = both[1][0] - both[0][0], noise.quantile() * noise.sd * math.hypot(both[0][1], both[1][1])
    if math.isnan(value):
        return Effect.missing(f"A curve does not come down to the {what} that the sizes have in common.")
    at = f"{format_count(math.exp(place))} fewest tokens" if at_data else f"a loss of {format_number(place)}"
    ends = [value - half, value + half]
    says = (
        f"At {at} the critical batch of {format_count(large.n)} parameters is {math.exp(value):.2f} "
        f"[{math.exp(ends[0]):.2f}, {math.exp(ends[1]):.2f}] times that of {format_count(small.n)}."
    )
    low = 0.0 if abs(value) <= half else min(map(abs, ends))
    return Effect(math.exp(abs(value)), math.exp(low), math.exp(max(map(abs, ends))), says=says)


def _exponent(sizes: Sequence[Size], noise: LossNoise, *, at_data: bool) -> Effect:
    """Of the critical batch in E_min, or in the loss at each size's middle one."""
    value, half = _mean_over(
        sizes, lambda size, curve: float(curve.theta[1]) if at_data else curve.by_loss(float(size.levels[1])), noise
    )
    kaplan = -1 / KAPLAN_CRITICAL_BATCH.exponent
    of, known = ("the fewest tokens", ZHANG_EXPONENT) if at_data else ("the loss", kaplan)
    whose = "Zhang et al. 2024" if at_data else "Kaplan et al. 2020"
    ends = f"{value:.2f} [{value - half:.2f}, {value + half:.2f}]"
    says = f"The critical batch goes as {of} to the power {ends}; {known:.2f} in {whose}."
    return Effect(value, value - half, value + half, says=says)


def _steps_law(sizes: Sequence[Size], noise: LossNoise) -> Effect:
    """Misfit of L(N, S_min) in standard deviations of the noise; the interval is that of chi^2."""
    try:
        law, residuals = fit_steps_law(sizes)
    except FitError as error:
        return Effect.missing(str(error))
    spare = len(residuals) - len(law.parameters)
    total = float(np.sum(residuals**2)) / noise.sd**2
    most, least = (float(chi2.ppf((1 + sign * CONFIDENCE) / 2, spare)) for sign in (1, -1))
    value, low, high = (math.sqrt(total / over) for over in (spare, most, least))
    says = f"{law.formula()} misses the runs by {value:.2f} [{low:.2f}, {high:.2f}] times their noise."
    return Effect(value, low, high, says=says)


def _same_by_seed(points: Points, sizes: Sequence[Size], noise: LossNoise, shared: float) -> Control | None:
    """A/A: critical batches of the first seed over those of the others, at the rates that both have; None without enough runs.

    The noise is told by the median difference between seeds, because a fault in the runs of one batch, which this is to find,
    would enter a standard deviation.
    """
    frame = points.frame
    both = frame.groupby([*_trunk(frame), "d"])["seed"].transform("nunique") > 1
    log_loss, is_first = np.log(frame["loss"][both]), frame["seed"][both] == frame["seed"][both].min()
    cells = log_loss.groupby([frame.loc[both, name] for name in (*_trunk(frame), "d")])
    num = cells.transform("size")
    apart = (log_loss - cells.transform("mean")).abs() * np.sqrt(num / (num - 1))
    sd = float(apart.median()) / float(norm.ppf(0.75))
    try:
        halves = [
            {one.n: Size.of(one, shared) for one in best_losses(frame[both][part], noise.sd)} for part in (is_first, ~is_first)
        ]
    except FitError:
        return None
    ratios, errors = [], []
    for size in sizes:
        if all(size.n in half for half in halves):
            place = size.curve.log_tokens(float(size.levels[1]))
            pair = [half[size.n].curve.estimate(lambda curve, at=place: curve.log_critical(at)) for half in halves]  # type: ignore[misc]
            ratios.append(pair[0][0] - pair[1][0])
            errors += [pair[0][1], pair[1][1]]
    if not ratios:
        return None
    value, quantile = float(np.mean(ratios)), float(t.ppf((1 + _CONTROL) / 2, noise.degrees))
    half = quantile * sd * float(np.linalg.norm(errors)) / len(ratios)
    asks = f"The first seed has the critical batch of the others, a ratio of 1 (interval of {_CONTROL:.0%})"
    value, low, high = (math.exp(value + sign * half) for sign in (0, -1, 1))
    return Control("A/A", asks, low <= 1 <= high, value, low, high, 1.0)


def _recovered(points: Points, noise: LossNoise, rule: Rule) -> Control:
    """A critical batch as large as the largest batch, planted in tables of this design and noise, is found again."""
    batches, tokens = points.frame["batch_tokens"], points.frame["d"]
    place = {float(n): float(np.exp(np.log(tokens[points.frame["n"] == n]).mean())) for n in points.frame["n"].unique()}
    truth = Truth(critical=float(batches.max()), tokens=place)
    found = []
    for table in range(_TABLES):
        drawn = planted({"base": points}, truth, noise.sd, np.random.default_rng([rule.seed, 2, table]))["base"]
        for cells in best_losses(drawn.frame, noise.sd):
            found.append(Size.of(cells).curve.log_critical(math.log(place[cells.n])))
    value, spread = float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else math.nan
    value, low, high = (math.exp(value + sign * 2 * spread / math.sqrt(len(found))) for sign in (0, -1, 1))
    is_found = truth.critical / RECOVERED <= value <= truth.critical * RECOVERED
    asks = f"A critical batch of {format_count(truth.critical)} tokens in simulated tables of this design is found within 25 %"
    return Control("planted critical batch", asks, is_found, value, low, high, truth.critical)


def _sentence(size: Size, noise: LossNoise) -> str:
    def batch(loss: float) -> str:
        value, low, high = (format_count(float(f"{one:.2g}")) for one in critical_interval(size, loss, noise))
        return f"{value} [{low}, {high}]"

    first, last = float(size.levels[0]), float(size.levels[-1])
    return (
        f"On the way to {format_number(first)} nats, a batch of {batch(first)} tokens costs a model of {format_count(size.n)} "
        f"parameters twice the fewest tokens, and on the way to {format_number(last)} nats one of {batch(last)}. At twice that "
        "batch it is three times the fewest tokens, at half of it one and a half."
    )
