"""The commands that look beyond the points: tournament, forecast, score, next."""

import datetime
import itertools
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scalesweep.errors import EXIT_OK, PointsError, SpecError
from scalesweep.report.words.summary import summary
from scalesweep.settings.base import parse_quantity
from scalesweep.sweep.subject import read_subject


def tournament(arguments: Sequence[str]) -> int:
    """Fit rival laws to the same points, rank them by what they predict, and show the back-test behind the ranking."""
    from scalesweep.analysis.forecast.tournament import run_tournament

    subject = read_subject(arguments, "tournament")
    result = run_tournament(subject.points, subject.spec)
    print(f"{summary(result)}\n\n{summary(result.tested)}")
    return EXIT_OK


def forecast(arguments: Sequence[str]) -> int:
    """Print a forecast, and file it with its date and hash."""
    from scalesweep.analysis.forecast.forecast import forecast as predict

    rest, own = _own(arguments, ("at", "compute", "file"))
    path = _place(own.get("file"))
    subject = read_subject(rest, "forecast")
    at = _pair(own["at"]) if "at" in own else None
    compute = _number("compute", own["compute"]) if "compute" in own else None
    made = predict(subject.points, subject.spec, at=at, compute=compute)
    print(summary(made))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(made.to_json(datetime.date.today()))
    except OSError as error:
        raise SpecError(_unwritable(path, error.strerror)) from None
    print(f"\nFiled: {path}. Compare it later with: scalesweep score {shlex.quote(str(path))} DIR|POINTS")
    return EXIT_OK


def _place(named: str | None) -> Path:
    """Where a forecast is filed, looked at before it is made: as named, else the day's first name that is free.

    Raises:
        SpecError: the named file exists, or its directory cannot be written.
    """
    if named is None:
        names = (f"forecast-{datetime.date.today().isoformat()}{f'-{i}' if i > 1 else ''}.json" for i in itertools.count(1))
        path = next(path for path in map(Path, names) if not os.path.lexists(path))
    else:
        path = Path(named).expanduser()
    if os.path.lexists(path):
        raise SpecError(f"file = {str(path)!r}: exists; a forecast is never overwritten, name another with file=....")
    there = next(place for place in path.absolute().parents if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise SpecError(_unwritable(path, "permission denied" if there.is_dir() else f"{there} is no directory"))
    return path


def _unwritable(path: Path, why: str | None) -> str:
    return f"file = {str(path)!r}: cannot be written ({why}); name a place that can with file=...."


def score(arguments: Sequence[str]) -> int:
    """Compare a filed forecast with points that were measured since."""
    from scalesweep.analysis.forecast.dated import read_forecast
    from scalesweep.analysis.forecast.scoring import score as compare

    if len(arguments) < 2:
        raise SpecError("score takes a forecast's file and what was measured, such as: score forecast.json runs/large.")
    path = Path(arguments[0])
    if not path.is_file():
        raise PointsError(f"{path}: there is no such file; give the name that `scalesweep forecast` printed.")
    try:
        filed = read_forecast(path.read_text(errors="replace"))
    except PointsError as error:
        raise PointsError(f"{path}: {error}") from None
    subject = read_subject(arguments[1:], f"score {path}")
    print(summary(compare(filed, subject.points)))
    return EXIT_OK


def propose(arguments: Sequence[str]) -> int:
    """Propose the next cells to measure."""
    from scalesweep.analysis.forecast.next_cells import next_cells

    rest, own = _own(arguments, ("budget", "target", "method"))
    for name in ("budget", "target"):
        if name not in own:
            raise SpecError(f"next needs {name}=FLOPs, such as: scalesweep next runs/demo budget=1e13 target=1e14.")
    subject = read_subject(rest, "next")
    budget, target = (_number(name, own[name]) for name in ("budget", "target"))
    method: Any = own.get("method", "ladder")
    print(summary(next_cells(subject.points, subject.spec, budget, target, method)))
    return EXIT_OK


def _own(arguments: Sequence[str], names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The arguments without those of the command itself, and those by name."""
    pairs = [word.partition("=") for word in arguments]
    own = {name: value for name, sign, value in pairs if sign and name in names}
    return [word for word in arguments if word.split("=", 1)[0] not in names], own


def _number(name: str, text: str) -> float:
    value = parse_quantity(text)
    if not isinstance(value, int | float) or not value > 0:
        raise SpecError(f"{name} = {text!r}: must be a positive number, such as 250k or 1e15.")
    return float(value)


def _pair(text: str) -> tuple[float, float]:
    parts = text.strip("[]() ").split(",")
    if len(parts) != 2:
        raise SpecError(f"at = {text!r}: must be parameters and tokens, such as at=[3M,60M].")
    return _number("at", parts[0]), _number("at", parts[1])
