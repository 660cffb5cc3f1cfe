"""Installations without torch: what needs it says so before it begins, and lines that install something can be followed."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

from scalesweep.packages import MEASURING, pip_line

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LEAN = f"""
import contextlib, importlib.machinery, io, json, sys
hidden = {MEASURING}
class Lean(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Lean
from scalesweep.cli import main
for command in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(command.split())
    print(json.dumps([command, code, out.getvalue(), err.getvalue()]))
"""
"""Calls commands where nothing that only measuring needs can be found, and prints what each of them did."""


def called_lean(directory: Path, *commands: str) -> list[tuple[str, int, str, str]]:
    """Command, exit code, standard output and standard error of each."""
    words = [sys.executable, "-c", LEAN, json.dumps(commands)]
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=True)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_what_measures_says_how_to_get_what_it_lacks_and_begins_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some words, and more of them\n\n" * 2000)
    runs = ("run sweep=smoke logger=wandb", "run train.device=cuda", "run launcher=ray", "run until=a<.03 budget=2e13")
    others = ("plan sweep=smoke", "check transfer", "study sample_efficiency")
    cells = ("train size=64k budget=500k", "train size=64k,128k budget=500k --multirun")
    *called, data = called_lean(tmp_path, *runs, *others, *cells, "data data=files data.paths=[a.txt] data.cache=cache")
    assert len(called) == len(runs) + len(others) + len(cells)
    told = r"scalesweep: planning and training need .*torch.*: pip install .*'torch<3,>=2\.\d+'.*\n"
    assert [one for one in called if one[1:3] != (2, "") or not re.fullmatch(told, one[3])] == []
    assert {path.name for path in tmp_path.iterdir()} <= {"a.txt", "cache"}
    assert data[1] == 2
    assert re.search(r"^scalesweep: data needs tokenizers, .*: pip install 'tokenizers", data[3], re.MULTILINE)


def test_the_line_has_the_versions_of_the_project() -> None:
    assert re.fullmatch(r"pip install 'torch<3,>=2\.\d+' 'ray<3,>=2\.\d+' 'unknown'", pip_line("torch", "ray", "unknown"))


def test_the_lean_requirements_are_the_project_s() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "make_requirements.py"))
    stands = (ROOT / "requirements-lean.txt").read_text(encoding="utf-8")
    assert stands == script["render"](), "requirements-lean.txt is stale; run: python scripts/make_requirements.py"
    kept = [line for line in stands.splitlines() if not line.startswith("#")]
    assert sorted([*kept, *(line for line in PROJECT["dependencies"] if line not in kept)]) == sorted(PROJECT["dependencies"])
    assert len(kept) == len(PROJECT["dependencies"]) - len(MEASURING)


def test_no_line_installs_what_no_index_has() -> None:
    places = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Dockerfile", ".ci/run")]
    for folder, pattern in (("docs", "*.md"), ("src", "*.py"), ("configs", "*.yaml"), ("scripts", "*"), (".github", "*.yml")):
        places += [path for path in (ROOT / folder).rglob(pattern) if path.is_file() and "__pycache__" not in path.parts]
    texts = {path: path.read_text(encoding="utf-8") for path in places}
    assert [path for path, text in texts.items() if re.search(r"pip install '?\"?scalesweep", text)] == []
