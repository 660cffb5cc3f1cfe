"""Which rows are resampled together, what the test of shared noise finds, profile likelihood, and prediction intervals."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from surfaces import TRUTH, grid, make_points, minimum

from scalesweep.analysis.allocation.approaches import allocation_of_law
from scalesweep.errors import FitError
from scalesweep.fit import fit_laws, predict_interval
from scalesweep.fit.resampling import SHARED_P_VALUES, cluster_p_value, draw_weights, refit, within_groups
from scalesweep.fit.solve.huber import derivatives, minimise, objective
from scalesweep.fit.solve.powers import CoupledPowers, SumOfPowers
from scalesweep.fit.solve.profile import Pinned, profile_interval
from scalesweep.laws import Coupled
from scalesweep.laws.base import MAX_EXPONENT
from scalesweep.laws.joint import KAPPA_BOUNDS
from scalesweep.points.clusters import group_rows, separate_rows
from scalesweep.points.points import Points
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

SIZES = np.geomspace(5e6, 1.6e8, 6)


def sweep(shared=0.0, own=0.005, seed=0, **columns) -> Points:
    """Six sizes at five tokens per parameter, with noise that a size shares and noise of each run."""
    n, ratio = (axis.ravel() for axis in np.meshgrid(SIZES, [5, 10, 20, 40, 80], indexing="ij"))
    rng = np.random.default_rng(seed)
    noise = np.repeat(shared * rng.standard_normal(6), 5) + own * rng.standard_normal(30)
    return make_points(n, n * ratio, TRUTH.predict(n, n * ratio) * np.exp(noise), **columns)


def table(**columns) -> pd.DataFrame:
    return pd.DataFrame({"n": [1e6, 1e6, 1e6, 2e6], "d": [1e7, 2e7, 4e7, 1e7], "loss": [4.0, 3.8, 3.6, 3.7], **columns})


# What is drawn together.


def test_rows_are_units_of_their_own():
    units = group_rows(table())
    np.testing.assert_array_equal(units.unit, [0, 1, 2, 3])
    np.testing.assert_array_equal(units.cluster, [0, 0, 0, 1])


@pytest.mark.parametrize("column", ["trunk", "run"])
def test_rows_of_one_run_are_one_unit(column):
    units = group_rows(table(**{column: ["x", "", "x", "x"]}))
    np.testing.assert_array_equal(units.unit, [0, 1, 0, 2])  # a run has one size, and an empty name is no run


def test_run_and_trunk_together_join_what_either_joins():
    assert group_rows(table(trunk=["a", "a", "b", "c"], run=[1, 2, 2, 3])).num_units == 2


def test_copies_are_one_unit_and_replicates_are_not():
    frame = pd.concat([table(), table()], ignore_index=True)
    assert group_rows(frame).num_units == 4
    assert group_rows(frame.assign(seed=[0] * 4 + [1] * 4)).num_units == 8


def test_sizes_that_differ_by_rounding_are_one_cluster():
    assert separate_rows(np.array([1e6, 2e6, 1.01e6, 2.01e6])).num_clusters == 2


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_resample_draws_as_many_units_as_there_are(seed):
    rng = np.random.default_rng(seed)
    labels = np.unique(rng.integers(0, 5, 12), return_inverse=True)[1]
    weights = draw_weights(labels, 50, rng)
    assert weights.shape == (50, 12)
    for label in range(labels.max() + 1):
        assert np.ptp(weights[:, labels == label], axis=1).max() == 0
    first = np.unique(labels, return_index=True)[1]
    np.testing.assert_array_equal(weights[:, first].sum(axis=1), len(first))


def test_copied_points_keep_their_intervals():
    points, spec = sweep(), FitSpec(bootstrap=200, huber_delta=0.01)
    twice = make_points(*(np.tile(column, 2) for column in (points.n, points.d, points.loss)))
    once, copied = fit_laws(points, spec)["joint"], fit_laws(twice, spec)["joint"]
    for name in ("E", "alpha", "beta"):
        one, other = once.estimates[name], copied.estimates[name]
        assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), rel=1e-6)
    assert copied.intervals == once.intervals


def test_copied_points_keep_the_intervals_of_lines():
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 5)))
    loss = (1.7 + 400 / n**0.34 + 410 / d**0.28) * np.exp(0.004 * np.random.default_rng(0).standard_normal(30))
    spec = FitSpec(bootstrap=200, huber_delta=0.01)
    once, copied = (fit_laws(make_points(*(np.tile(part, k) for part in (n, d, loss))), spec) for k in (1, 2))
    for name, rel in (("by_n", 1e-9), ("by_d", 1e-9), ("by_n_floor", 1e-6), ("by_c", 1e-6)):
        for parameter, expected in once[name].estimates.items():
            found = copied[name].estimates[parameter]
            assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high), rel=rel)
        assert len(once[name].messages) == len(copied[name].messages)


def test_a_line_through_one_run_has_no_interval():
    """L(D) of a trunk's branches at the largest size: resampling its points would show the noise inside the run alone."""
    points, spec = sweep(), FitSpec(bootstrap=50)
    trunks = make_points(points.n, points.d, points.loss, trunk=np.repeat(np.arange(6), 5))
    alone, together = fit_laws(points, spec)["by_d"], fit_laws(trunks, spec)["by_d"]
    assert together.estimates["exponent"].value == alone.estimates["exponent"].value
    assert alone.estimates["exponent"].low is not None
    assert together.estimates["exponent"].low is None
    assert "one run" in together.messages[0]
    assert len(together.samples) == 0


