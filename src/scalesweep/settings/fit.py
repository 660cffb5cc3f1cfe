"""How points are fitted and reported."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat

from scalesweep.settings.base import Spec


class FitSpec(Spec):
    """Estimation of the laws."""

    huber_delta: PositiveFloat | None = None
    """Width of the Huber loss on the log-loss residual; by default 1.345 times the residuals' scaled MAD."""
    interval: Literal["auto", "pairs", "cluster", "profile"] = "auto"
    """Intervals of the joint laws: resampled points or runs (`pairs`), resampled model sizes (`cluster`), profile likelihood
    for E and the exponents (`profile`), or pairs joined with clusters where the residuals may differ between sizes (`auto`)."""
    law: Literal["auto", "additive", "coupled", "repeated"] = "auto"
    """Joint law that stands for the result, in forecasts and figures too: that of additive and coupled which the points prefer
    (`auto`), one of them, or the law of repeated data, which needs each row's epochs or unique tokens (`repeated`)."""
    floor: PositiveFloat | None = None
    """Irreducible loss E of the laws of one variable with a floor, in the table's unit of loss; by default it is estimated."""
    bootstrap: Annotated[int, Field(ge=0, le=10**6)] = 1000
    """Bootstrap resamples behind the intervals; 0 gives none."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.90
    """Nominal coverage of the intervals."""
    seed: NonNegativeInt = 0
    """Seed of the resampling."""


class ReportSpec(Spec):
    """The report."""

    title: str | None = None
    """Title of the page; by default the sweep's name."""
