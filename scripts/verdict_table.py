"""Simulates what a verdict is worth: sweeps from known worlds, and how often the tool's intervals hold the truth in each.

    python scripts/verdict_table.py [--replicates NUM] [--resamples NUM] [--worlds additive "noise by budget"]

Each world is a law, a noise of 0.5 % of the loss and a grid of sizes and tokens per parameter. Counted are sweeps whose
preferred law is called identified; whether its intervals of alpha, beta, E and a hold the world's (where the world has them),
among all sweeps and, in brackets, among those called identified; and whether the intervals of a new run at ten times the
compute hold one.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalesweep.analysis.forecast.forecast import forecast
from scalesweep.arrays import FloatArray
from scalesweep.fit import fit_laws
from scalesweep.fit.coverage import NoiseModel
from scalesweep.fit.results import Status
from scalesweep.laws import Chinchilla, Coupled, JointLaw
from scalesweep.points.design import find_levels
from scalesweep.points.points import Points, points_from_rows
from scalesweep.settings.fit import FitSpec

SD = 0.005
PARAMETERS = ("alpha", "beta", "E", "a")
INDEPENDENT = NoiseModel("independent", SD)
ADDITIVE = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
"""Hoffmann et al. 2022, as printed."""
COUPLED = Coupled(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28, kappa=0.7)
RATIOS = (5.0, 10, 20, 40, 80)
SMALLEST, LARGEST = 5e6, 1.6e8
Loss = Callable[[FloatArray, FloatArray], FloatArray]


def _broken(n: FloatArray, d: FloatArray) -> FloatArray:
    """The additive law, whose reducible loss falls half as fast beyond four times the largest compute of the design."""
    c, edge = 6 * n * d, 4 * 6 * 80 * LARGEST**2
    return np.asarray(ADDITIVE.E + (ADDITIVE.predict(n, d) - ADDITIVE.E) * np.maximum(c / edge, 1.0) ** 0.075)


def _slow(n: FloatArray, d: FloatArray) -> FloatArray:
    """The additive law with a third of E in a term that falls as N D to the power -0.03."""
    c = 6 * n * d / 1e17
    return np.asarray(ADDITIVE.predict(n, d) - 0.5 + 0.5 * c**-0.03)


@dataclass(frozen=True)
class World:
    """What is simulated."""

    name: str
    loss: Loss
    """The loss without noise at N and D."""
    law: JointLaw | None
    """Whose parameters are the truth; None where no form has them."""
    noise: NoiseModel = INDEPENDENT
    shared: str = ""
    """`d` or `seed`: what two thirds of the variance is shared by, beside the noise's own."""
    num_sizes: int = 6
    copies: int = 1
    """Times that the table stands in itself."""
    checkpoints: bool = False
    """Whether each size is one run, measured at all its budgets, whose noise walks."""
    bad: float = 1.0
    """Factor on one loss."""
    growth: float = 0.0
    """Power of the loss that the noise grows with."""


WORLDS = (
    World("additive", ADDITIVE.predict, ADDITIVE),
    World("coupled", COUPLED.predict, COUPLED),
    World("hidden slow term", _slow, None),
    World("broken beyond the data", _broken, ADDITIVE),
    World("noise by size", ADDITIVE.predict, ADDITIVE, NoiseModel("by size", SD, size_share=0.64)),
    World("noise by budget", ADDITIVE.predict, ADDITIVE, shared="d"),
    World("noise by seed", ADDITIVE.predict, ADDITIVE, shared="seed"),
    World("uneven noise", ADDITIVE.predict, ADDITIVE, growth=4.0),
    World("heavy tails", ADDITIVE.predict, ADDITIVE, NoiseModel("heavy tails", SD, tails="t3")),
    World("4 sizes", ADDITIVE.predict, ADDITIVE, num_sizes=4),
    World("4 sizes, noise by size", ADDITIVE.predict, ADDITIVE, NoiseModel("by size", SD, size_share=0.64), num_sizes=4),
    World("one bad row", COUPLED.predict, COUPLED, bad=1.35),
    World("three copies", ADDITIVE.predict, ADDITIVE, copies=3),
    World("checkpoints", ADDITIVE.predict, ADDITIVE, checkpoints=True),
)


