"""What the next tenth of a nat costs: closed forms, planted tables, faults."""

import dataclasses

import numpy as np
import pytest
from planted_tables import exact, second_half_from, with_columns

from scalesweep.errors import PointsError
from scalesweep.laws import Chinchilla, Coupled
from scalesweep.studies.base import Rule
from scalesweep.studies.estimators.along_optimum import Frontier
from scalesweep.studies.estimators.free_bend import FreeBend

LAW = FreeBend(3.0, 0.3, 0.1, 0.7, 0.6, 1.3, 14000.0, 128000.0)
FEW = Rule(draws=40)


@pytest.mark.parametrize("bend", [-0.2, 0.0, 1e-7, 0.1])
def test_gradient_of_the_free_bend_against_differences(bend):
    law = LAW.with_theta((*LAW.theta[:2], bend, *LAW.theta[3:]))
    n, d = np.array([2e4, 3e5]), np.array([1e6, 3e5])
    gradient = law.gradient(n, d)
    for i, value in enumerate(law.theta):
        step = 1e-5 * max(abs(value), 1e-1)
        up, down = (
            law.with_theta([v + sign * step * (j == i) for j, v in enumerate(law.theta)]).predict(n, d) for sign in (1, -1)
        )
        np.testing.assert_allclose(gradient[:, i], (up - down) / (2 * step), rtol=1e-6, atol=1e-12)


def test_units_only_rescale_the_free_bend():
    scaled = LAW.in_units([1e3, 1e6], 1.4427)
    assert float(scaled.predict(2e7, 1e12)) == pytest.approx(1.4427 * float(LAW.predict(2e4, 1e6)), rel=1e-12)


def test_the_frontier_is_the_lowest_loss_at_each_compute():
    c = 1e12
    n = np.geomspace(1e4, 1e7, 20001)
    for law in (LAW, Coupled(1.2, 22.9, 29.2, 0.245, 0.215, 0.36), Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28)):
        frontier = Frontier.of(law, 1e13)
        assert float(frontier.loss_at(c)) == pytest.approx(float(law.predict(n, c / 6 / n).min()), rel=1e-7)


def test_factor_and_exponent_are_those_of_the_loss_along_the_optimum():
    frontier = Frontier.of(Coupled(1.2, 22.9, 29.2, 0.245, 0.215, 0.36), 1e13)
    c = np.array([1e11, 1e13])
    np.testing.assert_allclose(frontier.loss_at(c * frontier.factor(c, 0.1)), frontier.loss_at(c) - 0.1, rtol=1e-12)
    step = 1e-5
    slope = np.log(frontier.loss_at(c * (1 - step)) / frontier.loss_at(c * (1 + step))) / (2 * step)
    np.testing.assert_allclose(frontier.exponent(c), slope, rtol=1e-6)


def test_below_its_floor_no_compute_suffices():
    frontier = Frontier(c=1e12, loss=2.0, slope=0.02, bend=0.25)  # the floor is at 2 - .02 / .25
    assert np.isinf(frontier.factor(1e12, 0.1))
    assert np.isfinite(frontier.factor(1e12, 0.07))


@pytest.mark.parametrize(("part", "theta"), [("growth", 1.0), ("growth", 1.3), ("exponent", 1.1), ("exponent", 0.8)])
def test_a_noise_free_table_gives_the_planted_effect(study, arms, part, theta):
    assert study.module.judge(exact(study, arms, part, theta), FEW).effects[part].value == pytest.approx(theta, rel=1e-4)


def test_another_part_cannot_be_planted(study, arms):
    with pytest.raises(KeyError):
        study.module.simulate(arms, "price", 1.0, 0.0, np.random.default_rng(0))


def test_seeds_that_disagree_fail_the_control(study, arms):
    one, other = (exact(study, arms, "growth", theta)["base"] for theta in (1.0, 1.6))
    rng = np.random.default_rng(3)
    sound = study.module.simulate(arms, "growth", 1.3, 0.0046, rng)
    faulty = {"base": second_half_from(one, other)}
    assert [control.passed for arms in (sound, faulty) for control in study.module.judge(arms, FEW).controls] == [True, False]


def test_a_table_of_four_columns_is_judged_without_control(study, arms):
    points = study.module.simulate(arms, "growth", 1.4, 0.0046, np.random.default_rng(0))["base"]
    found = study.module.judge({"base": with_columns(points, ("n", "d", "c", "loss"))}, FEW)
    assert not found.controls
    assert any("no column seed" in note for note in found.notes)
    assert found.effects["growth"].low > 1.1


def rows_where(points, mask):
    return dataclasses.replace(points, frame=points.frame[mask(points.frame)].reset_index(drop=True))


def test_one_seed_is_refused(study, arms):
    points = rows_where(exact(study, arms, "growth", 1.3)["base"], lambda frame: frame["seed"] == 0)
    with pytest.raises(PointsError, match="at least 2"):
        study.module.judge({"base": points}, FEW)


def test_two_decades_must_be_measured(study, arms):
    points = exact(study, arms, "growth", 1.3)["base"]
    short = rows_where(points, lambda frame: (frame["n"] > 4e4) & (frame["n"] < 4e5))
    assert "span" in study.module.judge({"base": short}, FEW).effects["growth"].withheld
