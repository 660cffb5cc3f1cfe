"""Copies of what the store holds for programs that show runs: one run a cell and one of the fitted sweep.

Which program is `logger.kind`; each is one module here. The store is written first and is the source of truth; whatever a
tracker does, the sweep goes on. One that fails says so once and is silent from then on.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.packages import is_there, pip_line
from scalesweep.run.tracker.base import Backend, CellLog, SweepSummary
from scalesweep.settings.run import LoggerSpec

__all__ = ["SweepSummary", "Tracker", "is_off", "log_sweep", "require_ready", "start_tracker"]
FINISH_SECONDS = 60.0
"""What a tracker has to upload the end of a cell's log."""
Warn = Callable[[str], None]
"""Takes one line about trouble."""


class Tracker:
    """The log of one cell, whatever program keeps it."""

    def __init__(self, log: CellLog | None, kind: str, warn: Warn) -> None:
        self._log = log
        self._kind = kind
        self._warn = warn
        self._logged = 0

    def curve(self, curve: Sequence[Mapping[str, Any]]) -> None:
        """Log the points of the loss curve that are new since the last call."""
        with self._guard():
            if log := self._log:
                for point in curve[self._logged :]:
                    values = {f"train/{name}": value for name, value in point.items() if name != "step"}
                    log.log(values, int(point["step"]))
        self._logged = len(curve)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the outcome and close the log."""
        with self._guard():
            if log := self._log:
                _within(FINISH_SECONDS, lambda: log.finish(summary))

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a tracker must never end a measurement, whatever it raises
            self._log = None
            if isinstance(error, TimeoutError):
                FAILED[self._kind] = _words(error)
            self._warn(f"{self._kind} stopped logging this cell ({_words(error)}); the sweep goes on.")


def is_off(spec: LoggerSpec) -> bool:
    """Whether nothing is to be logged."""
    return spec.kind == "none" or (spec.kind == "wandb" and spec.mode == "disabled")


def require_ready(spec: LoggerSpec) -> None:
    """Refuse a tracker that cannot start here, before anything is measured; no server is asked.

    Raises:
        SpecError: its package is not installed, or it is to send and has no key.
    """
    if is_off(spec):
        return
    if not is_there(spec.kind):
        raise SpecError(
            f"logger = {spec.kind}: needs the package {spec.kind}, which is not installed; run {pip_line(spec.kind)}, or "
            "choose logger=none."
        )
    if spec.kind == "wandb" and spec.mode == "online":
        from scalesweep.run.tracker import wandb

        wandb.require_login()


def start_tracker(
    spec: LoggerSpec, directory: Path, group: str, row: Mapping[str, Any], warn: Warn, tags: Sequence[str] = ()
) -> Tracker:
    """A tracker for the cell whose table row is `row`; one that does nothing where it is off or cannot start.

    A program is asked once a process: without key or network every further try would cost its time-out.
    """
    if is_off(spec) or spec.kind in FAILED:
        return Tracker(None, spec.kind, warn)
    try:
        return Tracker(_backend(spec.kind).start(spec, directory, group, row, tags), spec.kind, warn)
    except Exception as error:  # no key, no network, a full disk: trackers raise many types
        FAILED[spec.kind] = _words(error)
        warn(f"{spec.kind} could not start ({FAILED[spec.kind]}); this process goes on without it.")
        return Tracker(None, spec.kind, warn)


def log_sweep(spec: LoggerSpec, directory: Path, sweep: SweepSummary, warn: Warn) -> bool:
    """Write what is known of a fitted sweep as a run of its own; whether that went well. Trouble is one line to `warn`."""
    if is_off(spec):
        return False
    trouble = FAILED.get(spec.kind, "")
    if not trouble:
        try:
            _backend(spec.kind).log_sweep(spec, directory, sweep)
        except Exception as error:  # the report is written; a copy of it must not turn a finished sweep into a failure
            trouble = _words(error)
    if trouble:
        warn(f"{spec.kind} did not log the sweep ({trouble}); its report is not affected.")
    return not trouble


FAILED: dict[str, str] = {}
"""Kinds that could not start in this process, or did not end a log, with the reason."""


def _within(seconds: float, call: Callable[[], object]) -> None:
    """Call in a thread of its own, which is left behind where it takes longer: an upload must not stop the sweep.

    Raises:
        TimeoutError: it did take longer.
    """
    errors: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    if errors:
        raise errors[0]


def _words(error: Exception) -> str:
    """The error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _backend(kind: str) -> Backend:
    """The module of a kind, imported when it is needed: wandb alone takes a second."""
    if kind == "tensorboard":
        from scalesweep.run.tracker import tensorboard

        return tensorboard
    if kind == "trackio":
        from scalesweep.run.tracker import trackio

        return trackio
    from scalesweep.run.tracker import wandb

    return wandb
