"""The tuned frontier: from many settings at each size and budget to one point a (N, D, seed), the loss at the tuned optimum.

A law of badly tuned models is a law of the bad tuning (Porian et al. 2024, arXiv 2406.19146), and the lowest of many noisy
losses is biased low (the winner's curse). So the loss is taken from a local quadratic over the logarithms of the tuned
settings (`scalesweep.analysis.tuning.response`), corrected for the latter; the lowest measured loss is reported beside it.
Seeds are kept apart: each gives a point of its own, so that the fit still sees how much seeds differ. What one seed's settings
share (its initialisation and data order) is then in that difference, not in the standard error of the optimum, which comes from
the scatter about the quadratics, pooled over all of them.

A vertex is used only inside what the method was validated on (docs/tuning.md): steps of at most a factor of 3 in the learning
rate, settings within a factor of 6, no cliff among them, a misfit and a distance from the lowest loss that the noise allows
(`scalesweep.analysis.tuning.noise`). Else the loss is the lowest measured, corrected (`scalesweep.analysis.tuning.lowest`), and
a `Gap` says where finer values are wanted.

An optimum must lie inside what was tried. One at an end of a range is reported as an `Edge`, which says where the range
should be extended, and its point carries an `excluded_reason`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scalesweep.analysis.tuning.frontier import AXIS, IDLE, TUNE, Edge, Frontier, Gap, TunedGroup, TunedOptimum
from scalesweep.analysis.tuning.lowest import LowestLoss
from scalesweep.analysis.tuning.noise import Candidate, pooled, standing
from scalesweep.analysis.tuning.own import with_known_names
from scalesweep.analysis.tuning.profile import Profile, before_cliffs, profile
from scalesweep.analysis.tuning.quantity import BATCH, LR, quantity
from scalesweep.analysis.tuning.response import LIMIT, Surface, fit_surface, num_features
from scalesweep.arrays import BoolArray, FloatArray
from scalesweep.errors import FitError, Refused
from scalesweep.points.points import Points
from scalesweep.settings.tune import Side, coordinate, value_at

if TYPE_CHECKING:
    import pandas as pd

REACH = {LR: math.log(3)}
"""Half-width of the window of the quadratic, and largest step between the settings in it: a factor of 3 in the learning rate,
by the table in docs/tuning.md."""
WIDE_REACH = math.log(16)
"""The same for the other settings, to which the loss is less sensitive. Judgement."""
SAME_BUDGET = 0.1
"""Token counts closer than this, relatively, are one budget, because tuned batches round it to different numbers of steps."""
SIGNIFICANT = 0.05
"""Level of the F-test by which a setting other than the first, without an inner minimum, is at its edge rather than flat."""


def is_tuned(points: Points) -> bool:
    """Whether the table holds tuned settings."""
    return any(str(name).startswith(TUNE) for name in points.frame.columns)


def tuned_frontier(points: Points) -> Frontier:
    """The tuned optimum of every size, budget and seed.

    Args:
        points: measured cells with a column `tune.SETTING` for each tuned setting, diverged ones with their reason.

    Raises:
        FitError: the table has no such column.
    """
    points = with_known_names(points)
    names = [str(name).removeprefix(TUNE) for name in points.frame.columns if str(name).startswith(TUNE)]
    if not names:
        raise FitError(f"{points.source} has no tuned settings (columns {TUNE}...), so it has no tuned frontier.")
    names.sort(key=lambda name: quantity(name) != LR)
    found = [_group(rows, names) for rows in _split(points.frame)]
    evaluation = _evaluation_error(points)
    vertices = [(i, each) for i, each in enumerate(found) if isinstance(each.group.optimum, TunedOptimum)]
    stands = standing([each.candidate for _, each in vertices if each.candidate], evaluation)
    kept = [each.candidate.surface for (_, each), stand in zip(vertices, stands, strict=True) if stand and each.candidate]
    refused = {i for (i, _), stand in zip(vertices, stands, strict=True) if not stand}
    noise = pooled(kept, evaluation)
    groups = [each.lowest_instead(OFF) if i in refused else each.group for i, each in enumerate(found)]
    groups = [
        group if isinstance(group.optimum, Refused) else replace(group, optimum=replace(group.optimum, noise=noise))
        for group in groups
    ]
    groups.sort(key=lambda group: (group.n, group.d, group.row.get("seed", 0)))
    return Frontier(tuple(groups), tuple(names), noise, points)


def _evaluation_error(points: Points) -> float:
    """Median standard error of the evaluations, NaN where the table has none."""
    errors = points.used["loss_se"].to_numpy(dtype=np.float64) if "loss_se" in points.used else np.array([])
    errors = errors[errors > 0]
    return float(np.median(errors)) if len(errors) else math.nan


@dataclass(frozen=True, eq=False)
class _Found:
    """A group with the optimum that its own settings show, and what to put in its place."""

    group: TunedGroup
    candidate: Candidate | None = None
    """Its quadratic, where it is within what was validated."""
    lowest: LowestLoss | None = None
    gap: Gap | None = None

    def lowest_instead(self, why: str) -> TunedGroup:
        """The group with its lowest loss."""
        if self.lowest is None:
            return self.group
        return replace(self.group, optimum=replace(self.lowest, why=why), gaps=(self.gap,) if self.gap else ())


def _split(frame: "pd.DataFrame") -> Iterator["pd.DataFrame"]:
    """The rows of each size, axis value and seed, split where the token count jumps."""
    by = [name for name in frame.columns if name in ("n", "width", "depth", "seed") or str(name).startswith(AXIS)]
    for _, group in frame.groupby(by, dropna=False, sort=True):
        rows = group.sort_values("d", kind="stable")
        jumps = np.diff(np.log(rows["d"].to_numpy(dtype=np.float64))) > math.log1p(SAME_BUDGET)
        for budget in np.split(np.arange(len(rows)), np.flatnonzero(jumps) + 1):
            yield rows.iloc[budget]


def _group(rows: "pd.DataFrame", names: Sequence[str]) -> _Found:
    """One group and its optimum, before the noise is known."""
    trained = rows[rows["excluded_reason"] == ""]
    num_diverged = len(rows) - len(trained)
    n, tokens = float(rows["n"].iloc[0]), rows["d"].to_numpy(dtype=np.float64)
    d = float(tokens[0] if np.ptp(tokens) == 0 else np.exp(np.log(tokens).mean()))
    if not len(trained):
        row = {str(k): v for k, v in rows.iloc[0].to_dict().items()}
        last = [Edge(n, d, LR, "low", float(rows[TUNE + LR].min()))] if LR in names else []
        refusal = Refused(f"all {len(rows)} settings tried here diverged")
        return _Found(TunedGroup(row, n, d, len(rows), num_diverged, math.nan, refusal, tuple(last)))
    x, y = _coordinates(trained, names), trained["loss"].to_numpy(dtype=np.float64)
    best = int(np.argmin(y))
    row = {str(k): v for k, v in trained.iloc[best].to_dict().items()}
    along = profile(x[:, 0], y)
    smooth = before_cliffs(along, x[:, 0], LIMIT * _reach(names[0]))
    surface, axes, sides = _fit_active(x[smooth], y[smooth], names, (x[:, 0].min(), x[:, 0].max()))
    tried = _coordinates(rows, names)
    found = [_edge(n, d, names[j], side, x[:, j], tried[:, j]) for j, side in sides]
    group = TunedGroup(row, n, d, len(rows), num_diverged, float(y[best]), Refused(""))
    gap = _gap(n, d, names[0], along, tried[:, 0])
    if found:
        reason = Refused("; ".join(_say_edge(edge, stopped) for edge, stopped in found))
        edges = tuple(edge for edge, stopped in found if not stopped)
        stopped_first = any(stopped and edge.setting == names[0] for edge, stopped in found)
        return _Found(replace(group, optimum=reason, edges=edges, gaps=(gap,) if gap and stopped_first else ()))
    values = {name: value_at(name, float(position)) for name, position in zip(names, x[best], strict=True)}
    smooth_depth = along.smooth_depth(LIMIT * _reach(names[0]))
    result = _Found(group, None, LowestLoss(n, d, values, y, along.depth, smooth_depth, along.rise, ""), gap)
    if why := _not_validated(surface, x[smooth][:, axes], [names[j] for j in axes], along, smooth):
        return replace(result, group=result.lowest_instead(why))
    assert surface is not None
    far = _far(surface, x[smooth][:, axes], y[smooth]) if axes == [0] else {}
    other = _other_choice(x[smooth], y[smooth], names, axes)
    optimum = TunedOptimum(n, d, surface, tuple(names[j] for j in axes), far, other)
    # Between settings of several axes nothing but the quadratic itself says how far it goes down.
    depth = along.depth if len(axes) == 1 else float(surface.predict(x[best : best + 1, axes])[0]) - surface.y
    return replace(result, group=replace(group, optimum=optimum), candidate=Candidate(surface, float(y[best]), depth))


OFF, COARSE, FEW, CLIFF, SHAPELESS = (
    "the vertex or the misfit is off by more than noise",
    "settings too far apart",
    "no setting to spare near the best",
    "next to a steep rise",
    "no minimum in the quadratic",
)
"""Why the lowest loss stands for an optimum."""


def _not_validated(surface: Surface | None, x: FloatArray, names: Sequence[str], along: Profile, smooth: BoolArray) -> str:
    """Why a quadratic is outside what the method was validated on; empty if it is inside.

    Args:
        surface: the quadratic.
        x: coordinates of what it was fitted to, shape (points, axes).
        names: the settings that are its axes.
        along: profile along the first setting.
        smooth: which of all points lie before its cliffs.
    """
    reach = _reach(names[0])
    steps = np.abs(np.array(along.neighbours) - along.x[along.best])
    if np.max(steps, initial=0.0, where=np.isfinite(steps)) > reach + 1e-6:
        return COARSE
    if not smooth.all() and along.best in (0, int(np.sum(before_cliffs(along, along.x, LIMIT * reach))) - 1):
        return CLIFF
    if surface is None:
        return SHAPELESS
    if not surface.dof:
        return FEW
    for j, name in enumerate(names):
        places = np.unique(x[surface.window, j])
        if np.diff(places).max(initial=0.0) > _reach(name) + 1e-6:
            return COARSE
        if not places[0] < surface.x[j] < places[-1]:
            return SHAPELESS
    return ""


def _gap(n: float, d: float, setting: str, along: Profile, tried: FloatArray) -> Gap | None:
    """Between the values next to the best one, diverged ones among them; None past an end."""
    best = along.x[along.best]
    low, high = tried[tried < best - 1e-9], tried[tried > best + 1e-9]
    if not len(low) or not len(high):
        return None
    return Gap(n, d, setting, float(low.max()), float(high.min()), value_at(setting, float(best)))


def _reach(name: str) -> float:
    return REACH.get(quantity(name), WIDE_REACH)


def _fit_active(
    x: FloatArray, y: FloatArray, names: Sequence[str], ends: tuple[float, float]
) -> tuple[Surface | None, list[int], list[tuple[int, Side]]]:
    """The quadratic over the settings that matter, their columns in x, and the columns that have no inner minimum.

    The first setting must have an inner minimum. Another one is left out as flat unless the loss depends on it, by an F-test
    against the quadratic without it; without that, the best of a setting that does nothing would be fitted to the noise. If
    the loss depends on it and it has no inner minimum, it is at its edge. `ends` are those of the first setting.
    """
    axes = list(range(len(names)))
    sides: list[tuple[int, Side]] = []
    while True:
        surface = _surface(x[:, axes], y, [names[j] for j in axes])
        chances = {j: _p_value(x, y, axes, j, names) for j in axes[1:]}
        # Without a surface any setting may be why there is none.
        outside = {j for k, j in enumerate(axes) if k and (surface is None or not x[:, j].min() < surface.x[k] < x[:, j].max())}
        left_out = [j for j in axes[1:] if j in outside or chances[j] >= IDLE]
        if not left_out:
            break
        worst = max(left_out, key=lambda j: chances[j])
        if chances[worst] < SIGNIFICANT:
            is_low = 2 * x[np.argmin(y), worst] < x[:, worst].min() + x[:, worst].max()
            sides.append((worst, "low" if is_low else "high"))
        axes.remove(worst)
    if side := _first_edge(x[:, 0], y, surface, ends):
        sides.append((0, side))
    return surface, axes, sides


def _other_choice(x: FloatArray, y: FloatArray, names: Sequence[str], axes: Sequence[int]) -> Surface | None:
    """The quadratic with all settings, where some were left out; else that without those that are kept without significance."""
    doubtful = {j for j in axes[1:] if _p_value(x, y, axes, j, names) >= SIGNIFICANT}
    other = list(range(len(names))) if len(axes) < len(names) else [j for j in axes if j not in doubtful]
    if other == list(axes) or (surface := _surface(x[:, other], y, [names[j] for j in other])) is None:
        return None
    low, high = x[:, other].min(axis=0), x[:, other].max(axis=0)
    return surface if np.all((low < surface.x) & (surface.x < high)) else None


def _surface(x: FloatArray, y: FloatArray, names: Sequence[str]) -> Surface | None:
    if len(y) < num_features(x.shape[1], False):
        return None
    return fit_surface(x, y, [_reach(name) for name in names])


def _p_value(x: FloatArray, y: FloatArray, axes: Sequence[int], j: int, names: Sequence[str]) -> float:
    """F-test of the terms of axis j in a separable quadratic, within the window around the best setting."""
    from scipy.stats import f

    reach = np.array([_reach(names[i]) for i in axes])
    near = np.all(np.abs(x[:, axes] - x[np.argmin(y)][list(axes)]) <= reach + 1e-9, axis=1)  # 1e-9: rounding of logarithms
    if near.sum() <= num_features(len(axes), False):
        near = np.ones(len(y), dtype=bool)
    full = _rss(x[near][:, axes], y[near])
    less = _rss(x[near][:, [i for i in axes if i != j]], y[near])
    spare = int(near.sum()) - num_features(len(axes), False)
    if spare <= 0:
        return 1.0
    # 1e-30: losses without noise leave no residual; the setting then counts as of effect unless it changes nothing at all.
    return float(f.sf((less - full) / 2 / max(full / spare, 1e-30), 2, spare))


def _rss(x: FloatArray, y: FloatArray) -> float:
    design = np.column_stack([np.ones(len(y)), x, x**2])
    return float(np.sum((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2))


def _first_edge(x: FloatArray, y: FloatArray, surface: Surface | None, ends: tuple[float, float]) -> Side | None:
    """The end at which the optimum of the first setting lies: the lowest loss is there, or the vertex is past it."""
    for side, end in (("low", ends[0]), ("high", ends[1])):
        past = surface is not None and (surface.x[0] - end) * (1 if side == "high" else -1) >= 0
        if x[np.argmin(y)] == end or past:
            return "low" if side == "low" else "high"
    return None


def _edge(n: float, d: float, setting: str, side: Side, x: FloatArray, tried: FloatArray) -> tuple[Edge, bool]:
    """The edge, and whether settings beyond it were tried and diverged."""
    end, last = (x.min(), tried.min()) if side == "low" else (x.max(), tried.max())
    return Edge(n, d, setting, side, value_at(setting, float(end))), bool(abs(last - end) > 1e-9)


def _say_edge(edge: Edge, stopped: bool) -> str:
    if stopped:
        return f"the best {edge.setting} tried, {edge.value:.3g}, is the last before those that diverged; try values between"
    return f"the best {edge.setting} tried, {edge.value:.3g}, is at the end of its range; the optimum may lie beyond"


def _coordinates(group: "pd.DataFrame", names: Sequence[str]) -> FloatArray:
    """Coordinates of the tuned settings, shape (rows, settings); a zero stands one typical step below the smallest value.

    For the batch it is the batch that was trained, which is rounded to whole sequences.
    """
    columns = []
    for name in names:
        column = "batch_tokens" if name == BATCH and "batch_tokens" in group else TUNE + name
        positions = np.array([coordinate(name, float(value)) for value in group[column]])
        finite = np.unique(positions[np.isfinite(positions)])
        step = float(np.diff(finite).mean()) if len(finite) > 1 else 1.0
        columns.append(np.where(np.isfinite(positions), positions, (finite.min() if len(finite) else 0.0) - step))
    return np.column_stack(columns)


def _far(surface: Surface, x: FloatArray, y: FloatArray) -> dict[str, tuple[float, float]]:
    """At half and double the optimum: residual of the measured losses from the quadratic, interpolated between neighbours.

    It is what the quadratic, which is symmetric, misses of the curve; zero past the ends of what was tried.
    """
    positions = np.unique(x[:, 0])
    residuals = y - surface.predict(x)
    means = np.array([residuals[x[:, 0] == position].mean() for position in positions])
    counts = np.array([np.sum(x[:, 0] == position) for position in positions])
    found = {}
    for name, at in (("half", surface.x[0] - math.log(2)), ("double", surface.x[0] + math.log(2))):
        if positions[0] <= at <= positions[-1]:
            weights = np.array([np.interp(at, positions, row) for row in np.eye(len(positions))])
            found[name] = float(weights @ means), float(np.sum(weights**2 / counts))
    return found
