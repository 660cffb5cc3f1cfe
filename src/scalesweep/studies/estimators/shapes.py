"""Along a ladder of compute, whether a metric lies flat, rises evenly, bends in a logistic, or jumps in one step, by AICc."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scalesweep.arrays import FloatArray

ShapeName = Literal["flat", "linear", "logistic", "step"]
SHARP_BY = 4.0
"""AICc that a bend must gain over a line: "considerably less support" begins there (Burnham & Anderson 2002, section 2.6)."""
SHARP_WITHIN = math.log(10)
"""Of ln C, from 10 to 90 % of the rise: a decade of compute."""
_TAILS = 2 * math.log(9)
"""Width of a logistic from 10 to 90 %, in its scale."""


@dataclass(frozen=True)
class Shape:
    """The form that fits best."""

    name: ShapeName
    gain: float
    """AICc of the line minus that of this form."""
    width: float
    """ln C from 10 to 90 % of the rise; infinite for flat and linear."""

    @property
    def is_sharp(self) -> bool:
        """Whether it rises within a decade of compute, and no line would do."""
        return self.name in ("logistic", "step") and self.gain > SHARP_BY and self.width < SHARP_WITHIN


def shape_of(log_c: FloatArray, y: FloatArray) -> Shape:
    """The form with the lowest AICc (Hurvich & Tsai 1989) of least squares; too few rows for a form leave it out.

    Args:
        log_c: ln C, shape (rows,); replicates are rows of their own.
        y: the metric, shape (rows,).
    """
    x, y = np.asarray(log_c, dtype=np.float64), np.asarray(y, dtype=np.float64)
    floor = (1e-4 * max(float(np.ptp(y)), 1e-12)) ** 2 * len(y)  # where a form is exact, rounding must not decide
    line = np.polynomial.Polynomial.fit(x, y, 1)
    levels = np.unique(x)
    cuts = (levels[1:] + levels[:-1]) / 2
    steps = [(float(sum(((y[side] - y[side].mean()) ** 2).sum() for side in (x < cut, x > cut))), cut) for cut in cuts]
    bent, scale = _logistic(x, y)
    found: dict[ShapeName, tuple[float, int, float]] = {
        "flat": (float(((y - y.mean()) ** 2).sum()), 1, math.inf),
        "linear": (float(((y - line(x)) ** 2).sum()), 2, math.inf),
        "logistic": (bent, 4, _TAILS * scale),
        "step": (min(steps)[0], 3, float(np.diff(levels).min())),
    }
    aicc = {name: _aicc(rss + floor, len(y), free + 1) for name, (rss, free, _) in found.items()}
    best = min(aicc, key=lambda name: aicc[name])
    return Shape(best, aicc["linear"] - aicc[best] if best != "linear" else 0.0, found[best][2])


def _aicc(rss: float, rows: int, free: int) -> float:
    if rows <= free + 1:
        return math.inf
    return rows * math.log(rss / rows) + 2 * free + 2 * free * (free + 1) / (rows - free - 1)


def _logistic(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """(sum of squares, scale in ln C) of low + rise / (1 + exp(-(x - middle) / scale)), the best on a grid.

    Middles between the ends by 40, scales from a tenth of a step of the ladder to ten ladders by 30: finer than any noise.
    """
    gap, span = float(np.diff(np.unique(x)).min()), float(np.ptp(x))
    middle, scale = np.meshgrid(np.linspace(x.min(), x.max(), 40), np.geomspace(gap / 10, 10 * span, 30))
    rise = 1 / (1 + np.exp(-np.clip((x - middle[..., None]) / scale[..., None], -50, 50)))
    rise -= rise.mean(axis=-1, keepdims=True)
    y = y - y.mean()
    explained = (rise @ y) ** 2 / np.maximum((rise**2).sum(axis=-1), 1e-12)
    best = np.unravel_index(np.argmax(explained), explained.shape)
    return max(float((y**2).sum() - explained[best]), 0.0), float(scale[best])
