"""The table of measured points, one row a run: all that the analysis sees of an experiment."""

from scalesweep.points.points import Points
from scalesweep.points.reading import read_points
from scalesweep.points.rows import Rows

__all__ = ["Points", "Rows", "read_points"]
