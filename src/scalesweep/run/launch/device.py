"""Which device this machine has, found out without opening it in this process."""

import functools
import shutil
import subprocess
import sys
from pathlib import Path

from scalesweep.errors import SpecError
from scalesweep.packages import require_measuring
from scalesweep.plan.grid import Device
from scalesweep.settings.settings import Settings
from scalesweep.settings.train import TrainSpec


def device_of_sweep(settings: Settings) -> Device:
    """The device on which the launcher's workers train: of a cluster, what its jobs ask for; else what this machine has.

    Raises:
        SpecError: torch is not installed, or CUDA was asked for and there is none.
    """
    require_measuring()
    launcher, asked = settings.launcher, settings.train.device
    if launcher.name not in ("slurm", "ray"):
        return resolve_device(settings.train)
    device: Device = "cuda" if launcher.gpus else "cpu"
    if asked not in ("auto", device):
        remedy = "launcher.gpus=1" if asked == "cuda" else "launcher.gpus=0"
        raise SpecError(f"train.device = {asked!r}: launcher.gpus = {launcher.gpus} gives the jobs another one; use {remedy}.")
    return device


def resolve_device(spec: TrainSpec) -> Device:
    """The device of this machine; auto is CUDA where PyTorch sees a GPU.

    Raises:
        SpecError: torch is not installed, or CUDA was asked for and there is none.
    """
    require_measuring()
    if spec.device == "cpu" or (spec.device == "auto" and not _has_nvidia_driver()):
        return "cpu"
    if num_gpus() > 0:
        return "cuda"
    if spec.device == "auto":
        return "cpu"
    raise SpecError(
        "train.device = 'cuda': PyTorch sees no CUDA device here (no GPU, no driver, or a CPU-only build of torch); "
        "use train.device=cpu, or install a CUDA build of torch on a machine with a GPU."
    )


def _has_nvidia_driver() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


@functools.cache
def name_of_device(device: Device) -> tuple[str, str]:
    """What records call this machine's device, and the version of torch, asked in a process of its own."""
    code = (
        "import sys, torch; from scalesweep.train.device import device_name; "
        "print(device_name(torch.device(sys.argv[1]))); print(torch.__version__)"
    )
    said = subprocess.run([sys.executable, "-P", "-c", code, device], capture_output=True, text=True, check=True).stdout
    name, version = said.splitlines()[-2:]
    return name, version


@functools.cache
def num_gpus() -> int:
    """GPUs that PyTorch sees, asked in a process of its own."""
    code = "import torch; print(torch.cuda.device_count())"
    return int(subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout)
