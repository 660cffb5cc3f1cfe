"""Rolling origin: what an origin may see, what is counted, and the rules of horizon, drift and support."""

import json
import math

import numpy as np
import pytest
from scipy.stats import t as student
from surfaces import TRUTH, make_points, sweep

from scalesweep.analysis.forecast.backtest import MIN_ROWS, Outcomes, back_test, find_cuts, tabulate
from scalesweep.analysis.forecast.bands import PRIOR_DEGREES, PRIOR_SCALE, PRIOR_WEIGHT, calibrate
from scalesweep.fit.horizon import DRIFT, MAX_HORIZON, MIN_RATIO, MIN_SPAN, Range, supported_horizon, walk_sd
from scalesweep.points.published import published_points, published_variants
from scalesweep.points.rows import Rows
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

SPEC = FitSpec(bootstrap=20)


@pytest.fixture(scope="module")
def tested():
    return back_test(sweep(), SPEC, max_origins=4)


def test_an_origin_predicts_every_row_above_it(tested):
    points = sweep()
    for cut in tested.cuts:
        rows = tested.outcomes.select(tested.outcomes.cut == cut)
        assert np.sum(points.c <= cut) >= MIN_ROWS
        assert sorted(rows.n * rows.d * 6) == pytest.approx(sorted(points.c[points.c > cut]))
        np.testing.assert_allclose(rows.factor * cut, 6 * rows.n * rows.d)


def test_no_prediction_sees_its_future():
    """Losses above a cut change neither its predictions nor its intervals, nor those of earlier cuts."""
    points = sweep()
    before = back_test(points, SPEC, max_origins=3)
    cut = before.cuts[len(before.cuts) // 2]
    loss = np.where(points.c > cut, points.loss * 1.3, points.loss)
    after = back_test(make_points(points.n, points.d, loss), SPEC, max_origins=3)
    old, new = (test.outcomes.select(test.outcomes.cut <= cut) for test in (before, after))
    np.testing.assert_array_equal(old.centre, new.centre)
    np.testing.assert_array_equal(old.lows["honest"], new.lows["honest"])
    assert not np.array_equal(old.actual, new.actual)


def test_the_table_counts_what_it_says(tested):
    outcomes = tested.outcomes
    rows = tested.rows
    assert sum(row.num for row in rows[:-1]) == rows[-1].num == len(outcomes.actual)
    kept = outcomes.select(~outcomes.abstained)
    assert rows[-1].covered["honest"] == np.mean((kept.lows["honest"] <= kept.actual) & (kept.actual <= kept.highs["honest"]))
    assert rows[-1].abstained == np.mean(outcomes.abstained)
    assert rows[-1].error == pytest.approx(np.median(np.abs(np.exp(kept.centre - kept.actual) - 1)))
    twice = tabulate(Outcomes.join([outcomes, outcomes]))
    assert twice[-1].num == 2 * rows[-1].num
    assert twice[-1].covered == rows[-1].covered


def test_the_law_holds_so_both_intervals_do():
    outcomes = Outcomes.join([back_test(sweep(noise=0.004, seed=seed), SPEC, max_origins=3).outcomes for seed in range(2)])
    kept = outcomes.select(~outcomes.abstained)
    assert np.mean(kept.holds("honest")) >= 0.85
    assert np.mean(kept.holds("additive")) >= 0.75


@pytest.mark.parametrize("axis", ["n", "d"])
def test_other_directions(axis):
    tested = back_test(sweep(), SPEC, axis, max_origins=2)
    values = {"n": tested.outcomes.n, "d": tested.outcomes.d}[axis]
    np.testing.assert_allclose(values / tested.outcomes.cut, tested.outcomes.factor)
    assert np.all(tested.outcomes.factor > 1)


def test_texts(tested):
    assert max(len(line) for line in summary(tested).splitlines()) <= 100
    assert json.loads(json.dumps(tested.to_dict(), allow_nan=False))["axis"] == "compute"


def test_too_few_points_have_no_origin():
    points = sweep()
    few = make_points(points.n[::4], points.d[::4], points.loss[::4])
    tested = back_test(few, SPEC)
    assert (tested.cuts, tested.outcomes, tested.widening) == ((), None, 1.0)
    assert math.isnan(tested.score)
    assert "No cut leaves" in summary(tested)


def test_cuts_are_levels_that_leave_rows_on_both_sides():
    points = sweep()
    cuts = find_cuts(Rows.of(points), "c", 4)
    assert len(cuts) == 4
    assert set(cuts) <= set(points.c.tolist())
    assert max(cuts) < points.c.max()


# The rules.


def test_the_way_starts_at_the_hull():
    measured = Range.of(np.array([1.0, 1e2, 1.0, 1e2]), np.array([1.0, 1.0, 1e2, 1e2]))
    n, d = np.array([10.0, 1e2, 1e3, 1e4, 1e1]), np.array([10.0, 1e2, 1e3, 1e1, 1e3])
    by_n, by_d = measured.way(n, d)
    np.testing.assert_allclose(by_n, [0, 0, 1, 2, 0], atol=1e-6)
    np.testing.assert_allclose(by_d, [0, 0, 1, 0, 1], atol=1e-6)


def test_walk_is_the_integral_of_a_random_walk():
    """Against a simulated walk of the exponent over h decades, of which N and D take half each."""
    h, slope, steps = 2.0, 0.05, 400
    rng = np.random.default_rng(0)
    exponent = np.cumsum(rng.normal(0, DRIFT * slope * math.sqrt(h / steps), size=(4000, steps)), axis=1)
    simulated = (exponent.sum(axis=1) * h / steps * math.log(10)).std()
    half = np.array([h / 2])
    found = walk_sd((half, half), (np.array([slope]), np.array([slope])))[0]
    assert found == pytest.approx(simulated, rel=0.05)


def test_support_ends_at_the_span():
    assert supported_horizon(3.0) == pytest.approx(3.0 * MAX_HORIZON)
    points = sweep()
    measured = Range.of(points.n, points.d)
    n, d = points.n.max(), points.d.max()
    assert measured.refuse(n, d) == ""
    spans = {name: span * MAX_HORIZON for name, span in measured.spans().items()}
    reach = 10 ** min(spans["n"], spans["d"], spans["c"] / 2)
    assert measured.refuse(0.9 * reach * n, 0.9 * reach * d) == ""
    assert "beyond the measured" in measured.refuse(1.1 * reach * n, 1.1 * reach * d)
    assert "beyond the measured tokens per parameter" in measured.refuse(points.n.min(), d)


def test_a_short_span_supports_nothing_beyond():
    n, d = (axis.ravel() for axis in np.meshgrid([1e7, 1.3e7, 1.6e7], [1e9, 1.3e9, 1.6e9]))
    measured = Range.of(n, d)
    assert f"needs at least {MIN_SPAN:g}" in measured.refuse(2e7, 2e9)
    assert measured.refuse(1.2e7, 1.2e9) == ""


def test_the_data_starved_corner_is_refused_beyond_the_measured_sizes_and_budgets():
    n, ratio = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 1e9, 7), np.geomspace(0.2, 20, 7)))
    measured = Range.of(n, n * ratio)
    assert "0.5 tokens per parameter" in measured.refuse(2e9, 1e9)
    assert measured.refuse(2e9, 4e9) == ""  # the same size with enough text
    assert measured.refuse(5e8, 2.5e8) == ""  # as starved, but among the measured
    assert "0.25 tokens per parameter" in measured.refuse(6e6, 1.5e6)


