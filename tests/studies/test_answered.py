"""Arms whose cells answer the problems of their task: what a judge finds of them, and what is asked again."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from scalesweep.errors import PointsError, SpecError
from scalesweep.run.store.measured import read_measured
from scalesweep.settings.study import StudySpec
from scalesweep.studies.base import Arms
from scalesweep.studies.load import Study
from scalesweep.studies.measure import ask, design, measure_cells, read_arms
from scalesweep.studies.study import store_of

FORM = {
    "common": [
        *("sweep=smoke", "data=facts", "data.keys=64", "data.max_tokens=60k", "launcher=inline", "model.context=30"),
        *("sweep.sizes=[{width: 16, depth: 1}]", "sweep.budgets=[4k,8k]", "train.validation_tokens=3000"),
    ],
    "arms": {"asked": ["sweep.seeds=[0]"], "silent": ["sweep.seeds=[1]"]},
}


def study(**changes: Any) -> Study:
    words = {"parts": [{"name": "x", "asks": "x"}], "quick": FORM, "full": FORM, "answered": ["asked"], **changes}
    return Study("tasks", StudySpec(statement="s", counter="c", judge="none", **words), ModuleType("none"))


def measured(directory: Path, say: list[str]) -> Arms:
    asked = ask(study(), "quick", [f"data.cache={directory / 'cache'}"], directory, lambda line: None)
    store = store_of(directory)
    measure_cells([asked], {"tasks": list(FORM["arms"])}, store, say.append)
    return read_arms(asked, read_measured(store, with_curves=False))


def test_answers_are_a_column_of_the_arms_that_are_named(tmp_path: Path) -> None:
    said: list[str] = []
    arms = measured(tmp_path, said)
    assert "answers" not in arms["silent"].frame
    answers = arms["asked"].used["answers"]
    assert [one.log_p.shape for one in answers] == [(64, 4)] * 2
    assert all(np.isfinite(one.nll).all() for one in answers)
    assert not any("Asking" in line for line in said)  # each was asked when it was trained
    key = arms["asked"].frame["key"][0]
    (store_of(tmp_path).cell_dir(key) / "probe-facts.npz").write_bytes(b"torn")
    again: list[str] = []
    after = measured(tmp_path, again)
    assert any("Asking 1 cell" in line for line in again)
    assert not any("cells to measure" in line for line in again)
    assert np.array_equal(after["asked"].frame["answers"][0].log_p, answers[0].log_p)


def test_weights_that_a_later_arm_asks_for_are_kept(tmp_path: Path) -> None:
    arms = {"silent": ["sweep.seeds=[1]"], "asked": ["sweep.seeds=[0]", "train.keep_weights=true"]}
    form = {"common": [*FORM["common"], "sweep.budgets=[4k]"], "arms": arms}
    asked = ask(study(quick=form, full=form), "quick", [f"data.cache={tmp_path / 'cache'}"], tmp_path, lambda line: None)
    store = store_of(tmp_path)
    measure_cells([asked], {"tasks": list(arms)}, store, lambda line: None)
    assert all(store.weights(key).exists() for key in asked.cells())


def test_points_without_answers_are_refused(tmp_path: Path) -> None:
    measured(tmp_path, [])
    store = store_of(tmp_path)
    for path in (tmp_path / "sweep" / "cells").glob("*/probe-facts.json"):
        path.unlink()
    asked = ask(study(), "quick", [f"data.cache={tmp_path / 'cache'}"], tmp_path, lambda line: None)
    with pytest.raises(PointsError, match="2 cells of arm asked without answers; the same command asks"):
        read_arms(asked, read_measured(store, with_curves=False))


def test_an_arm_that_states_no_problems_cannot_be_answered(tmp_path: Path) -> None:
    form = {"common": ["sweep=smoke"], "arms": {"asked": ["data=markov"]}}
    with pytest.raises(SpecError, match="arm asked is answered, and data=markov states no problems"):
        ask(study(quick=form, full=form), "quick", [], tmp_path, lambda line: None)


def test_the_design_counts_the_vocabulary_of_a_drawn_source() -> None:
    (first, _), _ = (points.n for points in design(study(), "quick").values())
    head, wide = 16 * (8 + 16), 16 * 512
    assert head < first < wide