def test_points_of_a_trunk_widen_the_interval():
    points, spec = sweep(shared=0.004), FitSpec(bootstrap=300, interval="pairs")
    trunks = make_points(points.n, points.d, points.loss, trunk=np.repeat(np.arange(6), 5))
    alone, together = (fit_laws(p, spec)["joint"].estimates["alpha"] for p in (points, trunks))
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_the_order_of_rows_does_not_matter():
    trunk = np.repeat(np.arange(10), 3)
    points, spec = sweep(trunk=trunk), FitSpec(bootstrap=50)
    order = np.random.default_rng(0).permutation(30)
    shuffled = make_points(points.n[order], points.d[order], points.loss[order], trunk=trunk[order])
    one, other = (fit_laws(p, spec)["joint"] for p in (points, shuffled))
    np.testing.assert_allclose(one.samples, other.samples, rtol=1e-6)
    assert one.intervals == other.intervals


# The rule.


def test_the_permutation_test_holds_its_level_and_finds_shared_noise():
    units = separate_rows(sweep().n)
    rng = np.random.default_rng(0)
    level = np.ones((30, 1))
    null = [cluster_p_value(rng.standard_normal(30), units.unit, units.cluster, level, rng) for _ in range(200)]
    assert np.mean(np.array(null) < 0.3) == pytest.approx(0.3, abs=0.1)
    shared = np.repeat(rng.standard_normal(6), 5)
    assert cluster_p_value(shared + 0.5 * rng.standard_normal(30), units.unit, units.cluster, level, rng) < 0.01


def test_the_permutation_test_holds_its_level_though_the_law_took_up_what_groups_share():
    """Five budgets and three parameters that bend along them: plain permutations raise an alarm in 12 % where 30 are asked."""
    rng = np.random.default_rng(1)
    n, d = (axis.ravel() for axis in np.meshgrid(SIZES, np.geomspace(2e8, 6e9, 5)))
    x = np.log(d)
    jacobian = np.stack([np.ones(30), x, x**2, np.log(n)], axis=1)
    jacobian[:, 2] *= 1e-9  # units of parameters do not matter
    units = separate_rows(n, d)
    assert units.budget is not None
    q = np.linalg.qr(np.stack([np.ones(30), x, x**2, np.log(n)], axis=1))[0]
    p_values = []
    for _ in range(300):
        noise = rng.standard_normal(30)
        p_values.append(cluster_p_value(noise - q @ (q.T @ noise), units.unit, units.budget, jacobian, rng))
    assert np.mean(np.array(p_values) < 0.3) == pytest.approx(0.3, abs=0.08)


