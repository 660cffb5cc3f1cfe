"""What a report is of: a sweep, a file, a published table."""

import dataclasses
import hashlib
import operator
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scalesweep.analysis.analyse import Analysis, analyse
from scalesweep.analysis.families import reference_of, rows_of, split_families
from scalesweep.analysis.tuning.own import tune_by
from scalesweep.errors import SpecError
from scalesweep.kept import recall
from scalesweep.plan.axes import ARM, AXIS
from scalesweep.points.metric import METRICS
from scalesweep.points.points import Points
from scalesweep.points.published import published_points
from scalesweep.points.reading import Reading, read_points
from scalesweep.points.table import SUFFIXES, name_of
from scalesweep.report import Pictures, ReportContext, write_report, write_tables
from scalesweep.report.verdicts import certificate_line, read_verdicts
from scalesweep.run.store.measured import Measured, read_measured
from scalesweep.run.store.store import Store
from scalesweep.settings.again import command_of
from scalesweep.settings.compose import compose_settings, is_setting
from scalesweep.settings.fit import FitSpec
from scalesweep.settings.guess import near_keys
from scalesweep.settings.own import is_own
from scalesweep.settings.settings import Settings, with_values
from scalesweep.sweep.context import report_context
from scalesweep.sweep.extend import fitted_points, keep_frontier
from scalesweep.version import __version__, commit_words


@dataclass(frozen=True)
class Subject:
    """What a command was pointed at: points, how to fit them, and what the report says of their origin."""

    points: Points
    spec: FitSpec
    context: ReportContext
    directory: Path
    """Where results are written."""
    by: str = ""
    """The column whose values are families with laws of their own; empty: the rows are of one."""
    is_pooled: bool = True
    """Whether the rows of all families are one law too, which losses of different corpora are not."""

    def analyse(self) -> Analysis:
        """All that the points say; kept, so that the same points under the same settings answer at once the next time.

        Raises:
            FitError: they cannot be fitted at all.
        """
        asked = {"points": self.points, "spec": self.spec.model_dump(), "by": self.by, "is_pooled": self.is_pooled}
        return recall("analysis", asked, lambda: analyse(self.points, self.spec, self.by, self.is_pooled), METRICS)


During = Callable[[str], AbstractContextManager[None]]
"""Given what is done, a context in which it is done, such as one that shows it."""
FITTING = "fitting laws and rivals, back-testing"
DRAWING = "drawing figures, writing the report"


def write(
    subject: Subject, pictures: Pictures = "png", has_page: bool = True, during: During = lambda _: nullcontext()
) -> tuple[Analysis, Path | None]:
    """Analyse the points and write the report; what was found, and the page's path.

    Args:
        subject: what is reported.
        pictures: which files of figures the page has beside it.
        has_page: whether there is one; without it fit.json and the tables are written alone, and the path is None.
        during: shows what is being done.

    Raises:
        FitError: the points cannot be fitted at all.
        StoreError: the directory cannot be written.
    """
    keep_frontier(subject.directory, subject.context)
    with during(FITTING):
        analysis = subject.analyse()
    if not has_page:
        write_tables(subject.directory, analysis, subject.context)
        return analysis, None
    with during(DRAWING):
        return analysis, write_report(subject.directory, analysis, subject.context, pictures)


@dataclass(frozen=True)
class _Asked:
    """The words of a command."""

    command: str
    words: Sequence[str]
    """All of them, by which the report is made again."""
    path: Path
    """The first word, without points=."""
    settings: Settings
    """The defaults under the overrides that follow the first word."""
    reading: Reading
    """How a table is to be read."""
    table: Mapping[str, str]
    """Options that are no settings: `tune`, `by`, `arm`, `units.n`, `units.d`, `units.c`."""

    @property
    def named(self) -> list[str]:
        """The settings that are named."""
        return [word.split("=", 1)[0] for word in self.words[1:] if not is_of_table(word) and not is_own(word)]


def _read_sweep(asked: _Asked) -> Subject:
    """A sweep, under the settings that it was run with and those that were named now."""
    measured = read_measured(Store(asked.path))
    now: dict[str, Any] = {}
    for name in (name for name in asked.named if name != "dir"):
        value = operator.attrgetter(name)(asked.settings)
        now |= {name: value} if "." in name else {f"{name}.{key}": inner for key, inner in value}  # or a whole section
    settings = with_values(measured.settings, now)
    subject = sweep_subject(measured, settings, asked.words[1:], asked.table.get("by", ""), asked.table.get("arm", ""))
    if subject.by and asked.command not in BY_COMMANDS:
        names = ", ".join(map(repr, split_families(subject.points, subject.by)))
        raise SpecError(f"{asked.command} takes the rows of one {subject.by}: choose it by arm=NAME, of {names}.")
    return dataclasses.replace(subject, directory=_place(asked, asked.path))


