"""Whether this machine's GPUs can train, and how fast: `scalesweep check device`, and once for each machine before a sweep.

Every GPU is measured in a process of its own, all at once: `python -m scalesweep.sweep.checkup INDEX PRECISION [full]`.
"""

import contextlib
import dataclasses
import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.errors import ScaleSweepError, SpecError
from scalesweep.files import write_json
from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts, Device
from scalesweep.plan.plan import make_plan
from scalesweep.run.launch.device import BFLOAT16_CAPABILITY, Gpu, look, resolve_device
from scalesweep.run.launch.local import num_workers
from scalesweep.run.launch.smi import compute_mode, driver_cuda, driver_version, processes
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.settings import Settings
from scalesweep.train.data.corpus import cache_dir
from scalesweep.units import format_count, format_flop_rate, format_share

SIZES = ("200k", "3M", "30M")
PACK = 16
"""Runs of the smallest size that are stepped together. A judgement."""
SECONDS = {False: 180.0, True: 600.0}
"""In which a GPU must have answered, without and with the compiler: many times what a healthy one takes."""


@dataclass(frozen=True)
class Checked:
    """What is known of one GPU."""

    index: int
    name: str
    capability: tuple[int, int]
    memory: int
    """Bytes."""
    free: int
    compute_mode: str
    processes: tuple[str, ...]
    trouble: str
    """Why no sweep trains on it; empty where one does."""
    found: dict[str, Any]
    """As of `train.checkup.check_gpu`; empty where it could not be measured."""

    def lines(self) -> list[str]:
        """For people."""
        gib = 2**30
        head = f"cuda:{self.index}  {self.name}"
        if self.trouble:
            return [f"{head}: set aside, {self.trouble}"]
        has_bfloat16 = self.capability >= BFLOAT16_CAPABILITY
        steps = self.found["steps"]
        rows = [f"    {_step_words(step)}" for step in steps]
        others = f"{len(self.processes)} ({', '.join(sorted(set(self.processes)))})" if self.processes else "none seen"
        return [
            f"{head}, compute capability {'.'.join(map(str, self.capability))}",
            f"  memory       {self.free / gib:.1f} of {self.memory / gib:.1f} GiB free; other processes: {others}"
            + (f"; compute mode {self.compute_mode}" if self.compute_mode else ""),
            f"  precision    {'bfloat16' if has_bfloat16 else 'float32, as bfloat16 is not in hardware'}",
            f"  ceiling      {format_flop_rate(self.found['ceiling'])} of large {self.found['precision']} products; "
            f"memory {self.found['bandwidth'] / 1e12:.2f} TB/s",
            f"  graphs       {_graph_words(steps)}",
            "  tokens/s, share of the ceiling",
            *rows,
        ]


@dataclass(frozen=True)
class Checkup:
    """What is known of this machine."""

    host: str
    torch: str
    cuda: str
    """That torch is built for."""
    driver: str
    driver_cuda: str
    gpus: tuple[Checked, ...]
    verdict: str
    """What a sweep does here, in a sentence."""

    @property
    def is_usable(self) -> bool:
        """Whether a sweep can train here: on a GPU, or, where there is none, on the CPU."""
        return not self.gpus or any(not gpu.trouble for gpu in self.gpus)

    def lines(self) -> list[str]:
        """For people."""
        if not self.gpus:
            return [self.verdict]
        driver = f"driver {self.driver or '(unknown)'} of CUDA {self.driver_cuda or '(unknown)'}"
        head = f"{self.host}: {driver}; torch {self.torch}, built for CUDA {self.cuda or '(none)'}"
        return [head, *(line for gpu in self.gpus for line in gpu.lines()), self.verdict]


def check_device(settings: Settings, full: bool) -> Checkup:
    """Look at this machine's device, and measure every GPU that can be used.

    Raises:
        SpecError: there is a GPU that torch does not see.
    """
    try:
        device = resolve_device(settings.train)
    except SpecError:
        if not look().gpus:
            raise
        device = "cuda"
    if device == "cpu":
        verdict = f"A sweep trains on the CPU ({platform.machine()}) here, and nothing of it needs a check."
        return Checkup(platform.node(), "", "", driver_version(), driver_cuda(), (), verdict)
    seen = look()
    running = {gpu.index: _start(gpu, full) for gpu in seen.usable}
    gpus = tuple(_checked(gpu, running.get(gpu.index), SECONDS[full]) for gpu in seen.gpus)
    good = [f"cuda:{gpu.index}" for gpu in gpus if not gpu.trouble]
    verdict = (
        f"A sweep trains on {', '.join(good)} here." if good else "No GPU can be used: train.device=cpu trains on the CPU."
    )
    return Checkup(platform.node(), seen.torch, seen.cuda, driver_version(), driver_cuda(), gpus, verdict)


