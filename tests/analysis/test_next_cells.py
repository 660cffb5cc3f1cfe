"""Next cells: the ladder's arithmetic, the exchange's variance, and what each buys on simulated surfaces at equal cost."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surfaces import COUPLED_TRUTH, TRUTH, measure, sweep

from scalesweep.analysis.forecast.next_cells import MAX_SHARE, Expected, NextCell, expect, ladder_flops, next_cells
from scalesweep.errors import FitError, Refused, SpecError
from scalesweep.fit.horizon import Range
from scalesweep.points.rows import Rows
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

SPEC = FitSpec(bootstrap=1)
BUDGET, TARGET = 2e19, 1e21


def pilot(law, seed):
    """Twelve cells of 5.7e17 FLOPs together, in front of a budget that is 35 times theirs."""
    n, ratio = (axis.ravel() for axis in np.meshgrid(np.geomspace(5e6, 2.1e7, 4), (8, 20, 50)))
    return measure(law, n, n * ratio * np.sqrt(5.7e17 / np.sum(6 * n * n * ratio)), 0.004, seed)


@pytest.mark.parametrize("ratio", [2.0, 3.0, 10.0, 1e3, 1e6])
def test_a_ladder_spends_the_budget_and_rises(ratio):
    steps = ladder_flops(1e18, ratio * 1e18)
    assert sum(steps) == pytest.approx(ratio * 1e18)
    assert max(steps) <= MAX_SHARE * ratio * 1e18 * (1 + 1e-9)
    assert np.all(np.diff(steps) >= -1e-6 * steps[-1])
    if 10 <= ratio < 100:
        assert 1e18 <= steps[0] < 2e18


def test_cells_are_compute_optimal_and_improve_the_interval():
    proposal = next_cells(sweep(), SPEC, 1e20, 1e22)
    for cell in proposal.cells:
        assert 6 * cell.n * cell.d == pytest.approx(cell.c)
        assert cell.n == pytest.approx(float(TRUTH.n_opt(cell.c)), rel=0.5)
    assert proposal.spent_flops == pytest.approx(1e20)
    near = next_cells(sweep(), SPEC, 1e20, 8e19)  # within what the points support
    for before, after in ((near.before.form, near.after.form), (near.before.drift, near.after.drift)):
        assert before.low < after.low < after.high < before.high
    assert near.after.form.high < near.after.drift.high


def test_what_a_forecast_refuses_is_not_promised():
    points = sweep()
    far = next_cells(points, SPEC, 1e20, 1e27)  # some 1e8 times the largest measured, of which four decades were measured
    assert isinstance(far.before, Refused) and isinstance(far.after, Refused)
    assert "beyond the measured compute" in far.after.reason
    assert "abstains" in summary(far)
    reached = next_cells(points, SPEC, 1e20, 1e23)
    assert isinstance(reached.before, Refused) and isinstance(reached.after, Expected)
    json.dumps(reached.to_dict(), allow_nan=False)


def test_no_cell_is_cheaper_than_what_was_measured_or_unsupported():
    points = sweep()
    largest = 6 * float((points.n * points.d).max())
    for method in ("ladder", "v_optimal"):
        cells = next_cells(points, SPEC, 40 * largest, 1e22, method).cells
        assert min(cell.c for cell in cells) >= largest * (1 - 1e-9)
        n, d = list(points.n), list(points.d)
        for cell in cells:
            assert Range.of(np.array(n), np.array(d)).refuse(cell.n, cell.d) == ""
            n, d = [*n, cell.n], [*d, cell.d]
    with pytest.raises(FitError, match="buy nothing beyond what was measured"):
        next_cells(points, SPEC, 1.9 * largest, 1e22)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.floats(1.0, 11.0), st.floats(1.0, 11.0))
def test_less_compute_never_promises_more(one, other):
    points = sweep()
    largest = 6 * float((points.n * points.d).max())
    less, more = (next_cells(points, SPEC, largest * 2**octaves, 50 * largest) for octaves in sorted((one, other)))
    assert isinstance(less.after, Expected) and isinstance(more.after, Expected)
    for kind in ("form", "drift"):
        few, many = getattr(less.after, kind), getattr(more.after, kind)
        assert np.log(many.high / many.low) <= np.log(few.high / few.low) * (1 + 1e-9)


def test_exchange_has_the_lowest_variance_and_keeps_the_budget():
    points = sweep()
    spec = FitSpec(bootstrap=1)
    ladder, optimal = next_cells(points, spec, 1e20, 1e21), next_cells(points, spec, 1e20, 1e21, "v_optimal")
    widths = [made.after.form.high - made.after.form.low for made in (ladder, optimal)]
    assert widths[1] < widths[0]
    assert optimal.spent_flops <= 1e20 * (1 + 1e-6)
    assert max(cell.c for cell in optimal.cells) <= MAX_SHARE * 1e20 * (1 + 1e-6)


def test_texts():
    proposal = next_cells(sweep(), SPEC, 1e20, 1e22)
    assert max(len(line) for line in summary(proposal).splitlines()) <= 100
    assert len(json.loads(json.dumps(proposal.to_dict(), allow_nan=False))["cells"]) == len(proposal.cells)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((0.0, 1e22), "positive"), ((1e20, float("inf")), "positive"), ((1e20, 1e22, "best"), "no method")],
)
def test_wrong_settings(arguments, expected):
    with pytest.raises(SpecError, match=expected):
        next_cells(sweep(), SPEC, *arguments)


def ladder_plan(law, seed):
    cells = next_cells(pilot(law, seed), SPEC, BUDGET, TARGET).cells
    return np.array([cell.n for cell in cells]), np.array([cell.d for cell in cells])


def grid_plan(law, seed):
    """Five sizes by five ratios, scaled to the budget."""
    n, ratio = (axis.ravel() for axis in np.meshgrid(np.geomspace(5e6, 4e7, 5), (5, 10, 20, 40, 80)))
    return n, n * ratio * BUDGET / np.sum(6 * n * n * ratio)


def random_plan(law, seed, smallest=5e15):
    """Cells of random compute and tokens per parameter, each as long as the budget has room for it."""
    rng = np.random.default_rng(seed)
    cells, spent = [], 0.0
    for c, ratio in np.exp(rng.uniform(np.log([smallest, 5.0]), np.log([MAX_SHARE * BUDGET, 160.0]), size=(24, 2))):
        if spent + c <= BUDGET:
            cells.append((np.sqrt(c / 6 / ratio), np.sqrt(c / 6 * ratio)))
            spent += c
    return tuple(np.array(cells).T)


def variance(law, seed, n, d):
    """Variance of log loss at the target, linear in the true law's parameters, from the pilot and these cells."""
    known = pilot(law, seed)
    rows = log_derivatives(law, np.concatenate([known.n, n]), np.concatenate([known.d, d])) / 0.004
    at = log_derivatives(law, law.n_opt(np.array([TARGET])), law.d_opt(np.array([TARGET])))[0]
    return float(np.sum(np.linalg.lstsq(rows.T, at, rcond=1e-15)[0] ** 2))


