"""Whether a sweep's runs can be believed: seed noise, loss spikes, collapse of curves, losses below a known entropy.

Pure functions over points and curves. A curve is the sequence of points of `curve.jsonl`: `step`, `tokens` and `loss`, the mean
training loss since the point before, in nats per token.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.points.design import Noise, pooled_noise
from scalesweep.points.points import Points
from scalesweep.units import format_count

Curve = Sequence[Mapping[str, float]]
SPIKE_SDS = 6.0
SPIKE_RISE = 0.02
"""A spike rises in log loss by more than both; tests/analysis/test_health.py measures how often noise alone does."""
COLLAPSE_FROM, COLLAPSE_TO, COLLAPSE_POINTS = 0.1, 0.9, 17
"""Shares of a run at which curves are compared, every 20th: the first tenth is warm-up, and at the end all are 1 by
construction."""
RAY_TOLERANCE = 0.05
"""Cells whose tokens per parameter differ by less, relatively, are on one ray."""


def noise_by_size(points: Points) -> dict[float, Noise]:
    """Pooled sd of log loss over seeds for each N that has replicates; it often falls with size."""
    groups = ((float(rows["n"].iloc[0]), pooled_noise(rows)) for _, rows in points.used.groupby("n"))
    return {n: noise for n, noise in groups if noise is not None}


@dataclass(frozen=True)
class Spike:
    """A stretch of a curve above its running minimum."""

    step: float
    """Step of its highest point."""
    rise: float
    """Highest loss over the running minimum before it, minus 1."""
    recovered: bool
    """Whether the loss came back within the threshold of that minimum."""


def find_spikes(curve: Curve, sds: float = SPIKE_SDS, least: float = SPIKE_RISE) -> list[Spike]:
    """Stretches where the log loss is above its running minimum by more than `sds` robust sds and by more than `least`.

    A point that is a mean over w steps has the sd s / sqrt(w). Second differences take out the trend, so s is 1.4826 times the
    median absolute deviation of (y_{i-1} - 2 y_i + y_{i+1}) / sqrt(1 / w_{i-1} + 4 / w_i + 1 / w_{i+1}), a median that spikes
    do not move; 1.4826 makes it the sd of a normal. Curves of fewer than five points have none.
    """
    loss = np.log(np.array([point["loss"] for point in curve], dtype=np.float64))
    if len(loss) < 5:  # three second differences, the fewest of which a median is not moved by one
        return []
    variance = 1 / np.diff([0.0, *(point["step"] for point in curve)])
    second = np.diff(loss, 2) / np.sqrt(variance[:-2] + 4 * variance[1:-1] + variance[2:])
    sd = 1.4826 * float(np.median(np.abs(second - np.median(second))))
    is_lower = np.append(False, loss[1:] < np.fmin.accumulate(loss)[:-1])
    lowest = np.maximum.accumulate(np.where(is_lower, np.arange(len(loss)), 0))[:-1]
    allowed = np.fmax(least, sds * sd * np.sqrt(variance[1:] + variance[lowest]))
    if not (loss[1:] - loss[lowest] > allowed).any():  # as of nearly all curves, and sooner than point by point
        return []
    spikes: list[Spike] = []
    low, peak = 0, None
    for i in range(1, len(loss)):
        if loss[i] - loss[low] > max(least, sds * sd * math.sqrt(variance[i] + variance[low])):
            peak = i if peak is None or loss[i] > loss[peak] else peak
            continue
        if peak is not None:
            spikes.append(_spike(curve, loss, low, peak, recovered=True))
            peak = None
        low = i if loss[i] < loss[low] else low
    return spikes if peak is None else [*spikes, _spike(curve, loss, low, peak, recovered=False)]


def _spike(curve: Curve, loss: FloatArray, low: int, peak: int, recovered: bool) -> Spike:
    return Spike(curve[peak]["step"], math.expm1(loss[peak] - loss[low]), recovered)


@dataclass(frozen=True)
class Collapse:
    """How well the normalised curves of several sizes coincide."""

    across_sizes: float
    """Rms over x of the sd of l(x) between sizes of one seed."""
    across_seeds: float
    """Rms over x of the sd of l(x) between seeds of one size."""
    sizes: int
    seeds: int

    @property
    def ratio(self) -> float:
        """At most about 1 where the curves coincide within seed noise."""
        return self.across_sizes / self.across_seeds if self.across_seeds > 0 else math.inf


def normalised_curve(curve: Curve, floor: float, x: FloatArray) -> FloatArray:
    """l(x) = (L(x C*) - L0) / (L(C*) - L0) at shares `x` of the run, shape of `x` (Qiu et al. 2025, arXiv 2507.02119).

    A point of a curve is a mean over the steps since the point before, so it stands at the middle of them.

    Raises:
        ValueError: the last loss is not above `floor`.
    """
    tokens = np.array([point["tokens"] for point in curve], dtype=np.float64)
    loss = np.array([point["loss"] for point in curve], dtype=np.float64)
    if not loss[-1] > floor:
        raise ValueError(f"floor = {floor:g}: must be below the last loss of the curve, {loss[-1]:g}")
    middle = (tokens + np.concatenate([[0.0], tokens[:-1]])) / 2
    return np.asarray((np.interp(x * tokens[-1], middle, loss) - floor) / (loss[-1] - floor))


def collapse(curves: Mapping[float, Sequence[Curve]], floor: float) -> Collapse:
    """The supercollapse statistic of complete curves, which must end at learning rate 0.

    Spread across sizes over spread across seeds. Curves of one seed see the same data in the same order, which is why they can
    coincide better than two seeds of one size do (Qiu et al. 2025, section 2).

    Args:
        curves: for each size its curves, the same seeds in the same order for every size.
        floor: L0, the loss that no amount of training passes, in nats per token.

    Raises:
        ValueError: fewer than two sizes or two seeds, sizes of unlike numbers of seeds, or a curve that ends below `floor`.
    """
    num_seeds = {len(seeds) for seeds in curves.values()}
    if len(curves) < 2 or len(num_seeds) != 1 or min(num_seeds) < 2:
        raise ValueError("a collapse needs at least two sizes, each with the same two or more seeds")
    x = np.linspace(COLLAPSE_FROM, COLLAPSE_TO, COLLAPSE_POINTS)
    l_MSX = np.array([[normalised_curve(curve, floor, x) for curve in seeds] for seeds in curves.values()])
    across, within = l_MSX.var(axis=0, ddof=1).mean(), l_MSX.var(axis=1, ddof=1).mean()
    return Collapse(math.sqrt(across), math.sqrt(within), *l_MSX.shape[:2])


def health_lines(
    points: Points,
    curves: Mapping[str, Curve],
    floor: float | None = None,
    spikes: Mapping[str, Sequence[Spike]] | None = None,
) -> list[str]:
    """What `status` says of a sweep's health: seed noise, spikes, and collapse where the sweep has a ray of several sizes.

    Args:
        points: measured cells; `key` and `seed` are used where they are there.
        curves: training curve of each cell by its key.
        floor: L0 of the collapse, an entropy or a fitted E; None leaves the collapse out.
        spikes: of each curve, where they were found before; `curves` are then those that the collapse may need.
    """
    lost = set(points.excluded["key"]) if "key" in points.frame else set()  # a diverged curve is no spike
    found = {key: find_spikes(curve) for key, curve in curves.items()} if spikes is None else spikes
    kept = {key: spikes for key, spikes in found.items() if key not in lost}
    return [*_noise_lines(points), *found_lines(kept), *_collapse_lines(points, curves, floor)]


def spike_lines(curves: Mapping[str, Curve]) -> list[str]:
    """One line on loss spikes in curves of cells that did not diverge, none where there are none."""
    return found_lines({key: find_spikes(curve) for key, curve in curves.items()})


def found_lines(spikes: Mapping[str, Sequence[Spike]]) -> list[str]:
    """`spike_lines` of curves in which the spikes were found before."""
    found = {key: spikes for key, spikes in spikes.items() if spikes}
    if not found:
        return []
    key, worst = max(((k, s) for k, spikes in found.items() for s in spikes), key=lambda pair: pair[1].rise)
    end = "" if worst.recovered else " and not recovered from"
    return [
        f"Loss spikes in {len(found)} of {len(spikes)} cells, the highest {worst.rise:+.1%} at step {worst.step:.0f} of "
        f"{key}{end}."
    ]


def entropy_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Losses that no honest model reaches, one line a cell."""
    return [f"{record['key']}: {reason}" for record in records if (reason := record.get("below_entropy"))]


