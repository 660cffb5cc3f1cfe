"""The page of studies: a scorecard with one row a claim, and below it every study in full."""

from scalesweep.studies.page.scorecard import write_scorecard

__all__ = ["write_scorecard"]
