"""Tables of training curves: which they are, what is taken of them, and what is not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalesweep.points.reading import read_points

CURVES = Path(__file__).parents[1] / "data" / "curves_of_runs.csv"


def log(runs: int = 4, rows: int = 10, **columns: object) -> pd.DataFrame:
    """Runs of two sizes, each with a log of its own length."""
    parts = []
    for run in range(runs):
        share = np.arange(1, rows + 1) / rows
        d = 1e9 * (run + 1) * share
        parts.append(
            pd.DataFrame(
                {"run_id": f"r{run}", "n": 1e7 * (1 + run % 2), "step": d / 1e6, "d": d, "loss": 3 + 1 / share, **columns}
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_the_last_row_of_each_run_is_its_point() -> None:
    points = read_points(CURVES)
    assert len(points.frame) == 12
    assert points.curves is not None and points.curves.num_runs == 12
    table = pd.read_csv(CURVES)
    last = table.loc[table.groupby("run_id")["step"].idxmax()]
    np.testing.assert_array_equal(points.frame["d"], last["tokens"])
    np.testing.assert_array_equal(points.frame["loss"], last["val_loss"])
    assert "12 runs" in points.reading and "230 rows" in points.reading


def test_a_run_short_of_its_plan_is_left_out_with_the_share_that_is_done() -> None:
    points = read_points(pd.read_csv(CURVES).drop(columns="state"))
    assert list(points.excluded["run_id"]) == ["r12"]
    assert "50%" in points.excluded["excluded_reason"].iloc[0]


@settings(max_examples=20)
@given(st.randoms())
def test_the_order_of_the_rows_does_not_matter(random: object) -> None:
    table = log()
    order = list(range(len(table)))
    random.shuffle(order)  # type: ignore[attr-defined]
    mixed = read_points(table.iloc[order]).frame.set_index("run_id").sort_index()
    plain = read_points(table).frame.set_index("run_id").sort_index()
    pd.testing.assert_frame_equal(mixed, plain)


def test_losses_that_are_logged_now_and_then_are_taken_with_the_tokens_of_their_row() -> None:
    table = log(rows=12)
    table.loc[table.index % 12 > 8, "loss"] = np.nan  # the last evaluation of each run is at its ninth row
    table.loc[table.index % 2 == 0, "n"] = np.nan  # and N is only now and then beside it
    points = read_points(table)
    np.testing.assert_allclose(points.d, 1e9 * np.arange(1, 5) * 9 / 12)
    np.testing.assert_allclose(points.loss, 3 + 12 / 9)
    np.testing.assert_array_equal(points.n, [1e7, 2e7, 1e7, 2e7])


def test_without_a_step_many_rows_of_rising_tokens_are_a_curve_and_few_are_branches() -> None:
    assert len(read_points(log().drop(columns="step")).frame) == 4
    assert len(read_points(log(rows=3).drop(columns="step")).frame) == 12


def test_a_name_of_a_size_is_no_run() -> None:
    grid = pd.DataFrame(
        [
            {"name": f"{n:g}", "n": n, "step": d / 1e6, "d": d, "loss": 2 + 1e3 / n**0.5 + 1e4 / d**0.5}
            for n in (1e7, 3e7)
            for d in (1e9, 2e9, 4e9)
        ]
    )
    assert read_points(grid).curves is None
    assert read_points(log(rows=1)).curves is None


def test_seeds_and_evaluation_sets_of_one_name_are_curves_of_their_own() -> None:
    seeds = pd.concat([log(seed=0), log(seed=1)], ignore_index=True)
    assert len(read_points(seeds).frame) == 8
    tasks = pd.concat([log(task="web"), log(task="code")], ignore_index=True)
    assert len(read_points(tasks).frame) == 8


@pytest.mark.parametrize(("state", "used"), [("finished", 1), ("running", 0)])
def test_a_finished_run_that_stopped_early_is_kept(state: str, used: int) -> None:
    table = log(runs=1, rows=20, planned_tokens=2e9, state=state)
    assert len(read_points(table).used) == used
