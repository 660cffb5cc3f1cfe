"""All that a table of points says: the laws, compute-optimal allocation by three approaches, rivals and the rolling origin.

One value, so that the terminal, fit.json and the report show the same numbers. Each part that the points cannot carry is
replaced by its refusal in words.
"""

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from scalesweep.analysis.allocation.approaches import Approaches, compare_approaches
from scalesweep.analysis.forecast.backtest import BackTest
from scalesweep.analysis.forecast.tournament import Tournament, run_tournament
from scalesweep.errors import FitError
from scalesweep.fit import fit_laws
from scalesweep.fit.checks import check_coverage
from scalesweep.fit.horizon import Range, supported_horizon
from scalesweep.fit.results import Finding
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.laws import JointLaw
from scalesweep.points.points import Points
from scalesweep.settings.fit import FitSpec

RESAMPLES = 50
"""Resamples of each rival, capped here because they are most of the time of an analysis: on Chinchilla's 240 points rivals and
rolling origin took 8 s with 50 and 15 s with 200. The shares of honest intervals that held were the same at every horizon, and
those of one form moved by at most 11 points of a hundred. `scalesweep tournament` uses all that are asked for."""
_BISECTIONS = 40


@dataclass(frozen=True)
class Support:
    """The furthest compute-optimal model that may be predicted, and how far predictions were tried."""

    factor: float | None
    """That model's compute over the largest measured one, both as 6 N D; None where not even that is supported."""
    limit: str
    """Why no model beyond it may be, in a sentence."""
    tested_factor: float | None
    """Largest such factor at which the back-test predicted a measured row; None where it predicted none."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return asdict(self)

    @property
    def words(self) -> str:
        """Both in sentences."""
        tested = f" Tried by the back-test: up to {self.tested_factor:.2g} times." if self.tested_factor else ""
        if self.factor is None:
            start = "The points support no prediction of the compute-optimal model beyond what was measured."
            return f"{start} {self.limit}{tested}"
        return (
            f"Along its compute optimum the law may be used up to {self.factor:.3g} times the largest measured compute, and no "
            f"further.{tested}"
        )


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


def support_of(points: Points, fit: SweepFit, tested: BackTest | None) -> Support:
    """The support of the preferred joint law: every coordinate (C, N, D, D / N) of its compute optimum must have it."""
    tried = _tested(tested)
    law = fit.preferred.law if fit.preferred else None
    if not isinstance(law, JointLaw):
        return Support(None, "There is no joint law.", tried)
    if not law.has_optimum:
        return Support(None, "A term of the law vanishes, so that it has no compute optimum.", tried)
    measured, largest = Range.of(points.n, points.d), 6 * float(np.max(points.n * points.d))

    def refusal(decades: float) -> str:
        compute = largest * 10**decades
        return measured.refuse(float(law.n_opt(compute)), float(law.d_opt(compute)))

    if reason := refusal(0.0):
        return Support(None, reason, tried)
    low, high = 0.0, supported_horizon(measured.spans()["c"]) * 1.001
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if refusal(middle) else (middle, high)
    return Support(10**low, refusal(high + 1e-3), tried)


def _tested(tested: BackTest | None) -> float | None:
    if tested is None or tested.outcomes is None or tested.outcomes.abstained.all():
        return None
    largest = float(tested.outcomes.factor[~tested.outcomes.abstained].max())
    return largest if math.isfinite(largest) else None
