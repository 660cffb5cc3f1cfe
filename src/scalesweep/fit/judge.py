"""The verdict on a minimum: how far the points determine the law, and why."""

import math
from collections.abc import Mapping

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.fit.estimates import COEFFICIENTS, Estimate, is_wide
from scalesweep.fit.intervals import Resampled
from scalesweep.fit.pose import Posed
from scalesweep.fit.results import Search, Status
from scalesweep.fit.solve.objectives import Descent
from scalesweep.laws import JointLaw, Law
from scalesweep.laws.base import VANISHING
from scalesweep.laws.joint import FLAT
from scalesweep.points.rows import Rows

MAX_CONDITION = 1e8
"""Condition number above which some combination of parameters is called undetermined."""
MAX_LOST = 0.02
"""Share of resamples without a minimum that moves no end of an interval by more than the resampling does."""
SAME_VALUE = 1e-6
"""Relative difference of two minima that count as one."""


def look_back(posed: Posed, descent: Descent) -> Search:
    """How the best minimum was found, and where it lies."""
    theta, value = posed.settled(descent.minima.theta[:1]), descent.minima.value
    return Search(
        converged=bool(descent.minima.converged[0]),
        num_starts=len(value),
        num_agreeing=int(np.sum(value <= value[0] * (1 + SAME_VALUE) + 1e-15)),
        at_bound=_at_bounds(posed, theta[0]),
        condition=_condition(posed, theta),
    )


def judge(
    law: Law, search: Search, estimates: Mapping[str, Estimate], resampled: Resampled | None = None
) -> tuple[Status, tuple[str, ...]]:
    """Status and its reasons."""
    wide = [name for name in ("alpha", "beta", "E") if name in estimates and is_wide(estimates[name].interval)]
    messages = [f"{', '.join(search.at_bound)} at the bound."] if search.at_bound else []
    messages += [f"{name} means nothing, because {COEFFICIENTS[name]} is zero." for name in meaningless(law)]
    if wide:
        messages.append(f"The interval of {' and of '.join(wide)} spans more than a factor of 2.")
    if not search.converged:
        messages.append("The minimiser did not meet its gradient test.")
    if search.num_agreeing == 1 and search.num_starts > 1:
        messages.append(f"No second start of {search.num_starts} reached the same minimum, so it may not be the global one.")
    if search.condition > MAX_CONDITION:
        messages.append(f"The points do not tell some parameters apart (condition number {search.condition:.1g}).")
    if resampled and resampled.num_lost > MAX_LOST * resampled.num:
        messages.append(f"{resampled.num_lost} of {resampled.num} resamples did not meet the gradient test.")
    if search.at_bound:
        return Status.AT_BOUND, tuple(messages)
    if messages:
        return Status.WEAK, tuple(messages)
    return (Status.IDENTIFIED if any(found.interval for found in estimates.values()) else Status.UNKNOWN), ()


def judge_scatter(law: Law, rows: Rows, residuals: FloatArray) -> str:
    """A sentence where single runs scatter by more than twice the compute moves the loss; empty where they do not.

    That is the yardstick because a run then cannot be told from one of twice its compute, however many rows make the intervals
    narrow. Residuals and that fall in the middle of the points: of chinchilla's 0.7 and 3.5 %, gadre's 2.2 and 4.4 %, porian's,
    of which many were not tuned, 5.9 and 6.8 %; of muennighoff's, many of them with repeated text, 24 and 4.0 %.
    """
    n, d = (float(np.exp(np.log(column).mean())) for column in (rows.n, rows.d))
    fall = float(np.log(law.predict(n, d)) - np.log(law.predict(n * math.sqrt(2), d * math.sqrt(2))))
    rms = float(np.sqrt(np.mean(residuals**2)))
    if rms <= fall:
        return ""
    return f"The residuals, {rms:.1%} rms, are larger than what twice the compute takes off the loss, {fall:.1%}."


def meaningless(law: Law) -> list[str]:
    """Exponents of terms that are zero."""
    return [name for name, factor in COEFFICIENTS.items() if isinstance(law, JointLaw) and getattr(law, factor) <= 0]


def _at_bounds(posed: Posed, theta: FloatArray) -> tuple[str, ...]:
    """Parameters at a bound, as name = value, without those that the form or the user fixes.

    The value of a parameter that mixes units is in the solver's.
    """
    frame, found = posed.frame, []
    for i, (name, spec) in enumerate(frame.form.parameters.items()):
        at_lower, at_upper = theta[i] <= frame.lower[i] + FLAT, theta[i] >= frame.upper[i]
        if at_lower != at_upper:
            bound = spec.lower if at_lower else spec.upper
            unit = posed.loss_unit if spec.kind == "loss" else 1.0
            found.append(f"{name} = {0.0 if abs(bound) <= VANISHING else bound * unit:g}")
    return tuple(found)


def _condition(posed: Posed, theta: FloatArray) -> float:
    """Condition number of J^T J with a unit diagonal, infinite where a free parameter moves nothing.

    The exponent of a term that is zero is left out, because it is no parameter there.
    """
    frame = posed.frame
    free = (frame.lower < theta[0]) & (theta[0] < frame.upper)
    free[[posed.position(name) for name in meaningless(posed.laws(theta)[0])]] = False
    jacobian = posed.problem.expand(theta).jacobian[0][:, free]
    size = np.sqrt(np.sum(jacobian**2, axis=0))
    if not np.all(np.isfinite(size)) or np.any(size == 0):
        return math.inf
    values = np.linalg.eigvalsh((jacobian / size).T @ (jacobian / size))
    return float(values[-1] / values[0]) if values[0] > 0 else math.inf
