"""What a report shows besides the points and the fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scalesweep.analysis.tuning.frontier import Frontier


@dataclass(frozen=True)
class ReportContext:
    """Everything about an experiment that the fit does not know."""

    title: str
    """Heading of the page."""
    curves: Mapping[str, Sequence[tuple[float, float]]]
    """Training-loss curve of each cell by its key: (tokens, loss in nats per token); may be empty."""
    cells: Sequence[Mapping[str, Any]]
    """Rows of the cell table, all measured cells; columns are the union of the names."""
    provenance: Mapping[str, str]
    """What is needed to trace the numbers: hashes, commit, versions, hardware."""
    warnings: Sequence[str]
    """Sentences to show beside the verdict."""
    command: str
    """The command lines that make this report again, one a line."""
    frontier: Frontier | None = None
    """The tuned frontier; None where nothing was tuned."""
    tuning: str = ""
    """The tuned frontier and the laws of its optima, as text; empty where nothing was tuned."""
    counts: Mapping[tuple[str, str], Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    """For each convention of N and of C (`count.params`, `count.flops`): key of a cell -> N and training FLOPs per token; empty
    where the points have one count only."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else is known of the experiment, by the names of `report.checklist.FACTS`; a fact that is not known is absent."""
