"""An adaptive sweep in a store: rounds that stand before their cells, kills and what follows, the page, refusals."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import measured, small_settings

from scalesweep.analysis.forecast.dated import Prediction, hash_points
from scalesweep.analysis.forecast.goal import Goal
from scalesweep.analysis.forecast.rounds import End, Log, Round, Sealed
from scalesweep.cli import main
from scalesweep.errors import Refused, SpecError, StoreError
from scalesweep.run.store.measured import read_measured
from scalesweep.run.store.store import Store
from scalesweep.settings.compose import compose_settings
from scalesweep.sweep import adapt
from scalesweep.sweep.adapt import run_adaptive
from scalesweep.sweep.rounds import cells_to_measure, read_rounds, with_rounds, words_that_measure
from scalesweep.sweep.run import Swept, run_sweep

GRID = {"name": "tiny", "sizes": [{"width": 16, "depth": 1}, {"width": 24, "depth": 1}], "budgets": [1024, 2048], "seeds": [3]}
ASKED = Log(Goal("a", 0.05), 1e12)
SIGKILLS = 2
KILLED_AT = ("Sweep", "Round 1", "Sweep", "Measured", "Round 2", "Not reached")
"""Starts of lines: before the grid, before a round is written, before its cells and after them, before and after the last."""


def settings_in(home, **sections):
    return small_settings(home, sweep=GRID, fit={"bootstrap": 10}, **sections)


def scripted(points, log, spec, snap, predict):
    """Two rounds and an end, which depend on all that was measured."""
    reading, spent = Prediction(float(points.loss.mean()), 0.0, 1.0), float(points.c.sum())
    if len(log.rounds) == 2:
        return End("budget", reading, spent, hash_points(points))
    place = snap(1.4 * float(points.n.max()), 2.1 * float(points.d.max()))
    assert place is not None
    cells = (
        Sealed(place.n, place.d, place.c, 3, Prediction(3.0, 1.0, 9.0)),
        Sealed(place.n, place.d, place.c, 4, Refused("x")),
    )
    return Round("cells", None, reading, None, spent, cells, hash_points(points))


@pytest.fixture
def quick(monkeypatch):
    """Rounds without fits, and no report."""
    monkeypatch.setattr(adapt, "next_round", scripted)
    monkeypatch.setattr(adapt, "conclude", lambda store, *_: Swept(read_measured(store), Refused("not fitted"), None))


def outcome(home):
    directory = home / "sweep"
    return read_rounds(directory), measured(Store(directory))


def test_rounds_are_measured_and_kept_whatever_interrupts_them(tmp_path, quick):
    lines = []
    done = run_adaptive(settings_in(tmp_path), ASKED, lines.append, lines.append)
    assert done.num_lacking == 0 and len(done.measured.states) == 8
    log, cells = outcome(tmp_path)
    assert [made.kind for made in log.rounds] == ["cells", "cells"] and log.end.reason == "budget"
    assert log.rounds[1].cells[0].d > log.rounds[0].cells[0].d > 2048
    assert {(c.n, c.d, c.seed) for made in log.rounds for c in made.cells} <= {
        (r["row"]["n"], r["row"]["d"], r["row"]["seed"]) for r in done.measured.records.values()
    }
    again = tmp_path / "again"
    for start in KILLED_AT:

        def say(line, start=start):
            if line.startswith(start):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_adaptive(settings_in(again), ASKED, say, lambda _: None)
        before = read_rounds(again / "sweep")
        assert before is None or before.rounds == log.rounds[: len(before.rounds)]
    run_adaptive(settings_in(again), ASKED, lambda _: None, lambda _: None)
    assert outcome(again) == (log, cells)
    run_adaptive(settings_in(again), ASKED, lambda _: None, lambda _: None)
    assert outcome(again) == (log, cells)


def test_what_was_asked_for_stands_before_the_first_cell(tmp_path, quick):
    def say(line):
        if line.startswith("Sweep"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_adaptive(settings_in(tmp_path), ASKED, say, say)
    assert read_rounds(tmp_path / "sweep") == ASKED


def test_a_plain_run_goes_on_with_the_cells_of_rounds(tmp_path, quick, monkeypatch):
    run_adaptive(settings_in(tmp_path), ASKED, lambda _: None, lambda _: None)
    monkeypatch.setattr("scalesweep.sweep.run.conclude", adapt.conclude)
    lines = []
    done = run_sweep(settings_in(tmp_path), lines.append, lines.append)
    assert len(done.measured.states) == 8
    assert any("Nothing new to measure" in line for line in lines)


def test_what_next_proposes_run_takes(tmp_path, quick):
    run_adaptive(settings_in(tmp_path), ASKED, lambda _: None, lambda _: None)
    directory = tmp_path / "sweep"
    store = Store(directory)
    points = read_measured(store).points()
    last = read_rounds(directory).rounds[-1].cells[0]
    proposed = cells_to_measure([last, last], points, directory)
    assert [(cell.size, cell.tokens, cell.seed) for cell in proposed] == [(last.n, last.d, 5), (last.n, last.d, 6)]
    words = words_that_measure(proposed, directory)
    assert words is not None
    found = compose_settings(words)
    standing = with_rounds(store.plan_file.settings(), read_rounds(directory)).sweep.further
    assert found.sweep.further[: len(standing)] == standing
    assert found.sweep.further[len(standing) :] == tuple(proposed)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"budget": {"hours": 1}}, "leave budget.hours out"),
        ({"fit": {"bootstrap": 0}}, "needs resamples"),
        ({"sweep": {**GRID, "axes": {"recipe": {"lr": [0.001, 0.002]}}}}, "leave sweep.axes out"),
    ],
)
def test_what_has_no_rounds_is_refused(tmp_path, sections, said):
    with pytest.raises(SpecError, match=said):
        run_adaptive(small_settings(tmp_path, **{"sweep": GRID, **sections}), ASKED, print, print)


def test_a_start_beyond_the_budget_is_refused_before_it_is_measured(tmp_path):
    with pytest.raises(SpecError, match="the grid that is measured first costs"):
        run_adaptive(settings_in(tmp_path), Log(Goal("a", 0.05), 1e6), lambda _: None, print)
    assert not (tmp_path / "sweep").exists()


def test_altered_rounds_are_refused(tmp_path, quick):
    run_adaptive(settings_in(tmp_path), ASKED, lambda _: None, lambda _: None)
    path = tmp_path / "sweep" / "rounds.json"
    path.write_text(path.read_text().replace('"value": 3.0', '"value": 2.9', 1))
    with pytest.raises(StoreError, match="checksum is wrong"):
        read_rounds(tmp_path / "sweep")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["until=a"], "until = 'a': must be a half-width to reach"),
        (["until=a<.03"], "until= needs budget=FLOPs"),
        (["budget=1e12"], "budget= has an effect only with until=GOAL"),
        (["until=error<3%", "budget=1e12"], "needs target=FLOPs"),
        (["until=a<.03", "budget=1e12", "target=1e13"], "target= has no effect with until='a<...'"),
    ],
)
def test_a_bad_goal_ends_with_one_sentence(capsys, words, said):
    assert main(["run", *words]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1


@pytest.mark.slow
def test_killed_at_any_moment_it_comes_to_the_same_rounds_and_page(tmp_path):
    grid = ["sweep.sizes=[10k,30k,60k]", "sweep.budgets=[4k,8k,16k]", "recipe.warmup_steps=5", "train.validation_tokens=4096"]
    limits = ["until=a<.2", "budget=2.5e10", "fit.bootstrap=10", "launcher=inline", "logger=none"]
    for name, kills in (("whole", 0), ("killed", SIGKILLS)):
        words = [sys.executable, "-m", "scalesweep", "run", "sweep=smoke", *grid, *limits, f"dir={tmp_path / name}"]
        for kill in range(kills):
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(4 + 3 * kill)
            process.send_signal(signal.SIGKILL)
            process.wait()
        subprocess.run(words, check=True, capture_output=True)
    whole, killed = (read_rounds(tmp_path / name) for name in ("whole", "killed"))
    assert whole == killed and whole.rounds
    assert measured(Store(tmp_path / "whole")) == measured(Store(tmp_path / "killed"))
    page = Path(tmp_path / "whole" / "report.html").read_text()
    assert "Losses predicted before each cell was measured" in page and "Adaptive sweep for a" in page
    assert "## Rounds" in (tmp_path / "whole" / "report.md").read_text()
    shown = [sys.executable, "-m", "scalesweep", "status", str(tmp_path / "whole")]
    assert "Round 1: " in subprocess.run(shown, check=True, capture_output=True, text=True).stdout
    told = json.loads(subprocess.run([*shown, "--json"], check=True, capture_output=True, text=True).stdout)
    assert len(told["rounds"]["rounds"]) == len(whole.rounds)
