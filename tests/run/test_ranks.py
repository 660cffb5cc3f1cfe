"""One cell trained by two processes on a CPU (gloo), as several GPUs train it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import make_store, small_settings

from scalesweep.errors import EXIT_AGAIN, EXIT_INTERRUPTED, Requeue
from scalesweep.plan.grid import CorpusFacts
from scalesweep.run.launch.local import Slot, supervise
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.settings import Settings
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device


def one_cell(home: Path, tokens: int, seconds: float) -> Settings:
    sweep = {"name": "tail", "sizes": [{"width": 16, "depth": 1}], "budgets": [tokens]}
    train = {"checkpoint_seconds": seconds, "micro_batch": 1}
    return small_settings(home, sweep=sweep, train=train, optim={"z_loss": 1e-3})


def others(store: Store) -> list[int]:
    """Processes that step along."""
    done = subprocess.run(["pgrep", "-f", f"scalesweep.run.ranks {store.directory}"], capture_output=True, text=True)
    return [int(pid) for pid in done.stdout.split()]


def wait_for_checkpoint(store: Store) -> None:
    (key,) = store.plan_file.keys()
    path = store.checkpoint(key)
    before, deadline = path.stat().st_mtime if path.exists() else 0.0, time.monotonic() + 60
    while (path.stat().st_mtime if path.exists() else 0.0) == before and time.monotonic() < deadline:
        time.sleep(0.02)


def test_two_processes_measure_what_one_does(tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts) -> None:
    settings = one_cell(home, 30_000, 30.0)
    alone = make_store(tmp_path / "alone", settings, corpus, facts)
    assert work(alone, prepare_device("cpu"), lambda: False)
    store = make_store(tmp_path / "together", settings, corpus, facts)
    (key,) = store.plan_file.keys()
    lines: list[str] = []
    with pytest.raises(Requeue):
        work(store, prepare_device("cpu"), lambda: False, lines.append, beside=[torch.device("cpu")] * 2)
    torch.distributed.destroy_process_group()
    assert not others(store)
    assert lines[0] == f"{key} begins on 2 of 3 devices together, which divide its 4 sequences evenly"
    found, expected = store.record(key), alone.record(key)
    assert found is not None and expected is not None
    assert (found["times"]["devices"], expected["times"]["devices"]) == (2, 1)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    losses = [[point["loss"] for point in one.curve(key)] for one in (store, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "end"),
    [
        (signal.SIGKILL, "interrupted: process 2 of 2, on cpu, ended by signal 9"),
        (signal.SIGSTOP, "given up, hung: no step for"),
    ],
)
def test_a_process_that_dies_or_hangs_ends_an_attempt_and_the_next_goes_on(
    tmp_path: Path,
    home: Path,
    corpus: Corpus,
    facts: CorpusFacts,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    number: signal.Signals,
    end: str,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if '-m scalesweep.run ' in ' '.join(sys.orig_argv):\n"
        "    from scalesweep.run import lease\n"
        "    lease.HANG_SECONDS, lease.HEARTBEAT_SECONDS = 5.0, 0.2\n"
    )
    if number == signal.SIGSTOP:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    store = make_store(tmp_path / "together", one_cell(home, 30_000, 0.05), corpus, facts)
    (key,) = store.plan_file.keys()

    def kill_the_other() -> None:
        wait_for_checkpoint(store)
        os.kill(others(store)[0], number)

    threading.Thread(target=kill_the_other, daemon=True).start()
    slot = Slot("cpu", None, "together.log", beside=("cpu",))
    supervise(store, [slot], Monitor(store, store.plan_file.plan(), sys.stdout), "claimed", only=[key])
    assert not others(store)
    assert store.state(key) == "COMPLETE"
    first = json.loads((store.cell_dir(key) / "claim-1").read_text())
    assert first["state"] == ("hung" if number == signal.SIGSTOP else "released")
    log = (store.directory / "logs" / "together.log").read_text()
    assert f"{key} begins on 2 devices together\n" in log
    assert f"{key} {end}" in log
    assert f"{key} goes on after step " in log
    assert capsys.readouterr().out.rstrip().endswith(" s on 2 GPUs together")


@pytest.mark.slow
def test_the_end_of_a_worker_is_that_of_the_others_and_of_no_training(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    settings = one_cell(home, 50_000, 0.05)
    store = make_store(tmp_path / "together", settings, corpus, facts)
    (key,) = store.plan_file.keys()

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "scalesweep.run", str(store.directory), "--beside", "cpu"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    for number, code, state in (
        (signal.SIGKILL, -signal.SIGKILL, "LOST"),
        (signal.SIGTERM, EXIT_INTERRUPTED, "WAITING"),
        (signal.SIGUSR1, EXIT_AGAIN, "WAITING"),
    ):
        worker = start()
        wait_for_checkpoint(store)
        worker.send_signal(number)
        assert worker.wait(60) == code
        assert store.state(key) == state
        deadline = time.monotonic() + 10
        while others(store) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not others(store)
    assert start().wait(60) == EXIT_AGAIN
    assert store.state(key) == "COMPLETE"


@pytest.mark.slow
def test_devices_that_fail_together_leave_their_cell_to_one_of_them(
    tmp_path: Path,
    home: Path,
    corpus: Corpus,
    facts: CorpusFacts,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'scalesweep.run.ranks' in ' '.join(sys.orig_argv): os._exit(69)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    store = make_store(tmp_path / "sweep", one_cell(home, 30_000, 30.0), corpus, facts)
    (key,) = store.plan_file.keys()
    monitor = Monitor(store, store.plan_file.plan(), sys.stdout)
    supervise(store, [Slot("cpu", None, "together.log", beside=("cpu",))], monitor, "claimed", only=[key])
    assert store.state(key) == "WAITING"
    assert store.claims.lost(key) == 0
    said = capsys.readouterr().out
    assert f"cpu + cpu is set aside: it failed 2 times without progress, with cell {key}, last: process 2 of 2" in said
    supervise(store, [Slot("cpu", None, "worker-0.log")], monitor, "finished")
    assert store.state(key) == "COMPLETE"
