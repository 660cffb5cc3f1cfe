"""Which settings a tuned sweep tries, and which it refuses."""

import math
from typing import Any

import numpy as np
import pytest

from scalesweep.errors import SpecError
from scalesweep.plan.trials import Extension, Refinement, Trial, lr_from_law, trials
from scalesweep.settings.base import parse
from scalesweep.settings.tune import LrLaw, TuneSpec


def tune(**values: Any) -> TuneSpec:
    return parse(TuneSpec, values, "sweep.tune.")


def declared(spec: TuneSpec) -> list[Trial]:
    return [t for t in trials(spec) if t.extension is None]


def values_of(spec: TuneSpec, setting: str, extension: Extension | Refinement | None = None) -> list[float]:
    return sorted({t.values[setting] for t in trials(spec) if t.extension == extension})


def test_a_range_is_even_in_the_logarithm_and_keeps_its_ends() -> None:
    assert values_of(tune(recipe={"lr": "1e-3..8e-3:4"}), "recipe.lr") == [0.001, 0.002, 0.004, 0.008]


def test_betas_are_even_in_the_logarithm_of_what_is_left_to_one() -> None:
    assert values_of(tune(optim={"beta2": "0.9..0.999:3"}), "optim.beta2") == [0.9, 0.99, 0.999]


def test_a_grid_is_every_combination() -> None:
    spec = tune(recipe={"lr": [0.001, 0.002, 0.004]}, optim={"weight_decay": [0, 0.1]})
    assert len(declared(spec)) == 6
    assert values_of(spec, "optim.weight_decay") == [0.0, 0.1]


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_draws_fill_the_ranges_and_depend_on_the_seed_alone(method: str) -> None:
    table = {"recipe": {"lr": "1e-3..1e-1", "batch_tokens": "128..2k"}, "method": method, "num": 48}
    rows = [t.values for t in declared(tune(**table))]
    lr, batch = (np.array([row[name] for row in rows]) for name in ("recipe.lr", "recipe.batch_tokens"))
    assert len(rows) == 48
    assert lr.min() >= 1e-3 and lr.max() <= 1e-1 and batch.min() >= 128 and batch.max() <= 2000
    assert np.sum(lr < 1e-2) == pytest.approx(24, abs=12)  # half of them below the middle of the logarithm
    assert rows == [t.values for t in declared(tune(**table))]
    assert rows != [t.values for t in declared(tune(**table, seed=1))]


def test_an_extension_goes_on_with_the_ratio_of_the_grid() -> None:
    spec = tune(recipe={"lr": "1e-3..8e-3:4"})
    assert values_of(spec, "recipe.lr", Extension("recipe.lr", "high", 1)) == [0.016, 0.032]
    assert values_of(spec, "recipe.lr", Extension("recipe.lr", "high", 2)) == [0.064, 0.128]
    assert values_of(spec, "recipe.lr", Extension("recipe.lr", "low", 1)) == [0.00025, 0.0005]
    assert values_of(spec, "recipe.lr", Extension("recipe.lr", "low", 3)) == []
    listed = tune(recipe={"lr": [0.001, 0.003, 0.03]}, extensions=1)
    assert values_of(listed, "recipe.lr", Extension("recipe.lr", "high", 1)) == [0.3]
    assert values_of(listed, "recipe.lr", Extension("recipe.lr", "low", 1)) == [0.000333333]


def test_an_extension_of_a_search_is_as_dense_as_the_search() -> None:
    spec = tune(recipe={"lr": "1e-3..1e-1"}, method="sobol", num=16)
    beyond = [t.values["recipe.lr"] for t in trials(spec) if t.extension == Extension("recipe.lr", "high", 2)]
    assert len(beyond) == 8
    assert 1.0 <= min(beyond) and max(beyond) <= 10.0


