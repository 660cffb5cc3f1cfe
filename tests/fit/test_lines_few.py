"""Power laws through three or four sizes: intervals of Student's t, which hold the truth where a bootstrap does not."""

import numpy as np
import pytest
from scipy.stats import linregress
from scipy.stats import t as student

from scalesweep.fit.lines import Selection, fit_line
from scalesweep.points.clusters import Units
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec

SPEC = FitSpec(bootstrap=400)


def line(x, loss, units=None):
    return fit_line(Rows.of_columns(x, x, loss, units), "N", SPEC, Selection(np.arange(len(x)), "all points"))


def simulate(num, rng):
    x = np.geomspace(1e6, 1e8, num)
    return x, x**-0.08 * 20 * np.exp(0.01 * rng.standard_normal(num))


@pytest.mark.parametrize("num", [3, 4])
def test_the_interval_is_the_textbook_s(num):
    x, loss = simulate(num, np.random.default_rng(num))
    fit = line(x, loss)
    found = linregress(np.log(x), np.log(loss))
    reach = student.ppf(0.95, num - 2) * found.stderr
    exponent = fit.estimates["exponent"]
    drawn = np.percentile(fit.cluster_samples[:, 1], (5, 95))
    assert drawn == pytest.approx((-found.slope - reach, -found.slope + reach), abs=0.06 * reach)
    assert exponent.low <= drawn[0] + 0.02 * reach
    assert exponent.high >= drawn[1] - 0.02 * reach
    noun = "degree" if num == 3 else "degrees"
    assert f"Student's t with {num - 2} {noun} of freedom, because resamples of points at {num}" in fit.intervals


@pytest.mark.parametrize("num", [3, 4])
def test_intervals_through_few_sizes_hold_the_truth(num):
    rng, held, scale_held, inside = np.random.default_rng(0), [], [], []
    truth = np.log(20) / 0.08
    for _ in range(400):
        x, loss = simulate(num, rng)
        fit = line(x, loss)
        exponent, scale = fit.estimates["exponent"], fit.estimates["scale"]
        held.append(exponent.low <= 0.08 <= exponent.high)
        scale_held.append(np.log(scale.low) <= truth <= np.log(scale.high))
        low, high = fit.band(1e7)
        inside.append(low <= 1e7**-0.08 * 20 <= high)
    assert 0.88 <= np.mean(held) <= 0.97
    assert 0.86 <= np.mean(inside) <= 0.97
    assert np.mean(scale_held) >= 0.86


def test_five_sizes_keep_their_bootstrap():
    x, loss = simulate(5, np.random.default_rng(0))
    assert line(x, loss).intervals == ""


def test_copies_of_rows_are_no_degrees_of_freedom():
    x, loss = simulate(4, np.random.default_rng(1))
    copied = line(np.repeat(x, 3), np.repeat(loss, 3), Units(np.repeat(np.arange(4), 3), np.repeat(np.arange(4), 3)))
    once = line(x, loss)
    assert "with 2 degrees of freedom" in copied.intervals
    assert copied.estimates["exponent"].low == pytest.approx(once.estimates["exponent"].low)
    assert copied.estimates["exponent"].high == pytest.approx(once.estimates["exponent"].high)
