"""The command by which a machine joins a sweep that another one has planned."""

import os
import re
import signal
import socket
from pathlib import Path

from scalesweep.cli.command import Command, Given, Option, whole
from scalesweep.errors import EXIT_OK, Cancelled, SpecError
from scalesweep.packages import require_measuring
from scalesweep.run.launch import join
from scalesweep.run.launch.device import look, resolve_device
from scalesweep.run.launch.local import num_workers
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.store.store import Store
from scalesweep.settings.trust import module_names, trust


def _device_name(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise ValueError("must be auto, cpu, cuda or cuda:K")
    return text


def _number_or_auto(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise ValueError("must be auto or a positive whole number")
    return int(text)


DEVICE = Option("--device", _device_name, "auto", "What it trains on (default auto).", "auto|cpu|cuda|cuda:K")
WORKERS = Option[int | None](
    "--workers", _number_or_auto, 1, "Processes; auto is one a GPU, or one a CPU core (default 1).", "1|N|auto"
)
TRUSTED = Option[tuple[str, ...]](
    "--trust", module_names, (), "Modules of your own that model.target or optim.target names.", "package.module"
)
# For the jobs of a cluster.
NAME = Option("--name", str, "", metavar="NAME")
PARENT = Option[int | None]("--parent", whole, None, metavar="PID")


def worker(given: Given) -> int:
    """Work on a sweep from this machine until no cell can be claimed."""
    trust(given[TRUSTED])
    store, parent = Store(Path(given.words[0])), given[PARENT]
    plan, device = store.plan_file.plan(), _device(store, given[DEVICE])
    if parent is not None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm sends it to every process of the job; the one above acts on it
    monitor = Monitor(store, plan, quiet=parent is not None)
    monitor.say(f"Joined {plan.name} ({plan.hash}) in {store.directory} on {device}.")
    try:
        name = given[NAME] or f"{socket.gethostname()}-{os.getpid()}"
        join(store, device, given[WORKERS] or _num_workers(store, device), name, monitor, parent)
        monitor.say("No cell is left to claim.")
    except Cancelled:  # not 130, after which a job waits to be killed
        monitor.say("The sweep was cancelled; what was measured is kept.")
    return EXIT_OK


COMMANDS = (
    Command(
        "worker",
        about="Join a sweep that another process has planned, from any machine that sees its directory.",
        usage="DIR [--device auto|cpu|cuda|cuda:K] [--workers 1|N|auto] [--trust package.module]",
        run=worker,
        examples=(
            "scalesweep worker runs/demo",
            "scalesweep worker runs/demo --device cuda:3",
            "scalesweep worker /shared/runs/demo --workers auto",
        ),
        options=(DEVICE, WORKERS, TRUSTED, NAME, PARENT),
        takes="one directory, and --device or --workers",
        num_words=1,
        is_measuring=True,
    ),
)


def _device(store: Store, name: str) -> str:
    """The device, if this machine has it."""
    require_measuring()
    train = store.plan_file.settings().train
    if name == "auto":
        return resolve_device(train)
    if name == "cpu":
        return name
    if not (gpus := look().gpus):
        raise SpecError(f"--device {name}: PyTorch sees no CUDA device here ({look().reason}); use --device cpu.")
    index = name.partition(":")[2]
    if index and int(index) >= len(gpus):
        raise SpecError(f"--device {name}: this machine has {len(gpus)} GPUs, cuda:0 to cuda:{len(gpus) - 1}.")
    if refused := [gpu for gpu in gpus if gpu.refusal and index in ("", str(gpu.index))]:
        if index or len(refused) == len(gpus):
            raise SpecError(f"--device {name}: cuda:{refused[0].index} cannot be used: {refused[0].refusal}.")
    return name


def _num_workers(store: Store, device: str) -> int:
    """Workers of `--workers auto`."""
    settings = store.plan_file.settings()
    if device.startswith("cuda:"):
        return settings.launcher.workers_per_gpu
    launcher = settings.launcher.model_copy(update={"name": "local", "workers": "auto"})
    return num_workers(settings.model_copy(update={"launcher": launcher}), device)
