"""What the design of an experiment can tell: distinct levels, collinearity, replicate noise, the measured range."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.errors import FitError, Refused
from scalesweep.points.points import Points

if TYPE_CHECKING:
    import pandas as pd

LEVEL_TOLERANCE = 0.02
"""Values closer than this, relatively, are one level: budgets are rounded to whole batches."""
WIDEST_LEVEL = 6
"""Width of the widest level in tolerances: isoFLOP budgets as read off a figure (published chinchilla) are 10 % wide."""
MAX_CORRELATION = 0.99
"""|corr(log N, log D)| above which the effects of N and D cannot be told apart (Kricheli et al., arXiv 2605.08541)."""
MIN_JOINT_POINTS = 6
MIN_LEVELS = 3
MIN_SIZES = 3


@dataclass(frozen=True, eq=False)
class Curve:
    """The measured curve of one compute budget."""

    c: float
    """Geometric mean of its rows' FLOPs."""
    rows: IntArray
    """Positions among the used rows, by increasing N, shape (rows,)."""
    sizes: IntArray
    """Which size each of these rows has, shape (rows,); rows of one size are replicates."""
    log_n: FloatArray
    """Log N of each size, increasing, shape (sizes,)."""
    log_d: FloatArray
    """Mean log D of each size, shape (sizes,)."""

    def over_sizes(self, values: FloatArray) -> FloatArray:
        """Means over replicates of values of the used rows: shape (..., used rows) to (..., sizes)."""
        return _means(values[..., self.rows], self.sizes)


@dataclass(frozen=True)
class Noise:
    """Replicate noise: what changes when only the seed changes."""

    log_loss_sd: float
    """Standard deviation of log loss, pooled over cells."""
    degrees_of_freedom: int
    """Replicates minus cells."""


@dataclass(frozen=True)
class Span:
    """The measured range, outside of which a law extrapolates."""

    n: tuple[float, float] | None
    """Smallest and largest N; None where the table does not say N."""
    d: tuple[float, float] | None
    """Smallest and largest D, tokens."""
    c: tuple[float, float] | None
    """Smallest and largest C, FLOPs."""
    tokens_per_parameter: tuple[float, float] | None
    """Smallest and largest D/N."""

    @property
    def decades(self) -> dict[str, float]:
        """log10(largest / smallest) of those of n, d and c that are known."""
        spans = {"n": self.n, "d": self.d, "c": self.c}
        return {name: math.log10(span[1] / span[0]) for name, span in spans.items() if span is not None}


def find_levels(values: FloatArray, tolerance: float = LEVEL_TOLERANCE) -> IntArray:
    """Number of the level of each value, shape (rows,), 0 for the smallest.

    A level goes on while the next value is within the tolerance of the one before, as digitised budgets scatter, but not beyond
    `WIDEST_LEVEL` tolerances: hundreds of scattered sizes would otherwise be one level.
    """
    order = np.argsort(values, kind="stable")
    logs = np.log(values[order])
    step = math.log1p(tolerance)
    levels = np.zeros(len(values), dtype=np.int64)
    start = logs[0]
    for i in range(1, len(logs)):
        is_new = logs[i] - logs[i - 1] > step or logs[i] - start > WIDEST_LEVEL * step
        start = logs[i] if is_new else start
        levels[i] = levels[i - 1] + is_new
    return np.asarray(levels[np.argsort(order, kind="stable")])


def count_levels(values: FloatArray) -> int:
    """Number of distinct values, up to `LEVEL_TOLERANCE`."""
    return int(find_levels(values).max()) + 1


def is_largest(values: FloatArray) -> NDArray[np.bool_]:
    """Which values equal the largest, up to `LEVEL_TOLERANCE`."""
    return np.asarray(values * (1 + LEVEL_TOLERANCE) >= values.max())


