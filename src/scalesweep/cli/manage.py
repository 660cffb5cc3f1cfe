"""The commands that look into a sweep and act on it: logs, retry, cancel, export."""

from collections.abc import Sequence
from pathlib import Path

from scalesweep.cli.command import Command, Given, Option, one_of
from scalesweep.errors import EXIT_OK, PointsError, StoreError
from scalesweep.files import plain_storage_errors
from scalesweep.points.export import LAYOUTS, layout_of, write_table
from scalesweep.run.launch.slurm import withdraw
from scalesweep.run.store.measured import read_measured
from scalesweep.run.store.pool import is_pooled
from scalesweep.run.store.progress import logs_of
from scalesweep.run.store.store import Store
from scalesweep.settings.again import resume_command
from scalesweep.settings.base import parse
from scalesweep.settings.plan import CountSpec
from scalesweep.units import plural


def logs(given: Given) -> int:
    """Print what is known of one cell: state, claims, the traceback of a failure, and its lines of the workers' logs."""
    store, key = _store_and_cell(given)
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


LOGS = Command(
    "logs",
    about="Print what is known of one cell: state, claim, traceback, its lines of the workers' logs.",
    usage="DIR CELL",
    run=logs,
    examples=("scalesweep logs runs/demo 0f3a", "scalesweep logs runs/demo 0f3a1c5d7e9b", "scalesweep logs runs/smoke 84d9"),
    takes="a directory and a cell's key",
    num_words=2,
)


def retry(given: Given) -> int:
    """Let a failed cell, or all of them, be measured again."""
    if given.words[1] == "failed":
        store = Store(Path(given.words[0]))
        reopened = _reopen(store, None)
        if not reopened:
            print(f"No cell of {store.directory} has failed.")
            return EXIT_OK
    else:
        store, key = _store_and_cell(given)
        if (state := store.state(key)) != "FAILED":
            raise StoreError(f"{key} is {state}, and only a failed cell is retried; {_why_not(state)}.")
        reopened = _reopen(store, [key])
    running = "RUNNING" in store.states().values() and not store.is_cancelled()
    then = "a worker that runs now takes it up" if running else f"measured by: {_resume(store)}"
    print(f"{len(reopened)} failed {'cell waits' if len(reopened) == 1 else 'cells wait'} again; {then}.")
    return EXIT_OK


RETRY = Command(
    "retry",
    about="Let a failed cell, or all of them, be measured again.",
    usage="DIR CELL|failed",
    run=retry,
    examples=("scalesweep retry runs/demo failed", "scalesweep retry runs/demo 0f3a", "scalesweep retry runs/smoke failed"),
    takes="a directory and a cell's key",
    num_words=2,
)


def _reopen(store: Store, keys: Sequence[str] | None) -> list[str]:
    with plain_storage_errors(store.directory):
        return store.claims.reopen_failed(keys)


def _why_not(state: str) -> str:
    return {
        "WAITING": "it waits to be measured already",
        "RUNNING": "a worker trains it now",
        "LOST": "the next free worker takes it over by itself",
    }.get(state, "a finished cell never changes, and a diverged one is a result; measure others in a new directory")


def cancel(given: Given) -> int:
    """Ask all workers of a sweep to write checkpoints and end."""
    store = Store(Path(given.words[0]))
    running = [key for key, state in store.states().items() if state == "RUNNING"]
    store.ask_to_cancel()
    if store.plan_file.settings().launcher.name == "slurm":
        withdraw(store)
    if running:
        cells = f"{len(running)} running cell{'' if len(running) == 1 else 's'}"
        print(f"The workers of {cells} are asked to write checkpoints and end, wherever they run.")
    else:
        print("No cell is running; workers that are about to start will end.")
    print(f"The sweep goes on with: {_resume(store)}")
    return EXIT_OK


CANCEL = Command(
    "cancel",
    about="Ask all workers of a sweep to write checkpoints and end; `scalesweep resume` goes on from there.",
    usage="DIR",
    run=cancel,
    examples=("scalesweep cancel runs/demo", "scalesweep cancel runs/smoke", "scalesweep cancel /scratch/runs/demo"),
    takes="one directory",
    num_words=1,
)

OUT = Option("out", Path, Path("points.csv"), "The table (default points.csv).", "points.csv|FILE.parquet")
LAYOUT = Option("layout", one_of(*LAYOUTS), LAYOUTS[0], "Whose columns it has (default scalesweep).", "|".join(LAYOUTS))
COUNT_PARAMS = Option[str | None]("count.params", str, None, "How N is counted (default: as the sweep counts it).", "...")
COUNT_FLOPS = Option[str | None]("count.flops", str, None, "How C is counted (default: as the sweep counts it).", "...")


def export(given: Given) -> int:
    """Write the measured points as CSV or Parquet, also in the columns of other programs."""
    store, path, layout = Store(Path(given.words[0])), given[OUT].expanduser(), given[LAYOUT]
    counts = {name: value for name, value in (("params", given[COUNT_PARAMS]), ("flops", given[COUNT_FLOPS])) if value}
    measured = read_measured(store, with_curves=False)
    points = measured.points(parse(CountSpec, {**measured.content["count"], **counts}, "count."))
    if layout != "scalesweep" and points.used.empty:
        raise PointsError(f"{store.directory} has no measured loss yet; see: scalesweep status {store.directory}.")
    table = layout_of(points, layout)
    pooled = {key for key, record in measured.records.items() if is_pooled(record)}
    if pooled and layout == "scalesweep":
        table = table.assign(from_pool=[key in pooled for key in table["key"]])
    write_table(table, path)
    left_out = "" if layout == "scalesweep" or points.excluded.empty else f", {len(points.excluded)} without a loss left out"
    counted = f"N counted {points.params_convention}, C counted {points.flops_convention}, {points.metric.phrase}"
    print(
        f"{len(table)} points in {path} ({', '.join(map(str, table.columns[:8]))}{', ...' if len(table.columns) > 8 else ''})"
    )
    print(f"{counted}{left_out}.")
    if pooled:
        print(f"{plural(len(pooled), 'cell')} came from a pool{' (from_pool)' if layout == 'scalesweep' else ''}.")
    return EXIT_OK


EXPORT = Command(
    "export",
    about="Write a sweep's points as CSV or Parquet, also in the columns that chinchilla and vpnls read.",
    usage="DIR [out=points.csv|FILE.parquet] [layout=scalesweep|chinchilla|vpnls] [count.params=...] [count.flops=...]",
    run=export,
    examples=(
        "scalesweep export runs/demo out=points.csv",
        "scalesweep export runs/demo out=points.parquet count.params=total",
        "scalesweep export runs/demo layout=chinchilla out=df.csv",
    ),
    options=(OUT, LAYOUT, COUNT_PARAMS, COUNT_FLOPS),
    takes="a sweep's directory and out, layout, count.params, count.flops",
    num_words=1,
)
COMMANDS = (LOGS, RETRY, CANCEL, EXPORT)


def _resume(store: Store) -> str:
    return resume_command(store.plan_file.settings(), store.directory)


def _store_and_cell(given: Given) -> tuple[Store, str]:
    """The sweep, and the one cell whose key begins with the second word."""
    store, start = Store(Path(given.words[0])), given.words[1]
    keys = [key for key in store.plan_file.keys() if key.startswith(start)]
    if len(keys) != 1:
        found = "no cell" if not keys else f"{len(keys)} cells"
        raise StoreError(
            f"{found} of {store.directory} has a key that begins with {start!r}; see: scalesweep status {store.directory}."
        )
    return store, keys[0]
