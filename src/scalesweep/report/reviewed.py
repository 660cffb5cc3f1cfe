"""What a reviewer looks for: the analysis beside published studies, and the checklist. Made once for page and Markdown."""

from dataclasses import dataclass

from scalesweep.analysis import Analysis
from scalesweep.analysis.conventions import under_conventions
from scalesweep.report.checklist import ChecklistRow, review
from scalesweep.report.context import ReportContext
from scalesweep.report.studies import StudyRow, studies_of


@dataclass(frozen=True, eq=False)
class Reviewed:
    """The rows of both sections."""

    studies: tuple[StudyRow, ...]
    """Published values beside those of the analysis."""
    checklist: tuple[ChecklistRow, ...]
    """Questions, answers and what was not measured."""


def reviewed(analysis: Analysis, context: ReportContext) -> Reviewed:
    """Refit exponents under every count that the points know, and answer the checklist."""
    counted = under_conventions(analysis, context.counts)
    return Reviewed(studies_of(counted), review(analysis, context, counted))
