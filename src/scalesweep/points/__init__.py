"""The table of measured points, one row a run: all that the analysis sees of an experiment."""

from scalesweep.points.points import Points, read_points

__all__ = ["Points", "read_points"]
