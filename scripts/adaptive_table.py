"""FLOPs until the interval of a (N* ~ C^a) is as narrow as asked: an adaptive sweep, a fixed grid, and random cells.

    python scripts/adaptive_table.py [--sweeps NUM] [--seconds NUM]

Simulated surfaces, additive and coupled, in the place of the demo's grid and with its seed noise. Each arm goes on until the
half-width is .03 or 6e13 FLOPs are spent: the adaptive sweep from 3 sizes by 3 budgets, with its replicate rung; the demo's
grid of 5 by 5, one seed after another; random cells of the same box, twice the FLOPs each time. All are read by one
function.
The table of docs/adaptive.md is this one's.
"""

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator

import numpy as np

from scalesweep.analysis.forecast.exponent_cells import Place
from scalesweep.analysis.forecast.goal import Goal, read_goal
from scalesweep.analysis.forecast.rounds import End, Log, next_round
from scalesweep.arrays import FloatArray
from scalesweep.errors import Refused
from scalesweep.laws import Chinchilla, Coupled, JointLaw
from scalesweep.points.points import Points, points_from_rows
from scalesweep.settings.fit import FitSpec

GOAL, BUDGET, NOISE = Goal("a", 0.03), 6e13, 0.0046
SPEC = FitSpec(bootstrap=40)
N0, D0 = 84e3, 405e3  # geometric middle of the demo's grid
SURFACES: dict[str, JointLaw] = {
    "additive": Chinchilla(1.5, 0.8 * N0**0.35, 1.0 * D0**0.30, 0.35, 0.30),
    "coupled": Coupled(1.22, 1.43 * N0**0.245, 1.82 * D0**0.215, 0.245, 0.215, 0.357),  # the demo's grid at context 32
}
START = [14e3, 42e3, 126e3], [128e3, 256e3, 512e3]
DEMO = [14e3, 42e3, 80e3, 196e3, 462e3], [128e3, 228e3, 405e3, 720e3, 1.28e6]
Table = list[tuple[float, float, int]]


class Surface:
    """A law that is measured with noise."""

    def __init__(self, law: JointLaw, seed: int) -> None:
        self.law, self.rng = law, np.random.default_rng(seed)
        self.rows: list[dict[str, float]] = []

    def measure(self, cells: Table) -> Points:
        """All points, with these cells among them."""
        for n, d, seed in cells:
            loss = float(self.law.predict(n, d)) * np.exp(NOISE * self.rng.standard_normal())
            self.rows.append({"n": n, "d": d, "c": 6 * n * d, "loss": loss, "seed": seed})
        return points_from_rows(self.rows, "with_head", "six_n", "simulated")


def adaptive(surface: Surface) -> tuple[Points, list[Points]]:
    """The points at the end of an adaptive sweep, and those at its first stop, before any replicate."""
    points, log, stops = surface.measure([(n, d, 0) for n, d in itertools.product(*START)]), Log(GOAL, BUDGET), []
    while not isinstance(made := next_round(points, log, SPEC, lambda n, d: Place(n, d, 6 * n * d)), End):
        stops += [points] if made.reason == "reached" else []
        points, log = surface.measure([(cell.n, cell.d, cell.seed) for cell in made.cells]), log.with_round(made)
    return points, stops[:1]


def fixed(surface: Surface) -> Iterator[Points]:
    """The demo's grid with one more seed each time."""
    for seed in itertools.count():
        yield surface.measure([(n, d, seed) for n, d in itertools.product(*DEMO)])


def random(surface: Surface) -> Iterator[Points]:
    """Random cells of the demo's box, twice the FLOPs each time, from those of the adaptive start on."""
    (low_n, *_, high_n), (low_d, *_, high_d) = DEMO
    spent, due = 0.0, 1e12
    while True:
        cells: Table = []
        while spent < due:
            n, d = (float(np.exp(surface.rng.uniform(*np.log(ends)))) for ends in ((low_n, high_n), (low_d, high_d)))
            cells.append((n, d, 0))
            spent += 6 * n * d
        due *= 2
        yield surface.measure(cells)


def until_narrow(tables: Iterator[Points]) -> Points:
    """The first table whose interval is as narrow as asked, or that spends the budget."""
    for points in tables:
        if points.c.sum() >= BUDGET or GOAL.is_met(read_goal(points, GOAL, SPEC)):
            return points
    raise AssertionError


ARMS: dict[str, Callable[[Surface], tuple[Points, list[Points]]]] = {
    "adaptive": adaptive,
    "fixed grid": lambda surface: (until_narrow(fixed(surface)), []),
    "random cells": lambda surface: (until_narrow(random(surface)), []),
}


def judged(points: Points, truth: float) -> list[float]:
    """FLOPs, cells, half-width, whether it is as narrow as asked, whether the interval holds the truth, error."""
    found = read_goal(points, GOAL, SPEC)
    if isinstance(found, Refused):
        return [points.c.sum(), len(points.c), np.inf, 0, 1, np.nan]
    width, holds = GOAL.width(found), found.low <= truth <= found.high
    return [points.c.sum(), len(points.c), width, width <= GOAL.half_width, holds, abs(found.value - truth)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=200, help="of each surface (default: 200)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="after which no other sweep begins (default: no limit)")
    options = parser.parse_args()
    began = time.monotonic()
    results: dict[tuple[str, str], list[list[float]]] = {}
    for count in range(options.sweeps):
        if time.monotonic() - began > options.seconds:
            break
        for (name, law), (arm, run) in itertools.product(SURFACES.items(), ARMS.items()):
            points, stops = run(Surface(law, 1000 * count + 17))
            results.setdefault((name, arm), []).append(judged(points, law.a))
            for stop in stops:
                results.setdefault((name, "adaptive, at its first stop"), []).append(judged(stop, law.a))
    print(
        "| surface | arm | sweeps | FLOPs, median | over fixed grid | cells | reached | half-width | holds a | median error |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (name, arm), rows in results.items():
        table: FloatArray = np.array(rows)
        fixed_median = np.median(np.array(results[name, "fixed grid"])[:, 0])
        flops, cells, width = np.median(table[:, :3], axis=0)
        print(
            f"| {name} | {arm} | {len(table)} | {flops:.2g} | {flops / fixed_median:.2f} | {cells:.0f} | "
            f"{table[:, 3].mean():.0%} | {width:.3f} | {table[:, 4].mean():.1%} | {np.nanmedian(table[:, 5]):.3f} |"
        )
    print(f"\n{time.monotonic() - began:.0f} seconds.")


if __name__ == "__main__":
    main()
