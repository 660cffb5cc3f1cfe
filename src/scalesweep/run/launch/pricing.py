"""Prices of planned cells, by benchmarks of this machine or an estimate of a GPU elsewhere, and limits in the same units."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.plan.budget import Limit
from scalesweep.plan.cell import Cell
from scalesweep.plan.cost import Cost, Rates, Work, cost_of, rates_of, work_of
from scalesweep.plan.estimate import describe_estimate, estimated_seconds_per_step
from scalesweep.plan.flops import count_params
from scalesweep.plan.grid import Device
from scalesweep.plan.plan import Plan
from scalesweep.plan.tail import Schedule, describe_tail, group_of, schedule
from scalesweep.run.launch.device import device_of_sweep, num_gpus
from scalesweep.run.launch.local import num_workers
from scalesweep.run.store.pool import is_pooled
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings
from scalesweep.train.benchmark import Benchmark, benchmark
from scalesweep.train.data.corpus import cache_dir

_SAY_SECONDS = 2.0
"""Time of benchmarks between two lines on how far they are."""
_MOST_RECORDS = 5
"""Records of each kind of cell that a price is corrected by; a judgement: their median is then within some per cent."""


@dataclass
class Prices:
    """Seconds per step of every kind of cell, measured when first asked for."""

    settings: Settings
    device: Device
    known: dict[Any, Benchmark] = field(default_factory=dict)
    """By all of a cell that a step's time depends on."""
    say: Callable[[str], None] = lambda _: None
    """Takes a line on how far benchmarks are, where they take a while."""
    recorded: dict[Any, float] = field(default_factory=dict)
    """Seconds per step that cells of the sweep took, by the same; see `take`."""

    @property
    def can_measure(self) -> bool:
        """Whether this machine has the device: one that submits to a cluster may lack its GPUs."""
        return self.device == "cpu" or num_gpus() > 0

    def of(self, cell: Cell) -> Benchmark:
        """The benchmark of the cell's kind."""
        kind = _kind(cell)
        if kind not in self.known:
            self.known[kind] = self._measure(cell)
        return self.known[kind]

    def take(self, cells: Sequence[Cell]) -> None:
        """Benchmark every kind of cell, and read what some of each kind took where the sweep has records of them.

        Of a GPU that is not here nothing is taken.
        """
        if not self.can_measure:
            return
        kinds = {_kind(cell): cell for cell in cells}
        said = time.monotonic()
        for i, cell in enumerate(kinds.values(), start=1):
            self.of(cell)
            if (now := time.monotonic()) > said + _SAY_SECONDS and i < len(kinds):
                self.say(f"Benchmarks: {i} of {len(kinds)} kinds of cells.")
                said = now
        store = Store(Path(self.settings.dir).expanduser())
        if not store.directory.is_dir():
            return
        found: dict[Any, list[float]] = {}
        for cell in cells:
            mine = found.setdefault(_kind(cell), [])
            if len(mine) < _MOST_RECORDS and (seconds := _seconds_of(store.record(cell.key), self.device)):
                mine.append(seconds)
        self.recorded |= {kind: statistics.median(times) for kind, times in found.items() if times}

    @property
    def factor(self) -> float:
        """How many times as long as its benchmark a step took, by the median of the kinds that have records; 1 without any."""
        return statistics.median([self.recorded[kind] / self.known[kind].seconds_per_step for kind in self._both] or [1.0])

    @property
    def _both(self) -> list[Any]:
        return [kind for kind in self.recorded if kind in self.known]

    def seconds_per_step(self, cell: Cell) -> float:
        """Seconds of a training step: as recorded of the cell's kind, else by benchmark, times what records make of others; or
        estimated of a GPU that is not here.
        """
        if not self.can_measure:
            return estimated_seconds_per_step(cell)
        return self.recorded.get(_kind(cell)) or self.of(cell).seconds_per_step * self.factor

    def most_seconds_per_step(self, cell: Cell) -> float:
        """The same, at least by benchmark: a limit that records made cheaper would let a sweep that is done grow."""
        found = self.seconds_per_step(cell)
        return max(self.of(cell).seconds_per_step, found) if self.can_measure else found

    def _measure(self, cell: Cell) -> Benchmark:
        def prepare(name: str) -> Any:
            from scalesweep.train.device import prepare_device

            return prepare_device(name)

        spec = self.settings
        try:
            return benchmark(cell, self.device, prepare, spec.train.micro_batch, cache_dir(spec.data), spec.cost.remeasure)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            n = count_params(cell.shape).total
            raise SpecError(
                f"sweep.sizes: a model of {n:,} parameters does not fit into the memory of {self.device}; leave it out."
            ) from None

    def describe(self, plan: Plan) -> str:
        """How many sizes were measured now, and how many earlier; or what the estimate of the plan rests on."""
        if not self.can_measure:
            return describe_estimate(plan)
        cached = sum(b.is_cached for b in self.known.values())
        new = len(self.known) - cached
        kept = f"kept in {cache_dir(self.settings.data) / 'benchmarks'}; cost.remeasure=true measures again"
        lines = [f"Benchmarks: {new} measured now, {cached} known ({kept})."]
        if disturbed := sum(b.is_disturbed for b in self.known.values()):
            lines.append(
                f"{disturbed} of them were disturbed by other programs whenever they were taken: prices are too high, and the "
                "next plan takes them again."
            )
        if both := self._both:
            lines.append(
                f"Corrected by this sweep's records: its steps took {self.factor:.2f} times their benchmarks ({len(both)} of "
                f"{len(self.known)} kinds of cells)."
            )
        return " ".join(lines)


def _kind(cell: Cell) -> Any:
    return cell.shape, cell.batch_sequences, cell.precision, cell.optimizer, cell.z_loss


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


def price_of(plan: Plan, prices: Prices) -> Price:
    """Device-hours, wall-clock, energy, money and carbon of a plan, on this machine or by the estimate of a GPU elsewhere."""
    prices.take(plan.cells)
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
    """Mean power over the time of the plan; None where a benchmark has none, or nothing was measured."""
    if not prices.can_measure:
        return None
    cells, works = {cell.key: cell for cell in plan.cells}, work_of(plan, prices.seconds_per_step)
    drawn = [(work.seconds, watts) for work in works if (watts := prices.of(cells[work.key]).watts) is not None]
    if not drawn or len(drawn) < len(works):
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
        prices.take(plan.cells)

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
