"""Walls: a compute beyond which the loss falls more slowly, looked for in the runs on both sides of it."""

import math
from dataclasses import dataclass

from scipy.stats import f, t

from scalesweep.analysis.forecast.rivals import THEORIES
from scalesweep.fit.criterion import corrected_akaike
from scalesweep.fit.forms import find_form, fit_law
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec
from scalesweep.studies.base import CONFIDENCE
from scalesweep.studies.estimators.along_optimum import largest_compute
from scalesweep.studies.estimators.effective import NUM_FREE, fit_curves, fit_frontier
from scalesweep.studies.estimators.free_bend import FreeBend

PLACES = (4.0, 6.0, 9.0, 14.0, 20.0, 30.0)
"""Factors below the largest compute at which a wall is looked for. Above a quarter of it 5 of the demo's 25 cells lie beyond,
by their effective compute; there the standard error of what is kept is .07, and at half of it nothing is known."""
MIN_GAIN = 6.0
"""By how much the criterion of the broken law has to be below that of the best unbroken one."""
_BROKEN = NUM_FREE + 2
"""Parameters of the broken law: also what is kept, and the place."""


@dataclass(frozen=True)
class Wall:
    """The break that describes the points best, and what it keeps of the exponent."""

    factor: float
    """How far below the largest compute it is."""
    kept: float
    """Exponent beyond the wall over the one before it."""
    low: float
    """Of what may be kept at any of the places, at `base.CONFIDENCE`."""
    high: float
    gain: float
    """Criterion of the best unbroken law minus that of this one (AICc)."""

    @property
    def is_found(self) -> bool:
        """Whether the points need a break, and one that slows."""
        return self.kept < 1 and self.gain > MIN_GAIN


def find_wall(points: Points, spec: FitSpec) -> Wall:
    """The best break among `PLACES`.

    The interval holds every `kept` that at some place is close enough to the best fit, with the squares of each place as a
    parabola in `kept`. Upwards that is the quantile of t. Downwards it is that of F for two unknowns, as the place is one: on
    200 tables with .75 at a quarter of the largest compute the lower end by t was above the truth in 11 %.

    Raises:
        FitError: no law of N and D can be fitted, or the points are too few for a break.
        PointsError: N, D and C of the table contradict each other.
    """
    rows, c, curves = Rows.of(points), largest_compute(points), fit_curves(points, spec)
    once = spec.model_copy(update={"bootstrap": 0})
    unbroken = min(fit_law(find_form(form), rows, once).aicc for form in (*THEORIES, FreeBend))
    tried = {factor: fit_frontier(points, curves, c / factor, is_broken=True) for factor in PLACES}
    factor, best = min(tried.items(), key=lambda item: item[1].squares)
    spare = len(rows) - _BROKEN
    above, below = float(t.ppf((1 + CONFIDENCE) / 2, spare)) ** 2, 2 * float(f.ppf(CONFIDENCE, 2, spare))
    low, high = (
        max(
            sign * one.kept + math.sqrt(one.spread[-1, -1] * room)
            for one in tried.values()
            if (room := times * best.squares / spare - (one.squares - best.squares)) >= 0
        )
        for sign, times in ((-1, below), (1, above))
    )
    gain = unbroken - corrected_akaike(best.residuals, rows.units.shares, _BROKEN)
    return Wall(factor, best.kept, -low, high, gain)
