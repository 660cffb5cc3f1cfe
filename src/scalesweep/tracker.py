"""Weights & Biases as a copy of what the store holds: one run a cell, grouped by sweep, identified by the cell's key.

The store is written first and is the source of truth; whatever wandb does, the sweep goes on. A tracker that fails says so once
and is silent from then on.
"""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalesweep.config import LoggerSpec

INIT_TIMEOUT_SECONDS = 20


class Tracker:
    """The wandb run of one cell."""

    def __init__(self, run: Any, warn: Callable[[str], None]) -> None:
        self._run = run
        self._warn = warn
        self._logged = 0

    def curve(self, curve: Sequence[Mapping[str, float]]) -> None:
        """Log the points of the loss curve that are new since the last call."""
        with self._guard():
            for point in curve[self._logged :] if self._run else ():
                values = {f"train/{name}": value for name, value in point.items() if name != "step"}
                self._run.log(values, step=int(point["step"]))
        self._logged = len(curve)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the outcome into the run's summary and close it."""
        with self._guard():
            if self._run:
                self._run.summary.update(dict(summary))
                self._run.finish(exit_code=0 if summary.get("state") == "COMPLETE" else 1)

    @contextlib.contextmanager
    def _guard(self) -> Any:
        try:
            yield
        except Exception as error:  # a tracker must never end a measurement, whatever it raises
            self._run = None
            self._warn(f"wandb stopped logging this cell ({type(error).__name__}: {error}); the sweep goes on.")


def start_tracker(
    spec: LoggerSpec, directory: Path, sweep: str, row: Mapping[str, Any], warn: Callable[[str], None]
) -> Tracker:
    """A tracker for the cell whose table row is `row`; one that does nothing where wandb is disabled or cannot start.

    wandb is asked once a process: without key or network every further try would cost its time-out.
    """
    if spec.mode == "disabled" or _failed:
        return Tracker(None, warn)
    try:
        return Tracker(_init(spec, directory, sweep, row), warn)
    except Exception as error:  # no key, no network, a full disk: wandb raises many types
        _failed.append(error)
        warn(f"wandb could not start ({type(error).__name__}: {error}); this process goes on without it.")
        return Tracker(None, warn)


_failed: list[Exception] = []


def _init(spec: LoggerSpec, directory: Path, sweep: str, row: Mapping[str, Any]) -> Any:
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
        group=sweep,
        id=row["key"],
        name=f"N{row['n']}-D{row['d']}-s{row['seed']}",
        config=dict(row),
        reinit="finish_previous",
        resume="allow",
        settings=settings,
    )
