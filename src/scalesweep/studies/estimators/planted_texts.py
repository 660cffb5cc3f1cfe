"""Simulated tables in which the gain of a doubling, or the fate of a forecast, is known."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import bisect
from scipy.stats import norm

from scalesweep.laws import Coupled
from scalesweep.points.points import Points
from scalesweep.studies.estimators.along_optimum import Frontier, largest_compute
from scalesweep.studies.estimators.foretold import PERCENT
from scalesweep.studies.estimators.free_bend import FreeBend
from scalesweep.studies.estimators.planted import demo_surface, middle, noisy


def demo_curves(points: Points) -> FreeBend:
    """The demo's curves of equal loss."""
    surface, (n, d) = demo_surface(points), middle(points)
    ratio = (surface.B * d**-surface.beta / (surface.A * n**-surface.alpha)) ** (1 / surface.kappa)
    return FreeBend(0.0, 1.0, 0.0, surface.alpha / surface.kappa, surface.beta / surface.kappa, ratio, n, d)


def with_gain(points: Points, gain: float | None, noise: float, rng: np.random.Generator) -> Points:
    """The demo's surface, flattened about its middle until the least doubling takes `gain` off log loss; None: as it is."""
    surface, c = demo_surface(points), largest_compute(points)
    levels = c * 2.0 ** np.arange(-int(math.log2(float(points.c.max() / points.c.min()))), 1)
    centre = float(surface.predict(*middle(points)))

    def flattened(share: float) -> Coupled:
        return replace(surface, E=centre - share * (centre - surface.E), A=share * surface.A, B=share * surface.B)

    def least(share: float) -> float:
        return float(np.min(-np.diff(np.log(Frontier.of(flattened(share), c).loss_at(levels)))))

    law = surface if gain is None else flattened(bisect(lambda share: least(share) - gain, 1e-6, 2.0, xtol=1e-12))
    n, d = (points.frame[name].to_numpy(dtype=np.float64) for name in ("n", "d"))
    return noisy(points, law.predict(n, d), noise, rng)


def displaced(
    points: Points, said: Mapping[str, Any], part: str, theta: float, noise: float, rng: np.random.Generator
) -> Points:
    """The runs of the forecast cells where the part is theta, above or below their forecast by chance."""
    frame = points.frame.copy()
    for cell in said["cells"]:
        rows = np.isclose(frame["n"], cell["n"]) & np.isclose(frame["d"], cell["d"])
        at, high = math.log(cell["loss"]), math.log(cell["high"] / cell["loss"])
        sign = rng.choice([-1.0, 1.0])
        if part == "error":
            mean = at - math.log1p(sign * theta / PERCENT)
        else:

            def excess(away: float, half: float = high) -> float:
                return norm.cdf((half - away) / noise) - norm.cdf((-half - away) / noise) - theta / PERCENT

            mean = at + sign * bisect(excess, 0.0, high + 10 * noise)
        frame.loc[rows, "loss"] = np.exp(mean + noise * rng.standard_normal(int(rows.sum())))
    return replace(points, frame=frame)
