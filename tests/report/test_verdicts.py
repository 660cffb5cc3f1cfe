"""Verdicts that stand beside a report: which is the newest, whether it is of this version, and where it is shown."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from scalesweep.report.verdicts import NOT_CALIBRATED, certificate_line, current_version, read_verdicts
from scalesweep.sweep.subject import read_subject


def keep(place: Path, study: str = "calibrate", version: str = "", **content: Any) -> Path:
    """A verdict.json."""
    path = place / study / "verdict.json"
    path.parent.mkdir(parents=True)
    judged = {"date": content.pop("date", "2026-11-02"), "scalesweep": version or current_version()}
    values = {"study": study, "verdict": "supported", "sentence": "It holds.", "rule": "0123456789ab", "judged": judged}
    path.write_text(json.dumps(values | content))
    return path


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working directory without studies of its own."""
    monkeypatch.chdir(tmp_path)


def test_without_a_certificate_the_line_says_how_to_get_one(tmp_path: Path) -> None:
    assert read_verdicts(tmp_path / "runs" / "demo") == {}
    assert certificate_line({}) == NOT_CALIBRATED


def test_the_line_has_word_date_version_and_rule(tmp_path: Path) -> None:
    keep(tmp_path / "runs" / "studies")
    line = certificate_line(read_verdicts())
    assert line == "calibrate supported (2026-11-02, this version, rule 0123456789ab): It holds."


def test_a_certificate_of_another_version_is_no_certificate_of_this_one(tmp_path: Path) -> None:
    keep(tmp_path / "runs" / "studies", version="0.0.1")
    verdicts = read_verdicts()
    assert not verdicts["calibrate"].is_current
    assert "another version, 0.0.1" in certificate_line(verdicts)


def test_the_newest_counts_and_studies_beside_the_sweep_are_found(tmp_path: Path) -> None:
    keep(tmp_path / "runs" / "studies", verdict="supported", date="2026-11-02")
    keep(tmp_path / "other" / "studies", verdict="contradicted", date="2026-11-03")
    assert read_verdicts(tmp_path / "other" / "demo")["calibrate"].word == "contradicted"
    assert read_verdicts()["calibrate"].word == "supported"


def test_of_one_day_the_last_written_counts(tmp_path: Path) -> None:
    early = keep(tmp_path / "runs" / "studies")
    os.utime(early, (1, 1))
    keep(tmp_path / "runs" / "studies_full", verdict="cannot tell")
    assert read_verdicts()["calibrate"].word == "cannot tell"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"study": "calibrate"}'])
def test_what_is_no_verdict_counts_as_none(tmp_path: Path, content: str) -> None:
    keep(tmp_path / "runs" / "studies").write_text(content)
    assert read_verdicts() == {}


def test_the_provenance_of_a_table_shows_the_certificate(tmp_path: Path) -> None:
    keep(tmp_path / "runs" / "studies")
    context = read_subject(["points=chinchilla"], "report").context
    assert context.provenance["calibration"].startswith("calibrate supported")
