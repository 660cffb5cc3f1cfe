"""The loop that keeps jobs on a cluster, with a queue that does what it is told."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from builders import make_store, measured

from scalesweep.errors import SpecError, StoreError
from scalesweep.plan.grid import CorpusFacts
from scalesweep.run.launch import cluster, slurm
from scalesweep.run.launch.cluster import End, keep_jobs, start_worker
from scalesweep.run.launch.device import device_of_sweep
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.launch.slurm import in_words, sbatch_parameters
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings import trust as trusting
from scalesweep.settings.run import LauncherSpec
from scalesweep.settings.settings import Settings
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device


@dataclass
class FakeQueue:
    """Jobs that run when somebody asks for them: `script` says what each submission does, the last entry for all later ones."""

    store: Store
    script: list[str]
    most: int = 3
    workers_per_job: int = 1
    submissions: list[int] = field(default_factory=list)
    pending: int = 0
    end: End | None = None

    def submit(self, number: int) -> None:
        self.submissions.append(number)
        what = self.script[min(len(self.submissions), len(self.script)) - 1]
        if what == "waits":
            self.pending += number
        elif what == "measures one cell":
            key = next(key for key, state in self.store.states().items() if state == "WAITING")
            work(self.store, prepare_device("cpu"), lambda: self.store.is_finished(key) or bool(self.store.records()))
        elif what == "measures all":
            work(self.store, prepare_device("cpu"), lambda: False)

    def alive(self) -> int:
        return self.pending

    def describe(self) -> str:
        return f"{self.pending} wait"

    def last_words(self) -> str:
        return "The last one said: no such module."

    def close(self, end: End) -> str:
        self.end = end
        return f"closed: {end}"


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("POLL_SECONDS", "POLL_SHARE", "RESUBMIT_SECONDS"):
            patch.setattr(cluster, name, 0.0)
        yield


@pytest.fixture
def store(tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts) -> Store:
    """Four cells that nobody has measured."""
    return make_store(tmp_path / "sweep", settings, corpus, facts)


def test_jobs_that_end_early_are_replaced_until_all_is_measured(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    queue = FakeQueue(store, ["measures one cell", "dies", "measures all"])
    keep_jobs(store, queue, Monitor(store, store.plan_file.plan(), sys.stdout))
    assert set(store.states().values()) == {"COMPLETE"}
    assert queue.submissions == [3, 3, 3]
    assert queue.end == "finished"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0 wait"  # once, as it does not change
    assert lines.count("0 wait") == 1
    assert lines[-1] == "closed: finished"


def test_no_more_jobs_than_there_is_work_for(store: Store) -> None:
    queue = FakeQueue(store, ["measures all"], most=100)
    keep_jobs(store, queue, Monitor(store, store.plan_file.plan()))
    assert queue.submissions == [4]
    again = FakeQueue(store, ["measures all"])
    keep_jobs(store, again, Monitor(store, store.plan_file.plan()))
    assert again.submissions == []


def test_a_job_of_several_workers_counts_for_so_many_cells(store: Store) -> None:
    queue = FakeQueue(store, ["measures all"], most=100, workers_per_job=3)
    keep_jobs(store, queue, Monitor(store, store.plan_file.plan()))
    assert queue.submissions == [2]


def test_jobs_of_an_earlier_process_count(store: Store) -> None:
    queue = FakeQueue(store, ["measures all"], pending=2)
    keep_jobs(store, queue, Monitor(store, store.plan_file.plan()))
    assert queue.submissions == [1]


def test_jobs_that_never_have_a_cell_end_the_sweep_in_a_sentence(store: Store) -> None:
    queue = FakeQueue(store, ["dies"])
    with pytest.raises(
        StoreError, match=r"3 times the jobs ended before they had a cell\. The last one said: no such module\."
    ):
        keep_jobs(store, queue, Monitor(store, store.plan_file.plan()))
    assert len(queue.submissions) == 3
    assert queue.end == "left"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the signal may come amid a listing
@pytest.mark.parametrize("end", ["cancelled", "left"])
def test_what_becomes_of_jobs_that_wait_depends_on_who_ends(store: Store, end: End) -> None:
    queue = FakeQueue(store, ["waits"])

    def stop() -> None:
        while not queue.pending:
            time.sleep(0.01)
        if end == "cancelled":
            store.ask_to_cancel()
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        keep_jobs(store, queue, Monitor(store, store.plan_file.plan()))
    thread.join()
    assert queue.end == end
    assert queue.submissions == [3]


def test_what_a_job_runs_joins_the_sweep_and_ends_when_nothing_is_left(
    tmp_path: Path, store: Store, settings: Settings, corpus: Corpus, facts: CorpusFacts
) -> None:
    assert start_worker(str(store.directory), "cpu", 2, "node-1", []).wait(120) == 0
    alone = make_store(tmp_path / "alone", settings, corpus, facts)
    assert work(alone, prepare_device("cpu"), lambda: False)
    assert measured(store) == measured(alone)
    assert {path.name for path in (store.directory / "logs").iterdir()} == {"node-1.log", "node-1-0.log", "node-1-1.log"}
    assert (store.directory / "logs" / "node-1.log").read_text() == ""
    assert all(Path(store.claims.log(key)).name.startswith("node-1-") for key in store.plan_file.keys())


def test_a_job_without_a_corpus_prepares_it(tmp_path: Path, store: Store) -> None:
    """As on a machine that does not see the cache of the one that planned."""
    sweep = store.plan_file.content()
    store.plan_file.create(
        store.plan_file.plan(), sweep["settings"], {**sweep["facts"], "corpus_directory": str(tmp_path / "elsewhere")}
    )
    assert work(store, prepare_device("cpu"), lambda: False)
    assert set(store.states().values()) == {"COMPLETE"}


# -- sbatch -----------------------------------------------------------------------------------------------------------------


def test_settings_become_options_of_sbatch() -> None:
    spec = LauncherSpec(
        name="slurm",
        workers=8,
        gpus=2,
        cpus=16,
        memory_gb=1.5,
        minutes=60,
        partition="gpu",
        qos="high",
        account="lab",
        constraint="h100",
        sbatch={"mail_type": "END", "exclusive": True},
        setup=["module load cuda"],
    )
    assert sbatch_parameters(spec, "name", 4) == {
        "partition": "gpu",
        "qos": "high",
        "account": "lab",
        "constraint": "h100",
        "gpus_per_node": 2,
        "mem": "1536M",
        "setup": ["module load cuda"],
        "job_name": "name",
        "time": 60,
        "nodes": 1,
        "cpus_per_task": 16,
        "array_parallelism": 4,
        "signal_delay_s": 90,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, "mail-type": "END", "exclusive": True},
    }


def test_gres_stands_in_place_of_gpus() -> None:
    spec = LauncherSpec(name="slurm", workers=8, gpus=2, gres="gpu:a100:2", minutes=2)
    parameters = sbatch_parameters(spec, "name", 4)
    assert parameters["gres"] == "gpu:a100:2"
    assert "gpus_per_node" not in parameters
    assert parameters["signal_delay_s"] == 40  # not at once, as 90 s would be


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workers": "auto"}, "launcher=slurm needs workers, for example launcher.workers=8"),
        ({"workers": 8, "sbatch": {"time": 3, "job_name": "x"}}, "sbatch must not hold job-name, time"),
    ],
)
def test_a_queue_must_be_told(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LauncherSpec(name="slurm", **values)  # type: ignore[arg-type]


def test_workers_of_a_job() -> None:
    assert LauncherSpec(name="slurm", workers=8, gpus=2, workers_per_gpu=3, cpus=16).workers_per_job == 6
    assert LauncherSpec(name="ray", cpus=4).workers_per_job == 4


def test_jobs_in_words() -> None:
    seen = {"PENDING Resources": 2, "RUNNING": 1, "PENDING BeginTime": 1}
    assert in_words(seen) == "Slurm jobs: 1 running, 1 pending (BeginTime), 2 pending (Resources)"
    assert in_words({}) == "Slurm jobs: none"


def test_a_machine_without_slurm_is_refused(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(store.directory))
    chosen = settings.model_copy(update={"launcher": LauncherSpec(name="slurm", workers=2)})
    with pytest.raises(SpecError, match=r"sbatch, squeue, srun, scontrol not found; run this on a login node"):
        slurm.run_slurm(store, chosen, "cpu", Monitor(store, store.plan_file.plan()))
    assert slurm.jobs_of(store) is None


def test_nothing_is_submitted_while_slurm_does_not_answer(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "require_slurm", lambda: None)
    monkeypatch.setattr(slurm, "squeue", lambda *_: None)
    chosen = settings.model_copy(update={"launcher": LauncherSpec(name="slurm", workers=2)})
    queue = slurm.SlurmQueue(store, chosen, "cpu")
    assert queue.alive() == queue.most == 2
    assert queue.describe() == "Slurm does not answer (squeue)"


SILENT = "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2\nexit 1\n"
"""A command of Slurm while its controller is down."""


def commands(place: Path, script: str, *names: str) -> None:
    place.mkdir(exist_ok=True)
    for name in names:
        (place / name).write_text(script)
        (place / name).chmod(0o755)


@pytest.fixture
def down(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A sweep for a Slurm whose controller does not answer."""
    pytest.importorskip("submitit")
    commands(tmp_path / "bin", SILENT, "squeue", "sbatch", "srun", "scontrol", "scancel")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "ANSWER_SECONDS", 0.5)
    return settings.model_copy(update={"launcher": LauncherSpec(name="slurm", workers=2)})


