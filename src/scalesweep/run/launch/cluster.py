"""What the launchers of clusters share: jobs that each join the sweep on their node, and a loop that keeps enough of them.

A job is `scalesweep worker` (`local.join`): it restarts workers that die on its node, kills those that hang, and ends when no
cell can be claimed. So nothing depends on the process that submits. It looks at the store, as every launcher does, and submits
as many jobs as there is work for and as are missing, whatever became of the earlier ones.
"""

import itertools
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from scalesweep.errors import Cancelled, StoreError
from scalesweep.run.launch.local import POLL_SHARE
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.launch.signals import signals_interrupt
from scalesweep.run.store import free_cells
from scalesweep.run.store.store import CLAIMABLE, Store

POLL_SECONDS = 2.0
RESUBMIT_SECONDS = 10.0
"""Between two submissions, so that jobs which end at once do not flood the queue."""
MAX_BARREN = 2
"""Submissions in a row of which no job may come to have a cell."""
End = Literal["finished", "cancelled", "left"]
"""Why the loop is over: nothing is left to do, somebody cancelled the sweep, or this process was told to stop."""


class Queue(Protocol):
    """Where jobs are submitted."""

    most: int
    """Jobs that may wait or run at a time."""
    workers_per_job: int

    def submit(self, number: int) -> None:
        """Add jobs.

        Raises:
            StoreError: they are refused.
        """

    def alive(self) -> int:
        """Jobs that wait or run, those of an earlier process included."""

    def describe(self) -> str:
        """What the jobs do, and for what they wait."""

    def last_words(self) -> str:
        """What is known of jobs that ended without having done anything, as a sentence."""

    def close(self, end: End) -> str:
        """Do with the jobs what the end asks for, and say it in a sentence where there is something to say."""


def keep_jobs(store: Store, queue: Queue, monitor: Monitor) -> None:
    """Keep as many jobs as there is work for, until every cell is finished.

    Raises:
        StoreError: jobs are refused, or end again and again without having had a cell.
        KeyboardInterrupt: this process was told to stop, or the sweep was cancelled.
    """
    end: End = "left"
    with signals_interrupt(), monitor.showing():
        try:
            _keep_jobs(store, queue, monitor)
            end = "finished"
        except Cancelled:
            end = "cancelled"
            raise
        finally:
            if sentence := queue.close(end):
                monitor.say(sentence)


def _keep_jobs(store: Store, queue: Queue, monitor: Monitor) -> None:
    plan = store.plan_file.plan()
    barren, fruitful, submitted, unfinished = 0, True, -math.inf, math.inf
    while True:
        started = time.monotonic()
        states = monitor.poll()
        if store.is_cancelled():
            raise Cancelled
        held = sum(state == "RUNNING" for state in states.values())
        waiting = [c for c in plan.cells if states.get(c.key) in CLAIMABLE]
        if not waiting and not held:
            return
        fruitful |= held > 0 or len(states) < unfinished
        unfinished = len(states)
        claimable = (c for c in waiting if not free_cells.waits_for_trunk(store, plan, c))
        work = held + len(list(itertools.islice(claimable, queue.most * queue.workers_per_job)))
        missing = min(queue.most, math.ceil(work / queue.workers_per_job)) - queue.alive()
        if missing > 0 and started - submitted > RESUBMIT_SECONDS:
            barren = 0 if fruitful else barren + 1
            if barren > MAX_BARREN:
                raise StoreError(f"{barren} times the jobs ended before they had a cell. {queue.last_words()}")
            queue.submit(missing)
            fruitful, submitted = False, started
        monitor.note(queue.describe())
        time.sleep(max(POLL_SECONDS, POLL_SHARE * (time.monotonic() - started)))


def start_worker(directory: str, device: str, workers: int, name: str, more: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start `scalesweep worker` in a job, as a child that ends in order when this process is gone, with a log of its own."""
    log = Path(directory) / "logs" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-P", "-m", "scalesweep", "worker", directory, "--device", device, "--workers", str(workers)]
    with log.open("ab") as file:
        return subprocess.Popen(
            [*command, *more, "--name", name, "--parent", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def tail_of_logs(store: Store, prefix: str) -> str:
    """The last line that the youngest job wrote, and where; as a sentence."""
    logs = [path for path in (store.directory / "logs").glob(f"{prefix}*.log") if path.stat().st_size]
    if not logs:
        return "They wrote no log."
    youngest = max(logs, key=lambda path: path.stat().st_mtime)
    return f"The last one said: {youngest.read_text(errors='replace').splitlines()[-1]} Its log is {youngest}."
