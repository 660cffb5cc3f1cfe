"""Trackers are read back by their own readers; whatever one does, nothing else is affected."""

import dataclasses
import io
import itertools
import json
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import make_store, small_settings

from scalesweep.analysis.analyse import analyse
from scalesweep.cli import main
from scalesweep.errors import Refused, SpecError
from scalesweep.plan.grid import CorpusFacts
from scalesweep.points.points import Points, points_from_rows
from scalesweep.points.reading import read_points
from scalesweep.report import ReportContext, write_report
from scalesweep.run import tracker
from scalesweep.run.tracker import SweepSummary, log_sweep, require_ready, start_tracker
from scalesweep.run.worker import work
from scalesweep.settings.fit import FitSpec
from scalesweep.settings.run import LoggerSpec
from scalesweep.sweep.tracking import summarise_sweep
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device

ROW = {"key": "0123456789ab", "n": 1000, "d": 4096, "seed": 0, "lr": 0.004, "optimizer": "adamw"}
CURVE = [{"step": step, "tokens": 128 * step, "phase": "stable", "loss": 5 / step, "lr": 0.004} for step in (1, 2, 4)]
SMALL = ["data=python_small", "data.max_bytes=300k", "launcher=inline", "fit.bootstrap=10", "model.context=32"]
GRID = ["sweep=smoke", "sweep.sizes=[10k,40k,100k]", "sweep.budgets=[4k,8k]", "train.validation_tokens=2048"]


def no_warning(line: str) -> None:
    raise AssertionError(line)


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tracker has failed so far."""
    monkeypatch.setattr(tracker, "FAILED", {})


@pytest.fixture(scope="module")
def points() -> Points:
    """Nine points of a law, the last of which is left out."""
    grid = [(n, d) for n in (1e6, 3e6, 1e7) for d in (1e8, 3e8, 1e9)]
    rows = [{"n": n, "d": d, "c": 6 * n * d, "loss": 1.7 + 400 / n**0.34 + 400 / d**0.28, "seed": 0} for n, d in grid]
    return points_from_rows([*rows[:-1], {**rows[-1], "excluded_reason": "by hand"}], "total", "six_n", "a | test")


@pytest.fixture(scope="module")
def summary(points: Points, tmp_path_factory: pytest.TempPathFactory) -> SweepSummary:
    """The points fitted and reported, as the end of a run leaves them."""
    directory = tmp_path_factory.mktemp("sweep")
    analysis = analyse(points, FitSpec(bootstrap=20))
    context = ReportContext(title="t", curves={}, cells=[], provenance={}, warnings=[], command="scalesweep report x")
    write_report(directory, analysis, context)
    return summarise_sweep(sweep_json(directory), {"COMPLETE": 8, "FAILED": 1}, points, analysis.fit, directory)


def sweep_json(directory: Path) -> dict[str, Any]:
    """What the tracker reads of sweep.json."""
    settings = small_settings(directory).model_dump(mode="json")
    return {"name": "tiny", "hash": "d6cf4fd0c16a", "settings": settings, "cells": [{}] * 9}


def log_cell(spec: LoggerSpec, directory: Path) -> None:
    log = start_tracker(spec, directory, "d6cf4fd0c16a", ROW, no_warning, ["tiny"])
    log.curve(CURVE[:2])
    log.curve(CURVE)
    log.finish({"state": "COMPLETE", "loss": 1.25, "loss_se": 0.5})


def test_a_summary_has_every_law_with_interval_ends_verdict_and_counts(summary: SweepSummary) -> None:
    values = summary.values
    assert (values["cells"], values["cells/complete"], values["cells/failed"]) == (9, 8, 1)
    assert (values["points/used"], values["points/excluded"]) == (8, 1)
    stored = json.loads((summary.files[0].parent / "fit.json").read_text())
    for name, law in stored["laws"].items():
        for parameter, estimate in law["estimates"].items():
            logged = {end: values.get(f"law/{name}/{parameter}{suffix}") for end, suffix in ENDS.items()}
            assert logged == {end: estimate[end] for end in ENDS}
    assert str(values["verdict"]) and values["preferred_law"] == stored["preferred"]
    assert [path.name for path in summary.files][:2] == ["report.html", "report.md"]
    assert "power_laws" in {path.stem for path in summary.figures}
    assert summary.tags == ("tiny", "full", "test", "python")


ENDS = {"value": "", "low": "/low", "high": "/high"}


def test_a_sweep_without_a_law_names_the_refusal_and_no_old_report(summary: SweepSummary, points: Points) -> None:
    directory = summary.files[0].parent
    bare = summarise_sweep(sweep_json(directory), {"COMPLETE": 2}, points, Refused("2 usable points"), directory)
    assert bare.values == {"cells": 9, "cells/complete": 2, "verdict": "2 usable points"}
    assert (bare.figures, bare.files, bare.text) == ((), (), "2 usable points")


# -- Weights & Biases ---------------------------------------------------------------------------------------------------------


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of an offline log: LevelDB's log format, blocks of 32 KiB behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, content = file.read_bytes(), 7, b""
    assert data[:4] in (b":W&B", b"")
    while position + 7 <= len(data):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        if position + 7 + length > len(data):  # not yet written to its end
            return
        content += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(content)
            content = b""


def whole_log(file: Path) -> list[Any]:
    """All records; wandb's own process writes the last of them some milliseconds after `finish` has returned."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        records = list(wandb_records(file))
        if any(record.HasField("exit") for record in records):
            return records
        time.sleep(0.005)
    raise AssertionError(f"{file} has no end")


