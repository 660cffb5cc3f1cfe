"""What a sweep costs: hours of devices, wall-clock, energy, money, carbon. Pure; what is measured is handed in."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import Device
from scalesweep.plan.plan import Plan
from scalesweep.settings.plan import CostSpec
from scalesweep.units import format_plain

USD_PER_DEVICE_HOUR: Mapping[Device, float] = {"cuda": 2.0, "cpu": 0.0425}
WATTS: Mapping[Device, float] = {"cuda": 700.0, "cpu": 6.25}
KG_CO2_PER_KWH = 0.481
"""Sources of all three: `settings.plan.CostSpec`."""
_NAMES: Mapping[Device, str] = {"cuda": "GPU", "cpu": "core"}


@dataclass(frozen=True)
class Work:
    """One cell on one worker."""

    key: str
    seconds: float
    """Of training and evaluation, without the steps that are taken from a trunk."""
    leader: str | None = None
    """The cell from whose trunk this one goes on; it starts `offset` seconds after that one at the earliest."""
    offset: float = 0.0


def work_of(plan: Plan, seconds_per_step: Callable[[Cell], float]) -> list[Work]:
    """The cells in the order in which workers claim them: the longest of a trunk trains it, the others wait for it."""
    leaders = {trunk: max(cells, key=lambda c: (c.steps, c.key)) for trunk, cells in plan.siblings.items()}
    works = []
    for cell in plan.longest_first:
        leader, step = leaders[cell.trunk], seconds_per_step(cell)
        if cell is leader:
            works.append(Work(cell.key, (cell.steps + evaluation_steps(cell)) * step))
        else:
            seconds = (cell.decay_steps + evaluation_steps(cell)) * step
            works.append(Work(cell.key, seconds, leader.key, cell.branch_step * step))
    return works


def evaluation_steps(cell: Cell) -> float:
    """An evaluation in training steps: a token costs 2 N FLOPs forward, and 6 N forward and backward."""
    return cell.validation_tokens / (3 * cell.batch_tokens)


def wall_seconds(works: Sequence[Work], workers: int) -> float:
    """Time until the last cell ends when every free worker takes the first cell of the list that it may take.

    List scheduling with the waits of `run.store.free_cells.waits_for_trunk`; starting the processes is not counted.
    """
    followers: dict[str, list[int]] = defaultdict(list)
    present = {work.key for work in works}
    ready: list[int] = []
    for i, work in enumerate(works):
        (followers[work.leader] if work.leader in present else ready).append(i)
    waiting: list[tuple[float, int]] = []
    free, last = [0.0] * workers, 0.0
    while free and (ready or waiting):
        now = heapq.heappop(free)
        while waiting and waiting[0][0] <= now:
            heapq.heappush(ready, heapq.heappop(waiting)[1])
        if not ready:
            heapq.heappush(free, waiting[0][0])
            continue
        work = works[heapq.heappop(ready)]
        for i in followers.pop(work.key, ()):
            heapq.heappush(waiting, (now + works[i].offset, i))
        heapq.heappush(free, now + work.seconds)
        last = max(last, now + work.seconds)
    return last


@dataclass(frozen=True)
class Rates:
    """What an hour of a device comes to, and where each rate is from."""

    usd_per_device_hour: float
    watts: float
    kg_co2_per_kwh: float
    sources: tuple[str, ...]


def rates_of(spec: CostSpec, device: Device, measured_watts: float | None = None) -> Rates:
    """The rates that were stated, or else measured, or else assumed."""
    name = _NAMES[device]
    usd, usd_how = _first((spec.usd_per_device_hour, "as set"), (USD_PER_DEVICE_HOUR[device], "assumed"))
    watts, watts_how = _first((spec.watts, "as set"), (measured_watts, "measured by nvidia-smi"), (WATTS[device], "assumed"))
    carbon, carbon_how = _first((spec.kg_co2_per_kwh, "as set"), (KG_CO2_PER_KWH, "assumed"))
    sources = (
        f"{format_plain(watts, 3)} W a {name} ({watts_how})",
        f"${usd:g} an hour of a {name} ({usd_how})",
        f"{carbon:g} kg CO2 a kWh ({carbon_how})",
    )
    return Rates(usd, watts, carbon, sources)


def _first(*candidates: tuple[float | None, str]) -> tuple[float, str]:
    return next((value, how) for value, how in candidates if value is not None)


@dataclass(frozen=True)
class Cost:
    """Hours of devices and what follows from them."""

    device: Device
    device_hours: float
    kwh: float
    usd: float
    kg_co2: float

    @property
    def hours(self) -> str:
        """GPU-hours or core-hours."""
        return f"{format_plain(self.device_hours, 3)} {_NAMES[self.device]}-hours"

    @property
    def bill(self) -> str:
        """Energy, money and carbon."""
        return f"{format_plain(self.kwh)} kWh, ${format_plain(self.usd)}, {format_plain(self.kg_co2)} kg CO2"


def cost_of(device_seconds: float, device: Device, rates: Rates) -> Cost:
    """Energy, money and carbon of so many seconds of one device."""
    hours = device_seconds / 3600
    kwh = hours * rates.watts / 1000
    return Cost(device, hours, kwh, hours * rates.usd_per_device_hour, kwh * rates.kg_co2_per_kwh)