def test_one_bad_row_does_not_hide_what_sizes_share():
    units, rng = separate_rows(sweep().n), np.random.default_rng(0)
    residual = 0.01 * np.repeat(rng.standard_normal(6), 5) + 0.003 * rng.standard_normal(30)
    residual[7] += 0.3
    level = np.ones((30, 1))
    assert cluster_p_value(residual, units.unit, units.cluster, level, rng) > 0.2
    assert cluster_p_value(residual, units.unit, units.cluster, level, rng, delta=0.01) < 0.01


def test_a_bad_row_does_not_hide_shared_noise_from_a_fit():
    points = sweep(shared=0.01, own=0.002)
    loss = points.loss.copy()
    loss[7] *= 1.35
    auto = fit_laws(make_points(points.n, points.d, loss), FitSpec(bootstrap=20))["joint"]
    assert "union of the bootstrap of 6 model sizes" in auto.intervals


def test_nothing_is_tested_where_the_law_takes_up_all_that_groups_share():
    n, d = (axis.ravel() for axis in np.meshgrid(SIZES, [2e8, 1e9, 6e9]))
    loss = TRUTH.predict(n, d) * np.exp(0.003 * np.random.default_rng(0).standard_normal(len(n)))
    auto = fit_laws(make_points(n, d, loss), FitSpec(bootstrap=20))["joint"]
    assert "budget" not in auto.intervals and "6 model sizes" in auto.intervals


def test_rounding_is_no_shared_noise():
    n, d = (axis.ravel() for axis in np.meshgrid(SIZES, np.geomspace(2e8, 6e9, 5)))
    auto = fit_laws(make_points(n, d, TRUTH.predict(n, d)), FitSpec(bootstrap=20))["joint"]
    assert "do not differ clearly (permutation test, p = 1, p = 1)" in auto.intervals


def test_each_sharer_has_its_own_threshold(monkeypatch: pytest.MonkeyPatch):
    n, d = (axis.ravel() for axis in np.meshgrid(SIZES, np.geomspace(2e8, 6e9, 5)))
    loss = TRUTH.predict(n, d) * np.exp(0.003 * np.random.default_rng(0).standard_normal(len(n)))
    assert SHARED_P_VALUES["size"] < 0.2 < SHARED_P_VALUES["budget"]
    monkeypatch.setattr("scalesweep.fit.intervals.cluster_p_value", lambda *_: 0.2)
    auto = fit_laws(make_points(n, d, loss), FitSpec(bootstrap=20))["joint"]
    assert "union of the bootstrap of 5 token budgets and, without" in auto.intervals


def test_no_test_where_no_size_has_two_points():
    rng, level = np.random.default_rng(0), np.ones((6, 1))
    assert cluster_p_value(np.arange(6.0), np.arange(6), separate_rows(SIZES).cluster, level, rng) is None
    assert cluster_p_value(np.arange(6.0), np.arange(6), np.repeat([0, 1, 2], 2), np.eye(6), rng) is None  # no run is spare
    points = make_points(SIZES, SIZES * [5, 80, 11, 43, 23, 6], TRUTH.predict(SIZES, SIZES * [5, 80, 11, 43, 23, 6]))
    assert "no two share a size, a budget or a seed" in fit_laws(points, FitSpec(bootstrap=20))["joint"].intervals


def test_shared_noise_widens_the_default_interval_and_is_said():
    points = sweep(shared=0.01, own=0.002)
    auto, pairs, cluster = (
        fit_laws(points, FitSpec(bootstrap=200, interval=name))["joint"] for name in ("auto", "pairs", "cluster")
    )
    assert "union of the bootstrap of 6 model sizes and, without what their points share, the bootstrap of 30" in auto.intervals
    assert "because the residuals differ between sizes (permutation test, p = 0.0" in auto.intervals
    assert auto.cluster_samples.shape == auto.samples.shape
    width = {fit.intervals: fit.estimates["alpha"].high - fit.estimates["alpha"].low for fit in (auto, pairs, cluster)}
    assert width[auto.intervals] > 1.5 * width[pairs.intervals]
    assert "6 model sizes, each with all its points" in cluster.intervals
    low, high = auto.band(1e9, 2e10)
    inner_low, inner_high = pairs.band(1e9, 2e10)
    assert low <= inner_low < inner_high <= high


