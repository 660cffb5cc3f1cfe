"""The coupled joint law: published optimum, exact recovery, and which law the points prefer."""

import numpy as np
import pytest
from surfaces import POINT, TRUTH, grid

from scalesweep.fit import Status, fit_laws
from scalesweep.fit.solve.huber import derivatives, objective
from scalesweep.fit.solve.powers import CoupledPowers
from scalesweep.laws import Chinchilla, Coupled
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

LAW = Coupled(E=1.5, A=20.0, B=44.0, alpha=0.24, beta=0.26, kappa=0.36)
SIZES, TOKENS = np.geomspace(1.4e4, 4.6e5, 6), np.geomspace(1e5, 4e6, 6)


def test_additive_and_kaplan_s_law_are_cases_of_it():
    n, d = np.meshgrid(SIZES, TOKENS)
    additive = Chinchilla(LAW.E, LAW.A, LAW.B, LAW.alpha, LAW.beta)
    same = Coupled(LAW.E, LAW.A, LAW.B, LAW.alpha, LAW.beta, kappa=1.0)
    np.testing.assert_allclose(same.predict(n, d), additive.predict(n, d), rtol=1e-14)
    assert same.n_opt(1e20) == pytest.approx(additive.n_opt(1e20), rel=1e-12)
    # Kaplan et al. 2020, eq. (1.5) with its joint constants
    alpha_n, alpha_d, n_c, d_c = 0.076, 0.103, 6.4e13, 1.8e13
    kaplan = Coupled(0.0, n_c**alpha_n, d_c**alpha_d, alpha_n, alpha_d, kappa=alpha_d)
    expected = ((n_c / n) ** (alpha_n / alpha_d) + d_c / d) ** alpha_d
    np.testing.assert_allclose(kaplan.predict(n, d), expected, rtol=1e-10)


def test_it_tends_to_either_term_alone():
    assert LAW.predict(1e3, 1e30) == pytest.approx(LAW.E + LAW.A / 1e3**LAW.alpha, rel=1e-9)
    assert LAW.predict(1e30, 1e3) == pytest.approx(LAW.E + LAW.B / 1e3**LAW.beta, rel=1e-9)


@pytest.mark.parametrize("kappa", [0.2, 0.36, 1.0, 1.7])
def test_the_compute_optimum_is_a_minimum(kappa):
    law = Coupled(LAW.E, LAW.A, LAW.B, LAW.alpha, LAW.beta, kappa)
    c = np.array([1e12, 1e15, 1e18])
    n, d = law.n_opt(c), law.d_opt(c)
    np.testing.assert_allclose(6 * n * d, c, rtol=1e-12)
    for factor in (0.9, 0.999, 1.001, 1.1):
        assert np.all(law.predict(n * factor, d / factor) > law.predict(n, d))


@pytest.mark.parametrize("delta", [0.02, 10.0])
def test_derivatives_against_differences(delta):
    rng = np.random.default_rng(0)
    problem = CoupledPowers(rng.uniform(0, 4, (30, 2)), rng.normal(0, 0.1, 30), (0.05, 5.0))
    theta = np.array([[0.5, -0.3, -0.6, 0.4, 0.5, 0.6], [0.3, 0.2, -0.6, 0.9, 0.3, 1.7]])
    weights = rng.integers(0, 3, (2, 30)).astype(float)
    gradient, hessian, _ = derivatives(problem, theta, weights, delta)
    for i, step in enumerate(1e-6 * np.eye(6)):
        value = (objective(problem, theta + step, weights, delta) - objective(problem, theta - step, weights, delta)) / 2e-6
        np.testing.assert_allclose(gradient[:, i], value, rtol=1e-6, atol=1e-8)
        ends = [derivatives(problem, theta + sign * step, weights, delta)[0] for sign in (1, -1)]
        np.testing.assert_allclose(hessian[:, i], (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-7)


def test_published_optimum_on_epoch_s_points(epoch):
    """The same 240 points and objective as the additive golden test: kappa 0.774, objective 9.542e-4."""
    fit = fit_laws(epoch, FitSpec(huber_delta=1e-3, bootstrap=0))["coupled"]
    assert fit.objective_value == pytest.approx(9.542e-4, rel=1e-4)
    assert fit.law.kappa == pytest.approx(0.774, abs=1e-3)


@pytest.mark.parametrize("kappa", [0.25, 0.36, 0.7, 1.0, 1.4])
def test_exact_recovery(kappa):
    law = Coupled(LAW.E, LAW.A, LAW.B, LAW.alpha, LAW.beta, kappa)
    found = fit_laws(grid(law, sizes=SIZES, tokens=TOKENS), POINT)["coupled"].law
    for name in ("E", "A", "B", "alpha", "beta", "kappa"):
        assert getattr(found, name) == pytest.approx(getattr(law, name), rel=1e-5), name


def test_a_coupled_truth_is_preferred():
    fit = fit_laws(grid(LAW, noise=0.003, sizes=SIZES, tokens=TOKENS), FitSpec(bootstrap=100))
    assert fit.preferred_name == "coupled"
    assert fit.preferred.status is Status.IDENTIFIED
    assert fit.to_dict()["preferred"] == "coupled"
    assert summary(fit).startswith("Joint law of parameters and tokens, coupled")


def test_intervals_cover_about_as_often_as_they_say():
    """36 points, 90 %: 75 intervals, whose share that covers has a standard error of some 5 points."""
    covered = []
    for seed in range(25):
        points = grid(LAW, noise=0.003, seed=seed, sizes=SIZES, tokens=TOKENS)
        estimates = fit_laws(points, FitSpec(bootstrap=100, seed=seed))["coupled"].estimates
        covered += [estimates[k].low < getattr(LAW, k) < estimates[k].high for k in ("alpha", "beta", "kappa")]
    assert 0.72 <= np.mean(covered) <= 0.99


def test_an_additive_truth_keeps_the_additive_law():
    preferred = [fit_laws(grid(TRUTH, noise=0.005, seed=seed), POINT).preferred_name for seed in range(20)]
    assert preferred.count("joint") >= 16


def test_too_few_points_for_six_parameters():
    fit = fit_laws(grid(TRUTH, noise=0.001, sizes=SIZES[:3], tokens=TOKENS[:3][:2]), POINT)
    assert fit.fits.get("coupled") is None
