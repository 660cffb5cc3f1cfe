"""All that a table of points says: the laws, compute-optimal allocation by three approaches, rivals and the rolling origin.

One value, so that the terminal, fit.json and the report show the same numbers. Each part that the points cannot carry is
replaced by its refusal in words.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scalesweep.analysis.support import Support, support_of
from scalesweep.backtest import BackTest
from scalesweep.config import FitSpec
from scalesweep.errors import FitError
from scalesweep.fit import SweepFit, fit_laws
from scalesweep.fit.approaches import Approaches, compare_approaches
from scalesweep.fit.checks import check_coverage
from scalesweep.fit.results import Finding
from scalesweep.points import Points
from scalesweep.tournament import Tournament, run_tournament

RESAMPLES = 50
"""Resamples of each rival, capped here because they are most of the time of an analysis: on Chinchilla's 240 points rivals and
rolling origin took 8 s with 50 and 15 s with 200. The shares of honest intervals that held were the same at every horizon, and
those of one form moved by at most 11 points of a hundred. `scalesweep tournament` uses all that are asked for."""


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was found from one table of points."""

    points: Points
    """The points."""
    fit: SweepFit
    """The laws."""
    approaches: Approaches
    """Compute-optimal allocation by three approaches; each may be refused."""
    tournament: Tournament | None
    """Rivals, with the rolling origin; None where they were refused."""
    tournament_refusal: str
    """Why there are no rivals; empty where there are."""

    @property
    def support(self) -> Support:
        """How far beyond the points the preferred joint law may be used."""
        return support_of(self.points, self.fit, self.tournament.tested if self.tournament else None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content: that of the fit, with `approaches`, `rivals` and `back_test`."""
        rivals = self.tournament.to_dict() if self.tournament else {}
        tested, fit = rivals.pop("rolling_origin", None), self.fit.to_dict()
        return {
            **fit,
            "extrapolation": {**fit["extrapolation"], "supported": self.support.to_dict()},
            "approaches": self.approaches.to_dict(),
            "rivals": {**rivals, **_derived(self.tournament)} if self.tournament else None,
            "rivals_refusal": self.tournament_refusal,
            "back_test": tested,
        }

    def to_json(self) -> str:
        """`to_dict` as the text of a file."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def summary(self) -> str:
        """All of it as text for a terminal."""
        from scalesweep.analysis.text import summarise

        return summarise(self)


def analyse(points: Points, spec: FitSpec | None = None) -> Analysis:
    """Fit the laws, and compare approaches and rivals on the same rows.

    Without resamples in `spec` there are no rivals: their ranking is by intervals and errors that need them.

    Raises:
        FitError: there are fewer than 5 used points, or neither loss nor design varies.
    """
    spec = spec or FitSpec()
    fit = fit_laws(points, spec)
    tournament, refusal = _rivals(points, spec)
    if tournament:
        found = [*fit.findings, *_missed(tournament.tested)]
        fit = replace(fit, findings=tuple(sorted(found, key=lambda finding: finding.code)))
    return Analysis(points, fit, compare_approaches(points, spec, fit=fit), tournament, refusal)


def _rivals(points: Points, spec: FitSpec) -> tuple[Tournament | None, str]:
    """The tournament at the middle of the measured range, or why there is none."""
    if spec.bootstrap == 0:
        return None, "Rivals and back-test need resamples; fit.bootstrap = 0 asks for none."
    centre = (float(np.exp(np.log(points.n).mean())), float(np.exp(np.log(points.d).mean())))
    few = spec.model_copy(update={"bootstrap": min(spec.bootstrap, RESAMPLES)})
    try:
        return run_tournament(points, few, at=centre), ""
    except FitError as error:
        return None, str(error)


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
