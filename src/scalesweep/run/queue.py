"""The cells that wait, and which of them a worker claims next."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scalesweep.plan.cell import Cell, pack_signature
from scalesweep.plan.plan import Plan
from scalesweep.plan.tail import num_ranks
from scalesweep.run.checkpoints import load_start
from scalesweep.run.job import Job
from scalesweep.run.packing import PackLimits
from scalesweep.run.store import free_cells
from scalesweep.run.store.pool import Pool, take_from_pool
from scalesweep.run.store.store import Store
from scalesweep.train.pack import Run


@dataclass(frozen=True)
class Queue:
    """The cells of a sweep as one worker takes them."""

    store: Store
    plan: Plan
    say: Callable[[str], None]
    pool: Pool | None = None
    last: frozenset[str] = frozenset()
    """Keys of the cells that are taken when no other can be."""
    only: frozenset[str] = frozenset()
    """Keys of the only cells that are taken; empty leaves none out."""

    def left(self) -> list[Cell]:
        """The cells that must be trained, once those that the pool holds are taken from it."""
        left = [c for c in free_cells.unfinished(self.store, self.plan) if not self.only or c.key in self.only]
        taken = {cell.key for cell in self._from_pool(left)}
        return [cell for cell in left if cell.key not in taken]

    def _from_pool(self, cells: Sequence[Cell]) -> list[Cell]:
        taken = take_from_pool(self.store, self.pool, self.plan, cells) if self.pool else []
        for cell in taken:
            self.say(f"{cell.key} taken from the pool")
        return taken

    def take(self, left: Sequence[Cell], limits: PackLimits) -> Job | None:
        """Claim the longest cell that can be claimed, and those that can be stepped with it from where it stands."""
        parts = [[c for c in left if (c.key in self.last) == is_last] for is_last in (False, True)]
        for cell in itertools.chain.from_iterable(free_cells.claimable(self.store, self.plan, part) for part in parts):
            if self._from_pool([cell]):  # another sweep may have added it since the last look at all cells
                continue
            alike, limit = self._alike(cell, left, limits)
            if claim := self.store.claims.take(cell.key):
                break
        else:
            return None
        job = Job([claim], [self._run(cell)], limits.micro_batch(cell), num_ranks(cell, limits.devices))
        for other in alike:
            if len(job.runs) >= limit:
                break
            run = self._run(other)
            if run.step == job.runs[0].step and (claim := self.store.claims.take(other.key)):
                job.claims.append(claim)
                job.runs.append(run)
        for claim in job.claims:
            self.store.claims.describe(claim, len(job.claims), job.runs[0].step)
        if limits.device.type != "cuda":
            return job
        return dataclasses.replace(job, further_steps=further_steps([run.cell for run in job.runs], left))

    def _alike(self, cell: Cell, left: Sequence[Cell], limits: PackLimits) -> tuple[list[Cell], int]:
        """Other cells that can be stepped with this one now, and the size of its pack.

        A pack whose worker died may have died of its size: half of it next time, in the end every cell alone.
        """
        if limits.never:
            return [], 1
        signature, lost = pack_signature(cell), self.store.claims.lost(cell.key)
        same = [c for c in left if c.key != cell.key and pack_signature(c) == signature]
        alike = [c for c in free_cells.claimable(self.store, self.plan, same) if self.store.claims.lost(c.key) == lost]
        running = sum(self.store.state(c.key) == "RUNNING" for c in same)
        return alike, limits.of(cell, 1 + len(alike), left, running) >> lost

    def _run(self, cell: Cell) -> Run:
        """The cell with the furthest state it may go on from, which stays valid whatever happens before it is claimed."""
        start = load_start(cell, self.store.checkpoint(cell.key), self.store.snapshots(cell.trunk))
        return Run(cell, start, free_cells.snapshot_steps(self.store, self.plan, cell, start.step if start else 0))


def further_steps(taken: Sequence[Cell], left: Sequence[Cell]) -> tuple[int, ...]:
    """Steps of each training that waits and for which the compiled code of the taken cells would serve (`Execution`).

    The longest cell of a trunk trains it, others their decay; all in packs of as many runs, and steps of other batches counted
    by their tokens.
    """
    first, keys, trunks = taken[0], {cell.key for cell in taken}, {cell.trunk for cell in taken}
    found = []
    for cell in sorted(left, key=lambda c: -c.steps):
        kind = cell.shape, cell.residual_scale, cell.precision
        if cell.key not in keys and kind == (first.shape, first.residual_scale, first.precision):
            own = cell.decay_steps if cell.trunk in trunks else cell.steps
            found.append(round(own * cell.batch_sequences / first.batch_sequences))
            trunks.add(cell.trunk)
    return tuple(sorted(found, reverse=True)[:: len(taken)])
