"""Every form of `laws`: its gradient, its units, its limits, and the published constants."""

import math
from dataclasses import fields

import numpy as np
import pytest
from law_cases import CASES, IDS, MUENNIGHOFF, SMALL

from scalesweep.errors import FitError
from scalesweep.laws import (
    KAPLAN_C_MIN,
    KAPLAN_CRITICAL_BATCH,
    KAPLAN_D,
    KAPLAN_N,
    KAPLAN_STEPS,
    LAWS,
    M4,
    PF_DAY_FLOPS,
    Broken,
    Chinchilla,
    Coupled,
    CriticalBatch,
    JointLaw,
    Kaplan,
    LargerTerm,
    Lovelace,
    PowerLaw,
    PowerLawFloor,
    Quadratic,
    Saturating,
    breakdown,
    steps_at_batch,
)

every_law = pytest.mark.parametrize(("law", "columns"), CASES, ids=IDS)


def test_every_form_has_a_case_here():
    assert {law.name for law, _ in CASES} == set(LAWS)


@pytest.mark.parametrize("name", LAWS)
def test_a_form_is_described(name):
    form = LAWS[name]
    assert form.source
    assert list(form.parameters) == [field.name for field in fields(form) if field.name != "variable"]


@every_law
def test_gradient_against_differences(law, columns):
    gradient = law.gradient(*columns.values())
    for i, name in enumerate(law.parameters):
        step = 1e-6 * max(abs(law.theta[i]), 1e-3)
        ends = [
            law.build([value + sign * step * (j == i) for j, value in enumerate(law.theta)], list(columns)) for sign in (1, -1)
        ]
        slope = (ends[0].predict(*columns.values()) - ends[1].predict(*columns.values())) / (2 * step)
        np.testing.assert_allclose(gradient[:, i], slope, rtol=2e-6, atol=1e-7 * np.abs(slope).max() + 1e-12, err_msg=name)


@every_law
def test_units_only_rescale_a_law(law, columns):
    units = [1e6, 1e9, 1e9][: len(columns)]
    scaled = law.in_units(units, 1.4427)
    bigger = [column * unit for column, unit in zip(columns.values(), units, strict=True)]
    np.testing.assert_allclose(scaled.predict(*bigger), 1.4427 * law.predict(*columns.values()), rtol=1e-11)


@every_law
def test_prediction_broadcasts_and_a_law_prints_its_numbers(law, columns):
    first = [np.float64(column[0]) for column in columns.values()]
    assert law.predict(*first) == pytest.approx(law.predict(*columns.values())[0], rel=1e-14)
    assert law.predict(first[0] * np.ones((3, 1)), *[x * np.ones(4) for x in first[1:]]).shape[0] == 3
    assert law.equation.split(" = ")[0].split("(")[0] in law.formula()


@pytest.mark.parametrize("law", [law for law, _ in CASES if isinstance(law, JointLaw | Quadratic)])
def test_the_compute_optimum_is_a_minimum(law):
    c = np.array([1e15, 1e18])
    n, d = law.n_opt(c), law.d_opt(c)
    np.testing.assert_allclose(6 * n * d, c, rtol=1e-12)
    for factor in (0.8, 0.999, 1.001, 1.25):
        assert np.all(law.predict(n * factor, d / factor) > law.predict(n, d) * (1 - 1e-14))


def test_a_quadratic_that_bends_downwards_has_no_optimum():
    with pytest.raises(FitError, match="no compute optimum"):
        Quadratic(1.0, -0.1, -0.1, -0.01, 0.0, 0.0).n_opt(1e18)


# Limits.


def test_kaplan_s_joint_law_tends_to_his_laws_of_one_variable():
    law = Kaplan.from_scales(8.8e13, 5.4e13, 0.076, 0.095)
    assert law.predict(1e8, 1e60) == pytest.approx(KAPLAN_N.predict(1e8), rel=1e-12)
    assert law.predict(1e200, 1e10) == pytest.approx(KAPLAN_D.predict(1e10), rel=1e-12)
    assert (law.n_c, law.d_c) == pytest.approx((8.8e13, 5.4e13), rel=1e-12)
    assert law.coupling == law.beta


def test_the_larger_term_is_the_limit_of_the_coupled_law():
    law = LargerTerm(1.5, 20.0, 44.0, 0.24, 0.26)
    near = Coupled(1.5, 20.0, 44.0, 0.24, 0.26, kappa=1e-4)
    np.testing.assert_allclose(near.predict(*SMALL.values()), law.predict(*SMALL.values()), rtol=1e-4)
    assert law.n_opt(1e15) == pytest.approx(near.n_opt(1e15), rel=1e-3)


def test_saturating_law_starts_at_ignorance_and_ends_additive():
    law = Saturating(1.0, 300.0, 200.0, 0.45, 0.40, math.log(256))
    assert law.predict(1e-30, 1e-30) == pytest.approx(math.log(256), rel=1e-9)
    additive = Chinchilla(1.0, 300.0 * (law.L0 - 1), 200.0 * (law.L0 - 1), 0.45, 0.40)
    assert law.predict(1e18, 1e19) - 1 == pytest.approx(additive.predict(1e18, 1e19) - 1, rel=1e-4)


