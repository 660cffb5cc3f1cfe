"""Charts in a terminal, for boxes without a screen: one block a panel, drawn by plotext, in 256 colours or in none."""

import re
from typing import Any

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.report.charts.canvas import DARK, palette
from scalesweep.report.charts.chart import Axis, Band, Chart, Dots, Line, Panel, Role, Rule, Scale, write

_HEIGHT = 20
_ROLES: dict[Role, Any] = {"fit": 203, "first": 75, "second": 203, "third": 252, "faint": 242, "ink": 249}
"""Colours of xterm's 256 that are seen on light and dark."""
_POWERS = str.maketrans("-/.0123456789", "⁻ᐟ·⁰¹²³⁴⁵⁶⁷⁸⁹")


def draw_text(chart: Chart, width: int, has_colour: bool) -> str:
    """The panels below each other, with the colours' meaning and the caption.

    Args:
        chart: the figure.
        width: columns.
        has_colour: whether escape codes may be written.
    """
    import textwrap

    blocks = [_draw_panel(panel, chart.scale, width, has_colour) for panel in chart.panels]
    if chart.scale is not None and has_colour:
        blocks.append(_key(chart.scale))
    return "\n\n".join([*blocks, textwrap.fill(chart.caption, width)])


def _draw_panel(panel: Panel, scale: Scale | None, width: int, has_colour: bool) -> str:
    import plotext

    plotext.clear_figure()
    plotext.limit_size(False, False)
    plotext.theme("clear")
    plotext.plot_size(width, _HEIGHT)
    ordered = sorted(panel.marks, key=lambda mark: isinstance(mark, Dots))
    for mark in ordered:
        match mark:
            case Rule():
                draw_rule = plotext.vline if mark.side == "x" else plotext.hline
                draw_rule(_place(np.array([mark.at]), panel.x if mark.side == "x" else panel.y)[0], 242)
            case Line():
                colour = _colours(mark.colour, scale, 1)[0]
                x, y = _inside(panel, mark.x, mark.y)
                plotext.plot(x, y, marker="braille", color=colour, label=mark.name or None)
            case Dots():
                _draw_dots(plotext, panel, mark, scale)
            case Band():
                pass  # shades of a terminal are too coarse for an interval
    for side, axis in (("x", panel.x), ("y", panel.y)):
        ticks = axis.ticks()
        getattr(plotext, f"{side}ticks")(_place(np.array([t for t, _ in ticks]), axis), [text for _, text in ticks])
        getattr(plotext, f"{side}lim")(*_place(np.array([axis.low, axis.high]), axis))
        getattr(plotext, f"{side}label")(axis.label)
    plotext.title(plain(panel.title))
    text = str(plotext.build())
    lines = text if has_colour else str(plotext.uncolorize(text))
    return "\n".join([*(line.rstrip() for line in lines.splitlines()), *([panel.note] if panel.note else [])])


def _draw_dots(plotext: Any, panel: Panel, mark: Dots, scale: Scale | None) -> None:
    """Plotext takes one colour a call, so that points go by colour."""
    colours = _colours(mark.colour, scale, len(mark.x))
    for i, colour in enumerate(dict.fromkeys(colours)):
        mine = np.array([own == colour for own in colours], dtype=bool)
        x, y = _inside(panel, mark.x[mine], mark.y[mine])
        marker = "◦" if mark.is_hollow else "•"
        if x:
            plotext.scatter(x, y, marker=marker, color=colour, label=mark.name if mark.name and i == 0 else None)


def _inside(panel: Panel, x: FloatArray, y: FloatArray) -> tuple[list[float], list[float]]:
    """Points of the panel in its coordinates; plotext would draw those beyond it on its frame."""
    seen = np.isfinite(x) & np.isfinite(y) & (x >= panel.x.low) & (x <= panel.x.high) & (y >= panel.y.low) & (y <= panel.y.high)
    return _place(x[seen], panel.x), _place(y[seen], panel.y)


def _place(values: FloatArray, axis: Axis) -> list[float]:
    """Values along an axis; logarithms, because plotext would choose ticks of its own on a logarithmic one."""
    placed: list[float] = (np.log10(values) if axis.is_log else values).tolist()
    return placed


def _colours(colour: Role | float | FloatArray, scale: Scale | None, num: int) -> list[Any]:
    """Colours for plotext: a number of xterm's, or red, green and blue."""
    if isinstance(colour, str):
        return [_ROLES[colour]] * num
    assert scale is not None, "a value has a colour on a scale only"
    rgba = palette(scale, DARK).to_rgba(scale.share(np.broadcast_to(np.asarray(colour), (num,))))
    return [tuple(round(255 * part) for part in row[:3]) for row in np.asarray(rgba).tolist()]


def _key(scale: Scale) -> str:
    """What the colours mean: a coloured block before each value."""
    shades = _colours(np.array(scale.ticks), scale, len(scale.ticks))
    marks = [
        f"\x1b[38;2;{r};{g};{b}m●\x1b[0m {write(scale.quantity)(tick)}"
        for (r, g, b), tick in zip(shades, scale.ticks, strict=True)
    ]
    return f"{scale.label}: {'  '.join(marks)}"


def plain(markup: str) -> str:
    """Markup of a title as text: raised digits where Unicode has them."""
    text = re.sub(r"<sup>(.*?)</sup>", lambda match: match[1].translate(_POWERS), markup)
    return re.sub(r"</?(i|sub)>", "", text)
