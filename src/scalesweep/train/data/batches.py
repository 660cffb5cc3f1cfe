"""Batches as a pure function of (seed, step): what makes a resumed run equal to one that was never stopped.

A stream of n tokens is cut into W = (n - 1) // T windows of T + 1 tokens at stride T, T being the context: the last target
of a window is the first input of the next, so that every token but the first is predicted exactly once an epoch. The windows
of an epoch are visited in an order that depends on the seed and the epoch alone (`windows`). Nothing here keeps a position; the
trainer asks for the batch of a step.
"""

import numpy as np
from numpy.typing import NDArray

from scalesweep.arrays import IntArray
from scalesweep.errors import DataError
from scalesweep.plan.selection import count_windows
from scalesweep.train.data.windows import Windows, select_windows

Tokens = NDArray[np.unsignedinteger]
"""A stream of token ids, usually a read-only `np.memmap` of a prepared corpus."""


def batch(
    tokens: Tokens, *, seed: int, step: int, sequences: int, context: int, windows: Windows | None = None
) -> NDArray[np.int64]:
    """The batch of step `step`, counted from 0.

    Args:
        tokens: the stream, shape (n,).
        seed: data order; together with the number of the epoch it fixes the permutation of the windows.
        step: position; a batch may straddle the end of an epoch.
        sequences: windows in a batch.
        context: inputs of a window, T.
        windows: those that may be visited, of the same context; None is all of the stream.

    Returns:
        Token ids, shape (sequences, context + 1): inputs are [:, :-1] and targets [:, 1:].

    Raises:
        DataError: the stream is shorter than one window.
    """
    windows = windows or select_windows(len(tokens), context)
    starts = windows.starts(seed=seed, start=step * sequences, number=sequences)
    if windows.added is None:
        return _gather(tokens, starts, context)
    inside = starts < len(tokens)
    rows = _gather(tokens, np.where(inside, starts, 0), context)
    rows[~inside] = _gather(windows.added, starts[~inside] - len(tokens), context)
    return rows


def validation_windows(tokens: Tokens, num_tokens: int, context: int) -> NDArray[np.int64]:
    """The windows on which every cell is evaluated: `num_tokens` targets, evenly spread over the validation stream.

    Args:
        tokens: the validation stream, shape (n,).
        num_tokens: targets wanted, rounded up to whole windows: k = ceil(num_tokens / context).
        context: inputs of a window, T.

    Returns:
        Token ids, shape (k, context + 1).

    Raises:
        DataError: the stream has fewer than k windows.
    """
    available = count_windows(len(tokens), context)
    wanted = -(-num_tokens // context)
    if shortage := validation_shortage(len(tokens), num_tokens, context):
        raise DataError(shortage)
    return _gather(tokens, np.arange(wanted) * available // wanted * context, context)


def training_shortage(stream_tokens: int, context: int, is_capped: bool = False) -> str:
    """Why a training stream of `stream_tokens` gives no window of `context` inputs, and what to do; empty where it has one.

    Args:
        stream_tokens: length of the training stream.
        context: inputs of a window, T.
        is_capped: whether data.max_bytes is set, so that raising it gives more text.
        own: setting that gives a set apart from the training text, where there is one.
    """
    if count_windows(stream_tokens, context) > 0:
        return ""
    return (
        f"the training text has {stream_tokens:,} tokens, fewer than one window of model.context + 1 = {context + 1}: "
        f"give more text{', raise data.max_bytes' if is_capped else ''} or lower model.context."
    )


def validation_shortage(stream_tokens: int, num_tokens: int, context: int, is_capped: bool = False, own: str = "") -> str:
    """Why a validation stream has too few windows for `num_tokens` targets, and what to do; empty where it has enough.

    Args:
        stream_tokens: length of the validation stream.
        num_tokens: targets wanted.
        context: inputs of a window, T.
        is_capped: whether data.max_bytes is set, so that raising it gives more text.
        own: setting that gives a set apart from the training text, where there is one.
    """
    available = count_windows(stream_tokens, context)
    if -(-num_tokens // context) <= available:
        return ""
    lower = f"set train.validation_tokens={available * context}, or " if available >= 2 else ""
    more = f"raise {'data.max_bytes or ' if is_capped else ''}data.validation_fraction, or give more text"
    return (
        f"train.validation_tokens = {num_tokens} is more than the validation set holds, {available * context} in windows of "
        f"{context}: {lower}{f'give more text in {own}' if own else more}."
    )


def _gather(tokens: Tokens, starts: IntArray, context: int) -> NDArray[np.int64]:
    # A plain view first: indexing a memmap builds a memmap, which costs more than the gather itself.
    index = starts[:, None] + np.arange(context + 1)
    gathered: NDArray[np.int64] = tokens.view(np.ndarray)[index].astype(np.int64)
    return gathered
