"""What the answers of the reviewer's checklist are made from, and what an answer is."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.conventions import Convention, Counted
from scalesweep.points.mixtures import Repeats, find_repeats
from scalesweep.points.points import Points
from scalesweep.report.context import Facts, ReportContext
from scalesweep.report.verdicts import said_of
from scalesweep.units import format_share

Status = Literal["answered", "partly", "not measured"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a report knows."""

    analysis: Analysis
    context: ReportContext
    counted: Mapping[Convention, Counted]
    """The values under each convention, that of the analysis first."""

    @property
    def points(self) -> Points:
        """The points."""
        return self.analysis.points

    @property
    def facts(self) -> Facts:
        """What is known of the experiment beside its points."""
        return self.context.facts

    @property
    def is_table(self) -> bool:
        """Whether the points are a table from elsewhere, of whose experiment only its columns are known."""
        return self.facts.corpus_hash is None

    @cached_property
    def repeats(self) -> Repeats | None:
        """What tells rows of equal N and D apart beside the seed."""
        return find_repeats(self.points.used)

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


def from_studies(seen: Evidence, studies: tuple[str, ...], asks: str) -> Answer | None:
    """The answer of studies that stand beside what is reported; None where none does.

    They speak of their own cells, and so they answer in part where another version judged, or where no word was told.
    """
    found = [seen.context.verdicts[name] for name in studies if name in seen.context.verdicts]
    if not found:
        return None
    is_told = all(verdict.is_current and verdict.word in ("supported", "contradicted") for verdict in found)
    text = f"{asks} {said_of(seen.context.verdicts, studies)}"
    commands = " and ".join(f"scalesweep study {verdict.study}" for verdict in found)
    return Answer(
        text, "answered" if is_told else "partly", "" if is_told else f"{commands}, by this version, and see its reasons."
    )


def percent(value: float, digits: int = 2) -> str:
    """A share in per cent."""
    return format_share(value, digits)


def span(values: tuple[float, float] | None, write: Any = "{:.3g}".format) -> str:
    """Smallest and largest, or the one value; words, as a user's table may have them, as they are; `not said` without any."""
    if values is None:
        return "not said"
    low, high = (value if isinstance(value, str) else write(value) for value in values)
    return str(low) if low == high else f"{low} to {high}"
