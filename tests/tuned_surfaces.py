"""Simulated sweeps with tuned settings, whose optima are known."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from scalesweep.points.points import Points, points_from_rows

SIZES = [1e4, 3e4, 1e5, 3e5]
BUDGETS = [1e5, 3e5, 1e6, 3e6]
LRS = np.geomspace(1e-3, 6.4e-2, 7)


def law(n: float, d: float) -> float:
    """Chinchilla's form with equal exponents, so that N* grows as C^0.5."""
    return 1.2 + 30 / n**0.35 + 60 / d**0.35


def best_lr(n: float, d: float) -> float:
    return 0.3 * n**-0.4 * d**0.03


def cost(n: float, d: float, lr: float) -> float:
    return 0.04 * (math.log(lr) - math.log(best_lr(n, d))) ** 2


def sweep(
    extra: Callable[[dict[str, Any]], float] = lambda row: 0.0,
    grid: Iterable[dict[str, float]] = ({"recipe.lr": float(lr)} for lr in ()),
    sigma: float = 0.0,
    seeds: Iterable[int] = (0,),
    sizes: Iterable[float] = SIZES,
) -> Points:
    """Measured cells of every size, budget, seed and setting."""
    rng, rows = np.random.default_rng(0), []
    grid = list(grid) or [{"recipe.lr": float(lr)} for lr in LRS]
    for n in sizes:
        for d in BUDGETS:
            for seed in seeds:
                for setting in grid:
                    row = {"n": n, "d": d, "c": 6 * n * d, "seed": seed, **{f"tune.{k}": v for k, v in setting.items()}}
                    loss = law(n, d) + extra(row) + sigma * float(rng.standard_normal())
                    reason = "" if math.isfinite(loss) else "diverged"
                    rows.append({**row, "loss": loss if not reason else math.nan, "excluded_reason": reason})
    return points_from_rows(rows, "with_head", "six_n", "simulated")
