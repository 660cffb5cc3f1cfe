"""Figures as values: panels of dots, lines and bands on axes. `canvas` draws them for papers, `interactive` for the page and
`terminal` for a console, so that all three show the same numbers.

A colour is either a role, whose shade each drawing chooses for its background, or a value on the chart's scale.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.units import format_count, format_number

Quantity = Literal["n", "d", "c", "loss", "factor", "lr", "number", "percent"]
Role = Literal["fit", "first", "second", "third", "faint", "ink"]
"""`fit`: the fitted law over points that are coloured by a scale; `first` to `third`: things that are compared; `faint`: what
did not enter; `ink`: neutral."""
Dash = Literal["solid", "dash", "dot", "dashdot"]
_LABELS: dict[Quantity, str] = {
    "n": "parameters N",
    "d": "training tokens D",
    "c": "training FLOPs C",
    "loss": "validation loss (nats/token)",
    "factor": "compute of the predicted row / largest fitted",
    "lr": "learning rate",
    "number": "",
    "percent": "",
}
_MAX_LINES = 8
"""Sizes that get a line or a tick of their own: more colours of one scale are not told apart in a legend. Judgement."""
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MIN_TICK_GAP = 0.1
"""Room of a label along an axis, as a share of its length."""


@dataclass(frozen=True)
class Axis:
    """One side of a panel."""

    quantity: Quantity
    """What is measured along it, which decides how its ticks are written."""
    low: float
    high: float
    label: str
    """Name and unit."""
    is_log: bool = True
    most_ticks: int = 9
    """How many labels there is room for."""

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and labels of round ticks inside the ends."""
        found = log_ticks(self.low, self.high) if self.is_log else linear_ticks(self.low, self.high)
        found = found[:: -(-len(found) // self.most_ticks)]
        return [(tick, write(self.quantity)(tick)) for tick in found]


@dataclass(frozen=True, eq=False)
class Scale:
    """What colours mean: a logarithmic scale or, where it diverges, a linear one about zero."""

    quantity: Quantity
    low: float
    high: float
    ticks: tuple[float, ...]
    """Where the colour bar has labels."""
    label: str
    """Name and unit."""
    is_diverging: bool = False
    """Whether colours part at zero."""

    def share(self, values: FloatArray | float) -> FloatArray:
        """Place of the values on the scale, from 0 to 1."""
        if self.is_diverging:
            return np.clip((np.asarray(values) - self.low) / (self.high - self.low), 0.0, 1.0)
        return np.clip(np.log(np.asarray(values) / self.low) / math.log(self.high / self.low), 0.0, 1.0)

    def spaced_ticks(self, gap: float) -> list[float]:
        """The ticks whose labels keep `gap`, a share of the scale, from each other: the ends first, then upward."""
        kept: list[float] = []
        for tick in (*self.ticks[:1], *self.ticks[-1:], *self.ticks[1:-1]):
            if all(abs(float(self.share(tick) - self.share(other))) >= gap for other in kept):
                kept.append(tick)
        return sorted(kept)


@dataclass(frozen=True, eq=False)
class Dots:
    """Measured points."""

    x: FloatArray
    y: FloatArray
    colour: Role | FloatArray = "ink"
    """A role, or a value on the scale for each point."""
    low: FloatArray | None = None
    """Lower ends of vertical error bars."""
    high: FloatArray | None = None
    """Upper ends of vertical error bars."""
    name: str = ""
    """In the legend; empty: not there."""
    is_hollow: bool = False
    size: float = 4.5
    """Diameter in points."""
    symbol: Literal["circle", "square"] = "circle"
    hover: tuple[str, ...] = ()
    """What the page says of each point; empty: its coordinates."""
    group: str = ""
    """Marks of one group are shown and hidden together on the page."""


@dataclass(frozen=True, eq=False)
class Line:
    """A line through points."""

    x: FloatArray
    y: FloatArray
    colour: Role | float = "fit"
    """A role, or a value on the scale."""
    dash: Dash = "solid"
    width: float = 1.4
    name: str = ""
    """In the legend; empty: not there."""
    group: str = ""
    """As of `Dots`."""


@dataclass(frozen=True, eq=False)
class Band:
    """An interval along a line."""

    x: FloatArray
    low: FloatArray
    high: FloatArray
    colour: Role = "fit"
    group: str = ""


@dataclass(frozen=True)
class Rule:
    """A line across the panel at x or at y."""

    side: Literal["x", "y"]
    at: float
    dash: Dash = "solid"


Mark = Dots | Line | Band | Rule


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes. Marks are drawn in their order."""

    title: str
    """May hold <sup>, <sub> and <i>."""
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    note: str = ""
    """A sentence below the panel, such as why there is no line."""


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure."""

    name: str
    """File name without extension."""
    caption: str
    """A sentence or two on what is shown."""
    panels: tuple[Panel, ...]
    scale: Scale | None = None
    """What the colours mean, where they are no roles."""


@dataclass(frozen=True)
class Missing:
    """A figure that the data do not allow."""

    name: str
    """As of `Chart`."""
    title: str
    """What it would show, in a few words."""
    reason: str
    """Why it is not drawn."""


def log_axis(quantity: Quantity, *values: FloatArray, label: str = "") -> Axis:
    """A logarithmic axis over the positive values with a little room."""
    every = np.concatenate([np.ravel(v) for v in values])
    every = every[np.isfinite(every) & (every > 0)]
    low, high = float(every.min()), float(every.max())
    # A twentieth of the span, so that marks at the ends are not cut; one value alone, up to rounding, gets a tenth of itself.
    room = (high / low) ** 0.05 if high > low * (1 + 1e-9) else 1.1
    return Axis(quantity, low / room, high * room, label or _LABELS[quantity])


def linear_axis(quantity: Quantity, label: str, *values: FloatArray, around_zero: bool = False) -> Axis:
    """A linear axis over the values with a little room, or one about zero."""
    every = np.concatenate([np.ravel(v) for v in values])
    every = every[np.isfinite(every)]
    if around_zero:
        limit = 1.15 * float(np.abs(every).max(initial=0.0)) or 1.0
        return Axis(quantity, -limit, limit, label, is_log=False)
    low, high = float(every.min()), float(every.max())
    is_range = high - low > 1e-9 * max(abs(low), abs(high))
    room = 0.06 * (high - low) if is_range else 0.1 * abs(high) or 1.0
    return Axis(quantity, low - room, high + room, label, is_log=False)


def log_scale(quantity: Quantity, values: FloatArray, ticks: Sequence[float] | None = None) -> Scale:
    """Colours by the logarithm of values in this range, with ticks at some of the values."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low / 2, high * 2
    return Scale(quantity, low, high, tuple(some_values(values) if ticks is None else ticks), _LABELS[quantity])


def diverging_scale(quantity: Quantity, values: FloatArray, label: str) -> Scale:
    """Colours about zero that reach the largest magnitude."""
    limit = float(np.abs(values).max(initial=0.0)) or 1.0
    return Scale(quantity, -limit, limit, tuple(linear_ticks(-limit, limit)), label, is_diverging=True)


def some_values(n: FloatArray) -> list[float]:
    """All sizes if they are few, else measured sizes that are about evenly spaced in log N."""
    sizes = np.unique(n)
    if len(sizes) <= _MAX_LINES:
        return [float(size) for size in sizes]
    wanted = np.geomspace(sizes[0], sizes[-1], _MAX_LINES)
    nearest = {int(np.argmin(np.abs(np.log(sizes / size)))) for size in wanted}
    return [float(sizes[i]) for i in sorted(nearest)]


def log_ticks(low: float, high: float) -> list[float]:
    """Four to eight round ticks between low and high for a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    choices = [[10.0**k for k in decades[::stride]] for stride in (4, 3, 2, 1)]
    # From the coarsest that still has four ticks: whole decades, then ever more mantissas that are about even in the logarithm,
    # then even steps, which are all that a span of a few per cent has.
    for mantissas in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        choices.append([m * 10.0**k for k in decades for m in mantissas])
    step = 10.0 ** math.floor(math.log10(high - low))
    choices += [[s * i for i in range(math.floor(low / s), math.ceil(high / s) + 1)] for s in (step, step / 2, step / 5)]
    for choice in choices:
        inside = [tick for tick in choice if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(inside) >= 4:
            break
    kept = inside[:1]
    for tick in inside[1:]:
        if math.log(tick / kept[-1]) >= MIN_TICK_GAP * math.log(high / low):
            kept.append(tick)
    return kept


def linear_ticks(low: float, high: float) -> list[float]:
    """Four to nine round ticks between low and high."""
    decade = 10.0 ** math.floor(math.log10(high - low))
    for step in (decade, decade / 2, decade / 5):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first >= 3:
            break
    return [round(step * i, 12) for i in range(first, last + 1)]


def write(quantity: Quantity) -> Callable[[float], str]:
    """How values of this quantity are written."""
    writers: dict[Quantity, Callable[[float], str]] = {"n": format_count, "d": format_count, "c": format_power}
    plain: Callable[[float], str] = format_number if quantity == "loss" else lambda value: f"{value:g}"
    return writers.get(quantity, plain)


def format_power(value: float) -> str:
    """A large number as 3·10¹⁸."""
    exponent = math.floor(math.log10(value) + 1e-9)  # log10 of a power of ten may fall short of it by rounding
    mantissa = f"{value / 10**exponent:.3g}"
    power = "10" + str(exponent).translate(_SUPERSCRIPTS)
    return power if mantissa == "1" else f"{mantissa}·{power}"
