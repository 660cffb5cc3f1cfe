"""What compute takes off the loss on one text, along the compute optimum of its runs."""

import math
from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.errors import PointsError
from scalesweep.fit.horizon import Range
from scalesweep.points.points import Points
from scalesweep.studies.base import Effect, Rule
from scalesweep.studies.estimators.along_optimum import Frontier, largest_compute
from scalesweep.studies.estimators.effective import FrontierFit, fit_curves, fit_frontier
from scalesweep.studies.estimators.free_bend import FreeBend
from scalesweep.studies.estimators.noise import LossNoise, loss_noise
from scalesweep.studies.estimators.theories import envelope


@dataclass(frozen=True, eq=False)
class Text:
    """The runs on one text along their compute optimum."""

    points: Points
    curves: FreeBend
    """Curves of equal loss."""
    fit: FrontierFit
    """About the largest compute."""
    noise: LossNoise
    levels: FloatArray
    """6 N D at steps of 2 down from the largest, where the points support the compute-optimal model, rising."""

    @classmethod
    def of(cls, points: Points, rule: Rule) -> "Text":
        """Fit the loss along the optimum, which may bend either way.

        Raises:
            FitError: the rows are too few, or no law can be fitted.
            PointsError: N, D and C contradict each other, there is one seed, or no doubling is supported.
        """
        c, curves, measured = largest_compute(points), fit_curves(points, rule.fit), Range.of(points.n, points.d)
        steps = int(math.log2(float(points.c.max() / points.c.min())))
        levels = [
            one
            for one in (c * 2.0 ** np.arange(-steps, 1)).tolist()
            if not measured.refuse(float(curves.n_opt(one)), float(curves.d_opt(one)))
        ]
        if len(levels) < 2:
            raise PointsError(f"{points.source}: the runs support no doubling of compute along their optimum.")
        return cls(points, curves, fit_frontier(points, curves, c), loss_noise(points, rule), np.array(levels))

    @property
    def c(self) -> float:
        """Largest measured compute, as 6 N D."""
        return self.fit.frontier.c

    def least_gain(self, frontier: Frontier) -> float:
        """Fall of log loss in the doubling that gives least."""
        with np.errstate(invalid="ignore", over="ignore"):
            return float(np.min(-np.diff(np.log(frontier.loss_at(self.levels)))))

    def exponent(self, frontier: Frontier) -> float:
        """-d ln L / d ln C over the levels, in the mean."""
        with np.errstate(invalid="ignore", over="ignore"):
            first, last = np.log(frontier.loss_at(self.levels[[0, -1]]))
        return float((first - last) / math.log(self.levels[-1] / self.levels[0]))

    def doubling(self, rule: Rule) -> Effect:
        """The least gain in standard deviations between seeds, which are known by few of them themselves."""
        rng, degrees = np.random.default_rng(rule.seed), self.noise.degrees
        gains = np.array([self.least_gain(frontier) for frontier in self.fit.draws(rule.draws, rng)])
        drawn = gains / self.noise.sd * np.sqrt(rng.chisquare(degrees, len(gains)) / degrees)
        return envelope(self.least_gain(self.fit.frontier) / self.noise.sd, {"this text": [drawn]})
