"""How far figures go beyond the measured compute: to the farthest that the points support, which is shaded, and no further."""

import numpy as np

from scalesweep.report.charts.chart import Axis, Band, Mark, Rule

SHADED = "Shaded: as far beyond the largest measured compute as the points support; nothing is drawn further."
"""What the shade means, for captions."""


def supported(largest: float, reach: float, y: Axis) -> tuple[Mark, ...]:
    """A dotted line at the largest measured compute, and the shade of the range beyond it that the points support."""
    ends = np.array([largest, largest * reach])
    shade = Band(ends, np.full(2, y.low), np.full(2, y.high), "ink")
    return (*([shade] if reach > 1 else []), Rule("x", largest, "dot"))
