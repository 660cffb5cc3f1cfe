"""Weights & Biases: one run a cell and one of the sweep, in one group.

A cell's run has the cell's key as its id, the sweep's run `sweep-HASH`, so that a second log of either goes to the same run.
Offline, where nothing can be resumed, each log is a folder of its own, and `wandb sync` merges folders of one id; of the sweep
only the last folder that was not synced is kept.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.points.points import Points
from scalesweep.run.tracker.base import CellLog, SweepSummary
from scalesweep.settings.run import LoggerSpec

INIT_TIMEOUT_SECONDS = 20
MAX_TAG = 64
"""Characters of a tag, more of which wandb refuses."""


@dataclass(frozen=True)
class _Cell:
    run: Any

    def log(self, values: Mapping[str, Any], step: int) -> None:
        self.run.log(values, step=step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self.run.summary.update(dict(summary))
        self.run.finish(exit_code=0 if summary.get("state") == "COMPLETE" else 1)


def start(spec: LoggerSpec, directory: Path, group: str, row: Mapping[str, Any], tags: Sequence[str]) -> CellLog:
    """Open the run of a cell."""
    name = f"N{row['n']}-D{row['d']}-s{row['seed']}"
    return _Cell(_init(spec, directory, group=group, id=row["key"], name=name, job_type="cell", tags=tags, config=dict(row)))


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
    for other in folder.parent.glob(f"offline-run-*-{identity}"):
        if other.name != folder.name and not any(other.glob("*.synced")):
            shutil.rmtree(other, ignore_errors=True)
