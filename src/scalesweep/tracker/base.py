"""What every tracker offers, and what is known of a sweep when it has been fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from scalesweep.config import LoggerSpec
from scalesweep.fit import SweepFit
from scalesweep.points import Points


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


def summarise_sweep(
    sweep: Mapping[str, Any],
    states: Mapping[str, int],
    points: Points | None,
    fit: SweepFit | str,
    directory: Path,
) -> SweepSummary:
    """The sweep whose sweep.json holds `sweep`.

    Args:
        sweep: content of sweep.json.
        states: number of cells by state.
        points: every measured point.
        fit: the laws, or why there are none; without them the files of an earlier report in `directory` are left out.
        directory: where the report was written.
    """
    counts = {f"cells/{state.lower()}": number for state, number in states.items()}
    cells = {"cells": len(sweep["cells"]), **counts}
    if isinstance(fit, str):
        return SweepSummary(sweep["name"], sweep["hash"], sweep["settings"], {**cells, "verdict": fit}, fit, points)
    names = ("report.html", "report.md", "fit.json", "laws.csv", "back_test.csv", "frontier.csv")
    return SweepSummary(
        name=sweep["name"],
        hash=sweep["hash"],
        config=sweep["settings"],
        values={**cells, **law_values(fit)},
        text=fit.summary(),
        points=points,
        figures=tuple(sorted((directory / "figures").glob("*.png"))),
        files=tuple(directory / name for name in names if (directory / name).is_file()),
    )


def law_values(fit: SweepFit) -> dict[str, float | int | str]:
    """Every estimate of every law with the ends of its interval, the verdict, and on what it rests; null ends are left out."""
    values: dict[str, float | int | str | None] = {
        "verdict": fit.verdict,
        "preferred_law": fit.preferred_name if fit.preferred else None,
        "points/used": fit.num_used,
        "points/excluded": fit.num_excluded,
        "interval/confidence": fit.confidence,
        "noise/log_loss_sd": fit.noise.log_loss_sd if fit.noise else None,
        "noise/ratio": fit.noise_ratio,
        "warnings": " ".join(finding.code for finding in fit.findings),
    }
    for law, content in fit.to_dict()["laws"].items():
        values[f"law/{law}"] = content["formula"]
        values[f"law/{law}/status"] = content["status"]
        values[f"law/{law}/residual_rms"] = content["residual_rms"]
        for name, estimate in content["estimates"].items():
            values[f"law/{law}/{name}"] = estimate["value"]
            values |= {f"law/{law}/{name}/{end}": estimate[end] for end in ("low", "high")}
    for law, reason in fit.refusals.items():
        values[f"law/{law}/status"] = f"refused: {reason}"
    return {name: value for name, value in values.items() if value is not None}
