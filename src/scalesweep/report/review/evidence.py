"""What the answers of the reviewer's checklist are made from, and what an answer is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.conventions import Convention, Counted
from scalesweep.points.points import Points
from scalesweep.report.context import ReportContext

Status = Literal["answered", "partly", "not measured"]
FACTS: Mapping[str, str] = {
    "cells": "planned cells by state",
    "tokenizer": "kind of tokenizer",
    "corpus": "name of the corpus",
    "corpus_hash": "hash of both token streams and the tokenizer",
    "documents": "distinct documents of both streams",
    "duplicates_removed": "exact copies of documents that were left out before the split",
    "validation_stream_tokens": "length of the held-out stream in tokens",
    "validation_tokens": "held-out tokens on which cells were evaluated, distinct values",
    "bytes_per_token": "bytes per token of the held-out text, smallest and largest",
    "schedules": "learning-rate schedules, distinct values",
    "precisions": "precisions of the matrix products, distinct values",
    "warmup_fraction": "share of a run that is warm-up, smallest and largest",
    "decay_fraction": "share of a run that is decay, smallest and largest; 0 for cosine",
    "flops_by": "how FLOPs were counted, formula or counter, distinct values",
    "shared_trunks": "trunks from which several cells branch",
    "entropies": "known entropies of the source in nats per token, distinct values",
    "below_entropy": "cells whose loss is below the known entropy",
    "hosts": "number of machines",
    "devices": "devices, distinct values",
    "versions": "versions that measured, distinct values",
    "device_hours": "hours of devices in training",
    "kwh": "energy of these hours, kWh",
    "usd": "price of these hours, dollars",
    "kg_co2": "carbon of these hours, kg",
    "rates": "the rates behind energy, price and carbon, in words",
}
"""Names of `ReportContext.facts`, with their meanings."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a report knows."""

    analysis: Analysis
    """What was found."""
    context: ReportContext
    """What is known of the experiment."""
    counted: Mapping[Convention, Counted]
    """The values under each convention, that of the analysis first."""

    @property
    def points(self) -> Points:
        """The points."""
        return self.analysis.points

    def fact(self, name: str) -> Any:
        """A fact by its name in `FACTS`; None where it is not known."""
        assert name in FACTS, name
        return self.context.facts.get(name)

    def column(self, name: str) -> Any:
        """A column of the used rows; None where there is none, or where it holds words that are no seeds, as a user's may."""
        used = self.points.used
        if name not in used or (name != "seed" and used[name].dtype.kind not in "biuf"):
            return None
        return used[name]


@dataclass(frozen=True)
class Answer:
    """The answer to one question."""

    text: str
    """What is known, in sentences with their numbers."""
    status: Status
    """How far it answers the question."""
    remedy: str = ""
    """What would answer the rest; empty where nothing is missing."""

    @property
    def sentences(self) -> str:
        """Text and remedy."""
        return f"{self.text} To do: {self.remedy}" if self.remedy else self.text


def percent(value: float, digits: int = 2) -> str:
    """A share in per cent."""
    return f"{value:.{digits}%}"


def span(values: tuple[float, float], write: Any = "{:.3g}".format) -> str:
    """Smallest and largest, or the one value; words, as a user's table may have them, as they are."""
    low, high = (value if isinstance(value, str) else write(value) for value in values)
    return str(low) if low == high else f"{low} to {high}"
