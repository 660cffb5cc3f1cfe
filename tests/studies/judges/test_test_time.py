"""Repeated sampling: the judge against answers whose pass@k is known."""

import dataclasses

import numpy as np
import pytest

from scalesweep.errors import PointsError
from scalesweep.studies.base import Arms, Rule, decide
from scalesweep.studies.estimators.planted_answers import Difficulty, drawn_answers, exact_answers, with_answers
from scalesweep.studies.estimators.repeated_samples import share_of_misfit, slope_in_k
from scalesweep.studies.judges.test_time import judge, simulate
from scalesweep.studies.load import Study

RULE = Rule(draws=60)
NOISE = 0.0046


def test_beta_distributed_problems_give_their_power_law() -> None:
    """E (1 - p)^k of Beta(b, beta) falls as k^-b (Schaeffer et al. 2025), and so does -ln pass@k where it is small."""
    rng = np.random.default_rng(0)
    p, k = rng.beta(0.3, 3.0, size=40_000), np.geomspace(1e3, 1e5, 13)
    log_pass = np.log(1 - np.exp(np.multiply.outer(k, np.log1p(-p))).mean(axis=1))
    assert slope_in_k(log_pass, k) == pytest.approx(0.3, abs=0.02)
    assert share_of_misfit(log_pass, k) < 1 / 3


@pytest.mark.parametrize("p", [1e-4, 1e-3, 1e-2])
def test_equal_problems_are_called_exponential(p: float) -> None:
    k = np.geomspace(1, 655, 13)
    assert share_of_misfit(np.log(1 - (1 - p) ** k), k) > 0.9


@pytest.mark.parametrize("part", ["power_law", "tail", "exchange"])
def test_planted_effects_are_found(arms: Arms, part: str) -> None:
    theta = {"power_law": 0.6, "tail": 0.005, "exchange": 0.3}[part]
    effect = judge(simulate(arms, part, theta, NOISE, np.random.default_rng(1)), RULE).effects[part]
    assert effect.value == pytest.approx(theta, abs=2 * (effect.high - effect.low))


def test_equal_problems_contradict(study: Study, arms: Arms) -> None:
    points = drawn_answers(arms["facts"], Difficulty(1.7, 0.0, learns=0.1), NOISE, np.random.default_rng(0))
    effects = judge({"facts": points}, RULE).effects
    assert decide(study.spec.parts[0], effects["power_law"]).word == "contradicted"


def test_one_sample_is_best_where_samples_add_nothing(arms: Arms) -> None:
    """Each problem is solved for certain or never, and the larger size, which can spend all, solves more."""
    points = arms["facts"]
    share = np.log(points.frame["d"].to_numpy()) / 20 + np.log(points.frame["n"].to_numpy()) / 10
    nll = np.where(np.linspace(0, 1, 512) < share[:, None] - 1.2, 1e-9, 60.0)
    found = judge({"facts": with_answers(points, nll)}, RULE)
    assert found.effects["best_k"].high == 0


def test_a_seed_apart_fails_the_control(arms: Arms) -> None:
    points = exact_answers(arms["facts"], Difficulty())
    answers = list(points.frame["answers"])
    other = list(exact_answers(points, Difficulty(width=2.0)).frame["answers"])
    is_second = points.frame["seed"].to_numpy() == 1
    mixed = [other[i] if is_second[i] else answers[i] for i in range(len(answers))]
    broken = dataclasses.replace(points, frame=points.frame.assign(answers=mixed))
    assert next(one for one in judge({"facts": broken}, RULE).controls if one.name == "A/A").passed is False


def test_pass_at_one_that_is_not_the_mean_fails_the_control(arms: Arms, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = simulate(arms, "tail", 0.0, NOISE, np.random.default_rng(0))
    monkeypatch.setattr("scalesweep.points.answers.Answers.nll", property(lambda one: -one.log_p[:, 1:].sum(axis=1)))
    assert next(one for one in judge(drawn, RULE).controls if one.name == "pass@1").passed is False


def test_points_without_answers_are_refused(arms: Arms) -> None:
    with pytest.raises(PointsError, match="has no column answers"):
        judge(arms, RULE)


def test_a_part_that_cannot_be_planted(arms: Arms) -> None:
    with pytest.raises(KeyError):
        simulate(arms, "best_k", 0.3, NOISE, np.random.default_rng(0))