def draw(world: World, rng: np.random.Generator) -> Points:
    """One sweep of the world."""
    sizes = np.geomspace(SMALLEST, LARGEST, world.num_sizes)
    if world.shared:
        tokens = np.geomspace(2e8, 6.4e9, 5)
        n, d = (axis.ravel() for axis in np.meshgrid(sizes, tokens))
    else:
        n, ratio = (axis.ravel() for axis in np.meshgrid(sizes, RATIOS))
        d = n * ratio
    seed = np.zeros(len(n), dtype=int)
    if world.shared == "seed":
        n, d, seed = np.tile(n, 3), np.tile(d, 3), np.repeat([0, 1, 2], len(n))
    truth = np.asarray(world.loss(n, d))
    noise = world.noise.draw(find_levels(n), rng)
    if world.shared == "d":
        labels = find_levels(d)
        noise = SD * (
            np.sqrt(2 / 3) * rng.standard_normal(labels.max() + 1)[labels] + np.sqrt(1 / 3) * rng.standard_normal(len(n))
        )
    if world.shared == "seed":
        noise = SD * (np.sqrt(2 / 3) * rng.standard_normal(3)[seed] + np.sqrt(1 / 3) * rng.standard_normal(len(n)))
    if world.checkpoints:
        noise = np.zeros(len(n))
        for size in np.unique(n):
            of_size = np.flatnonzero(n == size)
            noise[of_size[np.argsort(d[of_size])]] = (
                SD * np.cumsum(rng.standard_normal(len(of_size))) / np.sqrt(np.arange(1, len(of_size) + 1))
            )
    loss = truth * np.exp(noise * (truth / truth.mean()) ** world.growth)
    loss[int(rng.integers(len(loss)))] *= world.bad
    columns = zip(n.tolist(), d.tolist(), loss.tolist(), seed.tolist(), strict=True)
    rows: list[dict[str, Any]] = [
        {"n": x, "d": y, "c": 6 * x * y, "loss": z, "seed": k} for x, y, z, k in columns
    ] * world.copies
    if world.shared != "seed":
        rows = [{k: v for k, v in row.items() if k != "seed"} for row in rows]
    if world.checkpoints:
        rows = [row | {"run": f"{row['n']:.0f}"} for row in rows]
    return points_from_rows(rows, "as simulated", "six_n", world.name)


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=200, help="sweeps of each world (default: 200)")
    parser.add_argument("--resamples", type=int, default=100, help="resamples of each fit (default: 100)")
    names = [world.name for world in WORLDS]
    parser.add_argument("--worlds", nargs="+", choices=names, default=names, metavar="WORLD", help="by name (default: all)")
    options = parser.parse_args()
    print("| world | identified | alpha | beta | E | a | 10x, law | 10x, honest | width | error | withheld |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for index, world in enumerate(WORLDS):
        if world.name in options.worlds:
            streams = (np.random.default_rng([index, replicate]) for replicate in range(options.replicates))
            found = [judge(world, rng, FitSpec(bootstrap=options.resamples, seed=i)) for i, rng in enumerate(streams)]
            print(render(world, found), flush=True)


def judge(world: World, rng: np.random.Generator, spec: FitSpec) -> dict[str, float]:
    """What was said of one sweep, and whether it held: shares as 0 or 1, NaN where nothing was said."""
    points = draw(world, rng)
    best = fit_laws(points, spec).preferred
    assert best is not None
    found = dict.fromkeys((*PARAMETERS, "form", "honest", "width", "error"), math.nan)
    found["identified"] = float(best.status is Status.IDENTIFIED)
    for name in PARAMETERS if world.law is not None else ():
        interval = best.estimates[name].interval if name in best.estimates else None
        found[name] = math.nan if interval is None else float(interval.holds(getattr(world.law, name)))
    compute = 10 * 6 * float(np.max(points.n * points.d))
    n = float(ADDITIVE.n_opt(compute))
    d = compute / 6 / n
    made = forecast(points, spec, at=(n, d))
    run = float(world.loss(np.array([n]), np.array([d]))[0]) * math.exp(world.noise.sd * rng.standard_normal())
    found["form"] = float(made.form.interval.holds(run))
    if made.honest:
        width = math.log(made.honest.high / made.honest.low)
        found |= {"honest": float(made.honest.interval.holds(run)), "width": width, "error": abs(made.honest.value / run - 1)}
    return found


def render(world: World, found: Sequence[dict[str, float]]) -> str:
    """A row of the table; in brackets, of the sweeps whose law was called identified."""
    known = [row for row in found if row["identified"]]

    def over(name: str, rows: Sequence[dict[str, float]], statistic: Callable[[FloatArray], Any]) -> float:
        values = np.array([row[name] for row in rows if not math.isnan(row[name])])
        return float(statistic(values)) if len(values) else math.nan

    def shares(name: str) -> str:
        both = [over(name, rows, np.mean) for rows in (found, known)]
        return "-" if math.isnan(both[0]) else f"{both[0]:.0%}" + ("" if math.isnan(both[1]) else f" ({both[1]:.0%})")

    cells = [world.name, f"{len(known) / len(found):.0%}", *map(shares, (*PARAMETERS, "form", "honest"))]
    cells += [f"{over('width', found, np.median):.1%}", f"{over('error', found, np.median):.2%}"]
    cells.append(f"{np.mean([math.isnan(row['honest']) for row in found]):.0%}")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
