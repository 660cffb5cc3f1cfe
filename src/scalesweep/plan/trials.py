"""The combinations of tuned settings that a sweep tries, those past the end of a range, and those between its values."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalesweep.settings.base import Range
from scalesweep.settings.tune import SIDES, LrLaw, Side, TuneSpec, coordinate, ends, grid_values, value_at


@dataclass(frozen=True)
class Extension:
    """Values past one end of one setting's declared values."""

    setting: str
    side: Side
    """Which end, in the coordinate."""
    time: int
    """1 for the values next to the declared ones, 2 for those beyond, ..."""


@dataclass(frozen=True)
class Refinement:
    """Values between one setting's neighbours, of the declared values and those of its extensions."""

    setting: str
    time: int
    """1 for the middles of the steps, 2 for those of the halves, ..."""


FINEST = math.log(1.5)
"""Steps of a coordinate up to here are not halved: the window of the quadratic then holds six settings (docs/tuning.md)."""


@dataclass(frozen=True)
class Trial:
    """One combination of the tuned settings."""

    values: Mapping[str, float]
    """Dotted setting -> value."""
    extension: Extension | Refinement | None = None
    """What it belongs to; None for a declared one."""


def lr_from_law(law: LrLaw, n: float, d: float) -> float:
    """The recipe's learning rate at N parameters and D tokens."""
    return float(law.coefficient * n**law.n_exponent * d**law.d_exponent)


def trials(tune: TuneSpec) -> Iterator[Trial]:
    """The declared combinations, then those of every extension, then those of every refinement of a grid, each once."""
    yield from _combinations(tune, tune.choices, None)
    for setting, side in itertools.product(tune.choices, SIDES):
        for time in range(1, tune.extensions + 1):
            extension = Extension(setting, side, time)
            if beyond := _beyond(tune, extension):
                yield from _combinations(tune, {**tune.choices, setting: beyond}, extension)
    for setting in tune.choices if tune.method == "grid" else ():
        for time in range(1, tune.extensions + 1):
            if between := _between(tune, setting, time):
                yield from _combinations(tune, {**tune.choices, setting: between}, Refinement(setting, time))


def _combinations(
    tune: TuneSpec, choices: Mapping[str, Range | Sequence[float]], extension: Extension | Refinement | None
) -> Iterator[Trial]:
    """Every combination of a grid; or draws, half as many for an extension, whose range is half as wide."""
    if tune.method == "grid":
        rows: Iterator[Sequence[float]] = itertools.product(*(grid_values(name, value) for name, value in choices.items()))
    else:
        num = tune.num or 0
        beyond = extension if isinstance(extension, Extension) else None
        rows = _draws(choices, tune, num if beyond is None else math.ceil(num / 2), beyond)
    return (Trial(dict(zip(choices, row, strict=True)), extension) for row in rows)


def _draws(
    choices: Mapping[str, Range | Sequence[float]], tune: TuneSpec, num: int, extension: Extension | None
) -> Iterator[list[float]]:
    """Draws from the unit cube, put into the ranges and lists."""
    from scipy.stats import qmc

    words = f"{extension.setting} {extension.side} {extension.time}" if extension else ""
    rng = np.random.default_rng([tune.seed, *words.encode()])
    if tune.method == "sobol":  # a power of two keeps the sequence balanced; what is beyond `num` is not used
        unit = qmc.Sobol(len(choices), seed=rng).random_base2(math.ceil(math.log2(num)))[:num]
    else:
        unit = rng.random((num, len(choices)))
    for row in unit:
        yield [_pick(name, value, float(u)) for (name, value), u in zip(choices.items(), row, strict=True)]


def _pick(setting: str, choices: Range | Sequence[float], u: float) -> float:
    """The value at a share `u` of the range in the coordinate, or of the list."""
    if isinstance(choices, Range):
        low, high = ends(setting, choices)
        return value_at(setting, low + (high - low) * u)
    return float(choices[min(len(choices) - 1, int(u * len(choices)))])


def _beyond(tune: TuneSpec, extension: Extension) -> Range | list[float] | None:
    """The values of an extension: half as many as declared with the ratio of the neighbours at that end, or half the range."""
    setting, choices = extension.setting, tune.choices[extension.setting]
    sign = -1 if extension.side == "low" else 1
    if tune.method != "grid":
        if not isinstance(choices, Range):
            return None
        low, high = ends(setting, choices)
        end, half = (low if sign < 0 else high), sign * (high - low) / 2
        low, high = sorted(value_at(setting, end + half * k) for k in (extension.time - 1, extension.time))
        return Range(low=low, high=high) if 0 < low < high else None
    places = [coordinate(setting, value) for value in grid_values(setting, choices)]
    first, second = (places[0], places[1]) if sign < 0 else (places[-1], places[-2])
    if not math.isfinite(first - second):
        return None  # the end is zero, past which there is nothing
    count = math.ceil((len(places) - 1) / 2)
    steps = range(count * (extension.time - 1) + 1, count * extension.time + 1)
    return [value_at(setting, first + sign * abs(first - second) * k) for k in steps]


def _between(tune: TuneSpec, setting: str, time: int) -> list[float]:
    """The values of a refinement: what halves the steps of the grid and of all its extensions, as they are after `time` - 1."""
    extended = [_beyond(tune, Extension(setting, side, k)) for side in SIDES for k in range(1, tune.extensions + 1)]
    values = [*grid_values(setting, tune.choices[setting]), *(v for more in extended if isinstance(more, list) for v in more)]
    places = sorted(place for value in values if math.isfinite(place := coordinate(setting, value)))
    parts = 2**time
    return [
        value_at(setting, low + (high - low) * odd / parts)
        for low, high in itertools.pairwise(places)
        for odd in range(1, parts, 2)
        if (high - low) * 2 / parts > FINEST
    ]
