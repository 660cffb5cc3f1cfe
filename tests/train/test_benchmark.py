"""The cache of benchmarks: what it is keyed by, and that it is never trusted blindly."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.settings import Settings
from scalesweep.train import measure
from scalesweep.train.benchmark import Benchmark, benchmark, describe, known_benchmark
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Interrupted


@pytest.fixture
def cell(settings: Settings, facts: CorpusFacts) -> Cell:
    return make_plan(settings, facts, "cpu").cells[0]


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands in for the measurement; holds the cells that were measured."""
    seen: list[Any] = []
    monkeypatch.setattr(measure, "try_steps", lambda cell, *_: seen.append(cell) or measure.Trial(0.25, 0, 1.0))
    return seen


def run(cell: Cell, cache: Path) -> Benchmark:
    return known_benchmark(cell, "cpu", None, cache) or benchmark(cell, "cpu", torch.device, None, cache)


def test_a_kind_is_measured_once(cell: Cell, times: list[Any], tmp_path: Path) -> None:
    first, second = run(cell, tmp_path), run(dataclasses.replace(cell, seed=5, steps=99, hidden_lr=1.0), tmp_path)
    assert (first.seconds_per_step, first.is_cached, first.watts) == (0.25, False, None)
    assert (second.seconds_per_step, second.is_cached) == (0.25, True)
    assert len(times) == 1


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


class _Steps:
    """Stands in for `run_steps`: steps of a time that goes by on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: Sequence[float], then: float) -> None:
        self.now, self.done, self._first, self._then = 0.0, 0, list(first), then
        monkeypatch.setattr(measure, "run_steps", self)
        for clock in ("monotonic", "perf_counter", "process_time"):
            monkeypatch.setattr(measure.time, clock, lambda: self.now)

    def __call__(
        self, cell: Cell, execution: Any, runs: int, num_steps: int, on_step: Callable[[], bool], on_note: Any = None
    ) -> None:
        for self.done in range(1, num_steps + 1):
            self.now += self._first.pop(0) if self._first else self._then
            if on_step():
                return


def seconds_on_cpu(cell: Cell) -> float:
    return measure.seconds_per_step(cell, torch.device("cpu"), None)


def test_the_first_steps_do_not_count(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = _Steps(monkeypatch, [5.0, 1.0, 1.0, 1.0], 1e-2)
    assert seconds_on_cpu(cell) == pytest.approx(1e-2)
    assert steps.done <= measure.FIRST_STEPS + measure.BENCHMARK_STEPS + 2


@pytest.mark.parametrize(("seconds", "most"), [(1e-4, 1000), (1e-6, measure.MOST_STEPS)])
def test_steps_that_are_too_short_to_time_are_repeated(
    cell: Cell, monkeypatch: pytest.MonkeyPatch, seconds: float, most: int
) -> None:
    steps = _Steps(monkeypatch, [], seconds)
    assert seconds_on_cpu(cell) == pytest.approx(seconds)
    assert measure.FIRST_STEPS + measure.BENCHMARK_STEPS < steps.done <= most


def test_a_trial_ends_in_time_with_what_it_has(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, execution = _Steps(monkeypatch, [3.0], 2.0), Execution(torch.device("cpu"), None)
    trial = measure.try_steps(cell, execution, 1, most_seconds=10.0)
    assert (trial.seconds_per_step, trial.is_cut, steps.done) == (2.0, True, 5)
    assert measure.try_steps(cell, execution, 1, most_seconds=1.0).seconds_per_step == 2.0  # of the first step


def test_a_trial_that_was_cut_is_not_kept(cell: Cell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _Steps(monkeypatch, [], 2.0)
    benchmark(cell, "cpu", torch.device, None, tmp_path, most_seconds=5.0)
    assert known_benchmark(cell, "cpu", None, tmp_path) is None
    benchmark(cell, "cpu", torch.device, None, tmp_path)
    kept = known_benchmark(cell, "cpu", None, tmp_path)
    assert kept is not None
    assert kept.seconds_per_step == pytest.approx(2.0)


def test_a_trial_stops_when_it_is_told(cell: Cell) -> None:
    with pytest.raises(Interrupted):
        measure.try_steps(cell, Execution(torch.device("cpu"), None), 2, should_stop=lambda: True)
