"""The cache's corpora on disk: built aside, renamed at the end, opened where they can be used.

Several processes may prepare the same corpus at once. Each builds in a directory of its own beside the final one and renames
it at the end, which succeeds for one of them; the others discard theirs and open the winner's. A killed process leaves a
`.building-` directory, which nobody reads and a later call removes.
"""

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scalesweep.errors import DataError
from scalesweep.settings.data import DataSpec
from scalesweep.train.data.corpus import Corpus, disk_type, open_corpus
from scalesweep.train.data.round_trip import check_loss

FORMAT = 1
"""Version of the layout, the split rule and the piece size; part of the key, so an old directory is never misread."""
_ABANDONED_SECONDS = 24 * 3600
"""Age at which a `.building-` directory is taken for that of a killed process; a judgement: no corpus takes so long."""


def open_if_usable(directory: Path, spec: DataSpec) -> Corpus | None:
    """The corpus in `directory`, where it is intact and its tokenizer was tried on its text.

    Raises:
        DataError: the tokenizer loses more of the text than `spec` allows.
    """
    try:
        corpus = open_corpus(directory)
    except DataError:
        return None
    if spec.tokenizer.kind == "hub" and corpus.round_trip is None:  # made by a version that trusted ready tokenizers
        return None
    check_loss(spec.tokenizer, corpus.round_trip, corpus.unknown_tokens, corpus.train_tokens + corpus.validation_tokens)
    return corpus


def id_type(vocab_size: int) -> str:
    """Name of the smallest type on disk that holds all ids below `vocab_size`."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


class Written(NamedTuple):
    """A token file."""

    tokens: int
    counted: tuple[int, ...]
    """How many tokens are each of the ids that were to be counted."""
    sha256: str


def write_arrays(arrays: Iterable[np.ndarray], path: Path, vocab_size: int, counted: tuple[int | None, ...] = ()) -> Written:
    """Write token ids end to end, and count those of `counted`; there are none of None.

    Raises:
        DataError: an id is not below `vocab_size`.
    """
    dtype = disk_type(id_type(vocab_size))
    num_tokens, counts, sha256 = 0, [0] * len(counted), hashlib.sha256()
    with path.open("wb") as file:
        for ids in arrays:
            if len(ids) and not (0 <= ids.min() and ids.max() < vocab_size):
                worst = ids.min() if ids.min() < 0 else ids.max()
                raise DataError(
                    f"token id {worst:,} is no id of a vocabulary of {vocab_size:,}: state data.tokenizer.vocab_size and "
                    "data.dtype as they are."
                )
            data = ids.astype(dtype).tobytes()
            sha256.update(data)
            file.write(data)
            num_tokens += len(ids)
            for index, number in enumerate(counted):
                counts[index] += 0 if number is None else int(np.count_nonzero(ids == number))
    return Written(num_tokens, tuple(counts), sha256.hexdigest())


@contextmanager
def scratch_directory(cache: Path) -> Iterator[Path]:
    """A directory to build in; leftovers of processes that were killed are removed first."""
    for leftover in (cache / "corpora").glob(".building-*"):
        with suppress(FileNotFoundError):  # another process may be removing it
            if time.time() - leftover.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
    scratch = cache / "corpora" / f".building-{uuid.uuid4().hex}"
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def publish(scratch: Path, final: Path, spec: DataSpec) -> None:
    """Give `scratch` its final name, unless another process was first; one of that name that cannot be used is put aside."""
    aside = scratch.with_name(scratch.name + "-aside")
    if final.exists() and open_if_usable(final, spec) is None:
        os.rename(final, aside)
    try:
        os.rename(scratch, final)
    except OSError:
        open_corpus(final)  # the winner's; anything else is an error of this one's
    shutil.rmtree(aside, ignore_errors=True)


def link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the disk has no such links; prepared files never change."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
