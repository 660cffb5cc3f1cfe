"""What a set of measured points says of models that are not measured: two intervals, and where it says nothing.

*If this form holds* is the interval of the preferred law for a new run: its resamples, and a residual drawn for each.

*Honest* is centre ± q s. The centre is the mean of the forms, weighted by what the points say of each. The scale s joins what
may be wrong, as independent errors: the noise of a run, the resampled error of the forms, how far the forms disagree, and
the exponent's walk of `horizon`. The factor q is such that errors of a rolling origin, in units of s, would have been inside as
often as promised. Those of the points at hand are few, so that they are joined with what such errors are like elsewhere
(`PRIOR_SCALE`). `backtest` compares outlooks with what was measured later; `forecast` adds the words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalesweep.analysis.forecast.rivals import Draws, Of, Rivals, log_loss, predict_interval, slopes
from scalesweep.arrays import FloatArray
from scalesweep.fit.criterion import robust_deviation
from scalesweep.fit.horizon import Range, walk_sd
from scalesweep.fit.results import Fit

PRIOR_SCALE, PRIOR_DEGREES = 0.7, 8.0
"""|error| / s elsewhere: this times the size of a Student's t of these degrees of freedom. In the rolling origins by parameters
over the 12 tables of docs/forecasts.md, whose errors are the largest of the three axes, the quantiles at 50, 68, 90, 95 and
98 % are .51, .74, 1.24, 1.53 and 2.28; these give .49, .74, 1.30, 1.61 and 2.03."""
PRIOR_WEIGHT = 8.0
"""Errors that the prior counts for. With 4 and 15 the coverages of docs/forecasts.md change by at most 2 points."""
_NORMAL_90 = 1.645


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
    """Weighted mean of the forms, shape (targets,)."""
    scale: FloatArray
    """Standard deviation s of what may be wrong with it, for a new run, shape (targets,)."""
    refusals: tuple[str, ...]
    """Why the points support no forecast at each target; empty where they do."""
    u: FloatArray | None = None
    """Unique tokens, shape (targets,); None: all are."""

    def form_band(self, fit: Fit, confidence: float, of: Of) -> Band:
        """The interval of one form."""
        return Band(*predict_interval(fit, self.n, self.d, Draws(confidence, of, self.rivals.seed), self.u))

    def log_loss(self, fit: Fit) -> FloatArray:
        """Log loss by one form, shape (targets,)."""
        return log_loss(fit, self.n, self.d, self.u)

    def honest(self, factor: float) -> Band:
        """The honest interval for a new run, with q = `factor`."""
        return Band(self.centre - factor * self.scale, self.centre + factor * self.scale)

    def scores(self, log_loss: FloatArray) -> FloatArray:
        """|error| / s of the centre, shape (targets,)."""
        return np.asarray(np.abs(log_loss - self.centre) / self.scale)


def look_ahead(rivals: Rivals, measured: Range, targets: tuple[ArrayLike, ArrayLike], u: FloatArray | None = None) -> Outlook:
    """Predict targets with rivals that have resamples.

    Args:
        rivals: the forms, fitted to the measured points.
        measured: the range of these points.
        targets: n and d to predict, each of shape (targets,).
        u: unique tokens among d, shape (targets,); None: all are.
    """
    n, d = (np.asarray(axis, dtype=np.float64) for axis in targets)
    weights, values = rivals.weights, rivals.log_losses(n, d, u)
    centre = weights @ values
    ends = np.array([predict_interval(fit, n, d, Draws(0.9, "mean", rivals.seed), u) for fit in rivals.theories])
    resampled = np.nan_to_num((ends[:, 1] - ends[:, 0]) / 2 / _NORMAL_90)
    # Of every form, whatever its vote: on precise points all but one are rejected, and that one may still be wrong.
    spread = np.mean((values - centre) ** 2, axis=0)
    noise = np.array([_run_noise(fit) for fit in rivals.theories])
    way = measured.way(n, d)
    walk = walk_sd(way, _slopes(rivals, n * 10.0 ** -way[0], d * 10.0 ** -way[1], u))
    variance = weights @ (noise[:, None] ** 2 + resampled**2) + spread + walk**2
    return Outlook(
        rivals=rivals,
        n=n,
        d=d,
        centre=centre,
        scale=np.sqrt(np.maximum(variance, np.finfo(np.float64).eps ** 2)),
        refusals=tuple(measured.refuse(float(x), float(y)) for x, y in zip(n, d, strict=True)),
        u=u,
    )


def calibrate(scores: Sequence[FloatArray], confidence: float) -> float:
    """The q within which the share `confidence` of errors lies, of earlier ones on these points joined with the prior's.

    Args:
        scores: |error| / s of each origin, each of shape (predictions,).
        confidence: nominal coverage, in (0, 1).
    """
    from scipy.optimize import brentq
    from scipy.special import stdtr

    own = np.concatenate([np.empty(0), *scores])
    own = own[np.isfinite(own)]

    def excess(q: float) -> float:
        prior = PRIOR_WEIGHT * (2 * float(stdtr(PRIOR_DEGREES, q / PRIOR_SCALE)) - 1)
        return (prior + float(np.sum(own <= q))) / (PRIOR_WEIGHT + len(own)) - confidence

    high = 1.0
    while excess(high) < 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-9))


def _run_noise(fit: Fit) -> float:
    """Standard deviation in log loss of one run about the form, with what the form misses inside the measured range."""
    runs = float(fit.shares.sum())
    return robust_deviation(fit.residuals, fit.shares) * math.sqrt(runs / max(runs - fit.num_free, 1.0))


def _slopes(rivals: Rivals, n: FloatArray, d: FloatArray, u: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Local exponents of the forms, weighted, each of shape (targets,)."""
    by_n, by_d = np.tensordot(rivals.weights, np.array([slopes(fit, n, d, u) for fit in rivals.theories]), 1)
    return by_n, by_d
