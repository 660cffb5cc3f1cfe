"""Prices of planned cells, by benchmarks of this machine, and the limits of a budget in the same units."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.plan.budget import Limit
from scalesweep.plan.cell import Cell
from scalesweep.plan.cost import Cost, Rates, cost_of, rates_of, wall_seconds, work_of
from scalesweep.plan.flops import count_params
from scalesweep.plan.grid import Device
from scalesweep.plan.plan import Plan
from scalesweep.run.launch.device import num_gpus
from scalesweep.run.launch.local import num_workers
from scalesweep.settings.settings import Settings
from scalesweep.train.benchmark import Benchmark, benchmark
from scalesweep.train.data.corpus import cache_dir


@dataclass
class Prices:
    """Seconds per step of every kind of cell, measured when first asked for."""

    settings: Settings
    device: Device
    known: dict[Any, Benchmark] = field(default_factory=dict)
    """By all of a cell that a step's time depends on."""

    @property
    def can_measure(self) -> bool:
        """Whether this machine has the device: one that submits to a cluster may lack its GPUs."""
        return self.device == "cpu" or num_gpus() > 0

    def of(self, cell: Cell) -> Benchmark:
        """The benchmark of the cell's kind."""
        kind = (cell.shape, cell.batch_sequences, cell.precision, cell.optimizer, cell.z_loss)
        if kind not in self.known:
            self.known[kind] = self._measure(cell)
        return self.known[kind]

    def seconds_per_step(self, cell: Cell) -> float:
        """Measured seconds of a training step."""
        return self.of(cell).seconds_per_step

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

    def describe(self) -> str:
        """How many sizes were measured now, and how many earlier."""
        if not self.can_measure:
            return "Minutes and prices need a benchmark on a GPU, and this machine has none: run `scalesweep plan` in a job."
        cached = sum(b.is_cached for b in self.known.values())
        new = len(self.known) - cached
        kept = f"kept in {cache_dir(self.settings.data) / 'benchmarks'}; cost.remeasure=true measures again"
        return f"Benchmarks: {new} measured now, {cached} known ({kept})."


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


def price_of(plan: Plan, prices: Prices) -> Price | None:
    """Device-hours, wall-clock, energy, money and carbon of a plan on this machine; None where it cannot tell."""
    if not prices.can_measure:
        return None
    works = work_of(plan, prices.seconds_per_step)
    seconds = sum(w.seconds for w in works)
    workers = known_workers(prices.settings, prices.device)
    rates = rates_of(prices.settings.cost, prices.device, _measured_watts(plan, prices))
    return Price(
        {w.key: w.seconds / 60 for w in works},
        None if workers is None else wall_seconds(works, workers),
        workers,
        cost_of(seconds, prices.device, rates),
        rates,
    )


def known_workers(settings: Settings, device: Device) -> int | None:
    """Workers that the sweep gets; None where only a cluster that runs already, which is not asked, can tell."""
    launcher = settings.launcher
    asked_later = launcher.name == "ray" and launcher.workers == "auto" and launcher.address is not None
    return None if asked_later else num_workers(settings, device)


def _measured_watts(plan: Plan, prices: Prices) -> float | None:
    """Mean power over the time of the plan; None where a benchmark has none."""
    cells, works = {cell.key: cell for cell in plan.cells}, work_of(plan, prices.seconds_per_step)
    drawn = [(work.seconds, watts) for work in works if (watts := prices.of(cells[work.key]).watts) is not None]
    if not drawn or len(drawn) < len(works):
        return None
    return sum(seconds * watts for seconds, watts in drawn) / sum(seconds for seconds, _ in drawn)


def limits_of(plan: Plan, prices: Prices) -> list[Limit]:
    """The limits that the settings state.

    Raises:
        SpecError: one of them needs a benchmark on a device that this machine lacks, or a number of workers that is not known.
    """
    settings, budget = prices.settings, prices.settings.budget
    timed = [name for name in ("hours", "usd") if getattr(budget, name) is not None]
    if timed and not prices.can_measure:
        raise SpecError(
            f"budget.{timed[0]} needs a benchmark on a GPU, and this machine has none; use budget.flops, or run this in a job."
        )
    if budget.hours is not None and known_workers(settings, prices.device) is None:
        raise SpecError(
            "budget.hours needs the number of workers, and with launcher.workers=auto only the Ray cluster knows it; set "
            "launcher.workers to a number, or use budget.flops or budget.usd."
        )

    def part(cells: Sequence[Cell]) -> Plan:
        return dataclasses.replace(plan, cells=tuple(cells))

    def hours(cells: Sequence[Cell]) -> float:
        return wall_seconds(work_of(part(cells), prices.seconds_per_step), num_workers(settings, prices.device)) / 3600

    def flops(cells: Sequence[Cell]) -> float:
        return part(cells).shared_flops(settings.count)

    def usd(cells: Sequence[Cell]) -> float:
        seconds = sum(w.seconds for w in work_of(part(cells), prices.seconds_per_step))
        return cost_of(seconds, prices.device, rates_of(settings.cost, prices.device)).usd

    counted = (("hours", budget.hours, hours), ("flops", budget.flops, flops), ("usd", budget.usd, usd))
    return [Limit(f"budget.{name}", most, cost) for name, most, cost in counted if most is not None]