def test_noise_that_a_budget_or_a_seed_shares_is_found_and_said():
    n, d, seed = (axis.ravel() for axis in np.meshgrid(SIZES, np.geomspace(2e8, 6e9, 5), np.arange(5)))
    for name, labels in (("token budget", d), ("seed", seed)):
        rng = np.random.default_rng(0)
        levels = np.unique(labels, return_inverse=True)[1]
        noise = 0.01 * rng.standard_normal(5)[levels] + 0.001 * rng.standard_normal(len(n))
        points = make_points(n, d, TRUTH.predict(n, d) * np.exp(noise), seed=seed)
        auto, pairs = (fit_laws(points, FitSpec(bootstrap=100, interval=kind))["joint"] for kind in ("auto", "pairs"))
        assert f"bootstrap of 5 {name}s and" in auto.intervals
        assert f"the residuals differ between {'budgets' if name == 'token budget' else 'seeds'} (perm" in auto.intervals
        widths = [fit.estimates["beta"].high - fit.estimates["beta"].low for fit in (auto, pairs)]
        assert (widths[0] > 1.3 * widths[1]) == (name == "token budget")  # what a seed shares moves no exponent


def test_noise_that_a_size_shares_does_not_count_against_the_exponent_of_d():
    points = sweep(shared=0.01, own=0.002)
    beta = {
        name: fit_laws(points, FitSpec(bootstrap=200, interval=name))["joint"].estimates["beta"] for name in ("auto", "pairs")
    }
    assert beta["auto"].high - beta["auto"].low < 0.8 * (beta["pairs"].high - beta["pairs"].low)


def test_what_sizes_share_is_taken_off_unit_by_unit():
    n = np.repeat(SIZES[:3], [2, 3, 1])
    units = group_rows(make_points(n, np.arange(1, 7) * 1e9, np.full(6, 3.0), trunk=["a", "b", "c", "c", "d", "e"]).used)
    left = within_groups(np.array([1.0, 3.0, 2.0, 4.0, 6.0, 5.0]), units.unit, units.cluster)
    np.testing.assert_allclose(left, np.array([-1, 1, -2.5, -0.5, 1.5, 5 / np.sqrt(2)]) * np.sqrt(2))


def test_approach_3_follows_the_same_rule():
    fit = fit_laws(sweep(shared=0.01, own=0.002), FitSpec(bootstrap=100))
    approach = allocation_of_law(fit["joint"], sweep(shared=0.01, own=0.002), FitSpec(bootstrap=100))
    joint = fit["joint"].estimates["a"]
    assert (approach.a.value, approach.a.low, approach.a.high) == pytest.approx((joint.value, joint.low, joint.high))


def test_independent_noise_keeps_the_pairs_interval():
    auto, pairs = (fit_laws(sweep(seed=1), FitSpec(bootstrap=100, interval=name))["joint"] for name in ("auto", "pairs"))
    assert auto.estimates == pairs.estimates
    assert "do not differ clearly (permutation test, p = " in auto.intervals
    assert auto.intervals in " ".join(summary(fit_laws(sweep(seed=1), FitSpec(bootstrap=100))).split())
    assert auto.to_dict()["intervals"] == auto.intervals


def test_the_reason_of_a_union_claims_no_more_than_its_test():
    """Independent noise whose p value is between 0.05 and the threshold: the union is taken, and no difference is claimed."""
    for seed in range(30):
        fit = fit_laws(sweep(own=0.004, seed=seed), FitSpec(bootstrap=2))["joint"]
        p = re.search(r"p = ([0-9.]+)", fit.intervals)
        if 0.05 < float(p[1]) < SHARED_P_VALUES["size"] and "between sizes cannot" in fit.intervals:
            break
    words = f"a difference of the residuals between sizes cannot be excluded (permutation test, p = {p[1]}, threshold 0.15"
    assert words in fit.intervals
    assert "because the residuals differ" not in fit.intervals


def test_few_sizes_are_a_warning():
    few = grid(noise=0.002, sizes=SIZES[::2][:3])
    messages = " ".join(fit_laws(few, FitSpec(bootstrap=50))["joint"].messages)
    assert "Only 3 model sizes" in messages
    assert "Only 3 model sizes" not in " ".join(fit_laws(few, FitSpec(bootstrap=50, interval="pairs"))["joint"].messages)


