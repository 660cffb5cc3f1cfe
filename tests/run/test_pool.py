"""Cells measured once: what a pool serves, to whom, and what it does with what is damaged, late or killed."""

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from builders import make_store, measured, small_settings

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.run.store.pool import Conditions, Pool, is_pooled, pool_of, take_from_pool
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.settings import Settings
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import device_name, prepare_device

CPU = prepare_device("cpu")


def with_pool(directory: Path, pool: Path | None, budgets: list[int], home: Path) -> Settings:
    return small_settings(
        home, dir=str(directory), store={"pool": pool and str(pool)}, sweep={"budgets": budgets, "name": directory.name}
    )


def run(directory: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts) -> tuple[Store, list[str]]:
    """The sweep, and what its worker said."""
    store, said = make_store(directory, settings, corpus, facts), list[str]()
    assert work(store, CPU, lambda: False, said.append)
    return store, said


def pool_here(settings: Settings) -> Pool:
    pool = pool_of(settings, device_name(CPU), torch.__version__)
    assert pool is not None
    return pool


def pooled(store: Store) -> set[str]:
    return {key for key in store.plan_file.keys() if is_pooled(store.record(key) or {})}


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory, home: Path, corpus: Corpus, facts: CorpusFacts
) -> tuple[Path, Store, Settings]:
    """A pool, and the sweep that has filled it."""
    directory = tmp_path_factory.mktemp("pooling")
    settings = with_pool(directory / "first", directory / "pool", [4096, 8192], home)
    return directory / "pool", run(directory / "first", settings, corpus, facts)[0], settings


def copy_of(pool: Path, to: Path) -> Path:
    for path in pool.rglob("*.json"):
        (to / path.parent.name).mkdir(parents=True, exist_ok=True)
        (to / path.parent.name / path.name).write_bytes(path.read_bytes())
    return to


