"""Losses along one tuned setting: where the lowest stands, between which neighbours, and where the loss rises as at a cliff."""

import math
from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import BoolArray, FloatArray

STEEP = 4.0
"""A step up that is this many times those nearer the lowest loss and on its other side is no part of one parabola: there, steps
grow by at most 3 from one to the next, and by 2 on the steeper side of the skewed curve of docs/tuning.md."""
STEEP_SHARE = 0.02
"""Such a step also exceeds this share of the lowest loss, which noise does not. Judgement."""


@dataclass(frozen=True, eq=False)
class Profile:
    """The lowest loss at each value of one setting."""

    x: FloatArray
    """Coordinates, increasing."""
    y: FloatArray
    """Losses in nats per token."""

    @property
    def best(self) -> int:
        """Index of the lowest loss."""
        return int(np.argmin(self.y))

    @property
    def neighbours(self) -> tuple[float, float]:
        """Coordinates next to the lowest loss; NaN past an end."""
        padded = np.concatenate([[math.nan], self.x, [math.nan]])
        return float(padded[self.best]), float(padded[self.best + 2])

    @property
    def depth(self) -> float:
        """How far the parabola through the lowest loss and its neighbours goes below it, in nats; 0 at an end."""
        return self._depth(math.inf)

    def smooth_depth(self, reach: float) -> float:
        """The same where a neighbour past a cliff counts no higher than a parabola could be there.

        Args:
            reach: see `cliffs`.
        """
        low, high = self.cliffs(reach)
        best = self.x[self.best]
        if low < best < high:
            return self.depth
        across = np.diff(self.y)[self.best :] if low == best else -np.diff(self.y)[: self.best]
        return self._depth(STEEP * float(np.abs(across).max()))

    def _depth(self, most: float) -> float:
        """With rises to neighbours cut at `most`."""
        i = self.best
        if not 0 < i < len(self.x) - 1:
            return 0.0
        left, right = self.x[i] - self.x[i - 1], self.x[i + 1] - self.x[i]
        down, up = min(self.y[i - 1] - self.y[i], most) / left, min(self.y[i + 1] - self.y[i], most) / right
        curvature = 2 * (up + down) / (left + right)
        slope = (up * left - down * right) / (left + right)
        return float(slope**2 / (2 * curvature)) if curvature > 0 else 0.0

    @property
    def rise(self) -> float:
        """The smaller step up to a neighbour, in nats; 0 at an end."""
        i = self.best
        return float(min(self.y[i - 1], self.y[i + 1]) - self.y[i]) if 0 < i < len(self.x) - 1 else 0.0

    def cliffs(self, reach: float) -> tuple[float, float]:
        """The last coordinates before the loss rises steeply, below and above the lowest; infinite where it does not.

        Args:
            reach: how far on the other side steps are looked at.
        """
        i, steps = self.best, np.abs(np.diff(self.y))
        low, high = steps[:i][::-1], steps[i:]
        return (
            -_before_cliff(low, high, self.x[i] - self.x[:i][::-1], self.x[i + 1 :] - self.x[i], reach, self.y[i]) + self.x[i],
            _before_cliff(high, low, self.x[i + 1 :] - self.x[i], self.x[i] - self.x[:i][::-1], reach, self.y[i]) + self.x[i],
        )


def _before_cliff(
    steps: FloatArray, others: FloatArray, away: FloatArray, others_away: FloatArray, reach: float, lowest: float
) -> float:
    """Distance of the last value before the first steep step; infinite without one. All arrays go outward from the lowest."""
    if not len(others):
        return math.inf
    # Two steps of the other side count however wide they are: the first is small where the optimum lies in the middle of it.
    across = float(others[(others_away <= reach) | (np.arange(len(others)) < 2)].max())
    for k, step in enumerate(steps):
        if step > STEEP * max(across, *steps[:k], 0.0) and step > STEEP_SHARE * abs(lowest):
            return float(away[k - 1]) if k else 0.0
    return math.inf


def profile(x: FloatArray, y: FloatArray) -> Profile:
    """The lowest of `y` at each distinct `x`, both of shape (points,)."""
    positions, inverse = np.unique(x, return_inverse=True)
    lowest = np.full(len(positions), math.inf)
    np.minimum.at(lowest, inverse, y)
    return Profile(positions, lowest)


def before_cliffs(along: Profile, x: FloatArray, reach: float) -> BoolArray:
    """Which of the coordinates x lie before the cliffs of the profile."""
    low, high = along.cliffs(reach)
    return np.asarray((x >= low - 1e-9) & (x <= high + 1e-9))
