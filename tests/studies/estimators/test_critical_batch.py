"""The critical batch of one size, against losses whose critical batch is known."""

import math

import numpy as np
import pytest

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.laws.batch import CriticalBatch, steps_at_batch
from scalesweep.studies.estimators.best_losses import BestLosses
from scalesweep.studies.estimators.critical_batch import Size, fewest_tokens, fit_curve, fit_hyperbola
from scalesweep.studies.estimators.steps_law import fit_steps_law

BATCH = np.repeat([128.0, 512.0, 2048.0, 8192.0], 4)
D = np.tile([131072.0, 262144.0, 524288.0, 1048576.0], 4) * np.where(BATCH > 4096, 1.4, 1.0)
CENTRE = math.log(2.5e5)


def cells(log_loss: FloatArray, n: float = 14e3) -> BestLosses:
    ones = np.ones(len(D))
    return BestLosses(n, BATCH, D, log_loss, ones, ones > 0, math.nan * ones)


def losses(critical: float, exponent: float, slope: float = 0.07) -> FloatArray:
    return np.asarray(1.4 - slope * (fewest_tokens(D, BATCH, math.log(critical), exponent, CENTRE) - CENTRE))


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.47, 0.9])
def test_the_fewest_tokens_are_those_of_the_trade(exponent: float) -> None:
    log_e = fewest_tokens(D, BATCH, math.log(7e3), exponent, CENTRE)
    critical = 7e3 * np.exp(exponent * (log_e - CENTRE))
    steps = [steps_at_batch(b, math.exp(e) / c, math.exp(e)) for b, e, c in zip(BATCH, log_e, critical, strict=True)]
    tokens = BATCH * np.array(steps)
    np.testing.assert_allclose(tokens, D, rtol=1e-10)


def test_a_curve_gives_the_law_that_made_it() -> None:
    curve = fit_curve(cells(losses(7e3, 0.47)))
    assert math.exp(curve.log_critical(CENTRE)) == pytest.approx(7e3, rel=1e-4)
    assert curve.theta[1] == pytest.approx(0.47, abs=1e-4)
    loss = math.exp(1.4)
    assert curve.log_tokens(loss) == pytest.approx(CENTRE, abs=1e-5)
    assert curve.by_loss(loss) == pytest.approx(-0.47 / 0.07, rel=1e-3)


def test_conversions_are_those_of_kaplan() -> None:
    """At equal loss, S_min and E_min of runs at any batch are those of `laws.batch.CriticalBatch`."""
    data = cells(losses(7e3, 0.47))
    curve = fit_curve(data)
    exponent = 0.07 / 0.47  # B_crit = B_* / L^(1 / alpha_B)
    law = CriticalBatch(7e3 * math.exp(1.4 / exponent), exponent)
    loss = np.exp(data.log_loss)
    np.testing.assert_allclose(np.exp(curve.log_fewest(data)), law.min_tokens(D, BATCH, loss), rtol=1e-3)
    np.testing.assert_allclose(np.exp(curve.log_steps(data)), law.min_steps(D / BATCH, BATCH, loss), rtol=1e-3)


def test_a_hyperbola_is_found_at_each_loss() -> None:
    size = Size.of(cells(losses(7e3, 0.0)))
    assert len(size.hyperbolas) == 3
    for one in size.hyperbolas:
        assert one.critical == pytest.approx(7e3, rel=0.01)  # tokens are interpolated by a cubic
        np.testing.assert_allclose(one.tokens, one.tokens_at(one.batch), rtol=2e-3)


def test_misfits_move_with_losses_as_said() -> None:
    log_loss = losses(7e3, 0.47)
    first = fit_hyperbola(cells(log_loss), float(np.exp(1.37)))
    assert first is not None
    for cell in range(len(D)):
        moved = log_loss.copy()
        moved[cell] += 1e-4
        second = fit_hyperbola(cells(moved), float(np.exp(1.37)))
        assert second is not None
        np.testing.assert_allclose(second.misfit - first.misfit, 1e-4 * first.by_cell[:, cell], atol=2.5e-4)


@pytest.mark.parametrize("shared", [0.0, 0.7])
def test_standard_errors_are_those_of_repeated_tables(shared: float) -> None:
    """With 120 tables a standard deviation is known to 6 %; linearised, and the shared part is a guess that is right."""
    rng, exact, noise = np.random.default_rng(0), losses(7e3, 0.47), 0.004
    found = []
    for _ in range(120):
        luck = np.repeat(rng.standard_normal(4), 4)
        drawn = exact + noise * (math.sqrt(shared) * luck + math.sqrt(1 - shared) * rng.standard_normal(len(D)))
        found.append(fit_curve(cells(drawn), shared).log_critical(CENTRE))
    _, se = fit_curve(cells(exact), shared).estimate(lambda curve: curve.log_critical(CENTRE))
    assert np.std(found) == pytest.approx(noise * se, rel=0.2)


def test_kaplans_law_of_steps_is_recovered() -> None:
    """L(N, S_min) of runs that were made by it, at the S_min that their own curves give."""
    sizes = []
    for n in (14e3, 42e3, 126e3):
        log_e = fewest_tokens(D, BATCH, math.log(7e3), 0.3, CENTRE)
        steps = np.exp(log_e - math.log(7e3) - 0.3 * (log_e - CENTRE))
        sizes.append(Size.of(cells(np.log(6.0 / n**0.08 + 12.0 / steps**0.6), n)))
    law, residuals = fit_steps_law(sizes)
    assert (law.alpha, law.beta) == pytest.approx((0.08, 0.6), rel=0.05)
    assert np.abs(residuals).max() < 2e-3


def test_too_few_runs_are_refused() -> None:
    data = cells(losses(7e3, 0.47))
    two = BestLosses(data.n, BATCH[:4], D[:4], data.log_loss[:4], np.ones(4), np.ones(4, dtype=bool), np.ones(4))
    with pytest.raises(FitError, match="4 runs of 1 batch"):
        fit_curve(two)
    with pytest.raises(FitError, match="two sizes"):
        fit_steps_law([Size.of(data)])
