"""The price of a training step, measured once on each kind of device and kept in the user's cache.

Nothing here imports torch until something must be measured (`train.measure`): a plan whose sizes are in the cache answers in
the time that loading torch would take.
"""

import contextlib
import dataclasses
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
from scalesweep.plan.grid import Device
from scalesweep.train.power import mean_watts

if TYPE_CHECKING:
    import torch

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
    """Mean power of the GPU meanwhile; None on CPU and where nvidia-smi cannot read it."""
    is_cached: bool
    """Whether it was measured earlier."""
    is_disturbed: bool = False
    """Whether other programs took the core meanwhile; such a one is taken again when it is next asked for."""


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
    measured anew, and a cache that cannot be written is done without. `prepare` opens the device, when something must be
    measured.
    """
    kind = describe(cell, device, micro_batch)
    path = cache / "benchmarks" / f"{hashlib.sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()[:16]}.json"
    if not remeasure and (known := _read(path)):
        return known
    from scalesweep.train.measure import free_memory, seconds_per_step

    seconds, share = _undisturbed(lambda: seconds_per_step(cell, prepare(device), micro_batch), device)
    watts = _watts(cell, prepare(device), micro_batch, seconds) if device == "cuda" else None
    free_memory(prepare(device))  # for the workers of the sweep, which are other processes
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"kind": kind, "seconds_per_step": seconds, "watts": watts, "core_share": share, "measured": time.time()}
        write_json(path, content)
    return Benchmark(seconds, watts, is_cached=False, is_disturbed=share < LEAST_SHARE)


def _undisturbed(measure: Callable[[], float], device: Device) -> tuple[float, float]:
    """The measurement with the largest share of a core, and that share; taken anew while other programs take the core.

    On CPU steps go in one thread, so that alone the process has the time of a core. Of a GPU it is not known who else uses it.
    """
    taken: list[tuple[float, float]] = []
    for _ in range(_TRIES):
        wall, busy = time.perf_counter(), time.process_time()
        seconds = measure()
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        share = busy / wall if device == "cpu" and wall > _SHORTEST_SECONDS else 1.0
        taken.append((share, seconds))
        if share >= LEAST_SHARE:
            break
    share, seconds = max(taken)
    return seconds, min(share, 1.0)


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
        if seconds > 0 and math.isfinite(seconds) and value.get("core_share", 1.0) >= LEAST_SHARE:
            return Benchmark(seconds, None if watts is None else float(watts), is_cached=True)
    return None


def _watts(cell: Cell, device: "torch.device", micro_batch: int | None, seconds: float) -> float | None:
    """Power of a GPU during as many steps as take some seconds."""
    import torch

    from scalesweep.train.measure import BENCHMARK_STEPS, MOST_STEPS, run_steps

    gpu = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    steps = min(10 * MOST_STEPS, max(BENCHMARK_STEPS, math.ceil(POWER_SECONDS / seconds)))
    return mean_watts(gpu, lambda begin: run_steps(cell, device, micro_batch, 1, steps, begin))