def test_a_controller_that_is_down_is_not_waited_for_without_end(
    store: Store, down: Settings, capsys: pytest.CaptureFixture
) -> None:
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"Slurm has not answered for .* \(squeue\); see scontrol ping"):
        slurm.run_slurm(store, down, "cpu", Monitor(store, store.plan_file.plan(), sys.stdout))
    assert 0.5 < time.monotonic() - started < 10
    out = capsys.readouterr().out
    assert "it is not known whether jobs of this sweep stay in its queue" in out
    assert "stay in the queue (" not in out


def test_jobs_that_train_are_followed_however_long_the_controller_is_down(
    store: Store, down: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = slurm.SlurmQueue(store, down, "cpu")
    claim = store.claims.take(store.plan_file.keys()[0])
    assert claim is not None
    monkeypatch.setattr(slurm, "ANSWER_SECONDS", -1.0)
    assert queue.alive() == queue.most
    store.claims.release(claim)
    with pytest.raises(StoreError, match="Slurm has not answered"):
        queue.alive()


def test_what_sbatch_says_of_its_controller_is_not_laid_to_the_settings(tmp_path: Path, store: Store, down: Settings) -> None:
    commands(tmp_path / "bin", "#!/bin/sh\nexit 0\n", "squeue")
    failure = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
    commands(tmp_path / "bin", f"#!/bin/sh\necho '{failure}' >&2\nexit 1\n", "sbatch")
    with pytest.raises(StoreError, match=r"sbatch refuses the jobs: .*contact slurm controller.* See scontrol ping") as caught:
        slurm.run_slurm(store, down, "cpu", Monitor(store, store.plan_file.plan()))
    assert "launcher.partition" not in str(caught.value)


def test_the_device_of_a_cluster_is_what_its_jobs_ask_for(settings: Settings) -> None:
    def device(gpus: int, asked: str) -> str:
        launcher = LauncherSpec(name="slurm", workers=1, gpus=gpus)
        train = settings.train.model_copy(update={"device": asked})
        return device_of_sweep(settings.model_copy(update={"launcher": launcher, "train": train}))

    assert (device(0, "auto"), device(1, "auto"), device(1, "cuda")) == ("cpu", "cuda", "cuda")
    with pytest.raises(SpecError, match=r"train\.device = 'cuda': launcher\.gpus = 0 .* use launcher\.gpus=1"):
        device(0, "cuda")


def test_a_job_trusts_what_the_command_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusting, "TRUSTED", [])
    trusting.trust(("mine.models", "mine.more"))
    (tmp_path / "logs").mkdir()
    assert start_worker(str(tmp_path), "cpu", 1, "node-1", trusting.trust_words()).wait(60) == 2
    assert "holds no sweep" in (tmp_path / "logs" / "node-1.log").read_text()  # its words were read