class Logged:
    """What an offline folder holds."""

    def __init__(self, folder: Path) -> None:
        records = whole_log(next(folder.glob("*.wandb")))
        self.run = next(r.run for r in records if r.HasField("run"))
        self.artifacts = {r.artifact.type: r.artifact for r in records if r.HasField("artifact")}
        self.exit_code = next(r.exit.exit_code for r in records if r.HasField("exit"))
        self.history = [flat(r.history.item) for r in records if r.HasField("history")]
        self.summary: dict[str, Any] = {}
        for record in records:
            self.summary |= flat(record.summary.update) if record.HasField("summary") else {}
        self.config = flat(self.run.config.update)

    def file_of(self, kind: str, name: str) -> Path:
        """The staged copy of an artifact's file."""
        return Path(next(c.local_path for c in self.artifacts[kind].manifest.contents if c.path == name))


def flat(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def offline_folders(directory: Path, identity: str) -> list[Path]:
    return sorted((directory / "wandb").glob(f"offline-run-*-{identity}"))


def test_wandb_logs_a_cell_offline(tmp_path: Path) -> None:
    log_cell(LoggerSpec(project="p"), tmp_path)
    (folder,) = offline_folders(tmp_path, ROW["key"])
    logged = Logged(folder)
    assert (logged.run.run_id, logged.run.run_group, logged.run.job_type) == (ROW["key"], "d6cf4fd0c16a", "cell")
    assert (logged.run.project, list(logged.run.tags)) == ("p", ["tiny"])
    assert {name: logged.config[name] for name in ROW} == ROW
    assert [(row["_step"], row["train/loss"]) for row in logged.history] == [(1, 5), (2, 2.5), (4, 1.25)]
    assert (logged.summary["state"], logged.summary["loss"], logged.exit_code) == ("COMPLETE", 1.25, 0)


def test_wandb_logs_a_sweep_offline_with_table_figures_and_report(
    summary: SweepSummary, points: Points, tmp_path: Path
) -> None:
    assert log_sweep(LoggerSpec(), tmp_path, summary, no_warning)
    (folder,) = offline_folders(tmp_path, "sweep-d6cf4fd0c16a")
    logged = Logged(folder)
    run = logged.run
    assert (run.run_group, run.job_type, run.display_name) == ("d6cf4fd0c16a", "sweep", "tiny")
    assert list(run.tags) == ["tiny", "full", "test", "python"]
    assert logged.config["recipe"]["lr"] == 0.004
    assert {name: logged.summary[name] for name in summary.values} == summary.values
    for path in summary.figures:
        image = folder / "files" / logged.summary[f"figures/{path.stem}.path"]
        assert image.read_bytes() == path.read_bytes()
    table = json.loads((folder / "files" / logged.summary["points.path"]).read_text())
    assert [row[table["columns"].index("loss")] for row in table["data"]] == points.frame["loss"].tolist()
    assert logged.artifacts["dataset"].name == "points-d6cf4fd0c16a"
    assert json.loads(logged.artifacts["dataset"].metadata) == {"params": "total", "flops": "six_n"}
    assert json.loads(logged.file_of("dataset", "points.table.json").read_text())["data"] == table["data"]
    csv = tmp_path / "points.csv"
    csv.write_bytes(logged.file_of("dataset", "points.csv").read_bytes())
    assert read_points(csv).frame[["n", "d", "c", "loss"]].equals(points.frame[["n", "d", "c", "loss"]])
    for path in summary.files:
        assert logged.file_of("report", path.name).read_bytes() == path.read_bytes()
        assert folder in logged.file_of("report", path.name).parents


def test_wandb_keeps_one_unsynced_folder_of_a_sweep(summary: SweepSummary, tmp_path: Path) -> None:
    bare = dataclasses.replace(summary, figures=(), files=())
    identity = f"sweep-{summary.hash}"
    synced, old, other = (tmp_path / "wandb" / f"offline-run-2020010{i}_000000-{identity}" for i in (1, 2, 3))
    other = other.with_name(other.name + "0")
    for folder in (synced, old, other):
        folder.mkdir(parents=True)
        (folder / f"run-{identity}.wandb").touch()
    (synced / f"run-{identity}.wandb.synced").touch()
    assert log_sweep(LoggerSpec(), tmp_path, bare, no_warning)
    assert not old.exists() and other.exists()
    kept, new = offline_folders(tmp_path, identity)
    assert kept == synced
    assert Logged(new).summary["cells"] == 9


def test_a_cell_that_was_interrupted_has_one_folder_with_the_curve_of_the_store(
    tmp_path: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    grid = {"name": "tiny", "sizes": [{"width": 16, "depth": 1}], "budgets": [16384]}
    settings = small_settings(tmp_path, sweep=grid, logger={"mode": "offline"}, train={"checkpoint_seconds": 1e-6})
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    (key,) = store.plan_file.keys()
    asked = itertools.count()
    assert not work(store, prepare_device("cpu"), lambda: next(asked) > 60)
    (first,) = offline_folders(store.directory, key)
    half = [row["_step"] for row in Logged(first).history]
    time.sleep(1.1)  # wandb calls folders after the second
    assert work(store, prepare_device("cpu"), lambda: False)
    (folder,) = offline_folders(store.directory, key)
    logged, curve = Logged(folder), store.curve(key)
    assert folder != first and logged.exit_code == 0
    assert [(row["_step"], row["train/loss"]) for row in logged.history] == [(p["step"], p["loss"]) for p in curve]
    assert 0 < len(half) < len(curve)


def test_a_log_of_a_cell_that_somebody_else_finishes_is_no_second_folder(tmp_path: Path) -> None:
    log = start_tracker(LoggerSpec(), tmp_path, "d6cf4fd0c16a", ROW, no_warning)
    log.curve(CURVE[:2])
    log.finish({"state": "LOST"})
    assert not offline_folders(tmp_path, ROW["key"])


def test_a_sweep_is_logged_once_however_often_it_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", *GRID, *SMALL, "logger=wandb", f"dir={tmp_path / 'x'}"]
    for _ in range(2):
        assert main(words) == 0
    out, err = capsys.readouterr()
    assert "Nothing new to measure" in out and "wandb" not in err
    (folder,) = offline_folders(tmp_path / "x", "sweep-*")
    logged = Logged(folder)
    keys = {path.name for path in (tmp_path / "x" / "cells").iterdir()}
    assert logged.summary["cells/complete"] == len(keys) == 6
    assert all(len(offline_folders(tmp_path / "x", key)) == 1 for key in keys)
    assert logged.run.run_id == f"sweep-{logged.run.run_group}"


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody is logged in to wandb."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("no_key")
@pytest.mark.parametrize(("key", "trouble"), [("", "nobody is logged in to wandb"), ("short", "40+ characters")])
def test_without_a_key_nothing_is_measured_for_a_server(
    key: str, trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert main(["run", *GRID, "logger=wandb", "logger.mode=online", f"dir={tmp_path / 'x'}"]) == 2
    err = capsys.readouterr().err
    assert trouble in err and "logger.mode=offline" in err
    assert not (tmp_path / "x").exists()
    require_ready(LoggerSpec(mode="offline"))


@pytest.mark.usefixtures("no_key")
def test_a_key_is_enough_to_begin_and_no_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection is opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://192.0.2.1")  # TEST-NET-1: nobody answers
    require_ready(LoggerSpec(mode="online"))


@pytest.mark.usefixtures("no_key")
def test_without_a_key_wandb_says_so_once_and_the_rest_goes_on(summary: SweepSummary, tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        log = start_tracker(LoggerSpec(mode="online"), tmp_path, "g", ROW, said.append)
        log.curve(CURVE)
        log.finish({"state": "COMPLETE"})
    assert len(said) == 1 and "wandb could not start (UsageError: No API key" in said[0]
    assert not log_sweep(LoggerSpec(mode="online"), tmp_path, summary, said.append)
    assert len(said) == 2 and "did not log the sweep" in said[1] and "\n" not in said[1]


def test_a_tracker_that_fails_on_the_way_is_silent_from_then_on() -> None:
    class Broken:
        calls = 0

        def log(self, values: Any, step: int) -> None:
            self.calls += 1
            raise OSError(28, "No space left\non device")

        def finish(self, summary: Any) -> None:
            raise AssertionError

    said: list[str] = []
    broken = Broken()
    log = tracker.Tracker(broken, "wandb", said.append)
    log.curve(CURVE)
    log.curve(CURVE * 2)
    log.finish({})
    assert broken.calls == 1
    assert said == ["wandb stopped logging this cell (OSError: [Errno 28] No space left on device); the sweep goes on."]


def test_a_tracker_that_never_ends_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Stuck:
        def log(self, values: Any, step: int) -> None: ...

        def finish(self, summary: Any) -> None:
            threading.Event().wait(20)

    monkeypatch.setattr(tracker, "FINISH_SECONDS", 0.05)
    said: list[str] = []
    log = tracker.Tracker(Stuck(), "wandb", said.append)
    log.finish({"state": "COMPLETE"})
    assert said == ["wandb stopped logging this cell (TimeoutError: no answer within 0 s); the sweep goes on."]
    again = start_tracker(LoggerSpec(kind="wandb"), tmp_path, "group", ROW, no_warning)
    again.finish({"state": "COMPLETE"})
    assert not list(tmp_path.iterdir())


def test_a_sweep_whose_log_fails_is_not_affected(summary: SweepSummary, tmp_path: Path) -> None:
    said: list[str] = []
    lost = dataclasses.replace(summary, files=(tmp_path / "gone.html",))
    assert not log_sweep(LoggerSpec(), tmp_path, lost, said.append)
    (line,) = said
    assert line.startswith("wandb did not log the sweep (ValueError: ") and line.endswith("its report is not affected.")
    (folder,) = offline_folders(tmp_path, f"sweep-{summary.hash}")
    assert Logged(folder).exit_code == 1
    assert log_sweep(LoggerSpec(), tmp_path, dataclasses.replace(summary, files=()), no_warning)


# -- which tracker ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [LoggerSpec(kind="none"), LoggerSpec(mode="disabled")])
def test_nothing_is_logged_where_it_is_off(spec: LoggerSpec, summary: SweepSummary, tmp_path: Path) -> None:
    log_cell(spec, tmp_path)
    assert not log_sweep(spec, tmp_path, summary, no_warning)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["tensorboard", "trackio"])
@pytest.mark.parametrize("command", [["run", *GRID], ["train"]])
def test_a_missing_package_is_refused_before_anything_is_measured(
    kind: str, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    monkeypatch.setattr(sys, "argv", ["scalesweep"])
    place = "hydra.run.dir" if command[0] == "train" else "dir"
    assert exit_code([*command, f"logger={kind}", f"{place}={tmp_path / 'x'}"]) == 2
    err = capsys.readouterr().err
    assert f"logger = {kind}: needs the package {kind}" in err and f"pip install '{kind}" in err
    assert not (tmp_path / "x" / "cells").exists() and not (tmp_path / "x" / "sweep").exists()


def exit_code(words: list[str]) -> Any:
    """What the process would return; Hydra's application exits by itself."""
    try:
        return main(words)
    except SystemExit as end:
        return end.code


def test_a_directory_named_like_a_package_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trackio").mkdir()
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(SpecError, match=r"pip install 'trackio"):
        require_ready(LoggerSpec(kind="trackio"))


# -- TensorBoard --------------------------------------------------------------------------------------------------------------


def accumulated(place: Path) -> Any:
    """The events of a directory, by TensorBoard's own reader."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(place), size_guidance={"images": 0, "tensors": 0, "scalars": 0})
    return events.Reload()


def text_of(events: Any, tag: str) -> str:
    return str(events.Tensors(tag)[-1].tensor_proto.string_val[0].decode())


def test_tensorboard_logs_a_cell_and_replaces_an_earlier_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for _ in range(2):
        log_cell(LoggerSpec(kind="tensorboard"), tmp_path)
    place = tmp_path / "tensorboard" / ROW["key"]
    assert len(list(place.iterdir())) == 1
    events = accumulated(place)
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 5.0), (2, 2.5), (4, 1.25)]
    assert "train/phase" not in events.Tags()["scalars"]
    assert events.Scalars("loss")[0].value == 1.25
    assert text_of(events, "state") == "COMPLETE"
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    data = parse_session_start_info_plugin_data(events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    assert data.group_name == ROW["key"] and data.hparams["optimizer"].string_value == "adamw"
    assert data.hparams["n"].number_value == 1000 and data.hparams["sweep"].string_value == "d6cf4fd0c16a"


def test_tensorboard_logs_a_sweep(summary: SweepSummary, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from PIL import Image

    for _ in range(2):
        assert log_sweep(LoggerSpec(kind="tensorboard"), tmp_path, summary, no_warning)
    events = accumulated(tmp_path / "tensorboard" / "sweep")
    alpha = events.Scalars("law/joint/alpha")
    assert [e.value for e in alpha] == [pytest.approx(summary.values["law/joint/alpha"])]
    assert summary.text.splitlines()[0] in text_of(events, "laws")
    results = text_of(events, "results")
    assert f"| law/joint/alpha | {summary.values['law/joint/alpha']} |" in results
    assert "| recipe.lr | 0.004 |" in text_of(events, "settings")
    assert len(text_of(events, "points").splitlines()) == 2 + 9
    assert set(events.Tags()["images"]) == {f"figures/{path.stem}" for path in summary.figures}
    for path in summary.figures:
        (image,) = events.Images(f"figures/{path.stem}")
        drawn = Image.open(io.BytesIO(image.encoded_image_string))
        assert (image.width, image.height) == drawn.size
        assert image.encoded_image_string == path.read_bytes()


def test_tensorboard_needs_no_torch() -> None:
    pytest.importorskip("tensorboard")
    from builders import modules_after

    assert not modules_after("import scalesweep.run.tracker.tensorboard") & {"torch", "tensorflow", "wandb"}


# -- trackio ------------------------------------------------------------------------------------------------------------------


def test_trackio_logs_cells_and_sweep_and_replaces_earlier_logs(
    summary: SweepSummary, points: Points, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "trackio" not in sys.modules:  # it reads the variable once
        monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    spec = LoggerSpec(kind="trackio", project="p")
    for _ in range(2):
        log_cell(spec, tmp_path)
        assert log_sweep(spec, tmp_path, summary, no_warning)
    assert capsys.readouterr().out == ""
    runs = {run.name: run for run in trackio.Api().runs("p")}
    assert set(runs) == {f"N1000-D4096-s0-{ROW['key']}", f"sweep-{summary.hash}"}
    assert {run.config["_Group"] for run in runs.values()} == {summary.hash}
    *curve, end = SQLiteStorage.get_logs("p", f"N1000-D4096-s0-{ROW['key']}")
    assert [(row["step"], row["train/loss"]) for row in curve] == [(1, 5), (2, 2.5), (4, 1.25)]
    assert (end["state"], end["loss"]) == ("COMPLETE", 1.25)
    (logged,) = SQLiteStorage.get_logs("p", f"sweep-{summary.hash}")
    assert {name: logged[name] for name in summary.values} == summary.values
    assert [row["loss"] for row in logged["points"]["_value"]] == points.frame["loss"].tolist()
    assert summary.text.splitlines()[0] in logged["laws"]["_value"]
    images = list((tmp_path / "trackio" / "media").rglob("*.png"))
    assert len(images) == len(summary.figures)
    assert np.isclose(sum(path.stat().st_size for path in images), sum(p.stat().st_size for p in summary.figures), rtol=0.5)
