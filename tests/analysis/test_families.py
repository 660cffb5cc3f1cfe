"""Families side by side, and the compute multiplier between them."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scalesweep.analysis.analyse import analyse
from scalesweep.analysis.families import Families, Multiplier, fit_families
from scalesweep.errors import PointsError, Refused
from scalesweep.fit import Fit
from scalesweep.laws import Chinchilla
from scalesweep.points.metric import METRICS
from scalesweep.points.points import Points, points_from_rows
from scalesweep.points.reading import read_points
from scalesweep.report import ReportContext
from scalesweep.report.pages.cells import cell_rows
from scalesweep.settings.fit import FitSpec

DATA = Path(__file__).parents[1] / "data"


def families(multiplier: float, noise: float = 0.0, seed: int = 0, bootstrap: int = 0, reach: float = 1.0) -> Families:
    """24 runs each of two families, the second of which needs 1 / `multiplier` of the first's compute on every ray."""
    rng, rows = np.random.default_rng(seed), []
    for arch, gain, size in (("dense", 1.0, 1.0), ("gated", math.sqrt(multiplier), reach)):
        for n in size * np.geomspace(2e7, 1e9, 6):
            for d in n * np.array([5, 15, 45, 135]):
                loss = 1.7 + 400 / (n * gain) ** 0.34 + 410 / (d * gain) ** 0.28
                rows.append({"arch": arch, "n": n, "d": d, "loss": loss * math.exp(noise * rng.standard_normal())})
    return fit_families(read_points(pd.DataFrame(rows)), "arch", FitSpec(bootstrap=bootstrap))


@pytest.mark.parametrize("truth", [1.6, 1.0, 0.5])
def test_the_multiplier_of_exact_losses_is_exact(truth: float) -> None:
    found = families(truth).multipliers["gated"]
    assert isinstance(found, Multiplier)
    assert found.ratio.value == pytest.approx(truth, rel=1e-4)
    assert (found.n, found.d) == pytest.approx((math.sqrt(2e7 * 1e9), math.sqrt(5 * 2e7 * 135 * 1e9)))


def test_exchanged_families_have_the_inverse_multiplier() -> None:
    table = pd.read_csv(DATA / "two_families.csv")
    ratios = [
        fit_families(read_points(part), "arch", FitSpec(bootstrap=0)).multipliers
        for part in (table, table.iloc[::-1].reset_index(drop=True))
    ]
    one, other = ratios[0]["gated"], ratios[1]["dense"]
    assert isinstance(one, Multiplier) and isinstance(other, Multiplier)
    assert one.ratio.value * other.ratio.value == pytest.approx(1, rel=1e-6)


def test_each_family_has_its_own_law_and_the_interval_holds_the_truth() -> None:
    found = fit_families(read_points(DATA / "two_families.csv"), "arch", FitSpec(bootstrap=100))
    assert [(family.name, len(family.points.loss)) for family in found.families] == [("dense", 24), ("gated", 24)]
    multiplier = found.multipliers["gated"]
    assert isinstance(multiplier, Multiplier) and multiplier.ratio.interval is not None
    assert multiplier.ratio.interval.holds(1.6) and not multiplier.ratio.interval.holds(1.0)


def test_families_that_share_no_range_or_no_loss_are_not_compared() -> None:
    apart = families(1.0, reach=100.0).multipliers["gated"]
    assert isinstance(apart, Refused) and "share no range of N" in apart.reason
    unlike = families(1e7).multipliers["gated"]
    assert isinstance(unlike, Refused) and "no loss in common" in unlike.reason


def test_a_family_on_one_ray_has_no_law_and_no_multiplier() -> None:
    table = pd.read_csv(DATA / "two_families.csv")
    ray = table[(table["arch"] == "dense") | np.isclose(table["tokens"] / table["params"], 15 / 1.06, rtol=0.01)]
    found = fit_families(read_points(ray.reset_index(drop=True)), "arch", FitSpec(bootstrap=0)).multipliers["gated"]
    assert isinstance(found, Refused) and "no joint law" in found.reason