def sweep_subject(measured: Measured, settings: Settings, words: Sequence[str], by: str = "", arm: str = "") -> Subject:
    """What was measured of a sweep, under its own or other settings.

    Args:
        measured: the sweep.
        settings: how to count, fit and report.
        words: of the command, by which the report is made again.
        by: column whose values have laws of their own; empty: the arms of data, where there are several; none: no column.
        arm: the value of that column whose rows alone are wanted; empty: all.

    Raises:
        PointsError: nothing is measured, or there is no such column or arm.
    """
    context = report_context(measured, settings, command_of(measured.settings, words))
    measured_points = measured.points(settings.count)
    num_arms = measured_points.frame[ARM].nunique() if ARM in measured_points.frame else 0
    column = "" if by == "none" else by or (ARM if num_arms > 1 else "")
    if arm and not column and not num_arms:
        raise SpecError(
            f"arm = {arm!r}: this sweep has no axis of data, whose arms it would name; by=COLUMN names another column."
        )
    points, context = fitted_points(rows_of(measured_points, column or ARM, arm) if arm else measured_points, context)
    if column and not arm and not by and points.used[column].nunique() < 2:
        # Of the other arms nothing that can be fitted is there, or not yet.
        arm = str((points.used if len(points.used) else points.frame)[column].iloc[0])
        points, context = fitted_points(rows_of(measured_points, column, arm), context)
    if arm:
        return Subject(points, settings.fit, dataclasses.replace(context, title=f"{context.title}: {arm}"), measured.directory)
    is_pooled = column != ARM and not column.startswith(f"{AXIS}data")
    if column and not is_pooled and context.frontier is not None:  # figures and laws of tuned settings are of one arm, too
        first = reference_of(split_families(points, column))
        _, context = fitted_points(rows_of(measured_points, column, first), context)
    return Subject(points, settings.fit, context, measured.directory, column, is_pooled)


def _place(asked: _Asked, usual: Path) -> Path:
    """Where results are written: as `dir` says, else the usual place.

    Raises:
        SpecError: `dir` is the directory of another sweep, whose report would be replaced.
    """
    if "dir" not in asked.named:
        return usual
    place = Path(asked.settings.dir).expanduser()
    if (place / "sweep.json").exists() and place.resolve() != asked.path.resolve():
        raise SpecError(f"dir = {asked.settings.dir!r}: another sweep and its report are kept there; choose another place.")
    return place


def _read_file(asked: _Asked) -> Subject:
    """A table of points, whose report goes beside it unless `dir` was named."""
    path = asked.path
    units = {name.removeprefix(_UNITS): unit for name, unit in asked.table.items() if name.startswith(_UNITS)}
    reading = asked.reading
    points = read_points(path, reading.columns, reading.where, units, asked.settings.count.loss)
    origin = {"sha256 of the file": _digest(path.read_bytes()), "read": points.reading}
    name = name_of(path)
    return _table_subject(asked, points, name, path.with_name(f"{name}-report"), origin)


def _read_published(asked: _Asked) -> Subject:
    """The points of a published study, or of one of its variants as STUDY:VARIANT."""
    path = asked.path
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        raise SpecError(
            f"points = {str(path)!r}: takes the name of a published study; a path goes without points=, as in: "
            f"scalesweep {asked.command} {shlex.quote(str(path))}."
        )
    name, _, variant = str(path).partition(":")
    points = published_points(name, variant or None)
    origin = {"sha256 of the rows": _digest(points.frame.to_csv(index=False))}
    return _table_subject(asked, points, name, Path(f"{name}-report"), origin)


TABLE_OPTIONS = {"tune": "tune=lr,batch_size", "by": "by=arch"}
"""What may follow a table beside settings, with an example: columns to tune over, the column that names families."""
OF_SWEEPS = {"by": "by=axis.optim", "arm": "arm=prose"}
"""What may follow a sweep's directory beside settings: the column that names families, and the one of them that is wanted."""
BY_COMMANDS = ("fit", "report")
"""Commands that fit families side by side."""
WRITING_COMMANDS = ("fit", "report")
"""Commands whose results go to the directory that `dir` names."""


class _Kind(NamedTuple):
    """A kind of thing that a command can be pointed at."""

    name: str
    matches: Callable[[str], bool]
    sections: tuple[str, ...]
    """Sections of the settings that may be overridden."""
    read: Callable[[_Asked], Subject]
    refuses: str = ""
    """Why columns and rows cannot be chosen, with the remedy; empty where they can."""


_PUBLISHED = "points="
_UNITS = "units."
_READING = ("columns.", "where=")
"""Words that say which columns and rows are read."""
_IS_SWEEP = "a sweep's cells are all of its plan; choose rows of a table, such as that of: scalesweep export DIR out=points.csv"
_IS_PUBLISHED = "a published study is read as it was published; choose its rows by a variant, points=STUDY:VARIANT"
_OF_SWEEPS = ("fit", "report", "count", "dir", *OF_SWEEPS)
_OF_TABLES = ("fit", "report", "dir", *TABLE_OPTIONS)
_KINDS = (
    _Kind("a file of points", lambda word: word.startswith(_PUBLISHED), _OF_TABLES, _read_published, _IS_PUBLISHED),
    _Kind("a sweep's directory", lambda word: Path(word).is_dir(), _OF_SWEEPS, _read_sweep, _IS_SWEEP),
    _Kind("a file of points", lambda word: True, (*_OF_TABLES, "count.loss", "units"), _read_file),
)


