"""What the figures are drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.tuning.frontier import Frontier
from scalesweep.points.points import Points

Curves = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True, eq=False)
class Material:
    """All that figures are made of."""

    analysis: Analysis
    """Points, laws, approaches and back-test."""
    curves: Curves
    """Training-loss curve of each cell by its key: (tokens, nats per token); may be empty."""
    frontier: Frontier | None = None
    """The tuned frontier; None where nothing was tuned."""

    @property
    def points(self) -> Points:
        """The table that was fitted."""
        return self.analysis.points
