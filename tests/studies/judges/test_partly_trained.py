"""Large and partly trained against small and fully trained: the judge against laws whose answer is known."""

import dataclasses

import numpy as np
import pytest
from surfaces import make_points

from scalesweep.errors import PointsError
from scalesweep.laws import Chinchilla
from scalesweep.studies.base import Arms, Rule, decide, with_losses
from scalesweep.studies.judges.partly_trained import judge, simulate
from scalesweep.studies.load import Study

RULE = Rule(draws=100)


def word(study: Study, arms: Arms, part: str) -> str:
    return decide(next(one for one in study.spec.parts if one.name == part), judge(arms, RULE).effects[part]).word


def planted(arms: Arms, part: str, theta: float, noise: float = 0.0046, seed: int = 1) -> Arms:
    return simulate(arms, part, theta, noise, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("part", "theta"),
    [("partly_trained", 0.0), ("partly_trained", 0.2), ("largest_wins", -0.3), ("stops_short", 0.02), ("allocation", 0.6)],
)
def test_what_is_planted_is_recovered_without_noise(arms: Arms, part: str, theta: float) -> None:
    base = {"base": planted(arms, part, theta, noise=0.0)["base"]}  # no other rates, so that no regret widens anything
    effect = judge(base, RULE).effects[part]
    assert effect.value == pytest.approx(theta, abs=2e-3)
    assert effect.low - 2e-3 <= theta <= effect.high + 2e-3


@pytest.mark.parametrize(
    ("part", "theta", "said"),
    [
        ("partly_trained", 0.2, "supported"),
        ("partly_trained", -0.2, "contradicted"),
        ("largest_wins", -0.3, "contradicted"),
        ("largest_wins", 0.1, "supported"),
        ("stops_short", 0.1, "supported"),
    ],
)
def test_words(study: Study, arms: Arms, part: str, theta: float, said: str) -> None:
    assert word(study, planted(arms, part, theta), part) == said


@pytest.mark.parametrize(("theta", "other"), [(0.5, 0.73), (0.73, 0.5)])
def test_the_exponent_of_one_school_excludes_that_of_the_other(arms: Arms, theta: float, other: float) -> None:
    effect = judge(planted(arms, "allocation", theta), RULE).effects["allocation"]
    assert not effect.low <= other <= effect.high
    assert f"{other:g} (" in effect.says


def test_losses_at_one_compute_are_read_between_the_budgets_of_one_size(arms: Arms) -> None:
    """Against the law itself, at each level and size of the table."""
    base = arms["base"]
    law = Chinchilla(E=1.4, A=45.0, B=95.0, alpha=0.35, beta=0.35)
    found = judge({"base": with_losses(base, law.predict(base.n, base.d))}, RULE).tables["Losses at equal compute"]
    per_token = {round(n): c / d for n, c, d in zip(base.n.tolist(), base.c.tolist(), base.d.tolist(), strict=True)}
    assert len(found) >= 15
    for row in found:
        assert row["loss"] == pytest.approx(float(law.predict(row["n"], row["c"] / per_token[round(row["n"])])), rel=1e-3)


def test_the_regret_of_the_learning_rate_widens_the_intervals(arms: Arms) -> None:
    drawn = planted(arms, "largest_wins", -0.1)
    base = drawn["base"]
    cell = base.used[(base.used["n"] == base.n.max()) & (base.used["d"] == base.d.min()) & (base.used["seed"] == 0)]
    rates = drawn["large"]
    better = with_losses(rates, np.full(len(rates.loss), float(cell["loss"].iloc[0]) - 0.3))
    alone, aware = judge({"base": base}, RULE).effects, judge({"base": base, "large": better}, RULE).effects
    assert aware["largest_wins"].high == pytest.approx(alone["largest_wins"].high + 0.3)
    assert aware["largest_wins"].low == pytest.approx(alone["largest_wins"].low)
    assert aware["partly_trained"] == alone["partly_trained"]


def test_a_table_without_seeds_is_judged_without_a_control(arms: Arms) -> None:
    base = planted(arms, "largest_wins", -0.3)["base"]
    rows = base.used[base.used["seed"] == 0]
    found = judge({"base": make_points(rows["n"], rows["d"], rows["loss"].to_numpy())}, RULE)
    assert found.controls == ()
    assert found.effects["largest_wins"].value == pytest.approx(-0.3, abs=0.05)
    assert any("names no seeds" in note for note in found.notes)


def test_one_seed_is_refused(arms: Arms) -> None:
    base = planted(arms, "largest_wins", -0.3)["base"]
    one = dataclasses.replace(base, frame=base.frame[base.frame["seed"] == 0].reset_index(drop=True))
    with pytest.raises(PointsError, match="two seeds"):
        judge({"base": one}, RULE)


def test_without_a_fully_trained_cell_the_first_part_cannot_tell(study: Study, arms: Arms) -> None:
    base = arms["base"]
    hungry = Chinchilla(E=1.4, A=0.5, B=3000.0, alpha=0.35, beta=0.6)  # tokens are all that counts
    noise = np.exp(0.0046 * np.random.default_rng(0).standard_normal(len(base.n)))
    table = {"base": with_losses(base, hungry.predict(base.n, base.d) * noise)}
    assert word(study, table, "partly_trained") == "cannot tell"


def test_a_seed_that_was_trained_otherwise_fails_the_control(arms: Arms) -> None:
    base = planted(arms, "largest_wins", -0.3)["base"]
    assert judge({"base": base}, RULE).controls[0].passed
    shifted = with_losses(base, base.loss * np.where(base.used["seed"] == 1, 1.03, 1.0))
    assert not judge({"base": shifted}, RULE).controls[0].passed
