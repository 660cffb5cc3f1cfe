"""The windows of a training stream, and the order in which a seed visits them.

Of a mixture, which part the window at a place comes from is a pure function of the seed and the place: of any `PLACES` places
that begin at a multiple of it, each part has exactly its own number, spread over them. A part's windows are visited in epochs
of its own.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scalesweep.arrays import IntArray
from scalesweep.errors import DataError
from scalesweep.plan.cell import Cell
from scalesweep.plan.selection import Selection, Transform, count_windows
from scalesweep.settings.data import PLACES

_EPOCHS, _CHOICE, _JUNK, _MIXTURE = (), (1,), (2,), (3,)
"""Spawn keys of numpy's SeedSequence, which keep draws of one seed apart: order of an epoch, windows chosen, tokens of junk,
places of a mixture's parts. The first part has the keys of one stream, so that a mixture of one part is that."""


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
    parts: tuple[tuple[int, int], ...] = ()
    """Of a mixture: windows and places of each part, in the order of `begins`."""

    def starts(self, *, seed: int, start: int, number: int) -> IntArray:
        """Where in the stream the windows begin that are visited at the places [start, start + number), shape (number,).

        A batch of B sequences at step s has the places from s B on, and may straddle the end of an epoch.
        """
        if self.parts:
            return self._mixed(seed, start, number)
        visited = _visited(self.number, seed, start, number)
        return visited.astype(np.int64) * self.context if self.begins is None else self.begins[visited]

    def _mixed(self, seed: int, start: int, number: int) -> IntArray:
        assert self.begins is not None
        places = tuple(places for _, places in self.parts)
        origins, before = _origins(places, seed, start, number)
        begins, first = np.empty(number, dtype=np.int64), 0
        for part, (windows, _) in enumerate(self.parts):
            mine = origins == part
            visited = _visited(windows, seed, int(before[part]), int(mine.sum()), part)
            begins[mine] = self.begins[first + visited.astype(np.int64)]
            first += windows
        return begins


def select_windows(num_tokens: int, context: int, selection: Selection | None = None, vocab_size: int = 1) -> Windows:
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
    selection = selection or Selection()
    lengths = [part.tokens for part in selection.parts] or [num_tokens]
    if any(count_windows(length, context) == 0 for length in lengths):
        raise DataError(
            f"the training text has {min(lengths)} tokens, fewer than one window of model.context + 1 = {context + 1}: "
            "raise data.max_bytes or lower model.context."
        )
    if selection == Selection():
        return Windows(context, count_windows(num_tokens, context))
    begins, first, behind = [], 0, num_tokens
    for part, (length, left) in enumerate(zip(lengths, selection.windows(num_tokens, context), strict=True)):
        windows = np.arange(count_windows(length, context), dtype=np.int64)
        if selection.limit is not None:
            windows = windows[_permutation(len(windows), (selection.seed,), _of(part, _CHOICE))[:left]]
        kept = first + windows * context
        if selection.transform is not None:
            kept, behind = _changed(kept, selection.transform, part, behind, context)
        begins.append(kept)
        first += length
    added = None
    if selection.transform is not None and behind > num_tokens:
        ids = vocab_size if selection.transform.kind == "junk_uniform" else 1
        added = _junk(behind - num_tokens, ids, selection.transform.seed)
    parts = tuple((len(kept), part.places) for kept, part in zip(begins, selection.parts, strict=False))
    return Windows(context, sum(map(len, begins)), np.concatenate(begins), added, parts)


def _changed(begins: IntArray, transform: Transform, part: int, behind: int, context: int) -> tuple[IntArray, int]:
    """A part's windows after a transform of round(share * W) of them, and the end of the junk, which lies from `behind` on.

    They are the last ones of a permutation by its seed, so that `drop` leaves the very windows that a limit of as many leaves
    with the same seed.
    """
    changed = transform.num_changed(len(begins))
    order = _permutation(len(begins), (transform.seed,), _of(part, _CHOICE))
    kept, others = order[: len(begins) - changed], order[len(begins) - changed :]
    if transform.kind == "drop":
        return begins[kept], behind
    after = begins.copy()
    if transform.kind == "duplicate":
        after[others] = begins[np.resize(kept, changed)]  # each once before any twice: as even as it can be
        return after, behind
    junk = changed if transform.kind == "junk_uniform" else 1
    after[others] = behind + np.arange(changed) % junk * (context + 1)
    return after, behind + junk * (context + 1)


def part_windows(places: tuple[int, ...], seed: int, number: int) -> IntArray:
    """How many of the first `number` windows come from each part of a mixture, shape (parts,)."""
    return _origins(places, seed, number, 0)[1]


def _origins(places: tuple[int, ...], seed: int, start: int, number: int) -> tuple[IntArray, IntArray]:
    """The parts that the windows at the places [start, start + number) come from, and how many of each come before."""
    first, last = start // PLACES, (start + max(number, 1) - 1) // PLACES
    blocks = np.concatenate([_block(places, seed, block) for block in range(first, last + 1)])
    skipped = start - first * PLACES
    before = first * np.array(places) + np.bincount(blocks[:skipped], minlength=len(places))
    return blocks[skipped : skipped + number], before


@lru_cache(maxsize=64)
def _block(places: tuple[int, ...], seed: int, block: int) -> IntArray:
    """The parts of `PLACES` places, shape (PLACES,).

    The j-th window of a part with n places is drawn from the j-th of n equal stretches: so a part has its weight in a short run
    and in every batch as well, to a window or two.
    """
    drawn = np.random.PCG64(np.random.SeedSequence((seed, block), spawn_key=_MIXTURE)).random_raw(PLACES)
    within = (drawn >> np.uint64(11)) * 2.0**-53
    rank = np.concatenate([np.arange(n) for n in places])
    stretch = (rank + within) / np.repeat(places, places)
    return np.repeat(np.arange(len(places)), places)[np.argsort(stretch, kind="stable")]


def _of(part: int, use: tuple[int, ...]) -> tuple[int, ...]:
    return (*use, *_MIXTURE, part) if part else use


# Some cells of a sweep after another have one junk; a device keeps what it has uploaded by the identity of the array.
@lru_cache(maxsize=2)
def _junk(number: int, vocab_size: int, seed: int) -> NDArray[np.uint32]:
    """Ids drawn uniformly below `vocab_size`, shape (number,); of a 64-bit draw the remainder is biased by 1e-14 at most."""
    drawn = np.random.PCG64(np.random.SeedSequence((seed,), spawn_key=_JUNK)).random_raw(number)
    return np.asarray(drawn % np.uint64(vocab_size), dtype=np.uint32)


def windows_of_cell(cell: Cell, num_tokens: int) -> Windows:
    """The windows that a cell may visit of its corpus's training stream."""
    return select_windows(num_tokens, cell.shape.context, cell.selection, cell.shape.vocab_size)


def _visited(windows: int, seed: int, start: int, num: int, of: int = 0) -> NDArray[np.uint32]:
    """The windows at the places [start, start + num) of the endless sequence of epochs, shape (num,)."""
    parts = [np.empty(0, dtype=np.uint32)] if num == 0 else []
    while num > 0:
        epoch, offset = divmod(start, windows)
        part = _permutation(windows, (seed, epoch), _of(of, _EPOCHS))[offset : offset + num]
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
