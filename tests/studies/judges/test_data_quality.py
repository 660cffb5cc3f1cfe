"""The judge of data quality against tables in which its effects are known."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from scalesweep.errors import PointsError
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Chart
from scalesweep.studies.base import NOISE, Arms, Rule
from scalesweep.studies.load import Study
from scalesweep.studies.measure import Form, compose_arms
from scalesweep.studies.result import result_of

FEW = Rule(draws=20)


def drawn(study: Study, arms: Arms, part: str, theta: float, noise: float = 0.0, seed: int = 0) -> Arms:
    arms: Arms = study.module.simulate(arms, part, theta, noise, np.random.default_rng(seed))
    return arms


@pytest.mark.parametrize(
    ("part", "theta"),
    [("multiplier", 0.9), ("multiplier", 1.75), ("lasts", -0.1), ("lasts", 0.05), ("pool", -0.03), ("pool", 0.05)],
)
def test_every_effect_is_recovered_exactly_without_noise(study: Study, arms: Arms, part: str, theta: float) -> None:
    found = study.findings(drawn(study, arms, part, theta), FEW)
    assert found.effects[part].value == pytest.approx(theta, abs=1e-4)


def test_it_says_numbers_in_words_and_draws_them(study: Study, arms: Arms) -> None:
    found = study.findings(drawn(study, arms, "multiplier", 1.6, NOISE), FEW)
    result = result_of("data_quality", "quick", study.spec, found)
    assert {control.name for control in found.controls} == {"A/A", "planted tokens", "fresh pool", "fresh filtered"}
    assert result.word == "supported" and [part.word for part in result.parts][3] == "reported"
    assert "33%" in found.sentence and f"{found.effects['multiplier'].value:.2f}" in found.sentence
    assert "1.50 if junk cost nothing" in found.effects["multiplier"].says
    assert isinstance(found.chart, Chart) and len(found.chart.panels) == 2
    (rows,) = found.tables.values()
    assert len(rows) == 8


def shifted(points: Points, factor: float) -> Points:
    return dataclasses.replace(points, frame=points.frame.assign(loss=points.frame["loss"] * factor))


@pytest.mark.parametrize(
    ("arm", "control"),
    [("again", "A/A"), ("shorter", "planted tokens"), ("pool", "fresh pool"), ("filtered", "fresh filtered")],
)
def test_a_planted_fault_fails_its_control(study: Study, arms: Arms, arm: str, control: str) -> None:
    arms = dict(drawn(study, arms, "multiplier", 1.6, NOISE))
    found = study.findings({**arms, arm: shifted(arms[arm], 1.03)}, FEW)
    assert [one.name for one in found.controls if not one.passed] == [control]
    result = result_of("data_quality", "quick", study.spec, found)
    assert {part.word for part in result.parts} == {"not valid"}


def test_arms_that_are_not_there_leave_their_parts_out(study: Study, arms: Arms) -> None:
    arms = drawn(study, arms, "multiplier", 1.6, NOISE)
    found = study.findings({name: arms[name] for name in ("base", "junk")}, FEW)
    assert found.effects["multiplier"].value > 1.4 and not found.controls
    assert "pool and filtered" in found.effects["pool"].withheld and found.effects["shuffled"].withheld
    assert sum("control is left out" in note for note in found.notes) == 2
    assert isinstance(found.chart, Chart) and len(found.chart.panels) == 1
    with pytest.raises(PointsError, match="needs arm junk"):
        study.findings({"base": arms["base"]}, FEW)


def test_its_arms_compose_and_have_one_validation_text(study: Study, arms: Arms) -> None:
    forms: tuple[Form, ...] = ("quick", "full")
    for form in forms:
        settings = compose_arms(study, form, [], Path("unused"))
        assert {one.data.tokenizer.kind for one in settings.values()} == {settings["base"].data.tokenizer.kind}
        assert all(not one.data.validation and not one.data.parts for one in settings.values())
    pool, filtered = arms["pool"].frame, arms["filtered"].frame
    assert set(pool["unique_tokens"]) == {262_144} and 174_000 < filtered["unique_tokens"].iloc[0] < 175_000
