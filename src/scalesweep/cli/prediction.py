"""The commands that look beyond the points: tournament, forecast, score, next."""

import datetime
import itertools
import json
import os
import shlex
from pathlib import Path

from scalesweep.analysis.forecast.exponent_cells import ExponentCells
from scalesweep.analysis.forecast.next_cells import Method, NextCells
from scalesweep.cli.answer import JSON, Answer, answered
from scalesweep.cli.command import REQUIRED, TABLE_NOTES, Command, Given, Option, one_of, positive
from scalesweep.cli.output import working
from scalesweep.errors import EXIT_OK, PointsError, SpecError
from scalesweep.kept import recall
from scalesweep.points.metric import METRICS
from scalesweep.report.words.summary import summary
from scalesweep.sweep.cells import write_cells
from scalesweep.sweep.rounds import cells_to_measure, snap_of_sweep, words_that_measure
from scalesweep.sweep.subject import read_subject
from scalesweep.units import plural


def tournament(given: Given) -> int:
    """Fit rival laws to the same points, rank them by what they predict, and show the back-test behind the ranking."""
    from scalesweep.analysis.forecast.tournament import run_tournament

    subject = read_subject(given.words, "tournament")
    with working("fitting rivals, back-testing"):
        result = run_tournament(subject.points, subject.spec)
    print(f"{summary(result)}\n\n{summary(result.tested)}")
    return EXIT_OK


TOURNAMENT = Command(
    "tournament",
    about="Fit rival laws to the same points and rank them by what they predict.",
    usage="DIR|POINTS|points=STUDY [fit.key=value ...]",
    run=tournament,
    examples=(
        "scalesweep tournament runs/demo",
        "scalesweep tournament points=chinchilla",
        "scalesweep tournament points.csv fit.bootstrap=200",
    ),
    groups=("fit",),
    notes=TABLE_NOTES,
)


def _pair(text: str) -> tuple[float, float]:
    parts = text.strip("[]() ").split(",")
    if len(parts) != 2:
        raise ValueError("must be parameters and tokens, such as at=[3M,60M]")
    return positive(parts[0]), positive(parts[1])


AT = Option[tuple[float, float] | None]("at", _pair, None, "Parameters and training tokens of the model.", "[N,D]")
COMPUTE = Option[float | None]("compute", positive, None, "FLOPs of training, for the best model of that budget.", "C")
UNIQUE = Option[float | None](
    "unique_tokens", positive, None, "Unique ones among the tokens, with fit.law=repeated (default: all).", "U"
)
FILE = Option[Path | None]("file", Path, None, "Where to file it (default: forecast-DATE.json).", "NAME.json")


def forecast(given: Given) -> Answer:
    """Print a forecast, and file it with its date and hash."""
    from scalesweep.analysis.forecast.forecast import forecast as predict

    path = _place(given[FILE])
    subject = read_subject(given.words, "forecast")
    asked = {"points": subject.points, "spec": subject.spec.model_dump()}
    with working("fitting rivals, back-testing"):
        made = predict(
            subject.points,
            subject.spec,
            at=given[AT],
            compute=given[COMPUTE],
            unique_tokens=given[UNIQUE],
            kept=lambda kind, make: recall(kind, asked, make, METRICS),
        )
    filed = made.to_json(datetime.date.today())
    print(summary(made))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(filed)
    except OSError as error:
        raise SpecError(_unwritable(path, error.strerror)) from None
    print(f"\nFiled: {path}. Compare it later with: scalesweep score {shlex.quote(str(path))} DIR|POINTS")
    return Answer({"file": str(path), "forecast": json.loads(filed)})


FORECAST = Command(
    "forecast",
    about="Predict a model that is not measured yet, with two intervals, and file it with date and hash.",
    usage="DIR|POINTS at=[N,D]|compute=C [unique_tokens=U] [file=NAME.json] [fit.key=value ...] [--json]",
    run=answered(forecast),
    examples=(
        "scalesweep forecast runs/demo at=[1M,3M]",
        "scalesweep forecast runs/demo compute=1e13 file=forecast.json",
        "scalesweep forecast points=chinchilla compute=1e23",
        "scalesweep forecast points=muennighoff at=[2B,80B] unique_tokens=20B fit.law=repeated",
    ),
    groups=("fit",),
    options=(AT, COMPUTE, UNIQUE, FILE, JSON),
    notes=TABLE_NOTES,
)


