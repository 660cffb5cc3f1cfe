"""The judge of abilities on answers of its quick grid whose truth is known."""

import dataclasses

import numpy as np
import pytest

from scalesweep.errors import PointsError
from scalesweep.points.points import Points
from scalesweep.studies.base import Arms, Rule, decide
from scalesweep.studies.load import Study
from scalesweep.studies.simulate import operating, wrong_share

RULE = Rule(draws=50)


def tables(study: Study, arms: Arms, part: str, theta: float, noise: float = 0.0046, seed: int = 0) -> Arms:
    return study.module.simulate(arms, part, theta, noise, np.random.default_rng(seed))


def words(study: Study, arms: Arms, part: str, theta: float, number: int) -> list[str]:
    spec = next(one for one in study.spec.parts if one.name == part)
    drawn = [tables(study, arms, part, theta, seed=seed) for seed in range(number)]
    return [decide(spec, study.findings(one, RULE).effects[part]).word for one in drawn]


def with_answers(points: Points, change) -> Points:
    answers = points.frame["answers"]
    changed = np.empty(len(answers), dtype=object)
    changed[:] = [change(one) for one in answers]
    return dataclasses.replace(points, frame=points.frame.assign(answers=changed))


@pytest.mark.parametrize(
    ("part", "theta", "within"),
    [
        ("metric", 1.0, 0.16),  # three standard errors of eight tables
        ("metric", 0.0, 0.28),
        ("larger_earlier", 0.5, 0.12),  # three standard errors of eight tables of 16 seeds a size
        ("larger_earlier", 0.0, 0.2),
        ("loss_gives_facts", 4.0, 0.8),
        ("loss_foretells_copy", 0.5, 0.2),
    ],
)
def test_a_planted_effect_is_found(study: Study, arms: Arms, part: str, theta: float, within: float):
    found = [study.findings(tables(study, arms, part, theta, seed=seed), RULE).effects[part].value for seed in range(8)]
    assert np.mean(found) == pytest.approx(theta, abs=within)


def test_a_smooth_simulator_is_labelled_metric_and_a_threshold_is_not(study: Study, arms: Arms):
    assert words(study, arms, "metric", 2.0, 6).count("supported") >= 5
    assert words(study, arms, "metric", -1.0, 6).count("contradicted") >= 5


def test_groups_of_seeds_are_found_where_they_are_and_not_where_there_is_one(study: Study, arms: Arms):
    assert words(study, arms, "breakthrough", 20.0, 8).count("supported") >= 7
    assert words(study, arms, "breakthrough", 0.0, 12).count("contradicted") >= 9


def test_what_was_never_met_cannot_be_known(study: Study, arms: Arms):
    drawn = tables(study, arms, "metric", 1.0)
    assert [control.passed for control in study.findings(drawn, RULE).controls] == [True]

    def leaked(answers):
        known = answers.rank > 0.5 * answers.rank.max()
        return dataclasses.replace(answers, log_p=np.where(known[:, None], -0.01, answers.log_p))

    found = study.findings({"facts": with_answers(drawn["facts"], leaked)}, RULE)
    assert [control.passed for control in found.controls] == [False]
    assert decide(study.spec.parts[0], found.effects["metric"], found.controls).word == "not valid"


def test_an_arm_that_is_missing_takes_its_parts_with_it(study: Study, arms: Arms):
    found = study.findings(tables(study, arms, "metric", 1.0), RULE)
    assert found.effects["breakthrough"].withheld == "It needs the arm copy."
    assert "evenly with each doubling of compute" in found.sentence
    with pytest.raises(PointsError, match="needs arm facts or arm copy"):
        study.findings({"base": arms["facts"]}, RULE)
    with pytest.raises(PointsError, match="no column answers"):
        study.findings({"facts": arms["facts"]}, RULE)


def test_too_few_seeds_tell_nothing_of_groups(study: Study, arms: Arms):
    copy = tables(study, arms, "breakthrough", 20.0)["copy"]
    few = dataclasses.replace(copy, frame=copy.frame[copy.frame["seed"] < 8].reset_index(drop=True))
    effects = study.findings({"copy": few}, RULE).effects
    assert "16 seeds" in effects["breakthrough"].withheld
    assert "16 seeds" in effects["larger_earlier"].withheld


def test_what_no_seed_has_learnt_and_no_model_knows_is_missing(study: Study, arms: Arms):
    def ignorant(answers):
        return dataclasses.replace(answers, is_top=np.zeros_like(answers.is_top))

    both = {**tables(study, arms, "metric", 1.0), **tables(study, arms, "breakthrough", 20.0)}
    effects = study.findings({name: with_answers(points, ignorant) for name, points in both.items()}, RULE).effects
    assert "No seed has learnt to copy" in effects["breakthrough"].withheld
    assert "No group of facts" in effects["metric"].withheld


@pytest.mark.slow
def test_every_part_errs_seldom_at_its_thresholds(study: Study, arms: Arms):
    for row in operating(study, arms, 10, draws=50):  # of 5 %, more than three of ten are wrong once in a thousand rows
        assert wrong_share(row) <= 0.3, row
