import errno
import functools
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import BUDGETS, HANGUP, INTERRUPT, make_store, measured, one_size, small_settings

from scalesweep.errors import DeviceLost, StoreError
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.run import worker
from scalesweep.run.checkpoints import load_checkpoint
from scalesweep.run.store.measured import read_sweep
from scalesweep.run.store.store import Store
from scalesweep.run.worker import sleep_watch, work
from scalesweep.settings.settings import Settings
from scalesweep.sweep.corpora import corpus_facts
from scalesweep.train.data import prepare
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device
from scalesweep.train.loop import train
from scalesweep.train.measure import seconds_per_step


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, settings: Settings, corpus: Corpus, facts: CorpusFacts) -> Store:
    store = make_store(tmp_path_factory.mktemp("undisturbed") / "sweep", settings, corpus, facts)
    assert work(store, prepare_device("cpu"), lambda: False)
    return store


def test_every_cell_gets_its_record_and_the_checkpoint_goes(undisturbed: Store, settings: Settings) -> None:
    assert set(undisturbed.states().values()) == {"COMPLETE"}
    for cell in undisturbed.plan_file.plan().cells:
        record = undisturbed.record(cell.key)
        assert record is not None
        assert record["cell"] == json.loads(json.dumps(record["cell"]))
        assert record["where"]["torch"] == torch.__version__
        assert record["times"]["training_seconds"] > 0
        assert undisturbed.curve(cell.key)[-1]["tokens"] == cell.tokens
        assert not (undisturbed.cell_dir(cell.key) / "checkpoint.pt").exists()
    points = read_sweep(undisturbed.directory)
    assert len(points.loss) == 4
    larger = points.frame.sort_values(["n", "d"])["loss"].to_numpy()
    assert larger[1] < larger[0]
    assert larger[3] < larger[2]


def test_a_second_worker_finds_nothing_to_do(undisturbed: Store) -> None:
    before = measured(undisturbed)
    assert work(undisturbed, prepare_device("cpu"), lambda: False)
    assert measured(undisturbed) == before


def test_a_stopped_worker_leaves_the_cell_for_the_next(
    tmp_path: Path, undisturbed: Store, settings: Settings, corpus: Corpus, facts: CorpusFacts
) -> None:
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    calls = iter(range(10**6))
    assert not work(store, prepare_device("cpu"), lambda: next(calls) >= 20)
    assert set(store.states().values()) == {"WAITING"}
    assert len(list(store.directory.rglob("checkpoint.pt"))) == 1
    assert work(store, prepare_device("cpu"), lambda: False)
    assert measured(store) == measured(undisturbed)


def test_an_exception_fails_its_cell_alone(tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts) -> None:
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    first = store.plan_file.plan().longest_first[0].key
    (store.cell_dir(first) / "curve.jsonl").mkdir()  # a real failure: the curve cannot be written
    assert work(store, prepare_device("cpu"), lambda: False)
    states = store.states()
    assert states.pop(first) == "FAILED"
    assert "Error" in store.claims.error(first).splitlines()[-1]
    assert set(states.values()) == {"COMPLETE"}


