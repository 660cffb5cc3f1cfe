"""The windows of a training stream, and the order in which a seed visits them."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scalesweep.arrays import IntArray
from scalesweep.errors import DataError
from scalesweep.plan.cell import Cell
from scalesweep.plan.selection import Selection, Transform, count_windows

_EPOCHS, _CHOICE, _JUNK = (), (1,), (2,)
"""Spawn keys of numpy's SeedSequence, which keep draws of one seed apart: order of an epoch, windows chosen, tokens of junk."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of `context` + 1 tokens that a run visits, by where they begin in the stream.

    A window that a transform made begins behind the stream's end, in `added`. So no window shares a token with a changed
    neighbour, although in the stream the last target of one is the first input of the next: what a transform leaves alone stays
    as it was to the last token.
    """

    context: int
    number: int
    """Windows of an epoch, W."""
    begins: IntArray | None = None
    """Where each of them begins, shape (W,); None is one every `context` tokens."""
    added: NDArray[np.uint32] | None = None
    """Tokens that lie behind the stream's last, shape (m,)."""

    def starts(self, *, seed: int, start: int, number: int) -> IntArray:
        """Where in the stream the windows begin that are visited at the places [start, start + number), shape (number,).

        A batch of B sequences at step s has the places from s B on, and may straddle the end of an epoch.
        """
        visited = _visited(self.number, seed, start, number)
        return visited.astype(np.int64) * self.context if self.begins is None else self.begins[visited]


def select_windows(num_tokens: int, context: int, selection: Selection | None = None, vocab_size: int | None = None) -> Windows:
    """The windows that may be visited of a stream of `num_tokens`.

    A limit takes the first of one fixed permutation of all windows. Windows, and neither a prefix nor blocks of the stream,
    because neighbours are alike: one epoch of the first 65,536 tokens ended .31 nats above fresh data, one of as many in random
    blocks of 512 .046, and one in random windows of 32 .012, with seeds .008 apart. A larger limit with the same seed
    holds the windows of a smaller one.

    Args:
        num_tokens: length of the stream.
        context: inputs of a window, T.
        selection: what may be visited; None is every window as it is.
        vocab_size: number of ids, V; uniform junk is drawn from all of them.

    Raises:
        DataError: the stream is shorter than one window.
    """
    windows = count_windows(num_tokens, context)
    if windows == 0:
        raise DataError(
            f"the training text has {num_tokens} tokens, fewer than one window of model.context + 1 = {context + 1}: "
            "raise data.max_bytes or lower model.context."
        )
    if selection is None:
        return Windows(context, windows)
    order = np.arange(windows) if selection.limit is None else _permutation(windows, (selection.seed,), _CHOICE)
    begins = order[: selection.limit].astype(np.int64) * context
    if selection.transform is None:
        return Windows(context, len(begins), begins)
    return _changed(begins, selection.transform, num_tokens, context, vocab_size or 1)


def _changed(begins: IntArray, transform: Transform, num_tokens: int, context: int, vocab_size: int) -> Windows:
    """The windows after a transform of round(share * W) of them, the last ones of a permutation by its seed.

    The last, so that `drop` leaves the very windows that a limit of as many leaves with the same seed.
    """
    changed = transform.num_changed(len(begins))
    order = _permutation(len(begins), (transform.seed,), _CHOICE)
    kept, others = order[: len(begins) - changed], order[len(begins) - changed :]
    if transform.kind == "drop":
        return Windows(context, len(kept), begins[kept])
    after, added = begins.copy(), None
    if transform.kind == "duplicate":
        after[others] = begins[np.resize(kept, changed)]  # each once before any twice: as even as it can be
    elif transform.kind == "junk_constant":
        after[others], added = num_tokens, _junk(context + 1, 1, transform.seed)
    else:
        after[others] = num_tokens + np.arange(changed) * (context + 1)
        added = _junk(changed * (context + 1), vocab_size, transform.seed)
    return Windows(context, len(after), after, added)


# Some cells of a sweep after another have one junk; a device keeps what it has uploaded by the identity of the array.
@lru_cache(maxsize=2)
def _junk(number: int, vocab_size: int, seed: int) -> NDArray[np.uint32]:
    """Ids drawn uniformly below `vocab_size`, shape (number,); of a 64-bit draw the remainder is biased by 1e-14 at most."""
    drawn = np.random.PCG64(np.random.SeedSequence((seed,), spawn_key=_JUNK)).random_raw(number)
    return np.asarray(drawn % np.uint64(vocab_size), dtype=np.uint32)


def windows_of_cell(cell: Cell, num_tokens: int) -> Windows:
    """The windows that a cell may visit of its corpus's training stream."""
    return select_windows(num_tokens, cell.shape.context, cell.selection, cell.shape.vocab_size)


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
