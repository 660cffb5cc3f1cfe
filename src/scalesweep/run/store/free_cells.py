"""What a worker may take next: which cells can be claimed now, and which of them can be stepped together.

Workers and launchers ask the same questions here. Nothing is claimed, and no answer is kept: all of it is derived from the
store's files.
"""

from collections.abc import Iterator, Sequence

from scalesweep.plan.cell import Cell
from scalesweep.plan.plan import Plan
from scalesweep.run.store.store import CLAIMABLE, FINISHED, Store


def waits_for_trunk(store: Store, plan: Plan, cell: Cell) -> bool:
    """Whether a live worker is about to leave the state at which this cell's decay begins.

    It started earlier, so waiting for it is no slower than following behind. The curve of the other cell tells where it is
    at least: once it is past the branch step and there is no state, none will come.
    """
    others = [c for c in plan.siblings[cell.trunk] if c.key != cell.key and c.branch_step >= cell.branch_step]
    if not others or store.checkpoint(cell.key).exists():
        return False
    promised = any(store.state(c.key) == "RUNNING" and store.last_step(c.key) <= cell.branch_step for c in others)
    return promised and not store.snapshot(cell.trunk, cell.branch_step).exists()


def unfinished(store: Store, plan: Plan) -> list[Cell]:
    """The cells without a record, in the order in which they are claimed."""
    return [c for c in plan.longest_first if not store.is_finished(c.key)]


def claimable(store: Store, plan: Plan, cells: Sequence[Cell]) -> Iterator[Cell]:
    """Those of `cells` that can be claimed now, in their order."""
    return (c for c in cells if store.state(c.key) in CLAIMABLE and not waits_for_trunk(store, plan, c))


def snapshot_steps(store: Store, plan: Plan, cell: Cell, start: int) -> frozenset[int]:
    """Steps after `start` at which a run of `cell` leaves its state for the cells of its trunk that have no record."""
    others = [c for c in plan.siblings[cell.trunk] if c.key != cell.key and start < c.branch_step <= cell.branch_step]
    return frozenset(c.branch_step for c in others if store.state(c.key) not in FINISHED)
