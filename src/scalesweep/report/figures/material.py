"""What the figures are drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.tuning.frontier import Frontier
from scalesweep.points.points import Points

Curves = Mapping[str, Sequence[tuple[float, float]]]
"""Training-loss curve of each cell by its key: (tokens, nats per token)."""


@dataclass(frozen=True, eq=False)
class Material:
    """All that figures are made of."""

    points: Points
    analysis: Analysis | None = None
    """Of these points; None where no law is wanted, which too few points are no reason to refuse a figure for."""
    curves: Curves = field(default_factory=dict)
    frontier: Frontier | None = None
    """The tuned frontier; None where nothing was tuned."""
