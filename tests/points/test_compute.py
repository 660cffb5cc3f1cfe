"""What C says of N D: another unit is named, another count is used, and nothing is made of a contradiction."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from surfaces import TRUTH

from scalesweep.errors import PointsError, SpecError
from scalesweep.points.compute import USUAL, compute_of
from scalesweep.points.points import Points
from scalesweep.points.published import published_names, published_points, published_variants
from scalesweep.points.reading import read_points
from scalesweep.points.unit_names import UNITS

DATA = Path(__file__).parents[1] / "data"
N, D = (axis.ravel() for axis in np.meshgrid([1e7, 1e8, 1e9], [2e8, 4e9, 3e10]))


def table(n_unit=1.0, d_unit=1.0, c_unit=1.0, k=6.0, **columns) -> pd.DataFrame:
    """Nine runs, each column divided by its unit."""
    frame = {"n": N / n_unit, "d": D / d_unit, "c": k * N * D / c_unit, "loss": TRUTH.predict(N, D), **columns}
    return pd.DataFrame({name: values for name, values in frame.items() if values is not None})


def readings(points: Points) -> list[dict[str, str]]:
    return [dict(reading.units) for reading in compute_of(points).readings]


def test_gigaflops_are_the_one_reading_of_a_table_and_stating_them_settles_it():
    found = compute_of(read_points(DATA / "gflops.csv"))
    assert found.is_contradiction
    assert found.ratio == pytest.approx(1e-9)
    assert [dict(reading.units) for reading in found.readings] == [{"c": "GFLOPs"}]
    assert "units.c=GFLOPs" in found.unusual
    assert not found.withheld_model  # N and D are not in doubt
    stated = read_points(DATA / "gflops.csv", units={"c": "GFLOPs"})
    assert compute_of(stated).unusual == ""
    assert stated.c == pytest.approx(6 * stated.n * stated.d)
    assert any("1e+09" in note for note in stated.notes)


@given(st.sampled_from([(name, unit) for name, units in UNITS.items() for unit in units]), st.floats(0.4, 2.5))
def test_any_one_column_in_another_unit_is_found_out_whatever_the_convention(which, convention):
    column, unit = which
    factor = UNITS[column][unit]
    found = compute_of(read_points(table(**{f"{column}_unit": factor}, k=6 * convention)))
    if factor == 1:
        assert not found.unusual
    else:
        assert {column: unit} in [dict(reading.units) for reading in found.readings]
        assert found.is_contradiction


def test_n_in_millions_and_d_in_billions():
    assert readings(read_points(table(1e6, 1e9))) == [{"n": "millions", "d": "billions"}]
    given_units = read_points(table(1e6, 1e9), units={"n": "millions", "d": "Billions"})
    assert given_units.n == pytest.approx(N)
    assert given_units.d == pytest.approx(D)
    assert not compute_of(given_units).unusual


def test_a_table_without_c_is_questioned_by_its_magnitudes():
    found = compute_of(read_points(table(1e6, 1e9, c=None)))
    assert {"n": "millions", "d": "billions"} in [dict(reading.units) for reading in found.readings]
    assert found.withheld_model
    assert not compute_of(read_points(table(c=None))).unusual


def test_a_table_without_d_whose_flops_are_in_another_unit():
    found = compute_of(read_points(table(c_unit=1e12, d=None)))
    assert {"c": "TFLOPs"} in [dict(reading.units) for reading in found.readings]
    stated = read_points(table(c_unit=1e12, d=None), units={"c": "TFLOPs"})
    assert stated.d == pytest.approx(D)


@pytest.mark.parametrize("k", [2.4, 6.0 * 0.12, 9.0])
def test_another_constant_count_is_used_as_it_is(k):
    found = compute_of(read_points(table(k=k)))
    assert found.k == pytest.approx(k)
    assert not found.is_contradiction
    assert bool(found.unusual) == (not USUAL[0] <= k / 6 <= USUAL[1])
    assert found.as_six(k * 1e20) == pytest.approx(6e20)


def test_rounded_six_n_d_is_six_n_d():
    assert compute_of(read_points(table().round({"c": -14}))).k == 6.0


def test_a_count_that_no_unit_explains_and_that_differs_between_rows_is_withheld():
    found = compute_of(read_points(table(k=np.geomspace(6e-3, 6e-1, 9))))
    assert found.is_contradiction
    assert found.readings == ()


def test_published_tables_are_not_questioned():
    for name in published_names():
        for variant in published_variants(name)[:3]:
            assert not compute_of(published_points(name, variant)).unusual


def test_unknown_units_are_refused():
    with pytest.raises(SpecError, match=r"units\.c = 'GFLOP'.*GFLOPs"):
        read_points(table(), units={"c": "GFLOP"})
    with pytest.raises(SpecError, match=r"units\.x"):
        read_points(table(), units={"x": "GFLOPs"})
    with pytest.raises(PointsError, match="no column of c"):
        read_points(table(c=None), units={"c": "GFLOPs"})


def test_of_a_mixture_of_experts_n_is_what_a_token_passes_through_and_the_total_stays():
    for total in ("total_params", "params"):
        frame = pd.DataFrame({"active_params": N, total: 8 * N, "tokens": D, "flops": 6 * N * D, "loss": TRUTH.predict(N, D)})
        points = read_points(frame)
        assert points.n == pytest.approx(N)
        assert points.used["n_total"].to_numpy() == pytest.approx(8 * N)
        assert "active_params" in " ".join(points.notes)
        assert "n_total" in " ".join(points.notes)
        assert compute_of(points).k == 6.0


def test_with_all_parameters_as_n_the_flops_stay_as_they_were_counted():
    frame = pd.DataFrame({"total_params": 8 * N, "tokens": D, "flops": 6 * N * D, "loss": TRUTH.predict(8 * N, D)})
    points = read_points(frame)
    assert points.n == pytest.approx(8 * N)
    assert compute_of(points).k == pytest.approx(6 / 8)
    assert not compute_of(points).is_contradiction
