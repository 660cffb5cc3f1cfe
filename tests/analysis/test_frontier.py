"""The tuned frontier of simulated sweeps whose laws are known."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import qmc
from tuned_surfaces import LRS, SIZES, best_lr, cost, law, sweep

from scalesweep.analysis.tuning.frontier import Frontier, TunedOptimum
from scalesweep.analysis.tuning.laws import describe, optimum_laws
from scalesweep.analysis.tuning.noise import NORMAL_90
from scalesweep.analysis.tuning.optima import is_tuned, tuned_frontier
from scalesweep.analysis.tuning.own import tune_by
from scalesweep.errors import FitError, PointsError, Refused
from scalesweep.fit import fit_laws
from scalesweep.points.points import Points, points_from_rows
from scalesweep.points.reading import read_points
from scalesweep.settings.fit import FitSpec

DATA = Path(__file__).parents[1] / "data"


def lr_cost(row: dict[str, Any]) -> float:
    return cost(row["n"], row["d"], row["tune.recipe.lr"])


def test_without_noise_everything_is_exact() -> None:
    frontier = tuned_frontier(sweep(lr_cost))
    assert len(frontier.optima) == 16
    for o, group in zip(frontier.optima, frontier.groups, strict=True):
        assert o.loss == pytest.approx(law(o.n, o.d), abs=1e-9)
        assert group.lowest > o.loss
        assert o.values["recipe.lr"] == pytest.approx(best_lr(o.n, o.d), rel=1e-5)
        for factor in ("half", "double"):
            assert o.regret(factor)[0] == pytest.approx(0.04 * math.log(2) ** 2, rel=1e-6)
    (found,) = optimum_laws(frontier)
    assert found.estimates["coefficient"].value == pytest.approx(0.3, rel=1e-3)
    assert found.estimates["n_exponent"].value == pytest.approx(-0.4, abs=1e-4)
    assert found.estimates["d_exponent"].value == pytest.approx(0.03, abs=1e-4)
    assert len(found.held_out) == 4
    assert all(held.factor == pytest.approx(1.0, abs=1e-3) and held.regret < 1e-6 for held in found.held_out)
    assert found.at(1e6, 1e7) == pytest.approx(best_lr(1e6, 1e7), rel=1e-3)


def test_a_short_name_of_a_tuned_setting_is_that_setting() -> None:
    points = sweep(lr_cost)
    short = Points(points.frame.rename(columns={"tune.recipe.lr": "tune.lr"}), "total", "six_n", "short")
    own, known = tuned_frontier(short), tuned_frontier(points)
    assert own.settings == known.settings == ("recipe.lr",)
    np.testing.assert_array_equal(own.points.loss, known.points.loss)
    assert own.points.frame["regret_half_lr"].notna().all()


def test_the_frontier_is_a_table_that_fits_take() -> None:
    points = tuned_frontier(sweep(lr_cost, sigma=0.002, seeds=(0, 1))).points
    assert len(points.loss) == 32
    assert {"lowest_loss", "best.recipe.lr", "best_log_se.recipe.lr", "regret_half_lr", "regret_double_lr_se"} <= set(
        points.frame
    )
    assert not any(math.isnan(x) for x in points.frame["loss_se"])
    result = fit_laws(points, FitSpec(bootstrap=20))
    assert result.noise is not None  # seeds stay apart
    assert result.fits.get("joint") is not None
    assert result["joint"].estimates["a"].value == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("weight", [0.0, 0.002, 0.004])
def test_a_setting_of_which_nobody_can_say_whether_it_matters_is_in_the_standard_error(weight: float) -> None:
    """Coverage of 200 optima at a nominal 90 %, of searches among 16 settings (docs/tuning.md has 300 a row)."""
    rng, rows = np.random.default_rng(7), []
    for group in range(200):
        places = qmc.Sobol(2, rng=rng).random(16)
        lr, decay = 1.5e-3 * 32 ** places[:, 0], 0.01 * 100 ** places[:, 1]
        loss = 2 + 0.03 * np.log(lr / 0.008) ** 2 + weight * np.log(decay / 0.1) ** 2 + 0.01 * rng.standard_normal(16)
        common = {"n": 1000 * (group + 1), "d": 1e6, "c": 1e10, "seed": 0}
        columns = {"loss": loss, "tune.recipe.lr": lr, "tune.optim.weight_decay": decay}
        rows += [{**common, **dict(zip(columns, row, strict=True))} for row in zip(*columns.values(), strict=True)]
    optima = tuned_frontier(points_from_rows(rows, "none", "none", "simulated")).optima
    errors = np.array([o.loss - 2 for o in optima])
    covered = np.mean(np.abs(errors) < NORMAL_90 * np.array([o.loss_se for o in optima]))
    assert len(optima) >= 190
    assert 0.86 <= covered <= 0.96
    in_doubt = [o for o in optima if isinstance(o, TunedOptimum) and o.other is not None]
    assert in_doubt
    assert all(o.loss_se > o.surface.error(o.noise.sigma) for o in in_doubt)


def test_noise_gives_standard_errors_that_cover_and_less_bias_than_the_lowest_loss() -> None:
    frontier = tuned_frontier(sweep(lr_cost, sigma=0.01, seeds=range(12)))
    assert frontier.noise.scatter == pytest.approx(0.01, rel=0.1)
    errors = np.array([o.loss - law(o.n, o.d) for o in frontier.optima])
    naive = np.array([g.lowest - law(g.n, g.d) for g in frontier.groups if g.optimum in frontier.optima])
    assert abs(errors.mean()) < 0.0015
    assert abs(errors.mean()) < abs(naive.mean()) / 1.5
    assert np.mean(np.abs(errors) < 1.645 * np.array([o.loss_se for o in frontier.optima])) == pytest.approx(0.9, abs=0.07)
    (found,) = optimum_laws(frontier)
    slope = found.estimates["n_exponent"]
    assert slope.low is not None and slope.high is not None
    assert slope.low < -0.4 < slope.high


def test_an_untuned_learning_rate_bends_the_exponent_and_the_frontier_restores_it() -> None:
    fixed = sweep(lr_cost, [{"recipe.lr": best_lr(1e4, 1e5)}])
    untuned = fit_laws(fixed, FitSpec(bootstrap=0))["joint"]
    tuned = fit_laws(tuned_frontier(sweep(lr_cost)).points, FitSpec(bootstrap=0))["joint"]
    assert untuned is not None and tuned is not None
    assert tuned.estimates["a"].value == pytest.approx(0.5, abs=0.005)
    assert abs(untuned.estimates["a"].value - 0.5) > 0.05


def reasons(frontier: Frontier) -> list[str]:
    """Why groups have no optimum."""
    return [group.optimum.reason for group in frontier.groups if isinstance(group.optimum, Refused)]


def test_an_optimum_at_an_end_is_left_out_and_says_where_to_extend() -> None:
    low = tuned_frontier(sweep(lr_cost, [{"recipe.lr": lr} for lr in (1e-4, 2e-4, 4e-4, 8e-4)]))
    assert not low.optima
    assert {(e.setting, e.side) for e in low.edges} == {("recipe.lr", "high")}
    assert len(low.edges) == 16
    assert all("at the end of its range" in reason for reason in reasons(low))
    assert len(low.points.excluded) == 16
    high = tuned_frontier(sweep(lr_cost, [{"recipe.lr": lr} for lr in (0.1, 0.2, 0.4, 0.8)]))
    assert {e.side for e in high.edges} == {"low"}


def test_divergence_beyond_the_best_setting_asks_for_a_finer_grid_not_a_longer_one() -> None:
    cliff = tuned_frontier(
        sweep(
            lambda row: lr_cost(row) if row["tune.recipe.lr"] < 0.7 * best_lr(row["n"], row["d"]) else math.inf, sizes=SIZES[:3]
        )
    )
    assert not cliff.optima and not cliff.edges
    assert all("those that diverged" in reason for reason in reasons(cliff))
    never = tuned_frontier(sweep(lambda row: math.inf if row["n"] == 1e4 else lr_cost(row)))
    assert reasons(never) == ["all 7 settings tried here diverged"] * 4
    assert len(never.optima) == 12
    assert {(e.n, e.setting, e.side) for e in never.edges} == {(1e4, "recipe.lr", "low")}
    high = tuned_frontier(
        sweep(lambda row: lr_cost(row) if row["tune.recipe.lr"] < 5 * best_lr(row["n"], row["d"]) else math.inf)
    )
    assert len(high.optima) == 16
    assert high.groups[-1].num_diverged > 0


GRID = [
    {"recipe.lr": float(lr), "optim.weight_decay": wd} for lr in np.geomspace(1e-3, 3.2e-2, 6) for wd in (0.01, 0.03, 0.1, 0.3)
]


def test_a_second_setting_is_tuned_dropped_as_flat_or_found_at_its_edge() -> None:
    def decay_cost(row: dict[str, Any], best: float) -> float:
        return 0.02 * math.log(row["tune.optim.weight_decay"] / best) ** 2

    inner = tuned_frontier(sweep(lambda r: lr_cost(r) + decay_cost(r, 0.05), GRID))
    assert len(inner.optima) == 16
    for o in inner.optima:
        assert o.loss == pytest.approx(law(o.n, o.d), abs=1e-8)
        assert o.values["optim.weight_decay"] == pytest.approx(0.05, rel=1e-4)
    flat = tuned_frontier(sweep(lr_cost, GRID, sigma=0.005))
    assert len(flat.optima) >= 14
    assert abs(np.mean([o.loss - law(o.n, o.d) for o in flat.optima])) < 0.002
    assert np.mean([g.lowest - law(g.n, g.d) for g in flat.groups if g.optimum in flat.optima]) < -0.003
    edge = tuned_frontier(sweep(lambda r: lr_cost(r) + decay_cost(r, 5.0), GRID, sigma=0.002))
    assert {(e.setting, e.side) for e in edge.edges} == {("optim.weight_decay", "high")}
    assert not edge.optima
    two = [row for row in GRID if row["optim.weight_decay"] in (0.01, 0.3)]  # two values have no inner optimum
    assert len(tuned_frontier(sweep(lr_cost, two, sigma=0.002)).optima) >= 14
    better = tuned_frontier(sweep(lambda r: lr_cost(r) + decay_cost(r, 0.3), two, sigma=0.002))
    assert {(e.setting, e.side) for e in better.edges} == {("optim.weight_decay", "high")}


def test_the_batch_has_a_law_of_its_own() -> None:
    grid = [{"recipe.lr": float(lr), "recipe.batch_tokens": float(b)} for lr in LRS[1:6] for b in (256, 512, 1024, 2048, 4096)]

    def extra(row: dict[str, Any]) -> float:
        return lr_cost(row) + 0.01 * math.log(row["tune.recipe.batch_tokens"] / (2.0 * row["d"] ** 0.5)) ** 2

    found = {found.setting: found for found in optimum_laws(tuned_frontier(sweep(extra, grid)))}
    assert found["recipe.batch_tokens"].estimates["d_exponent"].value == pytest.approx(0.5, abs=1e-3)
    assert found["recipe.batch_tokens"].estimates["n_exponent"].value == pytest.approx(0.0, abs=1e-3)
    assert found["recipe.lr"].estimates["n_exponent"].value == pytest.approx(-0.4, abs=1e-3)


def test_budgets_that_a_tuned_batch_rounds_differently_are_one() -> None:
    points = sweep(lr_cost)
    frame = points.frame.copy()
    frame["d"] *= 1 + 0.02 * np.resize([-1, 0, 1], len(frame))
    assert len(tuned_frontier(Points(frame, "with_head", "six_n", "simulated")).groups) == 16


def test_a_law_of_one_budget_has_no_exponent_of_d() -> None:
    points = sweep(lr_cost)
    frame = points.frame[points.frame["d"] == 1e6].reset_index(drop=True)
    (found,) = optimum_laws(tuned_frontier(Points(frame, "with_head", "six_n", "simulated")))
    assert found.estimates["d_exponent"].value == 0
    assert found.estimates["d_exponent"].low is None
    assert found.estimates["n_exponent"].value == pytest.approx(-0.4, abs=1e-4)


def test_a_table_without_tuned_settings_has_no_frontier() -> None:
    points = points_from_rows([{"n": 1, "d": 1, "c": 6, "loss": 1}], "total", "six_n", "x")
    assert not is_tuned(points)
    with pytest.raises(FitError, match="no tuned settings"):
        tuned_frontier(points)


def test_the_description_names_optima_laws_and_what_is_left_out() -> None:
    text = describe(tuned_frontier(sweep(lambda row: math.inf if row["n"] == 1e4 else lr_cost(row), sigma=0.001)))
    assert "12 inner optima of 16, from 112 measured cells" in text
    assert "all 7 settings tried here diverged" in text
    assert "Law of the optimum: recipe.lr = " in text
    assert "N = 300k predicted from the other sizes: off by" in text
    assert "'recipe.lr_law={coefficient: " in text


def test_a_column_of_a_users_own_is_tuned_like_that_of_a_sweep() -> None:
    found = tuned_frontier(tune_by(read_points(DATA / "untuned_lr.csv"), ["lr"]))
    assert len(found.optima) == 16
    for optimum in found.optima:
        assert optimum.loss == pytest.approx(1.7 + 400 / optimum.n**0.34 + 410 / optimum.d**0.28, abs=2e-5)
    (law,) = optimum_laws(found)
    assert [estimate.value for estimate in law.estimates.values()] == pytest.approx([0.3, -0.3, 0.0], abs=2e-3)


def test_what_else_differs_keeps_optima_apart_and_any_column_has_a_law() -> None:
    table = pd.read_csv(DATA / "untuned_lr.csv").rename(columns={"lr": "label_smoothing"}).drop(columns="batch_size")
    both = pd.concat([table.assign(arch="a"), table.assign(arch="b", val_loss=table["val_loss"] + 0.5)], ignore_index=True)
    found = tuned_frontier(tune_by(read_points(both), ["label_smoothing"]))
    assert len(found.groups) == 32
    assert [law.setting for law in optimum_laws(found)] == ["label_smoothing"]


@pytest.mark.parametrize(
    ("column", "why"), [("lrr", "did you mean lr"), ("batch_size", "1 value "), ("arch", "no positive number")]
)
def test_a_column_that_cannot_be_tuned_is_refused(column: str, why: str) -> None:
    points = read_points(pd.read_csv(DATA / "untuned_lr.csv").assign(arch="dense"))
    with pytest.raises(PointsError, match=why):
        tune_by(points, [column])
