"""Simulated tables: the rows of a study with losses of a known law, so that what its judge must find is known."""

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.laws import Coupled
from scalesweep.points.points import Points
from scalesweep.studies.base import with_losses

LAW = Coupled(E=1.5, A=20.0, B=44.0, alpha=0.24, beta=0.26, kappa=0.36)
"""Of round numbers near the demo's own fit (docs/results.md): 3.41 nats at N = 42k and D = 524k, where 3.41 was measured."""


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
