"""How far one more seed would move a log loss, for judges whose effects are read off the measured losses themselves."""

import math
from dataclasses import dataclass

from scipy.stats import t

from scalesweep.errors import PointsError
from scalesweep.points.clusters import group_rows
from scalesweep.points.points import Points
from scalesweep.studies.base import CONFIDENCE, Rule, replicate_noise
from scalesweep.studies.estimators.theories import Theories


@dataclass(frozen=True)
class LossNoise:
    """Standard deviation of log loss about its mean over runs."""

    sd: float
    degrees: int
    """Of freedom behind it."""
    is_seeds: bool
    """Whether it comes from replicates; else from what a law leaves over, which is too large rather than too small."""

    def quantile(self, tails: int = 1) -> float:
        """Of Student's t, for one end of a 90 % interval of which `tails` are looked at, with the error split over them."""
        return float(t.ppf(1 - (1 - CONFIDENCE) / 2 / tails, self.degrees))


def loss_noise(points: Points, rule: Rule) -> LossNoise:
    """Noise between seeds; in a table that names no seeds, the residuals of the preferred law of N and D.

    The budgets of a trunk may share their luck, so that of replicates the runs count and not their branches: as many degrees of
    freedom at most as there are trunks beyond the first of each size.

    Raises:
        PointsError: there are seeds, but no size and budget has two; or there are none, and no law can be fitted.
        FitError: the points identify no law.
    """
    if "seed" in points.used:
        sd, degrees = replicate_noise(points)
        if not degrees:
            raise PointsError(
                f"{points.source}: no size and budget was run with two seeds, so nothing tells how large noise is."
            )
        units = group_rows(points.used)
        return LossNoise(sd, max(1, min(degrees, units.num_units - units.num_clusters)), True)
    fit = Theories.of(points, Rule(draws=0, seed=rule.seed)).rivals.preferred
    spare = len(fit.residuals) - fit.num_free
    if spare < 1:
        raise PointsError(f"{points.source}: {len(fit.residuals)} rows without seeds leave nothing to tell the noise by.")
    return LossNoise(fit.residual_rms * math.sqrt(len(fit.residuals) / spare), spare, False)
