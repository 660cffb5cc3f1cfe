"""All that a table of points says: the laws, compute-optimal allocation by three approaches, rivals and the rolling origin.

One value, so that the terminal, fit.json and the report show the same numbers. Each part that the points cannot carry is
replaced by its refusal in words.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from scalesweep.analysis.ahead import NOT_ASKED, Ahead, look_ahead
from scalesweep.analysis.allocation.approaches import Approaches, compare_approaches
from scalesweep.analysis.families import Families, fit_families
from scalesweep.analysis.forecast.backtest import BackTest
from scalesweep.analysis.forecast.running import RunForecast, forecast_running
from scalesweep.analysis.forecast.tournament import Tournament, run_tournament
from scalesweep.analysis.support import Support, support_of
from scalesweep.errors import FitError, Refused
from scalesweep.fit import fit_laws
from scalesweep.fit.checks import check_coverage
from scalesweep.fit.results import Finding
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.points.points import Points
from scalesweep.settings.fit import FitSpec

RESAMPLES = 50
"""Resamples of each rival, capped here because they are most of the time of an analysis: on Chinchilla's 240 points rivals and
rolling origin took 8 s with 50 and 15 s with 200. The shares of honest intervals that held were the same at every horizon, and
those of one form moved by at most 11 points of a hundred. `scalesweep tournament` uses all that are asked for."""


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was found from one table of points."""

    points: Points
    fit: SweepFit
    approaches: Approaches
    """Compute-optimal allocation by three approaches; each may be refused."""
    tournament: Tournament | Refused
    """Rivals, with the rolling origin."""
    families: Families | None = None
    """Each family its own laws, where a column was named that tells families apart."""
    running: Mapping[str, RunForecast | Refused] = field(default_factory=dict)
    """Final losses of runs that are still training, of a table of curves; by the run's name."""
    ahead: Ahead = NOT_ASKED
    """What doubling brings, the best models, and the loss to expect there."""

    @property
    def support(self) -> Support:
        """How far beyond the points the preferred joint law may be used."""
        return _support(self.points, self.fit, self.tournament)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content: that of the fit, with `ahead`, `approaches`, `rivals`, `back_test`, `families` and `running`."""
        fit, refusal, rivals, tested = self.fit.to_dict(), "", None, None
        if isinstance(self.tournament, Refused):
            refusal = self.tournament.reason
        else:
            rivals = self.tournament.to_dict()
            tested = rivals.pop("rolling_origin")
            rivals |= _derived(self.tournament)
        return {
            **fit,
            "extrapolation": {**fit["extrapolation"], "supported": asdict(self.support)},
            "ahead": self.ahead.to_dict(),
            "approaches": self.approaches.to_dict(),
            "rivals": rivals,
            "rivals_refusal": refusal,
            "back_test": tested,
            "families": self.families.to_dict() if self.families else None,
            "running": {
                name: {"refusal": found.reason} if isinstance(found, Refused) else found.to_dict()
                for name, found in self.running.items()
            },
        }

    def to_json(self) -> str:
        """`to_dict` as the text of a file."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"


def analyse(points: Points, spec: FitSpec | None = None, by: str = "", is_pooled: bool = True) -> Analysis:
    """Fit the laws, and compare approaches and rivals on the same rows; with `by`, also each value of that column by itself.

    Where the values of `by` are not pooled, because their losses are not of one kind, all but `families` is of the value with
    the most rows. Without resamples in `spec` there are no rivals: their ranking is by intervals and errors that need them.

    Raises:
        FitError: there are fewer than 5 used points, or neither loss nor design varies.
        PointsError: `by` is no column of families.
    """
    spec = spec or FitSpec()
    families = fit_families(points, by, spec, is_pooled) if by else None
    if families is None or is_pooled:
        fit = fit_laws(points, spec)
    else:
        points = families.reference.points
        if isinstance(families.reference.fit, Refused):
            raise FitError(families.reference.fit.reason)
        fit = families.reference.fit
    tournament = _rivals(points, spec)
    if not isinstance(tournament, Refused):
        fit = fit.with_findings([*fit.findings, *_missed(tournament.tested)])
    approaches = compare_approaches(points, spec, fit=fit)
    few, support = spec.model_copy(update={"bootstrap": min(spec.bootstrap, RESAMPLES)}), _support(points, fit, tournament)
    return Analysis(
        points,
        fit,
        approaches,
        tournament,
        families,
        forecast_running(points.curves, spec.confidence) if points.curves else {},
        look_ahead(points, fit, approaches, tournament, support, few),
    )


def _support(points: Points, fit: SweepFit, tournament: Tournament | Refused) -> Support:
    return support_of(points, fit, None if isinstance(tournament, Refused) else tournament.tested)


def _rivals(points: Points, spec: FitSpec) -> Tournament | Refused:
    """The tournament at the middle of the measured range, or why there is none."""
    if points.is_partial:
        return Refused("Rivals are laws of N and D, which the table does not say.")
    if spec.bootstrap == 0:
        return Refused("Rivals and back-test need resamples; fit.bootstrap = 0 asks for none.")
    centre = (float(np.exp(np.log(points.n).mean())), float(np.exp(np.log(points.d).mean())))
    few = spec.model_copy(update={"bootstrap": min(spec.bootstrap, RESAMPLES)})
    try:
        return run_tournament(points, few, at=centre)
    except FitError as error:
        return Refused(str(error))


def _missed(tested: BackTest) -> tuple[Finding, ...]:
    """The warning about the preferred law's intervals, where the back-test gives cause."""
    if tested.outcomes is None or tested.outcomes.abstained.all():
        return ()
    kept = tested.outcomes.select(~tested.outcomes.abstained)
    cells = np.unique(np.stack([kept.n, kept.d]), axis=1).shape[1]
    return check_coverage(tested.rows[-1].covered["form"], len(kept.actual), cells, tested.confidence)


def _derived(tournament: Tournament) -> dict[str, Any]:
    """What the texts show beside the results themselves."""
    best = min(standing.aicc for standing in tournament.standings)
    band = tournament.envelope(*tournament.at)
    return {
        "delta_aicc": {s.name: _difference(s.aicc, best) for s in tournament.standings},
        "envelope": [float(band.low[0]), float(band.high[0])],
        "confidence": tournament.confidence,
        "resamples": len(tournament.rivals.members[0].samples),
    }


def _difference(aicc: float, best: float) -> float | None:
    """Infinite where a form leaves no spare rows, or nothing at all; JSON has no infinity."""
    return aicc - best if np.isfinite(aicc - best) else None
