"""What a fit says is grammatical at one of each, and free of raw names and of exponents like e+06."""

import re

import numpy as np
import pytest
from surfaces import TRUTH, grid, make_points

from scalesweep.fit import fit_laws
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_rough, plural


def words(points):
    return " ".join(summary(fit_laws(points, FitSpec(bootstrap=20))).split())


def outlier():
    base = grid(noise=0.0005, sizes=np.geomspace(1e6, 1e9, 8), tokens=np.geomspace(1e8, 1e11, 8))
    return make_points(base.n, base.d, np.where(np.arange(64) < 2, 1.5, 1.0) * base.loss)


def far_point():
    base = grid(noise=0.001)
    n, d = np.append(base.n, 5e12), np.append(base.d, 2e13)
    return make_points(n, d, np.append(base.loss, TRUTH.predict(5e12, 2e13)))


def one_size():
    n, d = np.full(8, 1e8), np.geomspace(1e8, 1e11, 8)
    return make_points(n, d, TRUTH.predict(n, d))


@pytest.mark.parametrize("points", [outlier(), far_point(), one_size()], ids=["outlier", "far", "one size"])
def test_no_word_is_wrong_by_number_or_raw(points):
    text = words(points)
    assert not re.search(r"(?<![\d.,])1 (sizes|points|rows|budgets|runs|decades|resamples|degrees)\b", text)
    assert "e+" not in text
    assert "least_squares" not in text


def test_one_of_each():
    text = words(one_size())
    assert "There is only one model size; alpha needs at least 3 sizes." in text
    assert "Measured: N 100M, D 100M to 100B tokens (3.0 decades)" in text
    assert "N spans less than a decade" in text
    assert "1 point largely fixes its own fitted value: N = 5T, D = 20T (leverage" in words(far_point())
    assert "under least squares of log L" in words(outlier())


def test_plural_and_rough():
    assert [plural(k, "run") for k in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    assert [format_rough(x) for x in (0.613, 4.87, 131.0, 2.24e6)] == ["0.61", "4.9", "130", "2.2e6"]
