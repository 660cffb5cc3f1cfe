"""One word for the text of any result: `summary(value)`."""

import functools
from typing import Any

from scalesweep.analysis.allocation.approaches import Approaches
from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.forecast.backtest import BackTest
from scalesweep.analysis.forecast.dated import Forecast
from scalesweep.analysis.forecast.exponent_cells import ExponentCells
from scalesweep.analysis.forecast.next_cells import NextCells
from scalesweep.analysis.forecast.scoring import Score
from scalesweep.analysis.forecast.tournament import Tournament
from scalesweep.analysis.tuning.transfer import CoordinateCheck, LearningRates
from scalesweep.fit.coverage import CoverageTable
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.report.words import analysis, approaches, backtest, coverage, fit, forecast, next_cells, tournament, transfer


@functools.singledispatch
def summary(value: Any) -> str:
    """A result as text for a terminal: of `fit_laws`, `analyse`, `forecast`, `coverage` and their like.

    Raises:
        TypeError: there are no words for such a value.
    """
    raise TypeError(f"there is no summary of a {type(value).__name__}")


summary.register(Analysis, analysis.summarise)
summary.register(Approaches, approaches.summarise)
summary.register(BackTest, backtest.summarise)
summary.register(CoordinateCheck, transfer.summarise_coordinates)
summary.register(CoverageTable, coverage.summarise)
summary.register(Forecast, forecast.summarise)
summary.register(LearningRates, transfer.summarise_rates)
summary.register(ExponentCells, next_cells.summarise_exponent)
summary.register(NextCells, next_cells.summarise)
summary.register(Score, forecast.summarise_score)
summary.register(SweepFit, fit.summarise)
summary.register(Tournament, tournament.summarise)
