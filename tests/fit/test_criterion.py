"""The criterion that chooses between laws: closed forms, bad rows, copies and checkpoints."""

import math

import numpy as np
import pytest
from surfaces import COUPLED_TRUTH, TRUTH, make_points

from scalesweep.fit import fit_laws
from scalesweep.fit.criterion import TEMPER, corrected_akaike, robust_deviation, tempered_weights
from scalesweep.points.points import points_from_rows
from scalesweep.settings.fit import FitSpec

SPEC = FitSpec(bootstrap=0)
N, D = (axis.ravel() for axis in np.meshgrid(np.geomspace(5e6, 1.6e8, 7), np.geomspace(1e8, 1e10, 5)))


def difference(points) -> float:
    """Criterion of the additive law minus that of the coupled one."""
    fit = fit_laws(points, SPEC)
    return fit["joint"].aicc - fit["coupled"].aicc


def losses(law, seed: int) -> np.ndarray:
    return law.predict(N, D) * np.exp(0.003 * np.random.default_rng(seed).standard_normal(len(N)))


def test_without_outliers_it_is_that_of_a_normal_distribution():
    residual = np.array([-1.0, 1.0] * 20) * 0.01  # none beyond 1.345 scales
    count, runs = 4, 40
    expected = 2 * runs * (math.log(0.01) + 0.5) + 2 * count * runs / (runs - count - 1)
    assert robust_deviation(residual, np.ones(40)) == pytest.approx(0.01)
    assert corrected_akaike(residual, np.ones(40), 3) == pytest.approx(expected)


def test_no_spare_run_gives_no_criterion():
    assert corrected_akaike(np.ones(6), np.ones(6), 4) == math.inf
    assert corrected_akaike(np.ones(60), np.full(60, 0.1), 4) == math.inf  # sixty rows of six runs


def test_one_bad_row_does_not_decide():
    wrong = 0
    for seed in range(12):
        loss = losses(COUPLED_TRUTH, seed)
        wrong += difference(make_points(N, D, loss)) < 0
        loss[seed % len(loss)] *= 1.35
        wrong += difference(make_points(N, D, loss)) < 0
    assert wrong == 0


def test_copies_change_nothing():
    points = make_points(N, D, losses(TRUTH, 0))
    rows = points.used[["n", "d", "c", "loss"]].to_dict("records")
    copied = points_from_rows(rows * 10, "total", "six_n", "copies")
    assert difference(copied) == difference(points)
    one, ten = fit_laws(points, SPEC), fit_laws(copied, SPEC)
    assert ten["joint"].law == one["joint"].law
    assert ten["joint"].huber_delta == one["joint"].huber_delta


def test_checkpoints_of_one_run_seldom_prefer_the_richer_law():
    """Five sizes, each one run that is measured at eight budgets, whose noise is that of the run and walks slowly."""
    sizes, tokens = np.geomspace(5e6, 1.6e8, 6), np.geomspace(1e8, 6e9, 8)
    wrong = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = []
        for n in sizes:
            walk = 0.005 * (rng.standard_normal() + 0.3 * np.cumsum(rng.standard_normal(len(tokens))))
            for d, noise in zip(tokens, walk, strict=True):
                rows.append({"n": n, "d": d, "c": 6 * n * d, "loss": TRUTH.predict(n, d) * np.exp(noise), "run": f"{n:.0f}"})
        wrong += difference(points_from_rows(rows, "total", "six_n", "checkpoints")) > 2 * TEMPER
    assert wrong <= 2


def test_weights_are_tempered_and_a_rejected_law_has_none():
    weights = tempered_weights(np.array([0.0, 2 * TEMPER, 100 * TEMPER]))
    assert weights.sum() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(math.exp(-1))
    assert weights[2] == 0
    assert tempered_weights(np.array([math.inf, math.inf])).tolist() == [0.5, 0.5]
    assert tempered_weights(np.array([math.inf, 3.0])).tolist() == [0.0, 1.0]
