"""What a GPU preset costs and tells, before anything is trained: cells, hours, and the interval of a that is to be expected.

    python scripts/preset_table.py chinchilla_small kaplan_small [--hours 1 8 12] [--sweeps 20] [--set key=value]

The cells are those that `scalesweep plan sweep=PRESET train.device=cuda budget.hours=HOURS` keeps for one GPU by the estimate
of `plan.estimate`; nothing is downloaded and no GPU is asked, so the corpus is taken as large enough. Sweeps of these cells are
drawn from known laws, with independent normal noise of the log loss of each run, fitted as any other, and counted:

    law        interval of a (N* ~ C^a) by the joint law that the points prefer
    theories   union of the intervals of all rival laws that the points allow, as `run until='a<.03'` reads it
    isoFLOP    interval of a by approach 2, where the cells make curves

Each has its median half-width, and the share of sweeps in which it holds the truth. The truths are laws as they were published
or fitted elsewhere, of N and D of the cells as the preset counts them.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from scalesweep.analysis.allocation.approaches import draw_known_noise, fit_isoflops
from scalesweep.analysis.allocation.minima import isoflop_minima
from scalesweep.analysis.forecast.goal import exponent
from scalesweep.analysis.forecast.rivals import THEORIES, fit_rivals
from scalesweep.errors import Refused
from scalesweep.interval import Interval
from scalesweep.laws import Chinchilla, Coupled, JointLaw
from scalesweep.plan.budget import Limit, shrink
from scalesweep.plan.cell import Cell
from scalesweep.plan.cost import wall_seconds, work_of
from scalesweep.plan.estimate import estimated_seconds_per_step, estimated_share
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.points.design import LEVEL_TOLERANCE
from scalesweep.points.points import Points, points_from_rows
from scalesweep.points.rows import Rows
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.fit import FitSpec
from scalesweep.settings.settings import Settings
from scalesweep.units import format_count

TRUTHS: dict[str, JointLaw] = {
    "additive": Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28),
    "coupled": Coupled(E=1.757, A=401.0, B=1245.0, alpha=0.3285, beta=0.3333, kappa=0.7741),
    "coupled, demo": Coupled(1.22, 1.43 * 84e3**0.245, 1.82 * 405e3**0.215, 0.245, 0.215, 0.357),
}
"""Hoffmann et al. 2022 (arXiv 2203.15556), as printed; the 240 points of Besiroglu et al. 2024 (arXiv 2404.10102) by
`scalesweep fit points=chinchilla fit.huber_delta=0.001`; the demo's grid at context 32, as scripts/adaptive_table.py has it."""
READINGS = ("law", "theories", "isoFLOP")
UNIQUE_TOKENS = 2_000_000_000
"""Training tokens that the corpus is taken to have: what data=fineweb_edu was sized for."""