def test_broken_law_has_two_slopes():
    law = Broken(0.0, 30.0, 0.15, 0.2, 1e9, 0.4, "C")
    for x, slope in ((1e3, 0.15), (1e16, 0.35)):
        assert -np.diff(np.log(law.predict([x, x * 1.01])))[0] / math.log(1.01) == pytest.approx(slope, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 3.0])
def test_m4_solves_its_equation(alpha):
    law = M4(1.5, 8.0, alpha, 5.0, 0.3, "D")
    x = np.geomspace(1e6, 1e14, 40)
    loss = law.predict(x)
    np.testing.assert_allclose(np.log(loss - 1.5) - alpha * np.log(8 - loss), 5 - 0.3 * np.log(x), atol=1e-9)


def test_m4_without_its_start_is_a_power_law():
    law, x = M4(1.5, 1e3, 0.0, 5.0, 0.3, "D"), np.geomspace(1e6, 1e9, 5)
    np.testing.assert_allclose(law.predict(x), PowerLawFloor(1.5, math.exp(5), 0.3, "D").predict(x), rtol=1e-12)


# Repeated data.


def test_published_values_of_the_data_constrained_law():
    assert MUENNIGHOFF.predict(6.34e9, 242e9, 25e9) == pytest.approx(2.2256440889984477, abs=1e-9)
    assert MUENNIGHOFF.predict(8.67e9, 178e9, 25e9) == pytest.approx(2.2269634075087867, abs=1e-9)


def test_repeated_tokens_lose_their_worth():
    fresh = Chinchilla(*MUENNIGHOFF.theta[:5])
    n, u = 1e7, 1e10  # fewer parameters than are optimal for u, so that N' = N
    assert MUENNIGHOFF.predict(n, 1e6 * u, u) == pytest.approx(fresh.predict(n, u * (1 + MUENNIGHOFF.R_D)), rel=1e-12)
    assert MUENNIGHOFF.predict(n, 1.05 * u, u) == pytest.approx(fresh.predict(n, 1.05 * u), rel=1e-4)


def test_without_repetition_both_laws_are_the_additive_one():
    fresh = Chinchilla(*MUENNIGHOFF.theta[:5])
    hurting = Lovelace(*MUENNIGHOFF.theta[:5], P=0.1, delta=0.7, kappa=0.3)
    for n, d in ((1e8, 1e10), (1e8, 3e9)):
        for u in (d, 2 * d, math.inf):
            assert MUENNIGHOFF.predict(n, d, u) == pytest.approx(fresh.predict(n, d), rel=1e-12)
            assert hurting.predict(n, d, u) == pytest.approx(fresh.predict(n, d), rel=1e-12)
    assert MUENNIGHOFF.predict(1e8, 1e10) == pytest.approx(fresh.predict(1e8, 1e10), rel=1e-12)


def test_repetition_can_hurt():
    law = Lovelace(*MUENNIGHOFF.theta[:5], P=0.02, delta=0.7, kappa=0.3)
    loss = law.predict(1e9, 1e9 * np.array([1, 4, 1000.0]), 1e9)
    assert loss[1] < loss[0] < loss[2]


# Steps, batch and compute.


def test_kaplan_s_constants():
    assert (KAPLAN_STEPS.n_c, KAPLAN_STEPS.s_c) == pytest.approx((6.5e13, 2.1e3), rel=1e-12)
    assert KAPLAN_STEPS.predict(1e8, 1e5) == pytest.approx((6.5e13 / 1e8) ** 0.077 + (2.1e3 / 1e5) ** 0.76, rel=1e-12)
    assert KAPLAN_CRITICAL_BATCH.predict([2.0, 4.0]) == pytest.approx([7.74e6, 2.85e5], rel=1e-3)
    assert PF_DAY_FLOPS == pytest.approx(1e15 * 86400)


def test_critical_batch_doubles_steps_and_tokens():
    law, loss = CriticalBatch(2.1e8, 0.21), 3.0
    batch = law.predict(loss)
    assert law.min_steps(1000, batch, loss) == pytest.approx(500)
    assert law.min_tokens(1000 * batch, batch, loss) == pytest.approx(500 * batch)
    assert law.min_compute(1e20, 1e-9, loss) == pytest.approx(1e20)


def test_batches_trade_steps_for_tokens_along_a_hyperbola():
    batch = np.geomspace(1e4, 1e8, 9)
    steps = steps_at_batch(batch, 2000.0, 3e9)
    np.testing.assert_allclose((steps / 2000 - 1) * (batch * steps / 3e9 - 1), 1, rtol=1e-9)


def test_where_kaplan_s_laws_contradict_each_other():
    compute, loss = breakdown(KAPLAN_C_MIN, KAPLAN_D, tokens=4e10, exponent=0.26)
    assert compute == pytest.approx(1.1e5, rel=0.05)
    assert loss == pytest.approx(1.49, abs=0.005)
    # With the paper's other rounding of the same tokens, 2e10 C^0.27, the crossing is where the paper prints it: 1e4, 1.7.
    compute, loss = breakdown(KAPLAN_C_MIN, KAPLAN_D, tokens=2e10, exponent=0.27)
    assert compute == pytest.approx(1.1e4, rel=0.05)
    assert loss == pytest.approx(1.67, abs=0.005)
    with pytest.raises(FitError, match="do not cross"):
        breakdown(PowerLaw(10.0, 0.01, "C"), KAPLAN_D, 2e10, 0.27)
