"""The floor of a law against a known entropy: planted ones, the rule of exclusion, and faults that must be seen."""

import dataclasses

import numpy as np
import pytest
from planted_tables import exact

from scalesweep.errors import PointsError
from scalesweep.points.points import Points
from scalesweep.studies.base import Rule, decide
from scalesweep.studies.result import result_of

FEW = Rule(draws=40)
ENTROPY, UNIGRAM = 1.0, 1.4


@pytest.fixture(scope="module")
def source(study, arms) -> Points:
    """The quick grid with losses of a law whose floor is the entropy, and the columns of a sweep."""
    points = study.module.simulate(arms, "markov", 0.0, 5e-4, np.random.default_rng(4))["markov"]
    return dataclasses.replace(points, frame=points.frame.assign(loss_se=1e-4, c_counted=points.frame["c"]))


def with_column(points: Points, **columns: object) -> Points:
    return dataclasses.replace(points, frame=points.frame.assign(**columns))


def words(study, points: Points) -> list[str]:
    found = study.findings({"markov": points}, FEW)
    return [part.word for part in result_of("calibrate", "points", study.spec, found).parts]


@pytest.mark.parametrize(("theta", "word"), [(0.0, "supported"), (-5.0, "contradicted"), (5.0, "contradicted")])
def test_a_planted_entropy_is_found(study, arms, theta, word):
    found = study.module.judge(exact(study, arms, "markov", theta), FEW)
    assert found.effects["markov"].value == pytest.approx(abs(theta), abs=1e-3)
    assert decide(study.spec.parts[0], found.effects["markov"]).word == word


@pytest.mark.parametrize(("theta", "share"), [(0.0, 1.0), (5.0, 0.0)])
def test_it_counts_the_sources_whose_interval_holds_the_entropy(study, arms, theta, share):
    drawn = study.module.simulate(arms, "markov", theta, 1e-3, np.random.default_rng(2))
    assert study.module.judge(drawn, FEW).effects["holds"].value == share


def test_a_source_that_was_not_measured_cannot_be_told(study, source):
    assert words(study, source) == ["supported", "cannot tell", "reported"]


def test_cells_that_have_learnt_less_than_half_are_in_no_law(study, source):
    unlearnt = source.frame[source.frame["d"] == source.frame["d"].min()]
    spoilt = source.frame.copy()
    spoilt.loc[unlearnt.index, "loss"] = UNIGRAM - 0.1  # three quarters are still to learn
    found = study.module.judge({"markov": dataclasses.replace(source, frame=spoilt)}, FEW)
    assert found.effects["markov"].value < 0.3
    assert found.tables["Known entropy and the fitted floor"][0]["cells fitted"] == len(source.frame) - len(unlearnt)


def test_where_too_few_cells_are_left_it_cannot_tell(study, source):
    above = with_column(source, loss=np.where(source.frame["d"] < source.frame["d"].median(), 1.39, source.frame["loss"]))
    effect = study.module.judge({"markov": above}, FEW).effects["markov"]
    assert "of 2 budgets" in effect.withheld
    assert decide(study.spec.parts[0], effect).word == "cannot tell"


def test_a_floor_far_below_the_last_loss_is_not_told(study, source):
    away = with_column(source, loss=source.frame["loss"] + 0.12)
    assert "still 1" in study.module.judge({"markov": away}, FEW).effects["markov"].withheld


def test_sizes_that_make_no_difference_leave_the_floor_known(study, source):
    """A constant term of N would take any part of E."""
    rng = np.random.default_rng(1)
    loss = (ENTROPY + 0.08 * (source.frame["d"] / source.frame["d"].min()) ** -0.9) * np.exp(
        5e-4 * rng.standard_normal(len(source.frame))
    )
    effect = study.module.judge({"markov": with_column(source, loss=loss)}, FEW).effects["markov"]
    assert effect.high < 1


def test_the_error_of_the_validation_tokens_is_in_the_interval(study, source):
    wide = study.module.judge({"markov": with_column(source, loss_se=0.005)}, FEW).effects["markov"]
    assert wide.high == pytest.approx(100 * 1.645 * 0.005 / ENTROPY, rel=0.15)


def test_a_loss_below_the_floor_withholds_the_certificate(study, source):
    loss = source.frame["loss"].copy()
    loss.iloc[7] = ENTROPY - 4 * 1e-4
    assert set(words(study, with_column(source, loss=loss))) == {"not valid"}


def test_a_wrong_count_of_flops_withholds_the_certificate(study, source):
    assert set(words(study, with_column(source, c=source.frame["c"] * 1.001))) == {"not valid"}


def test_seeds_that_disagree_withhold_the_certificate(study, source):
    second = source.frame["seed"] == 1
    assert set(words(study, with_column(source, loss=source.frame["loss"] * np.where(second, 1.01, 1.0)))) == {"not valid"}


def test_a_table_without_known_entropy_is_refused(study, source):
    with pytest.raises(PointsError, match="no column entropy"):
        study.module.judge({"markov": dataclasses.replace(source, frame=source.frame.drop(columns="entropy"))}, FEW)
    with pytest.raises(PointsError, match="needs an arm markov or facts"):
        study.module.judge({"base": source}, FEW)
