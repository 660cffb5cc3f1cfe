"""Arms whose text cells of other arms write: planned as far as it goes, measured, planned further, killed and resumed."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from scalesweep.errors import SpecError
from scalesweep.report.charts.chart import Missing
from scalesweep.run.store.measured import read_measured
from scalesweep.settings.base import parse
from scalesweep.settings.study import StudySpec
from scalesweep.studies.base import Arms, Effect, Findings, Rule
from scalesweep.studies.load import Study
from scalesweep.studies.measure import Asked, ask, design, measure_cells, read_arms
from scalesweep.studies.result import Result
from scalesweep.studies.study import lacking_plan, run_studies, store_of

COMMON = [
    *("sweep=smoke", "launcher=inline", "model.context=32", "sweep.sizes=[{width: 16, depth: 1}]", "sweep.budgets=[4096]"),
    *("sweep.seeds=[0,1]", "train.validation_tokens=2048", "train.keep_weights=true"),
]
ARMS = {
    "real": ["data=facts", "data.answer_tokens=2", "data.keys=64", "data.max_tokens=60k"],
    "first": ["data=generated", "data.max_tokens=8k", "data.cell=@real"],
    "second": ["data=generated", "data.max_tokens=8k", "data.cell=@first", "data.accumulate=[@real,@first]"],
}
FORM = {"common": COMMON, "arms": ARMS}


def judged(arms: Arms, rule: Rule) -> Findings:
    mean = float(np.mean(arms["second"].loss))
    return Findings({"x": Effect(mean, mean, mean)}, "A loss.", Missing("x", "x", "none"))


def study(**changes: Any) -> Study:
    words = {"parts": [{"name": "x", "asks": "x"}], "quick": FORM, "full": FORM, "answered": ["second"], **changes}
    module = ModuleType("none")
    module.judge = judged  # type: ignore[attr-defined]
    return Study("stages", parse(StudySpec, {"statement": "s", "counter": "c", "judge": "none", **words}, prefix=""), module)


def asked(directory: Path) -> Asked:
    return ask(study(), "quick", [f"data.cache={directory.parent / 'cache'}"], directory, lambda line: None)


def run(directory: Path, said: list[str]) -> Result:
    return run_studies([asked(directory)], directory, said.append)[0]


def test_every_generation_is_planned_when_the_one_before_is_measured(tmp_path: Path) -> None:
    place = tmp_path / "left alone"
    before = asked(place)
    assert list(before.plans) == ["real"] and before.waiting == {"first": ["real"], "second": ["first", "real"]}
    assert len(lacking_plan([before], store_of(place)).cells) == 2
    result = run(place, [])
    plans = asked(place).plans
    assert [len(plan.cells) for plan in plans.values()] == [2, 2, 2]
    assert len({cell.corpus_hash for cell in plans["first"].cells}) == 2  # each lineage has its own text
    assert not result.origin["unmeasured"] and not result.parts[0].reason
    answers = read_arms(asked(place), read_measured(store_of(place), with_curves=False))["second"].used["answers"]
    assert [one.log_p.shape for one in answers] == [(64, 2)] * 2  # of the facts that the first generation was taught
    again: list[str] = []
    assert run(place, again).to_dict() == result.to_dict()
    assert not any("cells to measure" in line for line in again)

    killed = tmp_path / "killed"  # after its first stage
    start = asked(killed)
    measure_cells([start], {"stages": ["real"]}, store_of(killed), lambda line: None)
    after = run(killed, [])
    assert after.origin["cells"] == result.origin["cells"]
    assert [part.effect for part in after.parts] == [part.effect for part in result.parts]


def test_the_design_of_a_staged_study_needs_no_cell() -> None:
    points = design(study(), "quick")
    assert len({float(one.n[0]) for one in points.values()}) == 1
    assert [len(one.n) for one in points.values()] == [2, 2, 2]


def test_an_arm_that_learns_from_a_later_one_or_from_too_few_is_refused(tmp_path: Path) -> None:
    late = {"common": COMMON, "arms": {"first": ARMS["first"], "real": ARMS["real"]}}
    with pytest.raises(SpecError, match="arm first: @real is no arm before it"):
        study(quick=late)
    fewer = {"common": COMMON, "arms": {"real": ARMS["real"], "first": [*ARMS["first"], "sweep.seeds=[0]"]}}
    one = study(quick=fewer, full=fewer, answered=[])
    words = [f"data.cache={tmp_path / 'cache'}"]
    measure_cells([ask(one, "quick", words, tmp_path, print)], {"stages": ["real"]}, store_of(tmp_path), lambda line: None)
    with pytest.raises(SpecError, match="arm first has 1 cells and 2 write for it"):
        ask(one, "quick", words, tmp_path, lambda line: None)
