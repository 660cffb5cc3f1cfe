"""Simulates what a verdict is worth: sweeps from known worlds, and how often the tool's intervals hold the truth in each.

    python scripts/verdict_table.py [--replicates NUM] [--resamples NUM] [--worlds A,B]

Each world is a law, a noise of 0.5 % of the loss and a grid of sizes and tokens per parameter. Counted are sweeps whose preferred law is
called identified; whether its intervals of alpha, beta, E and a hold the world's (where the world has them), among all sweeps and
among those called identified; and whether the honest interval of a new run at ten times the compute holds one.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scalesweep.analysis.forecast.forecast import forecast
from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.fit import fit_laws
from scalesweep.fit.coverage import NoiseModel
from scalesweep.fit.results import Status
from scalesweep.laws import Chinchilla, Coupled, JointLaw
from scalesweep.points.design import find_levels
from scalesweep.points.points import points_from_rows
from scalesweep.settings.fit import FitSpec

SD = 0.005
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
    noise: NoiseModel = NoiseModel("independent", SD)
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


def draw(world: World, rng: np.random.Generator):
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
            rows = np.flatnonzero(n == size)
            noise[rows[np.argsort(d[rows])]] = (
                SD * np.cumsum(rng.standard_normal(len(rows))) / np.sqrt(np.arange(1, len(rows) + 1))
            )
    loss = truth * np.exp(noise * (truth / truth.mean()) ** world.growth)
    loss[int(rng.integers(len(loss)))] *= world.bad
    rows = [dict(n=a, d=b, c=6 * a * b, loss=l, seed=int(s)) for a, b, l, s in zip(n, d, loss, seed)] * world.copies
    if world.shared != "seed":
        rows = [{k: v for k, v in row.items() if k != "seed"} for row in rows]
    if world.checkpoints:
        rows = [row | {"run": f"{row['n']:.0f}"} for row in rows]
    return points_from_rows(rows, "as simulated", "six_n", world.name)


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=200, help="sweeps of each world (default: 200)")
    parser.add_argument("--resamples", type=int, default=200, help="resamples of each fit (default: 200)")
    parser.add_argument("--worlds", default=",".join(world.name for world in WORLDS))
    options = parser.parse_args()
    names = options.worlds.split(",")
    print(
        f"{'world':<24}{'identified':>11} | {'alpha':>6}{'beta':>6}{'E':>6}{'a':>6} | {'10x form':>9}{'honest':>8}{'width':>7}{'error':>7}{'none':>6}"
    )
    for index, world in enumerate(WORLDS):
        if world.name not in names:
            continue
        found = []
        for replicate in range(options.replicates):
            rng = np.random.default_rng([index, replicate])
            found.append(_judge(world, rng, FitSpec(bootstrap=options.resamples, seed=replicate)))
        _print(world, found)


def _judge(world: World, rng: np.random.Generator, spec: FitSpec) -> dict[str, float]:
    points = draw(world, rng)
    fit = fit_laws(points, spec)
    best = fit.preferred
    assert best is not None
    out: dict[str, float] = {"identified": float(best.status is Status.IDENTIFIED)}
    for name in ("alpha", "beta", "E", "a") if world.law is not None else ():
        interval = best.estimates[name].interval if name in best.estimates else None
        out[name] = float("nan") if interval is None else float(interval.low <= getattr(world.law, name) <= interval.high)
    largest = 6 * float(np.max(points.n * points.d))
    n_opt = float(ADDITIVE.n_opt(10 * largest))
    d_opt = 10 * largest / 6 / n_opt
    try:
        made = forecast(points, spec, at=(n_opt, d_opt))
    except FitError:
        return out
    actual = float(world.loss(np.array([n_opt]), np.array([d_opt]))[0]) * float(np.exp(world.noise.sd * rng.standard_normal()))
    out["form"] = float(made.form.low <= actual <= made.form.high)
    if made.honest:
        out |= {
            "honest": float(made.honest.low <= actual <= made.honest.high),
            "width": np.log(made.honest.high / made.honest.low),
            "error": abs(made.honest.value / actual - 1),
        }
    return out


def _print(world: World, found: list[dict[str, float]]) -> None:
    def share(name: str, rows: list[dict[str, float]]) -> str:
        values = [row[name] for row in rows if name in row and np.isfinite(row[name])]
        return f"{np.mean(values):.0%}" if values else "-"

    known = [row for row in found if row["identified"]]
    widths = [row["width"] for row in found if "width" in row]
    errors = [row["error"] for row in found if "error" in row]
    for label, rows in ((world.name, found), ("  identified", known)):
        if label == world.name:
            tail = f" | {share('form', rows):>9}{share('honest', rows):>8}{np.median(widths) if widths else float('nan'):>7.1%}{np.median(errors) if errors else float('nan'):>7.2%}{1 - len(widths) / len(found):>6.0%}"
        else:
            tail = f" | {share('form', rows):>9}{share('honest', rows):>8}"
        print(
            f"{label:<24}{len(known) / len(found):>11.0%} | {share('alpha', rows):>6}{share('beta', rows):>6}{share('E', rows):>6}{share('a', rows):>6}{tail}",
            flush=True,
        )


if __name__ == "__main__":
    main()
