"""How long training steps take on a device, of one run or of a pack, and what the device could do at most."""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from scalesweep.plan.cell import Cell, Precision
from scalesweep.train.device import peak_memory_bytes, release_cached, reset_peak_memory, synchronize
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, Interrupted, train
from scalesweep.train.pack import Run
from scalesweep.train.resident import forget_tokens

BENCHMARK_STEPS = 20
FIRST_STEPS = 4
"""Steps, at the start of every training, that are not counted; a judgement."""
MOST_STEPS = 20_000
"""Steps of a measurement at most, so that no clock, however coarse, keeps it going."""
SHORTEST_SECONDS = {"cpu": 0.05, "cuda": 0.5}
"""Trainings that are shorter are noise; a GPU does twenty steps of a tiny model in milliseconds."""
WAIT_SECONDS = 0.02
"""Time of steps between two waits for the device: many times what a wait takes. A judgement."""


@dataclass(frozen=True)
class Trial:
    """A short training on random tokens, timed."""

    seconds_per_step: float
    """Of all runs together."""
    num_bytes: int
    """Most memory in use meanwhile, as of `peak_memory_bytes`."""
    seconds: float
    """What the trial itself took, with building, capture and the first steps."""
    is_cut: bool = False
    """Whether time was up before its steps were long enough to time."""


def seconds_per_step(
    cell: Cell,
    device: torch.device,
    micro_batch: int | None,
    runs: int = 1,
    num_steps: int = BENCHMARK_STEPS,
    on_note: Callable[[str], None] = lambda _: None,
    compiles: bool = False,
) -> float:
    """Measured time of a training step of `runs` cells of this shape and batch together, as of `try_steps`."""
    how = Execution(device, micro_batch, 1, compiles=compiles)
    return try_steps(cell, how, runs, num_steps=num_steps, on_note=on_note).seconds_per_step


def try_steps(
    cell: Cell,
    execution: Execution,
    runs: int,
    most_seconds: float = math.inf,
    should_stop: Callable[[], bool] = lambda: False,
    num_steps: int = BENCHMARK_STEPS,
    on_note: Callable[[str], None] = lambda _: None,
) -> Trial:
    """Train `runs` cells of this shape and batch together, on random tokens, until their steps are long enough to time.

    The first steps, which allocate memory, choose kernels and capture, are not counted.

    Args:
        cell: the shape and batch.
        execution: where and how.
        runs: R, cells that are stepped together.
        most_seconds: after which it ends with what it has: at the earliest with the first step, which then stands for all.
        should_stop: asked after every step.
        num_steps: how many are counted at least.
        on_note: told what makes steps slower than they could be.

    Raises:
        Interrupted: `should_stop` said so.
    """
    started = time.monotonic()
    clock = _Clock(execution.device, num_steps, started + most_seconds)
    reset_peak_memory(execution.device)
    run_steps(cell, execution, runs, MOST_STEPS, lambda: clock.is_enough() or should_stop(), on_note)
    if not clock.is_over:
        raise Interrupted
    return Trial(clock.seconds_per_step, peak_memory_bytes(execution.device), time.monotonic() - started, clock.is_cut)


class _Clock:
    """Times steps without waiting for a GPU more often than it must, and says when they are enough."""

    def __init__(self, device: torch.device, num_steps: int, end: float) -> None:
        self._device, self._num_steps, self._end = device, num_steps, end
        self._steps = self._due = 0
        self._marks = [(0, time.monotonic())]
        """Steps done, and when the device had done them: of the first steps each, and of the last look."""
        self.is_over = self.is_cut = False

    def is_enough(self) -> bool:
        """To be asked after every step."""
        self._steps += 1
        if self._steps >= self._due or time.monotonic() > self._end or self._steps == MOST_STEPS:
            self._look()
        return self.is_over

    def _look(self) -> None:
        synchronize(self._device)
        now = time.monotonic()
        del self._marks[FIRST_STEPS + 1 :]
        self._marks.append((self._steps, now))
        self._due = self._steps + 1
        counted = self._steps - FIRST_STEPS
        if counted > 0:
            self._due = self._steps + max(1, int(WAIT_SECONDS / self.seconds_per_step))
        is_long = counted >= self._num_steps and now - self._marks[FIRST_STEPS][1] > SHORTEST_SECONDS[self._device.type]
        self.is_over = is_long or now > self._end or self._steps == MOST_STEPS
        self.is_cut = not is_long and now > self._end

    @property
    def seconds_per_step(self) -> float:
        """The mean of the steps after the first; of fewer steps than these the last one's time."""
        (from_step, begun), (to_step, now) = self._marks[max(0, min(FIRST_STEPS, len(self._marks) - 2))], self._marks[-1]
        return max(1e-9, (now - begun) / (to_step - from_step))


def run_steps(
    cell: Cell,
    execution: Execution,
    runs: int,
    num_steps: int,
    on_step: Callable[[], bool],
    on_note: Callable[[str], None] = lambda _: None,
) -> None:
    """Train on random tokens for so many steps, or until `on_step`, which is called after each, says that it is enough."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, cell.shape.vocab_size, size=64 * (cell.batch_tokens + 1)).astype(np.int64)
    short = dataclasses.replace(cell, steps=num_steps, warmup_steps=1, decay_steps=1, validation_tokens=2 * cell.shape.context)
    short = dataclasses.replace(short, selection=None)  # of another stream
    pack = [Run(dataclasses.replace(short, seed=seed)) for seed in range(runs)]
    with contextlib.suppress(Interrupted):
        train(pack, tokens, tokens, execution, Hooks(should_stop=on_step, on_note=on_note))


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
