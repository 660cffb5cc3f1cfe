"""Tables whose rows are no independent runs of one recipe, as their owners meet them on the command line."""

import json
import shutil
from pathlib import Path

import pytest

from scalesweep.cli import main

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for table in DATA.glob("*.csv"):
        shutil.copy(table, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_families_stand_side_by_side_in_print_and_in_the_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "two_families.csv", "by=arch", "fit.bootstrap=0"]) == 0
    content = json.loads((place / "two_families-report" / "fit.json").read_text())["families"]
    ratio = content["multipliers"]["gated"]["ratio"]
    assert ratio["value"] == pytest.approx(1.6, rel=0.05)
    assert set(content["laws"]) == {"dense", "gated"}
    assert f"{ratio['value']:.4g} times less compute than dense" in " ".join(capsys.readouterr().out.split())


def test_a_tuned_table_is_fitted_at_its_optima(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "untuned_lr.csv", "tune=lr", "fit.bootstrap=0"]) == 0
    laws = json.loads((place / "untuned_lr-report" / "fit.json").read_text())["laws"]
    assert laws["joint"]["estimates"]["E"]["value"] == pytest.approx(1.7, abs=1e-3)
    assert "16 inner optima of 16" in capsys.readouterr().out


def test_a_running_run_is_left_out_and_its_end_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "curves_of_runs.csv", "fit.bootstrap=0"]) == 0
    content = json.loads((place / "curves_of_runs-report" / "fit.json").read_text())
    assert content["points"]["used"] == 11
    assert content["running"]["r12"]["loss"]["value"] == pytest.approx(2.7598, abs=1e-3)
    assert "ends at 2.76" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["fit", "two_families.csv", "by=architecture"], "no such column"),
        (["fit", "untuned_lr.csv", "tune=lrr"], "did you mean lr"),
        (["forecast", "two_families.csv", "by=arch", "compute=1e20"], "fit and report"),
        (["fit", "untuned_lr.csv", "tune="], "tune"),
        (["fit", "untuned_lr.csv", "by="], "by"),
    ],
)
def test_a_wrong_word_is_one_sentence(place: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert why in error and error.count("\n") == 1
