"""The command that tells how far a sweep is: once, as JSON, or live."""

import dataclasses
import json
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scalesweep.analysis.health import entropy_lines, health_lines
from scalesweep.cli.command import Command, Given, flag
from scalesweep.cli.progress import STATES, size_table, state_table, worker_table
from scalesweep.cli.sweeps import list_sweeps, print_sweeps
from scalesweep.cli.tables import output_width, wrapped
from scalesweep.errors import EXIT_INCOMPLETE, EXIT_OK, SpecError
from scalesweep.plan.cost import Cost, Rates, cost_of, rates_of
from scalesweep.report.words.adaptive import rounds_lines
from scalesweep.run.launch.monitor import cell_line
from scalesweep.run.launch.slurm import in_words, jobs_of
from scalesweep.run.store.measured import Measured
from scalesweep.run.store.progress import Progress, progress_of
from scalesweep.run.store.store import Store
from scalesweep.settings.compose import is_setting
from scalesweep.sweep.rounds import measured_losses, read_rounds
from scalesweep.sweep.spikes import find_all
from scalesweep.train.power import watts_now
from scalesweep.units import format_count, format_duration, format_flop_rate, plural

SCHEMA = 1
"""Of the JSON; raised when a field changes its meaning or goes."""
WATCH_SECONDS = 2.0
MOST_CELLS = 100
"""Sweeps of more cells are shown by size."""
MOST_FAILURES = 10
MOST_CURVES = 500
"""Curves that are read at once, unless more are asked for: about a second; what is found in them is kept."""


WATCH = flag("--watch", "Go on until every cell is finished or failed.")
HEALTH = flag("--health", "Look at every curve for spikes and collapse, also where that takes a while.")
JSON = flag("--json", "Print the fields of docs/runs.md as JSON; with --watch one line for each change.")


def status(given: Given) -> int:
    """Print how far a sweep is; --watch goes on, --json is for programs. Without a directory, list those of runs/."""
    if not given.words and not given[WATCH]:
        sweeps = list_sweeps()
        if given[JSON]:
            print(json.dumps({"schema": SCHEMA, "sweeps": sweeps}, indent=1))
        else:
            print_sweeps(sweeps)
        return EXIT_OK
    if len(given.words) != 1 or is_setting(given.words[0]):
        raise SpecError("status takes one directory, and --watch or --json, such as: scalesweep status runs/demo --watch.")
    store = Store(Path(given.words[0]))
    if given[WATCH]:
        return _watch(store, given[JSON])
    progress = progress_of(store)
    health = _health(store, progress.measured, None if given[HEALTH] else MOST_CURVES)
    if given[JSON]:
        print(json.dumps(as_json(progress, store, health), indent=1))
    else:
        _print(store, progress, health)
    return _exit_code(progress)


COMMANDS = (
    Command(
        "status",
        about="Print how far a sweep is: workers, speed, time left, failures, cost; without a directory, list those of runs/.",
        usage="[DIR] [--watch] [--json] [--health]",
        run=status,
        examples=("scalesweep status runs/demo", "scalesweep status", "scalesweep status runs/demo --watch"),
        options=(WATCH, JSON, HEALTH),
        takes="one directory, and --watch, --json or --health",
    ),
)


def _exit_code(progress: Progress) -> int:
    return EXIT_OK if set(progress.counts) <= {"COMPLETE", "WAITING", "RUNNING"} else EXIT_INCOMPLETE


def _watch(store: Store, as_lines: bool) -> int:
    """Follow the sweep until every cell is finished or failed, or Ctrl-C; a live view on a terminal, else lines."""
    progress = progress_of(store)
    try:
        if as_lines or not sys.stdout.isatty():
            _watch_lines(store, progress, as_lines)
        else:
            with Live(_view(store, progress), console=Console(highlight=False), auto_refresh=False) as live:
                while not progress.is_over:
                    time.sleep(WATCH_SECONDS)
                    progress = progress_of(store)
                    live.update(_view(store, progress), refresh=True)
    except KeyboardInterrupt:  # ends the watching, not the sweep
        return EXIT_OK
    return _exit_code(progress_of(store))