def _place(named: Path | None) -> Path:
    """Where a forecast is filed, looked at before it is made: as named, else the day's first name that is free.

    Raises:
        SpecError: the named file exists, or its directory cannot be written.
    """
    if named is None:
        names = (f"forecast-{datetime.date.today().isoformat()}{f'-{i}' if i > 1 else ''}.json" for i in itertools.count(1))
        path = next(path for path in map(Path, names) if not os.path.lexists(path))
    else:
        path = named.expanduser()
    if os.path.lexists(path):
        raise SpecError(f"file = {str(path)!r}: exists; a forecast is never overwritten, name another with file=....")
    there = next(place for place in path.absolute().parents if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise SpecError(_unwritable(path, "permission denied" if there.is_dir() else f"{there} is no directory"))
    return path


def _unwritable(path: Path, why: str | None) -> str:
    return f"file = {str(path)!r}: cannot be written ({why}); name a place that can with file=...."


def score(given: Given) -> int:
    """Compare a filed forecast with points that were measured since."""
    from scalesweep.analysis.forecast.dated import read_forecast
    from scalesweep.analysis.forecast.scoring import score as compare

    if len(given.words) < 2:
        raise SpecError("score takes a forecast's file and what was measured, such as: score forecast.json runs/large.")
    path = Path(given.words[0])
    if not path.is_file():
        raise PointsError(f"{path}: there is no such file; give the name that `scalesweep forecast` printed.")
    try:
        filed = read_forecast(path.read_text(errors="replace"))
    except PointsError as error:
        raise PointsError(f"{path}: {error}") from None
    subject = read_subject(given.words[1:], f"score {path}")
    print(summary(compare(filed, subject.points)))
    return EXIT_OK


SCORE = Command(
    "score",
    about="Compare a filed forecast with what was measured since.",
    usage="FORECAST.json DIR|POINTS",
    run=score,
    examples=(
        "scalesweep score forecast.json runs/demo",
        "scalesweep score forecast.json points.csv",
        "scalesweep score forecast.json points=chinchilla",
    ),
    notes=TABLE_NOTES,
)

BUDGET = Option("budget", positive, REQUIRED, "FLOPs that the next cells may cost in all.", "FLOPs")
TARGET = Option[float | None](
    "target",
    lambda text: None if text == "a" else positive(text),
    REQUIRED,
    "FLOPs of the model that they shall help to predict, or a: the exponent of the best size, N* ~ C^a.",
    "FLOPs|a",
)
METHOD = Option[Method](
    "method", one_of("ladder", "v_optimal"), "ladder", "How they are chosen (default ladder).", "ladder|v_optimal"
)

OUT = Option[Path | None]("out", Path, None, "Table of the cells, which run and resume take as cells=.", "cells.csv")


def propose(given: Given) -> int:
    """Propose the next cells to measure, and the command that measures them: of a sweep, or with a table of them."""
    from scalesweep.analysis.forecast.exponent_cells import exponent_cells
    from scalesweep.analysis.forecast.next_cells import next_cells

    subject, target = read_subject(given.words, "next"), given[TARGET]
    directory = Path(given.words[0])
    is_sweep = (directory / "sweep.json").is_file()
    if target is None:
        snap = snap_of_sweep(directory) if is_sweep else None
        proposal: ExponentCells | NextCells = exponent_cells(subject.points, subject.spec, given[BUDGET], snap)
    else:
        proposal = next_cells(subject.points, subject.spec, given[BUDGET], target, given[METHOD])
    print(summary(proposal))
    cells = cells_to_measure(proposal.cells, subject.points, directory if is_sweep else None)
    if (path := given[OUT]) is not None:
        write_cells(path.expanduser(), cells)
        how = ["resume", str(directory)] if is_sweep else ["run"]
        print(f"{plural(len(cells), 'cell')} in {path}. Measured by: {shlex.join(['scalesweep', *how, f'cells={path}'])}")
    elif is_sweep and (words := words_that_measure(cells, directory)):
        print(f"Measured by: {shlex.join(['scalesweep', 'run', *words])}")
    return EXIT_OK


NEXT = Command(
    "next",
    about="Propose the next cells to measure.",
    usage="DIR|POINTS budget=FLOPs target=FLOPs|a [method=ladder|v_optimal] [out=cells.csv] [fit.key=value ...]",
    run=propose,
    examples=(
        "scalesweep next runs/demo budget=1e13 target=1e14",
        "scalesweep next runs/demo budget=1e13 target=a out=cells.csv",
        "scalesweep next points.csv budget=1e18 target=1e20 method=v_optimal",
        "scalesweep next points=chinchilla budget=1e23 target=1e24",
    ),
    groups=("fit",),
    options=(BUDGET, TARGET, METHOD, OUT),
    notes=TABLE_NOTES,
)
COMMANDS = (TOURNAMENT, FORECAST, SCORE, NEXT)