def test_a_worker_that_lost_its_lease_writes_nothing(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker takes the cell over while this one trains it, as happens to a process that was paused."""
    monkeypatch.setattr("scalesweep.run.lease.HEARTBEAT_SECONDS", 0.0)
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    key = store.plan_file.plan().longest_first[0].key
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        if steps == 10:
            (store.cell_dir(key) / "claim-2").write_text((store.cell_dir(key) / "claim-1").read_text())
        return steps > 12

    work(store, prepare_device("cpu"), stop)
    assert store.record(key) is None
    assert not (store.cell_dir(key) / "checkpoint.pt").exists()
    assert store.state(key) == "RUNNING"
    assert json.loads((store.cell_dir(key) / "claim-1").read_text())["state"] == "released"  # its holder lives: no loss


def test_a_worker_that_is_stopped_in_an_evaluation_keeps_its_training(
    tmp_path: Path, undisturbed: Store, settings: Settings, corpus: Corpus, facts: CorpusFacts
) -> None:
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    cell = store.plan_file.plan().longest_first[0]
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += store.state(cell.key) == "RUNNING" and store.last_step(cell.key) == cell.steps
        return steps > 1  # asked after the last step, and then between parts of the evaluation

    assert not work(store, prepare_device("cpu"), stop)
    start = load_checkpoint(store.checkpoint(cell.key), cell.key)
    assert start is not None
    assert start.step == cell.steps
    assert work(store, prepare_device("cpu"), lambda: False)
    assert measured(store) == measured(undisturbed)


def test_a_gpu_that_is_lost_ends_the_worker_and_not_its_cells(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nFor debugging consider ...")

    monkeypatch.setattr("scalesweep.run.worker.train", refuse)
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    with pytest.raises(DeviceLost, match="cpu has failed: CUDA error: an illegal memory access was encountered"):
        work(store, prepare_device("cpu"), lambda: False)
    assert [*store.states().values()] == ["WAITING"] * 4
    longest = store.plan_file.plan().longest_first[0].key
    failure = store.claims.failed_device(longest, os.getpid())
    assert failure is not None
    assert (failure.cause, failure.advanced) == ("CUDA error: an illegal memory access was encountered", False)
    assert store.claims.lost(longest) == 0


def test_a_machine_that_slept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    has_slept, ahead, clock = sleep_watch(), 0.0, time.time
    monkeypatch.setattr("scalesweep.run.worker.time.time", lambda: clock() + ahead)
    assert not has_slept()
    ahead = 3600.0
    assert has_slept()
    assert not has_slept()


def test_a_full_disk_silences_the_log_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    worker.write_log("a line")


def test_a_worker_ends_with_the_process_that_started_it(tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts) -> None:
    sweep = {"name": "long", "sizes": [{"width": 64, "depth": 2}], "budgets": ["50M"]}
    settings = small_settings(home, sweep=sweep)
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    starter = (
        "import os, subprocess, sys, time\n"
        f"command = [sys.executable, '-m', 'scalesweep.run', {str(store.directory)!r}, '--parent', str(os.getpid())]\n"
        "subprocess.Popen(command)\n"
        f"while not any(os.scandir({str(store.cell_dir(store.plan_file.keys()[0]))!r})): time.sleep(0.1)\n"
    )
    subprocess.run([sys.executable, "-c", starter], check=True, timeout=120, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while store.states() != {store.plan_file.keys()[0]: "WAITING"} and time.monotonic() < deadline:
        time.sleep(0.1)
    assert store.states() == {store.plan_file.keys()[0]: "WAITING"}


def test_the_benchmark_measures_a_step(settings: Settings, facts: CorpusFacts) -> None:
    cell = make_plan(settings, facts, "cpu").cells[0]
    assert 1e-5 < seconds_per_step(cell, prepare_device("cpu"), None) < 1.0


def test_a_corpus_that_was_prepared_anew_is_refused(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts
) -> None:
    store = Store(tmp_path / "sweep")
    planned = make_plan(settings, facts, "cpu")
    store.plan_file.create(planned, settings.model_dump(mode="json"), {**corpus_facts(corpus), "corpus_hash": "0" * 16})
    with pytest.raises(StoreError, match="the sweep was planned with 0000000000000000"):
        work(store, prepare_device("cpu"), lambda: False)


def test_a_loss_below_the_source_s_entropy_is_recorded_as_such(tmp_path: Path) -> None:
    """The corpus claims an entropy that every model beats, as a leak would make it look."""
    data = {"source": "markov", "max_bytes": None, "max_tokens": 20_000, "validation_fraction": 0.1, "cache": str(tmp_path)}
    sweep = {"name": "markov", "sizes": [{"width": 16, "depth": 1}], "budgets": [4096]}
    settings = small_settings(tmp_path, sweep=sweep, data={**data, "tokenizer": {"kind": "none"}})
    corpus = prepare(settings.data)
    facts = CorpusFacts(corpus.name, corpus.hash, corpus.vocab_size, 10_000)
    records = []
    for name, entropy in (("true", corpus.entropy), ("false", 9.0)):
        stated = json.loads((corpus.directory / "corpus.json").read_text())
        (corpus.directory / "corpus.json").write_text(json.dumps({**stated, "entropy": entropy}))
        store = make_store(tmp_path / name, settings, corpus, facts)
        assert work(store, prepare_device("cpu"), lambda: False)
        records += store.records()
    assert records[0]["entropy"] == corpus.window_entropy(32)
    assert records[0]["below_entropy"] == ""
    assert "below the source's entropy 9." in records[1]["below_entropy"]


# -- trunks -----------------------------------------------------------------------------------------------------------------


def test_branches_measure_what_each_cell_measures_by_itself(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    shared = make_store(tmp_path / "shared", one_size(home), corpus, facts)
    assert work(shared, prepare_device("cpu"), lambda: False)
    steps = []
    for budget in BUDGETS:
        alone = make_store(tmp_path / str(budget), one_size(home, sweep={"budgets": [budget]}), corpus, facts)
        assert work(alone, prepare_device("cpu"), lambda: False)
        (key,) = alone.plan_file.keys()
        assert measured(alone)[key] == measured(shared)[key]
        assert alone.record(key)["times"]["shared_steps"] == 0  # type: ignore[index]
        steps.append(shared.record(key)["times"]["shared_steps"])  # type: ignore[index]
    assert steps == [c.branch_step for c in shared.plan_file.plan().cells[:2]] + [0]
    assert not list(shared.directory.rglob("*.pt"))
    assert not list((shared.directory / "trunks").iterdir())


def test_a_budget_that_is_added_goes_on_from_nothing_but_equals_itself(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    """No state is kept once every cell of a trunk has its record, so a longer one that comes later starts at its first step."""
    store = make_store(tmp_path / "sweep", one_size(home, sweep={"budgets": BUDGETS[:2]}), corpus, facts)
    assert work(store, prepare_device("cpu"), lambda: False)
    before = measured(store)
    make_store(tmp_path / "sweep", one_size(home), corpus, facts)
    assert work(store, prepare_device("cpu"), lambda: False)
    after = measured(store)
    assert {k: after[k] for k in before} == before
    assert store.record(store.plan_file.keys()[2])["times"]["shared_steps"] == 0  # type: ignore[index]


def test_a_stopped_trunk_and_its_branches_go_on(tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts) -> None:
    quiet = make_store(tmp_path / "quiet", one_size(home), corpus, facts)
    assert work(quiet, prepare_device("cpu"), lambda: False)
    store = make_store(tmp_path / "sweep", one_size(home), corpus, facts)
    while True:  # stopped again and again, in the trunk and in the branches
        calls = iter(range(10**6))
        if work(store, prepare_device("cpu"), lambda: next(calls) >= 45):  # noqa: B023
            break
    assert measured(store) == measured(quiet)


def claim_and_sleep(directory: Path, key: str) -> None:
    assert Store(directory).claims.take(key)
    time.sleep(600)


def test_a_cell_waits_for_its_trunk_and_is_let_go_by_the_holder_s_death(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalesweep.run.worker.WAIT_SECONDS", 0.05)
    store = make_store(tmp_path / "sweep", one_size(home), corpus, facts)
    longest = store.plan_file.plan().longest_first[0].key
    holder = multiprocessing.get_context("spawn").Process(target=claim_and_sleep, args=(store.directory, longest))
    holder.start()
    while store.state(longest) != "RUNNING":
        time.sleep(0.05)
    looks = 0

    def stop() -> bool:
        nonlocal looks
        looks += 1
        if looks == 5:
            assert sorted(store.states().values()) == ["RUNNING", "WAITING", "WAITING"]
            holder.kill()
            holder.join()
        return False

    assert work(store, prepare_device("cpu"), stop)
    assert set(store.states().values()) == {"COMPLETE"}


# -- packs ------------------------------------------------------------------------------------------------------------------


def losses(store: Store) -> list[float]:
    return [r["loss"] for r in store.records()]


@pytest.fixture(scope="module")
def seeds_alone(tmp_path_factory: pytest.TempPathFactory, home: Path, corpus: Corpus, facts: CorpusFacts) -> Store:
    settings = one_size(home, sweep={"seeds": [0, 1, 2]})
    store = make_store(tmp_path_factory.mktemp("alone") / "sweep", settings, corpus, facts)
    assert work(store, prepare_device("cpu"), lambda: False)
    return store


def packed(directory: Path, home: Path, corpus: Corpus, facts: CorpusFacts, pack: int = 4) -> Store:
    return make_store(directory, one_size(home, sweep={"seeds": [0, 1, 2]}, train={"pack": pack}), corpus, facts)


def test_packed_cells_have_the_records_of_cells_alone(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts, seeds_alone: Store
) -> None:
    store = packed(tmp_path / "sweep", home, corpus, facts)
    assert store.plan_file.keys() == seeds_alone.plan_file.keys()
    assert work(store, prepare_device("cpu"), lambda: False)
    assert losses(store) == pytest.approx(losses(seeds_alone), abs=1e-3)
    assert {r["times"]["pack"] for r in store.records()} == {3}
    assert [r["times"]["shared_steps"] for r in store.records()] == [r["times"]["shared_steps"] for r in seeds_alone.records()]
    assert not list(store.directory.rglob("*.pt"))


def test_a_stopped_pack_goes_on(tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts, seeds_alone: Store) -> None:
    store = packed(tmp_path / "sweep", home, corpus, facts)
    calls = iter(range(10**6))
    assert not work(store, prepare_device("cpu"), lambda: next(calls) >= 20)
    assert len(list(store.directory.rglob("checkpoint.pt"))) == 3
    assert set(store.states().values()) == {"WAITING"}
    assert work(store, prepare_device("cpu"), lambda: False)
    assert losses(store) == pytest.approx(losses(seeds_alone), abs=1e-3)


def test_a_pack_that_is_too_large_is_halved(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts, seeds_alone: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_little_memory(runs: list[Any], *rest: Any) -> Any:
        if len(runs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return train(runs, *rest)

    monkeypatch.setattr("scalesweep.run.worker.train", with_little_memory)
    store, said = packed(tmp_path / "sweep", home, corpus, facts), list[str]()
    assert work(store, prepare_device("cpu"), lambda: False, said.append)
    assert losses(store) == pytest.approx(losses(seeds_alone), abs=1e-3)
    assert {r["times"]["pack"] for r in store.records()} == {1}
    assert "3 runs of width 16, depth 1 together do not fit into the memory of cpu; at most 1 from now on (train.pack)" in said


def test_one_cell_s_failure_in_a_pack_is_its_own(tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts) -> None:
    store = packed(tmp_path / "sweep", home, corpus, facts)
    first = store.plan_file.plan().longest_first[0].key
    (store.cell_dir(first) / "curve.jsonl").mkdir()
    assert work(store, prepare_device("cpu"), lambda: False)
    states = store.states()
    assert states.pop(first) == "FAILED"
    assert set(states.values()) == {"COMPLETE"}


def test_a_cell_that_is_taken_from_a_pack_is_left_to_the_other(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    store, said = packed(tmp_path / "sweep", home, corpus, facts), list[str]()
    taken = store.plan_file.plan().longest_first[0].key
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        if steps == 20:
            (store.cell_dir(taken) / "claim-2").write_text((store.cell_dir(taken) / "claim-1").read_text())
        return steps > 140  # the first pack has 128 steps

    work(store, prepare_device("cpu"), stop, said.append)
    assert store.state(taken) == "RUNNING"
    assert f"{taken} was taken over by another worker; left to it" in said
    assert sorted(store.states().values()).count("COMPLETE") == 2


@pytest.mark.slow
def test_a_pack_whose_worker_died_is_halved(tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts) -> None:
    store = packed(tmp_path / "sweep", home, corpus, facts)
    for cell in store.plan_file.plan().longest_first[:3]:
        process = multiprocessing.get_context("spawn").Process(target=claim_and_sleep, args=(store.directory, cell.key))
        process.start()
        while store.state(cell.key) != "RUNNING":
            time.sleep(0.05)
        process.kill()
        process.join()
    assert [store.claims.lost(c.key) for c in store.plan_file.plan().longest_first[:4]] == [1, 1, 1, 0]
    assert work(store, prepare_device("cpu"), lambda: False)
    assert {store.record(c.key)["times"]["pack"] for c in store.plan_file.plan().longest_first[:3]} == {1}  # type: ignore[index]


def test_a_micro_batch_that_is_too_large_is_halved_and_remembered(
    tmp_path: Path, settings: Settings, undisturbed: Store, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells have 4 sequences of 32 tokens a step; more than one of width 32 at once does not fit."""
    tried = []

    def with_little_memory(runs: list[Any], train_tokens: Any, validation_tokens: Any, execution: Any, *rest: Any) -> Any:
        tried.append((runs[0].cell.shape.width, execution.micro_batch))
        if runs[0].cell.shape.width == 32 and execution.micro_batch > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return train(runs, train_tokens, validation_tokens, execution, *rest)

    monkeypatch.setattr("scalesweep.run.worker.train", with_little_memory)
    store, said = make_store(tmp_path / "sweep", settings, corpus, facts), list[str]()
    assert work(store, prepare_device("cpu"), lambda: False, said.append)
    assert losses(store) == pytest.approx(losses(undisturbed), abs=1e-4)
    assert [t for t in tried if t[0] == 32] == [(32, 4), (32, 2), (32, 1), (32, 1)]  # the second cell of the width knows
    assert [t for t in tried if t[0] == 16] == [(16, 4), (16, 4)]
    assert (
        "4 sequences of width 32, depth 1 do not fit into the memory of cpu; 2 at a time from now on (train.micro_batch)"
        in said
    )
    (limits,) = store.memory_limits().values()
    assert limits == {"micro_batch": 1}


def test_memory_that_others_hold_is_no_limit_of_the_device(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_memory(runs: list[Any], *rest: Any) -> Any:
        tried.append(rest[2].micro_batch)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.\nSee the documentation ...")

    tried = list[int]()
    monkeypatch.setattr("scalesweep.run.worker.train", without_memory)
    monkeypatch.setattr("scalesweep.run.packing.bytes_of_others", lambda _: 70 * 2**30)
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    with pytest.raises(DeviceLost, match=r"cpu has failed: other processes hold 70\.0 GiB of its memory"):
        work(store, prepare_device("cpu"), lambda: False)
    assert sorted(set(tried)) == [1, 2, 4]
    assert store.memory_limits() == {}
    assert [*store.states().values()] == ["WAITING"] * 4


def test_the_reason_of_a_failure_is_its_first_line(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise RuntimeError("shapes differ\nFor debugging consider passing ...\n")

    monkeypatch.setattr("scalesweep.run.worker.train", refuse)
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    assert work(store, prepare_device("cpu"), lambda: False)
    key = store.plan_file.keys()[0]
    assert store.state(key) == "FAILED"
    assert store.claims.reason(key) == "RuntimeError: shapes differ"
    assert "Traceback" in store.claims.error(key)


def test_a_cell_of_which_not_one_sequence_fits_fails_alone(
    tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_memory(runs: list[Any], *rest: Any) -> Any:
        if runs[0].cell.shape.width == 32:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return train(runs, *rest)

    monkeypatch.setattr("scalesweep.run.worker.train", without_memory)
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    assert work(store, prepare_device("cpu"), lambda: False)
    states = store.states()
    assert {c.key: c.shape.width == 32 for c in store.plan_file.plan().cells} == {k: s == "FAILED" for k, s in states.items()}


# -- the directory fails ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_takes_no_more_ends_the_worker_and_nothing_else(
    tmp_path: Path,
    undisturbed: Store,
    settings: Settings,
    corpus: Corpus,
    facts: CorpusFacts,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    writes = iter(range(10**6))

    def fsync(descriptor: int) -> None:
        if next(writes) >= 7:  # in the middle of the first cell's curve; also the release cannot be written
            raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(StoreError, match=f"cannot be written: {os.strerror(number)}; ma.* repeat the command"):
            work(store, prepare_device("cpu"), lambda: False)
    assert set(store.states().values()) <= {"WAITING", "LOST"}
    assert not [p for p in store.directory.rglob("*") if p.name.startswith(".")]
    assert work(store, prepare_device("cpu"), lambda: False)
    assert measured(store) == measured(undisturbed)


def test_a_directory_that_vanishes_ends_the_worker_in_one_sentence(
    tmp_path: Path, undisturbed: Store, settings: Settings, corpus: Corpus, facts: CorpusFacts
) -> None:
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    steps = 0

    def unmount() -> bool:
        nonlocal steps
        steps += 1
        if steps == 20:
            store.directory.rename(tmp_path / "away")
        return False

    with pytest.raises(StoreError, match="sweep is gone; mount or restore it, and repeat the command"):
        work(store, prepare_device("cpu"), unmount)
    (tmp_path / "away").rename(store.directory)
    os.utime(next(store.directory.rglob("claim-1")), (1, 1))  # the lease is over
    assert work(store, prepare_device("cpu"), lambda: False)
    assert measured(store) == measured(undisturbed)


def worker_process(store: Store, **options: Any) -> subprocess.Popen[str]:
    """A worker, with what it says in a pipe."""
    command = [sys.executable, "-m", "scalesweep.run", str(store.directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


@pytest.mark.slow
def test_a_limit_of_file_sizes_ends_a_worker_with_one_line(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    """A checkpoint does not fit, as on a disk that is full; curves and records do."""
    settings = one_size(home, sweep={"budgets": [16384]}, train={"checkpoint_seconds": 0.01})
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (20_000, 20_000))
    process = worker_process(store, preexec_fn=limit)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 74
    begins, *ends = said.strip().splitlines()
    assert begins.endswith(" begins")
    assert len(ends) == 1
    assert "cannot be written: File too large; raise the limit of file sizes" in said
    assert set(store.states().values()) == {"WAITING"}
    assert work(store, prepare_device("cpu"), lambda: False)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 75), (signal.SIGTERM, 130), INTERRUPT, HANGUP])
def test_a_signal_ends_a_worker_in_order(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts, number: signal.Signals, code: int
) -> None:
    settings = one_size(home, sweep={"budgets": ["50M"]})
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    (key,) = store.plan_file.keys()
    process = worker_process(store)
    while not store.curve(key):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert said.strip().endswith(f"stopped by {number.name}; the checkpoint is written and the cell given back")
    assert store.states() == {key: "WAITING"}
    assert store.checkpoint(key).exists()
