"""The worth of repeated tokens, and the laws of repeated data."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from scalesweep.errors import PointsError
from scalesweep.fit.forms import fit_form
from scalesweep.laws import Chinchilla, Lovelace, Muennighoff
from scalesweep.points.points import Points, points_from_rows
from scalesweep.studies.base import CONFIDENCE
from scalesweep.studies.estimators.reuse import FreshCurve, Mean, fresh_curves, pair, ratio, shared_worth, tabulate
from scalesweep.studies.estimators.reuse_laws import fit_reuse_laws

FRESH = Chinchilla(1.9, 50.0, 33.0, 0.42, 0.27)
BUDGETS = (131072, 262144, 524288, 1048576)


def table_of(law=None, noise: float = 0.0, rng: np.random.Generator | None = None, seeds: int = 3, decays=(0.1,)) -> Points:
    """Two pools beside fresh tokens at three sizes; by default a token seen before has the worth of a fresh one."""
    law = law or Muennighoff.build((*FRESH.theta, 1e6, 1e6), Muennighoff.variables)
    rows = [
        {
            "n": n,
            "d": d,
            "c": 6 * n * d,
            "seed": seed,
            "unique_tokens": u,
            "weight_decay": decay,
            "loss": float(law.predict(n, d, min(u, d))) * math.exp(noise * rng.standard_normal() if rng else 0.0),
        }
        for n in (14_000, 42_000, 80_000)
        for d in BUDGETS
        for u in (65_536, 262_144, 4_000_000)
        for seed in range(seeds)
        for decay in decays
    ]
    return points_from_rows(rows, "with_head", "attention", "simulated")


def worths(points: Points, epochs: float):
    table = tabulate({"base": points})
    pairs = pair(table)
    return shared_worth(pairs[pairs["epochs"] == epochs], fresh_curves(table))


def test_a_curve_is_its_parabola_inside_and_its_tangent_outside():
    log_d = np.log([1e5, 2e5, 4e5, 8e5])
    curve = FreshCurve.of(log_d, 3.0 - 0.2 * log_d + 0.004 * log_d**2)
    np.testing.assert_allclose(curve.log_loss(log_d), 3.0 - 0.2 * log_d + 0.004 * log_d**2, rtol=1e-10)
    beyond = log_d[-1] + np.array([0.5, 1.0])
    slope = -0.2 + 0.008 * log_d[-1]
    np.testing.assert_allclose(np.diff(curve.log_loss(beyond)), 0.5 * slope, rtol=1e-8)
    np.testing.assert_allclose(curve.slope(beyond), slope, rtol=1e-8)


@pytest.mark.parametrize("r_d", [3.0, 15.4, 1e6])
def test_the_worth_of_muennighoffs_law_is_found(r_d: float):
    """Up to the parabola's own error, which is a hundredth of a worth of a half."""
    law = Muennighoff.build((*FRESH.theta, r_d, 1e6), Muennighoff.variables)
    truth = (1 - r_d * math.expm1(-3 / r_d)) / 4
    assert worths(table_of(law), 4).value == pytest.approx(truth, abs=0.01)


def test_its_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = [effect.low <= 1 <= effect.high for effect in (worths(table_of(noise=0.0046, rng=rng), 4) for _ in range(100))]
    assert abs(np.mean(held) - CONFIDENCE) < 0.1


def test_a_loss_that_no_fresh_run_comes_near_has_no_worth():
    law = Lovelace.build((*FRESH.theta, 0.2, 1.0, 0.7), Lovelace.variables)
    effect = worths(table_of(law), 16)
    assert math.isnan(effect.value) and "outside" in effect.withheld


def test_arms_may_share_rows_and_decay_is_told_by_its_place_within_a_size():
    points = table_of(decays=(0.1, 1.0))
    scaled = points.frame.assign(weight_decay=points.frame["weight_decay"] * points.frame["n"])
    points = dataclasses.replace(points, frame=scaled)
    table = tabulate({"one": points, "two": points})
    assert len(table) == len(points.frame)
    assert table.groupby("n")["decay"].nunique().tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.drop(columns="seed"), "seed"),
        (lambda frame: frame.drop(columns="unique_tokens"), "unique_tokens"),
        (lambda frame: frame[frame["unique_tokens"] > 1e6], "No run saw a token twice"),
        (lambda frame: frame[frame["unique_tokens"] < 1e6], "fresh tokens to compare"),
        (lambda frame: frame[frame["seed"] == 0], "two seeds"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, words: str):
    points = table_of()
    with pytest.raises(PointsError, match=words):
        pair(tabulate({"base": dataclasses.replace(points, frame=change(points.frame))}))


def test_a_mean_over_groups_pools_the_scatter_of_their_seeds():
    mean = Mean.of(pd.Series([1.0, 3.0, 10.0, 12.0]), pd.Series(["a", "a", "b", "b"]))
    assert mean.value == 6.5
    assert mean.spare == 2
    assert mean.variance == pytest.approx(2.0 * (1 / 2 + 1 / 2) / 4)


def test_fiellers_interval_of_an_exact_denominator_is_that_of_the_numerator():
    over = Mean(2.0, 0.01, 10)
    effect, own = ratio(over, Mean(4.0, 0.0, 10)), over.effect()
    assert effect.value == 0.5
    assert (effect.low, effect.high) == pytest.approx((own.low / 4, own.high / 4))


def test_a_ratio_to_nothing_is_missing():
    assert "within the noise" in ratio(Mean(1.0, 0.01, 5), Mean(0.05, 0.01, 5)).withheld


def test_laws_are_found_that_generic_fits_find():
    law = Lovelace.build((*FRESH.theta, 0.02, 0.9, 0.6), Lovelace.variables)
    table = tabulate({"base": table_of(law, 0.0046, np.random.default_rng(1))})
    means = table.groupby(["n", "d", "pool"])["log_loss"].mean().reset_index()
    columns = {"N": means["n"], "D": means["d"], "U": means[["pool", "d"]].min(axis=1)}
    found = fit_reuse_laws(table)
    for form in (Muennighoff, Lovelace):
        generic = fit_form(form, columns, np.exp(means["log_loss"]))
        losses = [law.predict(*columns.values()) for law in (found[form].law, generic.law)]
        np.testing.assert_allclose(losses[0], losses[1], rtol=2e-3)
    assert found[Lovelace].aicc < found[Muennighoff].aicc
