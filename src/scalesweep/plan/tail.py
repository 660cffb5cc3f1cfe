"""Which cells would be the tail of a sweep: one device still trains them when all others are done. Pure.

They are trained first, one after another, each by several devices together (`train.devices`); the others follow, one a worker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scalesweep.plan.cell import Cell
from scalesweep.plan.cost import Work, wall_seconds
from scalesweep.plan.flops import DecoderShape
from scalesweep.units import format_duration, plural

SPEED_SHARE = 0.5
"""Speed of K devices together over K times that of one, as the planner counts on it at most: gradients are exchanged, and
nothing is compiled. A judgement, not measured, as no machine with several GPUs was at hand."""
STEP_SECONDS = 0.02
"""Least time of a step that the host launches one operation at a time, as the planner counts on it. A judgement."""
START_SECONDS = 30.0
"""What the start of the processes of such a cell, one after another cell, is taken to cost. A judgement."""


class Group(NamedTuple):
    """Devices that may train a cell together."""

    ranks: int
    speed: float
    """How many times as fast as one of them, as the planner counts on it."""


@dataclass(frozen=True)
class Schedule:
    """How long a sweep takes, and how."""

    wall_seconds: float
    together: tuple[str, ...] = ()
    """Keys of the cells that several devices train together before all others, in their order."""
    apart_seconds: float = 0.0
    """How long it would take with every cell on one worker."""
    exchange_seconds: float = 0.0
    """Of devices, by which the cells of `together` cost more so."""


def num_ranks(cell: Cell, devices: int) -> int:
    """How many of these devices may train the cell together: the most that divide its batch evenly.

    1 for models and optimizers that are not this package's own, of which nobody knows whether processes would stay in step.
    """
    if not isinstance(cell.shape, DecoderShape) or cell.own_optimizer:
        return 1
    return max(n for n in range(1, devices + 1) if cell.batch_sequences % n == 0)


def group_of(cell: Cell, devices: int, seconds_per_step: float) -> Group:
    """Those of `devices` that may train the cell together, one of which takes so long for a step."""
    ranks = num_ranks(cell, devices)
    return Group(ranks, min(SPEED_SHARE * ranks, seconds_per_step / STEP_SECONDS))


def schedule(works: Sequence[Work], workers: int, groups: Mapping[str, Group]) -> Schedule:
    """The shorter of two ways: every cell on one worker, or the tail by several devices first.

    The tail are cells that take longer on one worker than all cells on all workers if the work could be divided evenly; of
    these the longest few that make the sweep shortest.

    Args:
        works: the cells in the order in which workers claim them.
        workers: how many there are.
        groups: which devices may train a cell together, by its key; cells without one have a worker.
    """
    even = sum(work.seconds for work in works) / workers
    tail = sorted((w for w in works if w.seconds > even and w.key in groups), key=lambda w: -w.seconds)
    apart, before, exchange = wall_seconds(works, workers), 0.0, 0.0
    found = [Schedule(apart, apart_seconds=apart)]
    for i, work in enumerate(tail, start=1):
        ranks, speed = groups[work.key]
        mine = START_SECONDS + work.seconds / speed
        before, exchange = before + mine, exchange + mine * ranks - work.seconds
        first = tuple(w.key for w in tail[:i])
        rest = wall_seconds([w for w in works if w.key not in first], workers)
        found.append(Schedule(before + rest, first, apart, exchange))
    return min(found, key=lambda one: one.wall_seconds)


def describe_tail(found: Schedule, devices: int) -> str:
    """What comes of `train.devices`, above 1."""
    if not found.together:
        return f"train.devices = {devices}: no cell would be the tail for so long that several GPUs together were done sooner."
    wall, apart = format_duration(found.wall_seconds), format_duration(found.apart_seconds)
    are = "is" if len(found.together) == 1 else "are"
    return (
        f"{plural(len(found.together), 'cell')} would be the tail, and {are} trained first, by several GPUs together "
        f"(train.devices): {', '.join(found.together)}. So the sweep takes about {wall} instead of {apart}, where K GPUs "
        f"together are taken for {SPEED_SHARE:g} K times as fast as one, with {1e3 * STEP_SECONDS:g} ms a step at the least."
    )
