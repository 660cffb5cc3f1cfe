"""The command by which a machine joins a sweep that another one has planned."""

import argparse
import os
import re
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from scalesweep.errors import EXIT_OK, Cancelled, SpecError
from scalesweep.run.launch import join
from scalesweep.run.launch.device import num_gpus, resolve_device
from scalesweep.run.launch.local import num_workers
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.store.store import Store


class _Parser(argparse.ArgumentParser):
    """Refuses in one sentence."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise SpecError(f"worker: {message}; such as: scalesweep worker runs/demo --device cuda:3.")


def worker(arguments: Sequence[str]) -> int:
    """Work on a sweep from this machine until no cell can be claimed."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", default="1")
    parser.add_argument("--name", default=f"{socket.gethostname()}-{os.getpid()}")  # these two are for the jobs of a cluster
    parser.add_argument("--parent", type=int)
    options = parser.parse_args(arguments)
    store = Store(options.directory)
    plan, device = store.plan_file.plan(), _device(store, options.device)
    if options.parent is not None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm sends it to every process of the job; the one above acts on it
    monitor = Monitor(store, plan, quiet=options.parent is not None)
    monitor.say(f"Joined {plan.name} ({plan.hash}) in {store.directory} on {device}.")
    try:
        join(store, device, _workers(store, options.workers, device), options.name, monitor, options.parent)
        monitor.say("No cell is left to claim.")
    except Cancelled:  # not 130, after which a job waits to be killed
        monitor.say("The sweep was cancelled; what was measured is kept.")
    return EXIT_OK


def _device(store: Store, name: str) -> str:
    """The device, if this machine has it."""
    train = store.plan_file.settings().train
    if name == "auto":
        return resolve_device(train)
    if name == "cpu":
        return name
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise SpecError(f"--device {name}: must be auto, cpu, cuda or cuda:K.")
    if num_gpus() == 0:
        raise SpecError(f"--device {name}: PyTorch sees no CUDA device here; use --device cpu.")
    if match[1] and int(match[1]) >= num_gpus():
        raise SpecError(f"--device {name}: this machine has {num_gpus()} GPUs, cuda:0 to cuda:{num_gpus() - 1}.")
    return name


def _workers(store: Store, text: str, device: str) -> int:
    """How many workers; auto is one a GPU, or one a CPU core."""
    if text == "auto":
        settings = store.plan_file.settings()
        if device.startswith("cuda:"):
            return settings.launcher.workers_per_gpu
        launcher = settings.launcher.model_copy(update={"name": "local", "workers": "auto"})
        return num_workers(settings.model_copy(update={"launcher": launcher}), device)
    if not text.isdigit() or int(text) < 1:
        raise SpecError(f"--workers {text}: must be auto or a positive whole number.")
    return int(text)
