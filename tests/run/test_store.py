import dataclasses
import errno
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from builders import small_settings

from scalesweep import files
from scalesweep.errors import StoreError
from scalesweep.files import Damaged, read_json, set_aside
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.run.store import claims, plan_file
from scalesweep.run.store import store as module
from scalesweep.run.store.free_cells import claimable, snapshot_steps, unfinished, waits_for_trunk
from scalesweep.run.store.measured import read_sweep
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings


@pytest.fixture
def plan(settings: Settings, facts: CorpusFacts) -> Plan:
    return make_plan(settings, facts, "cpu")


@pytest.fixture
def store(tmp_path: Path, plan: Plan, settings: Settings) -> Store:
    store = Store(tmp_path / "sweep")
    assert store.plan_file.create(plan, settings.model_dump(mode="json"), {}) == len(plan.cells)
    return store


def record(store: Store, key: str, loss: float | None = 3.0, state: str = "COMPLETE") -> None:
    cell = next(c for c in store.plan_file.plan().cells if c.key == key)
    claim = store.claims.take(key)
    assert claim is not None
    values = {"state": state, "loss": loss, "loss_se": 0.1, "last_finite_loss": 3.1, "cell": dataclasses.asdict(cell)}
    assert store.write_record(claim, values)


def test_the_plan_survives(store: Store, plan: Plan, settings: Settings) -> None:
    assert store.plan_file.plan() == plan
    assert store.plan_file.settings() == settings
    assert set(store.states().values()) == {"WAITING"}


def test_a_plan_may_grow_but_not_change(store: Store, plan: Plan) -> None:
    import dataclasses

    more = dataclasses.replace(plan, cells=(*plan.cells, dataclasses.replace(plan.cells[0], seed=9)))
    assert store.plan_file.create(more, store.plan_file.content()["settings"], {}) == 1
    assert store.plan_file.create(more, store.plan_file.content()["settings"], {}) == 0
    with pytest.raises(StoreError, match="holds another sweep: 1 of its 5 cells are not in this plan"):
        store.plan_file.create(plan, store.plan_file.content()["settings"], {})


def test_a_directory_of_other_things_is_refused(tmp_path: Path, plan: Plan) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="is not empty and holds no sweep"):
        Store(tmp_path).plan_file.create(plan, {}, {})
    with pytest.raises(StoreError, match=r"holds no sweep \(no sweep.json\)"):
        Store(tmp_path / "nothing").states()


def test_a_file_where_the_directory_should_be_is_refused(tmp_path: Path, plan: Plan) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "file" / "sweep").plan_file.create(plan, {}, {})


def test_a_newer_schema_is_refused(store: Store) -> None:
    value = store.plan_file.content() | {"schema": 99}
    (store.directory / "sweep.json").write_text(json.dumps(value))
    with pytest.raises(StoreError, match="schema 99"):
        store.plan_file.keys()


def test_one_claim_at_a_time_and_a_release_gives_it_back(store: Store) -> None:
    key = store.plan_file.keys()[0]
    claim = store.claims.take(key)
    assert claim is not None
    assert store.state(key) == "RUNNING"
    assert store.claims.take(key) is None
    store.claims.release(claim)
    assert store.state(key) == "WAITING"
    again = store.claims.take(key)
    assert again is not None
    assert again.number == 2


def test_a_finished_state_never_changes(store: Store) -> None:
    key = store.plan_file.keys()[0]
    record(store, key, loss=3.0)
    assert store.state(key) == "COMPLETE"
    assert store.claims.take(key) is None
    late = module.Claim(key, 1, store.cell_dir(key) / "claim-1")
    assert not store.write_record(late, {"state": "COMPLETE", "loss": 9.0})
    assert store.record(key)["loss"] == 3.0  # type: ignore[index]


def test_a_failure_keeps_its_reason_until_it_is_reopened(store: Store) -> None:
    key = store.plan_file.keys()[0]
    claim = store.claims.take(key)
    assert claim is not None
    store.claims.fail(claim, "ValueError: once")
    assert store.state(key) == "WAITING"  # launcher.retries.failed is 1
    assert store.claims.reopen_failed() == []
    store.claims.fail(claim_live(store, key), "ValueError: no")
    assert store.state(key) == "FAILED"
    assert store.claims.error(key) == "ValueError: no"
    assert store.claims.take(key) is None
    assert store.claims.reopen_failed() == [key]
    assert store.claims.error(key) == ""
    store.claims.fail(claim_live(store, key), "ValueError: once")
    assert store.state(key) == "WAITING"  # counted anew


