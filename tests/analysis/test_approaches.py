"""The three approaches against published exponents and the exact bias of approach 2."""

import json

import numpy as np
import pandas as pd
import pytest

from scalesweep.analysis.allocation.approaches import approach2_bias, compare_approaches, fit_isoflops
from scalesweep.analysis.allocation.envelope import fit_envelope
from scalesweep.analysis.allocation.lines import ApproachStatus, fit_allocation
from scalesweep.analysis.allocation.minima import curve_noise, draw_noise, isoflop_minima
from scalesweep.errors import FitError
from scalesweep.laws import Chinchilla
from scalesweep.points.points import Points, points_from_rows
from scalesweep.points.published import published_points
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

CHINCHILLA = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
ASYMMETRIC = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.465, beta=0.155)
SYMMETRIC = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.31, beta=0.31)
POINT = FitSpec(bootstrap=0)
SPEC = FitSpec(bootstrap=200)

# The weighted exponent a as published by Porian et al. 2024.
PORIAN = {
    "rw|base|long|kaplan|kaplan|train": 0.8353,
    "rw|base|long|kaplan|standard|val": 0.7065,
    "rw|base|short|kaplan|standard|val": 0.6020,
    "rw|base|short|chinchilla|standard|val": 0.5715,
    "rw|tuned|short|const|standard|val": 0.4969,
    "rw|base|long|kaplan|attention|train": 0.7171,
    "rw|base|short|kaplan|attention|train": 0.6223,
    "rw|base|short|chinchilla|attention|train": 0.5772,
    "rw|tuned|short|const|attention|train": 0.5053,
    "rw|tuned|long|const|kaplan|train": 0.7115,
    "owt2|base|long|kaplan|kaplan|train": 0.8635,
    "owt2|base|long|kaplan|standard|val": 0.6985,
    "owt2|base|short|kaplan|standard|val": 0.6032,
    "owt2|base|short|chinchilla|standard|val": 0.5743,
    "owt2|tuned|short|const|standard|val": 0.5185,
}
PORIAN_NOISE = {"rw": 0.002, "owt2": 0.01}
"""Nats per token: what their noise function returns at every loss, because it compares log L with thresholds meant for L."""


def make_points(n, d, loss, c=None, **columns) -> Points:
    n, d = np.asarray(n), np.asarray(d)
    frame = pd.DataFrame({"n": n, "d": d, "c": 6.0 * n * d if c is None else c, "loss": loss, **columns})
    return points_from_rows(frame.to_dict("records"), "total", "six_n", "test")


def isoflops(law=CHINCHILLA, span=8.0, sizes=15, off=1.0, budgets=5, noise=0.0, seed=0) -> Points:
    """Budgets from 1e17 to 1e21, sizes from N*/span to N* span, centred at N* off."""
    c = np.repeat(np.geomspace(1e17, 1e21, budgets), sizes)
    n = law.n_opt(c) * off * np.tile(np.geomspace(1 / span, span, sizes), budgets)
    d = c / (6 * n)
    return make_points(n, d, law.predict(n, d) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n))))


# The bias of approach 2: Czech et al. 2026 (arXiv 2603.22339), error of D* at 1e24 FLOPs in per cent.


@pytest.mark.parametrize(
    ("law", "off", "span", "expected"),
    [
        (CHINCHILLA, 1, 2, -0.327),
        (CHINCHILLA, 1, 4, -1.301),
        (CHINCHILLA, 1, 8, -2.903),
        (CHINCHILLA, 1, 16, -5.100),
        (ASYMMETRIC, 1, 2, -1.675),
        (ASYMMETRIC, 1, 4, -6.498),
        (ASYMMETRIC, 1, 8, -13.91),
        (ASYMMETRIC, 1, 16, -23.12),
        (SYMMETRIC, 1, 8, 0.0),
        (SYMMETRIC, 1 / 3, 8, 2.645),
    ],
)
def test_published_bias(law, off, span, expected):
    points = isoflops(law, span, off=off)
    bias = approach2_bias(points, law, isoflop_minima(points, "full_parabola"), [1e24])
    assert 100 * bias.d[0] == pytest.approx(expected, rel=5e-4, abs=1e-6)
    assert bias.a == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("method", ["akima", "parabola"])
def test_default_methods_have_a_fifth_of_that_bias(method):
    for law in (CHINCHILLA, ASYMMETRIC):
        points = isoflops(law, 16)
        wide, local = (approach2_bias(points, law, isoflop_minima(points, m), [1e24]).d[0] for m in ("full_parabola", method))
        assert abs(local) < abs(wide) / 5


