"""How long training steps take on a device: of one run, of packs of runs, and what the device could do at most."""

import dataclasses
import functools
import time
from collections.abc import Callable

import numpy as np
import torch

from scalesweep.plan.cell import Cell, Precision
from scalesweep.train.device import is_device_lost, release_cached, synchronize
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, train
from scalesweep.train.pack import Run
from scalesweep.train.resident import forget_tokens

BENCHMARK_STEPS = 20
FIRST_STEPS = 4
"""Steps, at the start of every training, that are not counted; a judgement."""
MOST_STEPS = 20_000
"""Steps of a measurement at most, so that no clock, however coarse, keeps it going."""
SHORTEST_SECONDS = {"cpu": 0.01, "cuda": 0.5}
"""Differences of two trainings that are shorter are noise; a GPU does twenty steps of a tiny model in milliseconds."""
GAIN = 1.05
"""Ratio of throughputs below which a pack of twice the runs is not worth its memory; a judgement."""
LARGEST_PACK = 1024
LARGEST_GRID = 65535
"""Sequences of all runs in one product of attention, whose kernels lay them on an axis of CUDA's grid that holds no more
(2^16 - 1: CUDA C++ Programming Guide, maximum y and z dimension of a grid)."""


def seconds_per_step(
    cell: Cell,
    device: torch.device,
    micro_batch: int | None,
    runs: int = 1,
    num_steps: int = BENCHMARK_STEPS,
    on_note: Callable[[str], None] = lambda _: None,
    compiles: bool = False,
) -> float:
    """Measured time of a training step of `runs` cells of this shape and batch together, on random tokens.

    The first steps, which allocate memory, choose kernels and capture, are not counted: it is the difference between a long and
    a short training, after one that loads what a process loads once. More steps are taken until they are long enough to time.
    `on_note` is told what makes them slower than they could be; `compiles` is as of `Execution`.
    """

    def run(steps: int) -> float:
        return run_steps(cell, device, micro_batch, runs, steps, on_note=on_note, compiles=compiles)

    run(FIRST_STEPS)
    while True:
        short, long = run(FIRST_STEPS), run(FIRST_STEPS + num_steps)
        if long - short > SHORTEST_SECONDS[device.type] or num_steps >= MOST_STEPS:
            return max(1e-9, (long - short) / num_steps)
        num_steps *= 10


def run_steps(
    cell: Cell,
    device: torch.device,
    micro_batch: int | None,
    runs: int,
    num_steps: int,
    on_step: Callable[[], object] = lambda: None,
    on_note: Callable[[str], None] = lambda _: None,
    compiles: bool = False,
) -> float:
    """Train on random tokens, call `on_step` after every step, and return the seconds in training."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, cell.shape.vocab_size, size=64 * (cell.batch_tokens + 1)).astype(np.int64)
    short = dataclasses.replace(cell, steps=num_steps, warmup_steps=1, decay_steps=1, validation_tokens=2 * cell.shape.context)
    short = dataclasses.replace(short, selection=None)  # of another stream
    pack = [Run(dataclasses.replace(short, seed=seed)) for seed in range(runs)]

    def stepped() -> bool:
        on_step()
        return False

    hooks, execution = Hooks(should_stop=stepped, on_note=on_note), Execution(device, micro_batch, 1, compiles=compiles)
    return sum(outcome.seconds for outcome in train(pack, tokens, tokens, execution, hooks))


def best_pack(cell: Cell, device: torch.device, micro_batch: int | None, most: int = LARGEST_PACK) -> int:
    """Runs of this shape to step together: doubled while tokens per second grow by 5 % and memory allows; 1 on CPU.

    On CPU a pack would make a result depend, in its last bits, on which cells happened to wait at the same time, so there it
    is for the user to ask for; docs/training.md has what it gains.
    """
    if device.type == "cpu":
        return 1
    most = min(most, LARGEST_GRID // (micro_batch or cell.batch_sequences))
    best, speed, size = 1, 0.0, 1
    while size <= most:
        try:
            tried = size / seconds_per_step(cell, device, micro_batch, size)
        except RuntimeError as error:  # alone, a cell finds out itself what it cannot do
            if is_device_lost(error):
                raise
            break
        if tried < GAIN * speed:
            break
        best, speed, size = size, tried, 2 * size
    free_memory(device)
    return best


def free_memory(device: torch.device) -> None:
    """Give back what the allocator keeps of tensors that are gone, and the corpus."""
    if device.type == "cuda":
        forget_tokens()
    release_cached(device)


@functools.cache
def peak_flops(device: torch.device, precision: Precision) -> float:
    """FLOP/s of a large square matrix product in this precision, measured once a process; the best of some repetitions."""
    # A judgement: large enough that the product's rate is that of the arithmetic, small enough to take less than a second.
    size, dtype = (8192 if device.type == "cuda" else 768), getattr(torch, precision)
    # Not ones: products of equal numbers draw less power, and a GPU that is bound by its power is then faster than it is.
    chance = torch.Generator(device)  # torch's own stays in the state of a capture whose end has failed
    a, b = (torch.randn(size, size, device=device, dtype=dtype, generator=chance) for _ in range(2))
    times = []
    for _ in range(6):
        synchronize(device)
        started = time.perf_counter()
        torch.mm(a, b)
        synchronize(device)
        times.append(time.perf_counter() - started)
    return 2.0 * size**3 / min(times)
