"""Estimators of what seeds and metrics do, on values whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from scalesweep.studies.estimators.jackknife import ratio
from scalesweep.studies.estimators.loss_as_predictor import correlation
from scalesweep.studies.estimators.modes import find_modes, separation
from scalesweep.studies.estimators.proportions import clopper_pearson, fisher_p, share_difference
from scalesweep.studies.estimators.shapes import shape_of


def seeds(rng: np.random.Generator, separation: float, number: int = 16) -> np.ndarray:
    return rng.standard_normal(number) + separation * (np.arange(number) < number // 4)


def test_two_groups_of_sixteen_seeds_are_found_and_one_is_not_split():
    rng = np.random.default_rng(0)
    assert sum(find_modes(seeds(rng, 6.0)).is_bimodal for _ in range(50)) >= 45
    assert sum(find_modes(seeds(rng, 0.0)).is_bimodal for _ in range(50)) <= 6


def test_partial_solutions_are_a_group_of_their_own():
    nll = np.array([2.77, 2.76, 2.77, 2.78, 2.75, 2.77, 1.38, 1.37, 1.39, 1.36, 0.01, 0.0, 0.02, 0.01, 0.0, 0.01])
    assert find_modes(nll).groups == 3


def test_separation_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    ends = [separation(find_modes(seeds(rng, 8.0))) for _ in range(60)]
    assert sum(one.low <= 8 <= one.high for one in ends) >= 46  # 90 % of 60, less three standard errors


def test_equal_seeds_are_one_group():
    assert find_modes(np.zeros(16)).groups == 1


def test_too_few_seeds_deny_nothing():
    assert separation(find_modes(np.arange(6.0))).high == math.inf


def test_shapes_are_told_apart():
    x = np.repeat(np.log([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]), 2)
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(x))
    assert shape_of(x, noise).name == "flat"
    assert shape_of(x, x + noise).name == "linear"
    assert shape_of(x, (x > 1.5) + noise).is_sharp
    bent = shape_of(x, 1 / (1 + np.exp(-(x - 1.7) / 0.5)) + noise)
    assert bent.name == "logistic"
    assert bent.width == pytest.approx(0.5 * 2 * math.log(9), rel=0.15)


def test_shares_agree_with_published_intervals():
    assert clopper_pearson(0, 16) == pytest.approx((0, 1 - 0.05 ** (1 / 16)))
    assert fisher_p((7, 8), (2, 8)) == pytest.approx(0.0406, abs=1e-4)
    found = share_difference((56, 70), (48, 80))  # Newcombe 1998, table II (a), there at 95 %: .0524 to .3339
    assert found.value == pytest.approx(0.2)
    assert 0.0524 < found.low < found.high < 0.3339


def test_the_jackknife_is_the_t_interval_where_all_units_weigh_the_same():
    y = np.array([1.0, 2.0, 4.0, 5.0])
    found, half = ratio(y, np.ones(4)), stats.t.ppf(0.95, 3) * y.std(ddof=1) / 2
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3 - half, 3 + half))
    assert "at least 4 runs" in ratio(y[:3], np.ones(3)).withheld


def test_a_correlation_of_either_sign_is_squared_and_none_has_no_lower_end():
    x = np.arange(16.0)
    assert correlation(-x + 0.01 * x**2, x).low > 0.9
    assert correlation(np.cos(np.pi * x), x).low == 0
    assert "do not differ" in correlation(np.ones(16), x).withheld
