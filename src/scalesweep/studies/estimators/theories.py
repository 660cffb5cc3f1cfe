"""What follows from a law of N and D, whatever the law: the interval is the envelope over rival forms of their resamples.

An effect that is read off one form has that form's error in it, which its own resamples do not show. So the interval is the
union of the intervals of the additive law, the coupled one and Kaplan's with a floor, as far as the points leave them a vote: a
form that they reject misses what it is asked for by its misfit, which no sweep would mend.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scalesweep.analysis.forecast.rivals import THEORIES, TITLES, Rivals
from scalesweep.fit.estimates import Estimate, estimate, join
from scalesweep.fit.results import Fit
from scalesweep.laws import JointLaw
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.studies.base import CONFIDENCE, Effect, Rule
from scalesweep.studies.estimators.voting import fit_voters

Functional = Callable[[JointLaw], float]
"""A number that follows from a law; NaN where the law has none, infinite where it is beyond every bound."""
_MOST_UNDEFINED = 0.05
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
        found = [self.of_form(fit, functional) for fit in self.voting]
        value = functional(self.preferred)
        if lacking := [name for name, one in found if one is None]:
            reason = f"It is not defined in more than {_MOST_UNDEFINED:.0%} of the resamples of {' and '.join(lacking)}."
            return Effect(value, math.nan, math.nan, reason)
        whole = functools.reduce(join, [one for _, one in found if one is not None])
        low, high = (value, value) if whole.interval is None else (whole.interval.low, whole.interval.high)
        return Effect(value, min(low, value), max(high, value))

    def own(self, functional: Functional) -> Effect:
        """The same with the interval of the preferred form alone."""
        one = self.of_form(self.rivals.preferred, functional)[1]
        if one is None or one.interval is None:
            return Effect.missing("The preferred law has no interval of it.")
        return Effect(one.value, one.interval.low, one.interval.high)

    def of_form(self, fit: Fit, functional: Functional) -> tuple[str, Estimate | None]:
        """Name of the form, and its value with the union of the intervals of its sets of resamples; None where undefined."""
        value, parts = functional(_law(fit)), []
        for samples in (fit.samples, fit.cluster_samples):
            if len(samples):
                drawn = np.array([functional(law) for law in fit.resampled_laws(samples) if isinstance(law, JointLaw)])
                if np.isnan(drawn).mean() > _MOST_UNDEFINED:
                    return TITLES[fit.law.name], None
                parts.append(estimate(value, drawn, CONFIDENCE))
        return TITLES[fit.law.name], functools.reduce(join, parts) if parts else Estimate(value)


def _law(fit: Fit) -> JointLaw:
    assert isinstance(fit.law, JointLaw)  # the forms are laws of N and D
    return fit.law
