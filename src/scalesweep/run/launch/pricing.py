"""Prices of planned cells, by benchmarks of this machine or an estimate of a GPU elsewhere, and limits in the same units."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.plan.budget import Limit
from scalesweep.plan.cell import Cell
from scalesweep.plan.cost import Cost, Rates, Work, cost_of, rates_of, work_of
from scalesweep.plan.estimate import describe_estimate, estimated_seconds_per_step
from scalesweep.plan.grid import Device
from scalesweep.plan.plan import Plan
from scalesweep.plan.tail import Schedule, describe_tail, group_of, schedule
from scalesweep.run.launch.benchmarks import Benchmarks, kind_of
from scalesweep.run.launch.device import device_of_sweep, num_gpus
from scalesweep.run.launch.local import num_workers
from scalesweep.run.store.pool import is_pooled
from scalesweep.run.store.store import Store
from scalesweep.settings.plan import ModelSpec
from scalesweep.settings.settings import Settings

_MOST_RECORDS = 5
"""Records of each kind of cell that a price is corrected by; a judgement: their median is then within some per cent."""


@dataclass
class Prices:
    """Seconds per step of every kind of cell: by benchmarks, corrected by what cells of the sweep took."""

    settings: Settings
    device: Device
    say: Callable[[str], None] = lambda _: None
    """Takes a line on how far benchmarks are, where they take a while."""
    recorded: dict[Any, float] = field(default_factory=dict)
    """Seconds per step that cells of the sweep took, by `kind_of`; see `take`."""
    benchmarks: Benchmarks = field(init=False)

    def __post_init__(self) -> None:
        self.benchmarks = Benchmarks(self.settings, self.device, self.say)

    @property
    def can_measure(self) -> bool:
        """Whether this machine has the device: one that submits to a cluster may lack its GPUs."""
        return self.device == "cpu" or num_gpus() > 0

    def take(self, plan: Plan) -> None:
        """Benchmark the kinds of cells, and read what some of each kind took where the sweep has records of them.

        Of a GPU that is not here nothing is taken.
        """
        if not self.can_measure:
            return
        self.benchmarks.take(plan, known_workers(self.settings, self.device) or 1)
        store = Store(Path(self.settings.dir).expanduser())
        if not store.directory.is_dir():
            return
        found: dict[Any, list[float]] = {}
        for cell in plan.cells:
            mine = found.setdefault(kind_of(cell), [])
            if len(mine) < _MOST_RECORDS and (seconds := _seconds_of(store.record(cell.key), self.device)):
                mine.append(seconds)
        self.recorded |= {kind: statistics.median(times) for kind, times in found.items() if times}

    @property
    def factor(self) -> float:
        """How many times as long as its benchmark a step took, by the median of the kinds that have records; 1 without any."""
        known = self.benchmarks.known
        return statistics.median([self.recorded[kind] / known[kind].seconds_per_step for kind in self._both] or [1.0])

    @property
    def _both(self) -> list[Any]:
        """Kinds that have records and a benchmark, by preference one that was measured."""
        both = [(kind, self.benchmarks.known[kind]) for kind in self.recorded if kind in self.benchmarks.known]
        return [kind for kind, b in both if not b.is_interpolated] or [kind for kind, _ in both]

    def is_interpolated(self, cell: Cell) -> bool:
        """Whether the cell's price follows from what other sizes and batches took."""
        found = self.benchmarks.known.get(kind_of(cell))
        return found is not None and found.is_interpolated and kind_of(cell) not in self.recorded

    def seconds_per_step(self, cell: Cell) -> float:
        """Seconds of a training step: as recorded of the cell's kind, else by benchmark, times what records make of others; or
        estimated of a GPU that is not here.
        """
        if not self.can_measure:
            return estimated_seconds_per_step(cell)
        return self.recorded.get(kind_of(cell)) or self.benchmarks.of(cell).seconds_per_step * self.factor

    def most_seconds_per_step(self, cell: Cell) -> float:
        """The same, at least by benchmark: a limit that records made cheaper would let a sweep that is done grow."""
        found = self.seconds_per_step(cell)
        return max(self.benchmarks.of(cell).seconds_per_step, found) if self.can_measure else found

    def describe(self, plan: Plan) -> str:
        """How prices were found, and what records made of them; or what the estimate of the plan rests on."""
        if not self.can_measure:
            return describe_estimate(plan)
        said = self.benchmarks.describe()
        train, model = self.settings.train, self.settings.model
        if self.device == "cuda" and train.fast and train.compiles is not False and isinstance(model, ModelSpec):
            said += " They are of steps without the compiler, with which long trainings take less (docs/gpu.md)."
        if both := self._both:
            said += (
                f" Corrected by this sweep's records: its steps took {self.factor:.2f} times their benchmarks ({len(both)} of "
                f"{len(self.benchmarks.known)} kinds of cells)."
            )
        return said


def _seconds_of(record: Mapping[str, Any] | None, device: Device) -> float | None:
    """Seconds of a step of a complete cell that was trained on this kind of device; None of any other."""
    if record is None or record["state"] != "COMPLETE" or is_pooled(record):
        return None
    if record["where"]["device"].startswith("CPU") != (device == "cpu"):
        return None
    times = record["times"]
    if times.get("devices", 1) > 1:  # whose exchange of gradients is in its time
        return None
    steps = record["row"]["steps"] - times["shared_steps"]
    return times["training_seconds"] / steps if steps > 0 and times["training_seconds"] > 0 else None


