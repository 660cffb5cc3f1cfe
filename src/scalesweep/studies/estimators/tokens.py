"""Tokens to a loss, tau(N, L), and its elasticity in N: how many tokens a larger model saves at equal loss.

What is inverted are losses of finished runs, one curve a trunk: a loss before the decay of the learning rate is not that of a
run of this length. At equal loss g_N d ln N + g_D d ln tau = 0, with g_N = -d ln L / d ln N and g_D = -d ln L / d ln D, so

    -d ln tau / d ln N = g_N / g_D = s

of which a compute optimum under C = 6 N D has s = 1, and a model that is too large for its loss s = 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from scalesweep.analysis.families import family_name
from scalesweep.analysis.forecast.rivals import local_slopes
from scalesweep.arrays import FloatArray
from scalesweep.laws import Law
from scalesweep.points.design import find_levels
from scalesweep.points.points import Points

LEVELS = (0.25, 0.5, 0.75)
"""Where in the range of losses that enough sizes reach a level is read, from its top."""
_HALVINGS = 60
"""Of a bracket in ln D: what is left is below the rounding of double precision."""


@dataclass(frozen=True, eq=False)
class Trunk:
    """Losses of one size and seed at increasing budgets."""

    n: float
    """Parameters."""
    seed: str
    """Empty where the table says none."""
    d: FloatArray
    """Training tokens of its runs, shape (runs,)."""
    loss: FloatArray
    """Loss of each, shape (runs,)."""

    def tokens_to(self, target: ArrayLike) -> FloatArray:
        """See `tokens_to_loss`."""
        return tokens_to_loss(self.d, self.loss, target)


def tokens_to_loss(d: ArrayLike, loss: ArrayLike, target: ArrayLike) -> FloatArray:
    """Training tokens at which one model size reaches a loss; NaN outside the measured losses, because nothing is extrapolated.

    Runs of one budget are averaged in ln L. Neighbouring budgets whose losses do not fall are pooled (adjacent violators, least
    squares) into one point at their mean ln D and ln L, so that the inverse is unique; between the points ln L is the monotone
    cubic of Fritsch and Carlson (1980, PCHIP) in ln D.

    Args:
        d: tokens of each finished run, shape (runs,), in any order.
        loss: its loss, shape (runs,).
        target: losses of any shape.

    Returns:
        Tokens, of the shape of `target`.
    """
    goal = np.log(np.asarray(target, dtype=np.float64))
    log_d, log_loss = _falling(np.log(np.asarray(d, dtype=np.float64)), np.log(np.asarray(loss, dtype=np.float64)))
    inside = (goal <= log_loss[0]) & (goal >= log_loss[-1])
    if len(log_d) < 2 or not inside.any():
        return np.full(goal.shape, math.nan)
    curve = PchipInterpolator(log_d, log_loss)
    left = np.clip(np.searchsorted(-log_loss, -goal, side="right") - 1, 0, len(log_d) - 2)
    low, high = log_d[left], log_d[left + 1]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_above = curve(middle) > goal
        low, high = np.where(is_above, middle, low), np.where(is_above, high, middle)
    return np.where(inside, np.exp((low + high) / 2), math.nan)


def _falling(log_d: FloatArray, log_loss: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means by budget, pooled until they fall strictly, by increasing D."""
    budgets, which, runs = np.unique(log_d, return_inverse=True, return_counts=True)
    means = np.bincount(which, log_loss) / runs
    fitted = isotonic_regression(means, weights=runs, increasing=False)
    first = np.asarray(fitted.blocks[:-1], dtype=np.int64)
    weight = np.add.reduceat(runs, first)
    return np.add.reduceat(runs * budgets, first) / weight, np.asarray(fitted.x)[first]


def trunks_of(points: Points) -> list[Trunk]:
    """The used rows by size and seed, both increasing; a table without seeds has one trunk a size."""
    n, d, loss, used = points.n, points.d, points.loss, points.used
    seed = used["seed"].map(family_name).to_numpy(dtype=str) if "seed" in used else np.full(len(n), "")
    size = find_levels(n)
    found = []
    for level in range(int(size.max()) + 1):
        for one in np.unique(seed[size == level]):
            rows = np.flatnonzero((size == level) & (seed == one))
            rows = rows[np.argsort(d[rows], kind="stable")]
            found.append(Trunk(float(np.exp(np.log(n[size == level]).mean())), str(one), d[rows], loss[rows]))
    return found


def loss_levels(trunks: Sequence[Trunk], sizes: int = 3, shares: Sequence[float] = LEVELS) -> FloatArray:
    """Losses at these shares, from the top, of the range that at least so many sizes reach with all their trunks.

    No trunk is asked for a loss beyond its own. Where the range has gaps, its longest piece is taken.

    Returns:
        Decreasing losses, shape (shares,); empty where fewer sizes have any loss in common.
    """
    ends = {n: (math.inf, -math.inf) for n in (trunk.n for trunk in trunks)}
    for trunk in trunks:
        falling = _falling(np.log(trunk.d), np.log(trunk.loss))[1]
        high, low = ends[trunk.n]
        ends[trunk.n] = min(high, float(falling[0])), max(low, float(falling[-1]))
    edges = np.unique([edge for pair in ends.values() for edge in pair])
    reached = np.array([sum(low < middle < high for high, low in ends.values()) for middle in (edges[1:] + edges[:-1]) / 2])
    pieces = np.flatnonzero(np.diff(np.concatenate(([False], reached >= sizes, [False])).astype(np.int64)))
    if not len(pieces):
        return np.empty(0)
    bottoms, tops = np.exp(edges[pieces[::2]]), np.exp(edges[pieces[1::2]])
    longest = int(np.argmax(tops - bottoms))
    top, bottom = tops[longest], bottoms[longest]
    return np.asarray(top - np.asarray(shares) * (top - bottom))


def elasticity(law: Law, n: ArrayLike, d: ArrayLike) -> FloatArray:
    """By a law of N and D, s = g_N / g_D = -d ln tau / d ln N at constant loss; the arguments are broadcast."""
    by_n, by_d = local_slopes(lambda n, d: np.log(law.predict(n, d)), n, d)
    with np.errstate(divide="ignore", invalid="ignore"):  # more tokens change nothing: no number of them makes up for N
        return np.asarray(by_n / by_d)