def test_starved_models_get_worse_with_size_in_published_runs():
    """What `MIN_RATIO` rests on: pairs of tuned runs on equal tokens, by the tokens per parameter of the larger one."""
    worse = {"starved": [], "fed": []}
    for variant in published_variants("porian"):
        points = published_points("porian", variant) if "|tuned|" in variant else None
        if points is None:
            continue
        log_n, log_d = np.log(points.n), np.log(points.d)
        step = log_n - log_n[:, None]
        pairs = (np.abs(log_d - log_d[:, None]) < 0.05) & (step > math.log(1.3)) & (step < math.log(3))
        rises = points.loss > points.loss[:, None]
        ratio = np.broadcast_to(points.d / points.n, rises.shape)
        worse["starved"] += rises[pairs & (ratio < MIN_RATIO)].tolist()
        worse["fed"] += rises[pairs & (ratio > 3)].tolist()
    assert len(worse["starved"]) >= 37
    assert all(worse["starved"])
    assert len(worse["fed"]) >= 58
    assert not any(worse["fed"])


def test_where_starved_models_get_worse_the_tool_abstains_and_the_rest_is_held():
    """Losses rise with N at fixed D below one token per parameter, which no law here can follow."""
    c, place = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e16, 1e19, 6), np.geomspace(1 / 20, 20, 9), indexing="ij"))
    n = place * TRUTH.n_opt(c)
    d = c / 6 / n
    starved = 0.1 * np.maximum(np.log(n / d), 0.0) ** 2
    noise = 0.003 * np.random.default_rng(0).standard_normal(len(n))
    outcomes = back_test(make_points(n, d, TRUTH.predict(n, d) * np.exp(starved + noise)), SPEC, "n", max_origins=4).outcomes
    is_starved = outcomes.d < outcomes.n
    assert is_starved.any()
    assert outcomes.abstained[is_starved].all()
    kept = outcomes.select(~outcomes.abstained)
    assert len(kept.cut) >= 10
    assert np.mean(kept.holds("honest")) >= 0.85


def test_without_errors_the_factor_is_that_of_the_prior():
    for confidence in (0.5, 0.9, 0.99):
        assert calibrate((), confidence) == pytest.approx(PRIOR_SCALE * student.ppf((1 + confidence) / 2, PRIOR_DEGREES))


@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_many_errors_outweigh_the_prior_and_few_do_not(confidence):
    errors = np.random.default_rng(0).exponential(3.0, size=4000)
    assert calibrate([errors], confidence) == pytest.approx(np.quantile(errors, confidence), rel=0.05)
    prior = calibrate((), confidence)
    assert calibrate([errors / 1000], confidence) < prior / 100
    few = calibrate([np.array([3.0])], confidence)
    assert prior < few < 3.0
    assert PRIOR_WEIGHT > 1


def test_an_error_that_is_no_number_counts_for_nothing():
    assert calibrate([np.array([np.nan, 0.1])], 0.9) == calibrate([np.array([0.1])], 0.9)
