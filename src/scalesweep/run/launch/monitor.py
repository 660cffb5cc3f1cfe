"""Progress of a sweep: a live bar on a terminal, one plain line for each finished cell elsewhere."""

import contextlib
import math
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from scalesweep.plan.cell import Cell
from scalesweep.plan.plan import Plan
from scalesweep.run.store.pool import is_pooled
from scalesweep.run.store.progress import WorkerLine, live_workers
from scalesweep.run.store.store import FINISHED, State, Store
from scalesweep.settings.plan import CountSpec
from scalesweep.units import format_count, format_share

LOOK_SECONDS = 2.0
"""Time between two looks into the cells that are being trained."""
QUIET_SECONDS = 30.0
"""Time without a line after which one says how far the cells are, where no bar does; a judgement."""

WIDTH_OF_SPEED, WIDTH_OF_SHARE = 80, 100
"""Columns of a terminal that the bar takes with tokens a second, and with the share of the ceiling."""


class Monitor:
    """Follows the cells that are not finished, and says when one is.

    Args:
        store: the sweep's directory.
        plan: its cells.
        stream: takes the lines; None is standard output.
        quiet: say nothing.
        ceiling: FLOP/s that this machine's GPUs, all that train together, reach in large products of the cells' precision; None
            where nobody measured it.
    """

    def __init__(
        self, store: Store, plan: Plan, stream: TextIO | None = None, quiet: bool = False, ceiling: float | None = None
    ) -> None:
        self._store, self._plan, self._ceiling = store, plan, ceiling
        self._cells = {c.key: c for c in plan.cells}
        self._unfinished = [c.key for c in plan.cells if store.state(c.key) not in FINISHED]
        self._total = len(self._unfinished)
        self._flops = sum(self._cells[k].flops(CountSpec()) for k in self._unfinished)
        self._console = Console(file=stream, highlight=False, soft_wrap=True, quiet=quiet)
        self._progress = Progress(
            BarColumn(None, table_column=Column(max_width=40)),
            MofNCompleteColumn(),
            TextColumn("cells, {task.fields[share]:.0%} of the FLOPs"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = TaskID(0)
        self._failed: set[str] = set()
        self._noted = ""
        self._spoken = self._looked = time.monotonic()
        self._running, self._speed = 0.0, ""

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """Show the bar while the block runs."""
        with self._progress:
            if not self._progress.tasks:  # shown a second time, it goes on
                self._task = self._progress.add_task("", total=self._total, share=0.0, speed="", note="")
            yield

    def poll(self) -> dict[str, State]:
        """States of the cells that were unfinished at the last call; finished and failed ones are reported once."""
        states = {key: self._store.state(key) for key in self._unfinished}
        for key, state in states.items():
            if state in FINISHED:
                self._unfinished.remove(key)
                if (record := self._store.record(key)) is not None:
                    done = f"[{self._total - len(self._unfinished)}/{self._total}]"
                    self.say(f"{done} {cell_line(self._cells[key], record, self._plan)}")
            elif state == "FAILED" and key not in self._failed:
                self._failed.add(key)
                self.say(failure_line(self._store, key))
        left = sum(self._cells[k].flops(CountSpec()) for k in self._unfinished)
        if (now := time.monotonic()) > self._looked + LOOK_SECONDS:
            self._look(states)
            self._looked = now
        share = 1.0 - max(0.0, left - self._running) / self._flops if self._flops else 1.0
        self._progress.update(self._task, completed=self._total - len(self._unfinished), share=share, speed=self._speed)
        if not self._console.is_terminal and now > self._spoken + QUIET_SECONDS:
            speed = f", {self._speed}" if self._speed else ""
            self.say(f"[{self._total - len(self._unfinished)}/{self._total}] {share:.0%} of the FLOPs{speed}")
        return states

    def _look(self, states: Mapping[str, State]) -> None:
        """Find out what the cells in training have trained so far, and how fast, by their curves."""
        ends = {key: end for key, state in states.items() if state == "RUNNING" and (end := self._store.curve_end(key))}
        workers = live_workers(self._store, self._cells, states, ends)
        trained = ((self._cells[key], worker.step / worker.steps) for worker in workers for key in worker.cells)
        self._running = sum(cell.flops(CountSpec()) * share for cell, share in trained)
        self._speed = self._speed_of([worker for worker in workers if worker.tokens_per_second])

    def _speed_of(self, workers: Sequence[WorkerLine]) -> str:
        """Tokens a second of all workers, and the share of the ceiling of those of this machine, where there is room for it."""
        width = self._console.width if self._console.is_terminal else math.inf
        if not workers or width < WIDTH_OF_SPEED:
            return ""
        said = f"{format_count(sum(worker.tokens_per_second or 0.0 for worker in workers))} tokens/s"
        here = sum(worker.flops_per_second or 0.0 for worker in workers if worker.host == socket.gethostname())
        if not self._ceiling or not here or width < WIDTH_OF_SHARE:
            return said
        return f"{said}, {format_share(here / self._ceiling, 0)} of the ceiling"

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(line, markup=False)
        self._spoken = time.monotonic()

    def note(self, text: str) -> None:
        """Show what the workers wait for: in the bar on a terminal, elsewhere a line whenever it changes."""
        if self._console.is_terminal:
            self._progress.update(self._task, note=text)
        elif text != self._noted:
            self.say(text)
        self._noted = text


def failure_line(store: Store, key: str) -> str:
    """A failed cell in one line: why, and where more is said."""
    return f"{key} FAILED: {store.claims.reason(key) or 'for no stated reason'} (log: {store.claims.log(key)})"


def cell_line(cell: Cell, record: Mapping[str, Any], plan: Plan) -> str:
    """One finished cell in one line."""
    error = "" if record["loss_se"] is None else f" ± {record['loss_se']:.4f}"
    outcome = f"loss {record['loss']:.4f}{error}" if record["state"] == "COMPLETE" else "diverged"
    size = f"N {format_count(cell.num_params(plan.count)):>6}  D {format_count(cell.tokens):>6}  seed {cell.seed}"
    size = "  ".join(part for part in (size, plan.tuned(cell.key)) if part)
    devices, seconds = record["times"].get("devices", 1), record["times"]["training_seconds"]
    cost = f"{seconds / devices:.1f} s{f' on {devices} GPUs together' if devices > 1 else ''}"
    cost = "from the pool" if is_pooled(record) else cost
    return f"{cell.key}  {size}  {outcome}  {cost}"
