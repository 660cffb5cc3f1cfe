"""Prices from benchmarks, corrected by what the sweep's own cells took."""

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import small_settings

from scalesweep.cli.answer import plan_content
from scalesweep.cli.tables import print_plan
from scalesweep.plan.cost import wall_seconds, work_of
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.plan.step_times import step_flops
from scalesweep.run.launch.pricing import Prices, limits_of, price_of
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.settings import Settings, with_values
from scalesweep.sweep.corpora import corpus_facts
from scalesweep.train import measure
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device


def test_prices_are_those_of_the_sweep_s_own_records(
    settings: Settings, corpus: Corpus, facts: CorpusFacts, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"dir": str(tmp_path / "sweep")})
    plan = make_plan(settings, facts, "cpu")
    fresh = Prices(settings, "cpu")
    fresh.take(plan)
    assert fresh.factor == 1
    assert "Corrected" not in fresh.describe(plan)

    store = Store(Path(settings.dir))
    store.plan_file.create(plan, settings.model_dump(mode="json"), corpus_facts(corpus))
    assert work(store, prepare_device("cpu"), lambda: False, lambda line: None)
    prices = Prices(settings, "cpu")
    price_of(plan, prices)
    assert "Corrected by this sweep's records" in prices.describe(plan)
    cell = plan.cells[0]
    took = []
    for other in plan.cells:
        record = store.record(other.key)
        assert record is not None
        if (other.shape, other.batch_sequences) == (cell.shape, cell.batch_sequences):
            took.append(record["times"]["training_seconds"] / (other.steps - record["times"]["shared_steps"]))
    assert prices.seconds_per_step(cell) == pytest.approx(statistics.median(took))

    other = dataclasses.replace(cell, batch_sequences=2 * cell.batch_sequences)
    assert prices.seconds_per_step(other) == pytest.approx(prices.benchmarks.of(other).seconds_per_step * prices.factor)
    for one in (cell, other):
        assert prices.most_seconds_per_step(one) >= max(
            prices.seconds_per_step(one), prices.benchmarks.of(one).seconds_per_step
        )


def test_records_that_were_faster_leave_a_limit_as_it_was(settings: Settings, facts: CorpusFacts) -> None:
    """So that a sweep that is done does not grow."""
    settings = with_values(settings, {"budget.usd": 1.0})
    plan = make_plan(settings, facts, "cpu")
    prices = Prices(settings, "cpu")
    (before,) = limits_of(plan, prices)
    cost = before.cost(plan.cells)
    prices.recorded = {kind: benchmark.seconds_per_step / 2 for kind, benchmark in prices.benchmarks.known.items()}
    assert before.cost(plan.cells) == pytest.approx(cost)
    prices.recorded = {kind: benchmark.seconds_per_step * 2 for kind, benchmark in prices.benchmarks.known.items()}
    assert before.cost(plan.cells) == pytest.approx(2 * cost)


@pytest.fixture
def seven(tmp_path: Path) -> Settings:
    """Seven sizes at two budgets, and an empty cache."""
    sizes = [{"width": width, "depth": 1} for width in (8, 16, 24, 32, 40, 48, 64)]
    return small_settings(tmp_path, sweep={"name": "seven", "sizes": sizes, "budgets": [4096, 16384]})


class _Machine:
    """Stands in for steps: they take a time by FLOPs, on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, flops_per_second: float) -> None:
        self.now, self.measured, self._rate = 0.0, list[int](), flops_per_second
        monkeypatch.setattr(measure, "run_steps", self)
        for clock in ("monotonic", "perf_counter", "process_time"):
            monkeypatch.setattr(measure.time, clock, lambda: self.now)

    def __call__(
        self, cell: Any, execution: Any, runs: int, num_steps: int, on_step: Callable[[], bool], on_note: Any = None
    ) -> None:
        self.measured.append(cell.shape.width)
        for _ in range(num_steps):
            self.now += step_flops(cell) / self._rate
            if on_step():
                return


def widths(plan: Plan, prices: Prices) -> list[int]:
    return sorted({cell.shape.width for cell in plan.cells if prices.is_interpolated(cell)})


def test_three_sizes_are_measured_and_the_others_follow(
    seven: Settings, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine, plan = _Machine(monkeypatch, 1e9), make_plan(seven, facts, "cpu")
    prices = Prices(seven, "cpu")
    price = price_of(plan, prices)
    assert machine.measured == [8, 64, 24]
    assert widths(plan, prices) == [16, 32, 40, 48]
    for cell in plan.cells:
        assert prices.seconds_per_step(cell) == pytest.approx(step_flops(cell) / 1e9)
    assert "of 4 other kinds of cells, are interpolated" in prices.describe(plan)
    print_plan(plan, seven, price)
    assert sum("~" in line for line in capsys.readouterr().out.splitlines()) == 8
    said = {cell["width"]: cell["interpolated"] for cell in plan_content(plan, "cpu", price)["cells"]}
    assert said == {width: width not in (8, 24, 64) for width in said}

    again = Prices(seven, "cpu")
    price_of(plan, again)
    assert len(machine.measured) == 3  # the cache has them
    assert widths(plan, again) == [16, 32, 40, 48]


@pytest.mark.parametrize("flops_per_second", [1e10, 1e6, 1e5, 1e4])
def test_benchmarks_take_ten_seconds_or_a_tenth_of_what_they_price(
    seven: Settings, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch, flops_per_second: float
) -> None:
    machine, plan = _Machine(monkeypatch, flops_per_second), make_plan(seven, facts, "cpu")
    prices = Prices(seven, "cpu")
    prices.take(plan)
    took = wall_seconds(work_of(plan, lambda cell: step_flops(cell) / flops_per_second), 1)
    first = min(step_flops(cell) for cell in plan.cells) / flops_per_second  # what a step takes nobody knows before it
    assert machine.now <= max(10.0, 0.1 * took) + first
    assert machine.measured[0] == 8
    assert all(prices.seconds_per_step(cell) > 0 for cell in plan.cells)


def test_a_budget_bounds_what_its_benchmarks_take(seven: Settings, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _Machine(monkeypatch, 1e6)
    seven = with_values(seven, {"budget.hours": 0.01})
    limits_of(make_plan(seven, facts, "cpu"), Prices(seven, "cpu"))
    assert 5 < machine.now < 13  # ten seconds, and a step of the smallest size
