"""Tokens to a loss, and how they fall with size."""

import numpy as np
import pytest
from surfaces import COUPLED_TRUTH, TRUTH, grid, make_points

from scalesweep.laws import Chinchilla
from scalesweep.studies.estimators.tokens import Trunk, elasticity, loss_levels, tokens_to_loss, trunks_of

TOKENS = np.geomspace(1e5, 1.6e6, 5)


def test_a_power_law_is_inverted_exactly():
    loss = 20 * TOKENS**-0.13
    wanted = np.array([[1.2e5, 3.3e5], [7e5, 1.6e6]])
    np.testing.assert_allclose(tokens_to_loss(TOKENS, loss, 20 * wanted**-0.13), wanted, rtol=1e-9)


def test_a_floor_bends_the_curve_by_less_than_the_noise_of_a_seed():
    """Noise of .5 % in L is 4 % in D where ln L falls by .13 for each unit of ln D."""
    wanted = np.geomspace(1.1e5, 1.5e6, 50)
    found = tokens_to_loss(TOKENS, 1.5 + 40 * TOKENS**-0.25, 1.5 + 40 * wanted**-0.25)
    assert np.abs(found / wanted - 1).max() < 0.01


def test_nothing_is_extrapolated():
    loss = 20 * TOKENS**-0.13
    found = tokens_to_loss(TOKENS, loss, [loss[0] * 1.001, loss[0], loss[-1], loss[-1] * 0.999])
    np.testing.assert_allclose(found, [np.nan, TOKENS[0], TOKENS[-1], np.nan], rtol=1e-9)


def test_a_loss_that_rises_again_is_pooled_with_its_neighbour():
    found = tokens_to_loss([1, 2, 4, 8], [4.0, 3.0, 3.0 * 1.02, 2.0], [3.0 * np.sqrt(1.02), 2.0])
    np.testing.assert_allclose(found, [np.sqrt(8), 8], rtol=1e-9)


def test_replicates_are_averaged_and_their_order_is_nothing():
    once = tokens_to_loss([1, 2, 4], [4.0, 3.0, 2.0], 2.5)
    assert tokens_to_loss([4, 2, 1, 2], [2.0, 3.0 * 1.1, 4.0, 3.0 / 1.1], 2.5) == pytest.approx(float(once))


def test_one_budget_reaches_no_loss_but_its_own():
    assert np.isnan(tokens_to_loss([5.0], [3.0], [3.1, 2.9])).all()


def test_trunks_are_told_by_size_and_seed():
    n, d, seed = (axis.ravel() for axis in np.meshgrid([1e4, 4e4], [1e5, 2e5, 4e5], [0, 1], indexing="ij"))
    points = make_points(n, d, TRUTH.predict(n, d), seed=seed)
    assert [(trunk.n, trunk.seed, len(trunk.d)) for trunk in trunks_of(points)] == [
        (pytest.approx(1e4), "0", 3),
        (pytest.approx(1e4), "1", 3),
        (pytest.approx(4e4), "0", 3),
        (pytest.approx(4e4), "1", 3),
    ]


def test_a_table_without_seeds_has_one_trunk_a_size():
    found = trunks_of(grid())
    assert len(found) == 6
    assert not any(trunk.seed for trunk in found)


def test_levels_divide_what_three_sizes_reach_with_every_seed():
    def trunk(n, seed, high, low):
        return Trunk(n, seed, np.array([1.0, 2.0]), np.array([high, low]))

    trunks = [
        trunk(1, "0", 5.0, 4.0),
        trunk(2, "0", 5.0, 3.0),
        trunk(2, "1", 4.9, 3.1),
        trunk(3, "0", 4.5, 2.5),
        trunk(4, "0", 4.3, 2.0),
    ]
    np.testing.assert_allclose(loss_levels(trunks), [4.5 - 0.25 * 1.4, 4.5 - 0.5 * 1.4, 4.5 - 0.75 * 1.4])
    assert not len(loss_levels(trunks, sizes=5))


@pytest.mark.parametrize("law", [TRUTH, COUPLED_TRUTH])
def test_elasticity_is_the_slope_of_tokens_at_constant_loss(law):
    """E2 against the definition: tokens of sizes 1 % apart on one line of equal loss."""
    n, d = 4e7, 1e9
    wanted = float(law.predict(n, d))
    tokens = np.geomspace(d / 1.1, d * 1.1, 400)
    taken = [float(tokens_to_loss(tokens, law.predict(size, tokens), wanted)) for size in (n / 1.005, n * 1.005)]
    slope = -np.log(taken[1] / taken[0]) / (2 * np.log(1.005))
    assert float(elasticity(law, n, d)) == pytest.approx(slope, rel=1e-4)


def test_elasticity_is_one_at_the_compute_optimum():
    c = 1e20
    assert float(elasticity(COUPLED_TRUTH, COUPLED_TRUTH.n_opt(c), COUPLED_TRUTH.d_opt(c))) == pytest.approx(1, abs=1e-6)


def test_size_without_effect_has_no_elasticity():
    law = Chinchilla(E=1.0, A=0.0, B=400.0, alpha=0.3, beta=0.3)
    assert float(elasticity(law, 1e6, 1e8)) == 0
