"""How far beyond the points the preferred joint law may be used, and how far that was tried."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.analysis.forecast.backtest import BackTest
from scalesweep.arrays import FloatArray
from scalesweep.fit.horizon import MIN_SPAN, Range, supported_horizon
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.laws import JointLaw
from scalesweep.points.points import Points
from scalesweep.units import format_rough

_BISECTIONS = 40
"""Halvings of an interval of a few decades: they leave 1e-12 of it, less than the rounding of what is printed."""


class Optimal(Protocol):
    """A law with a compute-optimal model of every budget."""

    def n_opt(self, c: ArrayLike) -> FloatArray:
        """Its parameters at C = 6 N D."""

    def d_opt(self, c: ArrayLike) -> FloatArray:
        """Its tokens at C = 6 N D."""


@dataclass(frozen=True)
class Support:
    """The furthest compute-optimal model that may be predicted, and how far predictions were tried."""

    factor: float | None
    """That model's compute over the largest measured one, both as 6 N D; None where not even that is supported."""
    limit: str
    """Why no model beyond it may be, in a sentence."""
    tested_factor: float | None
    """Largest such factor at which the back-test predicted a measured row; None where it predicted none."""

    @property
    def words(self) -> str:
        """Both in sentences."""
        tested = f" Tried by the back-test: up to {format_rough(self.tested_factor)} times." if self.tested_factor else ""
        if self.factor is None:
            start = "The points support no prediction of the compute-optimal model beyond what was measured."
            return f"{start} {self.limit}{tested}"
        reach = format_rough(self.factor)
        return (
            f"Along its compute optimum the law may be used up to {reach} times the largest measured compute, and no further."
            f"{tested}"
        )


def support_of(points: Points, fit: SweepFit, tested: BackTest | None) -> Support:
    """The support of the preferred joint law: every coordinate (C, N, D, D / N) of its compute optimum must have it."""
    tried = _tested(tested)
    law = fit.preferred.law if fit.preferred else None
    if fit.compute.is_contradiction:
        return Support(None, f"How far it reaches in compute is withheld. {fit.compute.withheld}", tried)
    if not isinstance(law, JointLaw):
        return Support(None, f"There is no joint law.{_along(points, fit)}", tried)
    if min(law.A, law.B, law.alpha, law.beta) <= 0:
        return Support(None, "A term of the law vanishes, so that it has no compute optimum.", tried)
    return Support(*furthest(law, Range.of(points.n, points.d), 6 * float(np.max(points.n * points.d))), tried)


def furthest(law: Optimal, measured: Range, largest: float) -> tuple[float | None, str]:
    """Compute of the furthest compute-optimal model that may be predicted, over `largest`, and why none beyond it may be.

    Args:
        law: of N and D, with a compute optimum.
        measured: the range of the points.
        largest: their largest 6 N D.
    """

    def refusal(decades: float) -> str:
        compute = largest * 10**decades
        return measured.refuse(float(law.n_opt(compute)), float(law.d_opt(compute)))

    if reason := refusal(0.0):
        return None, reason
    # The upper end lies just past what the span of compute alone supports, where every model is refused. The sentence is that
    # of a model a thousandth of a decade past the limit: at the limit itself rounding decides whether there is one.
    low, high = 0.0, supported_horizon(measured.spans()["c"]) * 1.001
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if refusal(middle) else (middle, high)
    return 10**low, refusal(high + 1e-3)


def _along(points: Points, fit: SweepFit) -> str:
    """How far L(C) may be used where it is all there is, in a sentence with a space before; empty where there is none."""
    name = fit.preferred_of("C")
    span = float(np.ptp(np.log10(points.c)))
    if name is None or np.isnan(span) or span < MIN_SPAN:
        return ""
    reach = format_rough(10 ** supported_horizon(span))
    return (
        f" Along these points {fit[name].law.formula()} may be used up to {reach} times the largest measured compute: "
        "`scalesweep forecast compute=C`."
    )


def _tested(tested: BackTest | None) -> float | None:
    if tested is None or tested.outcomes is None or tested.outcomes.abstained.all():
        return None
    largest = float(tested.outcomes.factor[~tested.outcomes.abstained].max())
    return largest if math.isfinite(largest) else None
