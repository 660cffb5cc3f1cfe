"""What programs get: one JSON document alone on standard output, and an exit code for what they do not want."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from scalesweep.cli import main
from scalesweep.cli.answer import doubts_of
from scalesweep.errors import EXIT_DOUBTED
from scalesweep.report.review.warnings import meanings

SMALL = [
    "sweep=smoke",
    "sweep.sizes=[{width: 16, depth: 1}]",
    "sweep.budgets=[2048,4096]",
    "data.max_bytes=300k",
    "train.validation_tokens=8192",
    "launcher=inline",
]


@pytest.fixture
def table(tmp_path: Path) -> str:
    return str(shutil.copy(Path(__file__).parents[1] / "data" / "speedruns.csv", tmp_path))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALESWEEP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    """The document of a command; people read on standard error what they read without --json."""
    assert main([*words, "--json"]) == code
    said = capsys.readouterr()
    assert said.err.strip()
    found: dict[str, Any] = json.loads(said.out)
    assert (found["schema"], found["exit_code"]) == (1, code)
    return found


def test_fit_and_forecast(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fail_on = f"fail_on=[{','.join(meanings())},limited]"
    fitted = document(capsys, "fit", table, "fit.bootstrap=0", fail_on, code=EXIT_DOUBTED)
    kept = json.loads((Path(fitted["directory"]) / "fit.json").read_text())
    assert fitted["fit"] == kept
    assert "fit.json" in fitted["files"]
    codes = {finding["code"] for finding in kept["findings"]}
    assert codes
    assert set(fitted["failed_on"]) == {*codes, "limited"}
    place = tmp_path / "forecast.json"
    made = document(capsys, "forecast", table, "at=[100M,2B]", f"file={place}", "fit.bootstrap=20")
    assert made["forecast"] == json.loads(place.read_text())
    assert made["failed_on"] == []


def test_run_and_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = document(capsys, "plan", *SMALL, f"dir={tmp_path}/sweep")
    assert [cell["d"] for cell in planned["cells"]] == [2048, 4096]
    assert all(cell["minutes"] > 0 for cell in planned["cells"])
    assert planned["price"]["usd"] > 0
    assert any("One size" in line for line in planned["warnings"])
    ran = document(capsys, "run", *SMALL, f"dir={tmp_path}/sweep", "fail_on=weak", code=EXIT_DOUBTED)
    assert (ran["states"]["COMPLETE"], ran["lacking"]) == (2, 0)
    assert ran["refusal"]
    assert ran["fit"] is ran["report"] is None
    assert ran["failed_on"] == ["weak"]


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", "transfer", "widths=[16,32]", "depths=[]", "sizes=[]", "data=python_small", "data.max_bytes=300k"]
    found = document(capsys, *words, "model.context=16", f"dir={tmp_path}/check")
    assert found["coordinates"][0]["axis"] == "width"
    assert found["learning_rates"] is None


def test_a_refusal_has_no_document(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["run", "lr=1"], ["fit", "points=chinchilla", "fail_on=A99"]):
        assert main([*words, "--json"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("scalesweep: ")


def test_no_law_is_weak_and_limited() -> None:
    assert doubts_of(None) == {"weak", "limited"}
