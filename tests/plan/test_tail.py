"""Which cells several devices train together, and what it brings."""

import dataclasses

import pytest
from builders import cell_of

from scalesweep.plan.cost import Work, wall_seconds
from scalesweep.plan.tail import (
    SPEED_SHARE,
    START_SECONDS,
    STEP_SECONDS,
    Group,
    Schedule,
    describe_tail,
    group_of,
    num_ranks,
    schedule,
)


def works(*seconds: float) -> list[Work]:
    return [Work(f"k{i}", one) for i, one in enumerate(seconds)]


def planned(seconds: list[float], workers: int, ranks: int) -> Schedule:
    return schedule(works(*seconds), workers, {f"k{i}": Group(ranks, SPEED_SHARE * ranks) for i in range(len(seconds))})


def test_the_tail_is_trained_by_all_devices_first() -> None:
    found = planned([800.0, *[10.0] * 80], 8, 8)
    assert found.together == ("k0",)
    assert found.apart_seconds == 800.0
    assert found.wall_seconds == pytest.approx(START_SECONDS + 800.0 / (8 * SPEED_SHARE) + 100.0)
    assert found.exchange_seconds == pytest.approx(8 * START_SECONDS + 800.0 / SPEED_SHARE - 800.0)
    sentence = describe_tail(found, 8)
    assert "1 cell would be the tail, and is trained first, by several GPUs together (train.devices): k0." in sentence
    assert "about 5.5 minutes instead of 13.3 minutes" in sentence


def test_nothing_is_trained_together_where_it_would_not_end_sooner() -> None:
    assert planned([10.0] * 80, 8, 8).together == ()  # no tail
    assert schedule(works(800.0, *[10.0] * 80), 8, {}).together == ()  # not asked for
    assert planned([520.0, 480.0], 2, 2).together == ()  # the second would begin later
    assert planned([30.0], 8, 8).together == ()  # over before the processes have started
    assert "no cell would be the tail" in describe_tail(planned([10.0] * 80, 8, 8), 8)


def test_all_of_an_equal_tail_is_trained_together_or_none_of_it() -> None:
    found = planned([1000.0] * 3, 8, 8)
    assert found.together == ("k0", "k1", "k2")
    assert found.wall_seconds == pytest.approx(3 * START_SECONDS + 3000.0 / (8 * SPEED_SHARE))
    assert planned([1000.0] * 6, 8, 8).together == ()


def test_cells_that_wait_for_a_trunk_of_the_tail_begin_at_once_after_it() -> None:
    branch = Work("b", 50.0, "k0", 700.0)
    found = schedule([*works(800.0), branch], 8, {"k0": Group(8, 8 * SPEED_SHARE)})
    assert found.apart_seconds == wall_seconds([*works(800.0), branch], 8) == 800.0
    assert found.wall_seconds == pytest.approx(START_SECONDS + 800.0 / (8 * SPEED_SHARE) + 50.0)


def test_a_batch_is_divided_evenly_by_as_many_devices_as_can() -> None:
    cell = cell_of("completep")
    assert [num_ranks(dataclasses.replace(cell, batch_sequences=20), most) for most in (1, 2, 3, 8, 40)] == [1, 2, 2, 5, 20]
    assert num_ranks(dataclasses.replace(cell, batch_sequences=7), 6) == 1
    assert num_ranks(dataclasses.replace(cell, own_optimizer="{}"), 8) == 1


def test_steps_that_the_host_can_hardly_launch_gain_nothing() -> None:
    cell = dataclasses.replace(cell_of("completep"), batch_sequences=64)
    assert group_of(cell, 8, 100 * STEP_SECONDS) == Group(8, 8 * SPEED_SHARE)
    assert group_of(cell, 8, STEP_SECONDS / 2) == Group(8, 0.5)
