"""Do larger models need fewer tokens for the same loss?

tau(N, L), the tokens to a loss, is read off finished runs of each size at three losses that at least three sizes reach
(`estimators.tokens`). Its elasticity s = -d ln tau / d ln N over those sizes is a least-squares slope in logs, which assumes no
law: doubling N saves 1 - 2^-s of the tokens, nothing at s = 0, and half of them, in proportion, at s = 1.

The interval is of other seeds at these very sizes: an error of sd in ln L moves ln tau by sd / g_D, whatever part of it the
budgets of a trunk share. Sizes are not resampled, because ln tau bends in ln N and drawing sizes would call the bend noise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalesweep.analysis.forecast.rivals import REFERENCE, fit_rivals
from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, PointsError
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.report.charts.chart import Chart, Dots, Line, Mark, Panel, Role, log_axis, log_scale
from scalesweep.report.charts.chart import Rule as Across
from scalesweep.settings.fit import FitSpec
from scalesweep.studies.base import Arms, Control, Effect, Findings, Rule, arm, with_losses
from scalesweep.studies.estimators.noise import LossNoise, loss_noise, seed_control
from scalesweep.studies.estimators.tokens import Trunk, elasticity, loss_levels, tokens_to_loss, trunks_of
from scalesweep.units import format_count, format_number

SMALL = 0.1
"""Elasticity below which more parameters hardly save tokens: 7 % of them for twice the parameters."""
_ROLES: tuple[Role, ...] = ("first", "second", "third")


@dataclass(frozen=True, eq=False)
class Level:
    """Tokens to one loss of the sizes that reach it with every seed."""

    loss: float
    n: FloatArray
    """Parameters, increasing, shape (sizes,)."""
    log_tokens: FloatArray
    """Mean over seeds of ln tau, shape (sizes,)."""
    log_se: FloatArray
    """Its standard error, shape (sizes,)."""

    @property
    def slope(self) -> tuple[float, float]:
        """Elasticity s over all of its sizes, and its standard error."""
        return _slope(self.n, self.log_tokens, self.log_se)

    def between(self, i: int) -> tuple[float, float]:
        """Elasticity s between size i and the next, and its standard error."""
        pair = slice(i, i + 2)
        return _slope(self.n[pair], self.log_tokens[pair], self.log_se[pair])


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects `saving` and `proportion`, both the smallest s of the three losses, and `ends`, the N where s has become small.

    Raises:
        PointsError: no arm `base`, N or D is not known, or nothing tells the noise.
        FitError: the noise must be told by a law, because no seeds are named, and the points identify none.
    """
    points = arm(arms, "base")
    if points.is_partial:
        raise PointsError(f"{points.source}: tokens to a loss need the columns n and d of each row.")
    noise, trunks = loss_noise(points, rule), trunks_of(points)
    levels = [_level(trunks, float(loss), noise) for loss in loss_levels(trunks)]
    if not levels:
        none = Effect.missing("No loss is reached by three sizes with every seed: measure larger and smaller budgets.")
        return Findings(
            dict.fromkeys(("saving", "proportion", "ends"), none), none.withheld, _chart(points, []), noise=noise.sd
        )
    saving = _smallest(levels, noise)
    control = _same_size(trunks, levels)
    notes = [_by_surface(points, levels)]
    if control is None:
        notes.append("Fewer than three sizes have two seeds at these losses, so there is no A/A control.")
    if not noise.is_seeds:
        notes.append("The table names no seeds: the noise is what the preferred law leaves over.")
    return Findings(
        effects={"saving": saving, "proportion": saving, "ends": _ends(levels[len(levels) // 2], noise)},
        sentence=_sentence(points, levels[-1], saving, noise),
        chart=_chart(points, levels),
        controls=(control,) if control else (),
        noise=noise.sd,
        notes=tuple(notes),
        tables={"Tokens to a loss": _table(levels, noise)},
    )


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """Losses of L = E + (L0 - E) (N^theta D / K)^-beta, in which s is theta at every N and every loss.

    At L0 = 3.5, E = .4 L0 and beta = .25, ln L falls by .15 for a unit of ln D at the middle of the design, as on the demo's
    grid.

    Raises:
        KeyError: the part is not `saving` or `proportion`.
    """
    if part not in ("saving", "proportion"):
        raise KeyError(part)
    points = arm(arms, "base")
    log_n, log_d = (np.log(points.frame[name].to_numpy(dtype=np.float64)) for name in ("n", "d"))
    scale = theta * (log_n - log_n.mean()) + log_d - log_d.mean()
    loss = 3.5 * (0.4 + 0.6 * np.exp(-0.25 * scale)) * np.exp(noise * rng.standard_normal(len(scale)))
    return {**arms, "base": with_losses(points, loss)}


def _slope(n: FloatArray, log_tokens: FloatArray, log_se: FloatArray) -> tuple[float, float]:
    centred = np.log(n) - np.log(n).mean()
    weights = -centred / np.sum(centred**2)
    return float(weights @ log_tokens), float(np.sqrt(np.sum((weights * log_se) ** 2)))


def _level(trunks: Sequence[Trunk], loss: float, noise: LossNoise) -> Level:
    rows = []
    for n in sorted({trunk.n for trunk in trunks}):
        same = [trunk for trunk in trunks if trunk.n == n]
        log_tokens = np.log([float(trunk.tokens_to(loss)) for trunk in same])
        if not np.isnan(log_tokens).any():
            rows.append((n, log_tokens.mean(), _log_se(same, loss, noise.sd)))
    n, log_tokens, log_se = np.array(rows).T
    return Level(loss, n, log_tokens, log_se)


def _log_se(same: Sequence[Trunk], loss: float, sd: float) -> float:
    """Of the mean ln tau of one size: how far a noise of -sd and of sd in ln L moves it, over the root of the seeds."""
    d, losses = (np.concatenate([getattr(trunk, name) for trunk in same]) for name in ("d", "loss"))
    moved = np.log(tokens_to_loss(d, losses, loss * np.exp(sd * np.array([-1.0, 0.0, 1.0]))))
    steps = -np.diff(moved)  # one of them is beyond the measured losses where the level is at their end
    return float(np.nanmean(steps)) / math.sqrt(len(same)) if not np.isnan(steps).all() else math.inf


def _smallest(levels: Sequence[Level], noise: LossNoise) -> Effect:
    """The smallest s. It is above its lower end only if all levels are, which needs no allowance; it is below its upper end if
    any level is, so that this end allows for the choice among them (Bonferroni).
    """
    slopes = [level.slope for level in levels]
    value = min(s for s, _ in slopes)
    low = min(s - noise.quantile() * se for s, se in slopes)
    high = min(s + noise.quantile(len(slopes)) * se for s, se in slopes)
    saved = _saved(value, low, high)
    says = f"Doubling N saves {saved} of the tokens where it helps least: s = {value:.2f} [{low:.2f}, {high:.2f}]"
    return Effect(value, low, high, says=says)


def _saved(s: float, low: float, high: float) -> str:
    value, least, most = (100 * (1 - 2.0**-one) for one in (s, low, high))
    return f"{value:.0f} % [{least:.0f}, {most:.0f}]"


def _ends(level: Level, noise: LossNoise) -> Effect:
    """The smallest N, midway between two sizes in ln N, from which s is below `SMALL` at the middle loss; infinite: none."""

    def first(tails: float) -> float:
        for i in range(len(level.n) - 1):
            s, se = level.between(i)
            if s + tails * noise.quantile() * se < SMALL:
                return math.sqrt(level.n[i] * level.n[i + 1])
        return math.inf

    value, low, high = first(0), first(-1), first(1)
    if math.isinf(value):
        return Effect(value, low, high, says=f"s stays above {SMALL:g} up to {format_count(level.n[-1])} parameters")
    return Effect(value, low, high, says=f"s falls below {SMALL:g} at about {format_count(value)} parameters")


def _same_size(trunks: Sequence[Trunk], levels: Sequence[Level]) -> Control | None:
    """A/A: of each size, the first seed's tokens over those of the others, a mean over levels."""
    ratios = []
    for n in sorted({trunk.n for trunk in trunks}):
        same = [trunk for trunk in trunks if trunk.n == n]
        losses = [level.loss for level in levels if n in level.n]
        if len(same) > 1 and losses:
            log_tokens = np.log([trunk.tokens_to(losses) for trunk in same])
            ratios.append(float(np.mean(log_tokens[0] - log_tokens[1:].mean(axis=0))))
    return seed_control(ratios, "the same tokens to a loss")


def _by_surface(points: Points, levels: Sequence[Level]) -> str:
    """Elasticity s by a smooth surface in all rows at the middle of the sizes of each level, a check of the raw slopes."""
    try:
        surface = fit_rivals(Rows.of(points), FitSpec(bootstrap=0), (REFERENCE,)).members[0].law
    except FitError as error:
        return f"No surface through all rows confirms it: {error}"
    middle = [float(np.exp(np.log(level.n).mean())) for level in levels]
    log_tokens = [np.interp(np.log(n), np.log(level.n), level.log_tokens) for n, level in zip(middle, levels, strict=True)]
    found = ", ".join(f"{s:.2f}" for s in elasticity(surface, middle, np.exp(log_tokens)))
    raw = ", ".join(f"{level.slope[0]:.2f}" for level in levels)
    return f"By a surface quadratic in logs s is {found} at the middle of the sizes of the three losses, raw {raw}."


def _sentence(points: Points, level: Level, saving: Effect, noise: LossNoise) -> str:
    small, large = level.log_tokens[0], level.log_tokens[-1]
    half = noise.quantile() * level.log_se

    def tokens(i: int) -> str:
        ends = (format_count(math.exp(level.log_tokens[i] + sign * half[i])) for sign in (-1, 1))
        return f"{format_count(math.exp(level.log_tokens[i]))} tokens [{', '.join(ends)}]"

    more = math.exp(small - large)
    return (
        f"To reach a loss of {format_number(level.loss)} {points.metric.unit}, a model of {format_count(level.n[-1])} "
        f"parameters needs {tokens(-1)}, one of {format_count(level.n[0])} needs {tokens(0)}, {more:.2g} times as many. Of "
        f"three losses, where size helps least, twice the parameters save {_saved(saving.value, saving.low, saving.high)} of "
        f"the tokens; in proportion it would be 50 %."
    )


def _table(levels: Sequence[Level], noise: LossNoise) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for level in levels:
        s, se = level.slope
        half = noise.quantile() * se
        for i, n in enumerate(level.n):
            step = level.between(i) if i + 1 < len(level.n) else (math.nan, math.nan)
            rows.append(
                {
                    "loss": level.loss,
                    "n": float(n),
                    "tokens": float(np.exp(level.log_tokens[i])),
                    "tokens, relative se": float(level.log_se[i]),
                    "s to the next size": step[0],
                    "its se": step[1],
                    "s over all sizes": s,
                    "low": s - half,
                    "high": s + half,
                }
            )
    return rows


def _chart(points: Points, levels: Sequence[Level]) -> Chart:
    n, d, loss = points.n, points.d, points.loss
    left: list[Mark] = [Dots(d, loss, n)]
    for trunk in trunks_of(points):
        left.append(Line(trunk.d, trunk.loss, trunk.n, width=0.9))
    left += [Across("y", level.loss, "dash") for level in levels]
    right: list[Mark] = []
    for level, role in zip(levels, _ROLES, strict=False):
        tokens, name = np.exp(level.log_tokens), f"loss {format_number(level.loss)}, s = {level.slope[0]:.2f}"
        low, high = (np.exp(level.log_tokens + sign * level.log_se) for sign in (-1, 1))
        right += [Line(level.n, tokens, role, name=name), Dots(level.n, tokens, role, low, high)]
    if levels:
        least = levels[-1]
        right.append(
            Line(least.n, np.exp(least.log_tokens[0]) * least.n[0] / least.n, "faint", "dot", name="in proportion, s = 1")
        )
    y = np.concatenate([mark.y for mark in right if isinstance(mark, Line)]) if levels else d
    x = np.concatenate([level.n for level in levels]) if levels else n
    unit = f"validation loss ({points.metric.unit})"
    panels = [Panel("Loss of finished runs", log_axis("d", d), log_axis("loss", loss, label=unit), tuple(left))]
    if levels:
        panels.append(Panel("Tokens to a loss", log_axis("n", x), log_axis("d", y, label="tokens to the loss"), tuple(right)))
    caption = (
        "Left: loss over tokens, one line a size and seed, with the losses that are compared. Right: tokens to each of them."
    )
    return Chart("sample_efficiency", caption, tuple(panels), log_scale("n", np.unique(n)))
