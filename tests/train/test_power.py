"""Power readings, from a stand-in of nvidia-smi."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scalesweep.train.power import mean_watts, watts_now


def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """An nvidia-smi that prints what the shell script says."""
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_the_mean_over_the_gpus_on_which_the_processes_compute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of four GPUs the first and the third are theirs; the second is somebody else's, the fourth idle."""
    apps = "echo 'GPU-a, 7'; echo 'GPU-b, 71'; echo 'GPU-c, 8'; echo 'GPU-c, 7'"
    power = 'case "$*" in *--id=GPU-a,GPU-c*) echo 600.0; echo 500.0;; *--id=GPU-c*) echo 500.0;; *) echo 70.0;; esac'
    pretend(monkeypatch, tmp_path, f'case "$1" in --query-compute-apps*) {apps};; *) {power};; esac')
    assert watts_now([7, 8]) == 550.0
    assert watts_now([8]) == 500.0
    assert watts_now([]) is None


@pytest.mark.parametrize("apps", ["exit 9", "echo 'GPU-a, [Not Found]'", "echo 'GPU-a, 70'", "echo"])
def test_all_gpus_count_where_the_processes_are_not_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, apps: str) -> None:
    pretend(monkeypatch, tmp_path, f'case "$1" in --query-compute-apps*) {apps};; *) echo 100.0; echo 300.0;; esac')
    assert watts_now([7]) == 200.0


@pytest.mark.parametrize("script", ["echo '[N/A]'", "exit 9", "echo"])
def test_what_cannot_be_read_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    pretend(monkeypatch, tmp_path, script)
    assert watts_now([7]) is None
    assert mean_watts("GPU-0", lambda begin: begin()) is None


def test_without_nvidia_smi_the_work_is_done_and_there_is_no_reading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done: list[int] = []
    assert mean_watts("GPU-0", lambda begin: (begin(), done.append(1))) is None
    assert done == [1]
    assert watts_now([7]) is None


def test_the_first_second_of_samples_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flag = tmp_path / "printed"
    lines = "".join("echo 60; " for _ in range(10)) + "".join("echo 400; " for _ in range(20))
    pretend(monkeypatch, tmp_path, f"{lines} touch {flag}; exec sleep 30")

    def work(begin: Callable[[], None]) -> None:
        assert not flag.exists()
        begin()
        begin()
        deadline = time.monotonic() + 20
        while not flag.exists() and time.monotonic() < deadline:
            time.sleep(0.01)

    assert mean_watts("GPU-0", work) == 400.0
