"""Whether settings carry over between sizes: slopes of a coordinate check, and the learning-rate optimum of each size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import FloatArray

SETTLED = 2
"""Steps after which slopes are judged: the first updates of a head that starts at zero are finite-size effects."""
TOLERANCE = 0.05
"""Largest slope that passes, in decades of the mean absolute activation per doubling of the size: between the worst
of `completep` and of `sp` from width 64 on (docs/transfer.md)."""


@dataclass(frozen=True, eq=False)
class CoordinateCheck:
    """Mean absolute activations over the first steps, for several sizes along one axis."""

    axis: str
    """"width" or "depth"."""
    sizes: tuple[int, ...]
    """Increasing along the axis."""
    values: Mapping[str, FloatArray]
    """For each place in the model, shape (sizes, updates + 1)."""

    def slopes(self, place: str) -> FloatArray:
        """Slope of log10 of the activation against log2 of the size after 1, 2, ... updates, shape (updates,)."""
        slopes: FloatArray = np.polyfit(np.log2(self.sizes), np.log10(self.values[place][:, 1:]), 1)[0]
        return slopes

    def worst(self, place: str) -> float:
        """The slope of largest magnitude after more than `SETTLED` updates; infinite where an activation is no number."""
        slopes = self.slopes(place)[SETTLED:]
        return float(slopes[np.argmax(np.abs(slopes))]) if np.isfinite(slopes).all() else math.inf

    @property
    def holds(self) -> bool:
        """No slope is larger than `TOLERANCE`; logits may shrink.

        Logits of a head that starts at zero are what was learned, which keeps its size, and a sum of random signs, which falls
        as 1 / sqrt(width).
        """
        slopes = {place: self.worst(place) for place in self.values}
        return all((slope if place == "logits" else abs(slope)) < TOLERANCE for place, slope in slopes.items())


@dataclass(frozen=True)
class RateOptimum:
    """The learning rate at which one size has its lowest loss."""

    lr: float
    """Vertex of a parabola in log lr through the best grid point and its neighbours; the grid point itself at an edge."""
    loss: float
    """Mean loss at the best grid point, in nats per token."""
    interior: bool
    """Whether the best grid point has a neighbour on either side."""


def find_optimum(lrs: Sequence[float], losses: Sequence[float]) -> RateOptimum:
    """The optimum of losses at increasing learning rates; a loss that is no number counts as infinite."""
    y = np.nan_to_num(np.asarray(losses, dtype=np.float64), nan=np.inf)
    best = int(np.argmin(y))
    interior = 0 < best < len(y) - 1
    if not interior or not np.isfinite(y[best - 1 : best + 2]).all():
        return RateOptimum(lrs[best], float(y[best]), interior)
    square, slope, _ = np.polyfit(np.log(np.asarray(lrs[best - 1 : best + 2]) / lrs[best]), y[best - 1 : best + 2], 2)
    return RateOptimum(lrs[best] * math.exp(-slope / (2 * square)) if square > 0 else lrs[best], float(y[best]), interior)


@dataclass(frozen=True, eq=False)
class LearningRates:
    """Losses of several sizes over one grid of base learning rates."""

    sizes: tuple[tuple[int, int], ...]
    """(width, depth) in order of parameters."""
    params: tuple[int, ...]
    """N of each size."""
    lrs: tuple[float, ...]
    """Increasing values of `recipe.lr`."""
    losses: FloatArray
    """Validation loss in nats per token, shape (sizes, lrs, seeds); nan where a run diverged."""

    @property
    def optima(self) -> list[RateOptimum]:
        """The optimum of each size, of the mean over seeds."""
        return [find_optimum(self.lrs, row) for row in self.losses.mean(-1)]

    @property
    def drift(self) -> float:
        """Factor between the largest and the smallest optimal learning rate."""
        found = [optimum.lr for optimum in self.optima]
        return max(found) / min(found)
