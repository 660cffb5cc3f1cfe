"""Pricing, budgets, and the commands that follow and manage a sweep, as a user types them."""

import functools
import importlib
import io
import json
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import UNDER_NOHUP

from scalesweep.cli import main, status
from scalesweep.cli.tables import fitting_table, wrapped
from scalesweep.errors import FitError
from scalesweep.run.store.store import Store

GRID = [
    "sweep=smoke",
    "sweep.sizes=[{width: 16, depth: 1}, {width: 32, depth: 1}, {width: 48, depth: 1}, {width: 64, depth: 1}]",
    "sweep.budgets=[4096,8192,16384,32768]",
    "data.max_bytes=300k",
    "train.validation_tokens=2048",
    "fit.bootstrap=20",
    "launcher=inline",
]
BUDGET = 2.2e10
"""Training FLOPs; the whole grid takes 5.3e10, its core 1.3e10."""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        importlib.import_module("scalesweep.cli.analysis")  # takes the function by its name, and must not keep this one
        patch.setattr("scalesweep.sweep.subject.write", no_report)  # which takes longer than the sweep, and is tested elsewhere
        yield


def no_report(*_: Any, **__: Any) -> Any:
    raise FitError("not asked for")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep within a budget that leaves 9 of 16 cells."""
    directory = tmp_path_factory.mktemp("runs") / "smoke"
    assert main(["run", *GRID, f"budget.flops={BUDGET:g}", f"dir={directory}"]) == 0
    return directory


def cells_of(directory: Path) -> set[str]:
    return {path.parent.name for path in directory.glob("cells/*/record.json")}


def wrote(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(list(words)) == code
    captured = capsys.readouterr()
    return captured.out if code != 2 else captured.err


# -- plan and budget ----------------------------------------------------------------------------------------------------------


def test_a_plan_shows_its_price_and_measures_a_size_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", *GRID, f"dir={tmp_path / 'none'}", "cost.watts=10", "train.micro_batch=4"]
    first, second = wrote(capsys, *words), wrote(capsys, *words)
    (measured,) = re.findall(r"Benchmarks: (\d) measured now, 0 known", first)
    assert measured in "23"  # of four sizes with one batch: smallest, largest, and one between where there is time
    assert "are interpolated" in first
    is_disturbed = "disturbed by other programs" in first  # such benchmarks are taken again
    assert is_disturbed or f"0 measured now, {measured} known" in second
    for word in ("core-hours", "kWh", "$", "kg CO2", "10 W a core (as set)", "0.481 kg CO2 a kWh (assumed)"):
        assert word in second
    assert is_disturbed or first.rpartition("Benchmarks")[0].endswith(second.rpartition("Benchmarks")[0])


def test_a_cluster_that_was_not_asked_leaves_the_workers_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = [word for word in GRID if not word.startswith("launcher")]
    words = ["plan", *grid, "launcher=ray", "launcher.address=auto", f"dir={tmp_path / 'none'}"]
    assert "wall-clock unknown: the Ray cluster" in wrote(capsys, *words)
    assert "budget.hours needs the number of workers" in wrote(capsys, *words, "budget.hours=1", code=2)
    assert "with 3 workers" in wrote(capsys, *words, "launcher.workers=3", "budget.hours=1")


def test_run_measures_what_the_plan_of_the_same_budget_shows(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = wrote(capsys, "plan", *GRID, f"budget.flops={BUDGET:g}", "dir=runs/not_there")
    assert {key for key in cells_of(sweep) if key in out} == cells_of(sweep)
    assert f"{len(cells_of(sweep))} cells, N counted" in out
    assert len(cells_of(sweep)) == 9


def test_a_larger_budget_extends_the_same_directory(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    grown = tmp_path / "grown"
    shutil.copytree(sweep, grown)
    before = cells_of(grown)
    wrote(capsys, "run", *GRID, f"budget.flops={1.5 * BUDGET:g}", f"dir={grown}")
    assert before < cells_of(grown)
    assert len(cells_of(grown)) < 16
    capsys.readouterr()
    assert main(["run", *GRID, "budget.flops=1e6", f"dir={grown}"]) == 0
    said = capsys.readouterr()
    assert "Nothing new to measure" in said.out
    assert f"warning: budget.flops = 1e+06 is exceeded: the cells of {grown}, which stay, come to " in said.err


def test_a_budget_that_is_too_small_is_refused_in_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for limit in ("flops=1000", "hours=1e-9", "usd=1e-12"):
        said = wrote(capsys, "plan", *GRID, f"dir={tmp_path / 'none'}", f"budget.{limit}", code=2)
        assert "the 9 cells that a joint law needs at least" in said
        assert "Traceback" not in said
    assert "budget.hours = -1" in wrote(capsys, "plan", *GRID, "budget.hours=-1", code=2)


def test_a_narrow_terminal_gets_fewer_columns_and_is_told_which() -> None:
    from rich.console import Console

    rows = [{"key": "0" * 12, "N": "10k", "batch": "512", "epochs": str(i), "minutes": "1.00"} for i in range(3)]
    for width in (20, 28, 36, 44, 80):
        console = Console(width=width, record=True, file=io.StringIO())
        table, notes = fitting_table(rows, ("epochs", "batch"), console)
        console.print(table)
        text = console.export_text()
        shown = text.split()
        assert ("batch" in shown) == ("batch 512" not in " ".join(notes))
        assert ("epochs" in shown) == ("Left out for want of width: epochs." not in notes)
        if width >= 28:
            assert max(map(len, text.splitlines())) <= width
            assert "…" not in text


# -- status -------------------------------------------------------------------------------------------------------------------


def test_status_as_json_has_the_fields_of_the_documents(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = json.loads(wrote(capsys, "status", str(sweep), "--json"))
    assert value["counts"]["COMPLETE"] == len(value["cells"]) == len(cells_of(sweep))
    assert (value["schema"], value["is_over"], value["workers"], value["eta_seconds"]) == (1, True, [], 0.0)
    assert value["cost"]["spent"]["device_hours"] > 0
    page = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()
    section = page.split("## scalesweep status")[1].split("\n## ")[0]
    for name in (*(set(value) - {"cost"}), *value["cost"]):
        assert f"`{name}`" in section or f"`cost.{name}`" in section, f"{name} is not in docs/runs.md"


def test_status_watched_without_a_terminal_is_a_line_a_cell(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = wrote(capsys, "status", str(sweep), "--watch").splitlines()
    assert len(lines) == len(cells_of(sweep)) + 1
    assert lines[-1] == f"{len(cells_of(sweep))} complete"
    assert json.loads(wrote(capsys, "status", str(sweep), "--watch", "--json"))["is_over"]


@pytest.mark.parametrize("words", [["--watch"], ["a", "b"], ["a=b"], ["runs/x", "--live"], ["runs/x", "--watch=5"]])
def test_status_refuses_other_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "status takes one directory" in wrote(capsys, "status", *words, code=2)


def test_status_names_the_option_that_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'--wach' is not an option (did you mean --watch?)" in wrote(capsys, "status", "runs/x", "--wach", code=2)


def test_long_lines_are_broken_between_words_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "word " * 30 + "/a/path-that-is-long"
    assert wrapped(line) == line  # for a pipe
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("scalesweep.cli.tables.output_width", lambda: 80)
    assert max(map(len, wrapped(line).splitlines())) <= 80
    assert wrapped(line).split() == line.split()


def test_a_directory_may_have_an_equals_sign(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory := tmp_path / "lr=0.1").symlink_to(sweep)
    key = Store(sweep).plan_file.keys()[0]
    assert "9 complete" in wrote(capsys, "status", str(directory))
    assert "9 points" in wrote(capsys, "export", str(directory), f"out={tmp_path / 'points.csv'}")
    assert f"{key} COMPLETE" in wrote(capsys, "logs", str(directory), key)
    assert "has failed" in wrote(capsys, "retry", str(directory), "failed")
    assert "were not kept" in wrote(capsys, "model", str(directory), key, code=2)
    assert "means nothing to fit of a sweep's directory" in wrote(capsys, "fit", str(directory), "seed=1", code=2)
    wrote(capsys, "cancel", str(directory))
    Store(sweep).clear_cancel()


def test_status_reads_the_power_of_workers_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "watts_now", lambda pids: float(sum(pids)))
    workers = [SimpleNamespace(host=host, pid=pid) for host, pid in ((socket.gethostname(), 7), ("elsewhere", 8))]
    assert status.watts_here(SimpleNamespace(device="cuda", workers=workers)) == 7.0
    assert status.watts_here(SimpleNamespace(device="cpu", workers=workers)) is None


def test_status_on_a_terminal_is_live(sweep: Path) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "scalesweep", "status", str(sweep), "--watch"]
    with subprocess.Popen(command, stdout=follower, env=os.environ | {"TERM": "xterm", "COLUMNS": "80"}) as process:
        os.close(follower)
        text = b""
        try:
            while part := os.read(leader, 4096):
                text += part
        except OSError:  # the other end is closed
            pass
        assert process.wait(60) == 0
    os.close(leader)
    assert b"100% of the work" in text
    assert b"complete" in text


# -- logs, retry, cancel, export ----------------------------------------------------------------------------------------------


@pytest.fixture
def failed(sweep: Path, tmp_path: Path) -> tuple[Store, str]:
    """A sweep in which one cell has failed."""
    import shutil

    store = Store(Path(shutil.copytree(sweep, tmp_path / "failed")))
    key = store.plan_file.keys()[0]
    for path in (store.cell_dir(key) / "record.json", *store.cell_dir(key).glob("claim-*")):
        path.unlink()
    for _ in range(2):  # the first failure is tried again
        claim = store.claims.take(key)
        assert claim is not None
        store.claims.fail(claim, "Traceback\nRuntimeError: the reason")
    (store.directory / "logs").mkdir(exist_ok=True)
    (store.directory / "logs" / "worker-0.log").write_text(f"12:00:00 {key} FAILED\n12:00:01 another line\n")
    return store, key


def test_logs_show_what_is_known_of_a_cell(failed: tuple[Store, str], capsys: pytest.CaptureFixture[str]) -> None:
    store, key = failed
    out = wrote(capsys, "logs", str(store.directory), key[:6])
    for words in (f"{key} FAILED", "RuntimeError: the reason", "worker-0.log", f"12:00:00 {key} FAILED"):
        assert words in out
    assert "another line" not in out
    status = wrote(capsys, "status", str(store.directory), code=3)
    assert f"{key} FAILED: RuntimeError: the reason (log: {store.directory / 'logs' / 'worker-0.log'})" in status


def test_retry_lets_a_failed_cell_wait_again(failed: tuple[Store, str], capsys: pytest.CaptureFixture[str]) -> None:
    store, key = failed
    other = store.plan_file.keys()[1]
    assert "is COMPLETE, and only a failed cell is retried" in wrote(capsys, "retry", str(store.directory), other, code=2)
    assert "1 failed cell waits again" in wrote(capsys, "retry", str(store.directory), key)
    assert store.state(key) == "WAITING"
    assert "it waits to be measured already" in wrote(capsys, "retry", str(store.directory), key, code=2)
    assert "No cell of" in wrote(capsys, "retry", str(store.directory), "failed")


def test_retry_on_a_disk_that_takes_no_more_is_one_sentence(failed: tuple[Store, str]) -> None:
    store, key = failed
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (10, 10))
    command = [sys.executable, "-m", "scalesweep", "retry", str(store.directory), key]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 2
    assert done.stderr.startswith(f"scalesweep: {store.directory} cannot be written: File too large; ")
    assert store.state(key) == "FAILED"


def test_retry_of_all_that_failed(failed: tuple[Store, str], capsys: pytest.CaptureFixture[str]) -> None:
    store, key = failed
    wrote(capsys, "retry", str(store.directory), "failed")
    assert store.state(key) == "WAITING"


def test_a_cell_is_named_by_a_beginning_of_its_key_that_no_other_has(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no cell of" in wrote(capsys, "logs", str(sweep), "zzz", code=2)
    assert f"{len(cells_of(sweep))} cells of" in wrote(capsys, "logs", str(sweep), "", code=2)
    assert "takes a directory and a cell's key" in wrote(capsys, "logs", str(sweep), code=2)
    assert "no sweep.json" in wrote(capsys, "logs", str(sweep.parent), "zzz", code=2)


@pytest.mark.slow
def test_cancel_ends_a_run_with_a_checkpoint_and_the_next_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sweep: Path
) -> None:
    directory = tmp_path / "cancelled"
    words = [*GRID, "sweep.budgets=[4M]", "sweep.sizes=[{width: 16, depth: 1}]", f"dir={directory}"]
    store, done = Store(directory), threading.Event()

    def cancel() -> None:
        while not done.wait(0.05):
            if list(directory.glob("cells/*/curve.jsonl")):
                store.ask_to_cancel()
                return

    thread = threading.Thread(target=cancel)
    thread.start()
    code = main(["run", *words])
    done.set()
    thread.join()
    assert code == 130
    assert set(store.states().values()) == {"WAITING"}
    assert list(directory.glob("cells/*/checkpoint.pt"))
    assert main(["run", *words]) == 0
    assert set(store.states().values()) == {"COMPLETE"}
    assert not store.is_cancelled()


@pytest.mark.parametrize("nohup", [pytest.param(False, marks=UNDER_NOHUP), True])
def test_a_hangup_ends_a_run_with_a_checkpoint_unless_it_is_ignored(tmp_path: Path, nohup: bool) -> None:
    """As when ssh drops: the terminal, here a pipe, is gone too."""
    words = [*GRID, "sweep.budgets=[50M]", "sweep.sizes=[{width: 64, depth: 2}]", f"dir={tmp_path / 'sweep'}"]
    command = [*(["nohup"] if nohup else []), sys.executable, "-m", "scalesweep", "run", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while not list(tmp_path.glob("sweep/cells/*/curve.jsonl")):
            assert process.poll() is None
            time.sleep(0.1)
        process.stdout.close()  # type: ignore[union-attr]
        process.send_signal(signal.SIGHUP)
        if nohup:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)
            process.terminate()
        assert process.wait(60) == 130
    assert set(Store(tmp_path / "sweep").states().values()) == {"WAITING"}
    assert len(list(tmp_path.glob("sweep/cells/*/checkpoint.pt"))) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGHUP, 130), (signal.SIGUSR1, 75)])
def test_a_signal_ends_a_run_that_is_still_planning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    def missed(*_: object) -> None:  # instead of the end of the tests
        pytest.fail("the run has not taken the signal")

    monkeypatch.setattr("scalesweep.sweep.run.prepare_corpora", lambda *_: signal.raise_signal(number))
    before = signal.signal(number, missed)
    try:
        assert main(["run", *GRID, f"dir={tmp_path / 'sweep'}"]) == code
        assert signal.getsignal(number) is missed
    finally:
        signal.signal(number, before)


def test_cancel_says_what_it_did(failed: tuple[Store, str], capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = failed
    assert "No cell is running" in wrote(capsys, "cancel", str(store.directory))
    assert store.is_cancelled()
    assert "cancel takes one directory" in wrote(capsys, "cancel", code=2)


def test_export_under_another_convention(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "df.csv"
    said = wrote(capsys, "export", str(sweep), f"out={out}", "layout=chinchilla", "count.params=total")
    assert "N counted total" in said
    rows = out.read_text().splitlines()
    assert rows[0] == "C,N,D,loss"
    assert len(rows) == len(cells_of(sweep)) + 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["layout=peers"], "layout = 'peers': must be one of scalesweep, chinchilla, vpnls"),
        (["out=points.txt"], "must end in .csv or .parquet"),
        (["to=points.csv"], "export takes a sweep's directory and out, layout"),
        (["count.params=all"], "count.params = 'all'"),
    ],
)
def test_export_refuses_in_words(sweep: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in wrote(capsys, "export", str(sweep), *words, code=2)


def test_workers_look_for_a_request_once_in_a_while_and_no_oftener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scalesweep.run import lease

    store = Store(tmp_path)
    stop = lease.or_cancelled(lambda: False, store)
    assert not stop()
    store.ask_to_cancel()
    assert not stop()
    monkeypatch.setattr(lease, "CANCEL_SECONDS", 0.0)
    assert stop()
    assert lease.or_cancelled(lambda: True, Store(tmp_path / "none"))()
