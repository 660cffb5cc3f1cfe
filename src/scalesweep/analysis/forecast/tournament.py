"""The rivals side by side on the same rows: criterion, cross-validation, rolling origin, local exponents, mean and envelope.

They are ranked by what a forecast needs, the error of a rolling origin by compute; AICc ranks them where no origin exists. A
form that describes the measured range best need not extrapolate best, so that all columns are shown and the mean of the forms
with their envelope stands beside the winner.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.analysis.forecast.backtest import BackTest, back_test
from scalesweep.analysis.forecast.bands import Band
from scalesweep.analysis.forecast.rivals import (
    REPEATED,
    RIVALS,
    Rivals,
    cross_validate,
    excess_slopes,
    fit_rivals,
    folds_of,
    log_loss,
    slopes,
)
from scalesweep.arrays import FloatArray
from scalesweep.errors import SpecError
from scalesweep.fit.results import Fit
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec


@dataclass(frozen=True)
class Exponents:
    """Local exponents of one form at a point."""

    by_n: float
    """-d log L / d log N."""
    by_d: float
    """-d log L / d log D."""
    excess_by_n: float | None
    """-d log(L - E) / d log N; None for a form without a floor."""
    excess_by_d: float | None
    """-d log(L - E) / d log D."""


@dataclass(frozen=True)
class Standing:
    """One form's results. Root mean squares are of log losses: .01 is 1 %."""

    name: str
    """Its name in `laws.LAWS`."""
    equation: str
    """The form in symbols."""
    parameters: dict[str, float]
    """Estimates."""
    status: str
    """Name of the fit's status."""
    messages: tuple[str, ...]
    """Sentences that explain it."""
    residual_rms: float
    """On the rows that it was fitted to."""
    aicc: float
    """Akaike's corrected criterion; only differences mean something."""
    size_rms: float
    """On model sizes that were left out, one at a time."""
    budget_rms: float
    """On budgets that were left out: of tokens, or of compute where there are fewer of these."""
    rolling_rms: float
    """On rows above the cuts of the rolling origin; NaN without an origin."""
    loss: float
    """Nats per token at the tournament's point."""
    exponents: Exponents
    """At the tournament's point."""


@dataclass(frozen=True, eq=False)
class Tournament:
    """Rivals on the same rows, best first."""

    standings: tuple[Standing, ...]
    """Results."""
    rivals: Rivals
    """The fits."""
    tested: BackTest
    """The rolling origin by compute."""
    at: tuple[float, float]
    """N and D at which losses and exponents are given."""
    confidence: float
    """Nominal coverage of the envelope's intervals."""
    num_points: int
    """Rows."""
    source: str
    """Where they come from."""

    def mean(self, n: ArrayLike, d: ArrayLike) -> FloatArray:
        """Loss by the mean (of logarithms) of the forms that fall at n, d of shape (targets,), nats per token."""
        return np.asarray(np.exp(self.rivals.mean_log_loss(_vector(n), _vector(d))))

    def envelope(self, n: ArrayLike, d: ArrayLike) -> Band:
        """Union of the forms' intervals for the mean loss at n, d of shape (targets,), in nats per token."""
        low, high = self.rivals.envelope(_vector(n), _vector(d), self.confidence)
        return Band(np.exp(low), np.exp(high))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "standings": [_finite(asdict(standing)) for standing in self.standings],
            "refusals": {name: refused.reason for name, refused in self.rivals.refusals.items()},
            "rolling_origin": self.tested.to_dict(),
            "at": {"n": self.at[0], "d": self.at[1], "mean": float(self.mean(*self.at)[0])},
            "num_points": self.num_points,
            "source": self.source,
        }


def run_tournament(
    points: Points, spec: FitSpec, forms: Sequence[str] | None = None, at: tuple[float, float] | None = None
) -> Tournament:
    """Fit every form to the used rows, and rank them.

    Args:
        points: measured rows.
        spec: estimation, resamples and confidence; at least one resample.
        forms: names in `laws.LAWS`; by default `RIVALS`, or the laws of repeated data where `fit.law` asks for them.
        at: N and D of the local exponents; by default those of the measured row of the most compute.

    Raises:
        SpecError: no resamples.
        FitError: no form can be fitted to these points.
    """
    if spec.bootstrap < 1:
        raise SpecError("fit.bootstrap: 0 resamples give no envelope; a tournament needs at least 1.")
    rows = Rows.of(points)
    forms = forms or (REPEATED if spec.law == "repeated" else RIVALS)
    rivals = fit_rivals(rows, spec, forms)
    tested = back_test(points, spec, forms=forms)
    largest = int(np.argmax(rows.n * rows.d))
    place = at or (float(rows.n[largest]), float(rows.d[largest]))
    standings = [_standing(fit, rows, tested, place) for fit in rivals.members]
    return Tournament(
        standings=tuple(sorted(standings, key=_rank)),
        rivals=rivals,
        tested=tested,
        at=place,
        confidence=spec.confidence,
        num_points=len(rows),
        source=points.source,
    )


def _standing(fit: Fit, rows: Rows, tested: BackTest, at: tuple[float, float]) -> Standing:
    budgets = min((folds_of(rows.d), folds_of(rows.n * rows.d)), key=lambda fold: int(fold.max()))
    by_n, by_d = slopes(fit, *at)
    excess = excess_slopes(fit, *at)
    law = fit.law
    return Standing(
        name=law.name,
        equation=law.equation,
        parameters=dict(zip(law.parameters, law.theta, strict=True)),
        status=fit.status.name.lower(),
        messages=fit.messages,
        residual_rms=fit.residual_rms,
        aicc=fit.aicc,
        size_rms=cross_validate(fit, rows, folds_of(rows.n)),
        budget_rms=cross_validate(fit, rows, budgets),
        rolling_rms=tested.score_of(law.name),
        loss=float(np.exp(log_loss(fit, *at))),
        exponents=Exponents(float(by_n), float(by_d), *(excess or (None, None))),
    )


def _rank(standing: Standing) -> tuple[float, float]:
    return (standing.rolling_rms if math.isfinite(standing.rolling_rms) else 0.0, standing.aicc)


def _vector(values: ArrayLike) -> FloatArray:
    return np.atleast_1d(np.asarray(values, dtype=np.float64))


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinity; they become null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