def refuse_joint(n: FloatArray, d: FloatArray) -> Refused | None:
    """Why points at (n, d) cannot identify E, A, B, alpha and beta; None if nothing in the design forbids it.

    NaN in n or d is a value that the table does not say (`Points.variables`).
    """
    if unknown := [name for name, values in (("N", n), ("D", d)) if np.isnan(values).any()]:
        return Refused(f"The table does not say {' and '.join(unknown)}, and a joint law needs both N and D.")
    sizes, budgets = count_levels(n), count_levels(d)
    if len(n) < MIN_JOINT_POINTS:
        return Refused(f"There are {len(n)} points for five parameters; measure at least {MIN_JOINT_POINTS}.")
    if sizes < MIN_LEVELS:
        return Refused(f"There {_are(sizes, 'model size')}; alpha needs at least {MIN_LEVELS} sizes.")
    if budgets < MIN_LEVELS:
        return Refused(f"There {_are(budgets, 'token budget')}; beta needs at least {MIN_LEVELS} budgets.")
    correlation = float(np.corrcoef(np.log(n), np.log(d))[0, 1])
    if abs(correlation) <= MAX_CORRELATION:
        return None
    where = "tokens-per-parameter ray" if correlation > 0 else "compute budget"
    return Refused(
        f"N and D move together along one {where} (correlation of log N and log D {correlation:.3f}), "
        "so their effects cannot be told apart; measure each size at several tokens per parameter and several budgets."
    )


def replicate_noise(points: Points) -> Noise | None:
    """Pooled sd of log loss over used rows with equal (n, d) and different seeds; None if no cell is replicated."""
    return pooled_noise(points.used)


def pooled_noise(rows: "pd.DataFrame") -> Noise | None:
    """`replicate_noise` of some rows of a table of points."""
    if "seed" not in rows:
        return None
    squares, degrees = 0.0, 0
    cell_of = [name for name in ("n", "d") if rows[name].notna().all()] or ["c"]
    for _, cell in rows.groupby(cell_of):
        if len(cell) > 1 and cell["seed"].nunique() == len(cell):
            log_loss = np.log(cell["loss"].to_numpy(dtype=np.float64))
            squares += float(np.sum((log_loss - log_loss.mean()) ** 2))
            degrees += len(cell) - 1
    return Noise(math.sqrt(squares / degrees), degrees) if degrees else None


def measure_span(points: Points) -> Span:
    """Range of the used rows."""
    n, d, c = points.n, points.d, points.c
    return Span(_range(n), _range(d), _range(c), _range(d / n))


def _range(values: FloatArray) -> tuple[float, float] | None:
    return None if np.isnan(values).any() else (float(values.min()), float(values.max()))


def _are(count: int, noun: str) -> str:
    return f"is only one {noun}" if count == 1 else f"are only {count} {noun}s"


def isoflop_curves(points: Points, tolerance: float = LEVEL_TOLERANCE) -> list[Curve]:
    """The used rows by compute budget, by increasing C.

    Raises:
        FitError: no row is used.
    """
    if not len(points.loss):
        raise FitError(f"{points.source} has no usable points.")
    budgets = find_levels(points.c, tolerance)
    return [_curve(points, np.flatnonzero(budgets == level), tolerance) for level in range(budgets.max() + 1)]


def designed_curves(points: Points) -> list[Curve]:
    """The budgets of an isoFLOP design, each with at least `MIN_SIZES` sizes; none where the design is another.

    A design is isoFLOP where compute has fewer levels than tokens and than tokens per parameter, and its budgets hold at least
    half of the rows: a grid over N and D, or over N and D / N, has equal products too, but nobody chose their sizes.
    """
    c, d, ratio = (count_levels(column) for column in (points.c, points.d, points.d / points.n))
    curves = [curve for curve in isoflop_curves(points) if len(curve.log_n) >= MIN_SIZES]
    held = sum(len(curve.rows) for curve in curves)
    return curves if c < min(d, ratio) and 2 * held >= len(points.loss) else []


def lowest_edge(curve: Curve, loss: FloatArray) -> Literal["smallest", "largest", ""]:
    """At which end of a curve's sizes the lowest of the used rows' losses, shape (used rows,), lies; empty inside."""
    lowest = int(np.argmin(curve.over_sizes(np.log(loss))))
    return "smallest" if lowest == 0 else "largest" if lowest == len(curve.log_n) - 1 else ""


def _curve(points: Points, rows: IntArray, tolerance: float) -> Curve:
    rows = rows[np.argsort(points.n[rows], kind="stable")]
    sizes = find_levels(points.n[rows], tolerance)
    log_n, log_d, log_c = (np.log(column[rows]) for column in (points.n, points.d, points.c))
    return Curve(float(np.exp(log_c.mean())), rows, sizes, _means(log_n, sizes), _means(log_d, sizes))


def _means(values: FloatArray, levels: IntArray) -> FloatArray:
    """Means over the last axis by level, shape (..., levels)."""
    members = levels == np.arange(levels.max() + 1)[:, None]
    return np.asarray(values @ (members / members.sum(axis=1, keepdims=True)).T)
