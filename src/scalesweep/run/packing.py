"""How many runs a device takes at a time, and in which parts: estimated, measured, or found out when its memory ran out."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from scalesweep.plan.cell import Cell, pack_signature, size_name
from scalesweep.plan.packs import (
    COUNTED_STEPS,
    START_SECONDS,
    TRIAL_STEPS,
    PackTable,
    Taken,
    best_pack,
    even_pack,
    most_in_memory,
    most_sizing_seconds,
    sizes_to_try,
    trial_seconds,
)
from scalesweep.plan.tail import num_ranks
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings
from scalesweep.train.benchmark import describe, step_kind
from scalesweep.train.device import (
    OTHERS_BYTES,
    bytes_of_others,
    device_identity,
    free_bytes,
    is_device_lost,
    is_out_of_memory,
)
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Interrupted
from scalesweep.train.measure import Trial, free_memory, try_steps
from scalesweep.units import format_count


@dataclass
class PackLimits:
    """How many runs of a kind may be stepped together and in which parts, as far as this process or an earlier one found out.

    What ran out of memory once, on a device that this process alone had filled, is in the store (`Store.memory_limits`), by
    device and shape. Where others held some of the memory it says nothing of the device, and is known to this process alone.
    With `train.pack=auto` memory and times of packs are in the store too (`Store.packs`): where the training is long enough for
    it, one worker tries two sizes, for all workers and every length of the same shape.
    """

    store: Store
    settings: Settings
    device: torch.device
    workers: int
    stop: Callable[[], bool] = lambda: False
    """Asked while packs are tried."""
    say: Callable[[str], None] = lambda _: None
    found: dict[Any, int] = field(default_factory=dict)
    """By `pack_signature`, where a pack stopped."""
    crowded: dict[str, dict[str, int]] = field(default_factory=dict)
    """As `Store.memory_limits`: what fitted beside other processes."""
    devices: int = 1
    """How many may train a cell together, each a part of its batch."""
    start_seconds: float = START_SECONDS
    """Of the last trial, without its steps."""

    @property
    def never(self) -> bool:
        """Whether every cell goes alone, so that nobody need look for others."""
        pack = self.settings.train.pack
        return pack == 1 or (pack == "auto" and self.device.type == "cpu") or self.devices > 1

    def of(self, cell: Cell, num_waiting: int, left: Sequence[Cell], num_running: int = 0) -> int:
        """Runs of the next pack, so that all that are alike are divided evenly among the workers.

        Args:
            cell: the next one.
            num_waiting: of the cells that can be stepped with it, itself included, those that can be claimed.
            left: all cells without a record.
            num_running: of the cells that can be stepped with it, those that others train.
        """
        pack, num_alike = self.settings.train.pack, num_waiting + num_running
        limits = [self.found.get(pack_signature(cell)), self._limit(cell).get("pack"), None if pack == "auto" else pack]
        most = min(limit for limit in (*limits, num_alike) if limit is not None)
        if num_waiting == 1 or most == 1:
            return 1
        runs = self._sized(cell, num_alike, most, left) if pack == "auto" else even_pack(num_alike, self.workers, most)
        return min(runs, num_waiting)

    def _sized(self, cell: Cell, num_alike: int, most: int, left: Sequence[Cell]) -> int:
        """The best pack that fits into memory, by what is known or, where that costs little beside the training, by trials."""
        kind, micro_batch = self._timing(cell), self.micro_batch(cell)
        memory = free_bytes(self.device, self.settings.launcher.workers_per_gpu)

        def limit(table: PackTable) -> int:
            return min(most, most_in_memory(cell, micro_batch, memory, table))

        table = self.store.packs.read(kind)
        largest = even_pack(num_alike, self.workers, limit(table))
        if largest > 1 and sizes_to_try(table, largest) and self._budget(cell, left, table, largest) > 0:
            with self.store.packs.measuring(kind, self.stop) as is_mine:
                if is_mine and (stopped := self._try(cell, largest, left)):
                    return stopped
            table = self.store.packs.read(kind)
        return best_pack(table, num_alike, self.workers, limit(table))

    def _budget(self, cell: Cell, left: Sequence[Cell], table: PackTable, largest: int) -> float:
        """Seconds that may still be spent on trials, after those that are lacking; negative where these are too much."""
        alike = {pack_signature(c): c for c in left if c.shape == cell.shape and step_kind(c) == step_kind(cell)}
        costs = (trial_seconds(cell, runs, table, self.start_seconds) for runs in sizes_to_try(table, largest))
        return most_sizing_seconds(alike.values(), table, largest) - sum(costs)

    def _try(self, cell: Cell, largest: int, left: Sequence[Cell]) -> int | None:
        """Measure what another worker has not measured meanwhile; a pack's size where the trial of a larger one stopped."""
        # Compiling takes longer than a trial, and gains at every size.
        kind, execution = self._timing(cell), Execution(self.device, self.micro_batch(cell), 1, compiles=False)
        spent = 0.0
        while sizes := sizes_to_try(table := self.store.packs.read(kind), largest):
            runs, spare = sizes[0], self._budget(cell, left, table, largest) - spent
            if spare <= 0:
                return None
            most_seconds = trial_seconds(cell, runs, table, self.start_seconds) + spare
            try:
                trial = _trial(cell, execution, runs, most_seconds, self.stop)
            except Interrupted:
                return None
            free_memory(self.device)  # here, where no traceback keeps the tensors of what failed
            if isinstance(trial, RuntimeError):
                return self._lower_untrained(cell, runs, trial)
            spent += trial.seconds
            self.start_seconds = max(0.0, trial.seconds - TRIAL_STEPS * trial.seconds_per_step)
            self.store.packs.note(kind, runs, Taken(trial.num_bytes, None if trial.is_cut else trial.seconds_per_step))
            if trial.is_cut:
                return None
            together = f"{runs} runs of {size_name(cell)} together" if runs > 1 else f"one run of {size_name(cell)}"
            speed = format_count(runs * cell.batch_tokens / trial.seconds_per_step)
            self.say(f"tried {together}: {speed} tokens/s, in {trial.seconds:.1f} s (train.pack)")
        return None

    def _lower_untrained(self, cell: Cell, runs: int, error: RuntimeError) -> int:
        """The pack after a trial that failed: half of what did not fit, else 1, as alone a cell finds out what it cannot do."""
        if runs == 1 or not is_out_of_memory(error):
            self.found[pack_signature(cell)] = 1
            return 1
        self._remember(cell, "pack", runs // 2, is_alone=bytes_of_others(self.device) <= OTHERS_BYTES)
        return runs // 2

    def note_memory(self, cell: Cell, runs: int, num_bytes: int) -> None:
        """Keep what a training took, for the size of the packs to come."""
        if self.never or self.settings.train.pack != "auto":
            return
        if runs not in self.store.packs.read(kind := self._timing(cell)):
            self.store.packs.note(kind, runs, Taken(num_bytes))

    def _timing(self, cell: Cell) -> dict[str, Any]:
        return describe(cell, str(self.device), self.micro_batch(cell))

    def micro_batch(self, cell: Cell) -> int:
        """Sequences per forward pass on each device."""
        asked = self.settings.train.micro_batch or cell.batch_sequences
        batch = cell.batch_sequences // num_ranks(cell, self.devices)
        return min(asked, batch, self._limit(cell).get("micro_batch", asked))

    def lower(self, cell: Cell, runs: int, error: Exception) -> str | None:
        """Allow less of the cell's kind than what has just failed, and say what; None where there is nothing left to lower.

        Out of memory: half the micro-batch, which leaves every run as it is; at one sequence, half the pack. Any other
        exception of a pack: every run alone, which tells whose it was.
        """
        micro_batch, size, what = self.micro_batch(cell), size_name(cell), f"{runs} runs of {size_name(cell)} together"
        if not is_out_of_memory(error):
            if runs == 1:
                return None
            self.found[pack_signature(cell)] = 1
            return f"{what} stopped ({error!r}); at most 1 from now on (train.pack)"
        others = bytes_of_others(self.device)
        beside = f" beside the {others / 2**30:.1f} GiB of other processes" if others > OTHERS_BYTES else ""
        why = f"not fit into the memory of {self.device}{beside}"
        if micro_batch > 1:
            self._remember(cell, "micro_batch", micro_batch // 2, is_alone=not beside)
            return f"{micro_batch} sequences of {size} do {why}; {micro_batch // 2} at a time from now on (train.micro_batch)"
        if runs == 1:
            return None
        self._remember(cell, "pack", runs // 2, is_alone=not beside)
        return f"{what} do {why}; at most {runs // 2} from now on (train.pack)"

    def crowd(self, cell: Cell, runs: int, error: Exception) -> str:
        """Why the device cannot take even the least of a cell, where other processes hold its memory; else nothing."""
        others = bytes_of_others(self.device)
        if not is_out_of_memory(error) or runs > 1 or self.micro_batch(cell) > 1 or others <= OTHERS_BYTES:
            return ""
        return f"other processes hold {others / 2**30:.1f} GiB of its memory"

    def _remember(self, cell: Cell, name: str, most: int, is_alone: bool) -> None:
        if is_alone:
            self.store.remember_limit(self._kind(cell), name, most)
        else:
            self.crowded.setdefault(self._kind(cell), {})[name] = most

    def _limit(self, cell: Cell) -> dict[str, int]:
        kind = self._kind(cell)
        return {**self.store.memory_limits().get(kind, {}), **self.crowded.get(kind, {})}

    def _kind(self, cell: Cell) -> str:
        """What decides whether something fits, for people and, by the digits at its end, exactly."""
        content = json.dumps([dataclasses.asdict(cell.shape), cell.batch_sequences, cell.precision], sort_keys=True)
        identity = hashlib.sha256(content.encode()).hexdigest()[:8]
        batch = f"{cell.batch_sequences} x {cell.shape.context}"
        return f"{device_identity(self.device)}: {size_name(cell)}, batch {batch}, {cell.precision}, {identity}"


def _trial(cell: Cell, execution: Execution, runs: int, most_seconds: float, stop: Callable[[], bool]) -> Trial | RuntimeError:
    """The trial, or what it failed of, without its frames; the loss of the device is raised."""
    try:
        return try_steps(cell, execution, runs, most_seconds, stop, COUNTED_STEPS)
    except RuntimeError as error:
        if is_device_lost(error):
            raise
        return error.with_traceback(None)
