"""Published mistakes made again: what each does to a number, from published points or from surfaces without noise.

Nothing is trained. Each function gives the number of the mistake and that of the right way, or their ratio.
"""

import functools

import numpy as np
from scipy.optimize import minimize

from scalesweep.analysis.allocation.approaches import approach2_bias
from scalesweep.analysis.allocation.minima import isoflop_minima
from scalesweep.arrays import FloatArray
from scalesweep.laws import Chinchilla
from scalesweep.points.points import Points, points_from_rows
from scalesweep.points.published import published_points

PORIAN_NOISE = 0.002
"""Nats per token: what the noise function of Porian et al. 2024 returns for their RefinedWeb runs at every loss."""
HOFFMANN = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
"""As printed by Hoffmann et al. 2022, section D.2."""
_UNROUNDED = (0.5267228, 6.0073404, 6.0179186, 0.33917084, 0.2849083)
"""Logarithms of E, A and B, then alpha and beta, of the TeX source of the same paper (Besiroglu et al. 2024, 2404.10102)."""
_DELTA = 1e-3
"""Huber's delta of both papers."""
OPTIMUM = 1.0182740e-3
"""Lowest sum of Huber losses on the 240 points of Besiroglu et al. 2024."""


@functools.cache
def isoflop_bias(law: Chinchilla, span: float) -> float:
    """Relative error of D* at 1e24 FLOPs of parabolas through 15 sizes from N* / span to N* span at 1e17 to 1e21 FLOPs.

    Czech et al. 2026 (arXiv 2603.22339): no noise, so that the error is that of the parabola.
    """
    c = np.repeat(np.geomspace(1e17, 1e21, 5), 15)
    n = law.n_opt(c) * np.tile(np.geomspace(1 / span, span, 15), 5)
    d = c / (6 * n)
    columns = zip(n.tolist(), d.tolist(), c.tolist(), law.predict(n, d).tolist(), strict=True)
    rows = [{"n": a, "d": b, "c": f, "loss": loss} for a, b, f, loss in columns]
    points = points_from_rows(rows, "total", "six_n", "surface")
    return approach2_bias(points, law, isoflop_minima(points, "full_parabola"), [1e24]).d[0]


def huber_sum(theta: FloatArray, points: Points) -> tuple[float, FloatArray]:
    """Sum of Huber losses of log L at (log E, log A, log B, alpha, beta), and its gradient (Hoffmann et al. 2022, eq. (3))."""
    e, a, b, alpha, beta = theta
    log_n, log_d = np.log(points.n), np.log(points.d)
    terms = np.stack([np.full_like(log_n, e), a - alpha * log_n, b - beta * log_d])
    log_loss = np.logaddexp.reduce(terms)
    residual = np.log(points.loss) - log_loss
    size = np.abs(residual)
    value = np.where(size <= _DELTA, residual**2 / 2, _DELTA * (size - _DELTA / 2)).sum()
    by = np.exp(terms - log_loss) * -np.clip(residual, -_DELTA, _DELTA)
    return float(value), np.array([*by.sum(axis=1), -by[1] @ log_n, -by[2] @ log_d])


@functools.cache
def rounding() -> tuple[float, float]:
    """The objective on the points of Besiroglu et al. 2024 at the printed parameters, and at those that were not rounded."""
    points = published_points("chinchilla")
    printed = np.array([*np.log([HOFFMANN.E, HOFFMANN.A, HOFFMANN.B]), HOFFMANN.alpha, HOFFMANN.beta])
    return huber_sum(printed, points)[0], huber_sum(np.array(_UNROUNDED), points)[0]


@functools.cache
def stopped_early() -> tuple[float, int]:
    """Where L-BFGS-B with its default tolerance stops if the mean of the Huber losses is minimised, and after how many steps.

    The tolerance is on the value, and the mean is 240 times smaller than the sum.
    """
    points = published_points("chinchilla")
    num = len(points.loss)

    def mean(theta: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = huber_sum(theta, points)
        return value / num, gradient / num

    found = minimize(mean, np.array(_UNROUNDED), jac=True, method="L-BFGS-B")
    return huber_sum(found.x, points)[0], int(found.nit)


def ray_errors(ratio: float = 20.0) -> tuple[float, float]:
    """Standard error of alpha, in units of the noise, of 25 runs with D = ratio N and of a grid of 5 sizes and 5 budgets.

    By the curvature of least squares of log L on `HOFFMANN`; both designs have N from 1e7 to 1e9.
    """
    sizes = np.geomspace(1e7, 1e9, 25)
    n, factor = np.geomspace(1e7, 1e9, 5), np.geomspace(0.1, 10, 5)
    grid_n, grid_d = np.repeat(n, 5), np.tile(ratio * 1e8 * factor, 5)
    return _alpha_error(sizes, ratio * sizes), _alpha_error(grid_n, grid_d)


def _alpha_error(n: FloatArray, d: FloatArray) -> float:
    law = HOFFMANN
    loss, gradient = Chinchilla.expand((law.E, law.A, law.B, law.alpha, law.beta), (n, d))
    by = np.stack(gradient, axis=1) / loss[:, None]
    scale = np.linalg.norm(by, axis=0)
    covariance = np.linalg.inv((by / scale).T @ (by / scale))
    return float(np.sqrt(covariance[3, 3]) / scale[3])