def test_few_runs_are_a_warning():
    runs = sweep(run=np.repeat(np.arange(6), 5))
    few = make_points(runs.n[5:25], runs.d[5:25], runs.loss[5:25], run=np.repeat(np.arange(4), 5))
    assert "Only 4 independent runs" in " ".join(fit_laws(few, FitSpec(bootstrap=50))["joint"].messages)


def test_the_coupled_law_follows_the_same_rule():
    coupled = fit_laws(sweep(shared=0.01, own=0.002), FitSpec(bootstrap=50))["coupled"]
    assert "union" in coupled.intervals
    assert coupled.cluster_samples.shape == (50, 6)


# Refits.


def test_refits_are_not_beaten_from_other_starts(epoch):
    posed, descent = minimum(epoch.n, epoch.d, epoch.loss, 1e-3)
    rng = np.random.default_rng(0)
    weights = draw_weights(np.arange(240), 60, rng)
    found = refit(posed.problem, descent.minima.theta, weights, 1e-3)
    assert found.converged.all()
    for _ in range(5):
        theta = descent.minima.theta[0] * np.exp(0.3 * rng.standard_normal((60, 5)))
        for delta in (3e-2, 5e-3, 1e-3):
            theta = minimise(posed.problem, theta, weights, delta).theta
        assert np.all(found.value <= objective(posed.problem, theta, weights, 1e-3) * (1 + 1e-9))


# Profile likelihood.


@pytest.mark.parametrize("index", [0, 1, 3])
def test_a_pinned_parameter_stays_and_the_rest_reaches_its_minimum(index):
    points = grid(noise=0.01)
    posed, descent = minimum(points.n, points.d, points.loss, None)
    pinned = Pinned(posed.problem, index)
    starts = np.repeat(descent.minima.theta[:1], 3, axis=0)
    starts[:, index] *= [0.9, 1.0, 1.1]
    found = minimise(pinned, starts, np.ones((3, 30)), descent.delta)
    assert found.converged.all()
    np.testing.assert_allclose(found.theta[:, index], starts[:, index], rtol=1e-12)
    gradient, _, scale = derivatives(posed.problem, found.theta, np.ones((3, 30)), descent.delta)
    rest = [i for i in range(5) if i != index]
    assert np.abs(gradient / np.where(scale > 0, scale, 1))[:, rest].max() < 1e-8
    assert found.value[1] == pytest.approx(descent.minima.value[0], rel=1e-9)
    assert found.value[[0, 2]].min() > found.value[1]


def test_a_straight_line_has_its_exact_interval():
    """With residuals that are linear in the parameters, the profile interval is Student's."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 3, 40)
    y = -0.5 * x + 0.1 * rng.standard_normal(40)
    problem = SumOfPowers(x[:, None], y)
    theta = minimise(problem, np.array([[1.0, 0.5]]), np.ones((1, 40)), 10.0).theta[0]
    low, high = profile_interval(problem, theta, 10.0, 1, 40, 0.9)
    slope, offset = np.polyfit(x, y, 1)
    residual = y - slope * x - offset
    error = np.sqrt(residual @ residual / 38 / np.sum((x - x.mean()) ** 2)) * student.ppf(0.95, 38)
    assert (low, high) == pytest.approx((-slope - error, -slope + error), rel=1e-3)


def test_profile_ends_have_the_likelihood_ratio_of_the_quantile():
    points = grid(noise=0.005)
    posed, descent = minimum(points.n, points.d, points.loss, 10.0)
    ends = profile_interval(posed.problem, descent.minima.theta[0], 10.0, 3, 30, 0.9)
    for end in ends:
        starts = np.repeat(descent.minima.theta[:1], 1, axis=0)
        starts[:, 3] = end
        value = minimise(Pinned(posed.problem, 3), starts, np.ones((1, 30)), 10.0).value[0]
        ratio = (value / descent.minima.value[0] - 1) * 25
        assert np.sqrt(ratio) == pytest.approx(student.ppf(0.95, 25), rel=0.01)


def test_profile_intervals_are_like_the_bootstrap_s_and_end_at_bounds():
    pairs, profile = (
        fit_laws(grid(noise=0.003), FitSpec(bootstrap=300, interval=name))["joint"] for name in ("pairs", "profile")
    )
    for name in ("E", "alpha", "beta"):
        one, other = pairs.estimates[name], profile.estimates[name]
        assert other.low < other.value < other.high
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.35)
    assert profile.estimates["a"] == pairs.estimates["a"]
    assert "profile likelihood for E and exponents" in profile.intervals
    rough = grid(noise=0.05, sizes=SIZES[:4], tokens=np.geomspace(2e7, 2e8, 4))
    assert fit_laws(rough, FitSpec(bootstrap=0, interval="profile"))["joint"].estimates["E"].low == 0


def ridge() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The third of some random sweeps of coupled laws: its profile has a ridge beside which single starts end."""
    rng = np.random.default_rng(5)
    for _ in range(3):
        rows = int(rng.integers(12, 40))
        n = np.exp(rng.uniform(np.log(5e6), np.log(2e8), rows))
        d = n * np.exp(rng.uniform(np.log(3), np.log(150), rows))
        law = Coupled(1.7, 400.0, 500.0, rng.uniform(0.25, 0.4), rng.uniform(0.25, 0.4), rng.choice([0.4, 0.7, 1.0, 1.5]))
        loss = law.predict(n, d) * np.exp(0.005 * rng.standard_normal(rows))
    return n, d, loss