def test_a_second_sweep_trains_what_the_first_has_not_and_has_the_same_records(
    tmp_path: Path, first: tuple[Path, Store, Settings], home: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    pool, store, _ = first
    settings = with_pool(tmp_path / "second", pool, [8192, 16384], home)
    second, said = run(tmp_path / "second", settings, corpus, facts)
    shared = set(second.plan_file.keys()) & set(store.plan_file.keys())
    assert len(shared) == 2
    assert pooled(second) == shared
    trained = {line.split()[0] for line in said if line.endswith("begins")}
    assert trained == set(second.plan_file.keys()) - shared
    alone, _ = run(tmp_path / "alone", with_pool(tmp_path / "alone", None, [8192, 16384], home), corpus, facts)
    assert measured(second) == measured(alone)
    for key in shared:  # the pool's clock and place are those of the measurement
        mine, theirs = second.record(key), store.record(key)
        assert mine and theirs
        assert mine["times"] == theirs["times"]
        assert mine["where"]["pool"] == str(pool)
    third, said = run(tmp_path / "third", with_pool(tmp_path / "third", pool, [8192, 16384], home), corpus, facts)
    assert pooled(third) == set(third.plan_file.keys())
    assert not [line for line in said if line.endswith("begins")]


@pytest.mark.parametrize(
    "other",
    [{"torch": "1.0.0"}, {"device": "NVIDIA H100"}, {"processor": "another"}, {"curve_points": 3}, {"micro_batch": 2}],
    ids=str,
)
def test_no_record_of_other_conditions_is_served(
    tmp_path: Path, first: tuple[Path, Store, Settings], corpus: Corpus, facts: CorpusFacts, other: dict[str, str]
) -> None:
    _, _, settings = first
    mine = pool_here(settings)
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    plan = store.plan_file.plan()
    elsewhere = dataclasses.replace(mine, conditions=dataclasses.replace(mine.conditions, **other))
    assert not take_from_pool(store, elsewhere, plan, plan.cells)
    assert set(store.states().values()) == {"WAITING"}
    assert len(take_from_pool(store, mine, plan, plan.cells)) == len(plan.cells)


def test_the_version_of_transformers_counts_for_its_own_models_alone(first: tuple[Path, Store, Settings]) -> None:
    _, store, settings = first
    mine = pool_here(settings)
    other = dataclasses.replace(mine, conditions=dataclasses.replace(mine.conditions, transformers="0.1"))
    decoder = store.plan_file.plan().cells[0]
    assert mine.file(decoder) == other.file(decoder)


@pytest.mark.parametrize("harm", ["torn", "altered", "unsealed", "misplaced", "empty"])
def test_a_damaged_entry_is_set_aside_and_its_cell_trained(
    tmp_path: Path,
    first: tuple[Path, Store, Settings],
    home: Path,
    corpus: Corpus,
    facts: CorpusFacts,
    harm: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = copy_of(first[0], tmp_path / "pool")
    settings = with_pool(tmp_path / "sweep", pool, [4096], home)
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    bad, good = store.plan_file.plan().cells
    path = pool_here(settings).file(bad)
    content = path.read_bytes()
    if harm == "torn":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "altered":
        loss = str(json.loads(content)["record"]["loss"]).encode()
        path.write_bytes(content.replace(loss, b"1.5"))
    elif harm == "unsealed":
        path.write_text(json.dumps({k: v for k, v in json.loads(content).items() if k != "checksum"}))
    elif harm == "misplaced":
        path.write_bytes(pool_here(settings).file(good).read_bytes())
    else:
        path.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert work(store, CPU, lambda: False)
    assert any(str(path) in message for message in caplog.messages)
    assert pooled(store) == {good.key}
    record, there = store.record(bad.key), first[1].record(bad.key)
    assert record and there
    assert record["loss"] == there["loss"]
    assert pool_here(settings).read(bad) is not None  # measured and added again
    assert path.with_suffix(".corrupt").exists()


def test_the_first_of_those_who_add_a_cell_wins(tmp_path: Path, first: tuple[Path, Store, Settings]) -> None:
    _, store, settings = first
    pool = dataclasses.replace(pool_here(settings), directory=tmp_path / "pool")
    cell = store.plan_file.plan().cells[0]
    record, curve = store.record(cell.key), store.curve(cell.key)
    assert record is not None
    assert pool.add(cell, record, curve)
    assert not pool.add(cell, {**record, "times": {}}, curve)
    entry = pool.read(cell)
    assert entry is not None
    assert entry.record["times"] == record["times"]
    assert [path.name for path in pool.file(cell).parent.iterdir()] == [pool.file(cell).name]


def test_a_diverged_cell_is_not_added(tmp_path: Path, first: tuple[Path, Store, Settings]) -> None:
    _, store, settings = first
    pool = dataclasses.replace(pool_here(settings), directory=tmp_path / "pool")
    cell = store.plan_file.plan().cells[0]
    record = store.record(cell.key)
    assert record is not None
    assert not pool.add(cell, {**record, "state": "DIVERGED", "loss": None}, [])
    assert not pool.holds(cell)


KILLED = """
import os, signal, sys
from pathlib import Path
from scalesweep import files
from scalesweep.run.store.pool import pool_of
from scalesweep.run.store.store import Store

store = Store(Path(sys.argv[1]))
pool = pool_of(store.plan_file.settings(), sys.argv[2], sys.argv[3])
when, link = sys.argv[4], os.link


def die(*arguments):
    if when == "after":
        link(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)


os.link = die
for cell in store.plan_file.plan().cells:
    pool.add(cell, store.record(cell.key), store.curve(cell.key))
"""


@pytest.mark.parametrize(("when", "kept"), [("before", 0), ("after", 1)])
def test_who_is_killed_while_adding_leaves_a_usable_pool(
    tmp_path: Path, first: tuple[Path, Store, Settings], home: Path, corpus: Corpus, facts: CorpusFacts, when: str, kept: int
) -> None:
    _, source, _ = first
    settings = with_pool(tmp_path / "sweep", tmp_path / "pool", [4096, 8192], home)
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    for key in store.plan_file.keys():
        for name in ("record.json", "curve.jsonl"):
            (store.cell_dir(key) / name).write_bytes((source.cell_dir(key) / name).read_bytes())
    arguments = [str(store.directory), device_name(CPU), torch.__version__, when]
    ended = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    again, said = run(tmp_path / "again", with_pool(tmp_path / "again", tmp_path / "pool", [4096], home), corpus, facts)
    assert len(pooled(again)) == kept
    assert len([line for line in said if line.endswith("begins")]) == 2 - kept
    last, _ = run(tmp_path / "last", with_pool(tmp_path / "last", tmp_path / "pool", [4096], home), corpus, facts)
    assert len(pooled(last)) == 2


def test_a_pool_that_cannot_be_written_costs_no_cell(tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts) -> None:
    (tmp_path / "pool").write_text("no directory")
    store, said = run(tmp_path / "sweep", with_pool(tmp_path / "sweep", tmp_path / "pool", [4096], home), corpus, facts)
    assert set(store.states().values()) == {"COMPLETE"}
    assert [line for line in said if "not added to the pool" in line]


def test_weights_that_are_asked_for_are_trained(
    tmp_path: Path, first: tuple[Path, Store, Settings], home: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    settings = small_settings(
        home,
        dir=str(tmp_path),
        store={"pool": str(first[0])},
        sweep={"budgets": [4096]},
        train={"keep_weights": True},
    )
    store, _ = run(tmp_path / "sweep", settings, corpus, facts)
    assert not pooled(store)
    assert all(store.weights(key).is_file() for key in store.plan_file.keys())


def test_a_served_cell_is_not_charged_as_trained(
    first: tuple[Path, Store, Settings], tmp_path: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    from scalesweep.run.store.progress import progress_of

    _, _, settings = first
    store, _ = run(tmp_path / "sweep", settings, corpus, facts)
    progress = progress_of(store)
    assert progress.pooled == store.plan_file.keys()
    assert progress.seconds_spent == 0
    assert progress.is_over


def test_conditions_name_what_they_hash(first: tuple[Path, Store, Settings]) -> None:
    _, _, settings = first
    conditions = pool_here(settings).conditions
    assert conditions.device == device_name(CPU)
    assert conditions.torch == torch.__version__
    changed = {f.name: dataclasses.replace(conditions, **{f.name: "x"}).hash for f in dataclasses.fields(Conditions)}  # type: ignore[arg-type]
    assert len({conditions.hash, *changed.values()}) == len(changed) + 1


def test_a_pool_from_before_there_was_a_choice_serves_its_default() -> None:
    conditions = Conditions("GPU", "", "2.11", "", 16, True, None, "auto", "{}")
    assert "compile" not in conditions.content
    assert conditions.hash == "1f0ac538a145"
    assert dataclasses.replace(conditions, compile="false").hash != conditions.hash


def test_the_key_of_a_cell_does_not_know_its_pool(
    first: tuple[Path, Store, Settings], corpus: Corpus, facts: CorpusFacts, tmp_path: Path, home: Path
) -> None:
    def cells(pool: Path | None, name: str) -> tuple[Cell, ...]:
        return make_store(tmp_path / name, with_pool(tmp_path, pool, [4096], home), corpus, facts).plan_file.plan().cells

    assert cells(first[0], "a") == cells(None, "b")
