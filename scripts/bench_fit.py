"""Where the CPU time of `scalesweep fit` goes, how it grows with the rows, and the same of another revision from one run.

    python scripts/bench_fit.py [--rows 50 250 1000 5000] [--against REV]

Each table is an isoFLOP design of an additive law with 0.8 % noise; `fit` runs on it with its defaults, in a process of its own
on one thread, imports included. The parts are of this revision. With --against the other revision is checked out into a
temporary git worktree and runs on the same tables, by turns with this one. Seconds are those of the machine; ratios outlive it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
PARTS = ("imports", "settings and table", "laws", "rivals", "back-test", "approaches", "files", "the rest")


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    seconds: float
    """CPU time."""
    megabytes: float
    """Peak memory."""
    output: str
    """What it printed."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 250, 1000, 5000], help="rows of the tables")
    parser.add_argument("--against", metavar="REV", help="also run this revision, such as e664502")
    parser.add_argument("--parts", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.parts:
        print_parts(options.parts)
        return
    with tempfile.TemporaryDirectory() as place, revision(options.against) as other:
        tables = [write_table(Path(place) / f"{rows}.csv", rows) for rows in options.rows]
        show_parts(tables)
        print(f"\n{'rows':>6}{'CPU s':>9}{'MB':>7}" + (f"{options.against:>12}{'MB':>7}{'ratio':>8}" if other else ""))
        for rows, table in zip(options.rows, tables, strict=True):
            own = run(ROOT, ["-m", "scalesweep", "fit", str(table), f"dir={place}/own"])
            line = f"{rows:>6}{own.seconds:>9.2f}{own.megabytes:>7.0f}"
            if other:
                theirs = run(other, ["-m", "scalesweep", "fit", str(table), f"dir={place}/other"])
                line += f"{theirs.seconds:>12.2f}{theirs.megabytes:>7.0f}{theirs.seconds / own.seconds:>8.2f}"
            print(line, flush=True)


def write_table(path: Path, rows: int) -> Path:
    """An isoFLOP table: budgets from 1e18 to 1e21 FLOPs, some eight sizes each."""
    budgets, rng = max(5, rows // 8), np.random.default_rng(0)
    place = np.arange(rows)
    c = 1e18 * 1e3 ** (place * budgets // rows / (budgets - 1))
    n = 0.09 * np.sqrt(c) * np.exp(rng.uniform(-2, 2, rows))
    d = c / (6 * n)
    loss = (1.7 + 400 / n**0.34 + 1100 / d**0.3) * np.exp(0.008 * rng.standard_normal(rows))
    lines = [f"{a:.0f},{b:.0f},{e:.6g},{f:.6f}" for a, b, e, f in zip(n, d, c, loss, strict=True)]
    path.write_text("\n".join(["n,d,c,loss", *lines, ""]))
    return path


def run(root: Path, words: Sequence[str]) -> Cost:
    """A Python process with the package of a checkout, and with nothing kept of earlier ones."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, **THREADS, "PYTHONPATH": str(root / "src"), "SCALESWEEP_CACHE": cache}
        process = subprocess.Popen([sys.executable, *words], env=environment, stdout=out, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if process.returncode:
        raise SystemExit(text)
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, text)


@contextmanager
def revision(name: str | None) -> Iterator[Path | None]:
    """A temporary worktree of a revision; None without one."""
    if name is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(tree), name], check=True, capture_output=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True, capture_output=True)


def show_parts(tables: Sequence[Path]) -> None:
    """A line of parts a table, each measured in a process of its own."""
    print(f"{'rows':>6}" + "".join(f"{part:>20}" for part in PARTS))
    for table in tables:
        line = run(ROOT, [__file__, "--parts", str(table)]).output.splitlines()[-1]
        print(f"{table.stem:>6}" + "".join(f"{float(value):>20.2f}" for value in line.split()), flush=True)


def print_parts(table: Path) -> None:
    """CPU seconds of each part of `fit` on a table, in this process; what runs inside another part is taken out of it."""
    spent = dict.fromkeys(PARTS, 0.0)
    from scalesweep import cli
    from scalesweep.analysis import analyse
    from scalesweep.analysis.forecast import tournament
    from scalesweep.cli import analysis as command

    spent["imports"] = time.process_time()  # of Python itself and numpy too
    places = (
        (command, "read_subject", "settings and table"),
        (analyse, "fit_laws", "laws"),
        (analyse, "run_tournament", "rivals"),
        (tournament, "back_test", "back-test"),
        (analyse, "compare_approaches", "approaches"),
        (command, "write_tables", "files"),
    )
    for module, name, part in places:
        setattr(module, name, timed(getattr(module, name), part, spent))
    code = cli.main(["fit", str(table), f"dir={table.with_suffix('.parts')}"])
    assert code == 0
    spent["rivals"] -= spent["back-test"]
    spent["the rest"] = time.process_time() - sum(spent.values())
    print(*spent.values())


def timed(function: Callable[..., Any], part: str, spent: dict[str, float]) -> Callable[..., Any]:
    """The function, with its CPU time added to a part."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[part] += time.process_time() - start

    return wrapped


if __name__ == "__main__":
    main()