@dataclass(frozen=True)
class Price:
    """What a plan costs."""

    minutes: dict[str, float]
    """Of each cell by its key, without the steps that it takes from a trunk."""
    wall_seconds: float | None
    """None where the number of workers is not known."""
    workers: int | None
    cost: Cost
    rates: Rates
    is_estimated: bool = False
    """Whether its times are those of `plan.estimate`, and none was measured."""
    together: tuple[str, ...] = ()
    """Keys of the cells that several GPUs train together, in their order."""
    tail: str = ""
    """What comes of `train.devices`, where it asks for several."""
    interpolated: frozenset[str] = frozenset()
    """Keys of the cells whose times follow from those of other sizes and batches."""


def price_of(plan: Plan, prices: Prices) -> Price:
    """Device-hours, wall-clock, energy, money and carbon of a plan, on this machine or by the estimate of a GPU elsewhere."""
    prices.take(plan)
    works = work_of(plan, prices.seconds_per_step)
    seconds = sum(w.seconds for w in works)
    workers = known_workers(prices.settings, prices.device)
    rates = rates_of(prices.settings.cost, prices.device, _measured_watts(plan, prices))
    scheduled = None if workers is None else _schedule(plan, works, prices, workers)
    tail, devices = idle_devices(prices.settings, prices.device), prices.settings.train.devices
    if scheduled and devices > 1 and not tail:
        tail = describe_tail(scheduled, devices)
    return Price(
        {w.key: w.seconds / 60 for w in works},
        None if scheduled is None else scheduled.wall_seconds,
        workers,
        cost_of(seconds + (scheduled.exchange_seconds if scheduled else 0.0), prices.device, rates),
        rates,
        is_estimated=not prices.can_measure,
        together=scheduled.together if scheduled else (),
        tail=tail,
        interpolated=frozenset(cell.key for cell in plan.cells if prices.is_interpolated(cell)),
    )


def _schedule(plan: Plan, works: Sequence[Work], prices: Prices, workers: int) -> Schedule:
    """How long a plan takes with its tail on as many GPUs as `train.devices` allows and the workers have."""
    may_spread = prices.settings.train.devices > 1 and not idle_devices(prices.settings, prices.device)
    if not may_spread:
        return schedule(works, workers, {})
    devices = min(workers, num_gpus() or workers, prices.settings.train.devices)
    groups = {cell.key: group_of(cell, devices, prices.seconds_per_step(cell)) for cell in plan.cells}
    return schedule(works, workers, {key: group for key, group in groups.items() if group.speed > 1})


def idle_devices(settings: Settings, device: Device) -> str:
    """Why several devices cannot train a cell together here; empty where they can, or are not asked to."""
    devices, launcher = settings.train.devices, settings.launcher.name
    if devices == 1 or (device == "cuda" and launcher == "local"):
        return ""
    where = "on the CPU" if device == "cpu" else f"with launcher={launcher}: it needs launcher=local"
    return f"train.devices = {devices} has no effect {where}."


def planned_device(settings: Settings) -> Device:
    """The device of a sweep that is to be priced: as `device_of_sweep`, but a GPU that is asked for need not be here.

    Raises:
        SpecError: as of `device_of_sweep`, but for a GPU that is missing.
    """
    if settings.launcher.name in ("slurm", "ray") or settings.train.device != "cuda":
        return device_of_sweep(settings)
    return "cuda"


def known_workers(settings: Settings, device: Device) -> int | None:
    """Workers that the sweep gets; None where only a cluster that runs already, which is not asked, can tell."""
    launcher = settings.launcher
    asked_later = launcher.name == "ray" and launcher.workers == "auto" and launcher.address is not None
    return None if asked_later else num_workers(settings, device)


def _measured_watts(plan: Plan, prices: Prices) -> float | None:
    """Mean power over the time of the plan; None where no benchmark has a reading."""
    if not prices.can_measure:
        return None
    cells, works = {cell.key: cell for cell in plan.cells}, work_of(plan, prices.seconds_per_step)
    drawn = [(work.seconds, watts) for work in works if (watts := prices.benchmarks.watts(cells[work.key])) is not None]
    if not drawn:
        return None
    return sum(seconds * watts for seconds, watts in drawn) / sum(seconds for seconds, _ in drawn)


def limits_of(plan: Plan, prices: Prices) -> list[Limit]:
    """The limits that the settings state.

    Raises:
        SpecError: one of them needs a number of workers that is not known.
    """
    settings, budget = prices.settings, prices.settings.budget
    if budget.hours is not None and known_workers(settings, prices.device) is None:
        raise SpecError(
            "budget.hours needs the number of workers, and with launcher.workers=auto only the Ray cluster knows it; set "
            "launcher.workers to a number, or use budget.flops or budget.usd."
        )

    if budget.hours is not None or budget.usd is not None:
        prices.take(plan)

    def part(cells: Sequence[Cell]) -> Plan:
        return dataclasses.replace(plan, cells=tuple(cells))

    def hours(cells: Sequence[Cell]) -> float:
        works = work_of(part(cells), prices.most_seconds_per_step)
        return _schedule(plan, works, prices, num_workers(settings, prices.device)).wall_seconds / 3600

    def flops(cells: Sequence[Cell]) -> float:
        return part(cells).shared_flops(settings.count)

    def usd(cells: Sequence[Cell]) -> float:
        seconds = sum(w.seconds for w in work_of(part(cells), prices.most_seconds_per_step))
        return cost_of(seconds, prices.device, rates_of(settings.cost, prices.device)).usd

    counted = (("hours", budget.hours, hours), ("flops", budget.flops, flops), ("usd", budget.usd, usd))
    return [Limit(f"budget.{name}", most, cost) for name, most, cost in counted if most is not None]
