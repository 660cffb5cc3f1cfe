"""Training and serving together: the closed form against minimisation, published numbers, planted tables, forecasts, faults."""

import dataclasses

import numpy as np
import pytest
from planted_tables import exact, second_half_from, with_columns
from scipy.optimize import minimize_scalar

from scalesweep.analysis.forecast.rivals import local_slopes
from scalesweep.errors import FitError
from scalesweep.laws import Chinchilla, Coupled, KaplanFloor
from scalesweep.studies.base import Rule
from scalesweep.studies.estimators.serving import serve, serving_optimum

EPOCH = Chinchilla(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
"""Besiroglu et al. 2024, arXiv 2404.10102."""
DEMO = Coupled(E=1.22, A=23.0, B=29.3, alpha=0.2446, beta=0.2147, kappa=0.357)
LAWS = [EPOCH, DEMO, KaplanFloor(E=1.7, A=30.0, B=60.0, alpha=0.3, beta=0.4)]
FEW = Rule(draws=40)


def tokens_at(law, n, loss):
    """D of the model of n parameters with this loss, by bisection."""
    low, high = np.log(1e2), np.log(1e30)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if float(law.predict(n, np.exp(middle))) > loss else (low, middle)
    return float(np.exp(high))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("demand", [1e-2, 1.0, 10.0, 1e3])
def test_the_ratio_of_costs_is_the_elasticity_less_one(law, demand):
    loss = float(law.predict(law.n_opt(1e20), law.d_opt(1e20)))
    served = demand * float(law.d_opt(1e20))
    n, d = serving_optimum(law, loss, served)
    assert float(law.predict(n, d)) == pytest.approx(loss, rel=1e-10)
    by_n, by_d = local_slopes(lambda n, d: np.log(law.predict(n, d)), n, d)
    assert 2 * n * served / (6 * n * d) == pytest.approx(float(by_n / by_d) - 1, rel=1e-6, abs=1e-6)
    assert serve(law, demand).ratio == pytest.approx(served / (3 * d), rel=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_no_other_model_of_the_loss_is_cheaper(law):
    c = 1e18
    loss, served = float(law.predict(law.n_opt(c), law.d_opt(c))), 10 * float(law.d_opt(c))

    def cost(log_n):
        n = float(np.exp(log_n))
        return np.log(6 * n * tokens_at(law, n, loss) + 2 * n * served)

    n, d = serving_optimum(law, loss, served)
    centre = np.log(float(law.n_opt(c)))
    best = minimize_scalar(cost, bounds=(centre - 1.2, centre + 0.2), method="bounded", options={"xatol": 1e-9})
    assert np.log(6 * n * d + 2 * n * served) == pytest.approx(best.fun, abs=1e-9)
    compute_optimal = float(np.log(6 * law.n_opt(c) * law.d_opt(c) + 2 * law.n_opt(c) * served))
    assert 1 - np.exp(best.fun - compute_optimal) == pytest.approx(serve(law, 10.0).saving, abs=1e-8)


def test_without_demand_it_is_the_compute_optimum():
    found = serve(DEMO, 0.0)
    assert (found.n, found.d, found.ratio, found.saving) == (1.0, 1.0, 0.0, 0.0)
    c = 1e20
    n, d = serving_optimum(EPOCH, float(EPOCH.predict(EPOCH.n_opt(c), EPOCH.d_opt(c))), 0.0)
    assert (n, d) == (pytest.approx(float(EPOCH.n_opt(c))), pytest.approx(float(EPOCH.d_opt(c))))


def test_published_example():
    """By Epoch's fit a model as good as one of .69B on 400B tokens that serves 1T tokens has .84B, 270 tokens a parameter."""
    n, d = serving_optimum(EPOCH, float(EPOCH.predict(0.69e9, 400e9)), 1e12)
    assert n == pytest.approx(0.84e9, rel=0.01)
    assert d / n == pytest.approx(271, rel=0.01)


def test_serving_never_costs_more_than_a_third_of_the_demand():
    for law in LAWS:
        for demand in (0.1, 1.0, 30.0):
            assert serve(law, demand).ratio < demand / 3


def test_a_loss_below_the_floor_is_refused():
    with pytest.raises(FitError, match="floor"):
        serving_optimum(EPOCH, 1.8, 1e12)


@pytest.mark.parametrize(("part", "theta"), [("saving", 25.0), ("saving", 10.0), ("equal_costs", 1.0), ("overstated", 3.0)])
def test_a_noise_free_table_gives_the_planted_effect(study, arms, part, theta):
    assert study.module.judge(exact(study, arms, part, theta), FEW).effects[part].value == pytest.approx(theta, rel=1e-3)


def test_another_part_cannot_be_planted(study, arms):
    with pytest.raises(KeyError):
        study.module.simulate(arms, "none", 1.0, 0.0, np.random.default_rng(0))


def test_the_sealed_forecast_is_what_losses_are_compared_with(study, arms):
    drawn = study.module.simulate(arms, "overstated", 0.0, 0.0046, np.random.default_rng(0))
    said = study.module.forecast({"base": drawn["base"]}, {"long": arms["long"]}, FEW)
    found = study.module.judge(drawn, FEW).effects["overstated"]
    sealed = study.module.judge(drawn, dataclasses.replace(FEW, sealed=said)).effects["overstated"]
    assert (sealed.value, sealed.low, sealed.high) == (found.value, found.low, found.high)
    higher = dict(said, mean_log_loss=said["mean_log_loss"] - 0.05)
    other = study.module.judge(drawn, dataclasses.replace(FEW, sealed=higher)).effects["overstated"]
    assert other.value == pytest.approx(found.value + 5.0)


def test_a_forecast_of_other_cells_is_no_answer(study, arms):
    drawn = study.module.simulate(arms, "overstated", 0.0, 0.0046, np.random.default_rng(0))
    said = study.module.forecast(drawn, {"long": drawn["base"]}, FEW)
    assert "not the 4" in study.module.judge(drawn, dataclasses.replace(FEW, sealed=said)).effects["overstated"].withheld


def test_seeds_that_disagree_fail_the_control(study, arms):
    one, other = (exact(study, arms, "saving", theta)["base"] for theta in (15.0, 40.0))
    sound = study.module.simulate(arms, "saving", 25.0, 0.0046, np.random.default_rng(3))
    faulty = {"base": second_half_from(one, other)}
    assert [control.passed for arms in (sound, faulty) for control in study.module.judge(arms, FEW).controls] == [True, False]


def test_a_table_of_four_columns_is_judged_without_control(study, arms):
    points = study.module.simulate(arms, "saving", 25.0, 0.0046, np.random.default_rng(0))["base"]
    found = study.module.judge({"base": with_columns(points, ("n", "d", "c", "loss"))}, FEW)
    assert not found.controls
    assert found.effects["saving"].low > 10
    assert "arm `long`" in found.effects["overstated"].withheld
