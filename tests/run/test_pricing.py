"""Prices from benchmarks, corrected by what the sweep's own cells took."""

import dataclasses
import statistics
from pathlib import Path

import pytest

from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.run.launch.pricing import Prices, limits_of, price_of
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.settings import Settings, with_values
from scalesweep.sweep.corpora import corpus_facts
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device


def test_prices_are_those_of_the_sweep_s_own_records(
    settings: Settings, corpus: Corpus, facts: CorpusFacts, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"dir": str(tmp_path / "sweep")})
    plan = make_plan(settings, facts, "cpu")
    fresh = Prices(settings, "cpu")
    fresh.take(plan.cells)
    assert fresh.factor == 1
    assert "Corrected" not in fresh.describe(plan)

    store = Store(Path(settings.dir))
    store.plan_file.create(plan, settings.model_dump(mode="json"), corpus_facts(corpus))
    assert work(store, prepare_device("cpu"), lambda: False, lambda line: None)
    prices = Prices(settings, "cpu", known=dict(fresh.known))
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
    assert prices.seconds_per_step(other) == pytest.approx(prices.of(other).seconds_per_step * prices.factor)
    for one in (cell, other):
        assert prices.most_seconds_per_step(one) >= max(prices.seconds_per_step(one), prices.of(one).seconds_per_step)


def test_records_that_were_faster_leave_a_limit_as_it_was(settings: Settings, facts: CorpusFacts) -> None:
    """So that a sweep that is done does not grow."""
    settings = with_values(settings, {"budget.usd": 1.0})
    plan = make_plan(settings, facts, "cpu")
    prices = Prices(settings, "cpu")
    (before,) = limits_of(plan, prices)
    cost = before.cost(plan.cells)
    prices.recorded = {kind: benchmark.seconds_per_step / 2 for kind, benchmark in prices.known.items()}
    assert before.cost(plan.cells) == pytest.approx(cost)
    prices.recorded = {kind: benchmark.seconds_per_step * 2 for kind, benchmark in prices.known.items()}
    assert before.cost(plan.cells) == pytest.approx(2 * cost)
