"""Kaplan's laws of one variable: straight lines in log-log through the points where that variable is the bottleneck."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalesweep.config import FitSpec
from scalesweep.fit.design import MIN_LEVELS, count_levels, is_largest
from scalesweep.fit.results import FitStatus, LawFit, estimate, is_wide
from scalesweep.laws import PowerLaw, Variable

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FEW_POINTS = 6
"""Below this a pairs bootstrap has too few different resamples for its interval to be trusted."""
_NOUNS: dict[Variable, str] = {"N": "model sizes", "D": "token budgets", "C": "compute levels"}


@dataclass(frozen=True, eq=False)
class Selection:
    """The rows that a law of one variable is fitted to."""

    rows: IntArray
    """Their positions."""
    words: str
    """Which they are."""
    caveat: str = ""
    """A sentence on what the choice does to the law; empty where it is the ideal one."""


def select_bottleneck(x: FloatArray, other: FloatArray, loss: FloatArray, names: tuple[str, str]) -> Selection:
    """Rows on which x limits the loss: those at the largest value of the other variable, or else the lower envelope.

    The envelope stands in where a design, such as rays or isoFLOP, has no largest budget that several sizes share. `names`
    are the words for x and for the other variable.
    """
    top = np.flatnonzero(is_largest(other))
    if count_levels(x[top]) >= MIN_LEVELS:
        return Selection(top, f"points at the largest {names[1]}")
    return Selection(
        select_envelope(x, loss),
        f"lower envelope: points that no smaller {names[0]} beats",
        f"The {names[1]} changes along these points, so the exponent mixes both effects.",
    )


def select_frontier(c: FloatArray, loss: FloatArray) -> Selection:
    """Rows on the compute frontier."""
    return Selection(select_envelope(c, loss), "compute frontier: points that no cheaper point beats")


def select_envelope(x: FloatArray, loss: FloatArray) -> IntArray:
    """Positions of the rows that have a lower loss than all rows of smaller or equal x."""
    order = np.lexsort((loss, x))
    best_before = np.concatenate([[np.inf], np.minimum.accumulate(loss[order])[:-1]])
    return np.asarray(order[loss[order] < best_before])


def fit_line(x: FloatArray, loss: FloatArray, selection: Selection, variable: Variable, spec: FitSpec) -> LawFit | str:
    """The power law of `loss` in `x` on the selected rows by least squares in log-log, or why there is none, in words."""
    rows = selection.rows
    levels = count_levels(x[rows])
    if levels < MIN_LEVELS:
        return f"A law in {variable} needs at least {MIN_LEVELS} {_NOUNS[variable]}, but has {levels} ({selection.words})."
    log_x, log_loss = np.log(x[rows]), np.log(loss[rows])
    value, residual = _least_squares(log_x, log_loss, np.ones((1, len(rows))))
    if not value[0, 1] > 0:
        return f"The loss does not fall with {variable} ({selection.words}), so there is no power law in {variable}."
    samples = _bootstrap(log_x, log_loss, spec)
    with np.errstate(over="ignore"):
        scales = np.where(samples[:, 1] > 0, np.exp(samples[:, 0]), np.inf)
    law = PowerLaw(float(value[0, 0]), float(value[0, 1]), variable)
    exponent = estimate(law.exponent, samples[:, 1], spec.confidence)
    messages = [f"Only {len(rows)} points: the interval is a rough guide."] if len(rows) < FEW_POINTS else []
    if is_wide(exponent):
        messages.append("The interval of the exponent spans more than a factor of 2.")
    status = FitStatus.WEAK if messages else FitStatus.IDENTIFIED if len(samples) else FitStatus.UNKNOWN
    return LawFit(
        law=law,
        estimates={"exponent": exponent, "scale": estimate(law.scale, scales, spec.confidence)},
        status=status,
        messages=(*messages, *([selection.caveat] if selection.caveat else [])),
        objective="sum of squares of log L - log L_predicted",
        objective_value=float(np.sum(residual**2)),
        huber_delta=None,
        residual_rms=float(np.sqrt(np.mean(residual**2))),
        rows=tuple(int(row) for row in rows),
        selection=selection.words,
        confidence=spec.confidence,
        samples=samples,
    )


def _bootstrap(log_x: FloatArray, log_loss: FloatArray, spec: FitSpec) -> FloatArray:
    """(log scale, exponent) of each resample that has at least two different x, shape (at most bootstrap, 2)."""
    rng = np.random.default_rng(spec.seed)
    weights = rng.multinomial(len(log_x), np.full(len(log_x), 1 / len(log_x)), size=spec.bootstrap).astype(np.float64)
    spread = weights @ log_x**2 - (weights @ log_x) ** 2 / len(log_x)
    samples, _ = _least_squares(log_x, log_loss, weights[spread > 1e-9])
    return np.asarray(samples[samples[:, 1] != 0])


def _least_squares(log_x: FloatArray, log_loss: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(log scale, exponent) of the weighted lines, shape (problems, 2), and the residuals of the first, shape (rows,)."""
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = weights @ log_x[:, None] / total, weights @ log_loss[:, None] / total
    x, y = log_x - mean_x, log_loss - mean_y
    exponent = -np.sum(weights * x * y, axis=1) / np.sum(weights * x**2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_scale = mean_x[:, 0] + mean_y[:, 0] / exponent
    residual = (y + exponent[:, None] * x)[:1].ravel()
    return np.stack([log_scale, exponent], axis=1), residual
