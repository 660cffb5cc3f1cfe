"""The contract of every launcher, on the real thing: this process, local workers, a real Slurm, a real Ray.

Slurm and Ray have markers of their own; `.ci/slurm.sh` starts a Slurm of two nodes on one machine.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import IN_BACKGROUND, command_line, make_store, measured, small_settings

from scalesweep.errors import SpecError, StoreError
from scalesweep.plan.grid import CorpusFacts
from scalesweep.run.launch import cluster, launch, slurm
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings
from scalesweep.train.data.corpus import Corpus

CLUSTERS = [pytest.param("slurm", marks=pytest.mark.slurm), pytest.param("ray", marks=pytest.mark.ray)]
SEPARATE = ["local", *CLUSTERS]
"""Launchers whose workers are other processes than this one."""
EVERY = ["inline", *SEPARATE]
LONG = {"name": "long", "sizes": [{"width": 32, "depth": 1}, {"width": 64, "depth": 2}], "budgets": [8192, 32768, 400_000]}
"""Cells of which the longest takes some seconds."""
Make = Callable[..., Store]


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "POLL_SECONDS", 0.3)
        patch.setattr(cluster, "RESUBMIT_SECONDS", 1.0)
        patch.setattr(slurm, "LOOK_SECONDS", 0.5)
        yield


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A Ray that all tests share, as starting one takes longer than a sweep."""
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def make(tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts, request: pytest.FixtureRequest) -> Make:
    """A store whose settings name the launcher."""

    def store(launcher: str, workers: int = 2, **sections: Any) -> Store:
        if launcher == "ray":
            request.getfixturevalue("ray_cluster")
        options = {} if launcher == "inline" else {"workers": workers}
        settings = small_settings(home, launcher={"name": launcher, **options}, **sections)
        return make_store(tmp_path / "sweep", settings, corpus, facts)

    return store


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, home: Path, corpus: Corpus, facts: CorpusFacts) -> dict[str, Any]:
    """What one process measures, of four short cells and of six that take some seconds."""
    found: dict[str, Any] = {}
    for name, sections in (("short", {}), ("long", {"sweep": LONG})):
        store = make_store(tmp_path_factory.mktemp("quiet") / name, small_settings(home, **sections), corpus, facts)
        run(store)
        found[name] = measured(store)
    return found


def run(store: Store) -> None:
    launch(store, store.plan_file.settings(), "cpu", Monitor(store, store.plan_file.plan()))


def meanwhile(store: Store, act: Callable[[str, int], None], busy: float = 0.3) -> threading.Thread:
    """Call `act` with the longest cell, once it is being trained, and the process that trains it."""
    key = store.plan_file.plan().longest_first[0].key

    def watch() -> None:
        while not (store.state(key) == "RUNNING" and store.last_step(key) > 0 and (owner := store.claims.owner(key))):
            time.sleep(0.02)
        time.sleep(busy)
        act(key, owner["pid"])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("launcher", EVERY)
def test_records_are_those_of_one_process(launcher: str, make: Make, quiet: dict[str, Any]) -> None:
    store = make(launcher)
    run(store)
    assert measured(store) == quiet["short"]
    claims = [path.name for path in store.directory.glob("cells/*/claim-*")]
    assert claims == ["claim-1"] * 4


@pytest.mark.parametrize("launcher", EVERY)
def test_a_second_launch_starts_nobody(launcher: str, make: Make) -> None:
    store = make(launcher)
    run(store)
    logs = {path: path.stat().st_size for path in store.directory.glob("logs/*")}
    run(store)
    assert {path: path.stat().st_size for path in store.directory.glob("logs/*")} == logs


@pytest.mark.parametrize("launcher", EVERY)
def test_a_cell_that_fails_stops_no_other(launcher: str, make: Make) -> None:
    store = make(launcher)
    first = store.plan_file.plan().longest_first[0].key
    (store.cell_dir(first) / "curve.jsonl").mkdir()  # a real failure: the curve cannot be written
    run(store)
    states = store.states()
    assert states.pop(first) == "FAILED"
    assert set(states.values()) == {"COMPLETE"}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", EVERY)
