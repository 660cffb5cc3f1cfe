"""Worker processes on this machine: one per GPU, or one single-threaded process per CPU core.

One pinned, single-threaded worker a core is faster than one worker with several threads: at these sizes threads wait for each
other longer than they compute. The same loop serves `scalesweep run`, which stays until every cell is finished, and
`scalesweep worker`, by which other machines and the jobs of a cluster join and which ends when there is nothing to claim.
"""

import contextlib
import itertools
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scalesweep.cores import cores, num_cores
from scalesweep.errors import (
    EXIT_AGAIN,
    EXIT_BAD_INPUT,
    EXIT_DEVICE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_STORAGE,
    Cancelled,
    DeviceLost,
    StoreError,
)
from scalesweep.files import StorageFailed, plain_storage_errors
from scalesweep.run.launch.breaker import Breakers
from scalesweep.run.launch.device import gpus_set_aside, look, num_gpus
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.launch.signals import STOP_SECONDS, signals_interrupt
from scalesweep.run.store import free_cells
from scalesweep.run.store.owner import LOG_VARIABLE
from scalesweep.run.store.store import CLAIMABLE, HEARTBEAT_SECONDS, State, Store
from scalesweep.settings.settings import Settings
from scalesweep.settings.trust import trust_words

POLL_SECONDS = 0.1
"""Between two looks at the cells; a worker that died leaves its place empty for so long."""
POLL_SHARE = 10.0
"""A look at many cells takes a while; the pause after it is at least this many times as long."""
MAX_DEATHS = 3
"""Workers in a row that may die in one place before they have a cell."""
_ORDERLY = (EXIT_OK, EXIT_INTERRUPTED, EXIT_AGAIN)
"""The last two were told to stop by somebody: a new worker takes the place."""
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Keep freed activations in the process: giving them back to the system costs a page fault for every page of the next step.
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "PYTHONUNBUFFERED": "1",
}


@dataclass
class Slot:
    """A place for one worker: a GPU, a share of one, or a CPU core."""

    device: str
    core: int | None
    log: str
    """Name of the file in DIR/logs that takes what its workers print."""
    process: subprocess.Popen[bytes] | None = None
    early_deaths: int = 0
    """Workers in a row that died in this place without a cell."""
    stale_since: float = math.inf
    """When the worker was first seen without heartbeats."""
    killed: bool = False
    """Whether it was killed because it hung."""
    beside: tuple[str, ...] = ()
    """Further devices, which train a cell together with the first."""

    @property
    def place(self) -> str:
        """All of its devices, as people call them."""
        return " + ".join([self.device, *self.beside])


def run_local(store: Store, settings: Settings, device: str, monitor: Monitor, together: Sequence[str] = ()) -> None:
    """Keep a worker in every slot as long as there are cells to claim; wait for cells that others hold.

    The cells of `together` come first: one worker trains them on the GPUs of all, of which there is no other worker meanwhile.
    """
    _say_of_gpus(device, monitor)
    slots = make_slots(device, num_workers(settings, device), "worker")
    if together:
        first, *beside = [*dict.fromkeys(slot.device for slot in slots)][: settings.train.devices]
        supervise(store, [Slot(first, None, "together.log", beside=tuple(beside))], monitor, "claimed", only=together)
    supervise(store, slots, monitor, "finished")


def join(store: Store, device: str, workers: int, name: str, monitor: Monitor, parent: int | None = None) -> None:
    """Work on a sweep that another process has planned, on this machine, until no cell can be claimed.

    Args:
        store: the sweep's directory.
        device: cpu, cuda (all GPUs in turn) or cuda:K.
        workers: processes to start.
        name: begins the names of their logs; no other machine may use it at the same time.
        monitor: is told of the cells' states.
        parent: end in order when this process, which started the caller, is gone.

    Raises:
        StoreError: the directory is full, read-only or gone, or the workers cannot work.
        KeyboardInterrupt: after the workers have written their checkpoints and released their claims.
    """
    _say_of_gpus(device, monitor)
    with plain_storage_errors(store.directory):
        supervise(store, make_slots(device, workers, name), monitor, "claimed", parent)