def test_a_profile_is_not_beaten_from_other_starts():
    n, d, loss = ridge()
    posed, descent = minimum(n, d, loss, None, Coupled)
    problem, theta, index = posed.problem, descent.minima.theta[0], 5
    ends = profile_interval(problem, theta, descent.delta, index, len(n), 0.9)
    assert ends[1] > 3  # 2.08 where every value starts by itself
    rng = np.random.default_rng(0)
    starts = np.clip(theta * np.exp(0.3 * rng.standard_normal((60, 6))), problem.lower, problem.upper)
    starts[:, index] = 3.0
    weights = np.ones((60, len(n)))
    inside = minimise(Pinned(problem, index), starts, weights, descent.delta).value.min()
    starts[:, index] = ends[1] * 0.999
    at_end = minimise(Pinned(problem, index), starts, weights, descent.delta).value.min()
    assert inside <= at_end * (1 + 1e-6)  # what lies between is no less likely than the end


def test_kappa_has_a_profile_interval():
    coupled = fit_laws(grid(noise=0.002), FitSpec(bootstrap=0, interval="profile"))["coupled"]
    assert coupled.estimates["kappa"].low < 1 < coupled.estimates["kappa"].high
    assert coupled.estimates["A"].low is None


def test_copies_do_not_shrink_a_profile():
    points = grid(noise=0.005)
    posed, descent = minimum(*(np.tile(column, 2) for column in (points.n, points.d, points.loss)), 10.0)
    once, least = minimum(points.n, points.d, points.loss, 10.0)
    copied = profile_interval(posed.problem, descent.minima.theta[0], 10.0, 3, 30, 0.9)
    assert copied == pytest.approx(profile_interval(once.problem, least.minima.theta[0], 10.0, 3, 30, 0.9), rel=1e-4)


def test_no_profile_without_spare_points():
    problem = CoupledPowers(np.zeros((6, 2)), np.zeros(6), (0.05, 5.0))
    assert profile_interval(problem, np.array([0.5, -1, -1, 0.3, 0.3, 1]), 1.0, 0, 6, 0.9) is None


# Predictions.


def test_a_new_run_varies_more_than_the_mean():
    fit = fit_laws(sweep(), FitSpec(bootstrap=300))["joint"]
    low, high = predict_interval(fit, SIZES, 20 * SIZES)
    run_low, run_high = predict_interval(fit, SIZES, 20 * SIZES, kind="new_run")
    assert low.shape == run_low.shape == (6,)
    assert np.all((run_low <= low) & (high <= run_high))
    assert np.mean(run_high - run_low) > 1.05 * np.mean(high - low)
    np.testing.assert_allclose((low, high), fit.band(SIZES, 20 * SIZES))
    single = predict_interval(fit, 1e9, 2e10, kind="new_run")
    assert single[0].shape == () and single[0] < single[1]


