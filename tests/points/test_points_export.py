"""Exports, read back by what they are for."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scalesweep.cli import main
from scalesweep.errors import PointsError
from scalesweep.points.export import layout_of, write_table
from scalesweep.points.points import Points, points_from_rows
from scalesweep.points.reading import read_points
from scalesweep.report.figures import figures
from scalesweep.run.store.store import Store


@pytest.fixture
def points() -> Points:
    rows = [
        {"n": 10_000.0, "d": 2e5, "c": 1.23456789e10, "loss": 3.25, "seed": 0, "excluded_reason": ""},
        {"n": 20_000.0, "d": 4e5, "c": 5e10, "loss": 1 / 3, "seed": 0, "excluded_reason": ""},
        {"n": 40_000.0, "d": 8e5, "c": 2e11, "loss": float("nan"), "seed": 1, "excluded_reason": "diverged"},
    ]
    return points_from_rows(rows, "with_head", "attention", "runs/demo")


@pytest.mark.parametrize("name", ["points.csv", "points.parquet"])
def test_the_own_layout_comes_back_whole(points: Points, tmp_path: Path, name: str) -> None:
    write_table(layout_of(points, "scalesweep"), tmp_path / name)
    again = read_points(tmp_path / name)
    pd.testing.assert_frame_equal(again.used[["n", "d", "c", "loss"]], points.used[["n", "d", "c", "loss"]])
    assert list(again.excluded["excluded_reason"]) == ["diverged"]


def test_chinchilla_gets_its_four_columns_in_whole_numbers(points: Points, tmp_path: Path) -> None:
    write_table(layout_of(points, "chinchilla"), tmp_path / "df.csv")
    assert (tmp_path / "df.csv").read_text().splitlines() == [
        "C,N,D,loss",
        "12345678900.0,10000,200000,3.25",
        "50000000000.0,20000,400000,0.3333333333333333",
    ]


def test_vpnls_gets_params_and_tokens_unscaled(points: Points) -> None:
    table = layout_of(points, "vpnls")
    assert list(table.columns) == ["experiment", "params", "tokens", "loss"]
    assert table.iloc[1].tolist() == ["demo", 20_000.0, 4e5, 1 / 3]
    assert len(table) == 2


def test_the_folder_of_an_export_is_made(points: Points, tmp_path: Path) -> None:
    write_table(points.frame, tmp_path / "no" / "where" / "points.csv")
    assert len(read_points(tmp_path / "no" / "where" / "points.csv").used) == 2


@pytest.mark.parametrize("name", ["points.txt", "points", "file/points.csv"])
def test_a_wrong_name_is_refused(points: Points, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PointsError, match=r"must end in \.csv or \.parquet|cannot be written"):
        write_table(points.frame, tmp_path / name)


def use_table(command: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fit or report, and ask for every figure; each is drawn or refused in a sentence."""
    assert main([command, str(path), "fit.bootstrap=5"]) == 0
    drawn = 0
    for name in figures():
        capsys.readouterr()
        code = main(["plot", name, str(path), "fit.bootstrap=5"])
        drawn += code == 0
        assert code == 0 or (code == 2 and f"{name} cannot be drawn. " in capsys.readouterr().err)
    assert drawn > 5


@pytest.mark.slow
def test_an_export_is_fitted_reported_and_drawn(
    reviewed_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(reviewed_store.directory), f"out={tmp_path / 'points.csv'}"]) == 0
    use_table("fit", tmp_path / "points.csv", capsys)


@pytest.mark.slow
def test_a_frontier_is_fitted_reported_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            "n": n,
            "d": d,
            "c": 6 * n * d,
            "loss": 1.2 + 30 / n**0.35 + 60 / d**0.3 + 0.04 * np.log(lr / 0.01) ** 2,
            "seed": 0,
            "tune.recipe.lr": lr,
        }
        for n in (1e4, 3e4, 1e5)
        for d in (1e6, 3e6, 1e7)
        for lr in (0.002, 0.004, 0.008, 0.016, 0.032)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "tuned.csv", index=False)
    assert main(["report", str(tmp_path / "tuned.csv"), "fit.bootstrap=5"]) == 0
    use_table("report", tmp_path / "tuned-report" / "frontier.csv", capsys)


def test_words_in_columns_that_the_report_reads_do_not_stop_it(tmp_path: Path) -> None:
    rows = [f"{n},{d},{1.2 + 30 / n**0.35 + 60 / d**0.3},cosine 1e-3,300B" for n in (1e4, 3e4, 1e5) for d in (1e6, 3e6, 1e7)]
    (tmp_path / "words.csv").write_text("\n".join(["n,d,loss,lr,unique_tokens", *rows]))
    assert main(["report", str(tmp_path / "words.csv"), "fit.bootstrap=5"]) == 0
