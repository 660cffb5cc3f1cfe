"""Weights & Biases: one run a cell and one of the sweep, in one group.

A cell's run has the cell's key as its id, the sweep's run `sweep-HASH`, so that a second log of either goes to the same run.
Offline, where nothing can be resumed, each log is a folder of its own, with the whole curve: a cell that goes on is logged from
its first step. Of a finished cell and of the sweep only the last folder that was not synced is kept, because of two of one id
`wandb sync` keeps the rows of one.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.points.points import Points
from scalesweep.run.tracker.base import CellLog, SweepSummary
from scalesweep.settings.run import LoggerSpec

INIT_TIMEOUT_SECONDS = 20
_OFFLINE = "offline-run-"
"""Begins the names of wandb's folders of what was not sent."""
MAX_TAG = 64
"""Characters of a tag, more of which wandb refuses."""


@dataclass(frozen=True)
class _Cell:
    run: Any
    folder: Path

    def log(self, values: Mapping[str, Any], step: int) -> None:
        self.run.log(values, step=step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self.run.summary.update(dict(summary))
        state = summary.get("state")
        self.run.finish(exit_code=0 if state == "COMPLETE" else 1)
        if state in ("COMPLETE", "DIVERGED"):
            _remove_earlier(self.folder, self.run.id)
        elif state == "LOST" and self.folder.name.startswith(_OFFLINE):  # the worker that has the cell now logs all of it
            shutil.rmtree(self.folder, ignore_errors=True)


def require_login() -> None:
    """Refuse to begin where wandb has no key for its server, which is not asked.

    Raises:
        SpecError: there is no key, or not one that wandb takes.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    try:
        from wandb.sdk.lib.wbauth import authenticate_session  # wandb.login looks for no key where WANDB_MODE=offline
    except ImportError:  # of a version that has it elsewhere; what `start` meets is a warning
        return
    trouble = "nobody is logged in to wandb here"
    try:
        if authenticate_session(
            host=wandb.setup().settings.base_url, source="scalesweep", prompt=False, verify=False, update_session=False
        ):
            return
    except wandb.errors.Error as error:
        trouble = " ".join(str(error).split()).rstrip(".")
    raise SpecError(
        f"logger.mode = online: {trouble}; run wandb login, set WANDB_API_KEY, or choose logger.mode=offline, which wandb sync "
        "uploads later."
    )


def start(spec: LoggerSpec, directory: Path, group: str, row: Mapping[str, Any], tags: Sequence[str]) -> CellLog:
    """Open the run of a cell."""
    name = f"N{row['n']}-D{row['d']}-s{row['seed']}"
    run = _init(spec, directory, group=group, id=row["key"], name=name, job_type="cell", tags=tags, config=dict(row))
    return _Cell(run, Path(run.settings.sync_dir).absolute())


def log_sweep(spec: LoggerSpec, directory: Path, sweep: SweepSummary) -> None:
    """Write the run of a sweep: results as its summary, points as a table and an artifact, figures, the report's files."""
    identity = f"sweep-{sweep.hash}"
    named = {"id": identity, "name": sweep.name, "tags": sweep.tags, "job_type": "sweep"}
    run = _init(spec, directory, group=sweep.hash, config=dict(sweep.config), **named)
    folder = Path(run.settings.sync_dir).absolute()
    try:
        with _staging(folder):
            _log(run, sweep)
    except Exception:
        run.finish(exit_code=1)
        raise
    run.finish()
    _remove_earlier(folder, identity)


def _log(run: Any, sweep: SweepSummary) -> None:
    import wandb

    shown: dict[str, Any] = {f"figures/{path.stem}": wandb.Image(str(path)) for path in sweep.figures}
    if sweep.points is not None:
        table = wandb.Table(dataframe=sweep.points.frame, allow_mixed_types=True)
        run.log_artifact(_points_artifact(sweep, sweep.points, table))
        shown["points"] = table
    if shown:
        run.log(shown)
    run.summary.update(dict(sweep.values))
    if sweep.files:
        report = wandb.Artifact(f"report-{sweep.hash}", type="report", description=f"Report of the sweep {sweep.name}.")
        for path in sweep.files:
            report.add_file(str(path), name=path.name)
        run.log_artifact(report)


def _points_artifact(sweep: SweepSummary, points: Points, table: Any) -> Any:
    import wandb

    counting = {"params": points.params_convention, "flops": points.flops_convention}
    description = f"Measured points of the sweep {sweep.name}: N, D, C and validation loss in nats per token."
    artifact = wandb.Artifact(f"points-{sweep.hash}", type="dataset", description=description, metadata=counting)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "points.csv"
        points.to_csv(path)
        artifact.add_file(str(path), name=path.name)
    artifact.add(table, "points")
    return artifact


def _init(spec: LoggerSpec, directory: Path, *, tags: Sequence[str], **named: Any) -> Any:
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    settings = wandb.Settings(
        console="off", x_disable_stats=True, disable_git=True, silent=True, init_timeout=INIT_TIMEOUT_SECONDS
    )
    return wandb.init(
        project=spec.project,
        entity=spec.entity,
        mode=spec.mode,
        dir=str(directory),
        tags=[tag[:MAX_TAG] for tag in tags],
        reinit="finish_previous",
        resume="allow",
        settings=settings,
        **named,
    )


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """Keep the copies of an artifact's files, which a later upload needs, in the run's folder, not in the home."""
    name = "WANDB_DATA_DIR"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(folder)
    try:
        yield
    finally:
        del os.environ[name]


def _remove_earlier(folder: Path, identity: str) -> None:
    """Remove offline folders of the run that `folder` takes the place of, unless they were synced."""
    for other in folder.parent.glob(f"{_OFFLINE}*-{identity}"):
        if other.name != folder.name and not any(other.glob("*.synced")):
            shutil.rmtree(other, ignore_errors=True)
