"""How a figure is set for the column of a paper: its width, its type, and how many ticks have room there."""

import dataclasses
import math
from dataclasses import dataclass

from scalesweep.report.charts.chart import Axis, Chart, Panel

_NARROWEST = 2.4
"""Inches of a panel beside another one; narrower ones are set below each other."""
_HEIGHT = 0.72
"""Height of a panel as a share of its width."""
_BAR = 0.7
"""Inches of the colour bar with its labels."""
_LETTER = 0.55
"""Width of a letter of a sentence as a share of the type's size."""
_DIGIT = 0.62
"""Width of a digit as a share of the type's size."""


@dataclass(frozen=True)
class Paper:
    """What a figure is set for."""

    width: float
    """Inches."""
    font: float
    """Size of all type on paper, in points."""

    def columns(self, panels: int, most: int) -> int:
        """How many panels stand beside each other, of so many at most."""
        return max(1, min(panels, most, int(self.width / _NARROWEST)))

    def inches(self, panels: int, columns: int) -> tuple[float, float]:
        """Width and height, without the legend's."""
        lines = 2 * self.font / 72  # of a panel's title and of the label below it
        return self.width, math.ceil(panels / columns) * (_HEIGHT * self.width / columns + lines)

    def letters(self, columns: int) -> int:
        """Of a line of a note below a panel."""
        return int(72 * self.width / columns / (_LETTER * self.font))

    def with_room(self, chart: Chart, columns: int) -> Chart:
        """The chart with only so many ticks as their labels have room."""
        width = 72 * ((self.width - (_BAR if chart.scale else 0)) / columns) - 6 * self.font  # points along the axis of x
        height = 72 * _HEIGHT * self.width / columns - 3 * self.font
        panels = (self._panel(panel, width, height) for panel in chart.panels)
        return dataclasses.replace(chart, panels=tuple(panels))

    def _panel(self, panel: Panel, width: float, height: float) -> Panel:
        longest = max((len(text) for _, text in panel.x.ticks()), default=1)
        x = _at_most(panel.x, width / ((longest * _DIGIT + 1) * self.font))
        return dataclasses.replace(panel, x=x, y=_at_most(panel.y, height / (2 * self.font)))


def alone(chart: Chart, number: int) -> Chart:
    """The panel of this number, from 1, as a figure of its own, whose caption says that it is a part."""
    caption = f"Panel {number} of {len(chart.panels)}: {chart.caption}"
    return dataclasses.replace(chart, caption=caption, panels=(chart.panels[number - 1],))


def untitled(chart: Chart) -> Chart:
    """The chart without the titles of its panels, for a page that has them in the caption."""
    return dataclasses.replace(chart, panels=tuple(dataclasses.replace(panel, title="") for panel in chart.panels))


def _at_most(axis: Axis, ticks: float) -> Axis:
    return dataclasses.replace(axis, most_ticks=max(2, min(axis.most_ticks, int(ticks))))
