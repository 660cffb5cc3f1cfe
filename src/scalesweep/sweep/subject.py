"""What a report is of: a sweep, a file, a published table."""

import hashlib
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.analysis.analyse import analyse
from scalesweep.analysis.health import entropy_lines, spike_lines
from scalesweep.errors import SpecError
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.points.points import Points, read_points
from scalesweep.points.published import published_points
from scalesweep.points.table import SUFFIXES
from scalesweep.report import ReportContext, write_report
from scalesweep.run.store.measured import Measured, Record, read_measured
from scalesweep.run.store.store import Store
from scalesweep.settings.again import commands_of
from scalesweep.settings.base import parse
from scalesweep.settings.compose import compose_settings, is_setting
from scalesweep.settings.fit import FitSpec
from scalesweep.settings.settings import Settings
from scalesweep.sweep.extend import fitted_points, keep_frontier
from scalesweep.sweep.facts import cost_rows, counts_of, facts_of
from scalesweep.version import __version__, commit_words

_PUBLISHED = "points="
_SECTIONS_OF_SWEEP = ("fit", "report", "count")
_SECTIONS_OF_FILE = ("fit", "report", "dir")


@dataclass(frozen=True)
class Subject:
    """What a command was pointed at: points, how to fit them, and what the report says of their origin."""

    points: Points
    spec: FitSpec
    context: ReportContext
    directory: Path
    """Where results are written."""


def write(directory: Path, points: Points, spec: FitSpec, context: ReportContext) -> tuple[SweepFit, Path]:
    """Analyse the points and write the report; the fit and the page's path.

    Raises:
        FitError: the points cannot be fitted at all.
        StoreError: the directory cannot be written.
    """
    keep_frontier(directory, context)
    analysis = analyse(points, spec)
    return analysis.fit, write_report(directory, analysis, context)


def read_subject(arguments: Sequence[str], command: str) -> Subject:
    """What the first argument names, under the overrides that follow it."""
    if not arguments or (is_setting(arguments[0]) and not arguments[0].startswith(_PUBLISHED)):
        raise SpecError(
            f"{command} takes a sweep's directory, a file of points or points=STUDY first, such as: "
            f"scalesweep {command} runs/demo, or scalesweep {command} points=chinchilla."
        )
    path, overrides = Path(arguments[0].removeprefix(_PUBLISHED)), arguments[1:]
    published = arguments[0].startswith(_PUBLISHED)
    sections = _SECTIONS_OF_SWEEP if path.is_dir() else _SECTIONS_OF_FILE
    for word in overrides:
        if word.split("=", 1)[0].split(".")[0] not in sections:
            what = "a sweep's directory" if path.is_dir() else "a file of points"
            raise SpecError(f"{word!r} means nothing to {command} of {what}, which takes settings of {', '.join(sections)}.")
    settings = compose_settings(overrides)
    named = [word.split("=", 1)[0] for word in overrides]
    again = shlex.join(["scalesweep", "report", *arguments])
    if published:
        if path.suffix in SUFFIXES or len(path.parts) > 1:
            raise SpecError(
                f"points = {str(path)!r}: takes the name of a published study; a path goes without points=, as in: "
                f"scalesweep {command} {shlex.quote(str(path))}."
            )
        name, _, variant = str(path).partition(":")
        points = published_points(name, variant or None)
        origin = {"sha256 of the rows": _digest(points.frame.to_csv(index=False))}
        return _points_subject(points, name, Path(f"{name}-report"), settings, named, again, origin)
    return _sweep_subject(path, settings, overrides) if path.is_dir() else _file_subject(path, settings, named, again)


def _sweep_subject(path: Path, settings: Settings, overrides: Sequence[str]) -> Subject:
    """A sweep, under the settings that it was run with and those that were named now."""
    measured = read_measured(Store(path))
    stored = measured.settings.model_dump()
    for word in overrides:
        _copy(settings.model_dump(), stored, word.split("=", 1)[0].split("."))
    settings = parse(Settings, stored)
    context = report_context(measured, settings, commands_of(measured.settings, overrides))
    points, context = fitted_points(measured.points(settings.count), context)
    return Subject(points, settings.fit, context, path)


def _file_subject(path: Path, settings: Settings, named: Sequence[str], command: str) -> Subject:
    """A table of points, whose report goes beside it unless `dir` was named."""
    points, origin = read_points(path), {"sha256 of the file": _digest(path.read_bytes())}
    return _points_subject(points, path.stem, path.with_name(f"{path.stem}-report"), settings, named, command, origin)


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def _made(points: Points, spec: FitSpec) -> dict[str, str]:
    """Rows, settings of the fit, version and day, for the provenance of a table of points."""
    left_out = len(points.excluded)
    return {
        "rows": f"{len(points.frame)}" + (f", {left_out} of them left out" if left_out else ""),
        "settings of the fit": ", ".join(f"{name} {value}" for name, value in spec.model_dump().items() if value is not None),
        "reported with scalesweep": f"{__version__}{commit_words()}",
        "reported on": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _points_subject(
    points: Points,
    name: str,
    place: Path,
    settings: Settings,
    named: Sequence[str],
    command: str,
    origin: Mapping[str, str],
) -> Subject:
    context = ReportContext(
        title=settings.report.title or name,
        curves={},
        cells=[{str(name): value for name, value in row.items()} for row in points.frame.to_dict("records")],
        provenance={"points": points.source, **origin, **_made(points, settings.fit)},
        warnings=[],
        command=command,
    )
    points, context = fitted_points(points, context)
    return Subject(points, settings.fit, context, Path(settings.dir) if "dir" in named else place)


def _copy(source: dict[str, Any], target: dict[str, Any], path: list[str]) -> None:
    """Copy the setting at `path` from one nested table to another."""
    for name in path[:-1]:
        source, target = source[name], target[name]
    target[path[-1]] = source[path[-1]]


def report_context(measured: Measured, settings: Settings, command: str) -> ReportContext:
    """What the report of a sweep says besides points and law; `command` makes it again."""
    sweep, plan, records = measured.content, measured.plan, list(measured.records.values())
    where = ("scalesweep", "python", "torch", "device")
    made = {name: ", ".join(sorted({r["where"][name] for r in records})) for name in where}
    return ReportContext(
        title=settings.report.title or sweep["name"],
        curves={key: [(p["tokens"], p["loss"]) for p in curve] for key, curve in measured.curves.items()},
        cells=[
            {**cell.row(settings.count), "state": measured.states[cell.key], **_outcome(measured.records.get(cell.key))}
            for cell in plan.cells
        ],
        provenance={
            "sweep": f"{sweep['name']} ({sweep['hash']})",
            "corpus": f"{sweep['facts']['corpus']} ({sweep['facts']['corpus_hash']})",
            "measured with scalesweep": made["scalesweep"],
            "Python": made["python"],
            "PyTorch": made["torch"],
            "devices": made["device"],
            **cost_rows(settings, records),
            "reported with scalesweep": f"{__version__}{commit_words()}",
        },
        warnings=[
            *sweep["warnings"],
            *entropy_lines(records),
            *spike_lines({key: curve for key, curve in measured.curves.items() if measured.states[key] == "COMPLETE"}),
        ],
        command=command,
        counts=counts_of(plan.cells),
        facts=facts_of(measured, settings),
    )


def _outcome(record: Record | None) -> dict[str, Any]:
    if record is None:
        return {"loss": None, "loss_se": None, "seconds": None}
    return {"loss": record["loss"], "loss_se": record["loss_se"], "seconds": record["times"]["training_seconds"]}
