"""Where the time goes that people wait: for smoke, for a call that finds nothing new, for the fit and the page of a table.

    python scripts/bench_waiting.py [--rows 50 250] [--against REV]

Each command runs in a process of its own, on one thread of linear algebra, with its corpus prepared before and a cache of its
own; `again` is the same command a second time. Of each there are the seconds on the clock and the CPU seconds of all its
processes, which a busy machine leaves about as they are. The parts are CPU seconds too, training those of its workers. With
--against another revision, checked out into a temporary git worktree, runs by turns with this one.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_fit import ROOT, THREADS, revision, write_table

PARTS = {
    "settings": ("cli.experiment:compose_settings",),
    "corpus": ("sweep.run:prepare_corpora", "cli.experiment:prepare"),
    "training": ("sweep.run:launch", "cli.experiment:launch"),
    "reading": ("sweep.subject:sweep_subject",),
    "analysis": ("sweep.subject:analyse", "cli.analysis:analyse"),
    "drawing": ("report.charts.canvas:draw", "report.canvas:draw"),
    "page": ("report.pages.html:render_html", "report.html:render_html"),
    "Markdown": ("report.pages.markdown:render_markdown", "report.text:render_markdown"),
}
"""What `run` does, and the function that does it, in the module that calls it; the last ones are those of e664502."""


@dataclass(frozen=True)
class Waited:
    """What one command took, in seconds."""

    clock: float
    cpu: float
    output: str


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 250], help="rows of the tables")
    parser.add_argument("--against", metavar="REV", help="also run this revision, such as e664502")
    parser.add_argument("--parts", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.parts:
        print_parts(options.parts)
        return
    with tempfile.TemporaryDirectory() as place, revision(options.against) as other:
        roots = {"here": ROOT} | ({str(options.against): other} if other else {})
        for name, root in roots.items():
            (Path(place) / name).mkdir()
            waited(root, Path(place) / name, ["-m", "scalesweep", "data", "data=python_small"])
        tables = [write_table(Path(place) / f"{rows}.csv", rows) for rows in options.rows]
        show_parts(roots, Path(place))
        show_commands(roots, Path(place), tables)


def show_commands(roots: Mapping[str, Path], place: Path, tables: Sequence[Path]) -> None:
    """A line a command: its seconds in each revision, and what share of the last one's the first one's are."""
    commands = {"run sweep=smoke": ["run", "sweep=smoke"], "again": ["run", "sweep=smoke"]}
    for table in tables:
        rows = f"{table.stem} rows"
        commands |= {f"fit, {rows}": ["fit", str(table)], f"report, {rows}": ["report", str(table)]}
        commands |= {f"report, {rows}, again": ["report", str(table)]}
        commands |= {f"plot isoflops, {rows}": ["plot", "isoflops", str(table), "out=figure.svg"]}
    print(f"\n{'':<26}" + "".join(f"{f'{name}: clock':>16}{'CPU':>8}" for name in roots) + f"{'clock':>9}{'CPU':>7}")
    for name, words in commands.items():
        took = [waited(root, place / own, ["-m", "scalesweep", *words]) for own, root in roots.items()]
        line = f"{name:<26}" + "".join(f"{one.clock:>16.2f}{one.cpu:>8.2f}" for one in took)
        print(line + f"{took[0].clock / took[-1].clock:>9.2f}{took[0].cpu / took[-1].cpu:>7.2f}", flush=True)


def show_parts(roots: Mapping[str, Path], place: Path) -> None:
    """A line of parts a call of smoke; what they leave is removed."""
    print(f"{'CPU seconds':<24}" + "".join(f"{part:>10}" for part in (*PARTS, "the rest", "in all")))
    for own, root in roots.items():
        for call in ("smoke", "again"):
            text = waited(root, place / own, [str(Path(__file__).resolve()), "--parts", "run", "sweep=smoke"]).output
            line = "".join(f"{float(value):>10.2f}" for value in text.splitlines()[-1].split())
            print(f"{f'{own}: {call}':<24}{line}", flush=True)
        shutil.rmtree(place / own / "runs")
        shutil.rmtree(place / own / "cache" / "results", ignore_errors=True)


def waited(root: Path, place: Path, words: Sequence[str]) -> Waited:
    """A Python process with the package of a checkout, in a directory of its own."""
    paths = f"{root / 'src'}:{ROOT / 'scripts'}"
    environment = {**os.environ, **THREADS, "PYTHONPATH": paths, "SCALESWEEP_CACHE": str(place / "cache")}
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([sys.executable, *words], env=environment, cwd=place, stdout=out, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        out.seek(0)
        text = out.read()
    if process.returncode:
        raise SystemExit(text)
    return Waited(seconds, used.ru_utime + used.ru_stime, text)


def print_parts(words: Sequence[str]) -> None:
    """CPU seconds of each part of a command, in this process and the ones that it starts."""
    import importlib

    from scalesweep import cli

    spent = dict.fromkeys(PARTS, 0.0)
    for part, places in PARTS.items():
        for module, _, name in (place.partition(":") for place in places):
            with contextlib.suppress(ImportError, AttributeError):  # of the other revision
                found = importlib.import_module(f"scalesweep.{module}")
                setattr(found, name, timed(getattr(found, name), part, spent))
    assert cli.main(words) == 0
    print(*spent.values(), cpu() - sum(spent.values()), cpu())


def cpu() -> float:
    """CPU seconds of this process and of the ones that it has waited for."""
    return sum(os.times()[:4])


def timed(function: Callable[..., Any], part: str, spent: dict[str, float]) -> Callable[..., Any]:
    """The function, with its CPU time added to a part."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        start = cpu()
        try:
            return function(*args, **kwargs)
        finally:
            spent[part] += cpu() - start

    return wrapped


if __name__ == "__main__":
    main()
