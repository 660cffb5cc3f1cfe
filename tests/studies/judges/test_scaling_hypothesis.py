"""Does more compute keep lowering the loss: planted gains, forecasts, walls, and faults."""

import dataclasses

import numpy as np
import pytest
from planted_tables import exact, second_half_from, with_columns

from scalesweep.errors import FitError, PointsError
from scalesweep.laws import Coupled
from scalesweep.studies.base import Rule
from scalesweep.studies.estimators.along_optimum import Frontier
from scalesweep.studies.estimators.effective import broken_loss, effective_compute, fit_curves, fit_frontier
from scalesweep.studies.estimators.free_bend import FreeBend
from scalesweep.studies.estimators.planted import demo_surface
from scalesweep.studies.estimators.texts import Text
from scalesweep.studies.estimators.walls import find_wall

FEW = Rule(draws=40)
NOISE = 0.0046


def planted(study, arms, part, theta, seed=0):
    return study.module.simulate(arms, part, theta, NOISE, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def forecast_table(study, arms):
    """Forecasts that are off by 1 %, and what the judge finds."""
    drawn = planted(study, arms, "error", 1.0)
    return drawn, study.module.judge(drawn, FEW)


def test_a_run_has_the_compute_of_the_best_model_of_its_loss():
    law = Coupled(1.2, 22.9, 29.2, 0.245, 0.215, 0.36)
    alpha, beta = law.alpha / law.kappa, law.beta / law.kappa
    curves = FreeBend(0.0, 1.0, 0.0, alpha, beta, (law.B / law.A) ** (1 / law.kappa), 1.0, 1.0)
    n, d = np.array([1.4e4, 4.6e5]), np.array([1.28e6, 2.3e5])
    c = effective_compute(curves, n, d)
    np.testing.assert_allclose(law.predict(law.n_opt(c), law.d_opt(c)), law.predict(n, d), rtol=1e-10)
    np.testing.assert_array_less(c, 6 * n * d)


def test_a_wall_leaves_the_loss_below_it_and_multiplies_the_exponent_beyond():
    frontier = Frontier(1e12, 2.0, 0.1, 0.1)  # the floor is at 1
    c = np.array([1e11, 1e12, 1e13, 1e14])
    loss = broken_loss(frontier, 0.5, c)
    np.testing.assert_allclose(loss[:2], frontier.loss_at(c[:2]))
    assert np.diff(np.log(loss[2:] - 1)) / np.log(10) == pytest.approx(-0.05)


def test_the_fit_without_noise_is_the_planted_frontier(study, arms):
    points = exact(study, arms, "wall", 1.0)["base"]
    place = 2e11
    found = fit_frontier(points, fit_curves(points, FEW.fit), place)
    truth = Frontier.of(demo_surface(points), place)
    assert (found.frontier.loss, found.frontier.slope) == pytest.approx((truth.loss, truth.slope), rel=1e-4)
    drawn = found.draws(200, np.random.default_rng(0))
    assert np.std([one.loss for one in drawn]) < 1e-6


@pytest.mark.parametrize("kept", [0.5, 1.3])
def test_a_planted_wall_is_found_where_it_is(study, arms, kept):
    wall = find_wall(exact(study, arms, "wall", kept)["base"], FEW.fit)
    assert (wall.factor, wall.kept) == (4.0, pytest.approx(kept, abs=1e-3))
    assert wall.is_found == (kept < 1)


@pytest.mark.slow
def test_walls_are_found_and_none_is_made_up(study, arms):
    """A wall at twice the largest compute is none of the table's: no run lies beyond it."""
    walls = [find_wall(planted(study, arms, "wall", 0.5, seed)["base"], FEW.fit) for seed in range(8)]
    assert sum(wall.is_found and wall.high < 0.75 for wall in walls) >= 6
    none = [find_wall(planted(study, arms, "wall", 1.0, seed)["base"], FEW.fit) for seed in range(8)]
    assert not any(wall.is_found for wall in none)


def test_too_few_runs_for_a_break_are_refused(study, arms):
    points = exact(study, arms, "wall", 1.0)["base"]
    few = dataclasses.replace(points, frame=points.frame.head(8))
    with pytest.raises(FitError, match="8 runs are too few"):
        find_wall(few, FEW.fit)


@pytest.mark.parametrize("theta", [1.0, 6.0])
def test_the_least_doubling_of_a_noise_free_text_is_the_planted_one(study, arms, theta):
    drawn = study.module.simulate(arms, "doubling", theta, 1e-3, np.random.default_rng(1))
    quiet = study.module.simulate(arms, "doubling", theta * 1e3, 1e-6, np.random.default_rng(1))
    least = min(Text.of(points, FEW).least_gain(Text.of(points, FEW).fit.frontier) for points in quiet.values())
    assert least == pytest.approx(1e-3 * theta, rel=0.02)
    effects = {name: Text.of(points, FEW).doubling(FEW) for name, points in drawn.items()}
    assert all(effect.low < effect.value < effect.high for effect in effects.values())


def test_every_text_counts_and_one_that_cannot_be_judged_withholds_the_word(study, arms):
    drawn = planted(study, arms, "doubling", 0.5, 2)
    short = dataclasses.replace(drawn["prose"], frame=drawn["prose"].frame.head(4))
    found = study.module.judge({**drawn, "prose": short}, FEW)
    rows = {row["text"]: row["sigma"] for row in found.tables["Least gain of a doubling, sigma"]}
    assert set(rows) == {"base", "facts"} and "2 texts" in found.sentence
    assert found.effects["doubling"].value == pytest.approx(min(rows.values()))
    assert "prose" in found.effects["doubling"].withheld


def test_runs_inside_their_intervals_are_held_and_errors_are_measured(forecast_table):
    _, found = forecast_table
    held, error = found.effects["held"], found.effects["error"]
    assert held.low > 80 and held.value > 95
    assert error.low < 1.0 < error.high and error.high < 2
    assert any("nothing was forecast" in note for note in found.notes)  # below a token per parameter


@pytest.mark.parametrize(("part", "theta"), [("held", 60.0), ("error", 4.0)])
def test_forecasts_that_fail_are_seen(study, arms, part, theta):
    effect = study.module.judge(planted(study, arms, part, theta, 3), FEW).effects[part]
    assert effect.low < theta < effect.high


def test_the_sealed_forecast_is_what_runs_are_compared_with(study, arms, forecast_table):
    drawn, found = forecast_table
    small = {name: points for name, points in drawn.items() if name != "base"}
    base = drawn["base"].frame
    known = {(n, d): loss for n, d, loss in zip(base["n"], base["d"], base["loss"], strict=True)}
    measured = {
        name: dataclasses.replace(
            points,
            frame=points.frame.merge(base[["n", "d", "seed", "loss"]], on=["n", "d", "seed"], suffixes=("_", "")).drop(
                columns="loss_"
            ),
        )
        for name, points in small.items()
    }
    said = study.module.forecast(measured, {"base": drawn["base"]}, FEW)
    assert len(said["cells"]) == 8 and said["rows"] == 34 and said["origins"] == 0
    assert not {(cell["n"], cell["d"]) for cell in said["cells"]} & {
        (n, d) for points in small.values() for n, d in zip(points.frame["n"], points.frame["d"], strict=True)
    }
    assert all((cell["n"], cell["d"]) in known for cell in said["cells"])
    sealed = study.module.judge(drawn, dataclasses.replace(FEW, sealed=said)).effects["error"]
    assert (sealed.value, sealed.low) == pytest.approx((found.effects["error"].value, found.effects["error"].low))
    higher = {**said, "cells": [{**cell, "loss": 1.1 * cell["loss"]} for cell in said["cells"]]}
    assert study.module.judge(drawn, dataclasses.replace(FEW, sealed=higher)).effects["error"].value > 8
    with pytest.raises(PointsError, match="no arm whose name begins with small"):
        study.module.forecast({}, {"base": drawn["base"]}, FEW)


def test_parts_without_a_truth_cannot_be_planted(study, arms):
    for part in ("agreement", "reach"):
        with pytest.raises(KeyError):
            study.module.simulate(arms, part, 1.0, 0.0, np.random.default_rng(0))


def test_seeds_that_disagree_fail_the_control(study, arms, forecast_table):
    one, other = (exact(study, arms, "wall", theta)["base"] for theta in (1.0, 2.0))
    faulty = study.module.judge({"base": second_half_from(one, other)}, FEW)
    assert [control.passed for found in (forecast_table[1], faulty) for control in found.controls] == [True, False]


def test_a_table_of_four_columns_is_judged_without_forecast_and_control(study, arms):
    points = with_columns(planted(study, arms, "wall", 1.0)["base"], ("n", "d", "c", "loss"))
    found = study.module.judge({"base": points}, FEW)
    assert not found.controls and any("no column seed" in note for note in found.notes)
    assert "Nothing was forecast" in found.effects["held"].withheld
    assert found.effects["doubling"].low > 2 and found.effects["reach"].value > 1
    assert found.effects["agreement"].value < 20
