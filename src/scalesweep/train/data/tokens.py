"""Text that was tokenized elsewhere: files of token ids, whose type and vocabulary the settings state.

A wrong type is not seen in the bytes of a file, only in what they would mean, so the ids are held against the vocabulary, and
uint32 that is read as uint16 is known by its empty halves.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalesweep.errors import DataError
from scalesweep.settings.data import DataSpec

EXTENSIONS = (".bin", ".npy")
_CHUNK = 1 << 22
"""Ids at a time, which bounds the memory."""
_LOOKED_AT = 1 << 12
"""Ids by which a file of uint32 that is read as uint16 is noticed: every second one is 0."""


def open_tokens(file: Path, spec: DataSpec) -> NDArray[Any]:
    """The ids of a file, shape (n,), mapped read-only: a .npy of integers, or a .bin of little-endian `spec.dtype`, no header.

    Raises:
        DataError: the file cannot be read, is no such array, or is of another type.
    """
    try:
        if file.suffix == ".npy":
            ids = np.load(file, mmap_mode="r", allow_pickle=False)
        else:
            ids = np.memmap(file, dtype=np.dtype(spec.dtype).newbyteorder("<"), mode="r")
    except OSError as error:
        raise DataError(f"data.paths: {file} could not be read ({error.strerror or error}): make it readable.") from None
    except (ValueError, EOFError) as error:
        raise DataError(f"data.paths: {file} holds no array of token ids ({error}).") from None
    if ids.ndim != 1 or ids.dtype.kind not in "ui":
        raise DataError(f"data.paths: {file} holds {ids.dtype} of shape {ids.shape}; token ids are whole numbers in one row.")
    head = ids[:_LOOKED_AT]
    if ids.dtype.itemsize == 2 and len(head) >= 16 and head[::2].any() and not head[1::2].any():
        raise DataError(f"data.paths: every second id of {file} is 0, as of uint32 read as uint16: set data.dtype=uint32.")
    return ids


def fingerprint(arrays: list[NDArray[Any]]) -> str:
    """sha256 of the ids as uint32, whatever type and files they are in."""
    sha256 = hashlib.sha256()
    for part in chunks(arrays, 0, sum(map(len, arrays))):
        sha256.update(part.astype("<u4").tobytes())
    return sha256.hexdigest()


def chunks(arrays: list[NDArray[Any]], start: int, stop: int) -> Iterator[NDArray[Any]]:
    """The ids at [start, stop) of the arrays laid end to end, in arrays of some length."""
    for array in arrays:
        for at in range(max(0, start), min(len(array), stop), _CHUNK):
            yield np.asarray(array[at : min(at + _CHUNK, stop)])
        start, stop = start - len(array), stop - len(array)
