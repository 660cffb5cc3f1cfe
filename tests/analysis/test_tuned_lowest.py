"""Where no quadratic can be trusted: coarse grids, cliffs, few degrees of freedom; the lowest loss and its error there."""

import math
from typing import Any

import numpy as np
import pytest
from tuned_surfaces import SIZES, best_lr, cost, law, sweep

from scalesweep.analysis.tuning.laws import describe
from scalesweep.analysis.tuning.lowest import LowestLoss, expected_maximum
from scalesweep.analysis.tuning.noise import NORMAL_90, TuningNoise
from scalesweep.analysis.tuning.optima import tuned_frontier
from scalesweep.analysis.tuning.profile import profile
from scalesweep.analysis.tuning.quantity import known_names, quantity
from scalesweep.fit import fit_laws
from scalesweep.points.points import Points
from scalesweep.settings.fit import FitSpec


def grid(low: float, high: float, num: int) -> list[dict[str, float]]:
    return [{"recipe.lr": float(lr)} for lr in np.geomspace(low, high, num)]


def lr_cost(row: dict[str, Any]) -> float:
    return cost(row["n"], row["d"], row["tune.recipe.lr"])


def with_errors(points: Points, error: float) -> Points:
    return Points(points.frame.assign(loss_se=error), "total", "six_n", "simulated")


@pytest.mark.parametrize("name", ["lr", "learning_rate", "Learning-Rate", "optim.lr", "peak_lr", "hparams.max_lr"])
def test_the_learning_rate_has_its_reach_whatever_its_column_is_called(name: str) -> None:
    points = sweep(lr_cost, sigma=0.003)
    renamed = Points(points.frame.rename(columns={"tune.recipe.lr": f"tune.{name}"}), "total", "six_n", "simulated")
    np.testing.assert_array_equal(tuned_frontier(renamed).points.loss, tuned_frontier(points).points.loss)


def test_names_that_mean_one_quantity_stay_apart() -> None:
    assert quantity("label_smoothing") == "label_smoothing"
    assert known_names(["lr", "optim.lr", "wd"]) == {
        "lr": "recipe.lr",
        "optim.lr": "optim.lr",
        "wd": "wd",
    }
    assert known_names(["lr", "recipe.lr"]) == {"recipe.lr": "recipe.lr", "lr": "lr"}


@pytest.mark.parametrize("ratio", [3.2, 5.0, 10.0])
def test_a_coarse_grid_has_no_vertex_and_an_interval_that_holds(ratio: float) -> None:
    points = sweep(lr_cost, grid(1e-4, 1e-4 * ratio**6, 7), sigma=0.005, seeds=range(4))
    frontier = tuned_frontier(with_errors(points, 0.005))
    assert not frontier.vertices and len(frontier.optima) == 64 == len(frontier.gaps)
    errors = np.array([o.loss - law(o.n, o.d) for o in frontier.optima])
    assert np.mean(np.abs(errors) < NORMAL_90 * np.array([o.loss_se for o in frontier.optima])) > 0.88
    for gap in frontier.gaps:
        assert gap.low < math.log(gap.best) < gap.high


def test_a_cliff_is_no_part_of_the_quadratic() -> None:
    def cliff(row: dict[str, Any]) -> float:
        beyond = math.log(row["tune.recipe.lr"] / best_lr(row["n"], row["d"])) - math.log(3)
        return lr_cost(row) + (0.5 + beyond if beyond > 0 else 0)

    frontier = tuned_frontier(sweep(cliff, grid(1e-3, 6.4e-2, 10), sigma=0.002, seeds=range(4)))
    assert frontier.noise.scatter == pytest.approx(0.002, rel=0.2)
    errors = np.array([o.loss - law(o.n, o.d) for o in frontier.optima])
    assert np.abs(errors).max() < 0.01
    assert np.mean(np.abs(errors) < NORMAL_90 * np.array([o.loss_se for o in frontier.optima])) > 0.85