def test_a_sweep_that_is_cancelled_ends_and_goes_on_later(launcher: str, make: Make, quiet: dict[str, Any]) -> None:
    store = make(launcher, sweep=LONG)
    thread = meanwhile(store, lambda *_: store.ask_to_cancel())
    with pytest.raises(KeyboardInterrupt):
        run(store)
    thread.join()
    wait_until(lambda: "RUNNING" not in store.states().values())
    assert "WAITING" in store.states().values()
    assert list(store.directory.rglob("checkpoint.pt"))
    store.clear_cancel()
    run(store)
    assert measured(store) == quiet["long"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", SEPARATE)
def test_a_worker_that_is_killed_is_replaced(launcher: str, make: Make, quiet: dict[str, Any]) -> None:
    store = make(launcher, sweep=LONG, train={"checkpoint_seconds": 0.3})
    killed: list[str] = []

    def kill(key: str, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        killed.append(key)

    meanwhile(store, kill)
    run(store)
    assert measured(store) == quiet["long"]
    claims = [json.loads(path.read_text()) for path in sorted(store.cell_dir(killed[0]).glob("claim-*"))]
    first, second = [(claim["state"], claim.get("reason")) for claim in claims]
    # Its launcher notices first that the holder is gone, and knows why, or another worker, which takes the cell as it is.
    assert first in (("lost", "by signal 9"), ("held", None))
    assert second == ("held", None)


@pytest.mark.parametrize("launcher", SEPARATE)
def test_workers_that_cannot_work_end_the_launch_in_a_sentence(launcher: str, make: Make) -> None:
    store = make(launcher)
    sweep = store.plan_file.content()
    store.plan_file.create(store.plan_file.plan(), sweep["settings"], {**sweep["facts"], "corpus_hash": "0" * 16})
    with pytest.raises(StoreError, match=r"the sweep was planned with 0{16}; .* Its log is"):
        run(store)
    assert set(store.states().values()) == {"WAITING"}


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


# -- Slurm ------------------------------------------------------------------------------------------------------------------


def squeue(store: Store, columns: str) -> list[list[str]]:
    return [list(row) for row in slurm.squeue(store, columns) or []]


@pytest.mark.slurm
def test_a_job_is_requeued_by_its_time_limit_and_loses_nothing(make: Make) -> None:
    """The limit is a minute: after 40 s the workers write checkpoints and the job requeues itself. The cell takes longer."""
    store = make("slurm", sweep={"name": "slow", "sizes": [{"width": 64, "depth": 2}], "budgets": [2_500_000]})
    values = store.plan_file.settings().model_dump(mode="json")
    values["launcher"] |= {"minutes": 1, "workers": 1}
    store.plan_file.create(store.plan_file.plan(), values, store.plan_file.content()["facts"])
    requeued: set[str] = set()
    thread = threading.Thread(target=restart_at_once, args=(store, requeued), daemon=True)
    thread.start()
    run(store)
    (key,) = store.plan_file.keys()
    claims = [json.loads(path.read_text()) for path in sorted(store.cell_dir(key).glob("claim-*"))]
    assert [claim["state"] for claim in claims[:-1]] == ["released"] * (len(claims) - 1)
    assert len(claims) >= 2
    assert requeued  # Slurm may send the signal a minute early, before Python can take it: such a job is replaced, not requeued


def restart_at_once(store: Store, requeued: set[str]) -> None:
    """Start the jobs that wait since they were requeued, which Slurm lets wait for two minutes."""
    while set(store.states().values()) != {"COMPLETE"}:
        for job, reason in squeue(store, "%A|%r"):
            if reason == "BeginTime":
                requeued.add(job)
                subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=False, capture_output=True)
        time.sleep(1.0)


@pytest.mark.slurm
def test_jobs_that_are_cancelled_in_slurm_are_replaced(make: Make, quiet: dict[str, Any]) -> None:
    store = make("slurm", sweep=LONG, train={"checkpoint_seconds": 0.3})
    cancelled: list[str] = []

    def cancel(*_: object) -> None:
        cancelled.extend(row[0] for row in squeue(store, "%i"))
        subprocess.run(["scancel", *cancelled], check=True)

    meanwhile(store, cancel)
    run(store)
    assert measured(store) == quiet["long"]
    assert cancelled
    names = {path.name.split("-")[1].split("_")[0].removesuffix(".log") for path in (store.directory / "logs").glob("slurm-*")}
    assert len(names) >= 2  # another array came after the first


@pytest.mark.slurm
def test_a_preempted_job_comes_back(make: Make, quiet: dict[str, Any]) -> None:
    """A job of a partition of higher priority takes both nodes for some seconds."""
    store = make("slurm", sweep=LONG, train={"checkpoint_seconds": 0.3})

    def urgent(*_: object) -> None:
        words = ["sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2"]
        subprocess.run(words, check=True, capture_output=True)

    meanwhile(store, urgent, busy=0.1)
    threading.Thread(target=restart_at_once, args=(store, set()), daemon=True).start()
    run(store)
    assert measured(store) == quiet["long"]
    assert list(store.directory.glob("cells/*/claim-2"))
    assert len(list((store.directory / "logs").glob("slurm-*_?.log"))) == 2  # the same two jobs


@IN_BACKGROUND
@pytest.mark.slurm
def test_the_controller_may_leave_and_come_back(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts, quiet: dict[str, Any]
) -> None:
    launcher = {"name": "slurm", "workers": 2}
    settings = small_settings(home, sweep={**LONG, "budgets": [8192, 32768, 1_000_000]}, launcher=launcher)
    command = command_line(tmp_path, settings)
    store = Store(tmp_path / "killed")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: bool(list(store.directory.glob("cells/*/curve.jsonl"))))
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "The jobs stay in the queue (Slurm jobs: " in output
    assert "scalesweep cancel" in output
    wait_until(lambda: [state for (state,) in squeue(store, "%T")] == ["RUNNING", "RUNNING"])
    status = subprocess.run([*command[:3], "status", str(store.directory)], capture_output=True, text=True, check=True)
    assert "Slurm jobs: 2 running." in status.stdout
    final = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert final.returncode == 0, final.stderr
    assert set(store.states().values()) == {"COMPLETE"}
    assert len(list((store.directory / "logs").glob("slurm-*_?.log"))) == 2  # no job was added