def _say_of_gpus(device: str, monitor: Monitor) -> None:
    for sentence in gpus_set_aside() if device == "cuda" else ():
        monitor.say(sentence)


def supervise(
    store: Store,
    slots: list[Slot],
    monitor: Monitor,
    until: Literal["finished", "claimed"],
    parent: int | None = None,
    only: Sequence[str] = (),
) -> None:
    """Keep a worker in every slot while there are cells to claim, until every cell is finished, or claimed by others.

    With `only`, of these cells, until they are, or wait for others, or every slot has been set aside.

    Raises:
        DeviceLost: every GPU has been set aside.
    """
    plan, idle_since, breakers = store.plan_file.plan(), math.inf, Breakers(store, monitor.say)
    with signals_interrupt(), monitor.showing():
        try:
            while True:
                started = time.monotonic()
                states = monitor.poll()
                if store.is_cancelled():
                    raise Cancelled
                if parent is not None and os.getppid() != parent:
                    raise KeyboardInterrupt
                reap(store, slots, list(states), breakers)
                kill_stuck(store, slots, states)
                waiting = [c for c in plan.cells if states.get(c.key) in CLAIMABLE]
                if only:
                    waiting = [c for c in waiting if c.key in only and not free_cells.waits_for_trunk(store, plan, c)]
                held = [key for key, state in states.items() if state == "RUNNING"]
                running = {s.process.pid for s in slots if s.process is not None}
                busy = running & {store.claims.holder(key) for key in held}
                over = not waiting and not (held if until == "finished" else busy)
                idle_since = min(idle_since, started) if over else math.inf
                if over and (not running or started - idle_since > STOP_SECONDS):
                    return
                if waiting and not running and all(breakers.is_aside(s.place) for s in slots):
                    if only:
                        return
                    if until == "claimed":  # a cluster may start the next job here, again and again
                        breakers.blame_all()
                    raise DeviceLost(breakers.sentence(len(states)))
                searching = len(running - busy)  # about to claim, or waiting for a trunk
                free = [s for s in slots if s.process is None and not breakers.is_aside(s.place)]
                claimable = (c for c in waiting if not free_cells.waits_for_trunk(store, plan, c))
                needed = len(list(itertools.islice(claimable, len(free) + searching))) - searching if free else 0
                for slot in free[: max(0, needed)]:
                    _start(store, slot, len(slots), breakers.last(slot.place), only)
                time.sleep(max(POLL_SECONDS, POLL_SHARE * (time.monotonic() - started)))
        finally:
            _stop(slots)


def num_workers(settings: Settings, device: str) -> int:
    """Worker processes that a sweep gets, where that is known before it starts."""
    launcher = settings.launcher
    if launcher.name == "inline":
        return 1
    if launcher.workers != "auto":
        return launcher.workers
    return max(1, num_gpus()) * launcher.workers_per_gpu if device == "cuda" else num_cores()


def make_slots(device: str, number: int, name: str) -> list[Slot]:
    """Places for `number` workers on this machine; their logs are NAME-0.log and so on."""
    logs = [f"{name}-{i}.log" for i in range(number)]
    if device != "cpu":
        devices = [f"cuda:{gpu.index}" for gpu in look().usable] or ["cuda:0"] if device == "cuda" else [device]
        return [Slot(devices[i % len(devices)], None, log) for i, log in enumerate(logs)]
    own = cores()
    pinned = hasattr(os, "sched_setaffinity") and number == len(own)  # with fewer workers the system places them better
    return [Slot("cpu", own[i] if pinned else None, log) for i, log in enumerate(logs)]


