"""The sweeps below a directory, as `scalesweep status` lists them where none is named."""

import os
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from scalesweep.cli.tables import output_width
from scalesweep.errors import StoreError
from scalesweep.run.store.store import FINISHED, Store
from scalesweep.settings.again import resume_command
from scalesweep.units import format_duration, plural

RUNS = Path("runs")
"""Where sweeps are kept unless `dir` says otherwise."""
_STATES = ("COMPLETE", "RUNNING", "WAITING", "DIVERGED", "FAILED", "LOST")
_SINGLE = "cells"
"""Directory below it where `scalesweep train` keeps its single cells."""


def list_sweeps(directory: Path = RUNS) -> list[dict[str, Any]]:
    """The sweeps below a directory, the one that changed last first, by the fields of docs/runs.md."""
    return sorted((_look(place) for place in _places(directory)), key=lambda sweep: sweep["age_seconds"])


def print_sweeps(sweeps: list[dict[str, Any]]) -> None:
    """One row a sweep: where it is, its cells by state, when it last changed, and the command that goes on with it."""
    if not sweeps:
        print(f"No sweep stands below {RUNS}: `scalesweep run` starts one, and status DIR shows one that is elsewhere.")
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("sweep", "directory", "cells", "changed", "goes on with"):
        table.add_column(heading, overflow="fold")
    for sweep in sweeps:
        cells = ", ".join(f"{number} {state.lower()}" for state, number in sweep["counts"].items() if number)
        ago = f"{format_duration(sweep['age_seconds'])} ago"
        table.add_row(sweep["name"], sweep["directory"], sweep["error"] or cells, ago, sweep["command"])
    Console(highlight=False, width=output_width(), markup=False).print(table)
    print(f"{plural(len(sweeps), 'sweep')} below {RUNS}; scalesweep status DIR shows one in full.")


def _places(directory: Path) -> Iterator[Path]:
    """Directories of sweeps, without looking into one, and without single cells."""
    for place, inner, files in os.walk(directory):
        if "sweep.json" in files:
            inner.clear()
            yield Path(place)
        else:
            is_top = Path(place) == directory
            inner[:] = sorted(name for name in inner if not (name.startswith(".") or (is_top and name == _SINGLE)))


def _look(place: Path) -> dict[str, Any]:
    """What is known of one sweep; of one that cannot be read, why."""
    store = Store(place)
    known: dict[str, Any] = {"name": "", "directory": str(place), "counts": {}, "age_seconds": _age(place), "command": ""}
    try:
        content, settings, counts = store.plan_file.content(), store.plan_file.settings(), Counter(store.states().values())
    except StoreError as error:
        return {**known, "error": str(error)}
    states = {state: counts[state] for state in _STATES}  # type: ignore[index]
    if counts["RUNNING"]:
        command = shlex.join(["scalesweep", "status", str(place), "--watch"])
    elif not set(counts) - FINISHED:
        command = ""
    else:  # cells of several sweeps were put there by studies
        command = resume_command(settings, place) if content["name"] == settings.sweep.name else "scalesweep study"
    return {**known, "name": content["name"], "counts": states, "command": command, "error": ""}


def _age(place: Path) -> float:
    """Seconds since the plan changed or a file of a cell came or went."""
    changed = [(place / "sweep.json").stat().st_mtime]
    if (place / "cells").is_dir():
        with os.scandir(place / "cells") as cells:
            changed += [cell.stat().st_mtime for cell in cells]
    return max(0.0, time.time() - max(changed))
