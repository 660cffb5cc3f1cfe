"""Where L(C) would go below L(D*(C)): exact laws, faults, and words."""

import numpy as np
import pytest
from planted_tables import exact, second_half_from, with_columns

from scalesweep.studies.base import Rule, decide

FEW = Rule(draws=40)


def test_a_joint_law_without_floor_never_meets_its_data(study, arms):
    effect = study.module.judge(exact(study, arms, "gain", 0.0), FEW).effects["gain"]
    assert effect.value == pytest.approx(0.0, abs=1e-3)


def test_a_planted_gain_has_its_sign(study, arms):
    low, high = (study.module.judge(exact(study, arms, "gain", theta), FEW).effects["gain"].value for theta in (-0.03, 0.04))
    assert low == pytest.approx(-0.03, abs=0.008)
    assert high == pytest.approx(0.04, abs=0.008)


def test_another_part_cannot_be_planted(study, arms):
    with pytest.raises(KeyError):
        study.module.simulate(arms, "where", 15.0, 0.0, np.random.default_rng(0))


def test_seeds_that_disagree_fail_the_control(study, arms):
    one, other = (exact(study, arms, "gain", theta)["base"] for theta in (0.0, 0.06))
    assert [control.passed for control in study.module.judge({"base": second_half_from(one, other)}, FEW).controls] == [False]


def test_a_table_of_four_columns_is_judged_without_control(study, arms):
    points = study.module.simulate(arms, "gain", 0.0, 0.0046, np.random.default_rng(0))["base"]
    found = study.module.judge({"base": with_columns(points, ("n", "d", "c", "loss"))}, FEW)
    assert not found.controls
    assert decide(study.spec.parts[0], found.effects["gain"]).word == "cannot tell"
