import dataclasses
import json
from pathlib import Path

import pytest
from builders import small_settings
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.errors import SpecError
from scalesweep.plan.cell import cell_from_dict
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.plan.recipe import ladder_targets, resolve_shape
from scalesweep.settings.base import Ladder
from scalesweep.settings.plan import CountSpec
from scalesweep.settings.settings import Settings

FACTS = CorpusFacts("text", "0123", 257, 10**6)


def planned(**sections: dict[str, object]) -> Plan:
    return make_plan(small_settings(Path("."), **sections), FACTS, "cpu")


def test_same_input_same_keys() -> None:
    assert [c.key for c in planned().cells] == [c.key for c in planned().cells]
    assert planned().hash == planned().hash


def test_the_key_is_the_content() -> None:
    cell = planned().cells[0]
    assert cell_from_dict(json.loads(json.dumps(dataclasses.asdict(cell)))).key == cell.key
    keys = {cell.key}
    for changed in (
        dataclasses.replace(cell, seed=1),
        dataclasses.replace(cell, steps=cell.steps + 1),
        dataclasses.replace(cell, hidden_lr=cell.hidden_lr * 2),
        dataclasses.replace(cell, corpus_hash="4567"),
        dataclasses.replace(cell, shape=dataclasses.replace(cell.shape, depth=2)),
    ):
        keys.add(changed.key)
    assert len(keys) == 6


def test_settings_that_cannot_change_a_loss_do_not_change_keys() -> None:
    other = planned(
        train={"micro_batch": 1, "curve_points": 5, "checkpoint_seconds": 1.0}, logger={"mode": "online"}, fit={"seed": 3}
    )
    assert [c.key for c in other.cells] == [c.key for c in planned().cells]


def test_full_grid_with_seeds_and_axes() -> None:
    grid = {"sizes": [{"width": 16, "depth": 1}, {"width": 32, "depth": 1}], "budgets": ["2k", "4k", "8k"]}
    plan = planned(sweep={"name": "x", **grid, "seeds": [0, 1], "axes": {"recipe": {"lr": [0.001, 0.002]}}})
    assert len(plan.cells) == 2 * 3 * 2 * 2
    assert {c.hidden_lr for c in plan.cells} == {lr * 64 / w for lr in (0.001, 0.002) for w in (16, 32)}


@pytest.mark.parametrize(
    "axes",
    [
        {"fit": {"huber_delta": [0.1]}},
        {"optim": ["adamw", "muon"]},  # composed from configs/ by the command line alone
        {"recipe": {"lr": 0.1}},
        {"recipe": {"lr": []}},
        {"recipe": [1]},
        {"recipe": {"lr": {"x": [1]}}},
        {"recipe": {"rate": [1]}},
    ],
)
def test_a_wrong_axis_is_refused(axes: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=r"sweep\.axes\."):
        planned(sweep={"name": "x", "sizes": [{"width": 16, "depth": 1}], "budgets": ["2k"], "axes": axes})


def test_an_axis_with_a_wrong_value_is_refused() -> None:
    with pytest.raises(SpecError, match=r"recipe\.lr = -1"):
        planned(sweep={"name": "x", "sizes": [{"width": 16, "depth": 1}], "budgets": ["2k"], "axes": {"recipe": {"lr": [-1]}}})


def test_rays_keep_tokens_per_parameter() -> None:
    plan = planned(sweep={"name": "x", "design": "rays", "sizes": ["20k", "80k"], "budgets": [5, 20]})
    ratios = sorted(c.tokens / c.num_params(plan.count) for c in plan.cells)
    assert ratios == pytest.approx([5, 5, 20, 20], rel=0.01)


def test_isoflop_budgets_are_met() -> None:
    plan = planned(sweep={"name": "x", "design": "isoflop", "sizes": ["20k", "80k", "200k"], "budgets": [1e11, 1e12]})
    flops = sorted(c.flops(plan.count) for c in plan.cells)
    assert flops == pytest.approx([1e11] * 3 + [1e12] * 3, rel=0.01)


def test_lshape_is_one_row_and_one_column() -> None:
    plan = planned(sweep={"name": "x", "design": "lshape", "sizes": ["20k", "80k", "200k"], "budgets": ["2k", "4k", "8k"]})
    assert len(plan.cells) == 5


def test_a_budget_below_one_batch_is_refused() -> None:
    with pytest.raises(
        SpecError, match=r"sweep\.budgets: 100 \(full\) is 100 tokens at width 16, below one batch of 128 tokens"
    ):
        planned(sweep={"name": "x", "sizes": [{"width": 16, "depth": 1}], "budgets": [100]})


def test_two_sizes_that_become_one_are_refused() -> None:
    with pytest.raises(SpecError, match="both become width"):
        planned(sweep={"name": "x", "sizes": [20_000, 20_100], "budgets": ["2k"]})


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(SpecError, match=r"width 20 is not a multiple of recipe\.head_dim = 8; use 16"):
        planned(sweep={"name": "x", "sizes": [{"width": 20, "depth": 1}], "budgets": ["2k"]})


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"sizes": ["20k"], "budgets": ["2k", "4k"]}, "One size"),
        ({"sizes": ["20k", "80k"], "budgets": ["2k"]}, "One token budget"),
        ({"sizes": ["20k", "80k"], "budgets": [20], "design": "rays"}, "One ray"),
        ({"sizes": ["20k", "80k"], "budgets": ["1M", "4M"]}, "4.0 epochs"),
    ],
)
def test_designs_that_cannot_identify_the_law_are_named(sweep: dict[str, object], words: str) -> None:
    assert any(words in w for w in planned(sweep={"name": "x", **sweep}).warnings)


def test_a_sound_design_has_no_warnings() -> None:
    assert planned().warnings == ()


@given(st.integers(5_000, 10**7))
def test_a_target_is_met_by_the_nearest_width(target: int) -> None:
    settings = small_settings(Path("."))
    sizes = {w: make_shape(settings, w) for w in range(8, 8 + 8 * 400, 8)}
    chosen = resolve_shape(target, settings.recipe, settings.model, 257, "with_head")
    errors = {w: abs(n - target) / min(n, target) for w, n in sizes.items()}
    assert errors[chosen.width] == pytest.approx(min(errors.values()))


def make_shape(settings: Settings, width: int) -> int:
    from scalesweep.plan.flops import num_params
    from scalesweep.settings.base import Shape

    size = Shape(width=width, depth=settings.recipe.depth)
    return num_params(resolve_shape(size, settings.recipe, settings.model, 257, "with_head"), "with_head")


def test_a_ladder_is_even_in_log_and_keeps_its_ends() -> None:
    targets = ladder_targets(Ladder(smallest=1000, largest=100_000, num=5))
    assert targets == [1000, 3162, 10_000, 31_623, 100_000]


@given(st.integers(200, 10**6), st.floats(0.0, 0.6))
def test_budgets_are_hit_within_a_batch(budget: int, exponent: float) -> None:
    cell = planned(
        sweep={"name": "x", "sizes": [{"width": 16, "depth": 1}], "budgets": [budget]},
        recipe={"batch_exponent": exponent * 0.5},
    ).cells[0]
    assert abs(cell.tokens - budget) <= cell.batch_tokens / 2
    assert cell.warmup_steps + cell.decay_steps <= cell.steps
    assert cell.row(CountSpec())["d"] == cell.tokens


def test_an_axis_that_changes_no_cell_is_refused() -> None:
    grid = {"name": "x", "sizes": [{"width": 16, "depth": 1}], "budgets": ["2k"]}
    with pytest.raises(SpecError, match=r"sweep\.axes: some values of train\.micro_batch make no difference"):
        planned(sweep={**grid, "axes": {"train": {"micro_batch": [1, 2]}}})
    plan = planned(sweep={**grid, "axes": {"train": {"precision": ["float32", "bfloat16"]}}})
    assert [c.precision for c in plan.cells] == ["float32", "bfloat16"]
    assert any("pool all values of train.precision" in w for w in plan.warnings)


def test_the_corpus_is_its_content_not_its_name() -> None:
    settings = small_settings(Path("."))
    renamed = make_plan(settings, dataclasses.replace(FACTS, name="other"), "cpu")
    assert renamed.hash == planned().hash


def test_sizes_that_no_width_comes_near_are_named() -> None:
    plan = planned(sweep={"name": "x", "sizes": [2000, 80_000], "budgets": ["2k", "4k"]})
    assert any(w.startswith("The nearest size to 2,000 parameters is width 8 with ") for w in plan.warnings)


@pytest.mark.parametrize("size", [10, 1000])
def test_a_size_that_is_not_half_met_is_refused_with_the_smallest(size: int) -> None:
    with pytest.raises(SpecError, match=rf"sweep\.sizes: {size:,} parameters .*; the smallest at depth 1 has N = 2,\d+ "):
        planned(sweep={"name": "x", "sizes": [size, 80_000], "budgets": ["2k", "4k"]})


def test_a_seed_that_is_named_twice_is_not_called_a_rounding() -> None:
    plan = planned(sweep={"name": "x", "sizes": ["20k", "80k"], "budgets": ["2k", "4k"], "seeds": [0, 0, 1]})
    assert "sweep.seeds = [0, 0, 1] names seed 0 more than once: a replicate needs a seed of its own." in plan.warnings
    assert not any("equal others" in w for w in plan.warnings)


def test_budgets_that_round_to_the_same_steps_are_named() -> None:
    plan = planned(sweep={"name": "x", "sizes": ["20k", "80k"], "budgets": [2048, 2049, 4096]})
    assert any("2 declared cells equal others" in w for w in plan.warnings)


def test_cells_outside_a_range_of_tokens_per_parameter_are_left_out() -> None:
    grid = {"name": "x", "design": "isoflop", "sizes": ["20k", "80k", "200k"], "budgets": [1e11, 1e12]}
    plan = planned(sweep={**grid, "tokens_per_parameter": [1, 30]})
    assert 0 < len(plan.cells) < 6
    assert all(1 <= c.tokens / c.num_params(plan.count) <= 31 for c in plan.cells)
    with pytest.raises(SpecError, match="leaves no cell"):
        planned(sweep={**grid, "tokens_per_parameter": [1e6, 1e7]})


@pytest.mark.parametrize(
    ("precision", "device", "resolved"),
    [
        ("auto", "cpu", "float32"),
        ("auto", "cuda", "bfloat16"),
        ("bfloat16", "cpu", "bfloat16"),
        ("float32", "cuda", "float32"),
    ],
)
def test_precision_follows_the_device(precision: str, device: str, resolved: str) -> None:
    settings = small_settings(Path("."), train={"precision": precision})
    assert {c.precision for c in make_plan(settings, FACTS, device).cells} == {resolved}
