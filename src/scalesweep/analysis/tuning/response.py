"""The minimum of a noisy response surface, by a local quadratic: where it is, how low, and how sure of both one can be.

The model is y = c + g'x + x'Hx / 2 + noise over coordinates x (logarithms of settings), fitted by least squares to the points
in a window around the minimum. Two biases of "the best of many noisy runs" are dealt with. *Selection*: the window is centred
on the fitted minimum, not on the lowest point, and moved until it stays, so that no point enters because of its own noise.
*Optimism*: the minimum of a fitted quadratic lies below the surface at the true minimum by g'H^-1 g / 2, where g is the error
of the gradient there, in the mean tr(H^-1 Cov g) / 2 (the second-order term of the expected minimum); it is added back. What
is assumed: the surface is quadratic within the window, and the noise independent between points, of one size.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import BoolArray, FloatArray

MAX_MOVES = 10
"""Moves of the window until it must stay; one that goes to and fro between two sets of points is left where it is."""
WIDER = 1.5
"""Factor by which the window grows where the points in it show no minimum."""
LIMIT = math.log(6) / math.log(3)
"""Farthest that a point in the window may lie from its centre, in units of the reach: a factor of 6 for the learning rate. It
is what five settings at a ratio of 2 need at most, and beyond it nothing was validated (docs/tuning.md)."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A fitted quadratic with positive definite curvature."""

    x: FloatArray
    """Coordinates of its minimum, shape (axes,)."""
    y: float
    """The value there, as fitted."""
    hessian: FloatArray
    """Second derivatives, shape (axes, axes)."""
    rss: float
    """Residual sum of squares in the window."""
    dof: int
    """Points in the window minus coefficients."""
    window: BoolArray
    """Which points entered, shape (points,)."""
    optimism: float
    """Mean amount by which `y` is too low, for noise of variance 1."""
    y_variance: float
    """Variance of `y`, for noise of variance 1."""
    x_covariance: FloatArray
    """Covariance of `x`, for noise of variance 1, shape (axes, axes)."""
    hessian_variance: FloatArray
    """Variance of the diagonal of `hessian`, for noise of variance 1, shape (axes,)."""
    coefficients: FloatArray
    """Of `features` about `origin`."""
    origin: FloatArray
    """Centre of the coordinates that the coefficients belong to, shape (axes,)."""
    cross: bool
    """Whether products of different axes are in the model."""

    def value(self, noise: float) -> float:
        """The minimum, corrected for its optimism, for noise of standard deviation `noise`.

        Where the curvature is lost in the noise the expansion means nothing, so the correction is at most one standard error.
        """
        return self.y + min(noise**2 * self.optimism, self.error(noise))

    def error(self, noise: float) -> float:
        """Standard error of the minimum's value."""
        return noise * math.sqrt(self.y_variance)

    def predict(self, x: FloatArray) -> FloatArray:
        """The surface at x, shape (points, axes)."""
        return np.asarray(features(x - self.origin, self.cross) @ self.coefficients)


def features(x: FloatArray, cross: bool) -> FloatArray:
    """1, x_j, x_j^2 / 2 and, with `cross`, x_i x_j; shape (points, features)."""
    axes = x.shape[1]
    products = [x[:, i] * x[:, j] for i, j in itertools.combinations(range(axes), 2)] if cross else []
    return np.column_stack([np.ones(len(x)), *x.T, *(x.T**2 / 2), *products])


def num_features(axes: int, cross: bool) -> int:
    """Coefficients of the model."""
    return 1 + 2 * axes + (axes * (axes - 1) // 2 if cross else 0)


def fit_surface(x: FloatArray, y: FloatArray, reach: Sequence[float]) -> Surface | None:
    """The quadratic around the minimum of points (x, y); None where there is none.

    Args:
        x: coordinates, shape (points, axes).
        y: values, shape (points,).
        reach: half-width of the window along each axis. Where too few points lie in it, the nearest ones beyond are taken, up
            to LIMIT of it; where the points in it are not convex, as noise can make them, it is widened by WIDER.
    """
    for widened in (1.0, WIDER):
        if (surface := _settle(x, y, np.asarray(reach), widened)) is not None:
            return surface
    return None


def _settle(x: FloatArray, y: FloatArray, reach: FloatArray, widened: float) -> Surface | None:
    """The quadratic in the window that is centred on its own minimum."""
    axes = x.shape[1]
    centre, previous, surface = x[np.argmin(y)], None, None
    for _ in range(MAX_MOVES):
        window = _window(x, centre, reach, widened)
        if previous is not None and np.array_equal(window, previous):
            break
        cross = axes > 1 and int(window.sum()) >= num_features(axes, True) + 2
        surface = _fit(x, y, window, cross)
        if surface is None:
            return None
        centre, previous = np.clip(surface.x, x.min(axis=0), x.max(axis=0)), window
    return surface


def _window(x: FloatArray, centre: FloatArray, reach: FloatArray, widened: float) -> BoolArray:
    """Points within reach, and at least two more than the separable model has coefficients, if there are that many in LIMIT."""
    distance = np.max(np.abs(x - centre) / reach, axis=1)
    needed = min(len(x), num_features(x.shape[1], False) + 2)
    return np.asarray(distance <= min(LIMIT, max(widened, np.sort(distance)[needed - 1])) + 1e-9)


def _fit(x: FloatArray, y: FloatArray, window: BoolArray, cross: bool) -> Surface | None:
    """The quadratic through the points of the window."""
    if not window.any():
        return None
    axes, origin = x.shape[1], x[window].mean(axis=0)
    design = features(x[window] - origin, cross)
    if len(design) < design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    coefficients, *_ = np.linalg.lstsq(design, y[window], rcond=None)
    covariance = np.linalg.inv(design.T @ design)
    hessian = np.diag(coefficients[1 + axes : 1 + 2 * axes])
    for k, (i, j) in enumerate(itertools.combinations(range(axes), 2) if cross else ()):
        hessian[i, j] = hessian[j, i] = coefficients[1 + 2 * axes + k]
    if np.linalg.eigvalsh(hessian).min() <= 0:
        return None
    inverse = np.linalg.inv(hessian)
    minimum = -inverse @ coefficients[1 : 1 + axes]
    at = features(minimum[None], cross)[0]
    slopes = _slopes(minimum, cross)
    gradient = slopes @ covariance @ slopes.T
    return Surface(
        x=origin + minimum,
        y=float(at @ coefficients),
        hessian=hessian,
        rss=float(np.sum((y[window] - design @ coefficients) ** 2)),
        dof=int(window.sum()) - design.shape[1],
        window=window,
        optimism=float(np.trace(inverse @ gradient)) / 2,
        y_variance=float(at @ covariance @ at),
        x_covariance=inverse @ gradient @ inverse,
        hessian_variance=np.diag(covariance)[1 + axes : 1 + 2 * axes],
        coefficients=np.asarray(coefficients, dtype=np.float64),
        origin=origin,
        cross=cross,
    )


def _slopes(x: FloatArray, cross: bool) -> FloatArray:
    """Derivatives of the features along each axis at x, shape (axes, features)."""
    axes = len(x)
    slopes = np.zeros((axes, num_features(axes, cross)))
    slopes[:, 1 : 1 + axes] = np.eye(axes)
    slopes[:, 1 + axes : 1 + 2 * axes] = np.diag(x)
    for k, (i, j) in enumerate(itertools.combinations(range(axes), 2) if cross else ()):
        slopes[i, 1 + 2 * axes + k], slopes[j, 1 + 2 * axes + k] = x[j], x[i]
    return slopes
