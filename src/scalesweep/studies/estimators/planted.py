"""The surface of planted tables: that of the demo's grid, moved to the design at hand."""

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.laws import Coupled
from scalesweep.points.points import Points

_FLOOR, _BY_SIZE, _BY_DATA = 1.22, 1.43, 1.82
"""E, A / N^alpha and B / D^beta in the geometric middle of the demo's grid (N = 84k, D = 405k), nats per token."""
_ALPHA, _BETA, _KAPPA = 0.245, 0.215, 0.357
"""Exponents and coupling of the coupled law of the demo's 50 runs, which it describes to .41 % of the loss."""


def demo_surface(points: Points) -> Coupled:
    """The coupled law of the demo, with the middle of its grid at the middle of this one.

    Raises:
        PointsError: the table has no N or no D.
    """
    n, d = middle(points)
    return Coupled(_FLOOR, _BY_SIZE * n**_ALPHA, _BY_DATA * d**_BETA, _ALPHA, _BETA, _KAPPA)


def middle(points: Points) -> tuple[float, float]:
    """Geometric middle of N and of D over all rows of the table, used or not."""
    if points.is_partial:
        raise PointsError(f"{points.source} has no N and D of each row, so that no table of its design can be planted.")
    columns: list[FloatArray] = [points.frame[name].to_numpy(dtype=np.float64) for name in ("n", "d")]
    n, d = (float(np.exp(np.mean(np.log(column)))) for column in columns)
    return n, d


def noisy(loss: FloatArray, noise: float, rng: np.random.Generator) -> FloatArray:
    """Losses, shape (rows,), with log-normal noise of this standard deviation."""
    return np.asarray(loss * np.exp(noise * rng.standard_normal(loss.shape)))
