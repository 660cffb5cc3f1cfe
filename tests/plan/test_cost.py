"""Costs against closed forms, and the simulated schedule against schedules done by hand."""

import dataclasses
import random

import pytest

from scalesweep.plan.cost import Work, cost_of, evaluation_steps, rates_of, wall_seconds, work_of
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.settings.plan import CostSpec
from scalesweep.settings.settings import Settings


def test_a_constant_power_is_energy_times_rates() -> None:
    rates = rates_of(CostSpec(usd_per_device_hour=3.0, watts=500.0, kg_co2_per_kwh=0.4), "cuda")
    cost = cost_of(7200.0, "cuda", rates)
    assert (cost.device_hours, cost.kwh, cost.usd, cost.kg_co2) == (2.0, 1.0, 6.0, 0.4)
    assert all("as set" in source for source in rates.sources)


def test_what_is_set_goes_before_what_is_measured_and_that_before_what_is_assumed() -> None:
    assert rates_of(CostSpec(watts=5.0), "cuda", 300.0).watts == 5.0
    assert "300 W a GPU (measured by nvidia-smi)" in rates_of(CostSpec(), "cuda", 300.0).sources
    assert "6.25 W a core (assumed)" in rates_of(CostSpec(), "cpu").sources


def test_a_bill_is_written_as_people_write_it() -> None:
    rates = rates_of(CostSpec(watts=1200.0), "cuda")
    cost = cost_of(170 * 3600.0, "cuda", rates)
    assert (cost.hours, cost.bill) == ("170 GPU-hours", "200 kWh, $340, 98 kg CO2")
    assert cost_of(2.16, "cuda", rates).bill == "0.00072 kWh, $0.0012, 0.00035 kg CO2"
    assert rates.sources[0] == "1,200 W a GPU (as set)"


def test_a_free_worker_takes_the_next_of_the_list() -> None:
    works = [Work(str(i), seconds) for i, seconds in enumerate((5.0, 4.0, 3.0, 3.0, 3.0))]
    assert wall_seconds(works, 1) == 18.0
    assert wall_seconds(works, 2) == 10.0  # 5 + 3, 4 + 3 + 3; no division of 18 by 2
    assert wall_seconds(works, 9) == 5.0
    assert wall_seconds([], 2) == 0.0


def test_a_decay_waits_for_the_trunk_and_others_go_before_it() -> None:
    trunk = [Work("long", 10.0), Work("short", 2.0, leader="long", offset=4.0)]
    assert wall_seconds(trunk, 1) == 12.0
    assert wall_seconds(trunk, 2) == 10.0  # starts at 4, when the state is there, and ends at 6
    assert wall_seconds([Work("long", 10.0), Work("late", 2.0, "long", 9.0)], 2) == 11.0
    assert wall_seconds([Work("long", 10.0), Work("late", 2.0, "long", 9.0), Work("other", 9.0)], 2) == 11.0
    assert wall_seconds([Work("short", 2.0, leader="not there", offset=50.0)], 1) == 2.0


def test_a_schedule_is_between_its_bounds() -> None:
    """Graham (1969): longest first is within 4/3 of the best, which is at least the mean load and the longest work."""
    rng = random.Random(0)
    for _ in range(200):
        seconds = sorted((rng.expovariate(1.0) for _ in range(rng.randint(1, 40))), reverse=True)
        workers = rng.randint(1, 6)
        wall = wall_seconds([Work(str(i), s) for i, s in enumerate(seconds)], workers)
        assert max(seconds[0], sum(seconds) / workers) <= wall + 1e-9
        assert wall <= sum(seconds) / workers + seconds[0] * (1 - 1 / workers) + 1e-9


def planned(settings: Settings, facts: CorpusFacts) -> Plan:
    return make_plan(settings, facts, "cpu")


def test_the_longest_of_a_trunk_pays_for_it(settings: Settings, facts: CorpusFacts) -> None:
    plan = planned(settings, facts)
    plan = dataclasses.replace(plan, cells=tuple(dataclasses.replace(c, warmup_steps=3) for c in plan.cells))
    works = {w.key: w for w in work_of(plan, lambda cell: 0.5)}
    assert all(len(cells) == 2 for cells in plan.siblings.values())
    for short, long in plan.siblings.values():
        assert works[long.key] == Work(long.key, (long.steps + evaluation_steps(long)) * 0.5)
        assert works[short.key].leader == long.key
        assert works[short.key].seconds == pytest.approx((short.decay_steps + evaluation_steps(short)) * 0.5)
        assert works[short.key].offset == short.branch_step * 0.5
    assert [w.key for w in work_of(plan, lambda cell: 0.5)] == [c.key for c in plan.longest_first]
