import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scalesweep.kept import is_kept
from scalesweep.report.charts import pictures
from scalesweep.report.charts.canvas import draw
from scalesweep.report.charts.chart import Axis, Chart, Dots, Panel
from scalesweep.report.charts.pictures import drawing_ahead, picture


def chart(name: str, last: float) -> Chart:
    marks = (Dots(np.array([1e3, 2e3, last]), np.array([3.0, 2.0, 1.0])),)
    sides = Axis("params", 1e3, 1e4, "parameters N"), Axis("loss", 0.5, 4.0, "loss L")
    return Chart(name, "Losses.", (Panel(name, *sides, marks),))


WANTED = [(chart(f"losses_{i}", 3e3 + i), "png") for i in range(4)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALESWEEP_CACHE", str(tmp_path))
    monkeypatch.setattr(pictures, "num_cores", lambda: 2)


def kept() -> list[bool]:
    return [is_kept("figure", {"chart": chart, "kind": kind}) for chart, kind in WANTED]


def no_process(*words: object, **how: object) -> None:
    pytest.fail("a process was started")


def test_another_process_draws_the_same_pictures_from_the_last_one_on() -> None:
    seen, deadline = [kept()], time.monotonic() + 120
    with drawing_ahead(WANTED):
        while not all(seen[-1]) and time.monotonic() < deadline:
            seen.append(kept())
    assert not any(seen[0])
    assert all(seen[-1])
    assert all(found == sorted(found) for found in seen)
    assert [picture(chart, kind) for chart, kind in WANTED] == [draw(chart, kinds=[kind])[kind] for chart, kind in WANTED]


def test_no_process_is_started_for_a_few_pictures_those_that_are_kept_or_on_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", no_process)
    with drawing_ahead(WANTED[1:]):
        pass
    monkeypatch.setattr(pictures, "num_cores", lambda: 1)
    with drawing_ahead(WANTED):
        for chart, kind in WANTED:
            picture(chart, kind)
    monkeypatch.setattr(pictures, "num_cores", lambda: 2)
    with drawing_ahead(WANTED):
        pass


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false"])
def test_pictures_are_drawn_where_the_other_process_cannot_be_had(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with drawing_ahead(WANTED):
        assert picture(*WANTED[0]) == draw(WANTED[0][0], kinds=["png"])["png"]


def test_pictures_are_the_same_whatever_else_is_set_in_the_process() -> None:
    import matplotlib

    plain = draw(WANTED[0][0], kinds=["png"])["png"]
    with matplotlib.rc_context({"lines.linewidth": 9.0, "font.weight": "bold", "axes.titlepad": 30.0}):
        assert draw(WANTED[0][0], kinds=["png"])["png"] == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9.0