def _noise_lines(points: Points) -> Iterator[str]:
    total = pooled_noise(points.used)
    if total is None:
        return
    sizes = noise_by_size(points)
    each = ", ".join(f"{s.log_loss_sd:.2%} at N = {format_count(n)} ({s.degrees_of_freedom})" for n, s in sizes.items())
    by_size = f"; by size (degrees of freedom): {each}" if len(sizes) > 1 else ""
    yield f"Seed noise: sd of log loss {total.log_loss_sd:.2%}, {total.degrees_of_freedom} degrees of freedom{by_size}."


def _collapse_lines(points: Points, curves: Mapping[str, Curve], floor: float | None) -> Iterator[str]:
    for ratio, ray in rays(points, curves) if floor is not None else ():
        assert floor is not None
        if any(curve[-1]["loss"] <= floor for seeds in ray.values() for curve in seeds):
            continue
        found = collapse(ray, floor)
        yield (
            f"Collapse at {ratio:.3g} tokens per parameter: spread across {found.sizes} sizes over spread across {found.seeds} "
            f"seeds {found.ratio:.2g} (L0 = {floor:.4g}); about 1 or less where all sizes follow one curve."
        )


def rays(points: Points, curves: Mapping[str, Curve]) -> Iterator[tuple[float, dict[float, list[Curve]]]]:
    """Cells of one tokens-per-parameter ratio: for each size its curves by seed, where all sizes have the same seeds.

    Only rows with a `key` of a curve and a `seed` count, and only sizes that share two or more seeds.
    """
    used = points.used
    if not {"key", "seed"} <= set(used):
        return
    used = used[used["key"].isin([key for key, curve in curves.items() if curve])]
    used = used.assign(ratio=used["d"] / used["n"]).sort_values("ratio")
    for _, rows in used.groupby((np.log(used["ratio"]).diff() > math.log1p(RAY_TOLERANCE)).cumsum()):
        sizes = {float(size["n"].iloc[0]): size.sort_values("seed") for _, size in rows.groupby("n")}
        seeds = {tuple(size["seed"]) for size in sizes.values()}
        if len(sizes) > 1 and len(seeds) == 1 and len(only := next(iter(seeds))) == len(set(only)) > 1:
            ray = {n: [curves[str(key)] for key in size["key"]] for n, size in sizes.items()}
            yield float(rows["ratio"].mean()), ray