def test_a_refinement_halves_the_steps_of_a_grid_and_of_its_extensions() -> None:
    spec = tune(recipe={"lr": [0.01, 0.04, 0.16]}, extensions=2)
    assert values_of(spec, "recipe.lr", Refinement("recipe.lr", 1)) == [0.00125, 0.005, 0.02, 0.08, 0.32, 1.28]
    second = values_of(spec, "recipe.lr", Refinement("recipe.lr", 2))
    assert second[4:8] == pytest.approx([0.01 * 2**0.5, 0.02 * 2**0.5, 0.04 * 2**0.5, 0.08 * 2**0.5], rel=1e-5)
    assert not {t.extension for t in trials(tune(recipe={"lr": "1e-3..1e-1"}, method="sobol", num=16))} & {
        Refinement("recipe.lr", 1)
    }
    fine = tune(recipe={"lr": [0.01, 0.014, 0.02]})
    assert values_of(fine, "recipe.lr", Refinement("recipe.lr", 1)) == []


def test_there_is_nothing_below_zero() -> None:
    spec = tune(optim={"weight_decay": [0, 0.1, 0.2]})
    assert values_of(spec, "optim.weight_decay", Extension("optim.weight_decay", "low", 1)) == []
    assert values_of(spec, "optim.weight_decay", Extension("optim.weight_decay", "high", 1)) == [0.4]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"recipe": {"lr": [0.1]}}, "sweep.tune.recipe.lr: [0.1] leaves nothing to tune"),
        ({"recipe": {"lr": [0.1, 0.1]}}, "leaves nothing to tune"),
        ({"recipe": {"lr": 0.1}}, "sweep.tune.recipe.lr: 0.1 must be a range, such as 1e-3..3e-2:6, or a list"),
        ({"recipe": {"lr": "fast"}}, "'fast' must be a range"),
        ({"recipe": {"lr": "3e-2..1e-3:4"}}, "sweep.tune.recipe.lr: high (0.001) must be above low (0.03)."),
        ({"recipe": {"lr": "1e-3..1e-3:4"}}, "high (0.001) must be above low (0.001)."),
        ({"recipe": {"lr": "1e-3..3e-2:1"}}, "sweep.tune.recipe.lr.num = '1': must be greater than or equal to 2."),
        ({"recipe": {"lr": "0..3e-2:4"}}, "sweep.tune.recipe.lr.low = 0: must be greater than 0."),
        ({"recipe": {"lr": [-1, 1]}}, "sweep.tune.recipe.lr.0 = -1: must be greater than or equal to 0."),
        ({"recipe": {"lr": "1e-3..3e-2"}}, "recipe.lr needs a number of values, such as 0.001..0.03:6."),
        ({"recipe": {"lr": "1e-3..3e-2:6"}, "num": 8}, "num = 8 is for method=random or sobol"),
        ({"recipe": {"lr": "1e-3..3e-2"}, "method": "sobol"}, "method=sobol needs num"),
        ({"recipe": {"lr": "1e-3..3e-2:6"}, "method": "random", "num": 8}, "which is for method=grid"),
        ({"recipe": {"lr": "1e-3..3e-2:90", "batch_tokens": "1..8:90"}}, "the grid has 8,100 settings, at most 4,096"),
        ({}, "names no setting"),
        ({"recpie": {}}, "sweep.tune.recpie is not a setting (did you mean sweep.tune.recipe?)"),
        ({"recipe": {"lr": "1e-3..3e-2"}, "method": "soboll", "num": 8}, "(did you mean sobol?)"),
        ({"recipe": {"lr": "1e-3..3e-2:6"}, "extensions": 99}, "sweep.tune.extensions = 99: must be less than or equal to 8."),
    ],
)
def test_a_wrong_table_is_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        tune(**values)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_law_of_the_learning_rate_is_a_power_of_n_and_d() -> None:
    # StepLaw, arXiv 2503.04715: 1.79 N^-0.713 D^0.307
    law = LrLaw(coefficient=1.79, n_exponent=-0.713, d_exponent=0.307)
    assert lr_from_law(law, 1e9, 2e10) == pytest.approx(
        math.exp(math.log(1.79) - 0.713 * math.log(1e9) + 0.307 * math.log(2e10))
    )