def test_a_new_run_falls_into_its_interval():
    fit = fit_laws(sweep(), FitSpec(bootstrap=300, interval="pairs"))["joint"]
    low, high = predict_interval(fit, 2e7, 4e8, kind="new_run")
    runs = TRUTH.predict(2e7, 4e8) * np.exp(0.005 * np.random.default_rng(1).standard_normal(2000))
    assert np.mean((low <= runs) & (runs <= high)) == pytest.approx(0.9, abs=0.07)


def test_no_prediction_interval_without_resamples_or_spare_points():
    with pytest.raises(FitError, match="no prediction interval"):
        predict_interval(fit_laws(sweep(), FitSpec(bootstrap=0))["joint"], 1e9, 2e10)
    fit = fit_laws(sweep(), FitSpec(bootstrap=20))["joint"]
    with pytest.raises(FitError, match="5 points for 5 parameters"):
        predict_interval(replace(fit, residuals=fit.residuals[:5]), 1e9, 2e10, kind="new_run")


@pytest.mark.slow
def test_the_benchmark_runs():
    script = Path(__file__).parents[2] / "scripts" / "bench_bootstrap.py"
    done = subprocess.run([sys.executable, script, "--quick"], capture_output=True, text=True, check=True)
    ratios = [float(line[44:56]) for line in done.stdout.splitlines() if line.startswith(("scalesweep", "scipy", "variable"))]
    assert ratios[0] == 1
    assert min(ratios[1:]) > 5


@pytest.mark.slow
def test_the_benchmark_of_a_fit_runs():
    script = Path(__file__).parents[2] / "scripts" / "bench_fit.py"
    done = subprocess.run([sys.executable, script, "--rows", "40"], capture_output=True, text=True, check=True)
    parts, total = (line.split() for line in done.stdout.splitlines() if line.startswith("    40"))
    assert sum(map(float, parts[1:])) == pytest.approx(float(total[1]), rel=0.5)


# Ends that the points do not limit.


def nine_cells() -> Points:
    """A sweep of preset `smoke`: three sizes and three budgets over so short a range that resamples end at bounds."""
    n, d = (axis.ravel() for axis in np.meshgrid([1.01e4, 3.35e4, 1.14e5], [1.59e4, 3.17e4, 6.4e4]))
    return make_points(n, d, [3.1140, 2.9431, 2.9503, 2.9133, 2.7467, 2.6669, 2.6758, 2.6082, 2.5484])


def test_an_end_at_a_bound_of_the_search_is_open():
    fit = fit_laws(nine_cells(), FitSpec(bootstrap=200))
    value = fit["joint"].law.alpha
    alpha, a, e = (fit["joint"].estimates[name].interval for name in ("alpha", "A", "E"))
    assert (alpha.high, alpha.is_high_open, a.is_high_open, alpha.is_low_open) == (MAX_EXPONENT, True, True, False)
    assert not e.is_low_open  # a loss of zero is an end by itself
    assert re.search(rf"alpha +{value:.4g}  \[{alpha.low:.4g}, open\] +exponent of N", summary(fit))
    assert "alpha above" in fit.verdict
    content = json.loads(fit.to_json())["laws"]["joint"]["estimates"]["alpha"]
    assert (content["high"], content["is_high_open"], content["is_low_open"]) == (MAX_EXPONENT, True, False)


def test_a_profile_that_ends_at_a_bound_is_open():
    coupled = fit_laws(nine_cells(), FitSpec(bootstrap=0, interval="profile"))["coupled"]
    kappa = coupled.estimates["kappa"].interval
    assert (kappa.high, kappa.is_low_open, kappa.is_high_open) == (KAPPA_BOUNDS[1], False, True)


def test_ends_that_the_points_limit_are_not_open():
    fit = fit_laws(grid(noise=0.003), FitSpec(bootstrap=50))
    ends = [found.interval for law in fit.laws.values() for found in law.estimates.values() if found.interval]
    assert not any(found.is_low_open or found.is_high_open for found in ends)
    assert "open" not in summary(fit).lower()
