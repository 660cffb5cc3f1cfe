"""Idle time and overhead of launchers on a grid of unequal cells, ours beside Hydra's joblib launcher, in turn.

    python scripts/bench_launchers.py [--rounds 3] [--workers 2] [--quick]     # needs hydra-joblib-launcher

The same cells are trained by `scalesweep run launcher=local` and by `scalesweep train --multirun hydra/launcher=joblib`, which
takes them in the order of the grid (ascending) or, the best that its user can do by hand, in descending order. The schedule is
cosine, so that no trunk is shared and all train the same FLOPs. Time counts from the start of the command to the end of the
last cell, so without fit and report. Printed are, as median over the rounds with the range:

    wall        relative to ours
    training    share of workers x wall that is spent in training steps
    overhead    share in a cell but not in a training step: start of the model, evaluation, checkpoints, record
    start       share before the first cell and between the cells of a worker
    tail        share of workers that have no cell any more, until the last one ends
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

WIDTHS = (16, 32, 48, 64)
BUDGETS = (16_384, 49_152, 147_456, 442_368)
COMMON = ("data=python_small", "logger=none", "model.context=32", "train.schedule=cosine", "train.device=cpu")


def main() -> None:
    """Print one row a launcher."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a grid of four cells, once")
    options = parser.parse_args()
    widths, budgets = (WIDTHS[:2], BUDGETS[:2]) if options.quick else (WIDTHS, BUDGETS)
    arms: dict[str, Callable[[Path], None]] = {
        "scalesweep, local": lambda home: ours(home, widths, budgets, options.workers),
        "Hydra joblib, ascending": lambda home: joblib(home, widths, budgets, options.workers),
        "Hydra joblib, descending": lambda home: joblib(home, widths[::-1], budgets[::-1], options.workers),
    }
    rounds: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(1 if options.quick else options.rounds):
        for name, run in arms.items():
            with tempfile.TemporaryDirectory(prefix="launchers-") as home:
                started = time.time()
                run(Path(home))
                rounds[name].append(shares(Path(home), started, options.workers, len(widths) * len(budgets)))
                sys.stderr.write(f"{name}: {rounds[name][-1]}\n")
    print(table(rounds))


def ours(home: Path, widths: Sequence[int], budgets: Sequence[int], workers: int) -> None:
    """`scalesweep run` with local workers."""
    sizes = ",".join(f"{{width: {width}, depth: 2}}" for width in widths)
    words = [f"sweep.sizes=[{sizes}]", f"sweep.budgets=[{','.join(map(str, budgets))}]", "sweep.seeds=[0]", "fit.bootstrap=0"]
    words += ["launcher=local", f"launcher.workers={workers}", f"dir={home / 'sweep'}"]
    call("run", *COMMON, *words)


def joblib(home: Path, widths: Sequence[int], budgets: Sequence[int], workers: int) -> None:
    """One Hydra job a cell, by the joblib launcher."""
    sizes = ",".join(f"{{width:{width},depth:2}}" for width in widths)
    words = [f"size={sizes}", f"budget={','.join(map(str, budgets))}", f"hydra.sweep.dir={home}"]
    call("train", "--multirun", *COMMON, *words, "hydra/launcher=joblib", f"hydra.launcher.n_jobs={workers}")


def call(*words: str) -> None:
    """Run the command line."""
    done = subprocess.run([sys.executable, "-m", "scalesweep", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"scalesweep {' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def shares(home: Path, started: float, workers: int, cells: int) -> dict[str, float]:
    """Seconds until the last cell ended, and what became of them."""
    spans: dict[int, list[tuple[float, float]]] = defaultdict(list)
    training = 0.0
    for path in home.glob("**/cells/*/record.json"):
        times = json.loads(path.read_text())["times"]
        pid = json.loads((path.parent / "claim-1").read_text())["pid"]
        spans[pid].append((times["started"], times["ended"]))
        training += times["training_seconds"]
    assert sum(map(len, spans.values())) == cells, f"{sum(map(len, spans.values()))} of {cells} cells have a record"
    end = max(stop for worker in spans.values() for _, stop in worker)
    busy = sum(stop - start for worker in spans.values() for start, stop in worker)
    tail = sum(end - max(stop for _, stop in worker) for worker in spans.values())
    whole = workers * (end - started)
    tail += (workers - len(spans)) * (end - started)  # a worker that never had a cell
    return {
        "wall": end - started,
        "training": training / whole,
        "overhead": (busy - training) / whole,
        "start": (whole - busy - tail) / whole,
        "tail": tail / whole,
    }


def table(rounds: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The rows in Markdown."""
    lines = ["| launcher | wall | training | overhead | start | tail |", "|---|---|---|---|---|---|"]
    ours = next(iter(rounds.values()))
    for name, found in rounds.items():
        walls = [one["wall"] / base["wall"] for one, base in zip(found, ours, strict=True)]
        cells = [f"x {statistics.median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f})"]
        for part in ("training", "overhead", "start", "tail"):
            values = [one[part] for one in found]
            cells.append(f"{statistics.median(values):.1%} ({min(values):.1%} to {max(values):.1%})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