def _start(store: Store, slot: Slot, here: int, last: Sequence[str], only: Sequence[str]) -> None:
    asked = store.plan_file.settings().launcher.workers
    sharing = here if asked == "auto" else max(here, asked)
    command = [sys.executable, "-P", "-m", "scalesweep.run", str(store.directory.resolve())]
    command += ["--device", slot.device, "--workers", str(sharing), "--parent", str(os.getpid())]
    command += [*([] if slot.core is None else ["--core", str(slot.core)]), *trust_words()]
    for name, words in (("--last", last), ("--only", only), ("--beside", slot.beside)):
        command += [word for each in words for word in (name, each)]
    path = _log(store, slot)
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as log:
        slot.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | WORKER_ENVIRONMENT | {LOG_VARIABLE: path.name},
            start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the workers in order
        )


def _log(store: Store, slot: Slot) -> Path:
    return store.directory / "logs" / slot.log


def reap(store: Store, slots: list[Slot], unfinished: list[str], breakers: Breakers) -> None:
    """Free the slots whose workers have ended, and note in the cells that they held how they did.

    Raises:
        StoreError: a worker could not work at all, or died again and again before it had a cell.
    """
    for slot in slots:
        if slot.process is None or slot.process.poll() is None:
            continue
        pid, code, slot.process = slot.process.pid, slot.process.returncode, None
        if slot.beside:  # its other processes end with it, but for one that was stopped or hangs
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        log = _log(store, slot)
        if code == EXIT_STORAGE:
            raise StorageFailed(_last_line(log) or f"{store.directory} cannot be written; make room, and repeat the command.")
        if code == EXIT_DEVICE:
            found = (store.claims.failed_device(key, pid) for key in unfinished)
            breakers.failed(slot.place, [failure for failure in found if failure], _last_line(log))
            continue
        if code == EXIT_OK:
            breakers.got_on(slot.place)
        if code == EXIT_BAD_INPUT:
            raise StoreError(f"a worker cannot work: {_last_line(log)} Its log is {log}.")
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        mine = [] if code in _ORDERLY else [key for key in unfinished if store.claims.mark_lost(key, pid, how)]
        if mine:
            _note_death(log, f"{', '.join(mine)} lost: worker {pid} ended {how}{', as it hung' if slot.killed else ''}")
        slot.early_deaths = 0 if code in _ORDERLY or mine or slot.killed else slot.early_deaths + 1
        slot.killed, slot.stale_since = False, math.inf
        if slot.early_deaths > MAX_DEATHS:
            why = "out of memory?" if code < 0 else _last_line(log)
            raise StoreError(
                f"workers died {slot.early_deaths} times before they had a cell, last {how} ({why}); their log is {log}."
            )


def _note_death(log: Path, sentence: str) -> None:
    """Say in a worker's log how it died, which it could not say itself."""
    with contextlib.suppress(OSError), log.open("a") as file:
        file.write(f"{time.strftime('%H:%M:%S')} {sentence}\n")


def _last_line(log: Path) -> str:
    """The last thing that a worker said, without the time; empty where it said nothing."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return re.sub(r"^\d\d:\d\d:\d\d ", "", lines[-1]) if lines else ""


def kill_stuck(store: Store, slots: list[Slot], states: Mapping[str, State]) -> None:
    """Kill workers that hang: at once where they said so, else when their heartbeats do not come back."""
    stuck: dict[int, bool] = {}
    for key, state in states.items():
        if state in ("RUNNING", "LOST", "FAILED"):
            stuck |= store.claims.stuck(key)
    now = time.monotonic()
    for slot in [s for s in slots if s.process is not None]:
        assert slot.process is not None
        pid = slot.process.pid
        slot.stale_since = min(slot.stale_since, now) if pid in stuck else math.inf
        if pid in stuck and (stuck[pid] or now - slot.stale_since > 2 * HEARTBEAT_SECONDS):
            slot.process.kill()
            slot.killed = True


def _stop(slots: list[Slot]) -> None:
    """Ask the workers to write checkpoints and end; those that do not are killed."""
    running = [s.process for s in slots if s.process is not None and s.process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
