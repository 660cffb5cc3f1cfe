"""Forecasts along a ray, from L(C), where N and D move together."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from surfaces import TRUTH, make_points

from scalesweep.analysis.forecast.dated import read_forecast
from scalesweep.analysis.forecast.forecast import forecast
from scalesweep.errors import FitError
from scalesweep.points import read_points
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

SPEC = FitSpec(bootstrap=400)


def ray(sd=0.0, num=8):
    n = np.geomspace(1e7, 1e9, num)
    return make_points(n, 20 * n, TRUTH.predict(n, 20 * n) * np.exp(sd * np.random.default_rng(0).standard_normal(num)))


def test_a_model_on_the_ray_is_predicted_with_the_reservation_said():
    made = forecast(ray(0.002), SPEC, at=(2e9, 4e10))
    truth = float(TRUTH.predict(2e9, 4e10))
    assert made.form.value == pytest.approx(truth, rel=0.01)
    assert made.honest.low <= truth <= made.honest.high
    assert made.honest.low <= made.form.low
    assert made.honest.high >= made.form.high
    assert "along these points" in made.reservation
    assert "knows nothing of other models" in " ".join(summary(made).split())
    assert read_forecast(made.to_json(date(2026, 1, 2))).forecast == made


def test_a_budget_means_the_model_on_the_ray():
    made = forecast(ray(0.002), SPEC, compute=120 * 4e18)
    assert (made.n, made.d) == pytest.approx((2e9, 4e10), rel=1e-6)
    assert "optimal" not in summary(made).split("\n")[0]


def test_a_model_off_the_ray_is_refused_with_the_ray_s_size():
    with pytest.raises(FitError, match=r"off that ray: .* N = 1\.41B, asked was 4B"):
        forecast(ray(0.002), SPEC, at=(4e9, 1e10))


def test_far_beyond_the_points_there_is_no_honest_interval():
    made = forecast(ray(0.002), SPEC, compute=1e26)
    assert made.honest is None
    assert "support a factor of" in made.abstention


def test_scattered_runs_are_forecast_with_their_scatter():
    """Of these runs the selected frontier promised [1.93, 2.58] for a run that came out at 3.31."""
    points = read_points(Path(__file__).parents[1] / "data" / "ray_scattered.csv")
    scale = np.sqrt(1.73)
    made = forecast(points, FitSpec(), at=(scale * points.n.max(), scale * points.d.max()))
    assert made.form.value == pytest.approx(2.73, abs=0.01)
    assert made.honest.low < 2.2
    assert made.honest.high > 3.1


def test_too_few_points_are_refused_in_words():
    with pytest.raises(FitError, match="at least 4 points"):
        forecast(ray(num=3), SPEC, compute=1e20)