def _watch_lines(store: Store, progress: Progress, as_json_lines: bool) -> None:
    """One line for each cell that is finished, or one line of JSON for each change of states."""
    plan = progress.measured.plan
    cells = {c.key: c for c in plan.cells}
    seen: Mapping[str, Any] = {}
    while True:
        changed = [key for key, state in progress.states.items() if seen.get(key) != state]
        if as_json_lines and changed:
            print(json.dumps(as_json(progress, store)), flush=True)
        for key in () if as_json_lines else changed:
            record = progress.measured.records.get(key)
            if record is not None:
                print(cell_line(cells[key], record, plan), flush=True)
            elif progress.states[key] == "FAILED":
                print(next(f"{f.key} FAILED: {f.reason}" for f in progress.failures if f.key == key), flush=True)
        if changed and not as_json_lines:
            print(_summary(progress), flush=True)
        if progress.is_over:
            return
        seen = progress.states
        time.sleep(WATCH_SECONDS)
        progress = progress_of(store)


def _view(store: Store, progress: Progress) -> Group:
    """The live view: bar, sizes, workers, failures, cost."""
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=1.0, completed=progress.share, width=40), Text(f"{progress.share:.0%} of the work"))
    return Group(
        Text(_title(progress), style="bold"),
        bar,
        Text(_summary(progress)),
        Text(""),
        size_table(progress.measured.plan, progress),
        *([worker_table(progress.measured.plan, progress)] if progress.workers else []),
        *(Text(line) for line in _failure_lines(progress)),
        *(Text(line, style="dim") for line in [*cost_lines(progress), *_queue_lines(store, progress)]),
    )


def _print(store: Store, progress: Progress, health: Sequence[str]) -> None:
    console = Console(highlight=False, width=output_width())
    console.print(_title(progress), markup=False)
    plan = progress.measured.plan
    console.print(state_table(progress) if len(plan.cells) <= MOST_CELLS else size_table(plan, progress))
    if progress.workers:
        console.print(worker_table(plan, progress))
    lines = [
        *_failure_lines(progress),
        *health,
        *_rounds(progress.measured),
        *cost_lines(progress),
        *_queue_lines(store, progress),
        _summary(progress),
    ]
    for line in lines:
        console.print(wrapped(line), markup=False, soft_wrap=True)


def _title(progress: Progress) -> str:
    measured = progress.measured
    return f"{measured.plan.name} ({measured.plan.hash}) in {measured.directory}"


def _summary(progress: Progress) -> str:
    """Speed, time left, counts by state."""
    parts = []
    if progress.workers:
        speed = f", {format_count(progress.tokens_per_second)} tokens/s, {format_flop_rate(progress.flops_per_second)}"
        parts.append(f"{plural(len(progress.workers), 'worker')}{speed if progress.tokens_per_second else ''}")
        if progress.eta_seconds is not None:
            parts.append(f"about {format_duration(progress.eta_seconds)} left")
    elif not progress.is_over:
        parts.append("no worker is running")
    counts = ", ".join(f"{progress.counts[s]} {s.lower()}" for s in STATES if progress.counts[s])  # type: ignore[index]
    pooled = [f"{len(progress.pooled)} of them from a pool"] if progress.pooled else []
    return "; ".join([*parts, ", ".join([counts, *pooled])])


def _failure_lines(progress: Progress) -> list[str]:
    lines = [
        f"{f.key} FAILED: {f.reason}" + (f" (log: {', '.join(f.logs)})" if f.logs else "")
        for f in progress.failures[:MOST_FAILURES]
    ]
    if (more := len(progress.failures) - MOST_FAILURES) > 0:
        lines.append(f"... and {more} more failed cells; --json lists all of them.")
    return lines


def _queue(store: Store, progress: Progress) -> Mapping[str, int] | None:
    """Jobs in the queue of a cluster by state and reason; None where there is no queue, or this machine cannot ask it."""
    return jobs_of(store) if progress.measured.settings.launcher.name == "slurm" else None


