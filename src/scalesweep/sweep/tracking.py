"""What a tracker is told of a sweep when it has been fitted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalesweep.analysis.families import Families, Family
from scalesweep.errors import PointsError, Refused
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.points.points import Points
from scalesweep.report.words.summary import summary
from scalesweep.run.store.measured import Measured
from scalesweep.run.tracker import Warn, is_off, log_sweep
from scalesweep.run.tracker.base import SweepSummary
from scalesweep.settings.settings import Settings


def track_sweep(
    measured: Measured, settings: Settings, fit: SweepFit | Refused, warn: Warn, families: Families | None = None
) -> None:
    """Log the sweep as a run of its own, with its laws or why there are none; trouble is one line to `warn`."""
    if is_off(settings.logger):
        return
    points: Points | None
    try:
        points = measured.points(settings.count)  # of a tuned sweep all that were tried
    except PointsError:  # nothing is measured
        points = None
    counts = {str(state): number for state, number in measured.counts.items()}
    swept = summarise_sweep(measured.content, counts, points, fit, measured.directory, families)
    log_sweep(settings.logger, measured.directory, swept, warn)


def summarise_sweep(
    sweep: Mapping[str, Any],
    states: Mapping[str, int],
    points: Points | None,
    fit: SweepFit | Refused,
    directory: Path,
    families: Families | None = None,
) -> SweepSummary:
    """The sweep whose sweep.json holds `sweep`.

    Args:
        sweep: content of sweep.json.
        states: number of cells by state.
        points: every measured point.
        fit: the laws, or why there are none; without them the files of an earlier report in `directory` are left out.
        directory: where the report was written.
        families: the arms of data, whose laws are logged under their names; `fit` is that of the first.
    """
    counts = {f"cells/{state.lower()}": number for state, number in states.items()}
    cells = {"cells": len(sweep["cells"]), **counts}
    if isinstance(fit, Refused):
        return SweepSummary(
            sweep["name"], sweep["hash"], sweep["settings"], {**cells, "verdict": fit.reason}, fit.reason, points
        )
    arms = {f"{family.name}/{name}": value for family, law in _laws(families) for name, value in law_values(law).items()}
    names = ("report.html", "report.md", "fit.json", "laws.csv", "back_test.csv", "frontier.csv")
    return SweepSummary(
        name=sweep["name"],
        hash=sweep["hash"],
        config=sweep["settings"],
        values={**cells, **law_values(fit), **arms},
        text=summary(fit),
        points=points,
        figures=tuple(sorted((directory / "figures").glob("*.png"))),
        files=tuple(directory / name for name in names if (directory / name).is_file()),
    )


def _laws(families: Families | None) -> list[tuple[Family, SweepFit]]:
    """Families that have laws, with these."""
    found = [] if families is None else families.families
    return [(family, family.fit) for family in found if not isinstance(family.fit, Refused)]


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
