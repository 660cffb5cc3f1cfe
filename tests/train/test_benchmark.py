"""The cache of benchmarks: what it is keyed by, and that it is never trusted blindly."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.settings import Settings
from scalesweep.train import measure
from scalesweep.train.benchmark import benchmark, describe


@pytest.fixture
def cell(settings: Settings, facts: CorpusFacts) -> Cell:
    return make_plan(settings, facts, "cpu").cells[0]


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands in for the measurement; holds the cells that were measured."""
    seen: list[Any] = []
    monkeypatch.setattr(measure, "seconds_per_step", lambda cell, *_, **__: seen.append(cell) or 0.25)
    return seen


def run(cell: Cell, cache: Path, remeasure: bool = False) -> Any:
    return benchmark(cell, "cpu", torch.device, None, cache, remeasure)


def test_a_kind_is_measured_once(cell: Cell, times: list[Any], tmp_path: Path) -> None:
    first, second = run(cell, tmp_path), run(dataclasses.replace(cell, seed=5, steps=99, hidden_lr=1.0), tmp_path)
    assert (first.seconds_per_step, first.is_cached, first.watts) == (0.25, False, None)
    assert (second.seconds_per_step, second.is_cached) == (0.25, True)
    assert len(times) == 1
    run(cell, tmp_path, remeasure=True)
    assert len(times) == 2


def test_what_changes_the_time_of_a_step_is_another_kind(cell: Cell, times: list[Any], tmp_path: Path) -> None:
    others = [
        dataclasses.replace(cell, batch_sequences=cell.batch_sequences + 1),
        dataclasses.replace(cell, precision="bfloat16"),
        dataclasses.replace(cell, shape=dataclasses.replace(cell.shape, depth=3)),
    ]
    for other in (cell, *others):
        assert not run(other, tmp_path).is_cached
    assert len(list((tmp_path / "benchmarks").iterdir())) == len(times) == 4
    assert describe(cell, "cpu", None) != describe(cell, "cpu", 1)
    assert {"device", "torch", "micro_batch", "precision", "batch_sequences", "shape"} <= set(describe(cell, "cpu", None))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seconds_per_step": -1, "watts": null}', '{"seconds_per_step": "x"}'])
def test_a_damaged_file_is_measured_anew(cell: Cell, times: list[Any], tmp_path: Path, text: str) -> None:
    run(cell, tmp_path)
    (path,) = (tmp_path / "benchmarks").iterdir()
    path.write_text(text)
    assert not run(cell, tmp_path).is_cached
    assert json.loads(path.read_text())["seconds_per_step"] == 0.25


def test_a_cache_that_cannot_be_written_is_done_without(cell: Cell, times: list[Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(cell, tmp_path / "file").seconds_per_step == 0.25


def test_what_is_measured_is_a_time(cell: Cell, tmp_path: Path) -> None:
    assert 0 < run(cell, tmp_path).seconds_per_step < 60


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a core cannot be shared on purpose here")
def test_a_benchmark_beside_other_programs_is_noticed_and_taken_again(cell: Cell, tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # which programs that are started from here share
    code = "print(flush=True)\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for other in others:
            assert other.stdout is not None
            assert other.stdout.read(1)
        disturbed = run(cell, tmp_path)
    finally:
        for other in others:
            other.kill()
            other.communicate()
        os.sched_setaffinity(0, cores)
    assert disturbed.is_disturbed
    (path,) = (tmp_path / "benchmarks").iterdir()
    assert json.loads(path.read_text())["core_share"] < 0.9
    assert not run(cell, tmp_path).is_cached


def test_what_a_process_pays_once_is_not_a_step_s(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    paid = [5.0]

    def run_steps(_: Cell, device: Any, micro_batch: Any, runs: int, num_steps: int, **how: Any) -> float:
        return (paid.pop() if paid else 0.0) + 1e-3 * num_steps

    monkeypatch.setattr(measure, "run_steps", run_steps)
    assert measure.seconds_per_step(cell, torch.device("cpu"), None) == pytest.approx(1e-3)


def test_steps_that_are_too_short_to_time_are_repeated(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def run_steps(_: Cell, device: Any, micro_batch: Any, runs: int, num_steps: int, **how: Any) -> float:
        tried.append(num_steps)
        return 0.5 + 1e-6 * num_steps

    monkeypatch.setattr(measure, "run_steps", run_steps)
    assert measure.seconds_per_step(cell, torch.device("cpu"), None) == pytest.approx(1e-6, rel=1e-3)
    assert max(tried) == measure.FIRST_STEPS + measure.MOST_STEPS


@pytest.mark.parametrize(("fits", "best"), [(0, 1), (1, 1), (5, 4), (10**6, 256)])
def test_the_pack_is_doubled_while_it_fits(cell: Cell, monkeypatch: pytest.MonkeyPatch, fits: int, best: int) -> None:
    """Beyond 511 runs of 128 sequences a kernel's grid is full."""

    def seconds(_: Cell, device: Any, micro_batch: Any, runs: int = 1) -> float:
        if runs > fits:
            raise RuntimeError("CUDA error: out of memory")
        return 1.0

    monkeypatch.setattr(measure, "seconds_per_step", seconds)
    monkeypatch.setattr(measure, "free_memory", lambda _: None)
    assert measure.best_pack(dataclasses.replace(cell, batch_sequences=128), torch.device("cuda"), None) == best
