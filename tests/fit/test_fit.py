"""Fits against published numbers, exact surfaces, and data that determine nothing."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surfaces import POINT, SIZES, TOKENS, TRUTH, grid, make_points, minimum

from scalesweep.errors import FitError
from scalesweep.fit import Status, fit_laws
from scalesweep.fit.results import corrected_akaike
from scalesweep.fit.solve.huber import derivatives, minimise, objective
from scalesweep.fit.solve.objectives import robust_scale
from scalesweep.fit.solve.powers import SumOfPowers
from scalesweep.fit.solve.problems import find_starts
from scalesweep.laws import Chinchilla
from scalesweep.points.clusters import group_rows
from scalesweep.points.design import LEVEL_TOLERANCE, WIDEST_LEVEL, count_levels, find_levels, replicate_noise
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

# Besiroglu et al. 2024 and an exact optimum of their objective.


@pytest.fixture(scope="module")
def epoch_fit(epoch):
    return fit_laws(epoch, FitSpec(huber_delta=1e-3, bootstrap=400))


def test_published_optimum(epoch_fit):
    joint = epoch_fit["joint"]
    assert len(joint.rows) == 240
    assert joint.objective_value == pytest.approx(1.0182740178e-3, rel=1e-9)
    found = [joint.estimates[name].value for name in ("A", "B", "E", "alpha", "beta", "a")]
    assert found == pytest.approx([477.826, 2143.417, 1.817218, 0.347310, 0.367172, 0.513900], rel=3e-6)
    assert epoch_fit.preferred_name == "coupled"
    assert joint.status is Status.WEAK  # another law is preferred
    assert joint.messages == ("Another law is preferred.",)


@pytest.mark.slow
def test_published_bootstrap_errors(epoch):
    """Besiroglu et al. 2024: 4000 resamples; the standard errors of A and B have no stable third digit between seeds."""
    spread = fit_laws(epoch, FitSpec(huber_delta=1e-3, bootstrap=4000, interval="pairs"))["joint"].samples.std(axis=0)
    assert spread[[3, 4, 0]] == pytest.approx([0.0154, 0.0206, 0.0257], rel=0.05)
    assert spread[[1, 2]] == pytest.approx([124.5, 1293], rel=0.15)


def test_all_starts_reach_one_optimum(epoch):
    _, descent = minimum(epoch.n, epoch.d, epoch.loss, 1e-3)
    minima = descent.minima
    assert len(minima.value) == 8
    assert minima.converged.all()
    np.testing.assert_allclose(minima.value, minima.value[0], rtol=1e-12)


def test_outliers_move_the_law_as_published(epoch):
    everything = replace(epoch, frame=epoch.frame.assign(excluded_reason=""))
    law = fit_laws(everything, FitSpec(huber_delta=1e-3, bootstrap=0))["joint"].law
    assert (law.B, law.beta, law.a) == pytest.approx((12846, 0.453, 0.565), rel=2e-3)


def test_adaptive_width(epoch):
    joint = fit_laws(epoch, POINT)["joint"]
    assert joint.law.beta == pytest.approx(0.375, abs=1e-3)
    assert joint.huber_delta == pytest.approx(1.345 * 0.0049, rel=0.05)


# Known surfaces.


@pytest.mark.parametrize(
    "law",
    [TRUTH, Chinchilla(1.82, 482.0, 2085.4, 0.3478, 0.3658), Chinchilla(1.0, 2000.0, 30.0, 0.465, 0.155)],
    ids=["hoffmann", "besiroglu", "asymmetric"],
)
def test_exact_recovery(law):
    found = fit_laws(grid(law), FitSpec(bootstrap=20))
    values = [found["joint"].estimates[name].value for name in ("E", "A", "B", "alpha", "beta", "a")]
    assert values == pytest.approx([law.E, law.A, law.B, law.alpha, law.beta, law.a], rel=1e-6)
    assert found["joint"].status is Status.IDENTIFIED
    c_max = grid(law).c.max()
    assert found["joint"].estimates["tokens_per_parameter"].value == pytest.approx(
        float(law.d_opt(c_max) / law.n_opt(c_max)), rel=1e-5
    )


def test_no_irreducible_loss_is_a_bound():
    law = Chinchilla(0.0, 20.0, 40.0, 0.1, 0.12)
    rng = np.random.default_rng(3)
    points = grid(law)
    loss = points.loss * (1 - 0.02 * (points.n > 3e7)) * np.exp(0.002 * rng.standard_normal(len(points.n)))
    joint = fit_laws(make_points(points.n, points.d, loss), FitSpec(bootstrap=100))["joint"]
    assert joint.law.E == 0
    assert joint.status is Status.AT_BOUND
    assert "E = 0" in joint.messages[0]
    assert joint.estimates["E"].low == 0


def test_no_irreducible_loss_without_noise():
    joint = fit_laws(grid(Chinchilla(0.0, 20.0, 40.0, 0.1, 0.12)), POINT)["joint"]
    assert joint.law.E == pytest.approx(0, abs=1e-5)
    assert (joint.law.alpha, joint.law.beta) == pytest.approx((0.1, 0.12), rel=1e-4)


def test_invariance_to_order_and_units():
    points = grid(noise=0.003)
    spec = FitSpec(bootstrap=50)
    base = fit_laws(points, spec)["joint"]
    order = np.random.default_rng(1).permutation(len(points.n))
    shuffled = fit_laws(make_points(points.n[order], points.d[order], points.loss[order]), spec)["joint"]
    scaled = fit_laws(make_points(points.n / 1e6, points.d / 1e9, points.loss), spec)["joint"]
    for name in ("E", "alpha", "beta"):
        wanted = (base.estimates[name].value, base.estimates[name].low, base.estimates[name].high)
        for other in (shuffled, scaled):
            found = other.estimates[name]
            assert (found.value, found.low, found.high) == pytest.approx(wanted, rel=1e-6)
    assert scaled.law.A == pytest.approx(base.law.A / 1e6**base.law.alpha, rel=1e-6)
    assert shuffled.objective_value == pytest.approx(base.objective_value, rel=1e-9)


def test_same_seed_same_intervals():
    spec = FitSpec(bootstrap=50, seed=4)
    first, second = (fit_laws(grid(noise=0.003), spec).to_dict() for _ in range(2))
    assert first == second


def test_one_outlier_hardly_moves_the_law():
    points = grid(noise=0.002)
    loss = points.loss.copy()
    loss[7] *= 1.3
    law = fit_laws(make_points(points.n, points.d, loss), POINT)["joint"].law
    assert law.alpha == pytest.approx(fit_laws(points, POINT)["joint"].law.alpha, abs=0.02)


@pytest.mark.slow
def test_intervals_cover_the_truth():
    covered = np.zeros(3)
    for seed in range(50):
        joint = fit_laws(grid(noise=0.005, seed=seed), FitSpec(bootstrap=200, seed=seed))["joint"]
        wanted = {"E": TRUTH.E, "alpha": TRUTH.alpha, "beta": TRUTH.beta}
        covered += [joint.estimates[k].low <= v <= joint.estimates[k].high for k, v in wanted.items()]
    assert np.all(covered / 50 > 0.80), covered / 50  # of 90 %, missed by chance once in 100


# The estimator itself.


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), delta=st.sampled_from([1e-3, 1e-2, 1.0]))
def test_derivatives_against_differences(seed, delta):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((20, 3)) * [0, 2, 3]
    problem = SumOfPowers(x, 0.3 * rng.standard_normal(20))
    theta = np.concatenate([rng.uniform(0.1, 1, 3), rng.uniform(0.1, 1, 2)])[None]
    weights = rng.integers(0, 4, (1, 20)).astype(float)
    gradient, hessian, _ = derivatives(problem, theta, weights, delta)
    step = 1e-6 * np.eye(5)
    up, down = (np.array([objective(problem, theta + s * e, weights, delta)[0] for e in step]) for s in (1, -1))
    np.testing.assert_allclose(gradient[0], (up - down) / 2e-6, rtol=1e-5, atol=1e-7 * delta * weights.sum() + 1e-8)
    if delta == 1.0:  # a narrow Huber loss has jumps in its second derivative
        slopes = [
            (derivatives(problem, theta + e, weights, delta)[0] - derivatives(problem, theta - e, weights, delta)[0])[0]
            for e in step
        ]
        np.testing.assert_allclose(hessian[0], np.array(slopes) / 2e-6, rtol=1e-4, atol=1e-5)


def test_minima_are_not_beaten_from_random_starts():
    rng = np.random.default_rng(0)
    for seed in range(5):
        points = grid(noise=0.01, seed=seed)
        posed, descent = minimum(points.n, points.d, points.loss, 1e-3)
        starts = np.concatenate([rng.uniform(0, 1, (100, 3)), rng.uniform(0, 2, (100, 2))], axis=1)
        found = minimise(posed.problem, starts, np.ones((100, len(points.n))), 1e-3)
        assert descent.minima.value[0] <= found.value.min() * (1 + 1e-9)


def test_starts_cover_separate_regions():
    points = grid(noise=0.01)
    posed, _ = minimum(points.n, points.d, points.loss, 1e-3)
    starts = find_starts(posed.frame, 8)
    assert starts.shape == (8, 5)
    assert np.all(starts >= 0)
    assert len({tuple(start[3:]) for start in starts}) == 8


def test_a_resample_is_the_fit_of_copied_rows():
    points = grid(noise=0.01)
    posed, descent = minimum(points.n, points.d, points.loss, 0.01)
    weights = np.random.default_rng(2).multinomial(30, np.full(30, 1 / 30)).astype(float)
    weighted = minimise(posed.problem, descent.minima.theta[:1], weights[None], 0.01)
    rows = np.repeat(np.arange(30), weights.astype(int))
    copied, best = minimum(points.n[rows], points.d[rows], points.loss[rows], 0.01)
    law, other = posed.laws(weighted.theta)[0], copied.laws(best.minima.theta)[0]
    assert weighted.value[0] == pytest.approx(best.value, rel=1e-9)
    assert (law.E, law.alpha, law.beta) == pytest.approx((other.E, other.alpha, other.beta), rel=1e-5)


def test_robust_scale_ignores_interpolated_rows():
    residual = np.concatenate([np.zeros(5), np.random.default_rng(0).normal(0, 0.01, 1000)])
    assert robust_scale(residual, 5) == pytest.approx(0.01, rel=0.05)
    assert robust_scale(np.zeros(6), 5) == 0


# What the points cannot tell.


def test_one_ray_is_refused():
    n = np.geomspace(1e5, 1e7, 30)
    fit = fit_laws(make_points(n, 20 * n, TRUTH.predict(n, 20 * n)), POINT)
    assert fit.fits.get("joint") is None
    assert "tokens-per-parameter ray" in fit.laws["joint"].reason
    assert fit.verdict.startswith(Status.NOT_IDENTIFIED.value)
    assert fit.fits.get("by_n") is not None
    assert "refused" in summary(fit)


def test_one_compute_budget_is_refused():
    n = np.geomspace(1e5, 1e7, 12)
    fit = fit_laws(make_points(n, 1e15 / n, TRUTH.predict(n, 1e15 / n)), POINT)
    assert "compute budget" in fit.laws["joint"].reason
    assert "compute" in fit.refusals["by_c"].reason


@pytest.mark.parametrize(
    ("sizes", "tokens", "expected"),
    [
        ([1e6], np.geomspace(1e7, 1e9, 8), "only one model size"),
        ([1e6, 3e6], np.geomspace(1e7, 1e9, 4), "only 2 model sizes"),
        (np.geomspace(1e5, 1e7, 8), [1e8], "only one token budget"),
    ],
)
def test_too_few_levels_are_refused(sizes, tokens, expected):
    fit = fit_laws(grid(sizes=np.array(sizes), tokens=np.array(tokens)), POINT)
    assert fit.fits.get("joint") is None
    assert expected in fit.laws["joint"].reason


def test_five_points_are_too_few_for_five_parameters():
    n, d = np.geomspace(1e6, 1e8, 5), np.array([1e9, 1e7, 3e8, 1e8, 1e10])
    fit = fit_laws(make_points(n, d, TRUTH.predict(n, d)), POINT)
    assert "5 points for five parameters" in fit.laws["joint"].reason


def test_wide_intervals_are_weak():
    fit = fit_laws(grid(noise=0.02, sizes=np.geomspace(1e7, 4e7, 3), tokens=np.geomspace(1e9, 4e9, 3)), FitSpec(bootstrap=200))
    assert fit["joint"].status in (Status.WEAK, Status.AT_BOUND)
    assert "factor of 2" in " ".join(fit["joint"].messages)


def test_without_resamples_nothing_is_claimed():
    joint = fit_laws(grid(noise=0.002), POINT)["joint"]
    assert joint.status is Status.UNKNOWN
    assert joint.estimates["alpha"].low is None
    assert joint.band(1e7, 1e9) is None


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (lambda: make_points([1e6, 2e6, 3e6], [1e8, 1e8, 1e8], [3, 2.9, 2.8]), "has 3 usable points; a fit needs at least 4"),
        (lambda: make_points(SIZES, SIZES * 20, np.full(6, 3.0)), "all 6 losses equal 3"),
        (lambda: make_points(np.full(6, 1e6), np.full(6, 1e8), 3 + np.arange(6) / 10), "the same n and d"),
    ],
)
def test_nothing_to_fit(points, expected):
    with pytest.raises(FitError, match=expected):
        fit_laws(points(), POINT)


def test_loss_that_rises_has_no_power_law():
    n = np.geomspace(1e5, 1e7, 8)
    fit = fit_laws(make_points(n, np.full(8, 1e8), np.linspace(3, 4, 8)), POINT)
    assert "does not fall with N" in fit.refusals["by_n"].reason


# Laws of one variable, noise, output.


def test_power_laws_use_the_bottleneck_rows():
    n, d = (axis.ravel() for axis in np.meshgrid(SIZES, TOKENS))
    loss = (1e14 / n) ** 0.08 * (1e13 / d) ** 0.1
    fit = fit_laws(make_points(n, d, loss), FitSpec(bootstrap=50))
    assert set(fit["by_n"].rows) == set(np.flatnonzero(d == d.max()))
    assert set(fit["by_d"].rows) == set(np.flatnonzero(n == n.max()))
    assert fit["by_n"].estimates["exponent"].value == pytest.approx(0.08, rel=1e-9)
    assert fit["by_d"].estimates["exponent"].value == pytest.approx(0.1, rel=1e-9)
    assert fit["by_n"].status is Status.IDENTIFIED
    assert fit["by_d"].status is Status.WEAK  # five budgets
    low, high = fit["by_n"].band(SIZES)
    np.testing.assert_allclose(low, fit["by_n"].law.predict(SIZES), rtol=1e-9)
    np.testing.assert_allclose(high, low, rtol=1e-9)


def test_replicate_noise_is_pooled():
    rng = np.random.default_rng(0)
    n, d, seed = (axis.ravel() for axis in np.meshgrid(SIZES, TOKENS, np.arange(4)))
    points = make_points(n, d, TRUTH.predict(n, d) * np.exp(0.004 * rng.standard_normal(n.shape)), seed=seed)
    noise = replicate_noise(points)
    assert noise.degrees_of_freedom == 90
    assert noise.log_loss_sd == pytest.approx(0.004, rel=0.15)
    fit = fit_laws(points, FitSpec(bootstrap=50))
    assert fit.noise_ratio == pytest.approx(1, abs=0.1)
    assert f"Seed noise: {noise.log_loss_sd:.2%}" in summary(fit)


def test_a_form_that_misses_something_is_named():
    rng = np.random.default_rng(0)
    n, d, seed = (axis.ravel() for axis in np.meshgrid(SIZES, TOKENS, np.arange(2)))
    bent = TRUTH.predict(n, d) * (1 + 0.05 * np.sin(np.log(n * d)))
    fit = fit_laws(make_points(n, d, bent * np.exp(1e-4 * rng.standard_normal(n.shape)), seed=seed), FitSpec(bootstrap=20))
    assert fit.noise_ratio > 2
    assert "misses something" in fit.verdict


def test_no_replicates_no_noise():
    assert fit_laws(grid(), POINT).noise is None


def test_result_is_json(epoch_fit):
    content = json.loads(json.dumps(epoch_fit.to_dict(), allow_nan=False))
    assert content["laws"]["joint"]["estimates"]["alpha"]["value"] == epoch_fit["joint"].law.alpha
    assert content["points"] == content["points"] | {"used": 240, "excluded": 5}
    assert content["extrapolation"]["decades"]["c"] == pytest.approx(3.97, abs=0.01)


def test_summary_tells_law_interval_convention_and_range(epoch_fit):
    text = summary(epoch_fit)
    for part in (
        "L(N, D) = 1.817 + 477.8 / N^0.3473",
        "0.001018274018",
        "as in the file",
        "90%",
        "seed 0",
        "4.0",
        "extrapolate",
    ):
        assert part in text


def test_import_is_light():
    heavy = ("torch", "pandas", "scipy", "hydra", "wandb", "matplotlib")
    code = f"import sys, scalesweep.fit; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_many_scattered_sizes_are_many_levels():
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform(6, 10, 2000), 10 ** rng.uniform(8, 12, 2000)
    points = make_points(n, d, TRUTH.predict(n, d) * np.exp(0.003 * rng.standard_normal(2000)))
    assert count_levels(n) > 70
    assert group_rows(points.used).num_clusters == count_levels(n)
    fit = fit_laws(points, POINT)
    assert fit.fits.get("joint") is not None
    assert fit["joint"].law.alpha == pytest.approx(TRUTH.alpha, rel=0.02)


@given(st.lists(st.floats(1.0, 1.2), min_size=1, max_size=30))
def test_levels_have_no_gaps_and_a_largest_width(values):
    logs, levels = np.log(values), find_levels(np.array(values))
    step = np.log1p(LEVEL_TOLERANCE) * (1 + 1e-9)
    assert sorted(set(levels)) == list(range(levels.max() + 1))
    for level in range(levels.max() + 1):
        inside = np.sort(logs[levels == level])
        assert np.ptp(inside) <= WIDEST_LEVEL * step
        assert np.all(np.diff(inside) <= step)
        assert np.all(logs[levels > level] > inside[-1])


def test_a_missing_data_term_is_at_its_bound_and_its_exponent_claims_nothing():
    fits = fit_laws(grid(replace(TRUTH, B=0.0)), FitSpec(bootstrap=20))
    assert fits["joint"].law.B == 0
    assert fits["joint"].law.E == pytest.approx(TRUTH.E, rel=1e-6)
    assert fits["joint"].estimates["beta"].low is None
    assert "beta means nothing" in " ".join(fits["joint"].messages)
    assert "tokens_per_parameter" not in fits["joint"].estimates
    assert {fits["joint"].status, fits["coupled"].status} == {Status.AT_BOUND}


def test_a_loss_that_rises_with_n_gives_alpha_no_interval():
    points = grid()
    noise = 0.003 * np.random.default_rng(0).standard_normal(len(points.n))
    loss = (2 + 0.05 * np.log(points.n) + 400 * points.d**-0.28) * np.exp(noise)
    fit = fit_laws(make_points(points.n, points.d, loss), FitSpec(bootstrap=20))["joint"]
    assert fit.law.A == 0
    assert fit.status is Status.AT_BOUND
    assert fit.estimates["alpha"].low is None


def test_of_two_exact_laws_the_smaller_is_preferred():
    ones = np.ones(30)
    assert corrected_akaike(0 * ones, ones, 5) < corrected_akaike(0 * ones, ones, 6) < corrected_akaike(1e-6 * ones, ones, 5)
    assert corrected_akaike(1e-3 * ones[:7], ones[:7], 5) == np.inf
