"""What a device can do, measured: seconds per step, the peak of its matrix products, memory, and how many runs to pack."""

import dataclasses
import functools
import platform
import resource
import sys
import time

import numpy as np
import torch

from scalesweep.cell import Cell, Precision
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, Run, train

BENCHMARK_STEPS = 20
GAIN = 1.05
"""Ratio of throughputs below which a pack of twice the runs is not worth its memory."""
LARGEST_PACK = 1024


def seconds_per_step(
    cell: Cell, device: torch.device, micro_batch: int | None, runs: int = 1, num_steps: int = BENCHMARK_STEPS
) -> float:
    """Measured time of a training step of `runs` cells of this shape and batch together, on random tokens.

    The first steps, which allocate memory and choose kernels, are not counted.
    """
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, cell.shape.vocab_size, size=64 * (cell.batch_tokens + 1)).astype(np.int64)
    times = []
    for steps in (4, num_steps + 4):
        short = dataclasses.replace(cell, steps=steps, warmup_steps=1, decay_steps=1, validation_tokens=2 * cell.shape.context)
        pack = [Run(dataclasses.replace(short, seed=seed)) for seed in range(runs)]
        outcomes = train(pack, tokens, tokens, Execution(device, micro_batch, curve_points=1), Hooks())
        times.append(sum(outcome.seconds for outcome in outcomes))
    return max(1e-9, (times[1] - times[0]) / num_steps)


def best_pack(cell: Cell, device: torch.device, micro_batch: int | None, most: int = LARGEST_PACK) -> int:
    """Runs of this shape to step together: doubled while tokens per second grow by 5 % and memory allows; 1 on CPU.

    On CPU a pack would make a result depend, in its last bits, on which cells happened to wait at the same time, so there it
    is for the user to ask for; docs/training.md has what it gains.
    """
    if device.type == "cpu":
        return 1
    size, speed = 1, 1 / seconds_per_step(cell, device, micro_batch)
    while 2 * size <= most:
        try:
            doubled = 2 * size / seconds_per_step(cell, device, micro_batch, 2 * size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            break
        if doubled < GAIN * speed:
            break
        size, speed = 2 * size, doubled
    free_memory(device)
    return size


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the system, had no memory left."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def free_memory(device: torch.device) -> None:
    """Give back what the allocator keeps of tensors that are gone."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


@functools.cache
def peak_flops(device: torch.device, precision: Precision) -> float:
    """FLOP/s of a large square matrix product in this precision, measured once a process; the best of some repetitions."""
    size, dtype = (8192 if device.type == "cuda" else 768), getattr(torch, precision)
    a, b = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(6):
        synchronize(device)
        started = time.perf_counter()
        torch.mm(a, b)
        synchronize(device)
        times.append(time.perf_counter() - started)
    return 2.0 * size**3 / min(times)


def device_name(device: torch.device) -> str:
    """What the user calls the device: the GPU's model, or the processor's architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory in use so far: of tensors since the last `reset_peak_memory` on CUDA, of the whole process on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak_memory(device: torch.device) -> None:
    """Begin to count the peak anew, where the device can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
