"""Validation sets of a sweep: measured, added later, pinned, shown."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import CPU, measured, small_settings

from scalesweep.errors import StoreError
from scalesweep.run.store.measured import read_measured
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.settings import Settings, with_values
from scalesweep.sweep.corpora import prepare_corpora
from scalesweep.sweep.run import keep_plan, measure_sets, plan_sweep
from scalesweep.sweep.subject import sweep_subject

AXES = {"data": {"tokenizer": [{"kind": "bytes"}, {"kind": "bpe", "vocab_size": 300}]}}
SIZES = [{"width": 8, "depth": 1}, {"width": 16, "depth": 1}]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("texts")
    (place / "main.txt").write_text("".join(f"line {i} of the first set, which is long enough\n" for i in range(400)))
    (place / "train.txt").write_text("".join(f"{i}: a line to train on, {'and more ' * (i % 7)}\n" for i in range(1500)))
    (place / "other.txt").write_text("".join(f"{i * i} = {i} * {i}\n" for i in range(600)))
    return place


def settings_of(home: Path, directory: Path, texts: Path, *names: str, **train: Any) -> Settings:
    text = {"source": "files", "tokenizer": {"kind": "bytes"}}
    sets = {name: None if name == "own" else {**text, "paths": [str(texts / f"{name}.txt")]} for name in names}
    sweep = {"sizes": SIZES, "budgets": [1024, 2048], "axes": AXES}
    data = {"source": "files", "paths": [str(texts / "train.txt")], "validation": sets, "validation_fraction": 0.1}
    settings = small_settings(home, sweep=sweep, data=data, train={"keep_weights": True, **train})
    return settings.model_copy(update={"dir": str(directory)})


def ran(settings: Settings, stop: Callable[[], bool] = lambda: False) -> tuple[Store, list[str]]:
    """The sweep's store when it was planned and worked on, and what was said of sets that cells lack."""
    said: list[str] = []
    store, corpora = Store(Path(settings.dir)), prepare_corpora(settings, lambda line: None)
    plan = plan_sweep(settings, corpora, "cpu")
    keep_plan(store, plan, settings, corpora)
    work(store, CPU, stop)
    measure_sets(store, plan, "cpu", said.append)
    return store, said


@pytest.fixture(scope="module")
def store(home: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    directory = tmp_path_factory.mktemp("sets") / "sweep"
    return ran(settings_of(home, directory, texts, "main", "own", "other"))[0]


def test_every_cell_has_the_loss_of_every_set_with_its_error(store: Store) -> None:
    found = read_measured(store)
    assert len({record["validation"]["other"]["text"] for record in found.records.values()}) == 1
    for record in found.records.values():
        assert set(record["validation"]) == {"own", "other"}
        for loss in (record, *record["validation"].values()):
            assert 0 < loss["loss"] < math.log(300) + 1
            assert 0 < loss["loss_se"] < 1
    frame = found.points().frame
    assert {"loss.own", "loss_se.own", "loss.other", "loss_se.other"} <= set(frame)
    for row in frame.to_dict("records"):
        assert row["loss.other"] == found.records[row["key"]]["validation"]["other"]["loss"]


def test_further_losses_are_turned_by_their_own_bytes_per_token(store: Store) -> None:
    found = read_measured(store)
    frame = found.points(with_values(found.settings, {"count.loss": "bpb"}).count).frame
    for row in frame.to_dict("records"):
        own = found.records[row["key"]]["validation"]["own"]
        assert row["loss.own"] == pytest.approx(own["loss"] / math.log(2) / own["bytes_per_token"])
        assert row["loss_se.own"] == pytest.approx(own["loss_se"] / math.log(2) / own["bytes_per_token"])


def test_further_sets_are_no_part_of_a_cell(store: Store, home: Path, texts: Path, tmp_path: Path) -> None:
    alone, _ = ran(settings_of(home, tmp_path / "sweep", texts, "main"))
    everything = measured(store)
    for record, _ in everything.values():
        del record["validation"]
    assert measured(alone) == everything


def test_a_set_that_is_added_is_evaluated_from_kept_weights(store: Store, home: Path, texts: Path, tmp_path: Path) -> None:
    added, _ = ran(settings_of(home, tmp_path / "sweep", texts, "main"))
    before = {key: added.cell_dir(key).joinpath("record.json").read_bytes() for key in added.plan_file.keys()}
    added, said = ran(settings_of(home, tmp_path / "sweep", texts, "main", "own", "other"))
    assert any("8 cells" in line and "kept weights" in line for line in said)
    assert {key: added.cell_dir(key).joinpath("record.json").read_bytes() for key in added.plan_file.keys()} == before
    found, expected = (read_measured(one).records for one in (added, store))
    assert {key: record["validation"] for key, record in found.items()} == {k: r["validation"] for k, r in expected.items()}
    _, said = ran(settings_of(home, tmp_path / "sweep", texts, "main", "own", "other"))
    assert not any("kept weights" in line for line in said)


def test_a_cell_without_weights_is_said_to_lack_a_set(home: Path, texts: Path, tmp_path: Path) -> None:
    ran(settings_of(home, tmp_path / "sweep", texts, "main", keep_weights=False))
    lacking, said = ran(settings_of(home, tmp_path / "sweep", texts, "main", "other", keep_weights=False))
    assert any("8 complete cells lack" in line and "other" in line for line in said)
    assert "loss.other" not in read_measured(lacking).points().frame


def test_another_text_under_the_same_sweep_is_refused(home: Path, texts: Path, tmp_path: Path) -> None:
    copy = tmp_path / "texts"
    copy.mkdir()
    for name in ("main", "other", "train"):
        (copy / f"{name}.txt").write_bytes((texts / f"{name}.txt").read_bytes())
    settings = settings_of(home, tmp_path / "sweep", copy, "main", "other")
    ran(settings)
    for name in ("other", "main"):
        original = (copy / f"{name}.txt").read_bytes()
        (copy / f"{name}.txt").write_bytes(original + b"one line more\n")
        with pytest.raises(StoreError, match=rf"data\.validation\.{name} is another text"):
            ran(settings)
        (copy / f"{name}.txt").write_bytes(original)
    ran(settings)


def test_the_report_has_a_row_for_each_set_and_arm(store: Store) -> None:
    found = read_measured(store)
    rows = sweep_subject(found, found.settings, []).context.sets
    assert [(row["set"], row["arm"]) for row in rows] == [
        (name, arm) for name in ("L", "own", "other") for arm in ("bytes", "bpe vocab_size=300")
    ]
    for row in rows:
        mine = [record for key, record in found.records.items() if found.plan.columns[key]["arm"] == row["arm"]]
        losses = [record["loss"] if row["set"] == "L" else record["validation"][row["set"]]["loss"] for record in mine]
        assert row["lowest, nats/token"].value == min(losses)
        assert row["cells"] == len(losses) == 4


def test_a_killed_worker_goes_on_with_the_sets(store: Store, home: Path, texts: Path, tmp_path: Path) -> None:
    settings = settings_of(home, tmp_path / "sweep", texts, "main", "own", "other")
    steps = iter(range(1000))
    stopped, _ = ran(settings, lambda: next(steps) > 60)
    assert "WAITING" in stopped.states().values()
    again, said = ran(settings)
    assert said == []
    assert measured(again) == measured(store)
