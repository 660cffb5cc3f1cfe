"""Rivals on the same rows: criteria against definitions, ranking, mean and envelope, local exponents."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from surfaces import COUPLED_TRUTH, TRUTH, make_points, sweep

from scalesweep.analysis.forecast.rivals import (
    RIVALS,
    Draws,
    cross_validate,
    excess_slopes,
    fit_rivals,
    folds_of,
    log_loss,
    predict_interval,
    refit,
    slopes,
)
from scalesweep.analysis.forecast.tournament import run_tournament
from scalesweep.errors import FitError, SpecError
from scalesweep.fit import fit_laws
from scalesweep.fit.forms import fit_form
from scalesweep.fit.solve.objectives import Objective
from scalesweep.points.rows import Rows
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

SPEC = FitSpec(bootstrap=15)
MEAN = Draws(0.9, "mean", 0)


@pytest.fixture(scope="module")
def rivals():
    return fit_rivals(Rows.of(sweep()), SPEC)


@pytest.fixture(scope="module")
def tournament():
    return run_tournament(sweep(COUPLED_TRUTH), SPEC)


def test_every_rival_recovers_a_surface_without_noise():
    found = fit_rivals(Rows.of(sweep(noise=0.0)), FitSpec(bootstrap=0), ("chinchilla", "coupled"))
    for rival in found.members:
        assert log_loss(rival, 1e9, 2e10) == pytest.approx(np.log(TRUTH.predict(1e9, 2e10)), abs=1e-7)


def test_sizes_that_share_noise_widen_a_rival_as_they_widen_the_joint_law():
    """The rule of `fit.intervals`: the same resamples as those of the joint law, and their union."""
    points = sweep(noise=0.001)
    shared = np.exp(0.004 * np.random.default_rng(0).standard_normal(6))[np.unique(points.n, return_inverse=True)[1]]
    clustered = make_points(points.n, points.d, points.loss * shared)
    spec = FitSpec(bootstrap=100)
    additive = fit_rivals(Rows.of(clustered), spec, ("chinchilla",)).members[0]
    joint = fit_laws(clustered, spec)["joint"]
    assert len(additive.cluster_samples) == len(joint.cluster_samples) == 100
    at = np.array([1e9]), np.array([2e10])
    low, high = predict_interval(additive, *at, MEAN)
    assert (np.exp(low[0]), np.exp(high[0])) == pytest.approx([end[0] for end in joint.band(*at)], rel=1e-3)
    alone = fit_rivals(Rows.of(clustered), spec.model_copy(update={"interval": "pairs"}), ("chinchilla",)).members[0]
    assert not len(alone.cluster_samples)
    assert high[0] - low[0] > 1.3 * np.diff(predict_interval(alone, *at, MEAN), axis=0)[0, 0]


def test_copied_rows_narrow_no_rival():
    once = sweep()
    twice = make_points(*(np.tile(column, 2) for column in (once.n, once.d, once.loss)))
    at, spec = (np.array([1e9]), np.array([2e10])), FitSpec(bootstrap=60, huber_delta=0.01)
    ends = []
    for points in (once, twice):
        rival = fit_rivals(Rows.of(points), spec, ("chinchilla",)).members[0]
        ends.append(np.ravel(predict_interval(rival, *at, MEAN)))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-6)


def test_refit_under_equal_weights_is_the_fit(rivals):
    points = sweep()
    for rival in rivals.members:
        again = refit(rival, Rows.of(points), np.ones((1, len(points.n))))[0]
        predicted = type(rival.law).build(again.tolist(), ("N", "D")).predict(points.n, points.d)
        np.testing.assert_allclose(predicted, rival.law.predict(points.n, points.d), rtol=1e-7)


def test_cross_validation_is_refitting_without_the_fold(rivals):
    rows, rival = Rows.of(sweep()), rivals.find("chinchilla")
    fold = folds_of(rows.n)
    squares = []
    for label in np.unique(fold):
        out = fold == label
        columns_in = {"N": rows.n[~out], "D": rows.d[~out]}
        alone = fit_form("chinchilla", columns_in, rows.loss[~out], objective=Objective("huber"))
        squares += list(np.log(rows.loss[out] / alone.law.predict(rows.n[out], rows.d[out])) ** 2)
    # The width of the Huber loss is that of all rows in one and of the rows left in the other.
    assert cross_validate(rival, rows, fold) == pytest.approx(np.sqrt(np.mean(squares)), rel=0.05)


def test_folds_are_levels_or_groups_of_neighbours():
    assert folds_of(np.array([4.0, 1.0, 1.01, 2.0])).tolist() == [2, 0, 0, 1]
    many = folds_of(np.geomspace(1, 1e6, 40))
    assert np.all(np.diff(many) >= 0)
    assert many.max() == 9


def test_criterion_prefers_the_generator():
    for truth, name in ((TRUTH, "chinchilla"), (COUPLED_TRUTH, "coupled")):
        found = fit_rivals(Rows.of(sweep(truth, noise=0.001)), FitSpec(bootstrap=0))
        assert found.preferred.law.name == name


def test_slopes_are_those_of_the_law():
    law = TRUTH
    n, d = 1e8, 2e9
    rival = fit_rivals(Rows.of(sweep(noise=0.0)), FitSpec(bootstrap=0), ("chinchilla",)).members[0]
    u, v = law.A * n**-law.alpha, law.B * d**-law.beta
    assert slopes(rival, n, d) == pytest.approx((law.alpha * u / (law.E + u + v), law.beta * v / (law.E + u + v)), rel=1e-5)
    assert excess_slopes(rival, n, d) == pytest.approx((law.alpha * u / (u + v), law.beta * v / (u + v)), rel=1e-5)


def test_mean_lies_in_the_envelope_and_the_envelope_holds_every_theory(rivals):
    n, d = np.geomspace(1e8, 1e11, 7), np.geomspace(2e9, 2e12, 7)
    low, high = rivals.envelope(n, d, 0.9)
    mean, each = rivals.mean_log_loss(n, d), rivals.log_losses(n, d)
    assert np.all((low <= mean) & (mean <= high))
    assert np.all((low - 0.01 <= each) & (each <= high + 0.01))
    assert np.all(high - low > 0)


def test_the_reference_has_no_vote_unless_it_is_alone():
    """A quadratic in logs turns up again far away; a theory never does."""
    rows, far = Rows.of(sweep()), (np.array([1e14]), np.array([1e16]))
    found = fit_rivals(rows, SPEC)
    assert "quadratic" in found.names
    theories = [float(log_loss(fit, *far)[0]) for fit in found.members if fit.law.name != "quadratic"]
    assert min(theories) <= found.mean_log_loss(*far)[0] <= max(theories)
    alone = fit_rivals(rows, SPEC, ("quadratic",))
    assert alone.mean_log_loss(*far)[0] == log_loss(alone.members[0], *far)[0]


def test_a_rejected_form_has_no_vote_and_an_exact_one_has_all():
    for truth in (TRUTH, COUPLED_TRUTH):
        points = sweep(truth, noise=0.0)
        found = fit_rivals(Rows.of(points), SPEC)
        n, d = np.array([10 * points.n.max()]), np.array([10 * points.d.max()])
        assert np.exp(found.mean_log_loss(n, d))[0] == pytest.approx(float(truth.predict(n, d)[0]), rel=5e-4)


def test_ranking_and_texts(tournament):
    rolling = [standing.rolling_rms for standing in tournament.standings]
    assert rolling == sorted(rolling)
    assert {standing.name for standing in tournament.standings} == set(RIVALS)
    assert max(len(line) for line in summary(tournament).splitlines()) <= 100
    content = json.loads(json.dumps(tournament.to_dict(), allow_nan=False))
    assert [row["name"] for row in content["standings"]] == [standing.name for standing in tournament.standings]


def test_mean_and_envelope_are_in_nats(tournament):
    n, d = tournament.at
    band = tournament.envelope(n, d)
    assert band.low[0] <= tournament.mean(n, d)[0] <= band.high[0]
    assert tournament.mean(n, d)[0] == pytest.approx(COUPLED_TRUTH.predict(n, d), rel=0.01)


def test_a_ray_is_refused():
    n = np.geomspace(1e6, 1e9, 12)
    with pytest.raises(FitError, match="tokens-per-parameter ray"):
        run_tournament(make_points(n, 20 * n, TRUTH.predict(n, 20 * n)), SPEC)


def test_a_rival_with_too_few_rows_is_refused_in_words():
    points = sweep()
    chosen = np.array([0, 4, 8, 12, 17, 25, 29])
    found = fit_rivals(Rows.of(points).take(chosen), FitSpec(bootstrap=5))
    assert found.names == ("chinchilla", "kaplan_floor")
    assert "7 points leave fewer than 2" in found.refusals["coupled"].reason


def test_no_resamples_are_refused():
    with pytest.raises(SpecError, match="at least 1"):
        run_tournament(sweep(), FitSpec(bootstrap=0))


def test_a_criterion_that_does_not_exist_is_a_dash():
    points = sweep()
    few = [0, 4, 12, 15, 25, 29, 8]
    found = run_tournament(make_points(points.n[few], points.d[few], points.loss[few]), FitSpec(bootstrap=5))
    unmeasured = replace(found.standings[0], size_rms=math.nan, budget_rms=math.nan)
    text = summary(replace(found, standings=(unmeasured, *found.standings[1:])))
    assert "nan" not in text
