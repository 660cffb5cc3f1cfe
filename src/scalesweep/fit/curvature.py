"""Whether points in log-log lie on a straight line or on a bent one: the test of a quadratic term.

A power law that is fitted to a curve with a floor has narrow intervals and a wrong value anywhere else, so that the width of an
interval says nothing of it.
"""

from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import FloatArray

MAX_P_VALUE = 1e-3
"""Above this p value of the t test of the quadratic term a line is not called bent."""
MIN_FALL = 0.25
"""Share of the rms that the quadratic term has to take away: with many points a bend that hurts nobody is significant too."""
_ROUNDING = 1e-12
"""Root mean square of log loss below which residuals are rounding."""


@dataclass(frozen=True)
class Curvature:
    """What a quadratic in log x finds beyond the straight line."""

    t: float
    """The quadratic coefficient over its standard error; negative where the curve steepens."""
    p_value: float
    """Two-sided, of Student's t with independent points - 3 degrees of freedom."""
    rms_line: float
    """Root mean square of log L - log L_predicted of the line."""
    rms_quadratic: float
    """The same of the quadratic."""
    exponent_first: float
    """Its local exponent -d log L/d log x at the smallest x."""
    exponent_last: float
    """The same at the largest x."""

    @property
    def is_bent(self) -> bool:
        """Whether the term is significant and takes away a good part of what the line leaves."""
        return self.p_value < MAX_P_VALUE and self.rms_quadratic < (1 - MIN_FALL) * self.rms_line


def find_curvature(log_x: FloatArray, log_loss: FloatArray, weights: FloatArray) -> Curvature | None:
    """The test on points of the given weights, shape (rows,), whose sum is the number of independent points.

    None with fewer than four independent points or different x, and for points on the line but for rounding.
    """
    from scipy.special import stdtr

    num = float(weights.sum())
    if num < 4 - 1e-9 or len(np.unique(log_x)) < 4:
        return None
    root, x = np.sqrt(weights), log_x - log_x.mean()
    basis = root[:, None] * np.stack([np.ones_like(x), x, x**2], axis=1)
    line, quadratic = (np.linalg.lstsq(basis[:, :k], root * log_loss)[0] for k in (2, 3))
    squares = [float(np.sum((root * log_loss - basis[:, : len(c)] @ c) ** 2)) for c in (line, quadratic)]
    if squares[0] < num * _ROUNDING**2:
        return None
    spare = num - 3
    ratio = np.sqrt(max(squares[0] - squares[1], 0.0) / max(squares[1] / spare, num * _ROUNDING**2))
    first, last = (-(quadratic[1] + 2 * quadratic[2] * end) for end in (x.min(), x.max()))
    rms_line, rms_quadratic = np.sqrt(np.divide(squares, num)).tolist()
    t = float(np.copysign(ratio, quadratic[2]))
    return Curvature(t, 2 * float(stdtr(spare, -ratio)), rms_line, rms_quadratic, float(first), float(last))
