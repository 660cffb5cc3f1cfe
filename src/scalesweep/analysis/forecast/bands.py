"""What a set of measured points says of models that are not measured: two intervals, and where it says nothing.

*If this form holds* is the interval of the preferred law for a new run: its resamples, and a residual drawn for each.
*Honest* is, before the back-test widens it, the envelope over the forms of the same interval with the exponent's walk of
`horizon` added. `backtest` compares outlooks with what was measured later; `forecast` adds the widening and the words.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalesweep.analysis.forecast.rivals import Draws, Of, Rivals, predict_interval, slopes
from scalesweep.arrays import FloatArray
from scalesweep.fit.horizon import Range, walk_sd
from scalesweep.fit.results import Fit


@dataclass(frozen=True, eq=False)
class Band:
    """An interval of log loss at each target."""

    low: FloatArray
    """Lower ends, shape (targets,)."""
    high: FloatArray
    """Upper ends, shape (targets,)."""

    def holds(self, log_loss: FloatArray) -> NDArray[np.bool_]:
        """Whether each value, shape (targets,), lies in its interval."""
        return np.asarray((self.low <= log_loss) & (log_loss <= self.high))

    def stretched(self, centre: FloatArray, factor: float) -> "Band":
        """The band with both ends moved away from the centre by the factor."""
        return Band(centre - factor * (centre - self.low), centre + factor * (self.high - centre))


@dataclass(frozen=True, eq=False)
class Outlook:
    """Predictions at targets, in log loss."""

    rivals: Rivals
    """The forms."""
    n: FloatArray
    """Parameters, shape (targets,)."""
    d: FloatArray
    """Tokens, shape (targets,)."""
    centre: FloatArray
    """Mean of the forms, shape (targets,)."""
    honest: Band
    """Envelope of the forms with run noise and exponent walk, not yet widened by the back-test."""
    refusals: tuple[str, ...]
    """Why the points support no forecast at each target; empty where they do."""

    def form_band(self, fit: Fit, confidence: float, of: Of) -> Band:
        """The interval of one form."""
        return Band(*predict_interval(fit, self.n, self.d, Draws(confidence, of, self.rivals.seed)))

    def scores(self, log_loss: FloatArray) -> FloatArray:
        """Errors of the centre in units of the honest band's half on that side, shape (targets,): 1 is an end of the band."""
        error = log_loss - self.centre
        half = np.where(error > 0, self.honest.high - self.centre, self.centre - self.honest.low)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(error == 0, 0.0, np.abs(error) / half))


def look_ahead(rivals: Rivals, measured: Range, targets: tuple[ArrayLike, ArrayLike], confidence: float = 0.9) -> Outlook:
    """Predict targets with rivals that have resamples.

    Args:
        rivals: the forms, fitted to the measured points.
        measured: the range of these points.
        targets: n and d to predict, each of shape (targets,).
        confidence: nominal coverage.
    """
    n, d = (np.asarray(axis, dtype=np.float64) for axis in targets)
    way = measured.way(n, d)
    walk = walk_sd(way, _mean_slopes(rivals, n * 10.0 ** -way[0], d * 10.0 ** -way[1]))
    return Outlook(
        rivals=rivals,
        n=n,
        d=d,
        centre=rivals.mean_log_loss(n, d),
        honest=Band(*rivals.envelope(n, d, confidence, walk_sd=walk)),
        refusals=tuple(measured.refuse(float(x), float(y)) for x, y in zip(n, d, strict=True)),
    )


def widening(scores: FloatArray, confidence: float) -> float:
    """Factor by which honest bands are stretched so that they would have held the share `confidence` of past predictions.

    The split-conformal quantile of the scores of a rolling origin, and never below 1: past luck narrows nothing. With too few
    scores for that quantile it is their maximum.
    """
    known = np.sort(scores[np.isfinite(scores)])
    if not len(known):
        return 1.0
    rank = math.ceil((len(known) + 1) * confidence)
    return max(1.0, float(known[min(rank, len(known)) - 1]))


def _mean_slopes(rivals: Rivals, n: FloatArray, d: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Local exponents of the forms' mean, each of shape (targets,)."""
    by_n, by_d = np.array([slopes(fit, n, d) for fit in rivals.members]).mean(axis=0)
    return by_n, by_d
