"""The noise of a tuned sweep, pooled over its quadratics, and which of these it lets stand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalesweep.analysis.tuning.response import Surface

MIN_DOF = 3
"""Degrees of freedom below which no standard error is given: at 2, the 90 % interval of a standard deviation is 0.58 to 4.4
times what was found."""
NORMAL_90 = 1.6449
"""Half-width of the 90 % interval in standard errors."""
CHANCE = 0.001
"""Level at which a quadratic is refused: by its misfit (F-test), and by the distance of its vertex from the lowest loss."""
MAX_ROUNDS = 10


@dataclass(frozen=True)
class TuningNoise:
    """Standard deviation of a measured loss, in nats."""

    scatter: float = math.nan
    """About the quadratics that stand; NaN without degrees of freedom."""
    dof: int = 0
    """Its degrees of freedom."""
    evaluation: float = math.nan
    """Median standard error of the evaluations; NaN where the table has none."""

    @property
    def at_least(self) -> float:
        """The larger of both; the evaluation's alone where the scatter has fewer than MIN_DOF degrees of freedom."""
        if self.dof < MIN_DOF:
            return self.evaluation
        return self.scatter if math.isnan(self.evaluation) else max(self.scatter, self.evaluation)

    @property
    def sigma(self) -> float:
        """`at_least`, NaN with fewer than MIN_DOF degrees of freedom."""
        return math.nan if self.dof < MIN_DOF else self.at_least

    @property
    def between(self) -> float:
        """What tells settings of one table apart: the scatter, for they may share the text and so the error of the evaluation.

        The evaluation's error where the scatter has fewer than MIN_DOF degrees of freedom.
        """
        return self.evaluation if self.dof < MIN_DOF else self.scatter

    @property
    def student(self) -> float:
        """Factor on standard errors by which 1.645 of them are the 90 % interval of Student's t."""
        from scipy.stats import t

        return 1.0 if self.dof < MIN_DOF else float(t.ppf(0.95, self.dof)) / NORMAL_90


UNKNOWN = TuningNoise()


@dataclass(frozen=True, eq=False)
class Candidate:
    """A quadratic, and what was measured beside it."""

    surface: Surface
    lowest: float
    """Lowest measured loss."""
    depth: float
    """How far the minimum may lie below it between settings, see `Profile.depth`."""


def pooled(surfaces: Sequence[Surface], evaluation: float) -> TuningNoise:
    """The scatter about the quadratics."""
    dof = sum(surface.dof for surface in surfaces)
    return TuningNoise(math.sqrt(sum(surface.rss for surface in surfaces) / dof) if dof else math.nan, dof, evaluation)


def standing(candidates: Sequence[Candidate], evaluation: float) -> list[bool]:
    """Which quadratics the noise lets stand: their misfit is that of the others, and their vertex near the lowest loss.

    The noise is first taken from the median of their mean squares, which the worst half of them cannot move, and then from
    those that stand.
    """
    keep = [True] * len(candidates)
    noise = _typical([c.surface for c in candidates], evaluation)
    for _ in range(MAX_ROUNDS):
        now = [kept and _stands(c, noise) for kept, c in zip(keep, candidates, strict=True)]
        noise, settled = pooled([c.surface for c, kept in zip(candidates, now, strict=True) if kept], evaluation), now == keep
        keep = now
        if settled:
            break
    return keep


def _typical(surfaces: Sequence[Surface], evaluation: float) -> TuningNoise:
    from scipy.stats import chi2

    squares = [surface.rss / float(chi2.median(surface.dof)) for surface in surfaces if surface.dof]
    dof = pooled(surfaces, evaluation).dof
    return TuningNoise(math.sqrt(float(np.median(squares))) if squares else math.nan, dof, evaluation)


def _stands(candidate: Candidate, noise: TuningNoise) -> bool:
    from scipy.stats import f, t

    surface, lowest = candidate.surface, candidate.lowest
    floor = 1e-9 * abs(lowest)  # losses without noise are exact to rounding
    if noise.dof >= MIN_DOF:
        sigma, z = max(noise.scatter, floor), float(t.ppf(1 - CHANCE / 2, noise.dof))
    elif not math.isnan(noise.evaluation):
        sigma, z = noise.evaluation, float(t.ppf(1 - CHANCE / 2, math.inf))
    else:
        return True
    if surface.dof and f.sf(surface.rss / surface.dof / sigma**2, surface.dof, max(noise.dof, MIN_DOF)) < CHANCE:
        return False
    allowed = z * sigma * math.sqrt(1 + surface.y_variance)
    return -allowed - candidate.depth <= surface.value(sigma) - lowest <= allowed