def main() -> None:
    """Plan, price, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+", help="presets of configs/sweep")
    parser.add_argument("--hours", type=float, nargs="+", default=[1, 8, 12], help="budgets, GPU-hours (default: 1 8 12)")
    parser.add_argument("--sweeps", type=int, default=20, help="simulated sweeps for each truth; 0 plans alone (default: 20)")
    parser.add_argument("--resamples", type=int, default=200, help="bootstrap resamples for each interval (default: 200)")
    parser.add_argument("--noise", type=float, default=0.005, help="standard deviation of a run's log loss (default: .005)")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", help="further settings")
    options = parser.parse_args()
    for preset in options.presets:
        settings = compose_settings([f"sweep={preset}", *options.set])
        for hours in options.hours:
            plan = plan_of(settings, hours)
            print("\n".join(described(plan, settings, hours)), flush=True)
            for name, truth in TRUTHS.items() if options.sweeps else ():
                found = simulate(plan, truth, FitSpec(bootstrap=options.resamples), options.noise, options.sweeps)
                print(f"  {name:<15} a {truth.a:.3f}   {'   '.join(row(*reading, truth.a) for reading in found)}", flush=True)


def plan_of(settings: Settings, hours: float) -> Plan:
    """The cells that a budget of hours on one GPU keeps, by the estimate."""
    vocab_size = settings.data.tokenizer.vocab_size
    facts = CorpusFacts("assumed", "0" * 16, vocab_size or 257, UNIQUE_TOKENS)
    plan = make_plan(settings, facts, "cuda")

    def cost(cells: Sequence[Cell]) -> float:
        return hours_of(dataclasses.replace(plan, cells=tuple(cells)))

    left_out = shrink(plan, settings, [Limit("budget.hours", hours, cost)])
    return make_plan(settings, facts, "cuda", left_out={cell.key for cell in left_out})


def hours_of(plan: Plan) -> float:
    """Hours of one worker on one GPU, estimated."""
    return wall_seconds(work_of(plan, estimated_seconds_per_step), 1) / 3600


def described(plan: Plan, settings: Settings, hours: float) -> Iterator[str]:
    """Lines on the cells of a plan, and what they cost."""
    n = sorted({cell.num_params(plan.count) for cell in plan.cells})
    d = [cell.tokens for cell in plan.cells]
    c = [cell.flops(plan.count) for cell in plan.cells]
    seeds = [sum(cell.seed == seed for cell in plan.cells) for seed in settings.sweep.seeds]
    yield (
        f"{plan.name}, budget.hours={hours:g}: {len(plan.cells)} cells ({' + '.join(map(str, seeds))} of seeds "
        f"{', '.join(map(str, settings.sweep.seeds))}), {len(n)} sizes {format_count(n[0])} to {format_count(n[-1])}, "
        f"D {format_count(min(d))} to {format_count(max(d))}, C {min(c):.2g} to {max(c):.2g}, "
        f"{min(cell.steps for cell in plan.cells):,} to {max(cell.steps for cell in plan.cells):,} steps"
    )
    yield (
        f"  {plan.shared_flops(plan.count):.2g} FLOPs with shared trunks, {sum(c):.2g} without; {hours_of(plan):.2g} GPU-hours "
        f"(estimated: {estimated_share(plan):.0%} of an H100's ceiling, runs one by one)"
    )


def simulate(
    plan: Plan, truth: JointLaw, spec: FitSpec, noise: float, sweeps: int
) -> list[tuple[str, list[Interval | Refused]]]:
    """Each reading's interval of a in every simulated sweep."""
    cells = [cell.row(plan.count) for cell in plan.cells]
    readings: dict[str, list[Interval | Refused]] = {name: [] for name in READINGS}
    for sweep in range(sweeps):
        rng = np.random.default_rng([spec.seed, sweep])
        rows = [
            row | {"loss": float(truth.predict(row["n"], row["d"])) * np.exp(noise * rng.standard_normal())} for row in cells
        ]
        own = spec.model_copy(update={"seed": sweep})
        points = points_from_rows(rows, plan.count.params, plan.count.flops, plan.name)
        for name, interval in read(points, own).items():
            readings[name].append(interval)
    return list(readings.items())


def read(points: Points, spec: FitSpec) -> dict[str, Interval | Refused]:
    """The intervals of a by `READINGS`."""
    rivals = fit_rivals(Rows.of(points), spec, THEORIES)
    alone = dataclasses.replace(rivals, members=(rivals.preferred,))
    found: dict[str, Interval | Refused] = {}
    for name, chosen in (("law", alone), ("theories", rivals)):
        a = exponent(chosen, spec.confidence)
        found[name] = a if isinstance(a, Refused) else Interval(a.low, a.high)
    noise = draw_known_noise(points, spec, None, LEVEL_TOLERANCE)
    by_minima = fit_isoflops(isoflop_minima(points, "akima", noise, LEVEL_TOLERANCE), spec).a
    interval = None if by_minima is None else by_minima.interval
    found["isoFLOP"] = interval or Refused("There are no isoFLOP curves.")
    return found


def row(name: str, intervals: Sequence[Interval | Refused], truth: float) -> str:
    """Median half-width of a reading, and how often it held the truth."""
    known = [interval for interval in intervals if not isinstance(interval, Refused)]
    if not known:
        return f"{name} -"
    half = np.median([(interval.high - interval.low) / 2 for interval in known])
    held = np.mean([interval.holds(truth) for interval in known])
    refused = f" ({len(intervals) - len(known)} refused)" if len(known) < len(intervals) else ""
    return f"{name} ±{half:.3f} holds {held:.0%}{refused}"


if __name__ == "__main__":
    main()
