"""Verdicts look at scatter and at the warnings below them."""

import numpy as np
from surfaces import TRUTH, make_points

from scalesweep.fit import Status, fit_laws
from scalesweep.fit.results import Finding
from scalesweep.report.words.analysis import law_in_words
from scalesweep.settings.fit import FitSpec

SPEC = FitSpec(bootstrap=100)


def grid(sd, sizes=6, budgets=6, repeats=1):
    axes = np.meshgrid(np.geomspace(1e6, 1e9, sizes), np.geomspace(1e8, 1e11, budgets), np.arange(repeats))
    n, d = (axis.ravel() for axis in axes[:2])
    noise = np.exp(sd * np.random.default_rng(0).standard_normal(len(n)))
    return make_points(n, d, TRUTH.predict(n, d) * noise, seed=axes[2].ravel())


def test_a_fifth_of_scatter_is_not_identified_however_many_rows_there_are():
    joint = fit_laws(grid(0.196, 8, 8, 10), SPEC)["joint"]
    assert joint.status is not Status.IDENTIFIED
    assert "larger than what twice the compute takes off the loss" in " ".join(joint.messages)


def test_a_percent_of_scatter_is():
    joint = fit_laws(grid(0.01, 8, 8, 10), SPEC)["joint"]
    assert joint.status is Status.IDENTIFIED
    assert joint.messages == ()


def test_few_levels_are_in_the_headline_as_they_are_in_the_warnings():
    fit = fit_laws(grid(0.0005, 4, 8, 3), SPEC)
    assert "A02" in {finding.code for finding in fit.findings}
    assert fit.preferred.status is Status.WEAK
    assert "A02" in fit.verdict


def test_missed_intervals_are_in_the_headline():
    fit = fit_laws(grid(0.0005), SPEC)
    assert fit.preferred.status is Status.IDENTIFIED
    missed = fit.with_findings([*fit.findings, Finding("A15", "Intervals missed.")])
    assert missed.preferred.status is Status.WEAK
    assert "A15" in missed.verdict


def test_where_the_loss_ends_is_not_said_where_the_points_do_not_show_it():
    points = grid(0.0005)
    fit = fit_laws(points, SPEC)
    assert "ends at E = 1." in law_in_words(points, fit)
    doubted = fit.with_findings([Finding("A06", "The points do not fix E.")])
    assert "ends at E" not in law_in_words(points, doubted)
    assert doubted.preferred.status is Status.WEAK
