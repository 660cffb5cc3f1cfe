"""The judge of repeated data on tables of its quick grid whose truth is known."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Chart
from scalesweep.studies.base import Arms, Rule, decide
from scalesweep.studies.load import load_study
from scalesweep.studies.measure import design

STUDY = load_study("data_scarcity")
PARTS = {part.name: part for part in STUDY.spec.parts}
RULE = Rule(draws=50)
NOISE = 0.0046


@pytest.fixture(scope="module")
def grid() -> Arms:
    """The quick form without losses."""
    return design(STUDY, "quick")


def judge(arms: Arms, rule: Rule = RULE):
    return STUDY.findings(arms, rule)


def tables(grid: Arms, part: str, theta: float, noise: float = NOISE, seed: int = 0) -> Arms:
    return STUDY.module.simulate(grid, part, theta, noise, np.random.default_rng(seed))


def failed(arms: Arms) -> set[str]:
    return {control.name for control in judge(arms).controls if not control.passed}


def changed(arms: Arms, which, factor: float) -> dict[str, Points]:
    """The losses of the rows that `which` chooses, multiplied."""
    return {
        name: dataclasses.replace(
            points, frame=points.frame.assign(loss=points.frame["loss"] * np.where(which(points.frame), factor, 1.0))
        )
        for name, points in arms.items()
    }


@pytest.mark.parametrize(
    ("part", "theta", "error"),
    [
        ("four_epochs", 0.9, 0.01),  # the parabola through a fresh curve with a floor
        ("four_epochs", 0.5, 0.02),
        ("late_passes", 0.5, 0.02),  # the monotone cubic between budgets that are a factor of 2 apart
        ("decay_excess", 0.68, 1e-9),
        ("decay_loss", 0.1, 1e-9),
    ],
)
def test_an_effect_without_noise_is_found(grid: Arms, part: str, theta: float, error: float):
    effect = judge(tables(grid, part, theta, noise=1e-9)).effects[part]
    assert effect.value == pytest.approx(theta, abs=error + 1e-5)


def test_harm_is_counted_in_standard_deviations_between_seeds(grid: Arms):
    found = [judge(tables(grid, "harm", 5.0, seed=seed)).effects["harm"].value for seed in range(10)]
    assert np.mean(found) == pytest.approx(5.0, abs=0.6)  # three standard errors of the mean of ten


@pytest.mark.parametrize("planted", STUDY.spec.planted, ids=lambda planted: planted.part)
def test_what_is_planted_is_called_by_its_word(grid: Arms, planted):
    words = [
        decide(PARTS[planted.part], judge(tables(grid, planted.part, planted.theta, seed=seed)).effects[planted.part]).word
        for seed in range(3)
    ]
    assert words == [planted.word] * 3


def test_controls_hold_on_a_table_without_fault(grid: Arms):
    findings = judge(tables(grid, "harm", 4.0))
    assert {control.name for control in findings.controls} == {"fresh", "A/A", "planted Muennighoff", "planted Lovelace"}
    assert all(control.passed for control in findings.controls)
    assert findings.noise == pytest.approx(NOISE, rel=0.2)
    assert isinstance(findings.chart, Chart) and len(findings.chart.panels) == 2


def test_a_pool_that_is_worse_before_it_is_repeated_fails_the_fresh_control(grid: Arms):
    """As the first tokens of the text would be, instead of windows from all of it."""
    arms = changed(
        tables(grid, "four_epochs", 0.95),
        lambda frame: frame["d"] <= frame["unique_tokens"].where(frame["unique_tokens"] < 1e6, 0),
        1.02,
    )
    assert failed(arms) == {"fresh"}


def test_fresh_runs_whose_seeds_differ_by_more_than_luck_fail_the_same_against_itself(grid: Arms):
    arms = changed(tables(grid, "four_epochs", 0.95), lambda frame: (frame["seed"] == 1) & (frame["unique_tokens"] > 1e6), 1.03)
    assert "A/A" in failed(arms)


def test_laws_that_noise_hides_fail_their_planted_tables(grid: Arms):
    assert failed(tables(grid, "four_epochs", 0.95, noise=0.1)) & {"planted Muennighoff", "planted Lovelace"}


def test_one_table_is_judged_as_its_arms_are(grid: Arms):
    arms = tables(grid, "decay_excess", 0.6)
    rows = [points.frame for points in arms.values()]
    whole = dataclasses.replace(next(iter(arms.values())), frame=pd.concat(rows, ignore_index=True))
    apart, together = judge(arms), judge({"base": whole})
    for name, effect in apart.effects.items():
        assert together.effects[name].value == pytest.approx(effect.value, rel=1e-9), name


def test_without_a_second_weight_decay_only_its_parts_are_missing(grid: Arms):
    arms = {name: points for name, points in tables(grid, "harm", 4.0).items() if "decay" not in name}
    effects = judge(arms).effects
    assert {name for name, effect in effects.items() if math.isnan(effect.value)} == {"decay_excess", "decay_loss"}


def test_every_seed_of_a_pool_has_windows_of_its_own():
    for form in (STUDY.spec.quick, STUDY.spec.full):
        own = [words for name, words in form.arms.items() if name.startswith("u")]
        chosen = [{word.split("=")[0]: word.split("=")[1].strip("[]") for word in words} for words in own]
        assert all(words["sweep.seeds"] == words["data.seed"] for words in chosen)
