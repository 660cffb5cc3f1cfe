"""Bias of the loss at a tuned optimum, in units of the noise, by simulation: the lowest loss against the local quadratic.

The curve is k x^2 / 2 in the logarithm x of the learning rate (k = 0.06 nats, so half the optimal rate costs 0.014), or a
skewed one that is steeper above the optimum, k (exp(s x) - 1 - s x) / s^2 with s = 0.6. Takes no argument.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from scalesweep.analysis.tuning.frontier import LR
from scalesweep.analysis.tuning.optima import REACH, tuned_frontier
from scalesweep.analysis.tuning.response import fit_surface
from scalesweep.points.points import points_from_rows

CURVATURE, SKEW, REPLICATES = 0.06, 0.6, 2000
FloatArray = NDArray[np.float64]


def curve(x: FloatArray, skewed: bool) -> FloatArray:
    """Loss above the optimum at log learning rate x."""
    return CURVATURE * ((np.exp(SKEW * x) - 1 - SKEW * x) / SKEW**2 if skewed else x**2 / 2)


def simulate(num: int, ratio: float, sigma: float, skewed: bool) -> list[float]:
    """Biases in sigma, coverage of the 90 % interval, share without an inner minimum."""
    rng = np.random.default_rng(0)
    lowest, inner, covered, failed = [], [], [], 0
    for _ in range(REPLICATES):
        grid = (np.arange(num) - (num - 1) / 2 + rng.uniform(-0.5, 0.5)) * math.log(ratio)
        y = curve(grid, skewed) + sigma * rng.standard_normal(num)
        surface = fit_surface(grid[:, None], y, [REACH[LR]])
        lowest.append(y.min())
        if surface is None or not grid[0] < surface.x[0] < grid[-1]:
            failed += 1
            continue
        value = surface.value(sigma)
        inner.append([surface.y, value])
        covered.append(abs(value) < 1.645 * surface.error(sigma))
    vertex, corrected = np.mean(inner, axis=0) / sigma
    naive = float(np.mean(lowest)) / sigma
    return [naive, naive + math.sqrt(2 * math.log(num)), vertex, corrected, float(np.mean(covered)), failed / REPLICATES]


def search(num: int, weight: float, groups: int = 60, sigma: float = 0.01) -> list[float]:
    """Biases in sigma, coverage and share left out of Sobol searches over learning rate and a weight decay of that weight."""
    rng, rows = np.random.default_rng(3), []
    for group in range(groups):
        u = qmc.Sobol(2, seed=rng).random_base2(round(math.log2(num)))
        lr, decay = 1.5e-3 * 32 ** u[:, 0], 0.01 * 100 ** u[:, 1]
        loss = (
            2 + CURVATURE / 2 * np.log(lr / 0.008) ** 2 + weight * np.log(decay / 0.1) ** 2 + sigma * rng.standard_normal(num)
        )
        common = {"n": 1000 * (group + 1), "d": 1e6, "c": 1e10, "seed": 0}
        rows += [
            {**common, "loss": y, "tune.recipe.lr": a, "tune.optim.weight_decay": b}
            for y, a, b in zip(loss, lr, decay, strict=True)
        ]
    frontier = tuned_frontier(points_from_rows(rows, "none", "none", "simulated"))
    error = np.array([o.loss - 2 for o in frontier.optima])
    covered = np.mean(np.abs(error) < 1.645 * np.array([o.loss_se for o in frontier.optima]))
    naive = float(np.mean([group.lowest - 2 for group in frontier.groups])) / sigma
    out = 1 - len(frontier.optima) / groups
    return [naive, naive + math.sqrt(2 * math.log(num)), float(error.mean()) / sigma, float(covered), out]


def main() -> None:
    """Print both tables."""
    print("| curve | settings | ratio | sigma | lowest | + sigma sqrt(2 ln n) | vertex | corrected | coverage | no minimum |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for skewed in (False, True):
        for num, ratio in ((6, 2.0), (9, 2.0), (16, 1.3)):
            for sigma in (0.002, 0.01, 0.02):
                *biases, coverage, failed = simulate(num, ratio, sigma, skewed)
                words = " | ".join(f"{b:+.2f}" for b in biases)
                name = "skewed" if skewed else "parabola"
                print(f"| {name} | {num} | {ratio} | {sigma} | {words} | {coverage:.0%} | {failed:.1%} |")
    print("\n| weight decay | settings | lowest | + sigma sqrt(2 ln n) | corrected | coverage | left out |")
    print("|---|---|---|---|---|---|---|")
    for name, weight in (("does nothing", 0.0), ("weak", 0.004), ("strong", 0.02)):
        for num in (16, 32, 64):
            *biases, coverage, out = search(num, weight)
            print(f"| {name} | {num} | {' | '.join(f'{b:+.2f}' for b in biases)} | {coverage:.0%} | {out:.0%} |")


if __name__ == "__main__":
    main()