@pytest.mark.slurm
def test_what_slurm_refuses_and_what_it_lets_wait_is_said(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    store = make("slurm")
    settings = store.plan_file.settings()
    refused = settings.launcher.model_copy(update={"partition": "nowhere"})
    with pytest.raises(StoreError, match="sbatch refuses the jobs: Batch job submission failed: Invalid partition name"):
        slurm.run_slurm(store, settings.model_copy(update={"launcher": refused}), "cpu", Monitor(store, store.plan_file.plan()))
    held = settings.launcher.model_copy(update={"sbatch": {"hold": True}})

    def cancel() -> None:
        wait_until(lambda: bool(squeue(store, "%i")))
        time.sleep(2.0)
        store.ask_to_cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        monitor = Monitor(store, store.plan_file.plan(), sys.stdout)
        slurm.run_slurm(store, settings.model_copy(update={"launcher": held}), "cpu", monitor)
    thread.join()
    assert "Slurm jobs: 2 pending (JobHeldUser)" in capsys.readouterr().out
    wait_until(lambda: not squeue(store, "%i"))  # taken back


# -- Ray --------------------------------------------------------------------------------------------------------------------


@pytest.mark.ray
def test_a_ray_worker_that_is_killed_is_replaced(make: Make, quiet: dict[str, Any]) -> None:
    """The process in which Ray runs the task; what it had started ends in order when it is gone."""
    store = make("ray", workers=1, sweep=LONG, train={"checkpoint_seconds": 0.3})  # two: one could do all, alone
    killed: list[int] = []

    def kill(key: str, _: int) -> None:
        name = Path(store.claims.log(key)).stem  # ray-HOST-PID-SLOT
        killed.append(int(name.split("-")[-2]))
        os.kill(killed[0], signal.SIGKILL)

    meanwhile(store, kill)
    run(store)
    assert measured(store) == quiet["long"]
    pids = {int(path.stem.split("-")[-2]) for path in (store.directory / "logs").glob("ray-*-?.log")}
    assert len(pids) == 2
    assert set(killed) < pids


@pytest.mark.ray
def test_what_ray_has_no_room_for_is_refused(make: Make, settings: Settings) -> None:
    store = make("ray")
    chosen = store.plan_file.settings()
    launcher = chosen.launcher.model_copy(update={"cpus": 1000})
    with pytest.raises(SpecError, match="a task asks for 1000 CPUs, and this machine has less"):
        launch(store, chosen.model_copy(update={"launcher": launcher}), "cpu", Monitor(store, store.plan_file.plan()))


@pytest.mark.ray
@pytest.mark.slow
def test_run_starts_a_ray_of_its_own_and_ends_it(tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts) -> None:
    settings = small_settings(home, launcher={"name": "ray"})
    final = subprocess.run(command_line(tmp_path, settings), capture_output=True, text=True, timeout=300)
    assert final.returncode == 0, final.stderr
    assert set(Store(tmp_path / "killed").states().values()) == {"COMPLETE"}
    assert "Ray tasks: 2" in final.stdout
