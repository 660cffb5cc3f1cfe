"""Changes of the training text whose effect on a language model is known: less order, or less of what it says.

Each document is changed by a pure function of its text and the seed, whatever stands beside it, and before it is tokenized. The
tokenizer is that of the text as it was.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator

import numpy as np

from scalesweep.arrays import IntArray
from scalesweep.settings.data import TransformSpec
from scalesweep.train.data.encoding import pieces

LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", dtype=np.uint8).astype("<u4")


def disturb(documents: Iterable[bytes], transform: TransformSpec | None) -> Iterator[bytes]:
    """The documents, as UTF-8, after a transform of text; as they are without one, or with one of windows.

    A long document is changed in the pieces in which it is tokenized (64 kB), which bounds the memory.
    """
    if transform is None or not transform.is_of_text:
        yield from documents
        return
    change = _shuffle_words if transform.kind == "words" else _replace_characters
    for document in documents:
        yield b"".join(change(text, transform) for text, _ in pieces([document]))


def _shuffle_words(text: bytes, transform: TransformSpec) -> bytes:
    """round(q n) of the n words change places with one another; white space stays where it is."""
    parts = re.split(r"(\s+)", text.decode())
    places = np.array([i for i in range(0, len(parts), 2) if parts[i]], dtype=np.int64)
    chosen = places[_draw(text, transform, len(places))]
    for place, word in zip(np.sort(chosen).tolist(), [parts[i] for i in chosen.tolist()], strict=True):
        parts[place] = word
    return "".join(parts).encode()


def _replace_characters(text: bytes, transform: TransformSpec) -> bytes:
    """round(q n) of the n characters become letters a to z, drawn uniformly."""
    characters = np.frombuffer(text.decode().encode("utf-32-le"), dtype="<u4").copy()
    chosen = _draw(text, transform, len(characters))
    drawn = _bits(text, transform, 1).random_raw(len(chosen)) % np.uint64(len(LETTERS))
    characters[chosen] = LETTERS[drawn.astype(np.int64)]
    return characters.tobytes().decode("utf-32-le").encode()


def _draw(text: bytes, transform: TransformSpec, number: int) -> IntArray:
    """round(q n) of the numbers below n, in random order."""
    order = np.argsort(_bits(text, transform, 0).random_raw(number), kind="stable")
    return np.asarray(order[: round(transform.share * number)], dtype=np.int64)


def _bits(text: bytes, transform: TransformSpec, use: int) -> np.random.PCG64:
    content = np.frombuffer(hashlib.sha256(text).digest(), dtype="<u4").tolist()
    return np.random.PCG64(np.random.SeedSequence((transform.seed, *content), spawn_key=(use,)))
