"""Seconds per step of seven sizes, interpolated from a few of them as `scalesweep plan` does it, against measured ones.

    python scripts/bench_prices.py [--device cuda] [--sizes 12k 30k 70k 150k 350k 800k 2M] [--batches 256 512 1024]

Every time is the shortest of some rounds, as other programs only lengthen it.
"""

import argparse
import dataclasses

import torch

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.plan.step_times import families, interpolate, to_measure
from scalesweep.settings.compose import compose_settings
from scalesweep.train.device import device_name, prepare_device
from scalesweep.train.measure import seconds_per_step
from scalesweep.units import format_count


def cells_of(sizes: list[str], batches: list[int], device: str) -> list[Cell]:
    """Cells of the recipe at these sizes, each at every batch, with 512 tokens of vocabulary."""
    words = ["model.context=32", f"sweep.sizes=[{','.join(sizes)}]", "sweep.budgets=[4M]", "sweep.seeds=[0]"]
    facts = CorpusFacts("random", "0" * 16, 512, 10**8)
    settings = compose_settings([*words, "recipe.batch_exponent=0"])
    cells = make_plan(settings, facts, "cuda" if device.startswith("cuda") else "cpu").cells
    of_batches = ([dataclasses.replace(c, batch_sequences=max(1, b // c.shape.context)) for b in batches] for c in cells)
    (members,) = families(cell for several in of_batches for cell in several)
    return members


def main() -> None:
    """Print one row for each size and batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", nargs="+", default=["12k", "30k", "70k", "150k", "350k", "800k", "2M"])
    parser.add_argument("--batches", type=int, nargs="+", default=[512], help="tokens per step")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = prepare_device(options.device)
    cells = cells_of(options.sizes, options.batches, options.device)
    times = [seconds_per_step(cell, device, None) for cell in cells]
    for _ in range(options.rounds - 1):
        times = [min(time, seconds_per_step(cell, device, None)) for time, cell in zip(times, cells, strict=True)]
    nodes = to_measure(cells)
    guess = interpolate([(cell, time) for cell, time in zip(cells, times, strict=True) if cell in nodes])
    print(f"{device_name(device)}, torch {torch.__version__}, shortest of {options.rounds} rounds\n")
    print("| width | N | tokens/step | measured, ms | interpolated, ms | ratio |\n|---|---|---|---|---|---|")
    for cell, time in sorted(zip(cells, times, strict=True), key=lambda pair: (pair[0].shape.width, pair[0].batch_tokens)):
        n = format_count(cell.num_params(compose_settings([]).count))
        row = f"| {cell.shape.width} | {n} | {cell.batch_tokens:,} | {1e3 * time:.2f} |"
        print(row + (" | |" if cell in nodes else f" {1e3 * guess(cell):.2f} | {guess(cell) / time:.2f} |"))


if __name__ == "__main__":
    main()
