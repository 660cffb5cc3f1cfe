"""Forecasts: the two intervals, the abstention, the dated file, and the comparison with what was measured."""

import json
from datetime import date

import numpy as np
import pytest
from surfaces import TRUTH, make_points, sweep

from scalesweep.analysis.forecast.backtest import back_test
from scalesweep.analysis.forecast.dated import hash_points, read_forecast
from scalesweep.analysis.forecast.forecast import forecast
from scalesweep.analysis.forecast.scoring import Score, score
from scalesweep.errors import FitError, PointsError, SpecError
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_number

SPEC = FitSpec(bootstrap=60)
DAY = date(2026, 1, 2)
BIG, BIG_TOKENS = 4e8, 2e10


@pytest.fixture(scope="module")
def tested():
    return back_test(sweep(), SPEC, max_origins=3)


@pytest.fixture(scope="module")
def model(tested):
    return forecast(sweep(), SPEC, at=(BIG, BIG_TOKENS), tested=tested)


@pytest.fixture(scope="module")
def optimum(tested):
    return forecast(sweep(), SPEC, compute=1e19, tested=tested)


@pytest.fixture(scope="module")
def refused(tested):
    return forecast(sweep(), SPEC, at=(1e12, 1e14), tested=tested)


def test_both_intervals_hold_the_truth(model):
    truth = float(TRUTH.predict(BIG, BIG_TOKENS))
    assert model.form.interval.holds(truth)
    assert model.honest.interval.holds(truth)
    assert model.honest.value == pytest.approx(truth, rel=0.02)
    assert (model.abstention, model.n_opt) == ("", None)


def test_the_compute_optimum(optimum):
    assert optimum.n == pytest.approx(float(TRUTH.n_opt(1e19)), rel=0.2)
    assert optimum.n_opt.low < optimum.n < optimum.n_opt.high
    assert 6 * optimum.n * optimum.d == pytest.approx(1e19)
    assert optimum.d_opt.value == pytest.approx(optimum.d)
    assert optimum.d_opt.low * optimum.n_opt.high == pytest.approx(1e19 / 6)
    assert optimum.n_opt_range[0] <= optimum.n_opt.low


def test_beyond_the_support_it_abstains_in_words(refused):
    assert refused.honest is None
    assert "beyond the measured compute" in refused.abstention
    assert "the tool abstains" in summary(refused)
    assert refused.form.low < refused.form.value < refused.form.high


def test_texts_fit_a_terminal(model, optimum, refused):
    for made in (model, optimum, refused):
        lines = summary(made).splitlines()
        assert max(map(len, lines)) <= 100
        assert any("if this form holds" in line for line in lines)
        assert any(line.strip().startswith("honest ") for line in lines)


def test_same_points_in_another_order_give_the_same_forecast(model, tested):
    points = sweep()
    order = np.random.default_rng(0).permutation(len(points.n))
    shuffled = make_points(points.n[order], points.d[order], points.loss[order])
    assert hash_points(shuffled) == hash_points(points)
    assert forecast(shuffled, SPEC, at=(BIG, BIG_TOKENS), tested=tested) == model


def test_the_file_round_trips_and_shows_alteration(model, optimum, refused):
    for made in (model, optimum, refused):
        text = made.to_json(DAY)
        filed = read_forecast(text)
        assert (filed.forecast, filed.day) == (made, DAY)
        assert made.to_json(DAY) == text
    altered = json.loads(text)
    altered["date"] = "2025-12-01"
    with pytest.raises(PointsError, match="altered"):
        read_forecast(json.dumps(altered))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": "", "format": 1, "date": "2026-01-02", "forecast": {"n": 1}}'])
def test_other_files_are_refused(text):
    with pytest.raises(PointsError, match="no forecast"):
        read_forecast(text)


def test_score_of_a_model(model):
    filed = read_forecast(model.to_json(DAY))
    truth = float(TRUTH.predict(BIG, BIG_TOKENS))
    later = make_points([BIG, BIG * 1.02, BIG * 3], [BIG_TOKENS] * 3, [truth, 2 * truth, truth])
    result = score(filed, later)
    assert [row.in_honest for row in result.rows] == [True, False]
    assert [row.in_form for row in result.rows] == [True, False]
    assert result.rows[1].error == pytest.approx(model.honest.value / (2 * truth) - 1)
    assert result.rows[1].form_error == pytest.approx(model.form.value / (2 * truth) - 1)
    assert result.is_unseen
    assert "OUTSIDE honest" in summary(result)
    assert max(map(len, summary(result).splitlines())) <= 110
    assert json.loads(json.dumps(result.to_dict()))["rows"][0]["in_form"] is True


def test_score_of_a_compute_takes_the_best_model(optimum):
    filed = read_forecast(optimum.to_json(DAY))
    n = np.array([0.5, 1.0, 2.0]) * optimum.n
    later = make_points(n, 1e19 / 6 / n, TRUTH.predict(n, 1e19 / 6 / n))
    result = score(filed, later)
    assert [row.n for row in result.rows] == [pytest.approx(float(n[np.argmin(later.loss)]))]


def test_score_says_when_it_is_no_test_or_finds_no_row(tested):
    points = sweep()
    filed = read_forecast(forecast(points, SPEC, at=(points.n[7], points.d[7]), tested=tested).to_json(DAY))
    result = score(filed, points)
    assert isinstance(result, Score)
    assert not result.is_unseen
    assert "no test" in summary(result)
    away = make_points(points.n * 100, points.d, points.loss)
    with pytest.raises(PointsError, match="no used row within 5%"):
        score(filed, away)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({}, "one target"),
        ({"at": (1e9, 1e10), "compute": 1e20}, "one target"),
        ({"at": (1e9, -1.0)}, "not possible"),
        ({"compute": float("nan")}, "not possible"),
    ],
)
def test_wrong_targets(target, expected):
    with pytest.raises(SpecError, match=expected):
        forecast(sweep(), SPEC, **target)


def test_no_resamples_and_no_law():
    with pytest.raises(SpecError, match="at least 1"):
        forecast(sweep(), FitSpec(bootstrap=0), at=(1e9, 1e10))
    n = np.geomspace(1e6, 1e9, 12)
    with pytest.raises(FitError, match="cannot be told apart"):
        forecast(make_points(n, 20 * n, TRUTH.predict(n, 20 * n)), SPEC, at=(1e9, 1e10))


def test_inside_and_beyond_do_not_contradict_each_other(tested):
    """Less compute than measured, at more parameters than measured and few tokens: inside in C, beyond in N."""
    made = forecast(sweep(), SPEC, at=(2e10, 1e8), tested=tested)
    text = summary(made)
    assert made.factor < 1 and made.abstention
    assert "inside" not in text
    assert f"compute is {format_number(made.factor)} times the largest measured" in " ".join(text.split())
