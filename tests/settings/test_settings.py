from pathlib import Path

import pytest
from builders import small_settings
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.errors import SpecError, did_you_mean
from scalesweep.settings.base import Ladder, Shape, parse, parse_quantity
from scalesweep.settings.plan import SweepSpec
from scalesweep.settings.run import LauncherSpec
from scalesweep.settings.settings import parse_settings, with_values
from scalesweep.settings.train import TrainSpec

GRID = {"name": "a", "sizes": ["10k"], "budgets": ["1M"]}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("250k", 250_000),
        ("250K", 250_000),
        ("1.5M", 1_500_000),
        ("2e6", 2_000_000),
        ("64_000", 64_000),
        ("2B", 2 * 10**9),
        ("0.5", 0.5),
        ("1.001k", 1001),
    ],
)
def test_quantities(text: str, number: float) -> None:
    assert parse_quantity(text) == number


@given(st.text())
def test_a_quantity_is_a_number_or_left_alone(text: str) -> None:
    value = parse_quantity(text)
    assert value == text or isinstance(value, int | float)


def test_sizes_may_be_targets_shapes_or_a_ladder() -> None:
    assert parse(SweepSpec, {**GRID, "sizes": ["10k", {"width": 32, "depth": 2}]}).sizes == (10_000, Shape(width=32, depth=2))
    ladder = parse(SweepSpec, {**GRID, "sizes": {"smallest": "10k", "largest": "1M", "num": 3}}).sizes
    assert ladder == Ladder(smallest=10_000, largest=10**6, num=3)
    assert parse(SweepSpec, {**GRID, "sizes": "10k..1M:3"}).sizes == ladder


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"budgets": [-1e13]}, "sweep.budgets.0 = -1e+13: must be greater than 0."),
        ({"sizes": ["huge"]}, "sweep.sizes.0 = 'huge': must be a whole number, such as 64, 250k or 1.5M."),
        ({"budgets": [-1]}, "sweep.budgets.0 = -1: must be greater than 0."),
        ({"budgets": []}, "sweep.budgets = []: must not be empty."),
        (
            {"sizes": 10},
            "sweep.sizes = 10: must be a list, such as [10k, 40k], or a ladder, such as 15k..500k:6.",
        ),
        ({"design": "fulll"}, "sweep.design = 'fulll': must be 'full', 'rays', 'lshape' or 'isoflop' (did you mean full?)."),
        ({"sizes": {"smallest": 10, "largest": 5, "num": 2}}, "sweep.sizes: largest (5) must be above smallest (10)."),
        ({"sizes": "10k..x:3"}, "sweep.sizes.largest = 'x': must be a whole number, such as 64, 250k or 1.5M."),
        ({"seeds": [True]}, "sweep: seeds = [True]: must not be true or false."),
        ({"seeds": [2**63]}, None),
        ({"budgets": [1e300]}, None),
        ({"name": "../x"}, None),
        ({"budgets": [float("inf")]}, None),
    ],
)
def test_a_wrong_value_is_one_sentence(values: dict[str, object], sentence: str | None) -> None:
    with pytest.raises(SpecError) as caught:
        parse(SweepSpec, {**GRID, **values}, "sweep.")
    assert "\n" not in str(caught.value)
    assert sentence is None or str(caught.value) == sentence


def test_an_unknown_key_names_its_neighbours() -> None:
    with pytest.raises(
        SpecError, match=r"^sweep\.desing is not a setting \(did you mean sweep\.design\?\); allowed here: name, design,"
    ):
        parse(SweepSpec, {**GRID, "desing": "full"}, "sweep.")
    with pytest.raises(SpecError, match=r"sizes\.0\.widht is not a setting \(did you mean sizes\.0\.width\?\)"):
        parse(SweepSpec, {**GRID, "sizes": [{"width": 8, "depth": 1, "widht": 8}]})


def test_a_refusal_names_the_setting_as_a_user_writes_it(tmp_path: Path) -> None:
    """Whichever alternative of a union it stands in, and although one of them is called after a setting."""
    for section, values, name in (
        ("model", {"context": 1}, "model.context"),
        ("model", {"contxt": 8}, "model.contxt"),
        ("data", {"values": 1}, "data.values"),
    ):
        with pytest.raises(SpecError) as caught:
            small_settings(tmp_path, **{section: values})
        assert str(caught.value).startswith(f"{name} ")


def test_some_values_may_be_others(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    other = with_values(settings, {"recipe.lr": "0.02", "recipe.warmup_steps": 3, "model.context": 8})
    dumped = settings.model_dump(mode="json")
    for section, name, value in (("recipe", "lr", 0.02), ("recipe", "warmup_steps", 3), ("model", "context", 8)):
        dumped[section][name] = value
    assert other == parse_settings(dumped) != settings
    with pytest.raises(SpecError, match=r"recipe\.lr = -1: must be greater than 0"):
        with_values(settings, {"recipe.lr": -1})


def test_workers_are_auto_or_a_number() -> None:
    assert parse(LauncherSpec, {"name": "local", "workers": "3"}).workers == 3
    with pytest.raises(SpecError, match="workers = 0: must be greater than 0"):
        parse(LauncherSpec, {"name": "local", "workers": 0})


def test_a_switch_with_a_third_word_takes_truths_too() -> None:
    base = {"schedule": "wsd", "decay_fraction": 0.2, "device": "auto", "precision": "auto", "validation_tokens": 1000}
    base |= {"curve_points": 16, "checkpoint_seconds": 30}
    found = [parse(TrainSpec, {**base, "compile": value}).compiles for value in ("auto", "true", True, "false", False)]
    assert found == ["auto", True, True, False, False]
    with pytest.raises(SpecError, match="compile = 'always': must be 'auto', 'true' or 'false'"):
        parse(TrainSpec, {**base, "compile": "always"})


def test_combinations_are_checked(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"data: data=files needs paths"):
        small_settings(tmp_path, data={"source": "files"})
    with pytest.raises(SpecError, match=r"data\.tokenizer: kind=bpe needs vocab_size"):
        small_settings(tmp_path, data={"tokenizer": {"kind": "bpe"}})


def test_settings_survive_a_round_trip_and_are_frozen(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    assert parse_settings(settings.model_dump(mode="json")) == settings
    with pytest.raises(ValueError, match="frozen"):
        settings.recipe.lr = 1.0  # type: ignore[misc]


def test_near_misses() -> None:
    assert did_you_mean("smoek", ["smoke", "demo"]) == " (did you mean smoke?)"
    assert did_you_mean("zzz", ["smoke", "demo"]) == ""
