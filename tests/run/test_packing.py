"""How a worker sizes its packs: evenly among workers, by trials that one makes for all, and by memory."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import make_store, one_size

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.packs import Taken
from scalesweep.run.packing import PackLimits
from scalesweep.run.queue import Queue
from scalesweep.run.store.pack_tables import LOCK_SECONDS, PackTables
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.train import measure
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device

CPU = torch.device("cpu")
SEEDS = 8


@pytest.fixture
def store(tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts) -> Store:
    """Eight seeds of one size and three lengths."""
    return make_store(tmp_path / "sweep", one_size(home, sweep={"seeds": list(range(SEEDS))}), corpus, facts)


@pytest.fixture
def cell(store: Store) -> Cell:
    """One whose training is long enough for trials."""
    return dataclasses.replace(store.plan_file.plan().longest_first[0], steps=10**7)


def auto(store: Store, said: list[str], **how: Any) -> PackLimits:
    settings = store.plan_file.settings()
    assert settings.train.pack == "auto"
    return PackLimits(store, settings, CPU, 1, say=said.append, **how)


def test_two_sizes_are_tried_once_for_all_workers_and_lengths(store: Store, cell: Cell) -> None:
    said: list[str] = []
    size = auto(store, said).of(cell, 8, [cell])
    assert 1 <= size <= 8
    assert [line.split(" of ")[0] for line in said] == ["tried one run", "tried 8 runs"]
    assert all("tokens/s, in " in line for line in said)
    (table,) = (store.directory / "packs").iterdir()
    assert table.suffix == ".json"
    shorter = dataclasses.replace(cell, steps=10**6)
    assert auto(store, said).of(cell, 8, [cell]) == auto(store, said).of(shorter, 8, [shorter]) == size
    assert len(said) == 2


def test_trials_are_left_out_where_they_cost_more_than_they_may(store: Store, cell: Cell) -> None:
    said: list[str] = []
    short = dataclasses.replace(cell, steps=1000)
    assert auto(store, said).of(short, 8, [short]) == 8
    assert said == []
    assert not (store.directory / "packs").exists()
    lengths = [dataclasses.replace(cell, steps=10**6 + i) for i in range(9)]  # together they are long enough
    auto(store, said).of(lengths[0], 8, lengths)
    assert len(said) == 2


def test_a_trial_that_does_not_fit_halves_the_pack(store: Store, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    train = measure.train

    def with_little_memory(runs: list[Any], *rest: Any) -> Any:
        if len(runs) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return train(runs, *rest)

    monkeypatch.setattr(measure, "train", with_little_memory)
    said: list[str] = []
    assert auto(store, said).of(cell, 8, [cell]) == 4
    assert list(store.memory_limits().values()) == [{"pack": 4}]
    assert auto(store, said).of(cell, 8, [cell]) <= 4
    assert [line.split(" of ")[0] for line in said] == ["tried one run", "tried 4 runs"]


def test_a_pack_that_stops_for_another_reason_is_none(store: Store, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(runs: list[Any], *rest: Any) -> Any:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(measure, "train", broken)
    assert auto(store, []).of(cell, 8, [cell]) == 1


def test_one_measures_while_the_others_wait(tmp_path: Path) -> None:
    tables, kind = PackTables(tmp_path), {"shape": 1}
    with tables.measuring(kind, lambda: False) as is_mine:
        assert is_mine
        with tables.measuring(kind, lambda: True) as is_mine:
            assert not is_mine
        with tables.measuring({"shape": 2}, lambda: False) as is_mine:
            assert is_mine
        (lock,) = (tmp_path / "packs").iterdir()
        os.utime(lock, (lock.stat().st_mtime - 2 * LOCK_SECONDS,) * 2)  # its holder is dead
        with tables.measuring(kind, lambda: False) as is_mine:
            assert is_mine
    assert list((tmp_path / "packs").iterdir()) == []


def test_a_table_keeps_times_of_trials_and_the_most_memory(tmp_path: Path) -> None:
    tables, kind = PackTables(tmp_path), {"shape": 1}
    assert tables.read(kind) == {}
    tables.note(kind, 8, Taken(100, 0.5))
    tables.note(kind, 8, Taken(300))
    tables.note(kind, 1, Taken(50, 0.1))
    assert tables.read(kind) == {1: Taken(50, 0.1), 8: Taken(300, 0.5)}
    (path,) = (tmp_path / "packs").iterdir()
    path.write_text("{")
    assert tables.read(kind) == {}


@pytest.mark.parametrize(("pack", "sizes"), [(8, [4, 4]), (3, [2, 2, 2, 2])])
def test_workers_share_alike_cells_evenly(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts, pack: int, sizes: list[int]
) -> None:
    """Two workers take packs in turn; none of them is done before the last one is taken."""
    settings = one_size(home, sweep={"seeds": list(range(SEEDS)), "budgets": [4096]}, train={"pack": pack})
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    limits = [PackLimits(store, settings, CPU, 2) for _ in range(2)]
    queue = Queue(store, store.plan_file.plan(), lambda line: None)
    taken = []
    while job := queue.take(queue.left(), limits[len(taken) % 2]):
        taken.append(len(job.runs))
    assert taken == sizes


def test_packs_are_what_records_say(tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts) -> None:
    settings = one_size(home, sweep={"seeds": list(range(5)), "budgets": [4096]}, train={"pack": 4})
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    assert work(store, prepare_device("cpu"), lambda: False)
    assert sorted(record["times"]["pack"] for record in store.records()) == [2, 2, 3, 3, 3]
