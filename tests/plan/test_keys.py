import pytest

from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.compose import compose_settings

PRESETS = {
    "chinchilla_small": ("b9b9785dd640", "0396fae1c562"),
    "demo": ("9182d20d54b7", "881abd368f14"),
    "demo model.context=32": ("b470821c6a48", "a2a6131e4688"),
    "kaplan_small": ("604ff18cf791", "f4c6e72ccef7"),
    "smoke": ("0afcf398c2e0", "fbedeb4a18c3"),
    "tuned_small": ("40574fa7f5b7", "7924e4990934"),
}
"""The plan's hash, which covers the keys of all cells, and the first cell's key: what directories of today hold."""


@pytest.mark.parametrize(("preset", "hashes"), PRESETS.items())
def test_a_sweep_measured_before_is_the_same_sweep(preset: str, hashes: tuple[str, str]) -> None:
    plan = make_plan(compose_settings(f"sweep={preset}".split()), CorpusFacts("text", "0123", 512, 10**9), "cpu")
    assert (plan.hash, plan.cells[0].key) == hashes
