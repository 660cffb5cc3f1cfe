"""The estimate of a GPU that is not here, against the modelled times that it was made from, and what is said of it."""

import dataclasses

import pytest

from scalesweep.plan.cell import Cell
from scalesweep.plan.estimate import CEILING, describe_estimate, estimated_seconds_per_step, estimated_share
from scalesweep.plan.flops import flops_per_token
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.settings.compose import compose_settings
from scalesweep.units import format_share

MODELLED = {64: 0.95e-3, 256: 1.93e-3, 800: 8.4e-3}
"""Width -> seconds of a captured step of four layers, 8,192 tokens and a vocabulary of 256, from counted kernels and bytes."""


def plan_of(width: int, *words: str, vocab_size: int = 256) -> Plan:
    grid = [f"sweep.sizes=[{{width: {width}, depth: 4}}]", "sweep.budgets=[16M]", "sweep.seeds=[0]", "model.context=128"]
    settings = compose_settings(["recipe=gpu", "recipe.head_dim=32", "recipe.batch_exponent=0", *grid, *words])
    return make_plan(settings, CorpusFacts("random", "0" * 16, vocab_size, 10**9), "cuda")


def cell_of(width: int, **more: int) -> Cell:
    return plan_of(width, **more).cells[0]


@pytest.mark.parametrize(("width", "seconds"), MODELLED.items())
def test_it_is_near_the_times_that_were_modelled(width: int, seconds: float) -> None:
    assert seconds / 1.4 < estimated_seconds_per_step(cell_of(width)) < 1.4 * seconds


def test_more_of_anything_takes_longer_and_no_step_beats_the_ceiling() -> None:
    seconds = [estimated_seconds_per_step(cell_of(width)) for width in (32, 64, 256, 800)]
    assert seconds == sorted(seconds)
    cell = cell_of(64)
    larger = dataclasses.replace(cell, batch_sequences=2 * cell.batch_sequences)
    assert seconds[1] < estimated_seconds_per_step(larger) < 2 * seconds[1]
    assert estimated_seconds_per_step(cell_of(64, vocab_size=8192)) > seconds[1]
    assert estimated_seconds_per_step(dataclasses.replace(cell, precision="float32")) > seconds[1]
    for width in (32, 800, 4096):
        wide = cell_of(width)
        flops = wide.batch_tokens * flops_per_token(wide.shape, "attention")
        assert flops / estimated_seconds_per_step(wide) < CEILING["bfloat16"]


def test_what_is_said_names_the_card_the_share_and_that_nothing_was_measured() -> None:
    plan = plan_of(256)
    said = describe_estimate(plan)
    assert said.startswith("Estimated, not measured")
    assert f"{format_share(estimated_share(plan), 0)} of its ceiling of 790 TFLOP/s of bfloat16" in said
    assert "H100 SXM" in said
