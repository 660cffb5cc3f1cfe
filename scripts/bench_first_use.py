"""How long three people take from a fresh copy of the repository to their first result, installation included.

    python scripts/bench_first_use.py

The student has a folder of text (here the pages and the code of this repository) and wants a law of it, at smoke's nine sizes
and budgets. The engineer has a table of measured runs (the 240 of Chinchilla) and no torch. Whoever keeps the machines wants a
job that fails where a sweep breaks, and to see a sweep that was killed go on. Each has an environment and a cache of their own;
pip's cache is the user's.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Person:
    """Somebody with a copy of the repository.

    Args:
        name: who.
        place: an empty directory.
    """

    def __init__(self, name: str, place: Path) -> None:
        self.name, self.home = name, place / name
        subprocess.run(["git", "clone", "-q", str(ROOT), str(self.home)], check=True)
        self._env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        self._env |= {"SCALESWEEP_CACHE": str(self.home / "cache"), "PATH": f"{self.home / '.venv/bin'}:{os.environ['PATH']}"}

    def does(self, what: str, words: Sequence[str], code: int = 0) -> None:
        """Run a command, check its exit code, and print how long it took."""
        started = time.monotonic()
        done = subprocess.run(words, cwd=self.home, env=self._env, capture_output=True, text=True, check=False)
        took = time.monotonic() - started
        if done.returncode != code:
            sys.exit(
                f"{self.name}: {' '.join(words)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        print(f"| {self.name} | {what} | `{shown(words)}` | {took:.0f} |", flush=True)

    def kills(self, what: str, words: Sequence[str], until: str) -> None:
        """Run a command, and kill it, with all that it started, when a file is there whose name fits `until`."""
        started = time.monotonic()
        with subprocess.Popen(
            words, cwd=self.home, env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            while not any(self.home.glob(until)):
                if process.poll() is not None:
                    sys.exit(f"{self.name}: {' '.join(words)} ended before it was killed")
                time.sleep(0.2)
            os.killpg(process.pid, signal.SIGKILL)
        print(f"| {self.name} | {what} | `{shown(words)}` | {time.monotonic() - started:.0f} |", flush=True)


def shown(words: Sequence[str]) -> str:
    """The command as one would write it."""
    return " ".join("python" if word == sys.executable else word for word in words)


def main() -> None:
    """Measure and print."""
    print("| who | does | command | seconds |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        student = Person("student", place)
        student.does("installs", ["scripts/install.sh"])
        (student.home / "texts").mkdir()
        for i, page in enumerate([*student.home.glob("docs/*.md"), *student.home.glob("src/**/*.py")]):
            shutil.copy(page, student.home / "texts" / f"{i}.txt")
        texts = ["sweep=smoke", "data=files", "data.paths=['texts/*.txt']", "data.tokenizer.vocab_size=512", "sweep.name=mine"]
        student.does("asks for the price", ["scalesweep", "plan", *texts])
        student.does("gets a law and a page", ["scalesweep", "run", *texts])

        engineer = Person("engineer", place)
        shutil.copy(engineer.home / "tests/data/epoch_chinchilla.csv", engineer.home / "points.csv")
        engineer.does("makes an environment", [sys.executable, "-m", "venv", ".venv"])
        engineer.does("installs, without torch", ["pip", "install", "-q", "-r", "requirements-lean.txt"])
        engineer.does("installs", ["pip", "install", "-q", "--no-deps", "."])
        engineer.does("gets the page of a table", ["scalesweep", "report", "points.csv"])
        engineer.does("gets a forecast", ["scalesweep", "forecast", "points.csv", "compute=1e24"])
        column = ["plot", "optima", "points.csv", "width=3.25", "panel=1", "title=off", "out=optima.pdf"]
        engineer.does("draws a figure for a column", ["scalesweep", *column])

        keeper = Person("keeper of machines", place)
        keeper.does("installs", ["scripts/install.sh"])
        keeper.does("runs a job", ["scalesweep", "run", "sweep=smoke", "--json"])
        keeper.does("runs it again", ["scalesweep", "run", "sweep=smoke"])
        keeper.kills(
            "kills a sweep", ["scalesweep", "run", "sweep=smoke", "sweep.name=killed"], "runs/killed/cells/*/record.json"
        )
        keeper.does("sees what there is", ["scalesweep", "status"])
        keeper.does("goes on", ["scalesweep", "resume", "runs/killed"])


if __name__ == "__main__":
    main()
