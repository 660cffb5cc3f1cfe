"""Tables of a sweep's progress for the terminal: by cell, by size, by worker."""

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.table import Table

from scalesweep.plan.plan import Plan
from scalesweep.run.store.pool import is_pooled
from scalesweep.run.store.progress import Progress
from scalesweep.units import format_count

STATES = ("COMPLETE", "RUNNING", "WAITING", "DIVERGED", "FAILED", "LOST")


def _table(*names: str, left: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in names:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    return table


def state_table(progress: Progress) -> Table:
    """One row a cell with its state, and its loss or how far it is."""
    measured, plan = progress.measured, progress.measured.plan
    tuned = ["settings"] if plan.columns else []
    table = _table("key", "N", "D", "seed", *tuned, "state", "loss", "seconds", left=("key", "state", "settings"))
    for cell in plan.cells:
        record = measured.records.get(cell.key)
        loss, seconds = "", ""
        if record is not None:
            loss = "" if record["loss"] is None else f"{record['loss']:.4f}"
            seconds = "from pool" if is_pooled(record) else f"{record['times']['training_seconds']:.1f}"
        elif end := measured.ends.get(cell.key):
            loss = f"step {end.step} of {cell.steps}"
        n = format_count(cell.num_params(plan.count))
        what = [plan.tuned(cell.key)] if tuned else []
        table.add_row(cell.key, n, format_count(cell.tokens), str(cell.seed), *what, progress.states[cell.key], loss, seconds)
    return table


def size_table(plan: Plan, progress: Progress) -> Table:
    """One row a size with its cells by state."""
    sizes: dict[int, Counter[str]] = {}
    for cell in sorted(plan.cells, key=lambda c: c.num_params(plan.count)):
        sizes.setdefault(cell.num_params(plan.count), Counter())[progress.states[cell.key]] += 1
    names = [s for s in STATES if s in ("COMPLETE", "RUNNING", "WAITING") or progress.counts[s]]  # type: ignore[index]
    table = _table("N", "cells", *(name.lower() for name in names))
    for n, counts in sizes.items():
        table.add_row(format_count(n), str(counts.total()), *(str(counts[name]) if counts[name] else "" for name in names))
    return table


def worker_table(plan: Plan, progress: Progress) -> Table:
    """One row a worker: what it trains, how far, how fast, and when it was last heard of."""
    cells = {c.key: c for c in plan.cells}
    table = _table("worker", "cell", "N", "D", "step", "tokens/s", "heartbeat", left=("worker", "cell"))
    for worker in progress.workers:
        cell = cells[worker.cells[0]]
        more = f" +{len(worker.cells) - 1}" if len(worker.cells) > 1 else ""
        speed = "" if worker.tokens_per_second is None else format_count(worker.tokens_per_second)
        table.add_row(
            f"{worker.host}:{worker.pid}",
            f"{cell.key}{more}",
            format_count(cell.num_params(plan.count)),
            format_count(cell.tokens),
            f"{worker.step:,} of {worker.steps:,}",
            speed,
            f"{worker.heartbeat_seconds:.0f} s ago",
        )
    return table