def log_derivatives(law, n, d):
    return law.gradient(n, d) * np.array(law.theta) / law.predict(n, d)[:, None]


@pytest.mark.parametrize(
    ("law", "seeds"),
    [
        pytest.param(TRUTH, 1, id="additive, one pilot"),
        pytest.param(TRUTH, 3, id="additive", marks=pytest.mark.slow),
        pytest.param(COUPLED_TRUTH, 3, id="coupled", marks=pytest.mark.slow),
    ],
)
def test_plans_at_equal_cost(law, seeds):
    """The ladder halves a fixed grid's variance. Random cells of all D / N come near it: they tell the exponents apart."""
    found = {
        plan: np.mean([variance(law, seed, *plan(law, seed)) for seed in range(seeds)])
        for plan in (ladder_plan, grid_plan, random_plan)
    }
    assert found[ladder_plan] < found[grid_plan] / 2
    assert found[ladder_plan] < found[random_plan] * 1.5


@pytest.mark.slow
def test_exchange_beats_random_cells():
    """Random ones of the compute that is allowed, none cheaper than the largest measured."""
    points = pilot(TRUTH, 0)
    cells = next_cells(points, SPEC, BUDGET, TARGET, "v_optimal").cells
    n, d = np.array([(cell.n, cell.d) for cell in cells]).T
    largest = 6 * float((points.n * points.d).max())
    drawn = [variance(TRUTH, 0, *random_plan(TRUTH, seed, largest)) for seed in range(10)]
    assert variance(TRUTH, 0, n, d) < np.mean(drawn)


def test_an_interval_beyond_double_precision_is_wide_and_finite():
    nothing = SimpleNamespace(laws=[TRUTH], rows=lambda n, d: np.zeros((1, len(n), 5)), variance=lambda rows: 1e8)
    n, d = np.array([1e6, 1e7]), np.array([1e8, 1e9])
    measured = Rows.of_columns(n, d, TRUTH.predict(n, d))
    expected = expect(nothing, measured, [], NextCell(1e8, 1e10, 6e18, 2.5), 0.9)
    assert 1e200 < expected.form.high < math.inf
