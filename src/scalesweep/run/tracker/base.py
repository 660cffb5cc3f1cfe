"""What every tracker offers, and what is known of a sweep when it has been fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from scalesweep.points.points import Points
from scalesweep.settings.run import LoggerSpec


class CellLog(Protocol):
    """The open log of one cell."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Add values at a step of training."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Add the outcome and close the log."""


class Backend(Protocol):
    """A program that shows runs; each is a module of this package. It may raise anything: whoever calls it catches."""

    def start(self, spec: LoggerSpec, directory: Path, group: str, row: Mapping[str, Any], tags: Sequence[str]) -> CellLog:
        """Open the log of the cell whose table row is `row`, in place of an earlier one where the program can do that."""

    def log_sweep(self, spec: LoggerSpec, directory: Path, sweep: "SweepSummary") -> None:
        """Write what is known of a whole sweep, in place of what was written before where the program can do that."""


@dataclass(frozen=True, eq=False)
class SweepSummary:
    """A sweep after its fit, in values that any tracker can show."""

    name: str
    """Name of the sweep."""
    hash: str
    """Hash of its plan, which is also the group of its cells."""
    config: Mapping[str, Any]
    """The settings that were asked for, as plain data."""
    values: Mapping[str, float | int | str]
    """Results by name, such as cells/complete, law/coupled/alpha and law/coupled/alpha/low."""
    text: str
    """The laws as text for a terminal, or why there is none."""
    points: Points | None
    """Every measured point; None where nothing was measured."""
    figures: tuple[Path, ...] = ()
    """PNG files of the report."""
    files: tuple[Path, ...] = ()
    """The report's other files, report.html first."""

    @property
    def tags(self) -> tuple[str, ...]:
        """What to find the sweep by: its name, its design, and those of recipe and corpus."""
        config = self.config
        return (self.name, config["sweep"]["design"], config["recipe"]["name"], config["data"]["source"])
