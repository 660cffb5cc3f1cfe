"""Tokens per second of R runs stepped together, against the same runs one after another, side by side in one process.

    python scripts/bench_packing.py [--device cuda] [--runs 1 4 16 64] [--widths 16 64 128] [--batches 128 512 2048]

Both sides are `train.measure.seconds_per_step` on random tokens: the whole loop, with data, clipping and AdamW, without
evaluation. Rounds alternate between the two; the ratio is the median of the rounds' ratios.
"""

import argparse
import dataclasses
import statistics

import torch

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.compose import compose_settings
from scalesweep.train.device import device_name, is_out_of_memory, prepare_device
from scalesweep.train.measure import seconds_per_step

CONTEXT = 32


def cell_of(width: int, batch_tokens: int, device: str) -> Cell:
    """A cell of two layers, 512 tokens of vocabulary."""
    words = [f"sweep.sizes=[{{width: {width}, depth: 2}}]", "sweep.budgets=[1M]", f"recipe.batch_tokens={batch_tokens}"]
    settings = compose_settings([*words, f"model.context={CONTEXT}", "sweep.seeds=[0]"])
    plan = make_plan(settings, CorpusFacts("random", "0" * 16, 512, 10**6), "cuda" if device.startswith("cuda") else "cpu")
    return dataclasses.replace(plan.cells[0], batch_sequences=batch_tokens // CONTEXT)


def compare(cell: Cell, runs: int, device: torch.device, rounds: int, num_steps: int) -> tuple[float, float, float]:
    """Tokens per second one after another and together, and the median ratio."""
    alone: list[float] = []
    together: list[float] = []
    for i in range(rounds):
        sides = [(alone, 1, 1 / cell.batch_tokens), (together, runs, 1 / (runs * cell.batch_tokens))]
        for times, number, per_token in sides if i % 2 == 0 else reversed(sides):
            times.append(per_token * seconds_per_step(cell, device, None, number, num_steps if number > 1 else 2 * num_steps))
    ratio = statistics.median(a / b for a, b in zip(alone, together, strict=True))
    return 1 / statistics.median(alone), 1 / statistics.median(together), ratio


def main() -> None:
    """Print one row for each width, batch and R."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64, 128])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512, 2048], help="tokens per step of a run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    device = prepare_device(options.device)
    print(f"{device_name(device)}, torch {torch.__version__}, context {CONTEXT}, 2 layers\n")
    print("| width | tokens/step | R | one after another, tokens/s | together, tokens/s | ratio |\n|---|---|---|---|---|---|")
    for width in options.widths:
        for batch in options.batches:
            cell = cell_of(width, batch, options.device)
            for runs in options.runs:
                try:
                    alone, together, ratio = compare(cell, runs, device, options.rounds, options.steps)
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    print(f"| {width} | {batch} | {runs} | | out of memory | |", flush=True)
                    continue
                print(f"| {width} | {batch} | {runs} | {alone:,.0f} | {together:,.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