def test_a_stale_heartbeat_is_lost_and_the_old_holder_may_not_write(store: Store) -> None:
    key = store.plan_file.keys()[0]
    claim = store.claims.take(key)
    assert claim is not None
    old = time.time() - 2 * module.LEASE_SECONDS
    os.utime(claim.path, (old, old))
    assert store.state(key) == "LOST"
    taken = store.claims.take(key)
    assert taken is not None
    assert not store.claims.heartbeat(claim)
    assert not store.write_record(claim, {"state": "COMPLETE"})
    assert store.claims.heartbeat(taken)


def test_a_heartbeat_keeps_the_claim(store: Store) -> None:
    key = store.plan_file.keys()[0]
    claim = store.claims.take(key)
    assert claim is not None
    old = time.time() - 2 * module.LEASE_SECONDS
    os.utime(claim.path, (old, old))
    assert store.claims.heartbeat(claim)
    assert store.state(key) == "RUNNING"


def _claim_and_die(directory: Path, key: str) -> None:
    assert Store(directory).claims.take(key)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_process_of_this_host_is_noticed_at_once(store: Store) -> None:
    key = store.plan_file.keys()[0]
    process = multiprocessing.get_context("spawn").Process(target=_claim_and_die, args=(store.directory, key))
    process.start()
    process.join()
    assert store.state(key) == "LOST"
    assert store.claims.take(key) is not None


def _race(directory: Path, keys: list[str], won: Path, start: Any) -> None:
    store = Store(directory)
    start.wait()
    mine = [key for key in keys if store.claims.take(key)]
    won.write_text("\n".join(mine))
    time.sleep(2)  # stay alive: a dead winner's claims would rightly be taken over


