"""What measured and planned rows tell of a law, by the linear approximation that designs are compared with: errors of log L are
independent and normal, and the law is linear near its estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.fit.intervals import inflated_residuals
from scalesweep.fit.results import Fit
from scalesweep.fit.solve.objectives import robust_scale
from scalesweep.laws import JointLaw


@dataclass(frozen=True, eq=False)
class Information:
    """What rows tell of a law, for each of several estimates of it; derivatives are of log L."""

    laws: Sequence[JointLaw]
    """The estimates."""
    noise_sd: float
    """Standard deviation of log loss."""
    matrices: FloatArray
    """Information matrices of the measured rows, shape (laws, P, P)."""
    target: FloatArray
    """Derivatives at the target, shape (laws, P)."""

    @classmethod
    def of(cls, fit: Fit, n: FloatArray, d: FloatArray, target: tuple[float, float], laws: Sequence[JointLaw]) -> "Information":
        """What measured rows of n parameters and d tokens, each of shape (rows,), tell of the loss at the target's N and D.

        Their noise is that of the fit's residuals.
        """
        sd = max(robust_scale(inflated_residuals(fit), 0), 1e-6)
        rows = np.stack([log_derivatives(law, n, d) for law in laws]) / sd
        at = np.stack([log_derivatives(law, np.array([target[0]]), np.array([target[1]]))[0] for law in laws])
        return cls(laws, sd, rows.swapaxes(1, 2) @ rows, at)

    def rows(self, n: FloatArray, d: FloatArray) -> FloatArray:
        """Derivatives at n, d of shape (rows,), in units of the noise, shape (laws, rows, P)."""
        return np.stack([log_derivatives(law, n, d) for law in self.laws]) / self.noise_sd

    def variance(self, rows: FloatArray) -> float:
        """Mean variance of the predicted log loss at the target after rows of shape (laws, rows, P)."""
        inverse = _invert(self.matrices + rows.swapaxes(1, 2) @ rows)
        return float(np.mean(np.einsum("kp,kpq,kq->k", self.target, inverse, self.target)))

    def gains(self, rows: FloatArray, candidates: FloatArray) -> FloatArray:
        """By how much one further candidate, shape (laws, candidates, P), lowers that variance, shape (candidates,)."""
        inverse = _invert(self.matrices + rows.swapaxes(1, 2) @ rows)
        spread = candidates @ inverse
        cross = np.einsum("kcp,kp->kc", spread, self.target)
        return np.asarray(np.mean(cross**2 / (1 + np.sum(spread * candidates, axis=2)), axis=0))


def log_derivatives(law: JointLaw, n: FloatArray, d: FloatArray) -> FloatArray:
    """Derivatives of log L by the logarithms of the parameters, shape (rows, P): of one size, unlike the parameters."""
    return np.asarray(law.gradient(n, d) * np.array(law.theta) / law.predict(n, d)[:, None])


def _invert(matrices: FloatArray) -> FloatArray:
    """Inverses of information matrices, in units of a unit diagonal; directions without information have none."""
    size = np.sqrt(np.einsum("kpp->kp", matrices))
    size = np.where(size > 0, size, 1.0)
    scaled = matrices / (size[:, :, None] * size[:, None, :])
    return np.asarray(np.linalg.pinv(scaled, rcond=1e-14, hermitian=True) / (size[:, :, None] * size[:, None, :]))
