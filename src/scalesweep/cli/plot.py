"""The command that draws one figure of a report."""

import sys
from collections.abc import Sequence
from pathlib import Path

from scalesweep.analysis.analyse import analyse
from scalesweep.cli.command import TABLE_NOTES, Command, Given, Option, one_of
from scalesweep.cli.tables import output_width
from scalesweep.errors import EXIT_OK, Refused, SpecError, did_you_mean
from scalesweep.report.charts.canvas import KINDS
from scalesweep.report.charts.chart import Chart
from scalesweep.report.figures import TITLES, figures
from scalesweep.report.figures.material import Material
from scalesweep.sweep.subject import read_subject

_WITHOUT_LAW = ("curves", "tuning")
"""Figures that look at measured losses alone, which may be too few for a law."""
_MAX_WIDTH = 100
"""Columns beyond which a plot in a terminal only gets coarser."""


def _figure_file(text: str) -> Path:
    if Path(text).suffix.removeprefix(".") not in KINDS:
        raise ValueError(f"must end in .{', .'.join(KINDS)}, such as out=figure.pdf")
    return Path(text)


OUT = Option[Path | None]("out", _figure_file, None, "Where to draw it instead of the terminal.", "FILE.svg|.pdf|.png")
THEME = Option("theme", one_of("light", "dark"), "light", "The background of a file (default light).", "light|dark")
POINTS = Option[tuple[str, ...]]("--points", lambda text: (text,), (), metavar="POINTS")


def plot(given: Given) -> int:
    """Draw the named figure of a sweep or a table of points, in the terminal unless `out` names a file.

    Raises:
        SpecError: there is no such figure, or the points cannot carry it.
    """
    name, rest = _name(given.words)
    out = given[OUT]
    subject = read_subject([*given[POINTS], *rest], f"plot {name}")
    context = subject.context
    analysis = None if name in _WITHOUT_LAW else analyse(subject.points, subject.spec)
    drawn = figures()[name](Material(subject.points, analysis, context.curves, context.frontier))
    if isinstance(drawn, Refused):
        raise SpecError(f"{name} cannot be drawn. {drawn}")
    if out is None:
        from scalesweep.report.charts.terminal import draw_text

        print(draw_text(drawn, min(output_width(), _MAX_WIDTH), sys.stdout.isatty()))
    else:
        _write(drawn, out, given[THEME])
    return EXIT_OK


PLOT = Command(
    "plot",
    about="Draw one figure of a report, in the terminal or into a file.",
    usage="NAME DIR|POINTS|points=STUDY [out=FILE.svg|.pdf|.png] [theme=light|dark] [fit.key=value ...]",
    run=plot,
    examples=(
        "scalesweep plot power_laws runs/demo",
        "scalesweep plot isoflops points=chinchilla out=isoflops.pdf",
        "scalesweep plot joint_fit --points points.csv out=joint.svg theme=dark",
    ),
    groups=("fit",),
    options=(OUT, THEME, POINTS),
    subjects=tuple(TITLES),
    notes=f"Figures: {', '.join(TITLES)} (docs/figures.md).\n{TABLE_NOTES}",
)
COMMANDS = (PLOT,)


def _name(words: Sequence[str]) -> tuple[str, list[str]]:
    """The figure's name, and the other words."""
    known = figures()
    if words and words[0] not in known and (Path(words[0]).exists() or words[0].startswith("points=")):
        raise SpecError(
            f"plot takes the name of a figure before {words[0]}, such as: scalesweep plot power_laws {words[0]}; "
            f"there are {', '.join(known)}."
        )
    if not words or words[0] not in known:
        given = (
            f"{words[0]!r} is no figure{did_you_mean(words[0], known)}" if words else "plot takes the name of a figure first"
        )
        raise SpecError(f"{given}; there are {', '.join(known)}, such as: scalesweep plot power_laws points=chinchilla.")
    return words[0], list(words[1:])


def _write(chart: Chart, out: Path, theme: str) -> None:
    from scalesweep.report.charts.canvas import DARK, LIGHT, draw

    kind = out.suffix.removeprefix(".")
    content = draw(chart, DARK if theme == "dark" else LIGHT, [kind])[kind]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)
    except OSError as error:
        raise SpecError(f"{out} cannot be written: {error.strerror}; name another place with out=....") from None
    print(f"{out}: {chart.caption}")
