"""Minima of isoFLOP curves: for each compute budget the model size with the lowest loss, with its noise, or why there is none.

Rows whose C agree are one budget. Its curve is log L, or L, over log N, one value a size; its minimum comes from one of

    akima               exact minimum of the Akima interpolant of log L (Porian et al. 2024, arXiv 2406.19146)
    parabola            vertex of the parabola in L through the 5 sizes around the lowest loss
    full_parabola       vertex of the parabola in L through all sizes (Hoffmann et al. 2022, approach 2)
    full_parabola_log   the same in log L

The last two are there to repeat published analyses: curves are not parabolas over more than a factor of a few in N, and their
vertex is taken wherever it lies. For the first two a minimum at the smallest or largest size of its budget is no minimum but
the edge of what was measured, and is rejected. As in Porian et al. the interpolant decides on that, so its minimum may lie
between the last size and the one before with the lowest measured loss at the last; such minima carry a caveat.

Noise is a parametric bootstrap: every loss is multiplied by exp(noise z) with z standard normal, and the minima are taken
again. Rows are not resampled, because an interpolant without its lowest size is another curve.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.points.design import LEVEL_TOLERANCE, MIN_SIZES, Curve, Noise, isoflop_curves
from scalesweep.points.points import Points
from scalesweep.units import format_number

Method = Literal["akima", "parabola", "full_parabola", "full_parabola_log"]
METHODS: tuple[Method, ...] = ("akima", "parabola", "full_parabola", "full_parabola_log")
WINDOW = 5
"""Sizes that the local parabola goes through: two on either side of the lowest, and two to spare."""
MIN_SE_SHARE = 0.33
"""Smallest standard error of log N*, in mean distances of log N between sizes. Porian et al. 2024, analysis.py."""


@dataclass(frozen=True)
class NoiseDraws:
    """Noise of the losses, and the draws of it that stand for repetitions of the experiment."""

    log_loss_sd: FloatArray
    """Standard deviation of log L, shape (used rows,)."""
    z: FloatArray
    """Standard normal draws, shape (draws, used rows)."""
    words: str
    """Where the standard deviation comes from."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """The minimum of one curve."""

    c: float
    """Training FLOPs of the budget."""
    rows: tuple[int, ...]
    """Positions, among the used rows, of the rows of the budget."""
    num_sizes: int
    """Distinct model sizes of the budget."""
    rejection: str
    """Why there is no minimum; empty where there is one."""
    caveat: str
    """What the minimum rests on, where that is less than measurements on both sides; else empty."""
    n_opt: float
    """Parameters at the minimum; NaN where it is rejected."""
    d_opt: float
    """Tokens at the minimum, on the straight line in logs between the measured sizes; NaN where it is rejected."""
    log_n_se: float
    """Standard error of log N*; NaN without noise."""
    samples: FloatArray = field(repr=False)
    """Log N* and log D* of each draw of the noise, NaN where that was rejected, shape (2, draws)."""


@dataclass(frozen=True)
class IsoflopMinima:
    """The minima of all budgets."""

    method: Method
    minima: tuple[Minimum, ...]
    """One a budget, by increasing C, rejected ones among them."""
    tolerance: float
    """Relative gap in C below which neighbouring rows are one budget."""
    noise: str
    """Where the noise comes from; empty where none is known."""

    @property
    def used(self) -> tuple[Minimum, ...]:
        """Those that were found."""
        return tuple(minimum for minimum in self.minima if not minimum.rejection)

    @property
    def rejected(self) -> tuple[Minimum, ...]:
        """Budgets without a minimum."""
        return tuple(minimum for minimum in self.minima if minimum.rejection)


def isoflop_minima(
    points: Points, method: Method = "akima", noise: NoiseDraws | None = None, tolerance: float = LEVEL_TOLERANCE
) -> IsoflopMinima:
    """The minimum over N of each compute budget.

    Args:
        points: rows of several sizes at each of several C.
        method: how the minimum is found, see the module's docstring.
        noise: noise of the losses; without it minima have no standard error.
        tolerance: relative gap in C, and in N, below which neighbouring values are one level.

    Raises:
        FitError: the method is not known or no row is used.
    """
    if method not in METHODS:
        raise FitError(f"There is no method {method!r} for isoFLOP minima; there are {', '.join(METHODS)}.")
    minima = [_minimum(points, curve, method, noise) for curve in isoflop_curves(points, tolerance)]
    return IsoflopMinima(method, tuple(minima), tolerance, noise.words if noise else "")


def draw_noise(log_loss_sd: FloatArray, num_draws: int, seed: int, words: str) -> NoiseDraws:
    """Draws for losses whose logarithms have these standard deviations, shape (used rows,)."""
    z = np.random.default_rng(seed).standard_normal((num_draws, len(log_loss_sd)))
    return NoiseDraws(log_loss_sd, z, words)


def curve_noise(points: Points, tolerance: float = LEVEL_TOLERANCE) -> Noise | None:
    """Sd of log L about the parabolas through the `WINDOW` sizes around each lowest loss, pooled; None without spare sizes.

    It stands in for replicates and is too large rather than too small, because curves are not quite parabolas.
    """
    squares, degrees = 0.0, 0
    for curve in isoflop_curves(points, tolerance):
        log_loss = curve.over_sizes(np.log(points.loss))
        window = _window(log_loss)
        x, y = curve.log_n[window], log_loss[window]
        if len(x) > 3:
            centred = x - x.mean()
            squares += float(np.sum((y - np.polyval(np.polyfit(centred, y, 2), centred)) ** 2))
            degrees += len(x) - 3
    return Noise(math.sqrt(squares / degrees), degrees) if degrees else None


def _minimum(points: Points, curve: Curve, method: Method, noise: NoiseDraws | None) -> Minimum:
    draws = len(noise.z) if noise else 0
    log_loss = np.log(points.loss)
    located = np.full(1 + draws, np.nan)
    if len(curve.log_n) >= MIN_SIZES:
        noisy = log_loss + noise.z * noise.log_loss_sd if noise else np.empty((0, len(log_loss)))
        located = _locate(curve.log_n, curve.over_sizes(np.vstack([log_loss, noisy])).T, method)
    position, samples = float(located[0]), located[1:]
    measured = curve.over_sizes(log_loss)
    rejection, caveat = _rejection(curve, measured, position, samples), ""
    if rejection:
        position = math.nan
    elif int(np.argmin(measured)) in (0, len(measured) - 1):
        caveat = "the lowest measured loss is at the edge, so the minimum rests on the interpolation alone"
    return Minimum(
        c=curve.c,
        rows=tuple(int(row) for row in curve.rows),
        num_sizes=len(curve.log_n),
        rejection=rejection,
        caveat=caveat,
        n_opt=math.exp(position),
        d_opt=float(np.exp(_on_line(curve, np.array(position)))),
        log_n_se=math.nan if rejection else _standard_error(curve, samples),
        samples=np.stack([samples, _on_line(curve, samples)]),
    )


def _rejection(curve: Curve, log_loss: FloatArray, position: float, samples: FloatArray) -> str:
    """Why the minimum at this log N is none; empty if it is one."""
    sizes = len(curve.log_n)
    if sizes < MIN_SIZES:
        return f"fewer than {MIN_SIZES} sizes"
    if math.isnan(position):
        lowest = int(np.argmin(log_loss))
        edge = {0: ("smallest", "smaller"), sizes - 1: ("largest", "larger")}.get(lowest)
        if edge is None:
            return "the curve has no minimum inside the measured sizes"
        return f"the lowest loss is at the {edge[0]} size; measure {edge[1]} models"
    if 2 * np.sum(np.isnan(samples)) > len(samples):  # the median draw has no minimum
        return "under the noise the lowest loss is mostly at the edge"
    return ""


def _standard_error(curve: Curve, samples: FloatArray) -> float:
    """Of log N*: not below what the spacing of sizes resolves, and larger where draws were lost. Porian et al. 2024."""
    found = samples[~np.isnan(samples)]
    if not len(found):
        return math.nan
    spacing = float(np.ptp(curve.log_n)) / (len(curve.log_n) - 1)
    return max(float(found.std()), MIN_SE_SHARE * spacing) * len(samples) / len(found)


def _on_line(curve: Curve, log_n: FloatArray) -> FloatArray:
    """Log D at log N on the measured curve, on the line through its first and last size outside of it.

    Along a budget log D falls with slope -1 in log N as far as C counts 6 N D, so that straight lines in logs are exact.
    """
    x, y = curve.log_n, curve.log_d
    if len(x) < 2:
        return np.full(np.shape(log_n), np.nan)
    outside = y[0] + (log_n - x[0]) * (y[-1] - y[0]) / (x[-1] - x[0])
    is_inside = (log_n >= x[0]) & (log_n <= x[-1])
    return np.where(is_inside, np.interp(log_n, x, y), outside)


def _locate(x: FloatArray, log_loss: FloatArray, method: Method) -> FloatArray:
    """Log N of the minima of curves log L over x, shape (sizes, curves); NaN where there is none, shape (curves,)."""
    if method == "akima":
        found = _akima(x, log_loss)
    elif method == "parabola":
        found = _local_vertex(x, np.exp(log_loss))
    else:
        found = _vertex(x, log_loss if method == "full_parabola_log" else np.exp(log_loss))
    if method in ("akima", "parabola"):
        found = np.where((found > x[0]) & (found < x[-1]), found, np.nan)
    if method == "akima":
        return found
    is_edge = np.isin(np.argmin(log_loss, axis=0), (0, len(x) - 1))
    return np.where(is_edge, np.nan, found)


def _akima(x: FloatArray, y: FloatArray) -> FloatArray:
    """Where the Akima interpolants of y, shape (sizes, curves), are lowest, shape (curves,). Akima 1970 (J. ACM 17, 589)."""
    from scipy.interpolate import Akima1DInterpolator  # not at the top: the fits of laws do without scipy

    cubic, square, linear, constant = Akima1DInterpolator(x, y, axis=0).c
    with np.errstate(divide="ignore", invalid="ignore"):
        # The stable form of the roots of the derivative 3 cubic t^2 + 2 square t + linear.
        half = -(square + np.copysign(np.sqrt(square**2 - 3 * cubic * linear), square))
        roots = np.stack([np.zeros_like(linear), half / (3 * cubic), linear / half])
    inside = (roots > 0) & (roots < np.diff(x)[None, :, None])
    t = np.where(inside, roots, 0.0)
    value = ((cubic * t + square) * t + linear) * t + constant
    lowest = np.argmin(value.reshape(-1, y.shape[1]), axis=0)
    curves = np.arange(y.shape[1])
    position = (t + x[None, :-1, None]).reshape(-1, y.shape[1])[lowest, curves]
    return np.asarray(np.where(value.reshape(-1, y.shape[1])[lowest, curves] < y[-1], position, x[-1]))


def _local_vertex(x: FloatArray, y: FloatArray) -> FloatArray:
    """Vertex of the parabola through the `WINDOW` sizes around the lowest value, NaN where it lies outside of them."""
    windows = [_window(column) for column in y.T]
    starts = np.array([window.start for window in windows])
    found = np.empty(y.shape[1])
    for start in np.unique(starts):
        here = starts == start
        window = slice(start, start + WINDOW)
        vertex = _vertex(x[window], y[window, here])
        found[here] = np.where((vertex >= x[window][0]) & (vertex <= x[window][-1]), vertex, np.nan)
    return found


def _window(y: FloatArray) -> slice:
    """The `WINDOW` neighbouring places, or all, with the lowest of y as near to their middle as possible."""
    start = int(np.clip(np.argmin(y) - WINDOW // 2, 0, max(len(y) - WINDOW, 0)))
    return slice(start, start + WINDOW)


def _vertex(x: FloatArray, y: FloatArray) -> FloatArray:
    """Vertex of the least-squares parabola of each column of y; NaN where it opens downward."""
    centre = x.mean()
    square, linear, _ = np.polyfit(x - centre, y, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = centre - linear / (2 * square)
    return np.asarray(np.where(square > 0, vertex, np.nan), dtype=np.float64)


def describe_minima(minima: IsoflopMinima) -> list[str]:
    """The rejected budgets, and those with a caveat, in words; those of one reason together."""
    groups: dict[str, list[float]] = {}
    for minimum in sorted(minima.minima, key=lambda minimum: not minimum.rejection):
        if minimum.rejection or minimum.caveat:
            reason = f"left out{{}}: {minimum.rejection}" if minimum.rejection else f"kept{{}}, but {minimum.caveat}"
            groups.setdefault(reason, []).append(minimum.c)
    return [_describe_group(reason, budgets) for reason, budgets in groups.items()]


def _describe_group(reason: str, budgets: list[float]) -> str:
    values = [format_number(c) for c in budgets]
    listed = ", ".join(values) if len(values) <= 3 else f"{values[0]} to {values[-1]}"
    noun = "budget" if len(values) == 1 else "budgets"
    return f"{len(values)} {noun} {reason.format(f' ({listed} FLOPs)')}."
