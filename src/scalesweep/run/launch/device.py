"""Which device this machine has, and which of its GPUs can be used, found out without opening them in this process."""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from scalesweep.errors import SpecError
from scalesweep.packages import require_measuring
from scalesweep.plan.grid import Device
from scalesweep.run.launch.smi import driver_cuda, listed_gpus
from scalesweep.settings.settings import Settings
from scalesweep.settings.train import TrainSpec
from scalesweep.units import plural

LOOK_SECONDS = 120.0
"""In which torch is imported and a kernel run on every GPU; one that does not answer by then never will. A judgement."""
BFLOAT16_CAPABILITY = (8, 0)
"""First compute capability whose tensor cores take bfloat16 (NVIDIA A100 Tensor Core GPU Architecture, 2020)."""
LEAST_FREE = 2**30
"""Bytes of memory below which nothing fits on a GPU beside the context of a process. A judgement."""
_REMEDY = "scripts/install.sh installs a build of torch that fits the driver, and train.device=cpu trains on the CPU"
_NO_KERNEL = "no kernel image"
"""In what CUDA says where a build of torch leaves a card out."""


@dataclass(frozen=True)
class Gpu:
    """One GPU as torch sees it."""

    index: int
    name: str
    uuid: str
    capability: tuple[int, int]
    memory: int
    """Bytes."""
    free: int
    """Bytes that nobody held when it was looked at."""
    trouble: str
    """The first line of what torch said when a kernel was to run on it; empty where one ran."""

    @property
    def refusal(self) -> str:
        """Why it is of no use; empty where it is."""
        if self.trouble or self.free >= LEAST_FREE:
            return self.trouble
        gib = 2**30
        return f"other processes hold {(self.memory - self.free) / gib:.1f} of its {self.memory / gib:.1f} GiB of memory"


@dataclass(frozen=True)
class Gpus:
    """What torch makes of the GPUs."""

    torch: str
    """Its version."""
    cuda: str
    """The version of CUDA that it was built for; empty of a build for CPUs or for another maker's GPUs."""
    reason: str
    """Why it sees no GPU."""
    gpus: tuple[Gpu, ...]

    @property
    def usable(self) -> tuple[Gpu, ...]:
        """Those on which a kernel runs and that have memory."""
        return tuple(gpu for gpu in self.gpus if not gpu.refusal)


def device_of_sweep(settings: Settings) -> Device:
    """The device on which the launcher's workers train: of a cluster, what its jobs ask for; else what this machine has.

    Raises:
        SpecError: torch is not installed, CUDA was asked for and there is none, or there is a GPU that torch cannot use.
    """
    require_measuring()
    launcher, asked = settings.launcher, settings.train.device
    if launcher.name not in ("slurm", "ray"):
        return resolve_device(settings.train)
    device: Device = "cuda" if launcher.gpus else "cpu"
    if asked not in ("auto", device):
        remedy = "launcher.gpus=1" if asked == "cuda" else "launcher.gpus=0"
        raise SpecError(f"train.device = {asked!r}: launcher.gpus = {launcher.gpus} gives the jobs another one; use {remedy}.")
    if device == "cpu":
        _refuse_compiler(settings.train)
    return device


def resolve_device(spec: TrainSpec) -> Device:
    """The device of this machine; auto is CUDA where nvidia-smi lists a GPU, and the CPU where it lists none or all are hidden.

    Raises:
        SpecError: torch is not installed, CUDA was asked for and there is none, or there is a GPU that torch cannot use.
    """
    require_measuring()
    if spec.device == "cpu" or (spec.device == "auto" and not _may_have_gpu()):
        _refuse_compiler(spec)
        return "cpu"
    found = look()
    if found.usable:
        return "cuda"
    named = f"train.device = {spec.device!r}"
    if found.gpus:
        said = "; ".join(f"cuda:{gpu.index} ({gpu.name}): {gpu.refusal}" for gpu in found.gpus)
        is_build = any(_NO_KERNEL in gpu.refusal for gpu in found.gpus)
        remedy = _remedy_of(found) if is_build else "When it is free or mended, repeat this; train.device=cpu trains on the CPU"
        raise SpecError(f"{named}: no GPU of this machine can be used. {said}. {remedy}.")
    if spec.device == "cuda":
        raise SpecError(
            f"{named}: PyTorch sees no CUDA device here (no GPU, no driver, or a CPU-only build of torch: {found.reason}); "
            "use train.device=cpu, or install a CUDA build of torch on a machine with a GPU."
        )
    if (listed := listed_gpus()) or _is_rocm():
        there = f"nvidia-smi lists {plural(len(listed), 'GPU')} ({listed[0]})" if listed else "torch is built for AMD's GPUs"
        raise SpecError(f"{named}: {there}, and torch {found.torch} cannot use it: {found.reason}. {_remedy_of(found)}.")
    return "cpu"


