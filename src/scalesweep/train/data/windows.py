"""The windows of a training stream, and the order in which a seed visits them."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scalesweep.arrays import IntArray
from scalesweep.errors import DataError
from scalesweep.plan.cell import Cell
from scalesweep.plan.selection import Selection, count_windows

_EPOCHS, _CHOICE = (), (1,)
"""Spawn keys of numpy's SeedSequence, which keep draws of one seed apart: of the order of an epoch, of the windows chosen."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of `context` + 1 tokens that a run visits, by where they begin in the stream."""

    context: int
    number: int
    """Windows of an epoch, W."""
    chosen: NDArray[np.uint32] | None = None
    """Which windows of the stream they are, shape (W,); None is the first W."""

    def starts(self, *, seed: int, start: int, number: int) -> IntArray:
        """Where in the stream the windows begin that are visited at the places [start, start + number), shape (number,).

        A batch of B sequences at step s has the places from s B on, and may straddle the end of an epoch.
        """
        visited = _visited(self.number, seed, start, number)
        windows = visited if self.chosen is None else self.chosen[visited]
        return windows.astype(np.int64) * self.context


def select_windows(num_tokens: int, context: int, selection: Selection | None = None) -> Windows:
    """The windows that may be visited of a stream of `num_tokens`.

    A limit takes the first of one fixed permutation of all windows. Windows, and neither a prefix nor blocks of the stream,
    because neighbours are alike: one epoch of the first 65,536 tokens ended .31 nats above fresh data, one of as many in random
    blocks of 512 .046, and one in random windows of 32 .012, with seeds .008 apart. A larger limit with the same seed
    holds the windows of a smaller one.

    Raises:
        DataError: the stream is shorter than one window.
    """
    windows = count_windows(num_tokens, context)
    if windows == 0:
        raise DataError(
            f"the training text has {num_tokens} tokens, fewer than one window of model.context + 1 = {context + 1}: "
            "raise data.max_bytes or lower model.context."
        )
    if selection is None or selection.limit is None:
        return Windows(context, windows)
    chosen = _permutation(windows, (selection.seed,), _CHOICE)[: selection.limit]
    return Windows(context, len(chosen), chosen)


def windows_of_cell(cell: Cell, num_tokens: int) -> Windows:
    """The windows that a cell may visit of its corpus's training stream."""
    return select_windows(num_tokens, cell.shape.context, cell.selection)


def _visited(windows: int, seed: int, start: int, num: int) -> NDArray[np.uint32]:
    """The windows at the places [start, start + num) of the endless sequence of epochs, shape (num,)."""
    parts = []
    while num > 0:
        epoch, offset = divmod(start, windows)
        part = _permutation(windows, (seed, epoch), _EPOCHS)[offset : offset + num]
        parts.append(part)
        start, num = start + len(part), num - len(part)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


# A pack steps many seeds at once, each with an epoch of its own: 64 permutations keep them all at hand.
@lru_cache(maxsize=64)
def _permutation(windows: int, seed: tuple[int, ...], use: tuple[int, ...]) -> NDArray[np.uint32]:
    # numpy guarantees the raw stream of a bit generator across versions, not the algorithm of Generator.permutation.
    keys = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=use)).random_raw(windows)
    order = np.argsort(keys, kind="stable").astype(np.uint32)
    order.flags.writeable = False
    return order