@pytest.mark.parametrize("shift", [-0.1, 0.1])
def test_a_vertex_off_the_lowest_loss_by_more_than_noise_is_not_used(shift: float) -> None:
    points = sweep(lr_cost, sigma=0.003)
    frame = points.frame.copy()
    first = frame[(frame["n"] == SIZES[0]) & (frame["d"] == frame["d"].min())]
    near = (np.log(first["tune.recipe.lr"] / best_lr(SIZES[0], frame["d"].min()))).abs().sort_values().index[1]
    frame.loc[near, "loss"] += shift
    frontier = tuned_frontier(Points(frame, "total", "six_n", "simulated"))
    assert isinstance(frontier.groups[0].optimum, LowestLoss)
    assert frontier.groups[0].optimum.loss == pytest.approx(frontier.groups[0].lowest, abs=0.05)
    assert sum(isinstance(o, LowestLoss) for o in frontier.optima) <= 2
    assert frontier.noise.scatter == pytest.approx(0.003, rel=0.4)  # the one that is off is no part of the noise


def test_two_degrees_of_freedom_give_no_standard_error_and_words_say_so() -> None:
    points = sweep(lr_cost, [{"recipe.lr": lr} for lr in best_lr(1e4, 1e5) * np.array([0.35, 0.7, 1.4, 2.8])], sizes=SIZES[:1])
    frame = points.frame[points.frame["d"] <= 3e5].reset_index(drop=True)
    frontier = tuned_frontier(Points(frame, "total", "six_n", "simulated"))
    assert frontier.noise.dof == 2 and len(frontier.vertices) == 2
    assert all(math.isnan(o.loss_se) for o in frontier.optima)
    assert "2 degrees of freedom. A vertex has no ±: that takes 3 degrees of freedom" in describe(frontier)


def test_few_degrees_of_freedom_widen_by_student_and_the_evaluation_is_a_lower_bound() -> None:
    assert TuningNoise(0.01, 3).student * NORMAL_90 == pytest.approx(2.3534, abs=1e-4)
    assert TuningNoise(0.01, 10**6).student == pytest.approx(1.0, abs=1e-3)
    assert TuningNoise(0.01, 5, 0.02).sigma == 0.02
    assert TuningNoise(0.03, 5, 0.02).sigma == 0.03
    assert math.isnan(TuningNoise(0.03, 2, 0.02).sigma)
    points = sweep(lr_cost, sigma=0.002)
    plain, with_error = tuned_frontier(points), tuned_frontier(with_errors(points, 0.02))
    for one, other in zip(plain.vertices, with_error.vertices, strict=True):
        assert other.loss_se / one.loss_se == pytest.approx(0.02 / plain.noise.scatter, rel=1e-6)


def test_the_expected_maximum_is_that_of_normals() -> None:
    assert expected_maximum(1) == pytest.approx(0, abs=1e-9)
    assert expected_maximum(2) == pytest.approx(1 / math.sqrt(math.pi), rel=1e-6)
    assert expected_maximum(3) == pytest.approx(1.5 / math.sqrt(math.pi), rel=1e-6)


def test_the_depth_below_the_lowest_is_exact_for_a_parabola() -> None:
    x = np.array([-3.0, -1.0, 0.6, 1.9, 4.0])
    along = profile(np.repeat(x, 2), np.column_stack([2 + 0.1 * x**2, 3 + x**2]).ravel())
    assert along.depth == pytest.approx(0.1 * 0.6**2, rel=1e-9)
    assert along.neighbours == (-1.0, 1.9)


def test_a_law_of_lowest_losses_is_warned_of() -> None:
    frontier = tuned_frontier(with_errors(sweep(lr_cost, grid(1e-4, 1, 5), sigma=0.003), 0.003))
    found = {finding.code: finding.text for finding in fit_laws(frontier.points, FitSpec(bootstrap=0)).findings}
    assert found["A21"].startswith(f"{len(frontier.optima)} of {len(frontier.optima)} tuned optima")
    fine = tuned_frontier(sweep(lr_cost, sigma=0.003))
    assert "A21" not in {finding.code for finding in fit_laws(fine.points, FitSpec(bootstrap=0)).findings}
