"""Studies from beginning to end, on a grid of six cells."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import FACTS

from scalesweep.errors import PointsError, SpecError
from scalesweep.points.points import points_from_rows
from scalesweep.run.store.measured import read_measured
from scalesweep.settings.study import PlantedSpec
from scalesweep.studies.load import Study, planted_controls
from scalesweep.studies.measure import Asked, ask, compose_arms, planned_points, read_arms
from scalesweep.studies.result import Result, result_of
from scalesweep.studies.simulate import operating, wrong_share
from scalesweep.studies.study import judge_measured, keep_operating, lacking_plan, read_verdict, run_studies, store_of

TOY = Path(__file__).parent / "toy"


def asked(toy: Study, directory: Path) -> Asked:
    return ask(toy, "quick", [f"--config-dir={TOY}", f"data.cache={directory / 'cache'}"], directory, lambda _: None)


def run(toy: Study, directory: Path, said: list[str] | None = None) -> Result:
    return run_studies([asked(toy, directory)], directory, (said if said is not None else []).append)[0]


@pytest.fixture(scope="module")
def measured_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


def test_it_seals_measures_and_judges_and_a_second_call_trains_nothing(toy: Study, measured_once: Path) -> None:
    said: list[str] = []
    first = run(toy, measured_once, said)
    assert {part.word for part in first.parts} <= {"supported", "contradicted", "cannot tell"}
    sealed_at, trained = (next(i for i, line in enumerate(said) if text in line) for text in ("sealed in", "2 new"))
    assert sealed_at < trained  # what is forecast is measured after it
    verdict = read_verdict(measured_once, "quick", "toy")
    assert verdict is not None and verdict == json.loads(json.dumps(first.to_dict()))
    assert [len(keys) for keys in verdict["cells"].values()] == [4, 2]
    assert verdict["sealed"]["forecast"]["cells"] == 2 and verdict["sealed"]["stood"] == []
    assert lacking_plan([asked(toy, measured_once)], store_of(measured_once)).cells == ()
    again: list[str] = []
    run(toy, measured_once, again)
    assert not any("cells to measure" in line for line in again)
    assert read_verdict(measured_once, "quick", "toy") == verdict


def test_points_of_an_arm_say_the_seconds_of_a_run_of_its_own(toy: Study, measured_once: Path) -> None:
    run(toy, measured_once)
    measured = read_measured(store_of(measured_once), with_curves=False)
    arms = read_arms(asked(toy, measured_once), measured)
    assert [len(points.frame) for points in arms.values()] == [4, 2]
    for points in arms.values():
        for key, seconds in zip(points.frame["key"], points.frame["seconds"], strict=True):
            times, steps = measured.records[key]["times"], measured.records[key]["row"]["steps"]
            assert seconds == pytest.approx(times["training_seconds"] * steps / (steps - times["shared_steps"]))


def test_a_forecast_of_what_stood_already_cannot_tell(toy: Study, tmp_path: Path) -> None:
    run(toy, tmp_path)
    (tmp_path / "toy" / "sealed.json").unlink()
    late = run(toy, tmp_path)
    assert [part.word for part in late.parts][1] == "cannot tell"
    assert "had been measured" in late.parts[1].reason
    (rule,) = late.origin["sealed"]["rules"]
    assert (rule["measured_before"], rule["cells"]) == (6, 6)


def test_cells_that_a_study_seals_wait_in_all_studies_until_they_are_forecast(toy: Study, tmp_path: Path) -> None:
    reader = dataclasses.replace(toy, name="reader", spec=toy.spec.model_copy(update={"sealed": {}}))
    whole = toy.spec.quick.model_copy(
        update={"arms": {"long": ("sweep.budgets=[4k,8k,16k]",), "base": ("sweep.budgets=[4k,8k]",)}}
    )
    sealing = dataclasses.replace(toy, spec=toy.spec.model_copy(update={"quick": whole}))
    said: list[str] = []
    run_studies([asked(reader, tmp_path), asked(sealing, tmp_path)], tmp_path, said.append)
    first, sealed, second = (
        next(i for i, line in enumerate(said) if text in line) for text in ("4 cells", "sealed in", "2 new")
    )
    assert first < sealed < second
    assert "forecast of 2 cells" in said[sealed]  # the sealed arm shares the other four with the open one
    words = {name: read_verdict(tmp_path, "quick", name) for name in ("reader", "toy")}
    assert words["toy"]["sealed"]["stood"] == [] and not any(verdict["unmeasured"] for verdict in words.values())
    assert words["toy"]["parts"][1]["verdict"] == "supported"


def test_a_forecast_waits_for_cells_that_another_study_seals(toy: Study, tmp_path: Path) -> None:
    further = toy.spec.quick.model_copy(
        update={"arms": {"base": ("sweep.budgets=[4k,8k,16k]",), "long": ("sweep.budgets=[32k]",)}}
    )
    later = dataclasses.replace(toy, name="later", spec=toy.spec.model_copy(update={"quick": further}))
    run_studies([asked(later, tmp_path), asked(toy, tmp_path)], tmp_path, lambda _: None)
    for name, cells in (("toy", 2), ("later", 2)):
        verdict = read_verdict(tmp_path, "quick", name)
        assert verdict["sealed"]["stood"] == [] and verdict["sealed"]["forecast"]["cells"] == cells


def test_a_part_whose_forecast_was_never_made_cannot_tell(toy: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PointsError("no law of these points")

    monkeypatch.setattr(toy.module, "forecast", refuse)
    said: list[str] = []
    result = run(toy, tmp_path, said)
    assert any("nothing can be forecast: no law" in line for line in said)
    assert (result.parts[1].word, result.parts[1].reason) == (
        "cannot tell",
        "Nothing was forecast before these cells were measured.",
    )


def test_a_changed_rule_is_shown_beside_the_first(toy: Study, measured_once: Path) -> None:
    first = run(toy, measured_once)
    parts = (toy.spec.parts[0].model_copy(update={"claim_at": 0.02}), toy.spec.parts[1])
    changed = dataclasses.replace(toy, spec=toy.spec.model_copy(update={"parts": parts}))
    rules = run(changed, measured_once).origin["sealed"]["rules"]
    assert [rule["rule"] for rule in rules[-2:]] == [first.origin["rule"], changed.rule_hash]
    run(toy, measured_once)


def test_a_cell_without_a_record_withholds_every_verdict(toy: Study, tmp_path: Path) -> None:
    directory = tmp_path
    run(toy, directory)
    store = store_of(directory)
    key = store.plan_file.keys()[0]
    (store.cell_dir(key) / "record.json").unlink()
    result = judge_measured(asked(toy, directory), read_measured(store, with_curves=False), directory)
    assert {part.word for part in result.parts} == {"cannot tell"}
    assert "1 of 6 cells" in result.parts[0].reason


def test_a_verdict_holds_the_errors_of_its_own_rule_alone(toy: Study, measured_once: Path) -> None:
    run(toy, measured_once)
    rows = operating(toy, {"base": planned_points_of(toy)}, 2)
    keep_operating(asked(toy, measured_once), rows, measured_once)
    assert run(toy, measured_once).to_dict()["operating"] == rows
    other = dataclasses.replace(toy, spec=toy.spec.model_copy(update={"seed": 5}))
    keep_operating(asked(other, measured_once), rows, measured_once)
    assert run(toy, measured_once).operating == ()


def test_settings_that_a_study_fixes_are_refused(toy: Study, tmp_path: Path) -> None:
    for word in ("fit.bootstrap=3", "budget.hours=1", "count.params=total"):
        with pytest.raises(SpecError, match=word.partition(".")[0]):
            compose_arms(toy, "quick", [f"--config-dir={TOY}", word], tmp_path)


def test_an_arm_keeps_what_it_says_itself(toy: Study, tmp_path: Path) -> None:
    arms = compose_arms(toy, "quick", [f"--config-dir={TOY}", "sweep.budgets=[2k]", "sweep.seeds=[5]"], tmp_path)
    assert {arm: settings.sweep.budgets for arm, settings in arms.items()} == {"base": (4000, 8000), "long": (16000,)}
    assert {settings.sweep.seeds for settings in arms.values()} == {(5,)}


def test_operating_characteristics_count_words(toy: Study) -> None:
    arms = {"base": planned_points_of(toy)}
    rows = operating(toy, arms, 3)
    assert [(row["part"], row["truth"]) for row in rows] == [("gain", "null"), ("gain", "claim")]  # error cannot be planted
    assert [wrong_share(row) for row in rows] == [0.0, 0.0]
    assert rows[0]["cannot_tell"] == 1.0


def planned_points_of(toy: Study) -> Any:
    from scalesweep.plan.plan import make_plan

    settings = compose_arms(toy, "quick", [f"--config-dir={TOY}"], Path("unused"))["base"]
    return planned_points(make_plan(settings, FACTS, "cpu"), settings.count)


def test_planted_tables_are_controls_that_can_fail(toy: Study) -> None:
    arms = {"base": planned_points_of(toy)}
    found = toy.findings(arms, toy.rule)
    good = planted_controls(toy, arms, found, "quick")
    assert [control.passed for control in good] == [True, True]
    wrong = toy.spec.model_copy(update={"planted": (PlantedSpec(part="gain", theta=0.5, word="contradicted"),)})
    liar = dataclasses.replace(toy, spec=wrong)
    failed = planted_controls(liar, arms, found, "quick")
    result = result_of("toy", "quick", wrong, found, failed)
    assert {part.word for part in result.parts} == {"not valid"} and "planted gain" in result.sentence


def test_a_table_of_ones_own_is_judged(toy: Study) -> None:
    rows = [{"n": 1e6, "d": d, "c": 6e6 * d, "loss": 4 - 0.1 * np.log(d / 1e6)} for d in (1e6, 1e7, 1e8)]
    points = points_from_rows(rows, "?", "?", "table")
    assert toy.judge(points).word == "supported"
    with pytest.raises(PointsError, match="arm base"):
        toy.judge({"bsae": points})