@pytest.mark.slow
def test_every_cell_is_claimed_by_exactly_one_of_many_workers(store: Store, tmp_path: Path) -> None:
    keys = [f"{i:012x}" for i in range(200)]
    for key in keys:
        (store.directory / "cells" / key).mkdir()
    context = multiprocessing.get_context("spawn")
    outputs = [tmp_path / f"won-{i}" for i in range(6)]
    start = context.Barrier(len(outputs))
    processes = [context.Process(target=_race, args=(store.directory, keys, out, start)) for out in outputs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    won = [key for out in outputs for key in out.read_text().split()]
    assert sorted(won) == keys


def test_points_are_the_records_with_reasons_for_the_diverged(store: Store) -> None:
    first, second, *_ = store.plan_file.keys()
    record(store, first, loss=3.25)
    record(store, second, loss=None, state="DIVERGED")
    points = read_sweep(store.directory)
    assert list(points.loss) == [3.25]
    assert list(points.frame["key"]) == [first, second]
    assert "diverged: last finite training loss 3.1" in points.frame["excluded_reason"][1]
    assert store.state(second) == "DIVERGED"


def test_a_sweep_is_read_from_python_by_its_directory(store: Store, settings: Settings) -> None:
    record(store, store.plan_file.keys()[0])
    other = settings.count.model_copy(update={"params": "total"})
    assert list(read_sweep(str(store.directory)).n) == list(read_sweep(store.directory).n)
    assert list(read_sweep(store.directory, other).n) == list(read_sweep(store.directory, other).n)
    with pytest.raises(StoreError):
        read_sweep(store.directory / "nothing")


def test_points_can_be_counted_by_another_convention(store: Store, settings: Settings) -> None:
    record(store, store.plan_file.keys()[0])
    cell = store.plan_file.plan().cells[0]
    other = settings.count.model_copy(update={"params": "total"})
    assert read_sweep(store.directory).n[0] == cell.num_params(settings.count)
    assert read_sweep(store.directory, other).n[0] == cell.num_params(other)


def test_the_curve_is_replaced_whole(store: Store) -> None:
    key = store.plan_file.keys()[0]
    assert store.curve(key) == []
    claim = store.claims.take(key)
    assert claim is not None
    assert store.write_curve(claim, [{"step": 1.0, "loss": 2.0}])
    assert store.write_curve(claim, [{"step": 1.0, "loss": 2.0}, {"step": 2.0, "loss": 1.5}])
    assert [p["loss"] for p in store.curve(key)] == [2.0, 1.5]


def test_a_holder_that_lost_the_cell_may_not_touch_its_curve(store: Store) -> None:
    key = store.plan_file.keys()[0]
    claim = store.claims.take(key)
    assert claim is not None
    store.write_curve(claim, [{"step": 2.0, "loss": 1.5}])
    store.claims.release(claim)
    assert store.claims.take(key) is not None
    assert not store.write_curve(claim, [{"step": 1.0, "loss": 2.0}])
    assert [p["step"] for p in store.curve(key)] == [2.0]


def test_a_claim_made_while_another_looks_is_respected(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker claims and goes on living between this one's look at the claims and its own attempt."""
    key = store.plan_file.keys()[0]
    look = claims.Claims.look

    def look_then_lose(self: claims.Claims, of: str) -> claims.Seen:
        seen = look(self, of)
        monkeypatch.setattr(claims.Claims, "look", look)
        assert Store(store.directory).claims.take(key) is not None
        return seen

    monkeypatch.setattr(claims.Claims, "look", look_then_lose)
    assert store.claims.take(key) is None
    assert store.claims.holder(key) == os.getpid()
    assert [p.name for p in store.cell_dir(key).iterdir()] == ["claim-1"]


def test_a_process_of_another_container_is_not_taken_for_dead(store: Store) -> None:
    """Containers can share a host's name, where a process number means another process or none."""
    key = store.plan_file.keys()[0]
    claim = store.claims.take(key)
    assert claim is not None
    owner = json.loads(claim.path.read_text())
    claim.path.write_text(json.dumps({**owner, "pid": 2**22 + 1, "pids": "pid:[1]"}))
    assert store.state(key) == "RUNNING"
    claim.path.write_text(json.dumps({**owner, "pid": 2**22 + 1}))
    assert store.state(key) == "LOST"


def spoiled(path: Path, how: str) -> None:
    """Truncate a file, or change one bit of it."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content[: len(content) // 2] if how == "torn" else content)


HOW = pytest.mark.parametrize("how", ["torn", "bit", "empty"])


@HOW
def test_a_damaged_record_is_set_aside_and_its_cell_measured_again(
    store: Store, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = store.plan_file.keys()[0]
    record(store, key)
    path = store.cell_dir(key) / "record.json"
    path.write_bytes(b"") if how == "empty" else spoiled(path, how)
    assert store.state(key) == "WAITING"
    assert [(r.levelname, "record.json is damaged" in r.message) for r in caplog.records] == [("WARNING", True)]
    assert path.with_suffix(".corrupt").exists()
    assert store.records() == []
    assert store.claims.lost(key) == 0
    record(store, key, loss=2.5)
    assert store.record(key)["loss"] == 2.5  # type: ignore[index]
    assert len(caplog.records) == 1


def test_a_record_that_was_replaced_in_the_meantime_is_put_back(store: Store) -> None:
    """Two readers find a damaged record; before the slower one sets it aside the cell was measured again."""
    key = store.plan_file.keys()[0]
    record(store, key, loss=2.5)
    path = store.cell_dir(key) / "record.json"
    assert not set_aside(path, Damaged("seen before"), read_json)
    assert store.record(key)["loss"] == 2.5  # type: ignore[index]
    assert not path.with_suffix(".corrupt").exists()


@HOW
def test_a_damaged_curve_is_not_trusted(store: Store, how: str) -> None:
    key = store.plan_file.keys()[0]
    claim = claim_live(store, key)
    store.write_curve(claim, [{"step": float(step), "loss": 2.0} for step in range(1, 9)])
    assert len(store.curve(key)) == 8
    assert store.last_step(key) == 8
    path = store.cell_dir(key) / "curve.jsonl"
    path.write_bytes(b"{") if how == "empty" else spoiled(path, how)
    assert store.curve(key) == []
    assert path.with_suffix(".corrupt").exists()


def test_a_curve_of_another_claim_than_the_record_s_is_set_aside(store: Store) -> None:
    """A holder that was paused between its look at the claim and the renaming writes over a finished cell's curve."""
    key = store.plan_file.keys()[0]
    late = claim_live(store, key)
    store.claims.release(late)
    claim = claim_live(store, key)
    store.write_curve(claim, [{"step": 2.0}])
    assert store.write_record(claim, {"state": "COMPLETE", "where": {}})
    assert store.curve(key) == [{"step": 2.0}]
    lines = (store.cell_dir(key) / "curve.jsonl").read_text()
    (store.cell_dir(key) / "curve.jsonl").write_text(lines.replace('"claim": 2', '"claim": 1'))
    assert store.curve(key) == []


@HOW
def test_a_damaged_claim_is_stale_after_the_lease(store: Store, how: str) -> None:
    key = store.plan_file.keys()[0]
    claim = claim_live(store, key)
    claim.path.write_bytes(b"" if how == "empty" else claim.path.read_bytes()[:20])
    assert store.state(key) == "RUNNING"
    shift(claim.path, -2 * module.LEASE_SECONDS)
    assert store.state(key) == "LOST"
    assert store.claims.take(key) is not None


@HOW
def test_a_damaged_plan_is_refused_in_one_sentence(store: Store, how: str) -> None:
    path = store.directory / "sweep.json"
    path.write_bytes(b"") if how == "empty" else spoiled(path, how)
    with pytest.raises(StoreError, match=r"sweep\.json is damaged .* remove it and repeat the `scalesweep run`"):
        store.states()


def test_a_lost_plan_is_made_again_around_its_records(store: Store, plan: Plan, settings: Settings) -> None:
    record(store, plan.cells[0].key)
    (store.directory / "sweep.json").unlink()
    assert store.plan_file.create(plan, settings.model_dump(mode="json"), {}) == len(plan.cells)
    assert store.state(plan.cells[0].key) == "COMPLETE"


def test_a_record_of_another_cell_is_refused(store: Store) -> None:
    first, second, *_ = store.plan_file.keys()
    record(store, first)
    (store.cell_dir(second) / "record.json").write_bytes((store.cell_dir(first) / "record.json").read_bytes())
    with pytest.raises(StoreError, match=f"is the record of cell {first}, which has another configuration; remove it"):
        store.states()


def test_changed_settings_are_named(store: Store, plan: Plan) -> None:
    import dataclasses

    other = dataclasses.replace(plan, cells=tuple(dataclasses.replace(c, grad_clip=0.5) for c in plan.cells))
    settings = json.loads(json.dumps(store.plan_file.content()["settings"]))
    settings["optim"]["grad_clip"] = 0.5
    with pytest.raises(StoreError, match=r"4 of its 4 cells are not in this plan \(optim.grad_clip 1 -> 0.5\)"):
        store.plan_file.create(other, settings, {})


@pytest.mark.parametrize("key", ["../../etc", "/etc", "..", "ABCDEF", "", "a/b"])
def test_no_path_leaves_the_store(store: Store, key: str) -> None:
    path = store.directory / "sweep.json"
    value = json.loads(path.read_text())
    del value["checksum"]
    value["cells"][0]["key"] = key
    path.write_text(json.dumps(value))
    with pytest.raises(StoreError, match="keys are hexadecimal digits"):
        store.states()
    with pytest.raises(StoreError, match="keys are hexadecimal digits"):
        store.cell_dir(key)
    with pytest.raises(StoreError, match="keys are hexadecimal digits"):
        store.snapshots(key)


# -- leases and clocks ------------------------------------------------------------------------------------------------------


def shift(path: Path, seconds: float) -> None:
    """Set the modification time to the present plus so many seconds."""
    then = time.time() + seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize(
    ("seconds", "state"), [(-50, "RUNNING"), (-70, "LOST"), (50, "RUNNING"), (70, "LOST"), (86400, "LOST")]
)
def test_a_heartbeat_counts_by_its_distance_from_the_present(store: Store, seconds: float, state: str) -> None:
    """Of the future: the clock was set back, or a host stamped by its own clock."""
    key = store.plan_file.keys()[0]
    claim = claim_live(store, key)
    shift(claim.path, seconds)
    assert store.state(key) == state
    assert store.claims.heartbeat(claim)
    assert store.state(key) == "RUNNING"


def test_the_clock_of_the_file_system_decides(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """This host's clock is a day ahead of the file server's."""
    key = store.plan_file.keys()[0]
    claim_live(store, key)
    ahead = time.time() + 86400
    monkeypatch.setattr(time, "time", lambda: ahead)
    assert store.state(key) == "RUNNING"


def as_elsewhere(claim: module.Claim, **changes: Any) -> None:
    """Let the claim be one of another host, or of this one before."""
    owner = json.loads(claim.path.read_text())
    claim.path.write_text(json.dumps({**owner, "host": "elsewhere", **changes}))
    shift(claim.path, -2 * module.LEASE_SECONDS)


def test_a_cell_is_lost_as_often_as_the_policy_says(store: Store) -> None:
    """Counted from the claims: another Store, as after a restart, comes to the same."""
    key = store.plan_file.keys()[0]
    for attempt in range(4):
        claim = Store(store.directory).claims.take(key)
        assert claim is not None
        assert claim.number == attempt + 1
        as_elsewhere(claim)
    assert store.state(key) == "FAILED"
    assert store.claims.error(key) == "the worker died 4 times with this cell"
    assert store.claims.take(key) is None
    assert store.claims.reopen_failed([key]) == [key]
    as_elsewhere(claim_live(store, key))
    assert store.state(key) == "LOST"


@pytest.mark.parametrize("how", ["restart", "pack", "unwritten", "released"])
def test_ends_that_are_not_the_cell_s_fault_are_not_counted(store: Store, how: str) -> None:
    import socket

    key = store.plan_file.keys()[0]
    for _ in range(9):
        claim = claim_live(store, key)
        if how == "restart":
            as_elsewhere(claim, host=socket.gethostname(), boot="before")
        elif how == "pack":
            store.claims.describe(claim, pack=2, start=0)
            as_elsewhere(claim)
        elif how == "unwritten":
            os.utime(claim.path, (0, 0))
        else:
            store.claims.release(claim)
    assert store.state(key) in ("WAITING", "LOST")


def test_the_policy_is_a_setting(tmp_path: Path, home: Path, facts: CorpusFacts) -> None:
    settings = small_settings(home, launcher={"name": "inline", "retries": {"failed": 0, "lost": 0, "diverged": 1}})
    store = Store(tmp_path / "sweep")
    store.plan_file.create(make_plan(settings, facts, "cpu"), settings.model_dump(mode="json"), {})
    failed, lost, diverged, _ = store.plan_file.keys()
    store.claims.fail(claim_live(store, failed), "no")
    as_elsewhere(claim_live(store, lost))
    assert [store.state(failed), store.state(lost)] == ["FAILED", "FAILED"]
    store.checkpoint(diverged).write_bytes(b"")
    assert store.retry_diverged(claim_live(store, diverged))
    assert not store.checkpoint(diverged).exists()
    assert store.state(diverged) == "WAITING"
    assert not store.retry_diverged(claim_live(store, diverged))


def test_a_record_that_appears_while_another_claims_is_respected(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = store.plan_file.keys()[0]
    first = claim_live(store, key)
    new = claims.write_new

    def slower(path: Path, text: str) -> bool:
        monkeypatch.setattr(claims, "write_new", new)
        assert store.write_record(first, {"state": "COMPLETE"})
        return new(path, text)

    shift(first.path, -2 * module.LEASE_SECONDS)
    monkeypatch.setattr(claims, "write_new", slower)
    assert store.claims.take(key) is None
    assert store.state(key) == "COMPLETE"


def test_a_cell_that_was_given_up_says_why_and_where(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALESWEEP_LOG", "worker-3.log")
    key = store.plan_file.keys()[0]
    claim = claim_live(store, key)
    store.claims.give_up(claim, "hung: no step for 61 s")
    assert store.state(key) == "LOST"
    assert store.claims.stuck(key) == {os.getpid(): True}
    assert store.claims.log(key) == store.directory / "logs" / "worker-3.log"


def test_what_fits_is_remembered(store: Store) -> None:
    assert store.memory_limits() == {}
    store.remember_limit("GPU: width 16", "micro_batch", 4)
    store.remember_limit("GPU: width 16", "pack", 2)
    assert store.memory_limits() == {"GPU: width 16": {"micro_batch": 4, "pack": 2}}
    spoiled(store.directory / "memory.json", "bit")
    assert store.memory_limits() == {}


def test_two_first_creations_leave_one_plan(
    tmp_path: Path, plan: Plan, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    other = dataclasses.replace(plan, cells=(dataclasses.replace(plan.cells[0], seed=9),))
    values = settings.model_dump(mode="json")
    first, second = Store(tmp_path / "sweep"), Store(tmp_path / "sweep")
    new = plan_file.write_new

    def slower(path: Path, text: str) -> bool:
        monkeypatch.setattr(plan_file, "write_new", new)
        second.plan_file.create(other, values, {})
        return new(path, text)

    monkeypatch.setattr(plan_file, "write_new", slower)
    with pytest.raises(StoreError, match="holds another sweep"):
        first.plan_file.create(plan, values, {})
    assert second.plan_file.plan() == other


def test_no_temporary_files_stay(store: Store) -> None:
    record(store, store.plan_file.keys()[0])
    assert not [p for p in store.directory.rglob("*") if p.name.startswith(".")]


def claim_live(store: Store, key: str) -> module.Claim:
    claim = store.claims.take(key)
    assert claim is not None
    return claim


def test_a_cell_waits_only_for_a_live_trunk_on_its_way(tmp_path: Path, home: Path, facts: CorpusFacts) -> None:
    settings = small_settings(home, sweep={"name": "b", "sizes": [{"width": 16, "depth": 1}], "budgets": [8192, 16384, 32768]})
    plan = make_plan(settings, facts, "cpu")
    store = Store(tmp_path / "sweep")
    store.plan_file.create(plan, settings.model_dump(mode="json"), {})
    short, middle, long = plan.cells
    assert short.trunk == middle.trunk == long.trunk
    assert not waits_for_trunk(store, plan, short)
    claim = claim_live(store, middle.key)
    assert waits_for_trunk(store, plan, short)
    assert not waits_for_trunk(store, plan, long)  # the trunk that is trained ends before
    assert snapshot_steps(store, plan, middle, 0) == {short.branch_step}
    assert [c.key for c in claimable(store, plan, unfinished(store, plan))] == [long.key]
    store.write_curve(claim, [{"step": short.branch_step + 1, "loss": 3.0}])
    assert not waits_for_trunk(store, plan, short)  # it is past, and left nothing
    store.write_curve(claim, [{"step": short.branch_step, "loss": 3.0}])
    assert waits_for_trunk(store, plan, short)
    snapshot = store.snapshot(short.trunk, short.branch_step)
    snapshot.parent.mkdir(parents=True)
    snapshot.write_bytes(b"")
    assert not waits_for_trunk(store, plan, short)
    snapshot.unlink()
    store.checkpoint(short.key).write_bytes(b"")
    assert not waits_for_trunk(store, plan, short)
    store.checkpoint(short.key).unlink()
    store.claims.fail(claim, "no")
    assert not waits_for_trunk(store, plan, short)


def test_states_of_a_trunk_go_with_the_last_cell_that_could_use_them(tmp_path: Path, home: Path, facts: CorpusFacts) -> None:
    settings = small_settings(home, sweep={"name": "b", "sizes": [{"width": 16, "depth": 1}], "budgets": [8192, 16384, 32768]})
    plan = make_plan(settings, facts, "cpu")
    store = Store(tmp_path / "sweep")
    store.plan_file.create(plan, settings.model_dump(mode="json"), {})
    short, middle, long = plan.cells
    for cell in (short, middle):
        path = store.snapshot(cell.trunk, cell.branch_step)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert [int(p.stem) for p in store.snapshots(short.trunk)] == [middle.branch_step, short.branch_step]
    record(store, long.key)
    store.prune_trunk(plan.cells)
    assert len(store.snapshots(short.trunk)) == 2
    record(store, middle.key)
    store.prune_trunk(plan.cells)
    assert [int(p.stem) for p in store.snapshots(short.trunk)] == [short.branch_step]
    record(store, short.key)
    store.prune_trunk(plan.cells)
    assert not path.parent.exists()


@pytest.mark.parametrize("pid", ["gone", "text"])
def test_a_claim_without_a_process_is_stale_after_the_lease(store: Store, pid: str) -> None:
    key = store.plan_file.keys()[0]
    claim = store.claims.take(key)
    assert claim is not None
    content = json.loads(claim.path.read_text())
    if pid == "gone":
        content["qid"] = content.pop("pid")
    else:
        content["pid"] = "12"
    claim.path.write_text(json.dumps(content))
    assert (store.state(key), store.claims.holder(key), store.claims.stuck(key)) == ("RUNNING", None, {})
    assert store.claims.owner(key)["pid"] == 0  # type: ignore[index]
    os.utime(claim.path, (1, 1))
    assert store.claims.take(key) is not None


def test_another_start_of_a_host_of_this_name_is_judged_by_its_heartbeat(store: Store) -> None:
    key = store.plan_file.keys()[0]
    claim = store.claims.take(key)
    assert claim is not None
    claim.path.write_text(json.dumps({**json.loads(claim.path.read_text()), "boot": "other"}))
    assert store.state(key) == "RUNNING"
    assert store.claims.holder(key) is None
    os.utime(claim.path, (1, 1))
    assert store.state(key) == "LOST"
    assert store.claims.lost(key) == 1


def test_deaths_on_the_way_are_not_counted_where_the_next_one_goes_on_from_further(store: Store) -> None:
    """Preempted seven times, each time a hundred steps on; then four times at the same step."""
    key = store.plan_file.keys()[0]
    for number in range(7):
        claim = store.claims.take(key)
        assert claim is not None
        store.claims.describe(claim, pack=1, start=100 * number)
        os.utime(claim.path, (1, 1))
        assert store.state(key) == "LOST"
    for _ in range(3):
        claim = store.claims.take(key)
        assert claim is not None
        store.claims.describe(claim, pack=1, start=600)
        os.utime(claim.path, (1, 1))
    assert store.state(key) == "FAILED"
    assert "died 4 times" in store.claims.error(key)


def test_a_directory_that_a_copy_left_out_is_an_unclaimed_cell(store: Store) -> None:
    key = store.plan_file.keys()[0]
    store.cell_dir(key).rmdir()
    assert store.state(key) == "WAITING"
    assert store.claims.take(key) is not None


def test_two_that_extend_a_plan_lose_no_cell(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process adds a cell between the look at the plan and the writing of the new one."""
    first, second = (dataclasses.replace(plan, cells=(*plan.cells, dataclasses.replace(plan.cells[0], seed=s))) for s in (7, 8))
    settings, facts = store.plan_file.content()["settings"], store.plan_file.content()["facts"]
    looked = plan_file.PlanFile.keys

    def keys(self: plan_file.PlanFile) -> list[str]:
        found = looked(self)
        monkeypatch.setattr(plan_file.PlanFile, "keys", looked)
        self.create(first, settings, facts)
        return found

    monkeypatch.setattr(plan_file.PlanFile, "keys", keys)
    with pytest.raises(StoreError, match=r"1 of its .* cells are not in this plan"):
        store.plan_file.create(second, settings, facts)
    assert first.cells[-1].key in store.plan_file.keys()


def test_a_temporary_file_of_somebody_else_is_left_to_him(store: Store) -> None:
    key = store.plan_file.keys()[0]
    claim = store.claims.take(key)
    assert claim is not None
    young, old = (store.cell_dir(key) / f".claim-2.{name}" for name in ("young", "old"))
    young.touch()
    old.touch()
    os.utime(old, (1, 1))
    assert store.write_record(claim, {"state": "COMPLETE", "loss": 3.0})
    assert young.exists()
    assert not old.exists()


def test_a_link_whose_answer_was_lost_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS v3 repeats the request, and finds what the first one made."""
    link = os.link

    def repeated(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", repeated)
    assert files.write_new(tmp_path / "claim-1", "mine")
    assert not files.write_new(tmp_path / "claim-1", "theirs")
    assert (tmp_path / "claim-1").read_text() == "mine"


def test_a_stale_handle_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, failures, read = tmp_path / "file", [OSError(errno.ESTALE, "Stale file handle")], Path.read_bytes
    path.write_text("{}")

    def sometimes(self: Path) -> bytes:
        if failures:
            raise failures.pop()
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", sometimes)
    assert files.read_json(path) == {}


def test_an_error_elsewhere_is_not_of_the_directory(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "cells" / "x"))
    assert files.is_storage_error(full, tmp_path)
    assert files.is_storage_error(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert not files.is_storage_error(OSError(errno.ENOSPC, "No space left on device", "/somewhere/else"), tmp_path)
