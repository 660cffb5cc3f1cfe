"""The guides, as a reader follows them: every command of a ```sh block is run in order, or it says here why it is not.

What is not run composes nevertheless; test_docs.py checks that for all pages.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scalesweep.train.data.tokenizer import train_bpe

ROOT = Path(__file__).parents[1]
RUN = ["quickstart", "concepts", "own", "reading", "grid", "sweep_file", "reproduce"]
COMPARED = {"reproduce"}
"""Pages whose ```text blocks are lines of what the commands print, here and on any machine."""
NOT_RUN = {
    "scripts/install.sh": "installation; .ci/run does it",
    ". .venv/bin/activate": "installation",
    "pip install -r requirements-lean.txt && pip install --no-deps .": "installation; .ci/run does it",
    "scripts/demo.sh": "installation, and minutes of training",
    "scalesweep run data=hub data.name=roneneldan/TinyStories sweep.name=stories": "downloads from a hub",
    "scalesweep run data=enwik8 sweep.name=wiki": "downloads 100 MB",
    "scalesweep plan sweep=kaplan_small": "downloads gigabytes; its benchmark is for a GPU",
    "scalesweep run sweep=kaplan_small budget.hours=8": "needs a GPU",
    "scalesweep plan sweep=chinchilla_small": "downloads gigabytes; its benchmark is for a GPU",
    "scalesweep run sweep=chinchilla_small budget.hours=1": "needs a GPU",
    "scalesweep plan sweep=chinchilla_small data=enwik8 'sweep.budgets=[1e14,2e14,4e14,8e14,1.5e15]' "
    "'sweep.tokens_per_parameter=[1,60]'": "downloads 100 MB; its benchmark is for a GPU",
    "scalesweep plan sweep=kaplan_small data=enwik8 'sweep.budgets=[4M,10M,25M,50M,90M]'": "downloads 100 MB",
}


def blocks_of(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands_of(page: str) -> list[str]:
    lines = "".join(blocks_of(page, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with what the guides take for the reader's own, from texts to presets; `scalesweep` is on PATH."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "scalesweep"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m scalesweep "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SCALESWEEP_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    (tmp_path / "texts").mkdir()
    text = "\n\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    (tmp_path / "texts" / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(str(train_bpe([text[:10_000].encode()], 300).json), encoding="utf-8")
    (tmp_path / "shards").mkdir()
    rng.integers(0, 50257, 100_000).astype("<u2").tofile(tmp_path / "shards" / "a.bin")
    shutil.copytree(ROOT / "examples" / "presets", tmp_path / "examples" / "presets")
    shutil.copy(ROOT / "examples" / "sweep.yaml", tmp_path / "examples" / "sweep.yaml")
    (tmp_path / "cells.csv").write_text(next(block for block in blocks_of("grid", "text") if block.startswith("n,d")))
    sizes, budgets = np.geomspace(3e6, 1e8, 6), np.geomspace(1e8, 5e9, 5)
    rows = [(n, d, (1.8 + 480 / n**0.35 + 2000 / d**0.366) * np.exp(0.003 * rng.normal())) for n in sizes for d in budgets]
    (tmp_path / "points.csv").write_text(
        "params,tokens,loss\n" + "".join(f"{n:.0f},{d:.0f},{loss:.4f}\n" for n, d, loss in rows)
    )
    return tmp_path


@pytest.mark.slow  # the commands of a page take 20 s and more
@pytest.mark.parametrize("page", RUN)
def test_commands_of_the_guide_work(page: str, reader: Path) -> None:
    printed = ""
    for command in commands_of(page):
        if command in NOT_RUN:
            continue
        done = subprocess.run(["bash", "-c", command], cwd=reader, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        printed += done.stdout
    assert printed
    if page in COMPARED:
        shown = [line for block in blocks_of(page, "text") for line in block.splitlines()]
        assert shown
        assert [line for line in shown if line not in printed.splitlines()] == []


def test_commands_that_are_not_run_are_still_in_the_guides() -> None:
    assert set(NOT_RUN) <= {command for page in RUN for command in commands_of(page)}


def test_all_other_commands_are_scalesweep_s() -> None:
    others = [command for page in RUN for command in commands_of(page) if command not in NOT_RUN]
    assert [command for command in others if not command.startswith("scalesweep ")] == []


@pytest.mark.parametrize("page", ["api", "own"])
def test_python_of_the_guide_runs(page: str, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(reader)
    blocks = blocks_of(page, "python")
    assert blocks
    for block in blocks:
        exec(compile(block, f"{page}.md", "exec"), {})
