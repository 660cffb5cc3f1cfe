"""The loss of compute-optimal models against compute: what the next tenth of a nat costs, by every form that the points allow.

Every joint law here is E + K C^-gamma on its compute optimum, with E >= 0: by their form each further nat costs more than the
last one. So `FreeBend`, which may bend either way, votes beside them; an interval is the envelope over all that have a vote.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.analysis.forecast.rivals import THEORIES, TITLES, fit_rivals
from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.fit.forms import fit_law
from scalesweep.fit.results import Fit
from scalesweep.laws import JointLaw, Law
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.studies.base import Effect, Rule
from scalesweep.studies.estimators.free_bend import FreeBend, fallen
from scalesweep.studies.estimators.theories import envelope
from scalesweep.studies.estimators.voting import fit_voters

_MIN_BEND = 1e-9
"""Bends below it are a straight line in double precision."""


@dataclass(frozen=True)
class Frontier:
    """The loss along the compute optimum: loss - slope (1 - exp(-bend x)) / bend with x = ln(C / c)."""

    c: float
    """Compute at which loss and slope are, 6 N D."""
    loss: float
    """Nats per token there."""
    slope: float
    """-dL / d ln C there, nats per token."""
    bend: float
    """-d ln slope / d ln C, the same everywhere: gamma, for a power law with a floor."""

    @classmethod
    def of(cls, law: JointLaw | FreeBend, c: float) -> "Frontier":
        """The frontier of a law about C = c, 6 N D.

        Raises:
            FitError: the law has no compute optimum.
        """
        if isinstance(law, FreeBend):
            x = float(law.x_opt(c))
            return cls(c, law.level - law.slope * float(fallen(law.bend, x)[0]), law.slope * math.exp(-law.bend * x), law.bend)
        # E + K C^-gamma, gamma = alpha beta / (alpha + beta), for every coupling: Hoffmann et al. 2022, section 3.3.
        loss, gamma = float(law.predict(law.n_opt(c), law.d_opt(c))), law.alpha * law.beta / (law.alpha + law.beta)
        return cls(c, loss, gamma * (loss - law.E), gamma)

    def loss_at(self, c: ArrayLike) -> FloatArray:
        """Nats per token at C = c."""
        return np.asarray(self.loss - self.slope * fallen(self.bend, np.log(np.asarray(c) / self.c))[0])

    def slope_at(self, c: ArrayLike) -> FloatArray:
        """-dL / d ln C at C = c."""
        return np.asarray(self.slope * np.exp(-self.bend * np.log(np.asarray(c) / self.c)))

    def factor(self, c: ArrayLike, step: float) -> FloatArray:
        """F(C): how many times C buys a loss lower by `step` nats; infinite where the floor is nearer."""
        share = step / self.slope_at(c)
        if abs(self.bend) < _MIN_BEND:
            return np.asarray(np.exp(share))
        left = 1 - self.bend * share
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.where(left > 0, np.exp(-np.log(np.fmax(left, 0)) / self.bend), np.inf)

    def exponent(self, c: ArrayLike) -> FloatArray:
        """Local exponent -d ln L / d ln C."""
        return np.asarray(self.slope_at(c) / self.loss_at(c))


@dataclass(frozen=True, eq=False)
class Form:
    """One form of law that the points allow, along its compute optimum."""

    name: str
    law: JointLaw | FreeBend
    frontier: Frontier
    draws: tuple[tuple[Frontier, ...], ...]
    """Of each set of resamples."""


@dataclass(frozen=True, eq=False)
class AlongOptimum:
    """The compute optimum by every form with a vote, the form with the lowest criterion first."""

    c: float
    """Largest measured compute, as 6 N D."""
    forms: tuple[Form, ...]

    @classmethod
    def of(cls, points: Points, rule: Rule) -> "AlongOptimum":
        """Fit the rival joint laws and `FreeBend`.

        Raises:
            FitError: the points identify no joint law.
            PointsError: N, D and C of the table contradict each other, or no law has a compute optimum.
        """
        return cls._of(points, fit_voters(Rows.of(points), rule.fit, (*THEORIES, FreeBend)))

    @classmethod
    def of_every_form(cls, points: Points, rule: Rule) -> "AlongOptimum":
        """The same with the forms that the points reject.

        Raises:
            FitError: the design does not tell N from D, or the rows are too few.
            PointsError: as of `of`.
        """
        fits = fit_rivals(Rows.of(points), rule.fit, THEORIES).members
        return cls._of(points, sorted((*fits, fit_law(FreeBend, Rows.of(points), rule.fit)), key=lambda fit: fit.aicc))

    @classmethod
    def _of(cls, points: Points, fits: Iterable[Fit]) -> "AlongOptimum":
        c = largest_compute(points)
        forms = tuple(form for fit in fits if (form := _form(fit, c)) is not None)
        if not forms:
            raise PointsError(f"{points.source}: no law of these points has a compute optimum.")
        return cls(c, forms)

    def effect(self, functional: Callable[[Frontier], float]) -> Effect:
        """The number by the first form, and the envelope of the intervals of all, which holds it."""
        drawn = {form.name: [np.array([functional(one) for one in draws]) for draws in form.draws] for form in self.forms}
        return envelope(functional(self.forms[0].frontier), drawn)


def largest_compute(points: Points) -> float:
    """Largest measured compute, as 6 N D.

    Raises:
        PointsError: N, D and C of the table contradict each other.
    """
    if (c := Rows.of(points).largest_six) is None:
        raise PointsError(f"{points.source}: N, D and C have no common unit, so that no compute optimum is known.")
    return c


def _form(fit: Fit, c: float) -> Form | None:
    """The form along its compute optimum, without the resamples that have none; None where the estimate has none."""
    law = fit.law
    if not _has_optimum(law):
        return None
    sets = [fit.resampled_laws(samples) for samples in (fit.samples, fit.cluster_samples) if len(samples)]
    drawn = tuple(tuple(Frontier.of(one, c) for one in laws if _has_optimum(one)) for laws in sets)
    return Form(TITLES.get(law.name, "coupled with a floor of either sign"), law, Frontier.of(law, c), drawn)


def _has_optimum(law: Law) -> TypeGuard[JointLaw | FreeBend]:
    return isinstance(law, FreeBend) or (isinstance(law, JointLaw) and law.has_optimum)
