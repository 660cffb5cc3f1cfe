"""What a report shows besides the points and the fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scalesweep.report.verdicts import Verdict

if TYPE_CHECKING:
    from scalesweep.analysis.tuning.frontier import Frontier

Span = tuple[float, float]
"""Smallest and largest value."""


@dataclass(frozen=True)
class Bill:
    """What the training of the recorded cells cost, diverged ones included."""

    device_hours: float
    kwh: float
    usd: float
    kg_co2: float
    rates: tuple[str, ...]
    """The rates behind energy, price and carbon, in words."""


@dataclass(frozen=True)
class Facts:
    """What is known of an experiment beside its points; what is not known is None or empty. Tuples hold distinct values."""

    states: Mapping[str, int] = field(default_factory=dict)
    """Planned cells by state."""
    tokenizer: str | None = None
    """Kind of tokenizer."""
    corpus: str | None = None
    corpus_hash: str | None = None
    """Of both token streams and the tokenizer."""
    documents: int | None = None
    """Distinct documents of both streams."""
    duplicates_removed: int | None = None
    """Exact copies of documents that were left out before the split."""
    validation_tokens: tuple[int, ...] = ()
    """Held-out tokens on which cells were evaluated."""
    bytes_per_token: Span | None = None
    """Of the held-out text."""
    schedules: tuple[str, ...] = ()
    """Of the learning rate."""
    precisions: tuple[str, ...] = ()
    """Of the matrix products."""
    warmup_fraction: Span | None = None
    """Share of a run that is warm-up."""
    decay_fraction: Span | None = None
    """Share of a run that is decay; 0 for cosine."""
    flops_by: tuple[str, ...] = ()
    """How FLOPs were counted: formula or counter."""
    shared_trunks: int | None = None
    """Trunks from which several cells branch."""
    entropies: tuple[float, ...] = ()
    """Known entropies of the source, nats per token."""
    below_entropy: int = 0
    """Cells whose loss is below the known entropy."""
    model: str = ""
    """Kind of model."""
    dates: tuple[str, ...] = ()
    """First and last day on which cells were measured, such as 2026-11-29."""
    devices: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    """That measured."""
    bill: Bill | None = None


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
    frontier: "Frontier | None" = None
    """The tuned frontier; None where nothing was tuned."""
    tuning: str = ""
    """The tuned frontier and the laws of its optima, as text; empty where nothing was tuned."""
    counts: Mapping[tuple[str, str], Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    """For each convention of N and of C (`count.params`, `count.flops`): key of a cell -> N and training FLOPs per token; empty
    where the points have one count only."""
    sets: Sequence[Mapping[str, Any]] = ()
    """Rows of the table of validation sets; empty where cells were evaluated on one alone."""
    rounds: Sequence[str] = ()
    """Sentences on the rounds of an adaptive sweep; these and both tables are empty where the grid was all."""
    rounds_table: Sequence[Mapping[str, Any]] = ()
    """One row a round."""
    sealed_table: Sequence[Mapping[str, Any]] = ()
    """One row a cell that a round chose: its loss as predicted before it was measured, and as measured."""
    facts: Facts = Facts()
    """What else is known of the experiment."""
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    """Of studies that stand beside what is reported, by name."""