def test_evaluation_sets_have_laws_and_no_multiplier() -> None:
    found = fit_families(read_points(DATA / "evaluation_sets.csv"), "task", FitSpec(bootstrap=0))
    floors = {family.name: family.law.law.E for family in found.families if not isinstance(family.law, Refused)}  # type: ignore[attr-defined]
    assert floors == pytest.approx({"web": 1.7, "code": 1.02, "books": 1.87}, rel=2e-3)
    assert all(isinstance(multiplier, Refused) for multiplier in found.multipliers.values())


@pytest.mark.parametrize(("column", "why"), [("nothing", "no such column"), ("host", "48 values"), ("lab", "1 value ")])
def test_what_is_no_column_of_families_is_refused(column: str, why: str) -> None:
    table = pd.read_csv(DATA / "two_families.csv").assign(host=lambda rows: [f"h{i}" for i in range(len(rows))], lab="one")
    with pytest.raises(PointsError, match=why):
        fit_families(read_points(table), column)


@pytest.mark.slow
def test_the_interval_holds_as_often_as_it_says() -> None:
    """24 pairs at 1 % noise: 90 % is not missed by more than chance allows (binomial, p > 0.01)."""
    found = [families(1.6, 0.01, seed, bootstrap=100).multipliers["gated"] for seed in range(24)]
    held = [one.ratio.interval.holds(1.6) for one in found if isinstance(one, Multiplier) and one.ratio.interval]
    assert len(held) == 24
    assert sum(held) >= 18


def corpora(**columns: list[object]) -> Points:
    """24 exact losses each of two corpora with laws of their own, and further columns with a value for each corpus."""
    rows = []
    for i, (arm, law) in enumerate(LAWS.items()):
        for n in np.geomspace(2e7, 1e9, 6):
            for d in n * np.array([5, 15, 45, 135]):
                further = {name: values[i] for name, values in columns.items()}
                row = {"key": f"{arm}{len(rows)}", "arm": arm, "n": n, "d": d, "c": 6 * n * d, "loss": law.predict(n, d)}
                rows.append({**row, **further})
    return points_from_rows(rows, "total", "six_n", "simulated")


LAWS = {
    "code": Chinchilla(E=1.1, A=400, B=410, alpha=0.34, beta=0.28),
    "prose": Chinchilla(E=2.3, A=300, B=900, alpha=0.3, beta=0.33),
}


def test_of_corpora_that_are_not_pooled_all_else_is_of_the_reference() -> None:
    points = corpora()
    found = analyse(points, FitSpec(bootstrap=0), by="arm", is_pooled=False)
    assert found.families is not None
    assert set(found.points.frame["arm"]) == {"code"}
    for family in found.families.families:
        assert isinstance(family.law, Fit)
        truth = LAWS[family.name]
        assert family.law.estimates["E"].value == pytest.approx(truth.E, rel=1e-3)
        assert family.law.estimates["beta"].value == pytest.approx(truth.beta, rel=1e-3)
    cells = [{str(k): v for k, v in row.items()} for row in points.frame.to_dict("records")]
    for row, cell in zip(cell_rows(found, ReportContext("x", {}, cells, {}, [], "")), cells, strict=True):
        assert row["used"] == "yes"
        assert row["fitted loss"].value == pytest.approx(cell["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("columns", "metric", "said"),
    [
        ({"validation_set": ["a", "b"], "bytes_per_token": [1.0, 1.0]}, "nats_per_token", r"different texts.*data\.validation"),
        (
            {"validation_set": ["a", "a"], "bytes_per_token": [1.0, 2.0]},
            "nats_per_token",
            r"different tokenizers.*bits_per_byte",
        ),
        ({"validation_set": ["a", "a"], "bytes_per_token": [1.0, 2.0]}, "bits_per_byte", ""),
        ({"validation_set": ["a", "a"], "bytes_per_token": [2.0, 2.0]}, "nats_per_token", ""),
    ],
)
def test_losses_are_compared_of_one_text_in_one_unit(columns: dict[str, list[object]], metric: str, said: str) -> None:
    points = replace(corpora(**columns), metric=METRICS[metric])
    found = fit_families(points, "arm", FitSpec(bootstrap=0)).multipliers["prose"]
    reason = found.reason if isinstance(found, Refused) else ""
    assert re.search(said, reason) if said else "different" not in reason
