"""The text of a corpus on its way to tokens: written once to one file, without duplicates, capped, and split.

Reading a source may be slow (parsing, a network) and its size unknown, so its documents are written end to end to a spool
file in one pass, which also gives the fingerprint; the split, the training of a tokenizer and the encoding read the file.
"""

import hashlib
import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalesweep.errors import DataError

Region = tuple[int, int]
"""(offset, length) in bytes of the spool file; every region is followed by an end-of-document token."""


@dataclass(frozen=True)
class Spool:
    """Documents end to end in one file."""

    path: Path
    regions: tuple[Region, ...]
    """Where each document is, in the order of the source."""
    digests: tuple[bytes, ...]
    """sha256 of each document."""
    duplicates: int
    """Exact copies of an earlier document that were left out."""
    characters: int
    is_cut: bool
    """Whether the last document was cut at the cap."""

    @property
    def num_bytes(self) -> int:
        """Length of the text."""
        return sum(length for _, length in self.regions)

    @property
    def fingerprint(self) -> str:
        """sha256 over the documents' sha256: equal texts, equal fingerprint."""
        return hashlib.sha256(b"".join(self.digests)).hexdigest()

    def read(self, regions: Iterable[Region]) -> Iterator[bytes]:
        """The text of `regions`."""
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            for offset, length in regions:
                yield text[offset : offset + length]


@dataclass(frozen=True)
class Split:
    """Which regions are trained on and which are held out."""

    train: tuple[Region, ...]
    validation: tuple[Region, ...]
    rule: str
    """How the text was split, in words."""


def write_spool(documents: Iterable[bytes], path: Path, max_bytes: int | None) -> Spool:
    """Write distinct documents until `max_bytes` of text are there; the last one is cut at the cap, between characters.

    Raises:
        DataError: there is no text.
    """
    regions: list[Region] = []
    digests: list[bytes] = []
    seen: set[bytes] = set()
    duplicates = characters = offset = 0
    is_cut = False
    with path.open("wb") as file:
        for document in documents:
            sha256 = hashlib.sha256(document).digest()
            if sha256 in seen:
                duplicates += 1
                continue
            seen.add(sha256)
            text = document if max_bytes is None else cut(document, max_bytes - offset)
            if text:
                regions.append((offset, len(text)))
                digests.append(hashlib.sha256(text).digest())
                characters += int(np.count_nonzero(np.frombuffer(text, np.uint8) & 0xC0 != 0x80))  # all but continuation bytes
                offset += file.write(text)
            is_cut = len(text) < len(document)
            if is_cut or offset == max_bytes:
                break
    if not regions:
        raise DataError("the source holds no text: look at the option of data and its settings.")
    return Spool(path, tuple(regions), tuple(digests), duplicates, characters, is_cut)


def cut(text: bytes, limit: int) -> bytes:
    """The first `limit` bytes of UTF-8 text, fewer where that would cut a character."""
    while 0 < limit < len(text) and text[limit] & 0xC0 == 0x80:
        limit -= 1
    return text[:limit]


def split(spool: Spool, fraction: float, held_out_bytes: int | None) -> Split:
    """Hold out about `fraction` of the bytes by document, or the last `held_out_bytes` where the source says so.

    Documents are taken in the order of their sha256, which depends on nothing but their text, each one that brings the held-out
    bytes nearer to `fraction`; where all are too long for that, the shortest. A single document is cut in two instead.

    Raises:
        DataError: the text is too short to be split.
    """
    if held_out_bytes is None and len(spool.regions) > 1:
        return _split_by_document(spool, fraction)
    held_out = round(spool.num_bytes * fraction) if held_out_bytes is None else held_out_bytes
    return _split_in_order(spool, held_out)


def _split_by_document(spool: Spool, fraction: float) -> Split:
    missing = spool.num_bytes * fraction
    lengths = [length for _, length in spool.regions]
    held_out: set[int] = set()
    for index in sorted(range(len(lengths)), key=spool.digests.__getitem__):
        if abs(missing - lengths[index]) < missing:
            held_out.add(index)
            missing -= lengths[index]
    held_out = held_out or {lengths.index(min(lengths))}
    return Split(
        train=tuple(region for index, region in enumerate(spool.regions) if index not in held_out),
        validation=tuple(region for index, region in enumerate(spool.regions) if index in held_out),
        rule=f"split by document, {fraction:g} of the bytes in the order of sha256",
    )


def _split_in_order(spool: Spool, held_out: int) -> Split:
    """Cut the last document's tail off as validation text."""
    offset, length = spool.regions[-1]
    (text,) = spool.read([(offset, length)])
    kept = len(cut(text, max(0, length - held_out)))
    if kept == 0 or kept == length:
        raise DataError(
            f"the text is one document of {length} bytes, too short to hold out {held_out} of them: "
            "give more text, or raise data.max_bytes or data.validation_fraction."
        )
    return Split(
        train=(*spool.regions[:-1], (offset, kept)),
        validation=((offset + kept, length - kept),),
        rule=f"split in order, the last {length - kept} bytes of one text",
    )
