"""Charts as pictures of a page that needs no script: SVG for light and for dark screens, of which the browser takes one."""

import re
import textwrap
from base64 import b64encode
from dataclasses import dataclass, replace

from markupsafe import Markup

from scalesweep.report.charts.canvas import DARK, LIGHT, draw_svg
from scalesweep.report.charts.chart import Axis, Band, Chart, Dots, Line, Mark, Panel, Rule

_PANEL = (5.4, 3.5)
"""Inches; 96 of them are the pixels at which its letters have their size, and two panels fill the page."""
_THUMBNAIL = (2.3, 1.3)
_LABEL = 34
"""Letters of a label that a thumbnail has room for."""
_TAGS = re.compile(r"&lt;(/?(?:sup|sub|i))&gt;")


@dataclass(frozen=True)
class Picture:
    """One panel of a figure."""

    title: Markup
    image: Markup
    note: str


def panel_pictures(chart: Chart) -> list[Picture]:
    """Every panel by itself, so that they stand below each other on a phone; title and note are left to the page."""
    return [
        Picture(title_html(panel.title), _picture(_alone(chart, replace(panel, title="", note="")), _PANEL), panel.note)
        for panel in chart.panels
    ]


def thumbnail(chart: Chart) -> Markup:
    """The first panel without keys, what is measured upwards in place of its title."""
    panel = chart.panels[0]
    small = replace(
        panel,
        title=textwrap.shorten(panel.y.label or panel.title, _LABEL, placeholder=" …"),
        note="",
        x=_small(panel.x),
        y=replace(_small(panel.y), label=""),
        marks=tuple(map(_unnamed, panel.marks)),
    )
    return _picture(_alone(chart, small), _THUMBNAIL, has_keys=False)


def title_html(title: str) -> Markup:
    """The title of a panel, in which <sup>, <sub> and <i> are markup and all else is text."""
    return Markup(_TAGS.sub(r"<\1>", str(Markup.escape(title))))


def _alone(chart: Chart, panel: Panel) -> Chart:
    """The panel as a chart, with a scale if a colour of its own needs one."""
    is_coloured = any(isinstance(mark, Dots | Line) and not isinstance(mark.colour, str) for mark in panel.marks)
    return replace(chart, panels=(panel,), scale=chart.scale if is_coloured else None)


def _small(axis: Axis) -> Axis:
    return replace(axis, label=textwrap.shorten(axis.label, _LABEL, placeholder=" …"), most_ticks=3)


def _unnamed(mark: Mark) -> Mark:
    match mark:
        case Dots():
            return replace(mark, name="", size=0.7 * mark.size)
        case Line():
            return replace(mark, name="")
        case Band() | Rule():
            return mark


def _picture(chart: Chart, inches: tuple[float, float], has_keys: bool = True) -> Markup:
    light, dark = (b64encode(draw_svg(chart, theme, inches, has_keys).encode()).decode() for theme in (LIGHT, DARK))
    kind = "data:image/svg+xml;base64,"
    frame = Markup(
        '<picture><source media="(prefers-color-scheme: dark)" srcset="{kind}{dark}">'
        '<img src="{kind}{light}" alt="{alt}" width="{width:.0f}" height="{height:.0f}"></picture>'
    )
    return frame.format(kind=kind, light=light, dark=dark, alt=chart.caption, width=96 * inches[0], height=96 * inches[1])