# Porian et al. 2024.


def porian(config: str) -> tuple[Points, np.ndarray]:
    points = published_points("porian", config)
    return points, PORIAN_NOISE[config.split("|")[0]] / points.loss


@pytest.mark.parametrize("config", PORIAN)
def test_published_exponents(config):
    points, noise = porian(config)
    minima = isoflop_minima(points, "akima", draw_noise(noise, 400, 0, "published"))
    assert fit_isoflops(minima, SPEC).a.value == pytest.approx(PORIAN[config], abs=5e-3)


def test_published_interval():
    points, noise = porian("rw|base|long|kaplan|kaplan|train")
    spec = FitSpec(bootstrap=1000, confidence=0.95)
    isoflop = compare_approaches(points, spec, log_loss_sd=noise).rows[1]
    assert (isoflop.a.low, isoflop.a.high) == pytest.approx((0.8235, 0.8460), abs=3e-3)
    assert isoflop.status is ApproachStatus.DETERMINED
    assert "given noise" in isoflop.intervals


@pytest.mark.parametrize(
    ("config", "method", "expected"),
    [
        ("rw|base|long|kaplan|kaplan|train", "full_parabola_log", 1.981),
        ("rw|base|long|kaplan|kaplan|train", "full_parabola", 1.209),
        ("rw|base|long|kaplan|kaplan|train", "parabola", 0.864),
        ("owt2|base|long|kaplan|kaplan|train", "full_parabola_log", 2.125),
        ("rw|tuned|short|const|standard|val", "full_parabola_log", 0.516),
    ],
)
def test_parabolas_through_all_sizes_fail_where_sizes_span_decades(config, method, expected):
    found = fit_isoflops(isoflop_minima(published_points("porian", config), method), POINT)
    assert found.a.value == pytest.approx(expected, abs=1e-3)


# Minima.


def test_minimum_on_the_edge_is_rejected_in_words():
    points = isoflops(span=2, off=4)
    found = fit_isoflops(isoflop_minima(points), POINT)
    assert found.status is ApproachStatus.REFUSED
    assert found.a is None
    assert (found.num_used, found.num_rejected) == (0, 5)
    assert "the lowest loss is at the smallest size; measure smaller models" in " ".join(found.messages)
    assert "measure larger models" in isoflop_minima(isoflops(span=2, off=1 / 4)).minima[0].rejection


def test_minimum_between_the_last_two_sizes_has_a_caveat():
    minima = isoflop_minima(published_points("porian", "rw|base|long|kaplan|standard|val"))
    assert [bool(minimum.caveat) for minimum in minima.used].count(True) == 1
    assert "kept" in " ".join(fit_isoflops(minima, POINT).messages)


def test_noise_at_the_edge_is_rejected():
    points = isoflops(span=2, sizes=3)
    noise = draw_noise(np.full(len(points.loss), 0.5), 200, 0, "huge")
    assert {minimum.rejection for minimum in isoflop_minima(points, noise=noise).rejected} == {
        "under the noise the lowest loss is mostly at the edge"
    }


def test_two_sizes_have_no_minimum():
    points = isoflops(sizes=2)
    assert {minimum.rejection for minimum in isoflop_minima(points).minima} == {"fewer than 3 sizes"}


@pytest.mark.parametrize("method", ["akima", "parabola", "full_parabola", "full_parabola_log"])
def test_minima_do_not_depend_on_order_and_rounding(method):
    points = isoflops(noise=0.003)
    order = np.random.default_rng(1).permutation(len(points.n))
    rounded = points.c * (1 + 0.004 * np.random.default_rng(2).uniform(-1, 1, len(points.c)))
    other = make_points(points.n[order], points.d[order], points.loss[order], c=rounded[order])
    found, again = isoflop_minima(points, method), isoflop_minima(other, method)
    assert [m.n_opt for m in again.minima] == pytest.approx([m.n_opt for m in found.minima], rel=1e-9, nan_ok=True)


def test_replicates_are_averaged():
    points = isoflops()
    twice = make_points(
        np.tile(points.n, 2),
        np.tile(points.d, 2),
        np.concatenate([points.loss * 1.01, points.loss / 1.01]),
        seed=np.repeat([0, 1], len(points.n)),
    )
    found = [minimum.n_opt for minimum in isoflop_minima(twice).minima]
    assert found == pytest.approx([minimum.n_opt for minimum in isoflop_minima(points).minima], rel=1e-9)


