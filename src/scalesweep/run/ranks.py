"""The processes that train one cell together (`train.spread`): its worker leads, and starts one more for each further device.

Run as `python -m scalesweep.run.ranks DIR KEY ...` by the worker, each of them lives as long as the worker does: its stdin ends
with the worker, however that ended. They heed no signal but SIGKILL, claim nothing, and write nothing but lines of the worker's
log. The worker ends them when it is through with the cell; where one of them ends before, the worker is told, and ends too.
"""

import argparse
import contextlib
import datetime
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import distributed

from scalesweep.errors import EXIT_DEVICE, DeviceLost
from scalesweep.run.checkpoints import load_start
from scalesweep.run.corpora import open_corpora
from scalesweep.run.lease import START_SECONDS
from scalesweep.run.store.store import Store
from scalesweep.train.device import first_line, is_device_lost, open_device
from scalesweep.train.gradient import Execution
from scalesweep.train.pack import Run
from scalesweep.train.spread import follow

POLL_SECONDS = 0.5
"""Between two looks whether the others live."""
SETTLE_SECONDS = 2.0
"""In which those that fail of another's end have ended too, so that the first cause can be told. A judgement."""
_BACKEND = {"cpu": "gloo", "cuda": "nccl"}


@contextlib.contextmanager
def together(
    store: Store, run: Run, micro_batch: int, devices: Sequence[torch.device], on_end: Callable[[str], None]
) -> Iterator[None]:
    """A block in which others step along with this process, in torch's process group; this process makes one such group.

    Args:
        store: the sweep's directory.
        run: the cell, and where it goes on from.
        micro_batch: sequences of each process per forward pass.
        devices: of all processes, this one's first.
        on_end: told, from a thread, how another process has ended too early. It must end this process, which may wait for that
            one for ever.
    """
    folder = Path(tempfile.mkdtemp(prefix="scalesweep-ranks-"))
    words = [str(store.directory.resolve()), run.cell.key, "--folder", str(folder), "--of", str(len(devices))]
    words += ["--step", str(run.step), "--micro-batch", str(micro_batch)]
    others = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "scalesweep.run.ranks", *words, "--rank", str(rank), "--device", str(device)],
            stdin=subprocess.PIPE,
        )
        for rank, device in enumerate(devices[1:], start=1)
    ]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(POLL_SECONDS):
            if _have_ended(others):
                time.sleep(SETTLE_SECONDS)
                cause = _cause(others, devices, folder)
                _end(others, folder)
                on_end(cause)
                return

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        _meet(folder, devices[0], 0, len(devices))
        yield
    except RuntimeError:  # such as that of an exchange with a process that is gone, whose end is the cause then
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline and not _have_ended(others):
            time.sleep(POLL_SECONDS)
        if _have_ended(others):
            watching.join()
        raise
    finally:
        is_over.set()
        _end(others, folder)


def _have_ended(others: Sequence[subprocess.Popen[bytes]]) -> bool:
    return any(process.poll() is not None for process in others)


def _cause(others: Sequence[subprocess.Popen[bytes]], devices: Sequence[torch.device], folder: Path) -> str:
    """Which process ended and how: one that was killed rather than one whose device failed, or that failed of their end."""
    ended = [(rank, p.returncode) for rank, p in enumerate(others, start=1) if p.poll() is not None]
    rank, code = min(ended, key=lambda one: (one[1] >= 0, one[1] != EXIT_DEVICE))
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    said = _reason(folder, rank)
    why = f": {said.read_text()}" if said.exists() else ""
    return f"process {rank + 1} of {len(devices)}, on {devices[rank]}, ended {how}{why}"


def _reason(folder: Path, rank: int) -> Path:
    """Where a process leaves what it has failed of."""
    return folder / f"{rank}.txt"


def _end(others: Sequence[subprocess.Popen[bytes]], folder: Path) -> None:
    for process in others:
        process.kill()
    for process in others:
        with process:  # waits, and closes its stdin
            pass
    shutil.rmtree(folder, ignore_errors=True)


def _meet(folder: Path, device: torch.device, rank: int, ranks: int) -> None:
    """Make torch's process group of all processes, which find each other by a file that nobody else can write."""
    where, patience = (folder / "meeting").as_uri(), datetime.timedelta(seconds=START_SECONDS)
    distributed.init_process_group(_BACKEND[device.type], where, patience, world_size=ranks, rank=rank)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of a process that steps along; the exit code if it fails, as otherwise it ends with the worker."""
    parser = argparse.ArgumentParser(prog="python -m scalesweep.run.ranks", description="Step along with a worker.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("key")
    parser.add_argument("--folder", type=Path, required=True, help="where the processes meet")
    parser.add_argument("--rank", type=int, required=True, help="which process this is; the worker is 0")
    parser.add_argument("--of", type=int, required=True, help="how many processes there are")
    parser.add_argument("--device", required=True, help="cpu or cuda:K")
    parser.add_argument("--step", type=int, required=True, help="finished steps of the state that the worker goes on from")
    parser.add_argument("--micro-batch", type=int, required=True, help="sequences per forward pass")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # the worker heeds them
    lifeline = threading.Thread(target=_end_with_worker, args=(options.folder,), daemon=True)
    lifeline.start()
    try:
        _step_along(options)
    except Exception as error:
        sys.stderr.write(traceback.format_exc())
        with contextlib.suppress(OSError):
            _reason(options.folder, options.rank).write_text(first_line(error))
        return EXIT_DEVICE if isinstance(error, DeviceLost) or is_device_lost(error) else 1
    lifeline.join()  # the worker's device may still read of this one's memory
    return 0


def _end_with_worker(folder: Path) -> None:
    sys.stdin.buffer.read()
    shutil.rmtree(folder, ignore_errors=True)  # of a worker that was killed
    os._exit(0)


def _step_along(options: argparse.Namespace) -> None:
    store = Store(options.directory)
    cell = next(c for c in store.plan_file.plan().cells if c.key == options.key)
    run = Run(cell, load_start(cell, store.checkpoint(cell.key), store.snapshots(cell.trunk)))
    assert run.step == options.step, f"here the cell goes on from step {run.step}, at the worker from {options.step}"
    device = open_device(options.device)
    tokens = open_corpora(store, lambda _: None)[cell.corpus_hash].train
    _meet(options.folder, device, options.rank, options.of)
    fast = store.plan_file.settings().train.fast
    follow(run, tokens, Execution(device, options.micro_batch, fast=fast, ranks=options.of))


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # without the end of the process group and of CUDA's context, which may hang