def suited(settings: Settings, device: Device, say: Callable[[str], None]) -> Settings:
    """The settings with float32 in place of `train.precision=auto` where a GPU of this machine has no bfloat16 in hardware.

    Such as a T4 (compute capability 7.5), which emulates it, slower than float32. Of a cluster nothing is known here.
    """
    is_here = device == "cuda" and settings.launcher.name not in ("slurm", "ray")
    if not is_here or settings.train.precision != "auto":
        return settings
    if not (old := [gpu for gpu in look().usable if gpu.capability < BFLOAT16_CAPABILITY]):
        return settings
    say(
        f"cuda:{old[0].index} ({old[0].name}, compute capability {'.'.join(map(str, old[0].capability))}) has no bfloat16 in "
        "hardware, so this sweep is trained in float32; train.precision=bfloat16 emulates it."
    )
    return settings.model_copy(update={"train": settings.train.model_copy(update={"precision": "float32"})})


def _refuse_compiler(spec: TrainSpec) -> None:
    """Refuse what would be ignored on the CPU."""
    if spec.compile == "true":
        raise SpecError("train.compile = 'true': on the CPU, where these cells are trained, nothing is compiled; leave it out.")


def _remedy_of(found: Gpus) -> str:
    if _is_rocm():
        return "scalesweep runs on NVIDIA's GPUs and on CPUs: set train.device=cpu"
    cuda = driver_cuda()
    built = f"torch is built for CUDA {found.cuda}" if found.cuda else "torch is built for CPUs alone"
    return f"{built}{f', the driver is of CUDA {cuda}' if cuda else ''}: {_REMEDY}"


def _may_have_gpu() -> bool:
    """Whether torch is worth asking: something of a driver is there, and the GPUs are not hidden on purpose."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None and shown.strip() in ("", "-1", "NoDevFiles"):
        return False
    has_driver = shutil.which("nvidia-smi") is not None or Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()
    return has_driver or _is_rocm()


def _is_rocm() -> bool:
    try:
        return "+rocm" in version("torch")
    except PackageNotFoundError:
        return False


@functools.cache
def name_of_device(device: Device) -> tuple[str, str]:
    """What records call this machine's device, and the version of torch, asked in a process of its own."""
    if device == "cuda" and (good := look().usable):
        return good[0].name, look().torch
    code = (
        "import sys, torch; from scalesweep.train.device import device_name; "
        "print(device_name(torch.device(sys.argv[1]))); print(torch.__version__)"
    )
    said = subprocess.run([sys.executable, "-P", "-c", code, device], capture_output=True, text=True, check=True).stdout
    name, version = said.splitlines()[-2:]
    return name, version


@functools.cache
def look() -> Gpus:
    """What torch makes of the GPUs, asked in a process of its own."""
    command = [sys.executable, "-P", "-m", "scalesweep.train.gpus"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LOOK_SECONDS)
        said = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return Gpus(version("torch"), "", f"the GPUs did not answer in {LOOK_SECONDS:.0f} s", ())
    except ValueError:
        how = f"by signal {-done.returncode}" if done.returncode < 0 else f"with exit code {done.returncode}"
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return Gpus(version("torch"), "", f"the process that asked it ended {how}{f' ({last})' if last else ''}", ())
    gpus = tuple(Gpu(**{**gpu, "capability": tuple(gpu["capability"])}) for gpu in said["gpus"])
    return Gpus(said["torch"], said["cuda"], said["reason"], gpus)


def num_gpus() -> int:
    """GPUs of this machine that can be used."""
    return len(look().usable)


def first_usable(device: str) -> str:
    """The device by the name that torch opens it by: of the GPUs the first that is neither broken nor full."""
    usable = look().usable if device == "cuda" else ()
    return f"cuda:{usable[0].index}" if usable else device


def gpus_set_aside() -> list[str]:
    """A sentence for each GPU that cannot be used, while others can."""
    found = look()
    return [f"cuda:{gpu.index} ({gpu.name}) is set aside: {gpu.refusal}." for gpu in found.gpus if gpu.refusal and found.usable]
