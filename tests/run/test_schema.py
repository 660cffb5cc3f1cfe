import json
from pathlib import Path

import pytest
from builders import small_settings

from scalesweep.errors import StoreError
from scalesweep.files import sealed
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.run.store.schema import SCHEMA, UPGRADES, upgrade
from scalesweep.run.store.store import Store


@pytest.mark.parametrize("kind", sorted(UPGRADES))
def test_a_file_of_today_is_left_as_it_is(kind: str) -> None:
    value = {"schema": SCHEMA, "anything": [1, 2]}
    assert upgrade(kind, value, "x") == value


def test_a_record_of_the_first_schema_gets_what_it_meant() -> None:
    old = {"schema": 1, "key": "ab", "state": "COMPLETE", "loss": 3.0, "times": {"training_seconds": 1.0}}
    new = upgrade("record", old, "record.json")
    assert new["schema"] == SCHEMA
    assert new["loss"] == 3.0
    assert new["entropy"] is None
    assert new["times"] == {"training_seconds": 1.0, "pack": 1, "shared_steps": 0}


@pytest.mark.parametrize(
    ("version", "words"),
    [(99, "schema 99, this version reads up to 2; update scalesweep"), (0, "no way from it to 2"), (None, "schema None")],
)
def test_other_versions_are_refused_with_what_to_do(version: int | None, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        upgrade("record", {"schema": version}, "record.json")


def first_schema(store: Store) -> dict[str, object]:
    """The content of sweep.json as the first schema had it."""
    value = json.loads((store.directory / "sweep.json").read_text())
    del value["checksum"], value["columns"]
    return value | {"schema": 1}


@pytest.fixture
def store(tmp_path: Path, home: Path, facts: CorpusFacts) -> Store:
    settings = small_settings(home)
    store = Store(tmp_path / "sweep")
    store.plan_file.create(make_plan(settings, facts, "cpu"), settings.model_dump(mode="json"), {})
    return store


def test_a_sweep_of_the_first_schema_is_read(store: Store) -> None:
    plan = store.plan_file.plan()
    (store.directory / "sweep.json").write_text(json.dumps(first_schema(store)))
    assert store.plan_file.plan() == plan
    assert set(store.states().values()) == {"WAITING"}


def test_a_curve_of_the_first_schema_is_read(store: Store) -> None:
    key = store.plan_file.keys()[0]
    (store.cell_dir(key) / "curve.jsonl").write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.5}\n')
    assert [p["step"] for p in store.curve(key)] == [1, 2]
    assert store.last_step(key) == 2


@pytest.mark.parametrize("change", [{"grad_clip": None}, {"of_tomorrow": 0.5}])
def test_cells_of_other_fields_are_refused_with_what_to_do(store: Store, change: dict[str, float | None]) -> None:
    value = json.loads((store.directory / "sweep.json").read_text())
    del value["checksum"]
    for name, new in change.items():
        if new is None:
            del value["cells"][0][name]
        else:
            value["cells"][0][name] = new
    (store.directory / "sweep.json").write_text(sealed(value))
    with pytest.raises(StoreError, match=r"describes its cell by other fields than this version .* that wrote it, or measure"):
        store.plan_file.plan()


def test_cells_whose_meaning_has_changed_are_refused(store: Store) -> None:
    value = json.loads((store.directory / "sweep.json").read_text())
    del value["checksum"]
    value["cells"][0]["grad_clip"] = 7.0
    (store.directory / "sweep.json").write_text(sealed(value))
    with pytest.raises(StoreError, match=r"was planned by a version for which the content of cell .* meant another training"):
        store.plan_file.plan()
