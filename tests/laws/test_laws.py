"""Closed forms of the laws against published numbers and against brute force."""

import numpy as np
import pytest

from scalesweep.errors import FitError
from scalesweep.laws import Chinchilla, PowerLaw
from scalesweep.units import format_count, format_number

HOFFMANN = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)


def test_prediction_is_the_sum_of_its_terms():
    assert HOFFMANN.predict(70e9, 1.4e12) == pytest.approx(1.69 + 406.4 / 70e9**0.34 + 410.7 / 1.4e12**0.28, rel=1e-15)
    assert HOFFMANN.predict(np.ones((3, 1)), np.ones(4)).shape == (3, 4)


def test_compute_optimum_spends_the_budget_and_is_a_minimum():
    c = np.array([1e18, 1e21, 5.76e23])
    n, d = HOFFMANN.n_opt(c), HOFFMANN.d_opt(c)
    np.testing.assert_allclose(6 * n * d, c, rtol=1e-12)
    np.testing.assert_allclose(HOFFMANN.tokens_per_parameter_opt(c), d / n, rtol=1e-12)
    best = HOFFMANN.predict(n, d)
    for factor in (0.9, 0.999, 1.001, 1.1):
        assert np.all(HOFFMANN.predict(n * factor, d / factor) > best)


def test_exponents_of_the_optimum():
    assert HOFFMANN.a == pytest.approx(0.28 / 0.62)
    assert HOFFMANN.a + HOFFMANN.b == pytest.approx(1)
    slope = np.diff(np.log(HOFFMANN.n_opt([1e18, 1e24]))) / np.diff(np.log([1e18, 1e24]))
    assert slope[0] == pytest.approx(HOFFMANN.a, rel=1e-12)


def test_epoch_law_gives_published_tokens_per_parameter():
    # Besiroglu et al. 2024 find about 20 tokens per parameter where Hoffmann's own parameters gave 70.
    law = Chinchilla(E=1.817218, A=477.826, B=2143.417, alpha=0.347310, beta=0.367172)
    assert law.d_opt(5.88e23) / law.n_opt(5.88e23) == pytest.approx(17.9, abs=0.05)
    assert law.d_opt(1e18) / law.n_opt(1e18) == pytest.approx(25.9, abs=0.05)


@pytest.mark.parametrize("change", [{"A": 0.0}, {"B": 0.0}, {"alpha": 0.0}, {"beta": 0.0}, {"alpha": 0.0, "beta": 0.0}])
def test_no_optimum_without_both_terms(change):
    law = Chinchilla(**{**HOFFMANN.__dict__, **change})
    with pytest.raises(FitError, match="no compute optimum"):
        law.n_opt(1e20)


def test_kaplan_power_law():
    law = PowerLaw(log_scale=np.log(8.8e13), exponent=0.076, variable="N")
    assert law.predict(8.8e13) == pytest.approx(1)
    assert law.predict(1e9) == pytest.approx((8.8e13 / 1e9) ** 0.076, rel=1e-12)
    assert law.scale == pytest.approx(8.8e13)
    assert law.formula() == "L(N) = (8.8e13 / N)^0.076"
    assert PowerLaw(log_scale=1e4, exponent=1e-4, variable="C").scale == np.inf


def test_numbers_for_people_have_four_digits():
    assert [format_number(v) for v in (1.8172181, 477.8259, 2143.417, 0.0, 1.23456e13)] == [
        "1.817", "477.8", "2143", "0", "1.235e13",
    ]  # fmt: skip


def test_counts_have_units():
    assert format_count(3.2e23) == format_number(3.2e23) == "3.2e23"
    assert [format_count(v) for v in (0.5, 999, 1000, 31_100, 999_900, 1.4e6, 2e9, 3e12)] == [
        "0.5", "999", "1k", "31.1k", "1M", "1.4M", "2B", "3T",
    ]  # fmt: skip
