"""How runs are divided into packs, and which of the sizes that were tried is taken."""

import dataclasses

import pytest

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.packs import (
    LARGEST_PACK,
    SIZING_SHARE,
    Taken,
    best_pack,
    bytes_of_run,
    even_pack,
    most_in_memory,
    most_sizing_seconds,
    sizes_to_try,
    step_seconds,
)
from scalesweep.plan.plan import make_plan
from scalesweep.settings.settings import Settings


@pytest.fixture
def cell(settings: Settings, facts: CorpusFacts) -> Cell:
    return make_plan(settings, facts, "cpu").cells[0]


def divided(num: int, workers: int, most: int) -> list[int]:
    """Packs of so many alike runs, of which every free worker takes one; packs of a round end together."""
    packs, waiting = list[int](), num
    while waiting:
        running = 0
        for _ in range(workers):
            taken = min(waiting, even_pack(waiting + running, workers, min(most, waiting + running))) if waiting else 0
            packs.append(taken)
            waiting, running = waiting - taken, running + taken
    return [pack for pack in packs if pack]


@pytest.mark.parametrize(
    ("num", "workers", "most", "packs"),
    [
        (8, 1, 100, [8]),
        (8, 2, 100, [4, 4]),
        (64, 8, 100, [8] * 8),
        (10, 4, 100, [3, 3, 3, 1]),
        (12, 2, 3, [3] * 4),
        (100, 2, 16, [13, 13, 13, 13, 12, 12, 12, 12]),
        (3, 8, 100, [1, 1, 1]),
    ],
)
def test_packs_are_even_among_workers(num: int, workers: int, most: int, packs: list[int]) -> None:
    assert divided(num, workers, most) == packs


def timed(**seconds: float) -> dict[int, Taken]:
    return {int(name.removeprefix("of_")): Taken(10**6, value) for name, value in seconds.items()}


def test_the_best_pack_is_the_smallest_that_loses_nothing() -> None:
    flat, steep, between = timed(of_1=1.0, of_64=1.0), timed(of_1=1.0, of_64=64.0), timed(of_1=1.0, of_64=16.0)
    assert best_pack(flat, 64, 1, 64) == 64
    assert best_pack(steep, 64, 1, 64) == 1  # together they take as long as one by one
    assert best_pack(between, 64, 1, 64) == 32  # 16 against 2 x 8.4 is no gain
    assert best_pack(flat, 64, 1, 40) == 32  # memory for 40: two packs of 32
    assert best_pack(flat, 64, 4, 64) == 16
    assert best_pack({}, 64, 2, 20) == 16  # nothing was tried: the largest that divides evenly
    assert best_pack({64: Taken(10**6)}, 64, 1, 64) == 64


def test_memory_bounds_a_pack_by_formula_and_then_by_what_was_measured(cell: Cell) -> None:
    each = bytes_of_run(cell, None)
    assert bytes_of_run(cell, 1) < each < bytes_of_run(dataclasses.replace(cell, precision="float32"), None) * 1.001
    assert most_in_memory(cell, None, 100.2 * each / 0.75, {}) == 100
    assert most_in_memory(cell, None, 0.0, {}) == 1
    assert most_in_memory(cell, None, float("inf"), {}) == LARGEST_PACK
    table = {1: Taken(10 * 2**30), 4: Taken(20 * 2**30), 8: Taken(0)}  # a part of the first is for all
    assert most_in_memory(cell, None, 80 * 2**30, table) == 12
    many = dataclasses.replace(cell, batch_sequences=128)
    assert most_in_memory(many, None, float("inf"), {}) == 511  # a kernel's grid is full
    assert most_in_memory(many, 64, float("inf"), {}) == 1023


def test_two_sizes_are_tried(cell: Cell) -> None:
    assert sizes_to_try({}, 64) == [1, 64]
    assert sizes_to_try(timed(of_1=1.0), 64) == [64]
    assert sizes_to_try(timed(of_1=1.0, of_40=1.0), 64) == []
    assert sizes_to_try(timed(of_1=1.0, of_8=1.0), 64) == [64]
    assert sizes_to_try({1: Taken(10), 64: Taken(10)}, 64) == [1, 64]  # trained, and not timed


def test_trials_may_take_a_share_of_the_training_by_what_is_known(cell: Cell) -> None:
    longer = dataclasses.replace(cell, steps=2 * cell.steps)
    assert most_sizing_seconds([cell], timed(of_16=0.5), 16) == pytest.approx(SIZING_SHARE * 0.5 * cell.steps)
    assert most_sizing_seconds([cell, longer], timed(of_16=0.5), 16) == pytest.approx(3 * SIZING_SHARE * 0.5 * cell.steps)
    assert step_seconds(cell, 16, {}) > step_seconds(cell, 1, {}) > 0