def check_once(settings: Settings, device: Device, say: Callable[[str], None]) -> None:
    """Check the GPUs before the first sweep on this machine with this driver and torch, and keep the result."""
    if device == "cpu" or settings.launcher.name in ("slurm", "ray"):
        return
    path = _kept(settings)
    if path.exists():
        return
    say("Checking the GPUs, once for this machine and driver (scalesweep check device).")
    checkup, usable = check_device(settings, full=False), {gpu.index for gpu in look().usable}
    for line in checkup.lines():
        say(line)
    if all(not gpu.trouble for gpu in checkup.gpus if gpu.index in usable):
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, dataclasses.asdict(checkup))


def ceiling_of(settings: Settings, device: Device, cells: Iterable[Cell]) -> float | None:
    """FLOP/s of large products on the GPUs on which a sweep's workers train here, together, as the kept check measured it.

    None on CPU, on a cluster, without a check, and where it measured another precision than the cells'.
    """
    if device == "cpu" or settings.launcher.name in ("slurm", "ray"):
        return None
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        found = {gpu["index"]: gpu["found"] for gpu in json.loads(_kept(settings).read_text())["gpus"]}
        used = [found[gpu.index] for gpu in look().usable[: num_workers(settings, device)]]
        if {gpu["precision"] for gpu in used} == {cell.precision for cell in cells}:
            return float(sum(gpu["ceiling"] for gpu in used))
    return None


def _kept(settings: Settings) -> Path:
    """Where the check of this machine's GPUs, with this driver and torch, is kept."""
    seen = look()
    facts = [platform.node(), driver_version(), seen.torch, [gpu.uuid for gpu in seen.usable]]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return cache_dir(settings.data) / "checks" / f"{name}.json"


def _start(gpu: Gpu, full: bool) -> subprocess.Popen[str]:
    precision = "bfloat16" if gpu.capability >= BFLOAT16_CAPABILITY else "float32"
    command = [sys.executable, "-P", "-m", "scalesweep.sweep.checkup", str(gpu.index), precision]
    return subprocess.Popen([*command, *(["full"] if full else [])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _checked(gpu: Gpu, process: subprocess.Popen[str] | None, seconds: float) -> Checked:
    trouble, found = gpu.refusal, dict[str, Any]()
    if process is not None:
        try:
            out, err = process.communicate(timeout=seconds)
            found = json.loads(out.splitlines()[-1]) if process.returncode == 0 else {}
            trouble = "" if found else _last(out, err)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            trouble = f"it did not answer in {seconds:.0f} s"
    named = (gpu.index, gpu.name, gpu.capability, gpu.memory, gpu.free)
    return Checked(*named, compute_mode(gpu.uuid), tuple(processes(gpu.uuid)), trouble, found)


def _last(out: str, err: str) -> str:
    return ([line for line in (err + "\n" + out).splitlines() if line.strip()] or ["its check ended without a word"])[-1]


def _graph_words(steps: list[dict[str, Any]]) -> str:
    notes = sorted({f"{step['size']}: {note}" for step in steps if not step["compiled"] for note in step["notes"]})
    return "; ".join(notes) or "a captured step has the losses of the step as it is, and moves the weights the same way"


def _step_words(step: dict[str, Any]) -> str:
    together = f" x {step['runs']} together" if step["runs"] > 1 else ""
    what = f"{step['size']}{together}{', compiled' if step['compiled'] else ''}"
    if step["tokens_per_second"] is None:
        return f"{what:<20} does not fit"
    told = f"  {'; '.join(step['notes'])}" if step["compiled"] else ""
    return f"{what:<20} {format_count(step['tokens_per_second']):>6}  {format_share(step['share'], 1):>6}{told}"


def cells_of_check(precision: str) -> dict[str, Cell]:
    """The models that are measured, by name, on random tokens of 4096 kinds."""
    words = ["recipe=gpu", "train=gpu", "model.context=32", "sweep.budgets=[16M]", "sweep.seeds=[0]"]
    settings = compose_settings(
        [*words, f"train.precision={precision}", f"sweep.sizes=[{','.join(SIZES)}]", "recipe.batch_exponent=0"]
    )
    cells = make_plan(settings, CorpusFacts("random", "0" * 16, 4096, 10**8), "cuda").cells
    return dict(zip(SIZES, sorted(cells, key=lambda cell: cell.num_params(settings.count)), strict=True))


def main(words: list[str]) -> int:
    """Measure one GPU and print what was found; where it fails, the first line of why."""
    from scalesweep.train.checkup import check_gpu
    from scalesweep.train.device import first_line, prepare_device

    try:
        device = prepare_device(f"cuda:{int(words[0])}")
        found = check_gpu(device, cells_of_check(words[1]), PACK, "full" in words)
    except (RuntimeError, ScaleSweepError) as error:
        sys.stderr.write(f"{first_line(error)}\n")
        return 1
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
