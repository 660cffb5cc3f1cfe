"""What a tokenizer is, and documents to a stream of its ids and back.

Text that happens to spell a special token (source code about language models does) is always encoded as ordinary text: the
end-of-document id comes only from the end of a document.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalesweep.train.data.spool import cut

END_OF_DOCUMENT = "<|endoftext|>"
_PIECE_BYTES = 1 << 16
"""Longest text that is tokenized at once (`pieces`). A judgement: some MB of memory, and few cuts."""
SAMPLE_TOKENS = 48
"""Tokens at the start of a training stream that are kept decoded, to be looked at."""
_BATCH_BYTES = 1 << 22
"""Text that is handed to the backend's threads together; no token depends on it."""


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer that is ready to encode."""

    name: str
    """For people, for example "bpe512"."""
    vocab_size: int
    """One more than the largest id, so that a model has an embedding for each, the end-of-document id among them."""
    eod_id: int
    """Id that follows every document."""
    sha256: str
    """Of the tokenizer's file, or of its name for bytes."""
    encode_batch: Callable[[Sequence[bytes]], list[NDArray[Any]]]
    """Ids of each UTF-8 text, one array of shape (num_tokens,) each, without the end-of-document id."""
    decode: Callable[[NDArray[Any]], str]
    """The text of ids, shape (num_tokens,), none of which is the end-of-document id."""
    end: str = END_OF_DOCUMENT
    """How a text spells the end-of-document token."""
    unused_ids: int = 0
    """Ids below `vocab_size` that stand for nothing."""
    unknown_id: int | None = None
    """Id of the token that stands for text which the vocabulary lacks; None where there is none."""
    model: bytes | None = None
    """Content of a SentencePiece model; None for others."""
    json: str | None = None
    """Content of tokenizer.json; None for bytes and tokenizers of other libraries."""


def encode(tokenizer: Tokenizer, documents: Iterable[bytes]) -> Iterator[NDArray[Any]]:
    """The tokens of `documents` in arrays of some length, with the end-of-document id after each document."""
    end = np.array([tokenizer.eod_id])
    for batch in _batches(pieces(documents)):
        for (_, is_last), ids in zip(batch, tokenizer.encode_batch([text for text, _ in batch]), strict=True):
            yield ids
            if is_last:
                yield end


def decode(tokenizer: Tokenizer, ids: NDArray[Any]) -> str:
    """The text of a stretch of a stream, shape (num_tokens,), with the ends of documents as they are spelled."""
    parts = np.split(ids, np.flatnonzero(ids == tokenizer.eod_id))
    return tokenizer.end.join(tokenizer.decode(part[part != tokenizer.eod_id]) for part in parts)


def pieces(documents: Iterable[bytes], size: int = _PIECE_BYTES) -> Iterator[tuple[bytes, bool]]:
    """Documents, long ones in pieces that end with a line where they can, each with whether it is its document's last.

    A tokenizer needs some hundred bytes of memory for each byte that it is given at once, and a document may be the whole
    corpus. The tokens depend on where the cuts are, so `size`, in bytes, is part of the format of a corpus.
    """
    for document in documents:
        start = 0
        while len(document) - start > size:
            newline = document.rfind(b"\n", start, start + size) + 1
            end = newline or start + len(cut(document[start : start + size + 1], size))
            yield document[start:end], False
            start = end
        yield document[start:], True


def _batches(parts: Iterable[tuple[bytes, bool]]) -> Iterator[list[tuple[bytes, bool]]]:
    batch: list[tuple[bytes, bool]] = []
    num_bytes = 0
    for part in parts:
        batch.append(part)
        num_bytes += len(part[0])
        if num_bytes >= _BATCH_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch
