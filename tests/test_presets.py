"""The presets for a GPU: trunks, what budgets keep of them, and what they can tell."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from scalesweep.plan.plan import Plan
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.fit import FitSpec

ROOT = Path(__file__).parents[1]
PRESETS = ("chinchilla_small", "kaplan_small")


@pytest.fixture(scope="module")
def table() -> ModuleType:
    """scripts/preset_table.py."""
    spec = importlib.util.spec_from_file_location("preset_table", ROOT / "scripts" / "preset_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def plans(table: ModuleType) -> dict[tuple[str, float], Plan]:
    """By preset and hours."""
    settings = {preset: compose_settings([f"sweep={preset}"]) for preset in PRESETS}
    return {(preset, hours): table.plan_of(settings[preset], hours) for preset in PRESETS for hours in (1, 8, 1000)}


@pytest.mark.parametrize("preset", PRESETS)
def test_all_budgets_of_a_size_and_seed_share_one_trunk(preset: str, plans: dict[tuple[str, float], Plan]) -> None:
    plan = plans[preset, 1000]
    assert len({cell.batch_sequences for cell in plan.cells}) == 1
    assert len(plan.siblings) == len({(cell.shape, cell.seed) for cell in plan.cells})
    assert not plan.warnings
    assert max(cell.num_params(plan.count) for cell in plan.cells) < 60e6
    flops = [cell.flops(plan.count) for cell in plan.cells]
    assert max(flops) / min(flops) > 990


@pytest.mark.parametrize("preset", PRESETS)
def test_a_budget_of_hours_is_kept_and_a_larger_one_keeps_more(
    preset: str, plans: dict[tuple[str, float], Plan], table: ModuleType
) -> None:
    one, eight, whole = (plans[preset, hours] for hours in (1, 8, 1000))
    assert table.hours_of(one) <= 1
    assert table.hours_of(eight) <= 8
    kept = [{cell.key for cell in plan.cells} for plan in (one, eight, whole)]
    assert kept[0] < kept[1] <= kept[2]
    assert 8 < table.hours_of(plans["kaplan_small", 1000]) < 12


@pytest.mark.parametrize("preset", PRESETS)
def test_an_hour_tells_the_exponent_to_three_hundredths(
    preset: str, plans: dict[tuple[str, float], Plan], table: ModuleType
) -> None:
    for truth in table.TRUTHS.values():
        found = dict(table.simulate(plans[preset, 1], truth, FitSpec(bootstrap=60), 0.005, 1))
        for reading in ("law", "theories"):
            (interval,) = found[reading]
            assert (interval.high - interval.low) / 2 < 0.03
            assert abs((interval.high + interval.low) / 2 - truth.a) < 0.05
