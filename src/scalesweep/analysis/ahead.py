"""What a reader asks of a law first: what doubling brings, the best model at two computes, and the loss to expect there.

The two computes are the largest measured one and the farthest that the points support (`support`); beyond it nothing is said.
"""

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scalesweep.analysis.allocation.approaches import Approaches
from scalesweep.analysis.forecast.dated import Forecast
from scalesweep.analysis.forecast.forecast import forecast
from scalesweep.analysis.forecast.tournament import Tournament
from scalesweep.analysis.support import Support
from scalesweep.errors import FitError, Refused, SpecError
from scalesweep.fit.estimates import Estimate, estimate, join
from scalesweep.fit.results import Fit
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.laws import JointLaw, Law
from scalesweep.points.points import Points
from scalesweep.settings.fit import FitSpec

_NEAR = 1e-6
"""Relative distance that is kept from the end of the support, where rounding would decide."""


@dataclass(frozen=True)
class Doubling:
    """How much of the loss twice as much takes off, at one model."""

    n: float
    """That model: the geometric middle of the points."""
    d: float
    loss: float
    """There, by the law."""
    by_n: Estimate
    """Twice the parameters, equal tokens."""
    by_d: Estimate
    """Twice the tokens, equal parameters."""
    by_c: Estimate | None
    """From the best model of this compute to the best of twice as much; None where the law has no optimum there."""


@dataclass(frozen=True)
class Best:
    """The compute-optimal model of one compute, and its loss."""

    c: float
    """Training FLOPs as the points count them."""
    n: Estimate | None
    """Parameters by the preferred law; None where nothing is said of them."""
    d: Estimate | None
    loss: Forecast | Refused
    """The forecast, as of `scalesweep forecast`, with fewer resamples."""


@dataclass(frozen=True)
class Ahead:
    """The three answers, each with what it cannot say."""

    doubling: Doubling | Refused
    best: tuple[Best, ...]
    """At the largest measured compute and, where the points support more, at the farthest; empty where `refusal` says why."""
    refusal: str = ""
    """Why there is no best model, in a sentence; losses along the points may still be in `best`."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        doubling = self.doubling
        return {
            "doubling": None if isinstance(doubling, Refused) else _content(doubling),
            "doubling_refusal": doubling.reason if isinstance(doubling, Refused) else "",
            "best": [_content(best) for best in self.best],
            "best_refusal": self.refusal,
        }


NOT_ASKED = Ahead(Refused("It was not asked for."), (), "It was not asked for.")
"""Of an analysis that was put together without."""


def look_ahead(
    points: Points, fit: SweepFit, approaches: Approaches, tournament: Tournament | Refused, support: Support, spec: FitSpec
) -> Ahead:
    """The three answers of a table of points; `spec` has the resamples of its forecasts."""
    best = fit.preferred
    if fit.compute.is_contradiction:
        return Ahead(Refused(fit.compute.withheld), (), fit.compute.withheld)
    if best is None or not isinstance(best.law, JointLaw):
        return Ahead(Refused(f"There is no joint law. {fit.refusal}"), _along(points, support, spec), fit.refusal.reason)
    refusal = _no_optimum(best, support)
    largest, name = largest_of(points, fit), "law" if fit.preferred_name == "joint" else fit.preferred_name
    row = next((row for row in approaches.rows if row.name == name), None)
    found = []
    for c in [] if refusal else [largest, largest * support.reach]:
        six = fit.compute.as_six(c * (1 - _NEAR))
        at = float(best.law.n_opt(six)), float(best.law.d_opt(six))
        n, d = (row.n_opt(c), row.d_opt(c)) if row else (None, None)
        found.append(Best(c, n, d, _forecast(points, spec, tournament, at=at)))
    return Ahead(_doubling(points, best), tuple(found), refusal)


def largest_of(points: Points, fit: SweepFit) -> float:
    """The largest measured compute: k N D, as a law of N and D takes it, or C as it is counted where there is no such law."""
    return (
        float(points.c.max())
        if points.is_partial or fit.preferred is None
        else fit.compute.k * float(np.max(points.n * points.d))
    )


def _no_optimum(best: Fit, support: Support) -> str:
    """Why nothing is said of the best model, in a sentence; empty where something is."""
    if best.hides_optimum:
        return "A parameter of the law lies at its bound, so the points do not show the best size."
    return "" if support.factor is not None else support.limit


def _along(points: Points, support: Support, spec: FitSpec) -> tuple[Best, ...]:
    """The loss at the farthest supported compute by L(C), where that is all there is."""
    if support.factor is None or not spec.bootstrap:
        return ()
    # Along a ray the forecast takes 6 N D, whatever the rows count.
    largest = float(points.c.max() if points.is_partial else 6 * np.max(points.n * points.d))
    made = _forecast(points, spec, Refused("none"), compute=largest * support.reach * (1 - _NEAR))
    return () if isinstance(made, Refused) else (Best(float(points.c.max()) * support.reach, None, None, made),)


def _forecast(
    points: Points,
    spec: FitSpec,
    tournament: Tournament | Refused,
    at: tuple[float, float] | None = None,
    compute: float | None = None,
) -> Forecast | Refused:
    known = {} if isinstance(tournament, Refused) else {"tested": tournament.tested, "rivals": tournament.rivals}
    if at is not None and not known:
        return Refused(str(tournament))
    try:
        return forecast(points, spec, at=at, compute=compute, **known)  # type: ignore[arg-type]
    except (FitError, SpecError) as error:
        return Refused(str(error))


def _doubling(points: Points, best: Fit) -> Doubling:
    law = best.law
    n, d = (float(np.exp(np.log(column).mean())) for column in (points.n, points.d))

    def of(gain: Callable[[Law], float]) -> Estimate:
        sets = [best.resampled_laws(samples) for samples in (best.samples, best.cluster_samples) if len(samples)]
        centre = gain(law)
        parts = [estimate(centre, np.array([gain(one) for one in laws]), best.confidence) for laws in sets]
        return functools.reduce(join, parts, Estimate(centre))

    has_optimum = isinstance(law, JointLaw) and law.has_optimum
    return Doubling(
        n,
        d,
        float(law.predict(n, d)),
        of(lambda one: float(one.predict(n, d) - one.predict(2 * n, d))),
        of(lambda one: float(one.predict(n, d) - one.predict(n, 2 * d))),
        of(lambda one: _doubled_compute(one, 6 * n * d)) if has_optimum else None,
    )


def _doubled_compute(law: Law, six: float) -> float:
    """What twice the compute takes off the loss of the best model; NaN where the law has none."""
    if not isinstance(law, JointLaw) or not law.has_optimum:
        return float("nan")
    here, there = (float(law.predict(law.n_opt(c), law.d_opt(c))) for c in (six, 2 * six))
    return here - there


def _content(value: Doubling | Best) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, part in vars(value).items():
        if isinstance(part, Estimate):
            found[name] = part.to_dict()
        elif isinstance(part, Refused):
            found[name] = {"refusal": part.reason}
        else:
            found[name] = asdict(part) if isinstance(part, Forecast) else part
    return found
