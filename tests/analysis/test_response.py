"""The vertex of a local quadratic: exact without noise, nearly unbiased with it."""

import math

import numpy as np
import pytest

from scalesweep.analysis.tuning.response import fit_surface

REACH = [math.log(3)]


def test_a_parabola_is_recovered_exactly() -> None:
    x = np.log(np.geomspace(1e-3, 3e-2, 6))
    surface = fit_surface(x[:, None], 2.0 + 0.05 * (x - math.log(0.007)) ** 2, REACH)
    assert surface is not None
    assert math.exp(surface.x[0]) == pytest.approx(0.007, rel=1e-9)
    assert surface.y == pytest.approx(2.0, abs=1e-12)
    assert surface.hessian[0, 0] == pytest.approx(0.1, rel=1e-9)


def test_a_bowl_with_a_tilt_is_recovered_exactly() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (16, 2))
    hessian = np.array([[0.2, 0.06], [0.06, 0.1]])
    away = x - [0.2, -0.1]
    surface = fit_surface(x, 3 + 0.5 * np.einsum("ij,jk,ik->i", away, hessian, away), [4.0, 4.0])
    assert surface is not None
    np.testing.assert_allclose(surface.x, [0.2, -0.1], atol=1e-9)
    np.testing.assert_allclose(surface.hessian, hessian, atol=1e-9)
    assert surface.y == pytest.approx(3.0, abs=1e-12)


def test_what_has_no_minimum_has_no_surface() -> None:
    x = np.linspace(0, 1, 6)[:, None]
    assert fit_surface(x, -(x[:, 0] ** 2), [10.0]) is None
    assert fit_surface(x[:2], np.array([1.0, 2.0]), [10.0]) is None  # two points
    assert fit_surface(np.repeat(x[:2], 3, axis=0), np.arange(6.0), [10.0]) is None  # two levels


def simulate(num: int, ratio: float, sigma: float, axes: int, replicates: int = 600) -> np.ndarray:
    """Errors, in sigma, of the naive minimum, the vertex, the corrected vertex, and the last over its standard error."""
    rng, found = np.random.default_rng(1), []
    for _ in range(replicates):
        if axes == 1:
            x = ((np.arange(num) - (num - 1) / 2 + rng.uniform(-0.5, 0.5)) * math.log(ratio))[:, None]
        else:
            x = rng.uniform(-1.5, 1.5, (num, axes))
        y = 2 + 0.03 * np.sum(x**2, axis=1) + sigma * rng.standard_normal(num)
        surface = fit_surface(x, y, REACH * axes)
        if surface is not None:
            corrected = surface.value(sigma) - 2
            found.append([y.min() - 2, surface.y - 2, corrected, sigma * corrected / surface.error(sigma)])
    assert len(found) > 0.9 * replicates
    return np.array(found) / sigma


@pytest.mark.parametrize(("num", "ratio", "axes"), [(9, 2.0, 1), (16, 1.3, 1), (24, 0.0, 2)])
def test_the_corrected_minimum_is_nearly_unbiased_where_the_naive_one_is_not(num: int, ratio: float, axes: int) -> None:
    errors = simulate(num, ratio, 0.01, axes)
    naive, vertex, corrected, _ = errors.mean(axis=0)
    noise = 3 * errors[:, 2].std() / math.sqrt(len(errors))
    assert abs(corrected) < 0.1 + noise
    assert corrected > vertex  # the vertex itself is too low
    assert abs(naive) > 2 * abs(corrected)
    assert errors[:, 3].std() == pytest.approx(1.0, abs=0.15)  # the standard error is what it says


def test_the_naive_minimum_falls_with_the_number_of_settings_and_the_vertex_does_not() -> None:
    few, many = simulate(8, 1.6, 0.01, 1).mean(axis=0), simulate(32, 1.15, 0.01, 1).mean(axis=0)
    assert many[0] < few[0] - 0.4
    assert abs(many[2]) < 0.1
