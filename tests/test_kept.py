import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scalesweep import kept
from scalesweep.analysis.analyse import analyse
from scalesweep.fit import fit_laws
from scalesweep.interval import Interval
from scalesweep.kept import recall
from scalesweep.points.metric import METRICS
from scalesweep.points.published import published_points
from scalesweep.points.reading import read_points
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCALESWEEP_CACHE", str(tmp_path))
    return tmp_path / "results"


def test_an_analysis_that_was_kept_says_the_same(cache: Path) -> None:
    points, spec = published_points("chinchilla"), FitSpec(bootstrap=0)
    made = analyse(points, spec)
    recall("analysis", {"points": points}, lambda: made, METRICS)
    again = recall("analysis", {"points": points}, lambda: pytest.fail("it is not computed again"), METRICS)
    assert again is not made
    assert again.points is points
    assert again.to_json() == made.to_json()
    assert summary(again) == summary(made)
    (file,) = cache.iterdir()
    assert b"lambda" not in file.read_bytes()


def test_values_come_back_as_they_were() -> None:
    shared = Interval(1.0, 2.0)
    value = {
        "array": np.arange(6, dtype=np.int32).reshape(2, 3).T,
        "scalar": np.float64(0.1),
        "nothing": (None, True, 3, float("nan"), "ä"),
        "twice": [shared, shared],
        "bytes": b"\0png",
    }
    frame = pd.DataFrame({"n": [1.0, 2.0], "seed": ["a", None], "used": [True, False], "k": [1, 2]})
    recall("value", {"a": 1}, lambda: (value, frame))
    found, table = recall("value", {"a": 1}, lambda: pytest.fail())
    assert repr(found) == repr(value)
    assert found["array"].dtype == np.int32
    assert found["twice"][0] is found["twice"][1]
    pd.testing.assert_frame_equal(table, frame)


def test_another_part_another_value(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recall("value", {"x": np.array([1.0, 2.0])}, lambda: 1) == 1
    assert recall("value", {"x": np.array([1.0, 2.1])}, lambda: 2) == 2
    assert recall("value", {"x": np.array([1, 2])}, lambda: 3) == 3
    assert recall("value", {"x": np.array([1.0, 2.0])}, lambda: 4) == 1
    monkeypatch.setattr(kept, "program", lambda: "another version")
    assert recall("value", {"x": np.array([1.0, 2.0])}, lambda: 5) == 5


def test_a_damaged_or_foreign_file_is_computed_anew(cache: Path) -> None:
    recall("value", {"x": 1}, lambda: Interval(1.0, 2.0))
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    rest = whole.partition(b"\n")[2].replace(b"scalesweep.interval:Interval", b"os:system")
    for content in (
        b"",
        whole[:-5],
        whole.replace(b"1.0", b"7.0"),
        kept.digest(rest.replace(b"\n", b"", 1)).encode() + b"\n" + rest,
    ):
        file.write_bytes(content)
        assert recall("value", {"x": 1}, lambda: Interval(3.0, 4.0)) == Interval(3.0, 4.0)
        file.unlink()


def test_what_no_file_can_hold_is_computed_each_time(cache: Path) -> None:
    calls = []
    for _ in range(2):
        recall("value", {"x": 1}, lambda: calls.append(1) or (lambda: 1))  # type: ignore[func-returns-value]
        recall("value", {"x": lambda: 1}, lambda: calls.append(1))
    assert len(calls) == 4
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCALESWEEP_CACHE", str(tmp_path / "file"))
    assert recall("value", {"x": 1}, lambda: 2) == 2


def test_what_was_not_used_for_the_longest_time_goes_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 4000)
    for x in range(3):
        recall("value", {"x": x}, lambda: b"0" * 1000)
        newest = max(cache.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (x, x))
    recall("value", {"x": 0}, lambda: b"")  # used again
    recall("value", {"x": 3}, lambda: b"0" * 1000)
    assert len(list(cache.iterdir())) == 3
    assert recall("value", {"x": 0}, lambda: b"") == b"0" * 1000
    assert recall("value", {"x": 1}, lambda: b"") == b""


def test_a_data_frame_is_fitted_as_the_points_that_it_holds() -> None:
    points, spec = published_points("chinchilla"), FitSpec(bootstrap=0)
    frame = points.used[["n", "d", "c", "loss"]]
    assert fit_laws(frame, spec)["joint"].estimates == fit_laws(read_points(frame), spec)["joint"].estimates
