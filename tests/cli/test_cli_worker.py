"""`scalesweep worker`: a machine joins a sweep that another process has planned."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import HANGUP, INTERRUPT, make_store, measured, small_settings

from scalesweep.cli import main
from scalesweep.plan.grid import CorpusFacts
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.settings import Settings
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device


@pytest.fixture
def store(tmp_path: Path, settings: Settings, corpus: Corpus, facts: CorpusFacts) -> Store:
    return make_store(tmp_path / "sweep", settings, corpus, facts)


def joined(store: Store, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "scalesweep", "worker", str(store.directory), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_it_measures_what_is_left_and_ends(
    tmp_path: Path, store: Store, settings: Settings, corpus: Corpus, facts: CorpusFacts, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["worker", str(store.directory), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Joined tiny (")
    assert [line.split("]")[0] for line in lines[1:5]] == ["[1/4", "[2/4", "[3/4", "[4/4"]
    assert lines[-1] == "No cell is left to claim."
    alone = make_store(tmp_path / "alone", settings, corpus, facts)
    work(alone, prepare_device("cpu"), lambda: False)
    assert measured(store) == measured(alone)
    assert [path.name for path in (store.directory / "logs").iterdir()] == [f"{os.uname().nodename}-{os.getpid()}-0.log"]


def test_it_measures_on_when_nobody_reads_what_it_prints(store: Store) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "scalesweep", "worker", str(store.directory), "--device", "cpu"]
    with os.fdopen(writer):
        assert subprocess.run(command, stdout=writer, stderr=writer).returncode == 0
    assert set(store.states().values()) == {"COMPLETE"}


def test_it_does_not_wait_for_cells_that_others_hold(store: Store) -> None:
    for key in store.plan_file.keys():
        assert store.claims.take(key)
    started = time.monotonic()
    assert main(["worker", str(store.directory)]) == 0
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 130), INTERRUPT, HANGUP, (signal.SIGUSR1, 75), (None, 0)],
)
def test_it_ends_in_order_by_a_signal_or_when_the_sweep_is_cancelled(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts, number: signal.Signals | None, code: int
) -> None:
    sweep = {"name": "endless", "sizes": [{"width": 64, "depth": 2}], "budgets": ["50M"]}
    store = make_store(tmp_path / "sweep", small_settings(home, sweep=sweep), corpus, facts)
    process, (key,) = joined(store), store.plan_file.keys()
    while not store.last_step(key):
        time.sleep(0.1)
        assert process.poll() is None
    if number is None:
        store.ask_to_cancel()
    else:
        process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert ("The sweep was cancelled" in output) == (number is None)
    assert store.state(key) == "WAITING"
    assert store.checkpoint(key).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "worker takes one directory, and --device or --workers, such as: scalesweep worker runs/demo."),
        (["nowhere"], "nowhere holds no sweep (no sweep.json); give the directory of a sweep, such as runs/demo."),
        (["DIR", "--device", "tpu"], "--device tpu: must be auto, cpu, cuda or cuda:K."),
        (["DIR", "--workers", "0"], "--workers 0: must be auto or a positive whole number."),
        (
            ["DIR", "--gpu", "0"],
            "'--gpu' is not an option: worker takes one directory, and --device or --workers, "
            "such as: scalesweep worker runs/demo.",
        ),
    ],
)
def test_a_mistake_is_one_sentence(store: Store, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(["worker", *(str(store.directory) if word == "DIR" else word for word in words)]) == 2
    assert capsys.readouterr().err == f"scalesweep: {message}\n"


def test_a_gpu_that_is_not_there_is_refused(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["worker", str(store.directory), "--device", "cuda:3"]) == 2
    assert "--device cuda:3: PyTorch sees no CUDA device here" in capsys.readouterr().err
