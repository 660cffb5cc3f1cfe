"""The judge of own samples against tables in which its effects are known."""

import dataclasses

import numpy as np
import pytest

from scalesweep.errors import PointsError
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Chart
from scalesweep.studies.base import NOISE, Arms, Rule
from scalesweep.studies.load import Study
from scalesweep.studies.result import result_of

FEW = Rule(draws=20)


def drawn(study: Study, arms: Arms, part: str, theta: float, noise: float = NOISE, seed: int = 0) -> dict[str, Points]:
    return dict(study.module.simulate(arms, part, theta, noise, np.random.default_rng(seed)))


@pytest.mark.parametrize(
    ("part", "theta"),
    [("replace", 0.2), ("accumulate", 0.4), ("bounded", 0.7), ("worth", 0.2), ("verified", 0.6), ("values", -0.05)],
)
def test_every_effect_is_recovered_exactly_without_noise(study: Study, arms: Arms, part: str, theta: float) -> None:
    found = study.findings(drawn(study, arms, part, theta, noise=0.0), FEW)
    assert found.effects[part].value == pytest.approx(theta, abs=1e-9)
    assert all(control.passed for control in found.controls)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["replace", "accumulate", "worth"])
def test_intervals_of_nine_tables_in_ten_hold_the_truth(study: Study, arms: Arms, part: str) -> None:
    theta, held = 0.3, 0
    for seed in range(30):
        effect = study.findings(drawn(study, arms, part, theta, seed=seed), FEW).effects[part]
        held += effect.low <= theta <= effect.high
    assert held >= 22  # fewer once in 600 series


def test_it_says_numbers_in_words_and_draws_them(study: Study, arms: Arms) -> None:
    found = study.findings(drawn(study, arms, "replace", 0.4), FEW)
    result = result_of("synthetic", "quick", study.spec, found)
    assert result.word == "supported"
    assert f"{found.effects['replace'].value:.2f} [" in found.sentence and "3 generations" in found.sentence
    assert isinstance(found.chart, Chart) and len(found.chart.panels) == 2
    harm, made_of = found.tables.values()
    assert len(harm) == 9
    for row in made_of:
        assert row["of keys"] + row["of values"] == pytest.approx(row["excess"])


def test_a_ratio_to_no_harm_is_open(study: Study, arms: Arms) -> None:
    found = study.findings(drawn(study, arms, "replace", 0.0), FEW)
    assert np.isinf(found.effects["accumulate"].high)
    words = {part.part.name: part.word for part in result_of("synthetic", "quick", study.spec, found).parts}
    assert words["accumulate"] == words["verified"] == "cannot tell"
    assert words["replace"] == "contradicted"


def raised(points: Points, by: float) -> Points:
    return dataclasses.replace(points, frame=points.frame.assign(loss=points.frame["loss"] + by))


@pytest.mark.parametrize(("arm", "control"), [("fresh3", "A/A"), ("wrong", "wrong values")])
def test_a_planted_fault_fails_its_control(study: Study, arms: Arms, arm: str, control: str) -> None:
    table = drawn(study, arms, "replace", 0.4)
    found = study.findings({**table, arm: raised(table[arm], 0.08)}, FEW)
    assert [one.name for one in found.controls if not one.passed] == [control]
    assert {part.word for part in result_of("synthetic", "quick", study.spec, found).parts} == {"not valid"}


def test_what_an_arm_lacks_is_said_of_its_parts(study: Study, arms: Arms) -> None:
    table = drawn(study, arms, "replace", 0.4)
    for name in ("own", "accumulate2", "verified3", "wrong"):
        del table[name]
    effects = study.findings(table, FEW).effects
    assert {name for name, effect in effects.items() if effect.withheld} == {
        "accumulate",
        "bounded",
        "worth",
        "verified",
        "values",
    }
    assert "small, own" not in effects["worth"].withheld and "own" in effects["worth"].withheld
    with pytest.raises(PointsError, match="needs arms replace1 and fresh1"):
        study.findings({"base": table["base"]}, FEW)
    cut = dataclasses.replace(table["replace2"], frame=table["replace2"].frame.iloc[:2])
    with pytest.raises(PointsError, match="arm replace2 has 2 usable cells and base 3"):
        study.findings({**table, "replace2": cut}, FEW)
