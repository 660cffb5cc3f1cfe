"""Which kinds of cells are benchmarked for a price: few, in a time that the price justifies; the others follow from these."""

import functools
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.plan.cell import Cell
from scalesweep.plan.cost import wall_seconds, work_of
from scalesweep.plan.flops import count_params
from scalesweep.plan.grid import Device
from scalesweep.plan.plan import Plan
from scalesweep.plan.step_times import families, family, interpolate, step_flops, to_measure
from scalesweep.run.launch.device import first_usable
from scalesweep.settings.settings import Settings
from scalesweep.train.benchmark import Benchmark, benchmark, known_benchmark
from scalesweep.train.data.corpus import cache_dir
from scalesweep.units import plural

LEAST_SECONDS = 10.0
SHARE = 0.1
"""Most of the time that benchmarks may take: so many seconds, or this share of what they price, whichever is more."""
_ALONE_SECONDS, _ALONE_STEPS = 0.5, 30
"""What a benchmark takes beside its steps, and how many these are; a judgement, to tell which there is time for."""
_SAY_SECONDS = 2.0
"""Time of benchmarks between two lines on how far they are."""


def kind_of(cell: Cell) -> Any:
    """What of a cell the time of a step depends on."""
    return cell.shape, cell.batch_sequences, cell.precision, cell.optimizer, cell.own_optimizer, bool(cell.z_loss)


@dataclass
class Benchmarks:
    """Seconds per step by kind of cell: of a few measured, of the others interpolated between these.

    Of every family of kinds a few are measured (`plan.step_times.to_measure`), as far as time goes; of a kind that was measured
    earlier the cache has the time.
    """

    settings: Settings
    device: Device
    say: Callable[[str], None] = lambda _: None
    """Takes a line on how far they are, where they take a while."""
    known: dict[Any, Benchmark] = field(default_factory=dict)
    """By `kind_of`."""
    cells: dict[Any, Cell] = field(default_factory=dict)
    """A cell of every kind that is known."""

    def of(self, cell: Cell) -> Benchmark:
        """The benchmark of the cell's kind, measured now where `take` has none."""
        if kind_of(cell) not in self.known:
            self._learn(cell, self._kept(cell) or self._measure(cell, math.inf))
        return self.known[kind_of(cell)]

    def take(self, plan: Plan, workers: int) -> None:
        """Find a benchmark for every kind of cell, in no more than ten seconds or a tenth of the time that the plan takes.

        Args:
            plan: the cells.
            workers: by how many, which decides how long that is.
        """
        kinds = {kind_of(cell): cell for cell in plan.cells}
        for cell in kinds.values():
            if kind_of(cell) not in self.known and (found := self._kept(cell)):
                self._learn(cell, found)
        if not (lacking := [cell for kind, cell in kinds.items() if kind not in self.known]):
            return
        self._measure_some(families(kinds.values()), plan, workers)
        guess = self._guess()
        for cell in lacking:
            if kind_of(cell) not in self.known:
                self._learn(cell, Benchmark(guess(cell), None, is_cached=False, is_interpolated=True))

    def _measure_some(self, sets: Sequence[Sequence[Cell]], plan: Plan, workers: int) -> None:
        """The first that `to_measure` names of every family, then the second, and so on, as long as there is time."""
        started = said = time.monotonic()
        total = sum(len({kind_of(cell) for cell in to_measure(members)}) for members in sets)
        done = 0
        for place, members in itertools.product(range(len(to_measure(sets[0]))), sets):
            left = self._most_seconds(plan, workers) - (time.monotonic() - started)
            in_time = [cell for cell in members if not self.known or self._lasts(cell) <= left]
            if not in_time or kind_of(cell := to_measure(in_time)[place]) in self.known:
                continue
            self._learn(cell, self._measure(cell, left))
            done += 1
            if (now := time.monotonic()) > said + _SAY_SECONDS and done < total:
                self.say(f"Benchmarks: {done} of at most {total}.")
                said = now

    def _most_seconds(self, plan: Plan, workers: int) -> float:
        if not self.known:
            return LEAST_SECONDS
        priced = min(wall_seconds(work_of(plan, self._guess()), workers), 3600 * (self.settings.budget.hours or math.inf))
        return max(LEAST_SECONDS, SHARE * priced)

    def _lasts(self, cell: Cell) -> float:
        return _ALONE_SECONDS + _ALONE_STEPS * self._guess()(cell)

    def _guess(self) -> Callable[[Cell], float]:
        """Seconds of a step by what was measured of the cell's family, or of all where nothing of it was."""
        measured = [(self.cells[kind], b.seconds_per_step) for kind, b in self.known.items() if not b.is_interpolated]

        @functools.cache
        def of_family(name: Any) -> Callable[[Cell], float]:
            return interpolate([pair for pair in measured if family(pair[0]) == name] or measured)

        return lambda cell: of_family(family(cell))(cell)

    def _learn(self, cell: Cell, found: Benchmark) -> None:
        self.known[kind_of(cell)] = found
        self.cells[kind_of(cell)] = cell

    def _kept(self, cell: Cell) -> Benchmark | None:
        spec = self.settings
        if spec.cost.remeasure:
            return None
        return known_benchmark(cell, first_usable(self.device), spec.train.micro_batch, cache_dir(spec.data))

    def _measure(self, cell: Cell, most_seconds: float) -> Benchmark:
        def prepare(name: str) -> Any:
            from scalesweep.train.device import prepare_device

            return prepare_device(name)

        spec = self.settings
        try:
            where, cache = first_usable(self.device), cache_dir(spec.data)
            return benchmark(cell, where, prepare, spec.train.micro_batch, cache, most_seconds)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            n = count_params(cell.shape).total
            raise SpecError(
                f"sweep.sizes: a model of {n:,} parameters does not fit into the memory of {self.device}; leave it out."
            ) from None

    def watts(self, cell: Cell) -> float | None:
        """Power during a step of the cell's kind, or of that nearest in FLOPs a step which has a reading; None without any."""
        read = [(self.cells[kind], b.watts) for kind, b in self.known.items() if b.watts is not None]
        near = sorted(read, key=lambda pair: abs(math.log(step_flops(pair[0]) / step_flops(cell))))
        return near[0][1] if near else None

    def describe(self) -> str:
        """How many kinds were measured now, how many earlier, and how many follow from these."""
        cached = sum(b.is_cached for b in self.known.values())
        between = sum(b.is_interpolated for b in self.known.values())
        kept = f"kept in {cache_dir(self.settings.data) / 'benchmarks'}; cost.remeasure=true measures again"
        said = f"Benchmarks: {len(self.known) - cached - between} measured now, {cached} known ({kept})."
        if between:
            others = plural(between, "other kind")
            said += f" The minutes with ~, of {others} of cells, are interpolated (docs/runs.md has how well)."
        if disturbed := sum(b.is_disturbed for b in self.known.values()):
            said += (
                f" {disturbed} of them were disturbed by other programs whenever they were taken: prices are too high, and the "
                "next plan takes them again."
            )
        return said
