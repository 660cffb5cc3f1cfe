"""Seconds of a training step of any size and batch, by those of a few that were measured. Pure.

    seconds = depth LAYER + FLOPs / RATE(size)

LAYER, what a layer takes however small the batch is, follows from two batches of one size, and is 0 where every size has one
batch. RATE lies on straight lines between the sizes that were measured, in the logarithms of FLOPs per second and per token.
docs/runs.md has how far such times were from measured ones.
"""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import DecoderShape, flops_per_token

MOST_LAYERS = 0.95
"""Share of the shortest step that the layers' time may be, whatever the noise of two measurements says; a judgement."""
Known = Sequence[tuple[Cell, float]]
"""Cells with the measured seconds of their steps."""


def step_flops(cell: Cell) -> float:
    """FLOPs of a step, forward and backward, counted `attention`."""
    return cell.batch_tokens * _token_flops(cell)


def _token_flops(cell: Cell) -> float:
    return flops_per_token(cell.shape, "attention")


def family(cell: Cell) -> Hashable:
    """Cells with equal ones differ in size and batch alone, as far as the time of a step goes."""
    architecture = "decoder" if isinstance(cell.shape, DecoderShape) else cell.shape.architecture
    return architecture, cell.precision, cell.optimizer, cell.own_optimizer, bool(cell.z_loss)


def families(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The cells by family, each in the order of its FLOPs a step."""
    ordered = sorted(cells, key=lambda cell: (str(family(cell)), step_flops(cell)))
    return [list(members) for _, members in itertools.groupby(ordered, family)]


def to_measure(members: Sequence[Cell]) -> list[Cell]:
    """Five of a family, some of them the same: smallest and largest step, two batches of the smallest size, a size between.

    In this order, as the smallest tells soonest what the others take, and two ends come before what is between.

    Args:
        members: in the order of their FLOPs a step.
    """
    sizes = [list(of_size) for of_size in _by_size(members).values()]
    several = next((of_size for of_size in sizes if len(of_size) > 1), sizes[0])
    lowest, highest = _token_flops(sizes[0][0]), _token_flops(sizes[-1][0])
    between = min(sizes, key=lambda of_size: abs(math.log(_token_flops(of_size[0]) ** 2 / (lowest * highest))))
    return [members[0], members[-1], several[0], several[-1], between[len(between) // 2]]


def _by_size(members: Iterable[Cell]) -> dict[float, list[Cell]]:
    """Cells by FLOPs a token, each size's in the order of its batches."""
    found: dict[float, list[Cell]] = defaultdict(list)
    for cell in sorted(members, key=lambda cell: (_token_flops(cell), cell.batch_tokens)):
        found[_token_flops(cell)].append(cell)
    return found


def interpolate(known: Known) -> Callable[[Cell], float]:
    """Seconds of a step of any cell, by those of some; sizes beyond the largest have its rate.

    Args:
        known: at least one cell.
    """
    layer = _layer_seconds(known)
    rates: dict[float, list[float]] = defaultdict(list)
    for cell, seconds in known:
        rates[math.log(_token_flops(cell))].append(math.log(step_flops(cell) / (seconds - layer * cell.shape.depth)))
    points = sorted((x, statistics.mean(logs)) for x, logs in rates.items())

    def seconds_of(cell: Cell) -> float:
        return layer * cell.shape.depth + step_flops(cell) / math.exp(_log_rate(points, math.log(_token_flops(cell))))

    return seconds_of


def _layer_seconds(known: Known) -> float:
    """By the smallest size of which two batches are known."""
    seconds = dict(known)
    for of_size in _by_size(seconds).values():
        small, large = of_size[0], of_size[-1]
        if small.batch_tokens < large.batch_tokens:
            per_token = (seconds[large] - seconds[small]) / (large.batch_tokens - small.batch_tokens)
            layer = max(0.0, seconds[small] - max(0.0, per_token) * small.batch_tokens) / small.shape.depth
            return min(layer, MOST_LAYERS * min(s / cell.shape.depth for cell, s in known))
    return 0.0


def _log_rate(points: Sequence[tuple[float, float]], x: float) -> float:
    """On the lines through the points: beyond the last at its height, before the first on with a slope of 0 to 1."""
    above = next((i for i, point in enumerate(points) if point[0] >= x), len(points))
    if above == len(points) or len(points) == 1:
        return points[-1][1]
    (x0, y0), (x1, y1) = points[max(0, above - 1)], points[max(1, above)]
    slope = (y1 - y0) / (x1 - x0)
    return y0 + (min(1.0, max(0.0, slope)) if above == 0 else slope) * (x - x0)
