"""The acceptance of a GPU where none is: one sentence, a rehearsal, and no number that was not measured."""

import importlib
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def accept(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Modules of scripts/accept, whose programs have that directory on their path."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "accept"))
    names = ("parts", "speed", "sweeps")
    modules = {name: importlib.import_module(name) for name in names}
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    return SimpleNamespace(**modules)


def test_what_was_not_measured_is_a_dash(accept: SimpleNamespace) -> None:
    found = accept.parts.Acceptance(torch.device("cpu"), 100.0)
    cell = accept.parts.cell_of(found, 16)
    empty = accept.speed.table_row(found, cell, 2, {}).split("|", 1)[1]
    assert not any(letter.isdigit() for letter in empty)
    row = accept.speed.table_row(found, cell, 2, {"graph": (0.5, 1.0)})
    assert f"{2 * cell.batch_tokens / 0.5 / 1e6:.3f}" in row and "%" not in row  # the ceiling is not known
    found.peak = 1e12
    assert row.count("-") == accept.speed.table_row(found, cell, 2, {"graph": (0.5, 1.0)}).count("-") + 1


def test_a_number_that_is_none_is_a_fault_and_one_section_stops_no_other(
    accept: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    found = accept.parts.Acceptance(torch.device("cpu"), 100.0)
    found.judge(math.nan < 1, "losses differ by nan", "right", "wrong")

    def breaks(_: object) -> None:
        raise RuntimeError("no kernel image")

    accept.parts.run(breaks, found, "capture")
    found.seconds = 0.0
    accept.parts.run(breaks, found, "speed")
    assert [line["kind"] for line in found.lines] == ["FAULT", "FAULT", "SKIPPED"]
    assert found.end() == 1
    assert "capture: RuntimeError: no kernel image" in capsys.readouterr().out


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(accept: SimpleNamespace) -> None:
    found = accept.parts.Acceptance(torch.device("cpu"), 1.0)
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    done = accept.sweeps.command(found, "tests", ["-c", code])  # waits for the pipe, which the sleeper holds too
    assert done.returncode != 0 and "stopped after" in done.stderr


def test_the_acceptance_says_in_one_sentence_that_no_gpu_is_here(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "SCALESWEEP_PYTHON": sys.executable}
    command = [str(ROOT / "scripts" / "accept_gpu.sh"), str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("accept_gpu: PyTorch sees no GPU here") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "accept.log").touch()
    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 2 and "holds files already; give a directory of its own" in again.stderr


@pytest.mark.slow
def test_the_acceptance_rehearses_on_the_cpu(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(ROOT / "scripts" / "accept" / "gpu.py"), "--device", "cpu", "--seconds", "500"]
    done = subprocess.run([*command, "--out", str(tmp_path / "a.json")], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it decides nothing about a GPU" in done.stdout
    assert "0 faults" in done.stdout and "SKIPPED" not in done.stdout
    assert (tmp_path / "a.json").stat().st_size > 1000
