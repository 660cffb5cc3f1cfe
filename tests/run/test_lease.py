import os
import threading
import time
from pathlib import Path

import pytest

from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.run import lease as module
from scalesweep.run.lease import Lease, LeaseLost
from scalesweep.run.store.store import Claim, Store
from scalesweep.settings.settings import Settings


@pytest.fixture
def store(tmp_path: Path, settings: Settings, facts: CorpusFacts) -> Store:
    store = Store(tmp_path / "sweep")
    store.plan_file.create(make_plan(settings, facts, "cpu"), settings.model_dump(mode="json"), {})
    return store


@pytest.fixture
def claim(store: Store, monkeypatch: pytest.MonkeyPatch) -> Claim:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.02)
    claim = store.claims.take(store.plan_file.keys()[0])
    assert claim is not None
    return claim


def until(condition: threading.Event) -> None:
    assert condition.wait(20)


def test_training_that_makes_no_step_gives_its_cell_back(store: Store, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training thread sleeps here; the thread of heartbeats alone does not keep the cell."""
    monkeypatch.setattr(module, "HANG_SECONDS", 0.3)
    said, heard = [], threading.Event()
    with Lease(store, [claim], lambda line: (said.append(line), heard.set())) as lease:
        lease.progress()
        lease.check()
        assert store.state(claim.key) == "RUNNING"
        until(heard)
        while store.state(claim.key) == "RUNNING":
            time.sleep(0.01)
        assert store.state(claim.key) == "LOST"
        assert store.claims.take(claim.key) is not None
        with pytest.raises(LeaseLost):
            lease.check()
    assert f"{claim.key} given up, hung: no step for 0 s, where 0 s are allowed" in said


def test_training_that_makes_steps_keeps_its_cell(store: Store, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANG_SECONDS", 5.0)
    os.utime(claim.path, (1, 1))
    with Lease(store, [claim]) as lease:
        for _ in range(20):
            time.sleep(0.01)
            lease.progress()
            lease.check()
    assert store.state(claim.key) == "RUNNING"


def test_patience_is_a_multiple_of_the_median_step(store: Store, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lease = Lease(store, [claim])
    assert lease.patience() == 600  # before the first step
    for seconds in (0.1, 0.2, 300.0):
        now += seconds
        lease.progress()
    assert lease.patience() == 60  # at least a minute
    for _ in range(5):
        now += 30
        lease.progress()
    assert lease.patience() == pytest.approx(600)


def test_a_directory_that_is_gone_for_a_while_ends_nothing(store: Store, claim: Claim) -> None:
    away = store.directory.with_name("away")
    with Lease(store, [claim]):
        store.directory.rename(away)
        time.sleep(0.2)
        away.rename(store.directory)
        os.utime(claim.path, (1, 1))
        deadline = time.monotonic() + 20
        while store.state(claim.key) != "RUNNING" and time.monotonic() < deadline:
            time.sleep(0.02)
    assert store.state(claim.key) == "RUNNING"


def test_a_pause_of_the_whole_process_is_no_hang(store: Store, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSTOP, or a container that is paused: the thread of heartbeats did not run either."""
    monkeypatch.setattr(module, "HANG_SECONDS", 0.5)
    shift = 0.0
    clock = time.monotonic
    monkeypatch.setattr(module.time, "monotonic", lambda: clock() + shift)
    with Lease(store, [claim]) as lease:
        lease.progress()
        time.sleep(0.1)
        shift = 1000.0
        time.sleep(0.2)
        lease.progress()
        lease.check()
    assert store.state(claim.key) == "RUNNING"


def test_a_slow_disk_is_no_hang(store: Store, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANG_SECONDS", 0.1)
    with Lease(store, [claim]) as lease:
        lease.progress()
        with lease.writing():
            time.sleep(0.4)
        lease.check()
    assert store.state(claim.key) == "RUNNING"
