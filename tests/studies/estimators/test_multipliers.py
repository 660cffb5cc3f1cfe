"""Multipliers against laws in which they are known."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from scalesweep.errors import PointsError
from scalesweep.points.points import Points, points_from_rows
from scalesweep.studies.base import Rule
from scalesweep.studies.estimators.frontiers import frontier_gains, lower_hull
from scalesweep.studies.estimators.multipliers import Worth, holds, laws_of_base, pair_runs
from scalesweep.studies.estimators.planted import drawn
from scalesweep.studies.estimators.theories import Theories

SIZES = (14_000.0, 42_000.0, 80_000.0)
BUDGETS = (131_072.0, 262_144.0, 524_288.0, 1_048_576.0)
NOISE = 0.0046


def grid(
    sizes: Sequence[float] = SIZES[:2],
    rho: float | Callable[[Points], np.ndarray] = 1.0,
    noise: float = 0.0,
    seed: int = 0,
    seeds: Sequence[int] = (0, 1, 2),
    overhead: float = 0.0,
    pace: float = 1.0,
) -> Points:
    rows = [
        {"n": n, "d": d, "c": 6 * n * d, "c_optimizer": overhead * 6 * n * d, "seconds": pace * n * d, "seed": s, "loss": 1.0}
        for n in sizes
        for s in seeds
        for d in BUDGETS
    ]
    points = points_from_rows(rows, "with_head", "attention", "made")
    log_rho = np.log(rho) if isinstance(rho, float) else rho(points)
    return drawn(points, log_rho, noise, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def base() -> Points:
    return grid(SIZES)


@pytest.fixture(scope="module")
def laws(base: Points) -> Theories:
    return laws_of_base(base, Rule(draws=20))


@pytest.mark.parametrize("rho", [0.5, 1.0, 1.05, 1.5, 2.0])
def test_a_multiplier_is_recovered_exactly_without_noise(base: Points, laws: Theories, rho: float) -> None:
    worth = Worth.of(laws, base, grid(rho=rho))
    assert worth.multiplier().value == pytest.approx(rho, rel=1e-5)
    assert worth.by_law_alone() == pytest.approx(rho, rel=1e-5)
    assert worth.slope().value == pytest.approx(0.0, abs=1e-5)
    assert [row["multiplier of tokens"] for row in worth.cells()] == pytest.approx([rho] * 8, rel=1e-4)


def test_what_a_token_costs_the_arm_divides_its_multiplier(base: Points, laws: Theories) -> None:
    worth = Worth.of(laws, base, grid(rho=1.3, overhead=0.2, pace=1.5))
    assert worth.multiplier("flops").value == pytest.approx(1.3 / 1.2, rel=1e-5)
    assert worth.multiplier("seconds").value == pytest.approx(1.3 / 1.5, rel=1e-5)


def test_a_multiplier_that_grows_with_compute_has_that_slope(base: Points, laws: Theories) -> None:
    worth = Worth.of(laws, base, grid(rho=lambda points: 0.1 * np.log(points.c / 1e11)))
    assert worth.slope().value == pytest.approx(0.1, abs=1e-5)


def test_what_the_law_misses_at_a_cell_cancels(base: Points, laws: Theories) -> None:
    lucky, same = (points.frame.assign(loss=points.frame["loss"] * 1.01) for points in (base, grid(rho=1.2)))
    points = [Points(frame, "with_head", "attention", "made") for frame in (lucky, same)]
    worth = Worth.of(laws, *points)
    assert worth.multiplier().value == pytest.approx(1.2, rel=1e-4)
    assert abs(worth.by_law_alone() - 1.2) > 0.05


def test_a_loss_that_no_number_of_tokens_reaches_has_no_multiplier(base: Points, laws: Theories) -> None:
    assert "beyond" in Worth.of(laws, base, grid(rho=1e30)).multiplier().withheld
    without = grid().frame.drop(columns="seconds")
    assert "seconds" in Worth.of(laws, base, Points(without, "with_head", "attention", "x")).multiplier("seconds").withheld


def test_equal_seeds_are_paired_and_others_in_their_order() -> None:
    one, other = grid(noise=NOISE, seeds=(0, 1, 2)), grid(noise=NOISE, seed=1, seeds=(2, 100, 101))
    pairs = pair_runs(one, other)
    for n in SIZES[:2]:
        for theirs, mine in ((2, 2), (100, 0), (101, 1)):
            rows = [
                frame[(frame["n"] == n) & (frame["seed"] == seed)]["loss"].to_numpy()
                for frame, seed in ((one.used, mine), (other.used, theirs))
            ]
            found = [i for i in range(len(pairs.n)) if pairs.n[i] == n and pairs.log_arm[i] in np.log(rows[1])]
            np.testing.assert_allclose(pairs.log_base[found], np.log(rows[0]))


def test_one_seed_and_doubled_runs_are_refused() -> None:
    with pytest.raises(PointsError, match="two seeds"):
        pair_runs(grid(seeds=(0,)), grid(seeds=(0,)))
    twice = grid(seeds=(0, 0))
    with pytest.raises(PointsError, match="one N, D and seed"):
        pair_runs(grid(), twice)


@pytest.mark.slow
def test_intervals_hold_the_multiplier_and_the_slope() -> None:
    held, widths = np.zeros(2), []
    for seed in range(20):
        base = grid(SIZES, noise=NOISE, seed=seed)
        worth = Worth.of(laws_of_base(base, Rule(draws=30, seed=seed)), base, grid(rho=1.1, noise=NOISE, seed=1000 + seed))
        one, slope = worth.multiplier(), worth.slope()
        held += [one.low <= 1.1 <= one.high, slope.low <= 0 <= slope.high]
        widths.append([math.log(one.high / one.low), slope.high - slope.low])
    assert (held >= 15).all()  # of 20 at 90 %: fewer has probability .01
    assert (np.mean(widths, axis=0) < [0.12, 0.12]).all()


def test_noise_that_the_budgets_of_a_trunk_share_widens_the_interval(laws: Theories) -> None:
    many, rng = range(20), np.random.default_rng(0)
    widths = []
    for noise in (rng.standard_normal(160), np.repeat(rng.standard_normal(40), 4)):
        arm = grid(rho=1.1, seeds=many)
        arm.frame["loss"] *= np.exp(NOISE * noise)
        found = Worth.of(laws, grid(seeds=many), arm).multiplier()
        widths.append(math.log(found.high / found.low))
    assert 1.4 < widths[1] / widths[0] < 2.6  # the root of four budgets, of which the longest count most


def test_a_control_fails_outside_its_interval(base: Points, laws: Theories) -> None:
    found = Worth.of(laws, base, grid(rho=1.2, noise=NOISE)).multiplier(confidence=0.99)
    assert holds("one", "It is 1.2", 1.2, found).passed
    assert not holds("one", "It is 1.5", 1.5, found).passed


def test_the_gain_of_a_frontier_is_the_multiplier_of_its_sizes() -> None:
    base, arm = grid(SIZES[:1]), grid(SIZES[:1], rho=1.3, overhead=0.2)
    for currency, truth in (("tokens", 1.3), ("flops", 1.3 / 1.2)):
        gains = frontier_gains(base, arm, currency)  # type: ignore[arg-type]
        assert len(gains) == 5
        assert [gain.value for gain in gains] == pytest.approx([truth] * 5, rel=0.04)  # straight between budgets
    assert frontier_gains(base, grid(SIZES[:1], rho=1e4), "tokens") == []


def test_a_hull_falls_and_has_no_point_below_it() -> None:
    x, y = np.array([0.0, 1, 2, 3, 4, 5]), np.array([5.0, 4.5, 2.0, 2.5, 1.0, 3.0])
    hull = lower_hull(x, y)
    np.testing.assert_allclose(hull, [[0, 2, 4], [5, 2, 1]])
