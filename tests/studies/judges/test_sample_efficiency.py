"""Do larger models need fewer tokens: the judge against laws whose elasticity is known."""

import dataclasses
import math

import numpy as np
import pytest
from surfaces import COUPLED_TRUTH, make_points

from scalesweep.errors import PointsError
from scalesweep.studies.base import Arms, Rule, decide, with_losses
from scalesweep.studies.judges.sample_efficiency import judge, simulate
from scalesweep.studies.load import Study

RULE = Rule(draws=200)


def word(study: Study, arms: Arms, part: str) -> str:
    effects = judge(arms, RULE).effects
    return decide(next(one for one in study.spec.parts if one.name == part), effects[part]).word


@pytest.mark.parametrize("theta", [0.0, 0.3, 0.9])
def test_a_constant_elasticity_is_recovered_without_noise(arms: Arms, theta: float) -> None:
    """Up to the interpolation of a curve with a floor, which bends by about .01 of s on the demo's budgets."""
    effect = judge(simulate(arms, "saving", theta, 0.0, np.random.default_rng(0)), RULE).effects["saving"]
    assert effect.value == pytest.approx(theta, abs=0.012)


@pytest.mark.parametrize(
    ("part", "theta", "said"),
    [
        ("saving", 0.0, "contradicted"),
        ("saving", 0.4, "supported"),
        ("proportion", 0.5, "contradicted"),
        ("proportion", 1.2, "supported"),
    ],
)
def test_words(study: Study, arms: Arms, part: str, theta: float, said: str) -> None:
    assert word(study, simulate(arms, part, theta, 0.0046, np.random.default_rng(1)), part) == said


def test_the_interval_holds_the_slope_of_a_law(arms: Arms) -> None:
    """The truth is the same slope of tokens by the law itself, which is not constant in N."""
    base, law = arms["base"], dataclasses.replace(COUPLED_TRUTH, A=60.0, B=90.0, alpha=0.3, beta=0.3)
    held = 0
    for seed in range(20):
        clean = law.predict(base.n, base.d)
        noisy = with_losses(base, clean * np.exp(0.0046 * np.random.default_rng(seed).standard_normal(len(clean))))
        found = judge({"base": noisy}, RULE)
        rows = found.tables["Tokens to a loss"]
        slopes = []
        for loss in dict.fromkeys(row["loss"] for row in rows):
            log_n = np.log([row["n"] for row in rows if row["loss"] == loss])
            x = math.log(loss - law.E) / law.kappa
            n_term = np.exp((math.log(law.A) - law.alpha * log_n) / law.kappa)
            log_d = (math.log(law.B) - law.kappa * np.log(math.exp(x) - n_term)) / law.beta
            slopes.append(-np.polyfit(log_n, log_d, 1)[0])
        held += found.effects["saving"].low <= min(slopes) <= found.effects["saving"].high
    assert held >= 17


def test_it_says_where_the_saving_ends(arms: Arms) -> None:
    base = arms["base"]
    sized = np.minimum(base.n, 60_000.0)  # parameters beyond 60k are of no use
    found = judge({"base": with_losses(base, 1.2 + 40 * (sized * base.d) ** -0.13)}, RULE)
    assert found.effects["ends"].value == pytest.approx(math.sqrt(80_000 * 196_000), rel=0.02)
    endless = judge(simulate(arms, "saving", 0.4, 0.0, np.random.default_rng(0)), RULE).effects["ends"]
    assert math.isinf(endless.value) and endless.says == "s stays above 0.1 up to 462k parameters"


def test_a_table_without_seeds_is_judged_without_a_control(study: Study, arms: Arms) -> None:
    points = simulate(arms, "saving", 0.4, 0.0046, np.random.default_rng(2))["base"]
    rows = points.used[points.used["seed"] == 0]
    found = judge({"base": make_points(rows["n"], rows["d"], rows["loss"].to_numpy())}, RULE)
    assert found.controls == ()
    assert any("names no seeds" in note for note in found.notes)
    assert decide(study.spec.parts[0], found.effects["saving"]).word == "supported"


def test_one_seed_is_refused(arms: Arms) -> None:
    base = arms["base"]
    one = dataclasses.replace(base, frame=base.frame[base.frame["seed"] == 0].reset_index(drop=True))
    with pytest.raises(PointsError, match="two seeds"):
        judge({"base": one}, RULE)


def test_losses_that_two_sizes_alone_reach_cannot_tell(study: Study, arms: Arms) -> None:
    points = with_losses(arms["base"], 20.0 - np.round(np.log(arms["base"].n)) + 1e-3 * (20 - np.log(arms["base"].d)))
    assert word(study, {"base": points}, "saving") == "cannot tell"


def test_a_seed_that_was_trained_otherwise_fails_the_control(arms: Arms) -> None:
    points = simulate(arms, "saving", 0.4, 0.0046, np.random.default_rng(3))["base"]
    assert judge({"base": points}, RULE).controls[0].passed
    shifted = with_losses(points, points.loss * np.where(points.used["seed"] == 1, 1.03, 1.0))
    assert not judge({"base": shifted}, RULE).controls[0].passed
