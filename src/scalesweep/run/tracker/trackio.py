"""trackio: runs in a SQLite file of the sweep's directory, DIR/trackio, which `trackio show` displays.

A log takes the place of an earlier one of the same cell or sweep. Where TRACKIO_DIR is set, it goes there instead; where
TRACKIO_SPACE_ID or TRACKIO_SERVER_URL are set, trackio sends it away, and none of this project's settings does.
"""

import contextlib
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.run.tracker.base import CellLog, SweepSummary
from scalesweep.settings.run import LoggerSpec


@dataclass(frozen=True)
class _Cell:
    run: Any

    def log(self, values: Mapping[str, Any], step: int) -> None:
        self.run.log(dict(values), step=step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self.run.log(dict(summary))
        _finish()


def start(spec: LoggerSpec, directory: Path, group: str, row: Mapping[str, Any], tags: Sequence[str]) -> CellLog:
    """Open the run of a cell."""
    name = f"N{row['n']}-D{row['d']}-s{row['seed']}-{row['key']}"
    return _Cell(_init(spec, directory, name, group, {**row, "tags": list(tags)}))


def log_sweep(spec: LoggerSpec, directory: Path, sweep: SweepSummary) -> None:
    """Write the run of a sweep: results, laws as text, points as a table, figures as images."""
    config = {**sweep.config, "tags": list(sweep.tags)}
    run = _init(spec, directory, f"sweep-{sweep.hash}", sweep.hash, config)
    import trackio

    shown: dict[str, Any] = {f"figures/{path.stem}": trackio.Image(str(path)) for path in sweep.figures}
    if sweep.points is not None:
        frame = sweep.points.frame
        shown["points"] = trackio.Table(dataframe=frame.astype(object).where(frame.notna(), None))
    text = "\n".join(f"    {line}" for line in sweep.text.splitlines())
    run.log({**sweep.values, **shown, "laws": trackio.Markdown(text)}, step=0)
    _finish()


def _init(spec: LoggerSpec, directory: Path, name: str, group: str, config: Mapping[str, Any]) -> Any:
    os.environ.setdefault("TRACKIO_DIR", str((directory / "trackio").absolute()))  # read when trackio is imported
    import trackio
    from trackio.media import get_project_media_path

    with contextlib.suppress(ValueError):  # there is no such project yet
        for earlier in trackio.Api().runs(spec.project):
            if earlier.name == name and earlier.delete():
                shutil.rmtree(get_project_media_path(spec.project, run=name), ignore_errors=True)
    with _quiet():
        return trackio.init(
            project=spec.project,
            name=name,
            group=group,
            config=dict(config),
            resume="never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )


def _finish() -> None:
    """Write and forget the open run, which trackio would else finish again when the process ends."""
    import trackio

    with _quiet():
        trackio.finish()


def _quiet() -> Any:
    """Take what trackio prints from standard output, where a sweep's progress is; no other thread writes meanwhile."""
    return contextlib.redirect_stdout(io.StringIO())
