"""The commands that look into a sweep and act on it: logs, retry, cancel, export."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scalesweep.errors import EXIT_OK, PointsError, SpecError, StoreError
from scalesweep.files import plain_storage_errors
from scalesweep.points.export import LAYOUTS, layout_of, write_table
from scalesweep.run.launch.slurm import withdraw
from scalesweep.run.store.measured import read_measured
from scalesweep.run.store.progress import logs_of
from scalesweep.run.store.store import Store
from scalesweep.settings.base import parse
from scalesweep.settings.compose import is_setting
from scalesweep.settings.plan import CountSpec


def logs(arguments: Sequence[str]) -> int:
    """Print what is known of one cell: state, claims, the traceback of a failure, and its lines of the workers' logs."""
    store, key = _store_and_cell("logs", arguments)
    state, owner = store.state(key), store.claims.owner(key)
    print(f"{key} {state} in {store.cell_dir(key)}")
    if owner:
        who = f"process {owner['pid']} on {owner['host']}" if owner["pid"] else "a process that it does not name"
        print(f"claim {owner['number']} by {who}, last heard of {max(0.0, owner['age']):.0f} s ago")
    if error := store.claims.error(key).strip():
        print(f"\n{error}")
    for path in logs_of(store, [key])[key]:
        print(f"\n{path}:")
        print("\n".join(line for line in path.read_text(errors="replace").splitlines() if key in line))
    return EXIT_OK


def retry(arguments: Sequence[str]) -> int:
    """Let a failed cell, or all of them, be measured again."""
    if len(arguments) == 2 and arguments[1] in ("failed", "--failed"):
        store = Store(Path(arguments[0]))
        reopened = _reopen(store, None)
        if not reopened:
            print(f"No cell of {store.directory} has failed.")
            return EXIT_OK
    else:
        store, key = _store_and_cell("retry", arguments)
        if (state := store.state(key)) != "FAILED":
            raise StoreError(f"{key} is {state}, and only a failed cell is retried; {_why_not(state)}.")
        reopened = _reopen(store, [key])
    running = "RUNNING" in store.states().values() and not store.is_cancelled()
    then = "a worker that runs now takes it up" if running else f"measured by: {_run_again(store)}"
    print(f"{len(reopened)} failed {'cell waits' if len(reopened) == 1 else 'cells wait'} again; {then}.")
    return EXIT_OK


def _reopen(store: Store, keys: Sequence[str] | None) -> list[str]:
    with plain_storage_errors(store.directory):
        return store.claims.reopen_failed(keys)


def _why_not(state: str) -> str:
    return {
        "WAITING": "it waits to be measured already",
        "RUNNING": "a worker trains it now",
        "LOST": "the next free worker takes it over by itself",
    }.get(state, "a finished cell never changes, and a diverged one is a result; measure others in a new directory")


def cancel(arguments: Sequence[str]) -> int:
    """Ask all workers of a sweep to write checkpoints and end."""
    if len(arguments) != 1 or is_setting(arguments[0]):
        raise SpecError("cancel takes one directory, such as: scalesweep cancel runs/demo.")
    store = Store(Path(arguments[0]))
    running = [key for key, state in store.states().items() if state == "RUNNING"]
    store.ask_to_cancel()
    if store.plan_file.settings().launcher.name == "slurm":
        withdraw(store)
    if running:
        cells = f"{len(running)} running cell{'' if len(running) == 1 else 's'}"
        print(f"The workers of {cells} are asked to write checkpoints and end, wherever they run.")
    else:
        print("No cell is running; workers that are about to start will end.")
    print(f"The sweep goes on with: {_run_again(store)}")
    return EXIT_OK


def export(arguments: Sequence[str]) -> int:
    """Write the measured points as CSV or Parquet, also in the columns of other programs."""
    options = dict(word.split("=", 1) for word in arguments[1:] if "=" in word)
    allowed = ("out", "layout", "count.params", "count.flops")
    if not arguments or is_setting(arguments[0]) or len(options) != len(arguments) - 1 or not options.keys() <= set(allowed):
        raise SpecError(
            f"export takes a sweep's directory and {', '.join(allowed)}, such as: scalesweep export runs/demo out=points.csv."
        )
    layout = next((name for name in LAYOUTS if name == options.get("layout", LAYOUTS[0])), None)
    if layout is None:
        raise SpecError(f"layout = {options['layout']!r}: must be {', '.join(LAYOUTS)}.")
    store, path = Store(Path(arguments[0])), Path(options.get("out", "points.csv")).expanduser()
    counts: dict[str, Any] = {name[6:]: value for name, value in options.items() if name.startswith("count.")}
    measured = read_measured(store, with_curves=False)
    points = measured.points(parse(CountSpec, {**measured.content["count"], **counts}, "count."))
    if layout != "scalesweep" and points.used.empty:
        raise PointsError(f"{store.directory} has no measured loss yet; see: scalesweep status {store.directory}.")
    table = layout_of(points, layout)
    write_table(table, path)
    left_out = "" if layout == "scalesweep" or points.excluded.empty else f", {len(points.excluded)} without a loss left out"
    counted = f"N counted {points.params_convention}, C counted {points.flops_convention}"
    print(
        f"{len(table)} points in {path} ({', '.join(map(str, table.columns[:8]))}{', ...' if len(table.columns) > 8 else ''})"
    )
    print(f"{counted}{left_out}.")
    return EXIT_OK


def _run_again(store: Store) -> str:
    return f"scalesweep run ... dir={shlex.quote(str(store.directory))} (the command that started it)"


def _store_and_cell(command: str, arguments: Sequence[str]) -> tuple[Store, str]:
    """The sweep, and the one cell whose key begins with the second argument."""
    if len(arguments) != 2 or any(is_setting(word) for word in arguments):
        raise SpecError(f"{command} takes a directory and a cell's key, such as: scalesweep {command} runs/demo 0f3a.")
    store, start = Store(Path(arguments[0])), arguments[1]
    keys = [key for key in store.plan_file.keys() if key.startswith(start)]
    if len(keys) != 1:
        found = "no cell" if not keys else f"{len(keys)} cells"
        raise StoreError(
            f"{found} of {store.directory} has a key that begins with {start!r}; see: scalesweep status {store.directory}."
        )
    return store, keys[0]
