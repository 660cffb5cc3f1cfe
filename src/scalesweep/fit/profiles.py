"""Profile likelihood of a law's floor, exponents and coupling, in the user's units."""

import math

from scalesweep.fit.estimates import Estimate, is_stop
from scalesweep.fit.pose import Posed
from scalesweep.fit.results import Fit
from scalesweep.fit.solve.objectives import Descent, Objective
from scalesweep.fit.solve.profile import ProfileCurve, profile_curve
from scalesweep.interval import Interval
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows

_PROFILED = ("E", "alpha", "beta", "kappa")
"""Parameters that have a profile likelihood interval; none of them is moved by its logarithm."""


def profile_estimates(posed: Posed, descent: Descent, num_units: int, confidence: float) -> dict[str, Estimate]:
    """E, the exponents and kappa with profile likelihood intervals; empty without spare points."""
    law = posed.laws(descent.minima.theta[:1])[0]
    return {
        name: Estimate(getattr(law, name), Interval(curve.low, curve.high, *_are_open(name, curve)))
        for name, curve in _curves(posed, descent, num_units, confidence).items()
    }


def profile_curves(points: Points, fit: Fit, confidence: float) -> dict[str, ProfileCurve]:
    """The likelihood ratio along E, the exponents and kappa of a joint law, in the user's units; empty without spare points.

    The law is found again under the objective of `fit`, whose rows it takes as independent.
    """
    rows = list(fit.rows)
    n, d, loss = points.n[rows], points.d[rows], points.loss[rows]
    posed = Posed.of_rows(type(fit.law), Rows.of_columns(n, d, loss))
    return _curves(posed, posed.descend(Objective("huber", fit.huber_delta)), len(rows), confidence)


def _curves(posed: Posed, descent: Descent, num_units: int, confidence: float) -> dict[str, ProfileCurve]:
    assert descent.delta is not None  # of a Huber loss
    found = {}
    for name in _PROFILED:
        if name in posed.frame.form.parameters:
            theta, index = descent.minima.theta[0], posed.position(name)
            curve = profile_curve(posed.problem, theta, descent.delta, index, num_units, confidence)
            if curve is not None:
                found[name] = curve.in_unit(posed.loss_unit) if name == "E" else curve
    return found


def _are_open(name: str, curve: ProfileCurve) -> tuple[bool, bool]:
    """Whether the lower and the upper end is where the search stops, and not what the points allow."""
    low, high = (math.isinf(end) or bool(is_stop(name, end)) for end in (curve.low, curve.high))
    return low, high