def test_unknown_method_and_too_few_budgets():
    with pytest.raises(FitError, match="no method 'spline'"):
        isoflop_minima(isoflops(), "spline")
    with pytest.raises(FitError, match="two different compute budgets"):
        fit_allocation([1e18, 1e18], [1e7, 1e7], [1e9, 1e9])


def test_noise_of_smooth_curves_is_found():
    assert curve_noise(isoflops(noise=0.003, budgets=40, span=4)).log_loss_sd == pytest.approx(0.003, rel=0.2)
    assert curve_noise(isoflops(sizes=3)) is None


# Side by side.


@pytest.fixture(scope="module")
def comparison():
    return compare_approaches(isoflops(noise=0.001, sizes=7), SPEC)


def test_approaches_agree_with_the_truth(comparison):
    envelope, isoflop, law = comparison.rows
    assert isoflop.a.value == pytest.approx(CHINCHILLA.a, abs=0.05)
    assert law.a.value == pytest.approx(CHINCHILLA.a, abs=0.02)
    assert envelope.a.value == pytest.approx(CHINCHILLA.a, abs=0.1)
    for approach in comparison.rows:
        assert approach.a.low <= CHINCHILLA.a <= approach.a.high
        assert approach.a.value + approach.b.value == pytest.approx(1, abs=1e-3)
    c = comparison.compared_at[0]
    assert law.n_opt(c).value == pytest.approx(float(CHINCHILLA.n_opt(c)), rel=0.2)


def test_bias_on_the_design_is_that_of_the_fitted_surface():
    comparison = compare_approaches(isoflops(), POINT, "full_parabola")
    true_bias = approach2_bias(isoflops(), CHINCHILLA, comparison.minima, comparison.compared_at)
    assert comparison.bias.n == pytest.approx(true_bias.n, rel=1e-3)
    assert f"{true_bias.n[0]:+.1%} in N*" in summary(comparison)


def test_bias_is_not_invented():
    grid = [axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 1e8, 5), np.geomspace(1e8, 3e10, 5))]
    points = make_points(*grid, CHINCHILLA.predict(*grid))
    assert "not computed" in summary(compare_approaches(points, POINT))
    varying = np.linspace(6, 20, len(points.n)) * points.n * points.d
    other = compare_approaches(make_points(points.n, points.d, points.loss, c=varying), POINT)
    assert "not k N D" in other.bias.reason
    assert "differ by up to 233%" in summary(other)


def test_without_noise_no_interval():
    comparison = compare_approaches(isoflops(), POINT)
    assert {row.status for row in comparison.rows} == {ApproachStatus.UNKNOWN}
    assert comparison.rows[1].a.low is None
    assert "Intervals: none" in summary(comparison)


def test_replicate_noise_is_preferred():
    points = isoflops(noise=0.002)
    n, d = np.tile(points.n, 2), np.tile(points.d, 2)
    loss = CHINCHILLA.predict(n, d) * np.exp(0.002 * np.random.default_rng(0).standard_normal(len(n)))
    replicated = make_points(n, d, loss, seed=np.repeat([0, 1], len(points.n)))
    assert "seed noise of replicates" in compare_approaches(replicated, SPEC).minima.noise


def test_envelope_interval_includes_the_spacing_of_sizes():
    a = compare_approaches(isoflops(noise=1e-5), FitSpec(bootstrap=20)).rows[0].a
    assert a.high - a.low > 0.005


def test_envelope_takes_lowest_interior_rows():
    points = isoflops()
    found = fit_envelope(points, POINT)
    assert found.num_used == 5
    assert found.a.value == pytest.approx(CHINCHILLA.a, abs=1e-6)
    assert fit_envelope(isoflops(off=40), POINT).status is ApproachStatus.REFUSED


def test_result_is_json_and_text(comparison):
    content = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert [row["name"] for row in content["approaches"]] == ["envelope", "isoflop", "law"]
    assert content["approaches"][1]["a"]["value"] == comparison.rows[1].a.value
    text = summary(comparison)
    for part in (
        "lower envelope",
        "IsoFLOP minima (akima)",
        "fitted law, additive",
        "N* at 1e21",
        "if the fitted surface were true: ",
    ):
        assert part in text


def test_no_interior_minimum_is_refused_beside_a_law():
    grid = [axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 1e8, 5), np.geomspace(1e8, 3e10, 7))]
    comparison = compare_approaches(make_points(*grid, CHINCHILLA.predict(*grid)), SPEC)
    assert comparison.rows[1].status is ApproachStatus.REFUSED
    assert comparison.rows[2].a.value == pytest.approx(CHINCHILLA.a, rel=1e-5)
    json.dumps(comparison.to_dict(), allow_nan=False)