def read_subject(arguments: Sequence[str], command: str) -> Subject:
    """What the first argument names, under the overrides that follow it."""
    if not arguments or (is_setting(arguments[0]) and not arguments[0].startswith(_PUBLISHED)):
        raise SpecError(
            f"{command} takes a sweep's directory, a file of points or points=STUDY first, such as: "
            f"scalesweep {command} runs/demo, or scalesweep {command} points=chinchilla."
        )
    first, overrides = arguments[0], arguments[1:]
    kind = next(kind for kind in _KINDS if kind.matches(first))
    reading = [word for word in overrides if word.startswith(_READING)]
    overrides = [word for word in overrides if word not in reading]
    if reading and kind.refuses:
        raise SpecError(f"{reading[0]!r} is of a file of points: {kind.refuses}.")
    for word in (word for word in overrides if not is_own(word)):
        name = word.split("=", 1)[0]
        if not {name, name.split(".")[0]} & set(kind.sections):
            near = near_keys(name, [f"fit.{key}" for key in FitSpec.model_fields])
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise SpecError(
                f"{word!r} means nothing to {command} of {kind.name}{hint}, which takes settings of {', '.join(kind.sections)}."
            )
    if command not in BY_COMMANDS and any(word.startswith("by=") for word in overrides):
        chosen = "arm=NAME" if kind.read is _read_sweep else "where=..."
        raise SpecError(
            f"by=... is of {' and '.join(BY_COMMANDS)}: {command} takes rows of one family, which {chosen} chooses."
        )
    if command not in WRITING_COMMANDS and any(word.startswith("dir=") for word in overrides):
        raise SpecError(f"dir=... has no effect on {command}: it is of {' and '.join(WRITING_COMMANDS)}, which write a report.")
    table = dict(_option(word) for word in overrides if is_of_table(word))
    settings = compose_settings([word for word in overrides if word.split("=", 1)[0] not in table])
    return kind.read(_Asked(command, arguments, Path(first.removeprefix(_PUBLISHED)), settings, _reading_of(reading), table))


def _reading_of(words: Sequence[str]) -> Reading:
    """`columns.ROLE=COLUMN` and `where=CONDITION`."""
    columns: dict[str, str] = {}
    where = ""
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not value.strip():
            raise SpecError(f"{word!r} lacks its value, such as columns.n=num_weights or where='step > 100'.")
        if name == "where":
            where = value
        else:
            columns[name.removeprefix("columns.")] = value
    return Reading(columns, where)


def _option(word: str) -> tuple[str, str]:
    """Name and value of an option of a table."""
    name, _, value = word.partition("=")
    if not value.strip():
        raise SpecError(f"{name}= lacks its value, such as {(TABLE_OPTIONS | OF_SWEEPS).get(name, f'{name}=billions')}.")
    return name, value.strip()


def is_of_table(word: str) -> bool:
    """Whether a word says how rows are read or told apart, such as units.c=GFLOPs, and is no setting of configs/."""
    return word.split("=", 1)[0] in (*TABLE_OPTIONS, *OF_SWEEPS) or word.startswith((_UNITS, *_READING))


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def _table_subject(asked: _Asked, points: Points, name: str, place: Path, origin: Mapping[str, str]) -> Subject:
    """A table of points, whose report goes to `place` unless `dir` was named."""
    settings, left_out = asked.settings, len(points.excluded)
    spec = {name: value for name, value in settings.fit if value is not None}
    verdicts = read_verdicts()
    context = ReportContext(
        title=settings.report.title or name,
        curves={},
        cells=[{str(name): value for name, value in row.items()} for row in points.frame.to_dict("records")],
        provenance={
            "points": points.source,
            **origin,
            "rows": f"{len(points.frame)}" + (f", {left_out} of them left out" if left_out else ""),
            "settings of the fit": ", ".join(f"{name} {value}" for name, value in spec.items()),
            "reported with scalesweep": f"{__version__}{commit_words()}",
            "reported on": time.strftime("%Y-%m-%d", time.gmtime()),
            "calibration": certificate_line(verdicts),
        },
        warnings=[],
        command=shlex.join(["scalesweep", "report", *asked.words]),
        verdicts=verdicts,
    )
    if columns := asked.table.get("tune"):
        points = tune_by(points, [name.strip() for name in columns.strip("[]").split(",")])
    points, context = fitted_points(points, context)
    by = asked.table.get("by", "")
    if by:
        split_families(points, by)
    return Subject(points, settings.fit, context, _place(asked, place), by)
