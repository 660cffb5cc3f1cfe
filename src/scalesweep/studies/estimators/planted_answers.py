"""Simulated answers of a grid whose pass@k is known: -ln p of the problems is log-normal, its middle and width by cell."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from scalesweep.arrays import FloatArray
from scalesweep.points.answers import Answers
from scalesweep.points.points import Points
from scalesweep.studies.base import NOISE

PROBLEMS, TOKENS, CHANCE = 4096, 4, 16.0**-4
"""As of data=facts."""
_QUANTILES = 1024
"""Problems of the table without noise, one at each quantile."""
_SEED_SD = 0.02
"""Of the middle and of the width, by trunk and by cell. Between seeds of data=facts at widths 16 to 64 pass@1 has a standard
deviation of 5 % and the exponent b one of .003 (twelve pairs); these deviations give about as much."""


@dataclass(frozen=True)
class Difficulty:
    """-ln p = exp(middle + width z), z standard normal over problems: 0 < p < 1, and all p are equal at width 0."""

    middle: float = 6.0
    """At the middle of the grid. With this `width` pass@1 is .02 and pass@655 .08, as of data=facts at widths 16 to 64;
    problems with p far below 1 / 655 do not matter, wherever they are."""
    width: float = 3.0
    learns: float = 0.6
    """By how much `middle` falls with each e-fold of tokens."""
    widens: float = 0.0
    """By how much `width` grows with each e-fold of tokens."""

    def of(self, points: Points) -> tuple[FloatArray, FloatArray]:
        """Middle and width of each cell, shape (rows,)."""
        x = np.log(points.frame["d"].to_numpy(dtype=np.float64))
        x = x - x.mean()
        return self.middle - self.learns * x, np.maximum(self.width + self.widens * x, 0.0)


def exact_answers(points: Points, difficulty: Difficulty) -> Points:
    """The same rows with the answers of every quantile of the problems, without noise."""
    z = stats.norm.ppf((np.arange(_QUANTILES) + 0.5) / _QUANTILES)
    middle, width = difficulty.of(points)
    return with_answers(points, np.exp(middle[:, None] + width[:, None] * z))


def drawn_answers(points: Points, difficulty: Difficulty, noise: float, rng: np.random.Generator) -> Points:
    """The same rows with answers to drawn problems, the same in every cell, of cells with seed noise.

    Args:
        points: whose grid it is.
        difficulty: of the problems.
        rng: draws problems and noise.
        noise: of log loss; the noise of answers is `_SEED_SD` where it is `NOISE`, and in proportion.
    """
    z = rng.standard_normal(PROBLEMS)
    trunk = points.frame.groupby(["n", "seed"]).ngroup().to_numpy()
    sd = _SEED_SD * noise / NOISE
    middle, width = (
        one + sd * (rng.standard_normal(trunk.max() + 1)[trunk] + rng.standard_normal(len(trunk)))
        for one in difficulty.of(points)
    )
    return with_answers(points, np.exp(middle[:, None] + np.maximum(width, 0.0)[:, None] * z))


def with_answers(points: Points, nll: FloatArray) -> Points:
    """The same rows with answers whose tokens are equally probable.

    Args:
        points: whose grid it is.
        nll: -ln p of the right answers, shape (rows, problems).
    """
    rank = np.arange(1, nll.shape[1] + 1)
    log_p = np.repeat(-nll[:, :, None] / TOKENS, TOKENS, axis=2)
    answers = [Answers(one, one > np.log(0.5), rank, CHANCE) for one in log_p]
    return dataclasses.replace(points, frame=points.frame.assign(answers=pd.Series(answers, index=points.frame.index)))


def solve(
    points: Points,
    measure: Callable[[Points], float],
    theta: float,
    place: Callable[[float], Difficulty],
    ends: tuple[float, float],
) -> Difficulty:
    """The difficulty between two ends at which a noise-free table measures theta, by bisection.

    Raises:
        ValueError: it is theta nowhere between.
    """
    low, high = ends
    below = measure(exact_answers(points, place(low))) < theta
    if below == (measure(exact_answers(points, place(high))) < theta):
        raise ValueError(f"No table of this design has an effect of {theta:g}.")
    for _ in range(14):  # to 1e-4 of the range
        middle = (low + high) / 2
        low, high = (middle, high) if (measure(exact_answers(points, place(middle))) < theta) == below else (low, middle)
    return place((low + high) / 2)
