import math

import numpy as np
import pytest

from scalesweep.analysis.tuning.transfer import CoordinateCheck, LearningRates, find_optimum
from scalesweep.report.words.summary import summary


def grown(exponent: float, place: str = "layer 1") -> CoordinateCheck:
    sizes = (32, 64, 128)
    values = np.array(sizes, dtype=float)[:, None] ** exponent * np.linspace(1, 2, 11)
    return CoordinateCheck("width", sizes, {place: values})


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 0.5])
def test_the_slope_is_that_of_a_power_law(exponent: float) -> None:
    check = grown(exponent)
    assert check.slopes("layer 1") == pytest.approx(exponent * math.log10(2) * np.ones(10))
    assert check.worst("layer 1") == pytest.approx(exponent * math.log10(2))
    assert check.holds == (exponent == 0)
    assert ("FAILS" in summary(check)) == (exponent != 0)


def test_logits_may_shrink_but_not_grow() -> None:
    assert grown(-0.5, "logits").holds
    assert not grown(0.5, "logits").holds


def test_an_activation_that_is_no_number_fails() -> None:
    check = grown(0.0)
    check.values["layer 1"][2, 7] = math.nan
    assert not check.holds


def test_the_optimum_of_a_parabola_is_its_vertex() -> None:
    lrs = [0.001 * 2**i for i in range(6)]
    for vertex in (0.003, 0.0051, 0.011):
        optimum = find_optimum(lrs, [3 + 0.2 * math.log(lr / vertex) ** 2 for lr in lrs])
        assert optimum.interior
        assert optimum.lr == pytest.approx(vertex)


@pytest.mark.parametrize("vertex", [0.0005, 0.1])
def test_an_optimum_at_the_edge_is_said_to_be_there(vertex: float) -> None:
    lrs = [0.001, 0.002, 0.004]
    optimum = find_optimum(lrs, [math.log(lr / vertex) ** 2 for lr in lrs])
    assert not optimum.interior
    assert optimum.lr == (lrs[0] if vertex < 0.001 else lrs[-1])


def test_a_diverged_run_is_no_optimum() -> None:
    optimum = find_optimum([1.0, 2.0, 4.0], [3.0, 2.9, math.nan])
    assert (optimum.lr, optimum.loss) == (2.0, 2.9)


def test_drift_is_the_factor_between_optima() -> None:
    lrs = tuple(0.001 * 2.0**i for i in range(6))
    losses = np.array([[[3 + math.log(lr / vertex) ** 2] * 2 for lr in lrs] for vertex in (0.003, 0.009)])
    rates = LearningRates(((32, 2), (64, 2)), (1000, 4000), lrs, losses)
    assert rates.drift == pytest.approx(3)
    assert "drifts by a factor of 3.00" in summary(rates)
