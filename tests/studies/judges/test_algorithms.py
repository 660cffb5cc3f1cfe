"""The judge of algorithms against tables in which its effects are known."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from scalesweep.errors import PointsError
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Chart
from scalesweep.studies.base import NOISE, Arms, Rule
from scalesweep.studies.judges.algorithms import at_best_rates
from scalesweep.studies.load import Study
from scalesweep.studies.measure import Form, compose_arms
from scalesweep.studies.result import result_of

FEW = Rule(draws=20)


def drawn(study: Study, arms: Arms, part: str, theta: float, noise: float = 0.0, seed: int = 0) -> Arms:
    arms: Arms = study.module.simulate(arms, part, theta, noise, np.random.default_rng(seed))
    return arms


@pytest.mark.parametrize(
    ("part", "theta"),
    [("flops", 0.85), ("flops", 1.25), ("tokens", 1.5), ("seconds", 1.1), ("lasts", -0.1), ("tokens_slope", 0.05)],
)
def test_every_effect_is_recovered_exactly_without_noise(study: Study, arms: Arms, part: str, theta: float) -> None:
    found = study.findings(drawn(study, arms, part, theta), FEW)
    assert found.effects[part].value == pytest.approx(theta, abs=1e-4)


def test_the_products_of_muon_are_paid_in_flops_and_not_in_tokens(study: Study, arms: Arms) -> None:
    effects = study.findings(drawn(study, arms, "tokens", 1.25), FEW).effects
    muon = arms["muon"].frame.drop_duplicates("n")
    shares = (muon["c_optimizer"] / muon["c"]).to_numpy()
    assert (shares > 0.1).all() and (arms["base"].frame["c_optimizer"] == 0).all()
    assert effects["tokens"].value == pytest.approx(1.25, abs=1e-4)
    assert effects["flops"].value == pytest.approx(1.25 / np.sqrt(np.prod(1 + shares)), abs=1e-4)


def test_a_large_factor_near_what_a_size_can_reach_is_still_one(study: Study, arms: Arms) -> None:
    for seed in range(3):
        effect = study.findings(drawn(study, arms, "tokens", 1.9, NOISE, seed), FEW).effects["tokens"]
        assert not effect.withheld and 1.6 < effect.low < effect.value < 2.2


def test_each_arm_has_its_best_rate_of_a_size(study: Study, arms: Arms) -> None:
    arms = drawn(study, arms, "tokens", 1.25, NOISE)
    for name, pick in (("base", min), ("muon", max)):
        frame, best = arms[name].frame, at_best_rates(arms[name]).frame
        assert len(best) == len(frame) / 2
        for n, rows in best.groupby("n"):
            assert set(rows["lr"]) == {pick(frame[frame["n"] == n]["lr"])}
    notes = study.findings(arms, FEW).notes
    assert sum("best of 2 learning rates" in note for note in notes) == 2


def test_it_says_numbers_in_words_and_draws_them(study: Study, arms: Arms) -> None:
    found = study.findings(drawn(study, arms, "flops", 1.25, NOISE), FEW)
    result = result_of("algorithms", "quick", study.spec, found)
    assert result.word == "supported" and all(control.passed for control in result.controls)
    assert {control.name for control in found.controls} == {"A/A", "planted tokens"}
    for currency in ("tokens", "flops", "seconds"):
        assert f"{found.effects[currency].value:.2f} [" in found.sentence
    assert isinstance(found.chart, Chart) and len(found.chart.panels) == 2
    assert {row["currency"] for row in found.tables["On the frontier, by loss"]} == {"tokens", "flops", "seconds"}


@pytest.mark.parametrize(("arm", "control"), [("again", "A/A"), ("shorter", "planted tokens")])
def test_a_planted_fault_fails_its_control(study: Study, arms: Arms, arm: str, control: str) -> None:
    arms = dict(drawn(study, arms, "flops", 1.25, NOISE))
    frame = arms[arm].frame
    arms[arm] = dataclasses.replace(arms[arm], frame=frame.assign(loss=frame["loss"] * 1.03))
    found = study.findings(arms, FEW)
    assert [one.name for one in found.controls if not one.passed] == [control]
    assert {part.word for part in result_of("algorithms", "quick", study.spec, found).parts} == {"not valid"}


def without(points: Points, *columns: str) -> Points:
    return dataclasses.replace(points, frame=points.frame.drop(columns=list(columns)))


def test_a_table_without_seconds_or_rates_is_judged_in_tokens(study: Study, arms: Arms) -> None:
    arms = drawn(study, arms, "tokens", 1.25, NOISE)
    plain = {name: without(at_best_rates(arms[name]), "seconds", "lr") for name in ("base", "muon")}
    found = study.findings(plain, FEW)
    assert found.effects["tokens"].value > 1.1 and "seconds" in found.effects["seconds"].withheld
    assert not found.controls and sum("control is left out" in note for note in found.notes) == 2
    with pytest.raises(PointsError, match="needs arm muon"):
        study.findings({"base": arms["base"]}, FEW)


def test_its_arms_compose_with_equally_many_rates(study: Study) -> None:
    forms: tuple[Form, ...] = ("quick", "full")
    for form in forms:
        settings = compose_arms(study, form, [], Path("unused"))
        axes = [settings[name].sweep.axes for name in ("base", "muon")]
        assert all(axes) and len({len(axis["recipe"]["lr"]) for axis in axes if axis}) == 1
        assert (settings["base"].optim.name, settings["muon"].optim.name) == ("adamw", "muon")
