"""Rival laws in closed form: Kaplan's with a floor, as the coupled law with kappa = beta, and the quadratic in logs.

An expansion costs one evaluation instead of one and two more a parameter, which `problems.FormProblem` needs for second
derivatives: on 240 points a resample's refit takes a fifth of the time (Kaplan's) and a third (the quadratic).
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.fit.solve.powers import CoupledPowers, Expansion

_KAPPA, _BETA = 5, 4
"""Places of kappa and beta among the parameters of `CoupledPowers`."""


@dataclass(frozen=True, eq=False)
class TiedPowers:
    """`CoupledPowers` with kappa = beta; theta = (E, a, b, alpha, beta). Kaplan et al. 2020, eq. (1.5), with a floor.

    theta enters the coupled law linearly, so that derivatives by beta are sums of those by beta and by kappa.
    """

    coupled: CoupledPowers
    """The law with its points."""
    lower: FloatArray
    """Lower bounds of theta, shape (5,)."""
    upper: FloatArray
    """Upper bounds of theta, shape (5,)."""

    @property
    def y(self) -> FloatArray:
        """Logarithm of the loss, up to a constant, shape (rows,)."""
        return self.coupled.y

    def with_y(self, y: FloatArray) -> Self:
        """The same form and points with other y."""
        return replace(self, coupled=self.coupled.with_y(y))

    def log_loss(self, theta: FloatArray) -> FloatArray:
        """Log L_predicted, shape (problems, rows)."""
        return self.coupled.log_loss(_with_kappa(theta))

    def expand(self, theta: FloatArray) -> Expansion:
        """The law and its derivatives at theta."""
        at = self.coupled.expand(_with_kappa(theta))
        jacobian = at.jacobian[:, :, :_KAPPA].copy()
        jacobian[:, :, _BETA] += at.jacobian[:, :, _KAPPA]

        def curvature(factor: FloatArray) -> FloatArray:
            whole = at.curvature(factor)
            result = whole[:, :_KAPPA, :_KAPPA].copy()
            result[:, _BETA, :] += whole[:, _KAPPA, :_KAPPA]
            result[:, :, _BETA] += whole[:, :_KAPPA, _KAPPA]
            result[:, _BETA, _BETA] += whole[:, _KAPPA, _KAPPA]
            return result

        return Expansion(at.log_loss, jacobian, curvature)


@dataclass(frozen=True, eq=False)
class LinearLog:
    """log L = sum_k theta_k b_k: a law whose parameters enter log L linearly."""

    basis: FloatArray
    """b, shape (rows, P)."""
    y: FloatArray
    """Logarithm of the loss, up to a constant, shape (rows,)."""
    lower: FloatArray
    """Lower bounds of theta, shape (P,)."""
    upper: FloatArray
    """Upper bounds of theta, shape (P,)."""

    def with_y(self, y: FloatArray) -> Self:
        """The same form and points with other y."""
        return replace(self, y=y)

    def log_loss(self, theta: FloatArray) -> FloatArray:
        """Log L_predicted, shape (problems, rows)."""
        return np.asarray(theta @ self.basis.T)

    def expand(self, theta: FloatArray) -> Expansion:
        """The law and its derivatives at theta; log L has no second ones."""
        jacobian = np.broadcast_to(self.basis, (len(theta), *self.basis.shape))
        return Expansion(self.log_loss(theta), jacobian, lambda factor: (self.basis.T * factor[:, None, :]) @ self.basis)


def _with_kappa(theta: FloatArray) -> FloatArray:
    return np.concatenate([theta, theta[:, _BETA:]], axis=1)
