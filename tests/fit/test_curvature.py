"""Bent power laws are rejected, and straight ones at the nominal rate."""

import json

import numpy as np
import pytest
from surfaces import TRUTH, grid, make_points

from scalesweep.fit import Status, fit_laws
from scalesweep.fit.curvature import MAX_P_VALUE, find_curvature
from scalesweep.points.published import published_points
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

POINT = FitSpec(bootstrap=0)


@pytest.mark.parametrize("num", [4, 6, 30])
def test_straight_lines_are_rejected_at_the_nominal_rate(num):
    rng, x, ones = np.random.default_rng(num), np.log(np.geomspace(1e6, 1e9, num)), np.ones(num)
    found = [find_curvature(x, -0.08 * x + 0.01 * rng.standard_normal(num), ones) for _ in range(1500)]
    p = np.array([curvature.p_value for curvature in found])
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean([curvature.is_bent for curvature in found]) <= MAX_P_VALUE + 0.002


def test_the_t_value_is_that_of_the_textbook():
    rng = np.random.default_rng(0)
    x = np.log(np.geomspace(1e6, 1e9, 12))
    y = -0.2 * x + 0.005 * x**2 + 0.01 * rng.standard_normal(12)
    basis = np.vander(x - x.mean(), 3)
    (coefficient, slope, _), squares = (part for part in np.linalg.lstsq(basis, y)[:2])
    error = np.sqrt(squares[0] / 9 * np.linalg.inv(basis.T @ basis)[0, 0])
    found = find_curvature(x, y, np.ones(12))
    assert found.t == pytest.approx(coefficient / error)
    assert found.exponent_last == pytest.approx(-(slope + 2 * coefficient * (x[-1] - x.mean())))


def test_copies_of_rows_do_not_make_a_line_bent():
    rng, x = np.random.default_rng(1), np.log(np.geomspace(1e6, 1e9, 8))
    y = -0.08 * x + 0.01 * rng.standard_normal(8)
    once, copied = find_curvature(x, y, np.ones(8)), find_curvature(np.tile(x, 9), np.tile(y, 9), np.full(72, 1 / 9))
    assert (copied.t, copied.p_value) == pytest.approx((once.t, once.p_value))


def test_a_floor_bends_the_law_and_is_said():
    n = np.full(12, 1e8)
    d = np.geomspace(1e8, 1e11, 12)
    loss = TRUTH.predict(n, d) * np.exp(0.003 * np.random.default_rng(0).standard_normal(12))
    fit = fit_laws(make_points(n, d, loss), FitSpec(bootstrap=50))
    assert fit["by_d"].status is Status.REJECTED
    text = " ".join(summary(fit).split())
    assert "Without a floor: L(D) = " in text
    assert "Rejected: the points bend away from this law, so do not extrapolate it." in text
    content = json.loads(fit.to_json())["laws"]["by_d"]
    assert content["status"] == "rejected"
    assert content["curvature"]["rms_quadratic"] < 0.5 * content["residual_rms"]
    assert content["curvature"]["exponent_last"] < 0.5 * content["curvature"]["exponent_first"]


def test_chinchilla_s_power_laws_bend():
    fit = fit_laws(published_points("chinchilla", None), FitSpec(bootstrap=50))
    assert {fit["by_n"].status, fit["by_d"].status, fit["by_c"].status} == {Status.REJECTED}
    best = fit["by_c_floor"].law
    assert best.E == fit.preferred.law.E
    assert fit["by_c"].law.predict(1e21) == pytest.approx(best.predict(1e21), rel=0.02)


def test_exact_and_few_points_show_no_bend():
    x = np.log(np.geomspace(1e6, 1e9, 8))
    assert find_curvature(x, -0.08 * x, np.ones(8)) is None
    assert find_curvature(x[:3], np.array([3.0, 2.0, 1.9]), np.ones(3)) is None
    assert fit_laws(grid(), POINT)["joint"].curvature is None
