"""Laws as the estimator sees them: log L and its derivatives in closed form, for sums of powers and for coupled powers."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np

from scalesweep.arrays import FloatArray, IntArray
from scalesweep.laws.base import MAX_EXPONENT, VANISHING
from scalesweep.laws.joint import FLAT


@dataclass(frozen=True, eq=False)
class Expansion:
    """A law and its derivatives at a batch of parameters."""

    log_loss: FloatArray
    """Log L_predicted, shape (problems, rows)."""
    jacobian: FloatArray
    """d log L / d theta, shape (problems, rows, P)."""
    curvature: Callable[[FloatArray], FloatArray]
    """From row factors f, shape (problems, rows), to the sum over rows of f (d2m / d theta2 + dm dm^T), shape (problems, P, P).

    m is what is compared with y: for m = log L this is f (d2L / d theta2) / L.
    """


class Problem(Protocol):
    """One data set and the form of a law."""

    @property
    def y(self) -> FloatArray:
        """Logarithm of the loss, up to a constant, shape (rows,)."""

    @property
    def lower(self) -> FloatArray:
        """Lower bounds of theta, shape (P,)."""

    @property
    def upper(self) -> FloatArray:
        """Upper bounds of theta, shape (P,); a parameter with equal bounds is fixed."""

    def with_y(self, y: FloatArray) -> Self:
        """The same form and points with other losses, as their logarithms, shape (rows,)."""

    def log_loss(self, theta: FloatArray) -> FloatArray:
        """Log L_predicted, shape (problems, rows), for theta of shape (problems, P)."""

    def expand(self, theta: FloatArray) -> Expansion:
        """The law and its derivatives at theta."""


@dataclass(frozen=True, eq=False)
class SumOfPowers:
    """log L = log sum_k c_k exp(-s_k x_k); theta = (c_1..c_K, and s_k of each term that has an exponent)."""

    x: FloatArray
    """Logarithms of the terms' variables over their smallest values, shape (rows, K); a column of zeros is a constant term."""
    y: FloatArray
    """Logarithm of the loss, up to a constant, shape (rows,)."""

    @cached_property
    def powers(self) -> IntArray:
        """Positions of the terms that have an exponent, shape (S,)."""
        return np.flatnonzero(np.any(self.x != 0, axis=0))

    @cached_property
    def lower(self) -> FloatArray:
        """Lower bounds of theta, shape (K + S,)."""
        return np.zeros(self.x.shape[1] + len(self.powers))

    @cached_property
    def upper(self) -> FloatArray:
        """Upper bounds of theta, shape (K + S,)."""
        return np.repeat([np.inf, MAX_EXPONENT], [self.x.shape[1], len(self.powers)])

    def with_y(self, y: FloatArray) -> Self:
        """The same form and points with other y."""
        return replace(self, y=y)

    def _basis(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Powers exp(-s_k x_k), shape (problems, rows, K), and coefficients, shape (problems, K)."""
        num_terms = self.x.shape[1]
        basis = np.ones((len(theta), *self.x.shape))
        basis[:, :, self.powers] = np.exp(-theta[:, None, num_terms:] * self.x[:, self.powers])
        return basis, theta[:, :num_terms]

    def log_loss(self, theta: FloatArray) -> FloatArray:
        """Log L_predicted, shape (problems, rows); minus infinity where all terms vanish."""
        basis, coefficients = self._basis(theta)
        return np.asarray(np.log((basis @ coefficients[:, :, None])[:, :, 0]))

    def expand(self, theta: FloatArray) -> Expansion:
        """The law and its derivatives at theta."""
        basis, coefficients = self._basis(theta)
        total = basis @ coefficients[:, :, None]
        by_coefficient = basis / total
        x = self.x[:, self.powers]
        by_exponent = -x * by_coefficient[:, :, self.powers] * coefficients[:, None, self.powers]

        def curvature(factor: FloatArray) -> FloatArray:
            size = len(self.lower)
            c, s = self.powers, np.arange(self.x.shape[1], size)
            result = np.zeros((len(theta), size, size))
            result[:, c, s] = result[:, s, c] = np.einsum("bn,nk,bnk->bk", factor, -x, by_coefficient[:, :, self.powers])
            result[:, s, s] = np.einsum("bn,nk,bnk->bk", factor, -x, by_exponent)
            return result

        return Expansion(np.log(total[:, :, 0]), np.concatenate([by_coefficient, by_exponent], axis=2), curvature)

    def without_flat_terms(self, theta: FloatArray) -> FloatArray:
        """Theta with each term that does not change in the measured range added to the first, constant one."""
        theta, num_terms = theta.copy(), self.x.shape[1]
        for k, s in zip(self.powers, range(num_terms, len(self.lower)), strict=True):
            flat = -theta[:, k] * np.expm1(-theta[:, s] * self.x[:, k].max()) < FLAT
            theta[flat, 0] += theta[flat, k]
            theta[flat, k] = 0.0
        return theta


@dataclass(frozen=True, eq=False)
class CoupledPowers:
    """log L = log(E + T), T = (u^(1/kappa) + v^(1/kappa))^kappa with log u = a - alpha x_1 and log v = b - beta x_2.

    theta = (E, a, b, alpha, beta, kappa). With the shares p, 1 - p of u^(1/kappa) and v^(1/kappa) in their sum, log T has the
    derivatives p and 1 - p by log u and log v, and the entropy of the shares by kappa, which makes all second ones short.
    """

    x: FloatArray
    """Logarithms of N and D over their smallest values, shape (rows, 2)."""
    y: FloatArray
    """Logarithm of the loss, up to a constant, shape (rows,)."""
    kappa: tuple[float, float]
    """Bounds of kappa."""

    @property
    def lower(self) -> FloatArray:
        """Lower bounds of theta, shape (6,)."""
        return np.array([0.0, math.log(VANISHING), math.log(VANISHING), 0.0, 0.0, self.kappa[0]])

    @property
    def upper(self) -> FloatArray:
        """Upper bounds of theta, shape (6,)."""
        return np.array([np.inf, np.inf, np.inf, MAX_EXPONENT, MAX_EXPONENT, self.kappa[1]])

    def with_y(self, y: FloatArray) -> Self:
        """The same form and points with other y."""
        return replace(self, y=y)

    def log_loss(self, theta: FloatArray) -> FloatArray:
        """Log L_predicted, shape (problems, rows)."""
        return np.asarray(np.log(theta[:, :1] + np.exp(self._coupled(theta)[0])))

    def _coupled(self, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Log T, the share p of u, and log u - log v, each of shape (problems, rows)."""
        _, a, b, alpha, beta, kappa = theta.T[:, :, None]
        log_u, log_v = a - alpha * self.x[:, 0], b - beta * self.x[:, 1]
        gap = log_u - log_v
        log_t = np.maximum(log_u, log_v) + kappa * np.log1p(np.exp(-np.abs(gap) / kappa))
        return log_t, 1 / (1 + np.exp(np.clip(-gap / kappa, -700, 700))), gap

    def expand(self, theta: FloatArray) -> Expansion:
        """The law and its derivatives at theta."""
        log_t, p, gap = self._coupled(theta)
        kappa = theta[:, 5, None]
        t = np.exp(log_t)
        loss = theta[:, :1] + t
        q = 1 - p
        entropy = np.logaddexp(0, -gap / kappa) * p + np.logaddexp(0, gap / kappa) * q
        x1, x2 = self.x.T
        of_t = np.stack([p, q, -x1 * p, -x2 * q, entropy], axis=2)
        jacobian = np.concatenate([1 / loss[:, :, None], (t / loss)[:, :, None] * of_t], axis=2)
        # The share p moves by p q / kappa times d gap - (gap / kappa) d kappa, and all second derivatives of log T are
        # products of that direction with itself.
        ones = np.ones_like(p)
        move = np.stack([ones, -ones, -x1 * ones, x2 * ones, -gap / kappa], axis=2)

        def curvature(factor: FloatArray) -> FloatArray:
            share = factor * t / loss
            result = np.zeros((len(theta), 6, 6))
            result[:, 1:, 1:] = (of_t * share[:, :, None]).swapaxes(1, 2) @ of_t
            result[:, 1:, 1:] += (move * (share * p * q / kappa)[:, :, None]).swapaxes(1, 2) @ move
            return result

        return Expansion(np.log(loss), jacobian, curvature)
