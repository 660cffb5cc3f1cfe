"""The command that draws one figure of a report."""

import sys
from collections.abc import Sequence
from pathlib import Path

from scalesweep.cli.command import TABLE_NOTES, Command, Given, Option, one_of, positive, whole
from scalesweep.cli.output import working
from scalesweep.cli.tables import output_width
from scalesweep.errors import EXIT_OK, Refused, SpecError, did_you_mean
from scalesweep.report.charts.canvas import KINDS, usual_width
from scalesweep.report.charts.chart import Chart
from scalesweep.report.charts.paper import Paper, alone, untitled
from scalesweep.report.figures import TITLES, figures
from scalesweep.report.figures.material import Material
from scalesweep.sweep.subject import FITTING, read_subject
from scalesweep.units import plural

_WITHOUT_LAW = ("curves", "tuning")
"""Figures that look at measured losses alone, which may be too few for a law."""
_FONT = 8.0
"""Points of type at a width that is asked for: what most papers set captions in."""
_MAX_WIDTH = 100
"""Columns beyond which a plot in a terminal only gets coarser."""


def _figure_file(text: str) -> Path:
    if Path(text).suffix.removeprefix(".") not in KINDS:
        raise ValueError(f"must end in .{', .'.join(KINDS)}, such as out=figure.pdf")
    return Path(text)


def _inches(text: str) -> float:
    return _between(text, 1, 20, "inches")


def _points(text: str) -> float:
    return _between(text, 4, 24, "points")


def _between(text: str, low: float, high: float, unit: str) -> float:
    value = positive(text)
    if not low <= value <= high:
        raise ValueError(f"must be {unit} from {low:g} to {high:g}", text)
    return value


OUT = Option[Path | None]("out", _figure_file, None, "Where to draw it instead of the terminal.", "FILE.svg|.pdf|.png")
THEME = Option("theme", one_of("light", "dark"), "light", "The background of a file (default light).", "light|dark")
WIDTH = Option[float | None]("width", _inches, None, "Inches of a file on paper, such as 3.25 of a column.", "INCHES")
FONT = Option[float | None]("font", _points, None, "Points of all type of a file on paper (with width=: 8).", "POINTS")
PANEL = Option[int | None]("panel", whole, None, "Draw this panel alone, counted from 1.", "NUMBER")
TITLE = Option("title", one_of("on", "off"), "on", "Whether panels have titles (default on).", "on|off")
POINTS = Option[tuple[str, ...]]("--points", lambda text: (text,), (), metavar="POINTS")


def plot(given: Given) -> int:
    """Draw the named figure of a sweep or a table of points, in the terminal unless `out` names a file.

    Raises:
        SpecError: there is no such figure, or the points cannot carry it.
    """
    name, rest = _name(given.words)
    out = given[OUT]
    if out is None and (idle := [option.name for option in (WIDTH, FONT) if given[option] is not None]):
        raise SpecError(f"{idle[0]}= has an effect only on a file; add out=FILE, such as out={name}.pdf.")
    subject = read_subject([*given[POINTS], *rest], f"plot {name}")
    context = subject.context
    with working(FITTING):
        analysis = None if name in _WITHOUT_LAW else subject.analyse()
    drawn = figures()[name](Material(subject.points, analysis, context.curves, context.frontier))
    if isinstance(drawn, Refused):
        raise SpecError(f"{name} cannot be drawn. {drawn}")
    drawn = _chosen(drawn, given)
    if out is None:
        from scalesweep.report.charts.terminal import draw_text

        print(draw_text(drawn, min(output_width(), _MAX_WIDTH), sys.stdout.isatty()))
    else:
        _write(drawn, out, given[THEME], _paper(drawn, given[WIDTH], given[FONT]))
    return EXIT_OK


PLOT = Command(
    "plot",
    about="Draw one figure of a report, in the terminal or into a file.",
    usage="NAME DIR|POINTS|points=STUDY [out=FILE.svg|.pdf|.png] [theme=light|dark] [width=INCHES] [font=POINTS] "
    "[panel=NUMBER] [title=on|off] [fit.key=value ...]",
    run=plot,
    examples=(
        "scalesweep plot power_laws runs/demo",
        "scalesweep plot isoflops points=chinchilla out=isoflops.pdf",
        "scalesweep plot joint_fit --points points.csv out=joint.svg theme=dark",
        "scalesweep plot joint_fit points=chinchilla width=3.25 panel=1 title=off out=column.pdf",
    ),
    groups=("fit",),
    options=(OUT, THEME, WIDTH, FONT, PANEL, TITLE, POINTS),
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


def _chosen(chart: Chart, given: Given) -> Chart:
    """What of the figure is to be drawn."""
    if (number := given[PANEL]) is not None:
        if number > len(chart.panels):
            raise SpecError(f"panel = {number}: {chart.name} has {plural(len(chart.panels), 'panel')} here, counted from 1.")
        chart = alone(chart, number)
    return chart if given[TITLE] == "on" else untitled(chart)


def _paper(chart: Chart, width: float | None, font: float | None) -> Paper | None:
    """What a file is set for; None where it is as in the report."""
    if width is None and font is None:
        return None
    return Paper(width or usual_width(len(chart.panels)), font or _FONT)


def _write(chart: Chart, out: Path, theme: str, paper: Paper | None) -> None:
    from scalesweep.report.charts.canvas import DARK, LIGHT, draw, draw_for

    kind, colours = out.suffix.removeprefix("."), DARK if theme == "dark" else LIGHT
    content = draw(chart, colours, [kind])[kind] if paper is None else draw_for(paper, chart, colours, kind)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)
    except OSError as error:
        raise SpecError(f"{out} cannot be written: {error.strerror}; name another place with out=....") from None
    print(f"{out}: {chart.caption}")
