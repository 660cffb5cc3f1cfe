"""Health of a sweep against curves and replicates whose noise, spikes and collapse are known."""

import math

import numpy as np
import pandas as pd
import pytest

from scalesweep.analysis.health import (
    Curve,
    collapse,
    entropy_lines,
    find_spikes,
    health_lines,
    noise_by_size,
    normalised_curve,
    spike_lines,
)
from scalesweep.points.design import replicate_noise
from scalesweep.points.points import Points
from scalesweep.points.reading import read_points
from scalesweep.train.schedule import curve_steps

FLOOR = 1.8


def make_curve(steps: int, tokens: float, noise: float = 0.0, seed: int = 0, exponent: float = 0.5) -> Curve:
    """FLOOR + excess falling as a power of the share of the run; noise of one step `noise`, averaged between points."""
    rng, before, curve = np.random.default_rng(seed), 0, []
    for step in curve_steps(steps, 16):
        share = (step + before) / 2 / steps
        loss = FLOOR + 0.3 * tokens**-0.1 * (share + 0.01) ** -exponent
        loss *= math.exp(noise * rng.normal() / math.sqrt(step - before))
        curve.append({"step": step, "tokens": tokens * step / steps, "loss": loss})
        before = step
    return curve


def with_spike(curve: Curve, first: int, last: int, rise: float) -> Curve:
    return [{**p, "loss": p["loss"] * (1 + rise * (first <= i < last))} for i, p in enumerate(curve)]


# -- spikes -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.02, 0.05])
@pytest.mark.parametrize("steps", [200, 2000, 20_000])
def test_noise_alone_is_hardly_ever_a_spike(noise: float, steps: int) -> None:
    assert sum(bool(find_spikes(make_curve(steps, 1e6, noise, seed))) for seed in range(200)) <= 2


def test_a_spike_is_found_where_it_was_put() -> None:
    curve = make_curve(2000, 1e6, 0.01)
    (spike,) = find_spikes(with_spike(curve, 30, 32, 0.3))
    assert spike.step in (curve[30]["step"], curve[31]["step"])
    assert spike.rise == pytest.approx(0.3, abs=0.1)
    assert spike.recovered
    (last,) = find_spikes(with_spike(curve, 38, 48, 0.3))
    assert not last.recovered


def test_two_spikes_are_two_and_short_curves_have_none() -> None:
    curve = with_spike(with_spike(make_curve(2000, 1e6, 0.01), 20, 21, 0.4), 35, 36, 0.4)
    assert len(find_spikes(curve)) == 2
    assert find_spikes(curve[18:22]) == []


# -- collapse -----------------------------------------------------------------------------------------------------------------


def test_a_normalised_curve_ends_at_one_and_forgets_scale() -> None:
    x = np.linspace(0.1, 0.9, 5)
    small, large = (normalised_curve(make_curve(4000, tokens), FLOOR, x) for tokens in (1e5, 1e7))
    np.testing.assert_allclose(small, large, rtol=1e-9)
    assert np.all(np.diff(small) < 0)
    with pytest.raises(ValueError, match="must be below the last loss"):
        normalised_curve(make_curve(100, 1e5), 5.0, x)


def grid(exponents: list[float], noise: float = 0.02) -> dict[float, list[Curve]]:
    """Four seeds of each size, a size for each exponent, noise of their own."""
    return {
        10.0 ** (4 + i): [make_curve(1000, 10.0 ** (5 + i), noise, 10 * i + seed, exponent) for seed in range(4)]
        for i, exponent in enumerate(exponents)
    }


def test_curves_that_collapse_have_a_ratio_of_one_and_others_do_not() -> None:
    assert 0.6 < collapse(grid([0.5] * 4), FLOOR).ratio < 1.5
    assert collapse(grid([0.4, 0.5, 0.6, 0.7]), FLOOR).ratio > 2.5
    assert collapse(grid([0.5] * 4, noise=0.002), FLOOR - 0.5).ratio > 3  # a wrong L0 breaks the collapse


def test_a_collapse_needs_sizes_and_seeds() -> None:
    curve = make_curve(100, 1e5)
    for curves in ({1.0: [curve, curve]}, {1.0: [curve], 2.0: [curve]}, {1.0: [curve, curve], 2.0: [curve]}):
        with pytest.raises(ValueError, match="at least two sizes"):
            collapse(curves, FLOOR)


# -- seed noise and words -----------------------------------------------------------------------------------------------------


def replicated(sds: dict[float, float], seeds: int = 200) -> Points:
    """Points on one ray, D = 20 N, whose log loss scatters with the sd of their size."""
    rng = np.random.default_rng(0)
    rows = [
        {"key": f"{n:.0f}-{s}", "n": n, "d": 20 * n, "c": 120 * n * n, "loss": 3 * math.exp(sd * rng.normal()), "seed": s}
        for n, sd in sds.items()
        for s in range(seeds)
    ]
    return read_points(pd.DataFrame(rows))


def test_seed_noise_is_that_of_each_size() -> None:
    points = replicated({1e4: 0.02, 1e5: 0.005})
    noise = noise_by_size(points)
    assert {n: found.degrees_of_freedom for n, found in noise.items()} == {1e4: 199, 1e5: 199}
    assert noise[1e4].log_loss_sd == pytest.approx(0.02, rel=0.15)
    assert noise[1e5].log_loss_sd == pytest.approx(0.005, rel=0.15)
    total = replicate_noise(points)
    assert total is not None
    pooled = math.sqrt((noise[1e4].log_loss_sd ** 2 + noise[1e5].log_loss_sd ** 2) / 2)
    assert total.log_loss_sd == pytest.approx(pooled)


def test_health_in_words() -> None:
    points = replicated({1e4: 0.01, 1e5: 0.01}, seeds=2)
    curves = {f"{n:.0f}-{s}": make_curve(1000, 20 * n, 0.01, s) for n in (1e4, 1e5) for s in (0, 1)}
    noise, ratio = health_lines(points, curves, FLOOR)
    assert noise.startswith("Seed noise: sd of log loss")
    assert "by size (degrees of freedom)" in noise
    assert ratio.startswith("Collapse at 20 tokens per parameter: spread across 2 sizes over spread across 2 seeds")
    assert health_lines(points, curves) == [noise]
    curves["10000-0"] = with_spike(curves["10000-0"], 30, 31, 0.5)
    (line,) = spike_lines(curves)
    assert line.startswith("Loss spikes in 1 of 4 cells, the highest +")
    assert line.endswith("of 10000-0.")
    lost = points.frame.assign(excluded_reason=["diverged" if key == "10000-0" else "" for key in points.frame["key"]])
    assert not any("Loss spikes" in line for line in health_lines(read_points(lost), curves))


def test_a_grid_without_replicates_or_rays_says_nothing() -> None:
    frame = pd.DataFrame([{"n": n, "d": d, "c": 6 * n * d, "loss": 3.0} for n in (1e4, 1e5) for d in (1e6, 2e6)])
    assert health_lines(read_points(frame), {}, FLOOR) == []


def test_losses_below_the_entropy_are_named_by_cell() -> None:
    records = [{"key": "a", "below_entropy": ""}, {"key": "b", "below_entropy": "too good"}, {"key": "c"}]
    assert entropy_lines(records) == ["b: too good"]
