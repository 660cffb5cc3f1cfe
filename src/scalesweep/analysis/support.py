"""How far beyond the points a law may be used, and how far that was tried: the one rule of figures, tables, page and forecast.

Each coordinate of the farthest model (C, N, D and D / N) lies within the measured span of that coordinate beyond the points
(`fit.horizon`). Of a joint law that model is the compute-optimal one; where there is only L(C), it is the next of the points.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scalesweep.analysis.forecast.backtest import BackTest
from scalesweep.analysis.forecast.ray import reach_along
from scalesweep.fit.horizon import Range, furthest
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.laws import JointLaw
from scalesweep.points.points import Points
from scalesweep.units import format_rough


@dataclass(frozen=True)
class Support:
    """The farthest model that may be predicted, and how far predictions were tried."""

    factor: float | None
    """That model's compute over the largest measured one; None where nothing beyond that is supported."""
    limit: str
    """Why no model beyond it may be, in a sentence."""
    tested_factor: float | None
    """Largest such factor at which the back-test predicted a measured row; None where it predicted none."""
    along: Literal["optimum", "points"] = "optimum"
    """Where the factor leads: along the joint law's compute optimum or, where there is only L(C), along the points."""
    formula: str = ""
    """Of L(C), where that is all there is."""

    @property
    def reach(self) -> float:
        """The factor up to which anything may be shown: 1 where nothing beyond the largest measured compute is supported."""
        return 1.0 if self.factor is None else self.factor

    @property
    def words(self) -> str:
        """Both in sentences."""
        tested = f" Tried by the back-test: up to {format_rough(self.tested_factor)} times." if self.tested_factor else ""
        if self.along == "points" or self.factor is None:
            start = "The points support no prediction of the compute-optimal model beyond what was measured."
            along = f" {self._alone}" if self.factor is not None else ""
            return f"{start} {self.limit}{along}{tested}"
        return (
            f"Along its compute optimum the law may be used up to {format_rough(self.factor)} times the largest measured "
            f"compute, and no further.{tested}"
        )

    @property
    def _alone(self) -> str:
        return (
            f"Along these points {self.formula} may be used up to {format_rough(self.reach)} times the largest measured "
            "compute: `scalesweep forecast compute=C`."
        )


def support_of(points: Points, fit: SweepFit, tested: BackTest | None) -> Support:
    """The support of the preferred joint law: every coordinate (C, N, D, D / N) of its compute optimum must have it.

    Where there is no joint law it is that of L(C) along the points.
    """
    tried = _tested(tested)
    law = fit.preferred.law if fit.preferred else None
    if fit.compute.is_contradiction:
        return Support(None, f"How far it reaches in compute is withheld. {fit.compute.withheld}", tried)
    if not isinstance(law, JointLaw):
        alone = fit.preferred_of("C")
        formula = fit[alone].law.formula() if alone else ""
        return Support(reach_along(points) if alone else None, "There is no joint law.", tried, "points", formula)
    if not law.has_optimum:
        return Support(None, "A term of the law vanishes, so that it has no compute optimum.", tried)
    factor, limit = furthest(law, Range.of(points.n, points.d), 6 * float(np.max(points.n * points.d)))
    what = "The best model of the largest measured compute" if factor is None else "The best model"
    return Support(factor, limit.replace("The target", what), tried)


def _tested(tested: BackTest | None) -> float | None:
    if tested is None or tested.outcomes is None or tested.outcomes.abstained.all():
        return None
    largest = float(tested.outcomes.factor[~tested.outcomes.abstained].max())
    return largest if math.isfinite(largest) else None
