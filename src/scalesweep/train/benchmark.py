"""The price of a training step, measured once on each kind of device and kept in the user's cache.

Nothing here imports torch until something must be measured (`train.measure`): a plan whose sizes are in the cache answers in
the time that loading torch would take.
"""

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
from typing import TYPE_CHECKING, Any

from scalesweep.files import write_json
from scalesweep.plan.cell import Cell
from scalesweep.train.power import mean_watts

if TYPE_CHECKING:
    import torch

    from scalesweep.train.gradient import Execution
    from scalesweep.train.measure import Trial

_WITHOUT_EFFECT = frozenset(
    "rope_theta embedding_std residual_scale corpus corpus_hash unique_tokens seed steps warmup_steps schedule decay_steps "
    "hidden_lr head_lr embedding_lr beta1 beta2 momentum hidden_eps head_eps embedding_eps qk_norm_eps "
    "weight_decay head_weight_decay grad_clip "
    "validation_tokens selection".split()
)
"""Fields of a cell on which the time of a step does not depend; any other one, also a future one, tells benchmarks apart."""
LEAST_SHARE = 0.9
"""Share of a core below which a benchmark was disturbed by other programs. A judgement, not measured."""
_TRIES = 3
"""How often a disturbed benchmark is taken at once; a judgement."""
_SHORTEST_SECONDS = 0.01
"""Time below which the share of a core is noise of the clocks."""
POWER_SECONDS = 5.0
"""Time during which power is measured. A judgement: some fifty samples, of which `power` leaves out the first ten."""


@dataclass(frozen=True)
class Benchmark:
    """What a training step of one kind of cell takes."""

    seconds_per_step: float
    watts: float | None
    """Mean power of the GPU meanwhile; None on CPU, where nvidia-smi cannot read it, and where there was no time for it."""
    is_cached: bool
    """Whether it was measured earlier."""
    is_disturbed: bool = False
    """Whether other programs took the core meanwhile; such a one is taken again when it is next asked for."""
    is_interpolated: bool = False
    """Whether it follows from benchmarks of other sizes and batches."""


def benchmark(
    cell: Cell,
    device: str,
    prepare: "Callable[[str], torch.device]",
    micro_batch: int | None,
    cache: Path,
    most_seconds: float = math.inf,
) -> Benchmark:
    """The benchmark of the cell's kind, measured now and kept in the cache for `known_benchmark`.

    A file for each kind: shape, batch, precision, micro-batch, device, and version of torch. A cache that cannot be written is
    done without.

    Args:
        cell: one of the kind.
        device: such as cpu or cuda:1.
        prepare: opens the device.
        micro_batch: sequences per forward pass; None is the whole batch.
        cache: the user's directory.
        most_seconds: after which it ends with what it has, and without a reading of power.
    """
    from scalesweep.train.gradient import Execution
    from scalesweep.train.measure import free_memory, try_steps

    opened = prepare(device)
    execution, end = Execution(opened, micro_batch, 1, compiles=False), time.monotonic() + most_seconds
    trial, share = _undisturbed(lambda: try_steps(cell, execution, 1, end - time.monotonic()), device, end)
    watts = None
    if opened.type == "cuda" and time.monotonic() + POWER_SECONDS + trial.seconds < end:
        watts = _watts(cell, execution)
    free_memory(opened)  # for the workers of the sweep, which are other processes
    kind, seconds = describe(cell, device, micro_batch), trial.seconds_per_step
    with contextlib.suppress(OSError):
        if not trial.is_cut:
            path = _path(kind, cache)
            path.parent.mkdir(parents=True, exist_ok=True)
            content = {"kind": kind, "seconds_per_step": seconds, "watts": watts, "core_share": share, "measured": time.time()}
            write_json(path, content)
    return Benchmark(seconds, watts, is_cached=False, is_disturbed=share < LEAST_SHARE)


def known_benchmark(cell: Cell, device: str, micro_batch: int | None, cache: Path) -> Benchmark | None:
    """The benchmark of the cell's kind that is kept; None where there is none, it cannot be read, or it was disturbed."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        value = json.loads(_path(describe(cell, device, micro_batch), cache).read_text())
        seconds, watts = float(value["seconds_per_step"]), value["watts"]
        if seconds > 0 and math.isfinite(seconds) and value.get("core_share", 1.0) >= LEAST_SHARE:
            return Benchmark(seconds, None if watts is None else float(watts), is_cached=True)
    return None


def _path(kind: dict[str, Any], cache: Path) -> Path:
    return cache / "benchmarks" / f"{hashlib.sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()[:16]}.json"


def _undisturbed(measure: "Callable[[], Trial]", device: str, end: float) -> "tuple[Trial, float]":
    """The measurement with the largest share of a core, and that share; taken anew while other programs take the core.

    On CPU steps go in one thread, so that alone the process has the time of a core. Of a GPU it is not known who else uses it.
    """
    taken: list[tuple[float, Trial]] = []
    for _ in range(_TRIES):
        wall, busy = time.perf_counter(), time.process_time()
        trial = measure()
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        share = busy / wall if device == "cpu" and wall > _SHORTEST_SECONDS else 1.0
        taken.append((share, trial))
        if share >= LEAST_SHARE or time.monotonic() + wall > end:
            break
    share, trial = max(taken, key=lambda pair: pair[0])
    return trial, min(share, 1.0)


def step_kind(cell: Cell) -> dict[str, Any]:
    """What of a cell the time of a step depends on."""
    return {name: value for name, value in dataclasses.asdict(cell).items() if name not in _WITHOUT_EFFECT}


def describe(cell: Cell, device: str, micro_batch: int | None) -> dict[str, Any]:
    """What the time of a step depends on."""
    return {**step_kind(cell), "micro_batch": micro_batch, "device": device_kind(device), "torch": _torch_version()}


@functools.cache
def _torch_version() -> str:
    return version("torch")


@functools.cache
def device_kind(device: str) -> str:
    """The model of the GPU or of the processor."""
    if device != "cpu":
        import torch

        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _watts(cell: Cell, execution: "Execution") -> float | None:
    """Power of a GPU during some seconds of steps."""
    import torch

    from scalesweep.train.measure import MOST_STEPS, run_steps

    def work(begin: Callable[[], None]) -> None:
        ends: list[float] = []

        def is_enough() -> bool:
            begin()
            ends[:] = ends or [time.monotonic() + POWER_SECONDS]
            return time.monotonic() > ends[0]

        run_steps(cell, execution, 1, 10 * MOST_STEPS, is_enough)

    return mean_watts(f"GPU-{torch.cuda.get_device_properties(execution.device).uuid}", work)
