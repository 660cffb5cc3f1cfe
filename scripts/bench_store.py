"""Seconds that a store takes, and their growth from few cells to many.

    python scripts/bench_store.py [--cells 100 1000 10000] [--points 500]

Every cell has a record and a curve; the curve is one file with as many names as cells, so that the disk stays small (its pages
are read from memory). `poll` is what a launcher does a few times a second, of a sweep of which nothing is measured; `take` is
what a worker does for each cell. `status` is the command, in a process of its own, without and with the health of the curves.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.store import free_cells
from scalesweep.run.store.measured import read_measured
from scalesweep.run.store.store import Claim, Store
from scalesweep.settings.compose import compose_settings

SIZES = 20


def main() -> None:
    """Print a table: a row for each question, a column for each number of cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--points", type=int, default=500)
    options = parser.parse_args()
    columns = {}
    for cells in options.cells:
        with tempfile.TemporaryDirectory(prefix="bench-store-") as directory:
            columns[cells] = measure(Path(directory), cells, options.points)
    first, last = options.cells[0], options.cells[-1]
    print(f"| seconds | {' | '.join(f'{n:,} cells' for n in columns)} | {last // first} times the cells take |")
    print("|---" * (len(columns) + 2) + "|")
    for name in columns[first]:
        times = " | ".join(f"{column[name]:.3g}" for column in columns.values())
        print(f"| {name} | {times} | {columns[last][name] / columns[first][name]:.0f} times as long |")


def measure(directory: Path, cells: int, points: int) -> dict[str, float]:
    """Seconds of each question on a store of so many cells."""
    settings = compose_settings(
        [
            "sweep.sizes=[" + ",".join(f"{{width: {16 * (i + 1)}, depth: 2}}" for i in range(SIZES)) + "]",
            "sweep.budgets=[" + ",".join(str(10**6 * (i + 1)) for i in range(5)) + "]",
            f"sweep.seeds=[{','.join(map(str, range(cells // SIZES // 5)))}]",
            "train.device=cpu",
            "sweep.tokens_per_parameter=null",
        ]
    )
    facts, store, seconds = CorpusFacts("bench", "0" * 16, 257, 10**9), Store(directory / "sweep"), dict[str, float]()

    def timed(name: str, function: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = function()
        seconds[name] = time.perf_counter() - started
        return result

    plan: Plan = timed("plan", lambda: make_plan(settings, facts, "cpu"))
    timed("create", lambda: store.plan_file.create(plan, settings.model_dump(mode="json"), {}))
    timed("plan(), read back", lambda: store.plan_file.plan())
    monitor = timed("monitor", lambda: Monitor(store, plan))
    with monitor.showing():
        timed("poll", monitor.poll)
    left = free_cells.unfinished(store, plan)
    timed("take, the first", lambda: store.claims.take(next(free_cells.claimable(store, plan, left)).key))
    timed(
        "take, later, with a look at all",
        lambda: store.claims.take(next(free_cells.claimable(store, plan, free_cells.unfinished(store, plan))).key),
    )
    fill(store, plan, points)
    timed("states()", store.states)
    timed("points()", lambda: read_measured(store, with_curves=False).points())
    timed("curves", lambda: [store.curve(key) for key in store.plan_file.keys()])
    timed("status, the command", lambda: status(store))
    return seconds


def fill(store: Store, plan: Plan, points: int) -> None:
    """A record and a curve for every cell, without waiting for the disk."""
    fsync = os.fsync
    os.fsync = lambda fd: None
    curve: list[dict[str, Any]] = [
        {"step": i + 1, "tokens": 512 * (i + 1), "phase": "constant", "loss": 5 - i / 200, "lr": 0.006, "grad_norm": 0.7345631}
        | {"update_ratio": 0.001230123, "tokens_per_second": 123456.789}
        for i in range(points)
    ]
    for i, cell in enumerate(plan.cells):
        claim = store.claims.take(cell.key) or Claim(cell.key, 1, store.cell_dir(cell.key) / "claim-1")
        path = store.cell_dir(cell.key) / "curve.jsonl"
        if i == 0:
            store.write_curve(claim, curve)
        else:
            os.link(store.cell_dir(plan.cells[0].key) / "curve.jsonl", path)
        row = cell.row(plan.count)
        store.write_record(
            claim,
            {"state": "COMPLETE", "loss": 3 + 1e3 / row["n"], "loss_se": 0.01, "last_finite_loss": 3.0, "entropy": None}
            | {"below_entropy": "", "trunk": cell.trunk, "cell": dataclasses.asdict(cell), "row": row, "bytes_per_token": 1.0}
            | {"times": {"training_seconds": 1.0, "ended": 0.0, "pack": 1, "shared_steps": 0}},
        )
    os.fsync = fsync


def status(store: Store) -> None:
    """The command; what it prints is thrown away."""
    done = subprocess.run([sys.executable, "-m", "scalesweep", "status", str(store.directory)], capture_output=True, text=True)
    if done.returncode not in (0, 3):
        raise SystemExit(json.dumps(done.stderr[-2000:]))


if __name__ == "__main__":
    main()
