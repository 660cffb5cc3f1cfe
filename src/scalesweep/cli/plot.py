"""The command that draws one figure of a report."""

import sys
from collections.abc import Sequence
from pathlib import Path

from scalesweep.analysis.analyse import analyse
from scalesweep.cli.tables import output_width
from scalesweep.errors import EXIT_OK, Refused, SpecError, did_you_mean
from scalesweep.report.charts.chart import Chart
from scalesweep.report.figures import figures
from scalesweep.report.figures.material import Material
from scalesweep.sweep.subject import read_subject

_POINTS = "--points"
_THEMES = ("light", "dark")
_WITHOUT_LAW = ("curves", "tuning")
"""Figures that look at measured losses alone, which may be too few for a law."""
_MAX_WIDTH = 100
"""Columns beyond which a plot in a terminal only gets coarser."""


def plot(arguments: Sequence[str]) -> int:
    """Draw the named figure of a sweep or a table of points, in the terminal unless `out` names a file.

    Raises:
        SpecError: the name, the file or the theme is not one that there is, or the points cannot carry the figure.
    """
    name, rest = _name(arguments)
    out, theme, rest = _options(rest)
    subject = read_subject(rest, f"plot {name}")
    context = subject.context
    analysis = None if name in _WITHOUT_LAW else analyse(subject.points, subject.spec)
    drawn = figures()[name](Material(subject.points, analysis, context.curves, context.frontier))
    if isinstance(drawn, Refused):
        raise SpecError(f"{name} cannot be drawn. {drawn}")
    if out is None:
        from scalesweep.report.charts.terminal import draw_text

        print(draw_text(drawn, min(output_width(), _MAX_WIDTH), sys.stdout.isatty()))
    else:
        _write(drawn, out, theme)
    return EXIT_OK


def _name(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The figure's name, and the other words without the spelling --points FILE."""
    known = figures()
    words = [word for word in arguments if word != _POINTS]
    words = [word.removeprefix(f"{_POINTS}=") for word in words]
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
    return words[0], words[1:]


def _options(words: Sequence[str]) -> tuple[Path | None, str, list[str]]:
    """`out` and `theme`, and the other words."""
    from scalesweep.report.charts.canvas import KINDS

    own = {name: value for name, sign, value in (word.partition("=") for word in words) if sign and name in ("out", "theme")}
    theme, out = own.get("theme", "light"), own.get("out")
    if theme not in _THEMES:
        raise SpecError(f"theme = {theme!r}: must be one of {', '.join(_THEMES)}.")
    if out is not None and Path(out).suffix.removeprefix(".") not in KINDS:
        raise SpecError(f"out = {out!r}: must end in .{', .'.join(KINDS)}, such as out=figure.pdf.")
    rest = [word for word in words if word.split("=", 1)[0] not in ("out", "theme")]
    return (None if out is None else Path(out)), theme, rest


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
