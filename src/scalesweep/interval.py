"""An interval as a value: what is known of a number."""

from dataclasses import dataclass

from scalesweep.units import format_number


@dataclass(frozen=True)
class Interval:
    """Two ends. An end is open where the search for it had to stop at a bound of its own, and not where the data end it."""

    low: float
    high: float
    is_low_open: bool = False
    is_high_open: bool = False

    def holds(self, value: float) -> bool:
        """Whether the value lies in the interval."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        low = "open" if self.is_low_open else format_number(self.low)
        high = "open" if self.is_high_open else format_number(self.high)
        return f"[{low}, {high}]"
