"""How far a law may be used, and what it says in words, on points of a law that is known."""

import numpy as np
import pytest
from surfaces import measure

from scalesweep.analysis.analyse import analyse
from scalesweep.analysis.support import support_of
from scalesweep.fit import fit_laws
from scalesweep.fit.horizon import Range
from scalesweep.laws import Chinchilla
from scalesweep.points.points import Points
from scalesweep.report.words.analysis import law_in_words
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_rough

LAW = Chinchilla(E=1.7, A=400.0, B=800.0, alpha=0.34, beta=0.34)
QUICK = FitSpec(bootstrap=0)


def grid(n: tuple[float, float], d: tuple[float, float]) -> Points:
    every_n, every_d = (axis.ravel() for axis in np.meshgrid(np.geomspace(*n, 5), np.geomspace(*d, 5)))
    return measure(LAW, every_n, every_d, 0.001, 0)


def test_the_tightest_of_compute_parameters_tokens_and_their_ratio_decides() -> None:
    """Compute spans four decades; in the second grid tokens span one, and the optimum asks for more of them."""
    wide, narrow = grid((1e6, 1e8), (1e7, 1e9)), grid((1e5, 1e8), (1e7, 1e8))
    free, bound = (support_of(points, fit_laws(points, QUICK), None) for points in (wide, narrow))
    assert free.factor is not None
    assert 1 < free.factor < 10**4
    assert bound.factor is None or bound.factor < free.factor
    law, largest = fit_laws(wide, QUICK).preferred.law, 6 * 1e8 * 1e9  # type: ignore[union-attr]
    for inside, factor in ((True, free.factor * 0.98), (False, free.factor * 1.02)):
        n, d = float(law.n_opt(factor * largest)), float(law.d_opt(factor * largest))  # type: ignore[union-attr]
        assert (Range.of(wide.n, wide.d).refuse(n, d) == "") is inside
    assert "support a factor of" in free.limit


def test_without_a_law_no_compute_optimum_is_supported() -> None:
    points = measure(LAW, np.full(6, 1e6), np.geomspace(1e6, 1e9, 6), 0.001, 0)
    support = analyse(points, QUICK).support
    assert support.along == "points"
    assert support.words.startswith("The points support no prediction of the compute-optimal model")
    assert "There is no joint law." in support.words


def test_along_a_ray_the_law_of_compute_says_how_far_it_reaches() -> None:
    n = np.geomspace(1e6, 1e8, 8)
    words = analyse(measure(LAW, n, 20 * n, 0.001, 0), QUICK).support.words
    assert "L(C) = " in words
    assert f"up to {format_rough(10.0**4)} times" in words


def test_the_back_test_says_how_far_it_was_tried() -> None:
    found = analyse(grid((1e6, 1e8), (1e7, 1e9)), FitSpec(bootstrap=10))
    support = found.support
    assert support.tested_factor is not None
    assert f"Tried by the back-test: up to {format_rough(support.tested_factor)} times." in support.words
    assert found.to_dict()["extrapolation"]["supported"]["factor"] == support.factor
    assert support.words.split(".")[0] in " ".join(summary(found).split())


def test_the_law_in_words_has_its_numbers() -> None:
    points = grid((1e6, 1e8), (1e7, 1e9))
    words = law_in_words(points, fit_laws(points, QUICK))
    n, d = 1e7, 1e8
    gains = [LAW.predict(n, d) - LAW.predict(2 * n, d), LAW.predict(n, d) - LAW.predict(n, 2 * d)]
    assert "N = 10M and D = 100M" in words
    told = [float(word.rstrip(".,;")) for word in words.split() if word.rstrip(".,;").replace(".", "").isdigit()]
    assert any(value == pytest.approx(float(gains[0]), rel=0.1) for value in told)
    assert any(value == pytest.approx(float(gains[1]), rel=0.1) for value in told)
    assert any(value == pytest.approx(10**0.5, rel=0.05) for value in told)
