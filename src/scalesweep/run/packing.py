"""How many runs a device takes at a time, and in which parts: measured, or found out when its memory ran out."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

import torch

from scalesweep.plan.cell import Cell, pack_signature, size_name
from scalesweep.plan.tail import num_ranks
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings
from scalesweep.train.device import OTHERS_BYTES, bytes_of_others, device_identity, is_out_of_memory
from scalesweep.train.measure import best_pack


@dataclass
class PackLimits:
    """How many runs of a kind may be stepped together and in which parts, as far as this process or an earlier one found out.

    What ran out of memory once, on a device that this process alone had filled, is in the store (`Store.memory_limits`), by
    device and shape. Where others held some of the memory it says nothing of the device, and is known to this process alone.
    """

    store: Store
    settings: Settings
    device: torch.device
    workers: int
    found: dict[Any, int] = field(default_factory=dict)
    """By `pack_signature`, as measured."""
    crowded: dict[str, dict[str, int]] = field(default_factory=dict)
    """As `Store.memory_limits`: what fitted beside other processes."""
    devices: int = 1
    """How many may train a cell together, each a part of its batch."""

    @property
    def never(self) -> bool:
        """Whether every cell goes alone, so that nobody need look for others."""
        pack = self.settings.train.pack
        return pack == 1 or (pack == "auto" and self.device.type == "cpu") or self.devices > 1

    def of(self, cell: Cell, num_waiting: int) -> int:
        """Largest pack for a cell, of which, itself included, `num_waiting` of its kind can be claimed."""
        signature, spec = pack_signature(cell), self.settings.train
        if num_waiting == 1:
            return 1
        if signature not in self.found:
            most = spec.pack if spec.pack != "auto" else best_pack(cell, self.device, spec.micro_batch, most=num_waiting)
            self.found[signature] = most
        share = num_waiting if spec.pack != "auto" else math.ceil(num_waiting / self.workers)
        return min(self.found[signature], share, self._limit(cell).get("pack", share))

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