def _queue_lines(store: Store, progress: Progress) -> list[str]:
    found = _queue(store, progress)
    return [] if found is None else [f"{in_words(found)}."]


def cost_lines(progress: Progress) -> list[str]:
    """What the sweep has cost, and will, with the rates."""
    if not progress.seconds_spent and not progress.seconds_left:
        return []
    cost, rates = _priced(progress)
    spent = cost(progress.seconds_spent)
    lines = [f"So far {spent.hours}: {spent.bill}."]
    if progress.seconds_left:
        whole = cost(progress.seconds_spent + progress.seconds_left)
        lines.append(f"In all {whole.hours}: {whole.bill}.")
    return [f"{' '.join(lines)} At {', '.join(rates.sources)}."]


def _priced(progress: Progress) -> tuple[Callable[[float], Cost], Rates]:
    """What makes seconds of a device a cost, and its rates."""
    rates = rates_of(progress.measured.settings.cost, progress.device, watts_here(progress))
    return lambda seconds: cost_of(seconds, progress.device, rates), rates


def watts_here(progress: Progress) -> float | None:
    """What the GPUs of this machine draw on which workers of the sweep are."""
    here = [worker.pid for worker in progress.workers if worker.host == socket.gethostname()]
    return watts_now(here) if progress.device == "cuda" else None


def _health(store: Store, measured: Measured, most: int | None) -> list[str]:
    """Sentences on seed noise, spikes and collapse, and on losses that cannot be true; at most so many curves are read anew."""
    records = list(measured.records.values())
    if not records:
        return []
    entropies = {record["entropy"] for record in records if record.get("entropy") is not None}
    floor = entropies.pop() if len(entropies) == 1 else None
    spikes = find_all(store, measured.records, most)
    is_read = floor is not None and (most is None or len(records) <= most)  # a collapse compares whole curves
    curves = {key: store.curve(key) for key in measured.records} if is_read else {}
    lines = [*entropy_lines(records), *health_lines(measured.points(), curves, floor, spikes.by_key)]
    if spikes.unseen:
        command = f"scalesweep status {measured.directory} --health"
        lines.append(f"{plural(spikes.unseen, 'curve')} not yet looked at for spikes; {command} looks at all.")
    return lines


def _rounds(measured: Measured) -> list[str]:
    """What an adaptive sweep has chosen, and how well it was predicted."""
    log = read_rounds(measured.directory)
    return rounds_lines(log, measured_losses(measured.points()) if measured.records else {}) if log else []


def as_json(progress: Progress, store: Store, health: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of docs/runs.md."""
    cost, rates = _priced(progress)
    measured, left = progress.measured, progress.seconds_left
    return {
        "schema": SCHEMA,
        "name": measured.plan.name,
        "hash": measured.plan.hash,
        "directory": str(measured.directory),
        "is_over": progress.is_over,
        "counts": {state: progress.counts[state] for state in STATES},  # type: ignore[index]
        "cells": dict(progress.states),
        "pooled": progress.pooled,
        "share": progress.share,
        "flops": progress.flops,
        "finished_flops": progress.finished_flops,
        "tokens_per_second": progress.tokens_per_second,
        "flops_per_second": progress.flops_per_second,
        "eta_seconds": progress.eta_seconds,
        "workers": [dataclasses.asdict(worker) for worker in progress.workers],
        "queue": _queue(store, progress),
        "failures": [dataclasses.asdict(failure) for failure in progress.failures],
        "cost": {
            "device": progress.device,
            "spent": _amounts(cost(progress.seconds_spent)),
            "left": None if left is None else _amounts(cost(left)),
            "rates": list(rates.sources),
        },
        "rounds": log.to_dict() if (log := read_rounds(measured.directory)) else None,
        "health": list(health),
    }


def _amounts(cost: Cost) -> dict[str, float]:
    return {name: value for name, value in dataclasses.asdict(cost).items() if name != "device"}
