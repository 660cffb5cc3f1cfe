"""What follows from a law of N and D, whatever the law: the interval is the envelope over rival forms of their resamples.

An effect that is read off one form has that form's error in it, which its own resamples do not show. So the interval is the
union of the intervals of the additive law, the coupled one and Kaplan's with a floor, as far as the points leave them a vote: a
form that they reject misses what it is asked for by its misfit, which no sweep would mend.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalesweep.analysis.forecast.rivals import THEORIES, TITLES, Rivals
from scalesweep.arrays import FloatArray
from scalesweep.fit.estimates import Estimate, estimate, join
from scalesweep.fit.results import Fit
from scalesweep.laws import JointLaw
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.studies.base import CONFIDENCE, Effect, Rule
from scalesweep.studies.estimators.voting import fit_voters

Functional = Callable[[JointLaw], float]
"""A number that follows from a law; NaN where the law has none, infinite where it is beyond every bound."""
MOST_UNDEFINED = 0.05
"""Share of resamples without the number above which the ends of its interval, of 5 % each, are not known."""


@dataclass(frozen=True, eq=False)
class Theories:
    """Rival laws of one table with their resamples."""

    rivals: Rivals
    """Those with a vote, the preferred one first; see `voting.fit_voters`."""

    @classmethod
    def of(cls, points: Points, rule: Rule, forms: tuple[str, ...] = THEORIES) -> "Theories":
        """Fit every form, and resample those with a vote.

        Raises:
            FitError: the points identify none of them.
        """
        voting = fit_voters(Rows.of(points), rule.fit, forms)
        return cls(Rivals(tuple(voting), {}, rule.seed, chosen=voting[0].law.name))

    @property
    def preferred(self) -> JointLaw:
        """The form with the lowest criterion."""
        return _law(self.rivals.preferred)

    @property
    def voting(self) -> list[Fit]:
        """The forms that the points do not reject."""
        return list(self.rivals.members)

    def effect(self, functional: Functional) -> Effect:
        """The number by the preferred form, and the envelope of the intervals of the forms with a vote, which holds it."""
        return envelope(functional(self.preferred), {TITLES[fit.law.name]: _drawn(fit, functional) for fit in self.voting})


def envelope(value: float, drawn: Mapping[str, Sequence[FloatArray]]) -> Effect:
    """The union of the intervals of every form, and of the value.

    Args:
        value: by the preferred form.
        drawn: name of a form -> the number by each of its sets of resamples, shape (draws,); NaN where a resample has none.
    """
    if lacking := [name for name, sets in drawn.items() if any(np.isnan(one).mean() > MOST_UNDEFINED for one in sets)]:
        reason = f"It is not defined in more than {MOST_UNDEFINED:.0%} of the resamples of {' and '.join(lacking)}."
        return Effect(value, math.nan, math.nan, reason)
    parts = [estimate(value, one, CONFIDENCE) for sets in drawn.values() for one in sets]
    whole = functools.reduce(join, parts, Estimate(value)).interval
    if whole is None:
        return Effect(value, math.nan, math.nan, "No resample gives it an interval.")
    return Effect(value, min(whole.low, value), max(whole.high, value))


def _drawn(fit: Fit, functional: Functional) -> list[FloatArray]:
    """The number by each resample of a form, one array for each of its sets."""
    sets = [fit.resampled_laws(samples) for samples in (fit.samples, fit.cluster_samples) if len(samples)]
    return [np.array([functional(law) for law in laws if isinstance(law, JointLaw)]) for laws in sets]


def _law(fit: Fit) -> JointLaw:
    assert isinstance(fit.law, JointLaw)  # the forms are laws of N and D
    return fit.law
