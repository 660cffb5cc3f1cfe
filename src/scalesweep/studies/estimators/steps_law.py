"""L(N, S_min), the loss of models trained for so many steps at a very large batch: Kaplan et al. 2020, eq. (1.6)."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import least_squares, nnls

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.laws.batch import KAPLAN_STEPS, StepsLaw
from scalesweep.studies.estimators.critical_batch import Size

_STARTS = (0.3, KAPLAN_STEPS.beta)
"""Of the exponent of S_min, of which the lower minimum counts."""


def fit_steps_law(sizes: Sequence[Size]) -> tuple[StepsLaw, FloatArray]:
    """L(N, S_min) of Kaplan et al. 2020, eq. (1.6), through all runs, each at its S_min.

    The two exponents are sought and the coefficients, in which the law is linear, solved for; `fit_form`, which takes any law,
    needs seconds.

    Returns:
        The law, and residuals of L over the standard deviation of each for noise of variance 1, shape (runs,).

    Raises:
        FitError: fewer than two sizes or five runs.
    """
    n = np.concatenate([np.full(len(one.cells.d), one.n) for one in sizes])
    if len(sizes) < 2 or len(n) < 5:
        raise FitError("L(N, S_min) has four parameters: it takes two sizes and five runs.")
    steps = np.exp(np.concatenate([one.curve.log_steps(one.cells) for one in sizes]))
    loss = np.exp(np.concatenate([one.cells.log_loss for one in sizes]))
    sd = loss * np.sqrt(np.concatenate([one.cells.variance for one in sizes]))

    def solved(exponents: FloatArray) -> tuple[FloatArray, FloatArray]:
        design = np.column_stack([n ** -exponents[0], steps ** -exponents[1]]) / sd[:, None]
        coefficients, _ = nnls(design, loss / sd)
        return coefficients, design @ coefficients - loss / sd

    def residuals(exponents: FloatArray) -> FloatArray:
        return solved(exponents)[1]

    starts = [np.array([KAPLAN_STEPS.alpha, beta]) for beta in _STARTS]
    found = [least_squares(residuals, start, bounds=([1e-3] * 2, [5.0] * 2)) for start in starts]
    best = min(found, key=lambda one: one.cost).x
    (a, b), left = solved(best)
    return StepsLaw(float(a), float(b), float(best[0]), float(best[1])), np.asarray(left)
