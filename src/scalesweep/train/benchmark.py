"""The price of a training step, measured once on each kind of device and kept in the user's cache."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scalesweep.files import write_json
from scalesweep.plan.cell import Cell, Precision
from scalesweep.plan.grid import Device
from scalesweep.train.device import is_device_lost, synchronize
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, train
from scalesweep.train.pack import Run
from scalesweep.train.power import mean_watts
from scalesweep.train.stepper import forget_tokens

_WITHOUT_EFFECT = frozenset(
    "rope_theta embedding_std residual_scale corpus corpus_hash unique_tokens seed steps warmup_steps schedule decay_steps "
    "hidden_lr head_lr embedding_lr beta1 beta2 momentum hidden_eps head_eps embedding_eps qk_norm_eps "
    "weight_decay head_weight_decay grad_clip "
    "validation_tokens".split()
)
"""Fields of a cell on which the time of a step does not depend; any other one, also a future one, tells benchmarks apart."""
POWER_SECONDS = 5.0
BENCHMARK_STEPS = 20
FIRST_STEPS = 4
MOST_STEPS = 20_000
SHORTEST_SECONDS = {"cpu": 0.01, "cuda": 0.5}
"""Differences of two trainings that are shorter are noise; a GPU does twenty steps of a tiny model in milliseconds."""
GAIN = 1.05
"""Ratio of throughputs below which a pack of twice the runs is not worth its memory."""
LARGEST_PACK = 1024
LARGEST_GRID = 65535
"""Sequences of all runs in one product of attention, whose kernels lay them on an axis of the grid that holds no more."""


@dataclass(frozen=True)
class Benchmark:
    """What a training step of one kind of cell takes."""

    seconds_per_step: float
    watts: float | None
    """Mean power of the GPU meanwhile; None on CPU and where nvidia-smi cannot read it."""
    is_cached: bool
    """Whether it was measured earlier."""


def benchmark(
    cell: Cell,
    device: Device,
    prepare: "Callable[[str], torch.device]",
    micro_batch: int | None,
    cache: Path,
    remeasure: bool = False,
) -> Benchmark:
    """The benchmark of the cell's kind, from the cache or measured now and kept there.

    A file for each kind: shape, batch, precision, micro-batch, device, and version of torch. One that cannot be read is
    measured anew, and a cache that cannot be written is done without. What is known of a CPU is read without loading torch,
    which takes longer than all the rest; so `prepare` opens the device only when something must be measured.
    """
    kind = describe(cell, device, micro_batch)
    path = cache / "benchmarks" / f"{hashlib.sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()[:16]}.json"
    if not remeasure and (known := _read(path)):
        return known
    from scalesweep.train.benchmark import free_memory, seconds_per_step

    seconds = seconds_per_step(cell, prepare(device), micro_batch)
    watts = _watts(cell, prepare(device), micro_batch, seconds) if device == "cuda" else None
    free_memory(prepare(device))  # for the workers of the sweep, which are other processes
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"kind": kind, "seconds_per_step": seconds, "watts": watts, "measured": time.time()})
    return Benchmark(seconds, watts, is_cached=False)


def describe(cell: Cell, device: Device, micro_batch: int | None) -> dict[str, Any]:
    """What the time of a step depends on."""
    content = {name: value for name, value in dataclasses.asdict(cell).items() if name not in _WITHOUT_EFFECT}
    return {**content, "micro_batch": micro_batch, "device": device_kind(device), "torch": version("torch")}


def device_kind(device: Device) -> str:
    """The model of the GPU or of the processor."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _read(path: Path) -> Benchmark | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        value = json.loads(path.read_text())
        seconds, watts = float(value["seconds_per_step"]), value["watts"]
        if seconds > 0 and math.isfinite(seconds):
            return Benchmark(seconds, None if watts is None else float(watts), is_cached=True)
    return None


def _watts(cell: Cell, device: "torch.device", micro_batch: int | None, seconds: float) -> float | None:
    """Power of a GPU during as many steps as take some seconds."""
    import torch

    from scalesweep.train.benchmark import BENCHMARK_STEPS, MOST_STEPS, run_steps

    gpu = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    steps = min(10 * MOST_STEPS, max(BENCHMARK_STEPS, math.ceil(POWER_SECONDS / seconds)))
    return mean_watts(gpu, lambda begin: run_steps(cell, device, micro_batch, 1, steps, begin))


def seconds_per_step(
    cell: Cell, device: torch.device, micro_batch: int | None, runs: int = 1, num_steps: int = BENCHMARK_STEPS
) -> float:
    """Measured time of a training step of `runs` cells of this shape and batch together, on random tokens.

    The first steps, which allocate memory, choose kernels and capture, are not counted: it is the difference between a long and
    a short training, after one that loads what a process loads once. More steps are taken until they are long enough to time.
    """
    run_steps(cell, device, micro_batch, runs, FIRST_STEPS)
    while True:
        short, long = (run_steps(cell, device, micro_batch, runs, steps) for steps in (FIRST_STEPS, FIRST_STEPS + num_steps))
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
) -> float:
    """Train on random tokens, call `on_step` after every step, and return the seconds in training."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, cell.shape.vocab_size, size=64 * (cell.batch_tokens + 1)).astype(np.int64)
    short = dataclasses.replace(cell, steps=num_steps, warmup_steps=1, decay_steps=1, validation_tokens=2 * cell.shape.context)
    pack = [Run(dataclasses.replace(short, seed=seed)) for seed in range(runs)]

    def stepped() -> bool:
        on_step()
        return False

    hooks = Hooks(should_stop=stepped)
    return sum(o.seconds for o in train(pack, tokens, tokens, Execution(device, micro_batch, curve_points=1), hooks))


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
        torch.cuda.empty_cache()


@functools.cache
def peak_flops(device: torch.device, precision: Precision) -> float:
    """FLOP/s of a large square matrix product in this precision, measured once a process; the best of some repetitions."""
    size, dtype = (8192 if device.type == "cuda" else 768), getattr(torch, precision)
    # Not ones: products of equal numbers draw less power, and a GPU that is bound by its power is then faster than it is.
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(6):
        synchronize(device)
        started = time.perf_counter()
        torch.mm(a, b)
        synchronize(device)
        times.append(time.perf_counter() - started)
    return 2.0 * size**3 / min(times)
