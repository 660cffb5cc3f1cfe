"""Simulated tables: the rows of a study with losses of a known law, so that what its judge must find is known."""

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.laws import Coupled
from scalesweep.points.points import Points
from scalesweep.studies.base import with_losses

LAW = Coupled(E=1.5, A=20.0, B=44.0, alpha=0.24, beta=0.26, kappa=0.36)
"""Of round numbers near the fit of the demo's grid at context 32 (docs/results.md): 3.41 nats at N = 42k and D = 524k, where
3.41 was measured."""
_FLOOR, _BY_SIZE, _BY_DATA = 1.22, 1.43, 1.82
"""E, A / N^alpha and B / D^beta in the geometric middle of the demo's grid (N = 84k, D = 405k), nats per token."""
_ALPHA, _BETA, _KAPPA = 0.245, 0.215, 0.357
"""Exponents and coupling of the coupled law of that grid's 50 runs, which it describes to .41 % of the loss."""


def demo_surface(points: Points) -> Coupled:
    """The coupled law of the demo's grid at context 32, with its middle at the middle of this one.

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


def drawn(points: Points, log_rho: ArrayLike, noise: float, rng: np.random.Generator) -> Points:
    """The used rows with losses LAW(N, rho D) and log-normal noise.

    Args:
        points: whose N and D.
        log_rho: log multiplier of the tokens, shape (rows,) or a number.
        noise: standard deviation of log loss.
        rng: of the noise.
    """
    n, d = points.frame["n"].to_numpy(dtype=np.float64), points.frame["d"].to_numpy(dtype=np.float64)
    return noisy(points, LAW.predict(n, d * np.exp(log_rho)), noise, rng)


def noisy(points: Points, loss: ArrayLike, noise: float, rng: np.random.Generator) -> Points:
    """The rows with these losses, shape (rows,), and log-normal noise of this standard deviation."""
    exact = np.asarray(loss, dtype=np.float64)
    return with_losses(points, exact * np.exp(noise * rng.standard_normal(exact.shape)))
