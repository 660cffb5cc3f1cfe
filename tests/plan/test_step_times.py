"""Times of steps between those that were measured."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import flops_per_token
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.plan.step_times import families, family, interpolate, step_flops, to_measure
from scalesweep.settings.settings import Settings


@pytest.fixture
def cells(settings: Settings, facts: CorpusFacts) -> list[Cell]:
    """Seven widths at one batch."""
    cell = make_plan(settings, facts, "cpu").cells[0]
    shapes = [dataclasses.replace(cell.shape, width=2**i, ffn_width=3 * 2**i) for i in range(3, 10)]
    return [dataclasses.replace(cell, shape=shape) for shape in shapes]


def times(cells: list[Cell], rate: Callable[[Cell], float], layer: float = 0.0) -> list[tuple[Cell, float]]:
    return [(cell, layer * cell.shape.depth + step_flops(cell) / rate(cell)) for cell in cells]


def rising(cell: Cell) -> float:
    """FLOP/s that grow with the size."""
    return 1e6 * flops_per_token(cell.shape, "attention") ** 0.3


def test_a_power_of_flops_is_met_and_ends_go_on_carefully(cells: list[Cell]) -> None:
    seconds = interpolate(times([cells[1], cells[3], cells[5]], rising))
    for cell, time in times(cells[:6], rising):  # also below the smallest, on the line of the two nearest
        assert seconds(cell) == pytest.approx(time)
    ((_, largest),) = times([cells[5]], rising)
    assert seconds(cells[6]) == pytest.approx(largest * step_flops(cells[6]) / step_flops(cells[5]))  # with its rate


def test_two_batches_tell_what_a_layer_takes_at_any_batch(cells: list[Cell]) -> None:
    def at(cell: Cell, batch: int, depth: int = 1) -> Cell:
        return dataclasses.replace(cell, batch_sequences=batch, shape=dataclasses.replace(cell.shape, depth=depth))

    measured = [at(cells[0], 4), at(cells[6], 16), at(cells[0], 16), at(cells[3], 8)]
    seconds = interpolate(times(measured, rising, layer=1e-3))
    for cell, time in times([at(c, batch) for c in cells for batch in (1, 2, 4, 64)], rising, layer=1e-3):
        assert seconds(cell) == pytest.approx(time, rel=1e-6)
    assert seconds(at(cells[0], 1, depth=8)) > 8e-3


def test_noise_makes_no_time_negative(cells: list[Cell]) -> None:
    twice = dataclasses.replace(cells[0], batch_sequences=2 * cells[0].batch_sequences)
    odd = interpolate([(cells[0], 1.0), (twice, 0.5), (cells[3], 0.1)])  # more for less
    assert all(odd(cell) > 0 for cell in [*cells, twice])
    falling = interpolate([(cells[2], 1.0), (cells[3], 0.01)])
    assert falling(cells[0]) == pytest.approx(1.0)  # a smaller model takes no longer
    assert interpolate([(cells[2], 1.0)])(cells[4]) == pytest.approx(step_flops(cells[4]) / step_flops(cells[2]))


@pytest.mark.parametrize(
    "other", [{"precision": "bfloat16"}, {"optimizer": "muon"}, {"z_loss": 1e-4}, {"own_optimizer": '{"target": "a:B"}'}]
)
def test_a_family_is_of_one_way_to_compute(cells: list[Cell], other: dict[str, Any]) -> None:
    another = dataclasses.replace(cells[0], **other)
    assert family(another) != family(cells[0])
    assert family(dataclasses.replace(cells[0], steps=7, hidden_lr=0.5)) == family(cells[0])
    ours, theirs = sorted(families([*reversed(cells), another]), key=len, reverse=True)
    assert (ours, theirs) == (cells, [another])


def test_ends_two_batches_and_a_size_between_are_measured(cells: list[Cell]) -> None:
    def at(cell: Cell, batch: int) -> Cell:
        return dataclasses.replace(cell, batch_sequences=batch)

    assert to_measure(cells) == [cells[0], cells[6], cells[0], cells[0], cells[3]]
    (members,) = families([at(cell, batch) for cell in cells for batch in (1, 4, 16)])
    assert to_measure(members) == [at(cells[0], 1), at(cells[6], 16), at(cells[0], 1), at(cells[0], 16), at(cells[3], 4)]
    assert set(to_measure(cells[:1])) == {cells[0]}
