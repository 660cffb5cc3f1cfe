"""Error of the loss at a tuned optimum, by simulation of whole sweeps: the lowest loss against the tuned frontier.

The curve is k x^2 / 2 in the logarithm x of the learning rate (k = 0.06 nats, so half the optimal rate costs 0.014), a skewed
one that is steeper above the optimum, k (exp(s x) - 1 - s x) / s^2 with s = 0.6, or one with a cliff: the parabola, and 1.5
nats for every factor e of the rate beyond 3 times the optimum. A sweep has nine optima, each somewhere between two settings;
its noise is estimated from the sweep itself, and its evaluation errors are as large. Takes no argument.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from scalesweep.analysis.tuning.frontier import Frontier
from scalesweep.analysis.tuning.noise import NORMAL_90
from scalesweep.analysis.tuning.optima import tuned_frontier
from scalesweep.points.points import points_from_rows

CURVATURE, SKEW, CLIFF, OPTIMA, SWEEPS = 0.06, 0.6, 1.5, 9, 60
FloatArray = NDArray[np.float64]


def curve(x: FloatArray, kind: str) -> FloatArray:
    """Loss above the optimum at log learning rate x."""
    if kind == "skewed":
        return CURVATURE * (np.exp(SKEW * x) - 1 - SKEW * x) / SKEW**2
    return CURVATURE * x**2 / 2 + (CLIFF * np.maximum(0, x - math.log(3)) if kind == "cliff" else 0)


def sweep(num: int, ratio: float, sigma: float, kind: str, seed: int) -> Frontier:
    """A sweep whose losses at the optimum are all 2."""
    rng, rows = np.random.default_rng(seed), []
    for optimum in range(OPTIMA):
        x = math.log(ratio) * np.asarray(np.arange(num) - (num - 1) / 2 + rng.uniform(-0.5, 0.5), np.float64)
        common = {"n": 1000.0 * (optimum + 1), "d": 1e6, "c": 1e10, "seed": 0, "loss_se": sigma}
        loss = 2 + curve(x, kind) + sigma * rng.standard_normal(num)
        rows += [{**common, "loss": y, "tune.recipe.lr": math.exp(at)} for at, y in zip(x, loss, strict=True)]
    return tuned_frontier(points_from_rows(rows, "none", "none", "simulated"))


def simulate(num: int, ratio: float, sigma: float, kind: str) -> list[float]:
    """Mean error of the lowest loss and of the frontier, root mean square of the latter, and mean standard error, all in nats;
    coverage of the 90 % interval where there is one, share of vertices among the optima, share left out.
    """
    frontiers = [sweep(num, ratio, sigma, kind, seed) for seed in range(SWEEPS)]
    optima = [o for frontier in frontiers for o in frontier.optima]
    error, spread = np.array([o.loss - 2 for o in optima]), np.array([o.loss_se for o in optima])
    lowest = float(np.mean([group.lowest - 2 for frontier in frontiers for group in frontier.groups]))
    num_vertices = sum(len(frontier.vertices) for frontier in frontiers)
    return [
        lowest,
        float(error.mean()),
        float(np.sqrt(np.mean(error**2))),
        float(np.nanmean(spread)),
        float(np.mean((np.abs(error) < NORMAL_90 * spread)[np.isfinite(spread)])),
        num_vertices / len(optima),
        1 - len(optima) / (SWEEPS * OPTIMA),
    ]


def search(num: int, weight: float, groups: int = 300, sigma: float = 0.01) -> list[float]:
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
    covered = np.mean(np.abs(error) < NORMAL_90 * np.array([o.loss_se for o in frontier.optima]))
    naive = float(np.mean([group.lowest - 2 for group in frontier.groups])) / sigma
    out = 1 - len(frontier.optima) / groups
    return [naive, naive + math.sqrt(2 * math.log(num)), float(error.mean()) / sigma, float(covered), out]


def main() -> None:
    """Print both tables."""
    print("| curve | settings | ratio | sigma | lowest | loss* | rms | ± | coverage | vertices | left out |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for kind in ("parabola", "skewed", "cliff"):
        for num, ratio in ((16, 1.3), (9, 2.0), (6, 2.0), (5, 3.0), (4, 5.0), (4, 10.0)):
            for sigma in (0.002, 0.01, 0.02):
                *errors, coverage, vertices, out = simulate(num, ratio, sigma, kind)
                words = " | ".join(f"{e:+.4f}" for e in errors[:2]) + " | " + " | ".join(f"{e:.4f}" for e in errors[2:])
                shares = " | ".join(f"{share:.0%}" for share in (coverage, vertices, out))
                print(f"| {kind} | {num} | {ratio:g} | {sigma} | {words} | {shares} |", flush=True)
    print("\n| weight decay | settings | lowest | + sigma sqrt(2 ln n) | loss* | coverage | left out |")
    print("|---|---|---|---|---|---|---|")
    for name, weight in (("does nothing", 0.0), ("weaker", 0.002), ("weak", 0.004), ("strong", 0.02)):
        for num in (16, 32, 64):
            *biases, coverage, out = search(num, weight)
            print(f"| {name} | {num} | {' | '.join(f'{b:+.2f}' for b in biases)} | {coverage:.0%} | {out:.0%} |")


if __name__ == "__main__":
    main()
