"""An analysis: its parts are those of the functions that make them, and what cannot be is refused in words."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from surfaces import TRUTH, make_points, measure, sweep

from scalesweep.analysis.allocation.approaches import compare_approaches
from scalesweep.analysis.analyse import RESAMPLES, analyse
from scalesweep.analysis.forecast.tournament import run_tournament
from scalesweep.errors import Refused
from scalesweep.fit import fit_laws
from scalesweep.report.words.analysis import back_test_text, rivals_text
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_number

SPEC = FitSpec(bootstrap=10)


@pytest.fixture(scope="module")
def points():
    """Six isoFLOP curves of seven sizes."""
    c, share = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e17, 3e19, 6), np.geomspace(0.25, 4, 7)))
    n = TRUTH.n_opt(c) * share
    return measure(TRUTH, n, c / (6 * n), 0.002, 0)


@pytest.fixture(scope="module")
def analysis(points):
    return analyse(points, SPEC)


def test_the_parts_are_those_of_their_functions(points, analysis):
    content = json.loads(analysis.to_json())
    fit = fit_laws(points, SPEC)
    assert content["extrapolation"].pop("supported") == asdict(analysis.support)
    assert {key: content[key] for key in fit.to_dict()} == json.loads(fit.to_json())
    assert content["approaches"] == json.loads(json.dumps(compare_approaches(points, SPEC, fit=fit).to_dict()))
    alone = run_tournament(points, SPEC, at=analysis.tournament.at).to_dict()
    assert content["back_test"] == json.loads(json.dumps(alone.pop("rolling_origin")))
    assert {key: content["rivals"][key] for key in alone} == json.loads(json.dumps(alone))
    assert content["rivals_refusal"] == ""


def test_differences_are_from_the_best(analysis):
    rivals = analysis.to_dict()["rivals"]
    criteria = {row["name"]: row["aicc"] for row in rivals["standings"]}
    assert min(rivals["delta_aicc"].values()) == 0
    for name, difference in rivals["delta_aicc"].items():
        assert difference == pytest.approx(criteria[name] - min(criteria.values()))
    low, high = rivals["envelope"]
    assert low <= rivals["at"]["mean"] <= high


def test_exponents_are_taken_at_the_measured_centre(points, analysis):
    n, d = analysis.tournament.at
    assert (np.log(n), np.log(d)) == pytest.approx((np.log(points.n).mean(), np.log(points.d).mean()))
    additive = next(row for row in analysis.tournament.standings if row.name == "chinchilla")
    u, v = TRUTH.A * n**-TRUTH.alpha, TRUTH.B * d**-TRUTH.beta
    truth = (TRUTH.alpha * u / (TRUTH.E + u + v), TRUTH.beta * v / (TRUTH.E + u + v))
    assert (additive.exponents.by_n, additive.exponents.by_d) == pytest.approx(truth, rel=0.05)


def test_text_has_every_part_in_order_and_fits_a_terminal(analysis):
    text = summary(analysis)
    places = [
        text.index(words) for words in ("Joint law", "by three approaches", "Rival laws on 42", "Back-test:", "Points: 42")
    ]
    assert places == sorted(places)
    own = (rivals_text(analysis), back_test_text(analysis.tournament.tested))
    assert max(len(line) for part in own for line in part.splitlines()) <= 100
    assert "nan" not in text


def test_every_number_of_the_rivals_is_shown(analysis):
    text = rivals_text(analysis)
    for row in analysis.tournament.standings:
        for value in (row.residual_rms, row.size_rms, row.budget_rms, row.rolling_rms):
            assert f"{value:.2%}" in text
        assert format_number(row.exponents.by_n) in text


def test_a_ray_refuses_what_it_cannot_carry():
    n = np.geomspace(1e6, 1e9, 12)
    found = analyse(make_points(n, 20 * n, TRUTH.predict(n, 20 * n)), SPEC)
    assert isinstance(found.tournament, Refused)
    assert "tokens-per-parameter ray" in found.tournament.reason
    text = " ".join(summary(found).split())
    assert "Compute-optimal allocation by envelope and IsoFLOP minima: refused" in text
    assert f"Rival laws and back-test: refused. {found.tournament}" in text
    content = json.loads(found.to_json())
    assert content["rivals"] is None
    assert content["back_test"] is None


def test_a_law_whose_intervals_miss_held_out_runs_is_said_to():
    """Losses that level off above what the form knows: the law below a cut is sure of too low a loss above it."""
    n, ratio = (axis.ravel() for axis in np.meshgrid(np.geomspace(5e6, 6.4e8, 8), (5, 10, 20, 40, 80)))
    loss = TRUTH.predict(n, n * ratio) * (1 + 0.02 * np.maximum(np.log(n / 4e7), 0) ** 2)
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(len(n)))
    found = analyse(make_points(n, n * ratio, loss * noise), FitSpec(bootstrap=10))
    covered = found.tournament.tested.rows[-1].covered["form"]
    (finding,) = [finding for finding in found.fit.findings if finding.code == "A15"]
    assert f"held {covered:.0%} of " in finding.text
    assert "A15 Intervals of the preferred law held" in summary(found)
    assert [f["code"] for f in found.to_dict()["findings"]] == sorted(f.code for f in found.fit.findings)


def test_without_resamples_there_are_no_rivals():
    found = analyse(sweep(), FitSpec(bootstrap=0))
    assert isinstance(found.tournament, Refused)
    assert "fit.bootstrap = 0" in summary(found)
    assert found.fit.fits.get("joint") is not None


def test_few_points_have_rivals_of_few_resamples_but_no_origin():
    n, ratio = (axis.ravel() for axis in np.meshgrid((5e6, 2e7, 8e7), (5, 20, 80)))
    found = analyse(measure(TRUTH, n, n * ratio, 0.002, 0), FitSpec(bootstrap=RESAMPLES + 10))
    assert found.fit.bootstrap == RESAMPLES + 10
    assert found.to_dict()["rivals"]["resamples"] == RESAMPLES
    assert found.tournament.tested.rows == ()
    assert "No cut leaves enough rows" in summary(found)
