"""Mixtures: several texts by weight, with one tokenizer and one validation set.

    <cache>/corpora/mix-<key>/train.bin         the training streams of all parts, whole and end to end
                              validation.bin    as many tokens of each part as its weight allows, end to end

Each part is read, split and freed of duplicates as a corpus of its own, of bytes, from which its text comes back exactly: no
text is read twice, whatever tokenizers and weights it is mixed with. The weights act on windows, when a run visits them
(`windows`), so that all of every part can be visited. The key is a hash of the parts' hashes, the weights and the tokenizer.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scalesweep.errors import DataError
from scalesweep.files import write_text
from scalesweep.plan.selection import places_of
from scalesweep.settings.data import PLACES, DataSpec, PartSpec
from scalesweep.train.data.batches import Tokens
from scalesweep.train.data.corpus import Corpus, cache_dir, open_corpus
from scalesweep.train.data.disturb import disturb
from scalesweep.train.data.encoding import Tokenizer, encode, pieces
from scalesweep.train.data.prepare import announce_tokenizer, made_by, prepare_one, size_name, write_tokenizer
from scalesweep.train.data.reading import Reading
from scalesweep.train.data.round_trip import SAMPLE_BYTES, SAMPLE_TEXTS, check_loss, round_trip
from scalesweep.train.data.shelf import FORMAT, id_type, open_if_usable, publish, scratch_directory, write_arrays
from scalesweep.train.data.sources import digest
from scalesweep.train.data.spool import cut
from scalesweep.train.data.tokenizer import BPE_TRAINING_BYTES, byte_tokenizer, make_tokenizer

VALIDATION_BYTES = 2048
"""Length of the pieces of which the validation set is drawn. A judgement: the set is spread over the text, and a cut every so
many bytes moves no loss."""


def prepare(spec: DataSpec, announce: Callable[[str], None] = lambda _: None) -> Corpus:
    """The corpus of `spec`, a mixture or not, made on the first call and opened on later ones.

    Args:
        spec: what to read, how to split and tokenize it, and where to keep it.
        announce: is told, one sentence at a time, what takes long.

    Raises:
        DataError: a text cannot be found, read, split or tokenized, or the cache cannot be written.
    """
    if spec.source != "mix":
        return prepare_one(spec, announce)
    corpora = [_prepare_part(i, _bytes_of(part, spec), announce) for i, part in enumerate(spec.parts)]
    places = places_of([part.weight for part in spec.parts])
    cache = cache_dir(spec)
    key = digest(FORMAT, "mix", [[c.hash, p] for c, p in zip(corpora, places, strict=True)], *made_by(spec))
    final = cache / "corpora" / f"mix-{key[:16]}"
    if (kept := open_if_usable(final, spec)) is not None:
        return kept
    try:
        with scratch_directory(cache) as scratch:
            facts = _write(scratch, spec, corpora, places, announce)
            write_text(scratch / "corpus.json", json.dumps(facts, indent=2) + "\n")
            publish(scratch, final, spec)
    except OSError as error:
        raise DataError(f"the corpus could not be prepared in {cache}: {error}; data.cache chooses another place.") from error
    return open_corpus(final)


def _prepare_part(i: int, spec: DataSpec, announce: Callable[[str], None]) -> Corpus:
    try:
        return prepare_one(spec, announce)
    except DataError as error:
        raise DataError(f"data.parts.{i}: {error}") from None


def _bytes_of(part: PartSpec, spec: DataSpec) -> DataSpec:
    """The part as a corpus of bytes."""
    values = part.model_dump(exclude={"weight"})
    return DataSpec.model_validate({**values, "tokenizer": {"kind": "bytes"}, "cache": spec.cache})


def _write(
    scratch: Path, spec: DataSpec, corpora: Sequence[Corpus], places: Sequence[int], announce: Callable[[str], None]
) -> dict[str, Any]:
    """Write both streams and the tokenizer; what corpus.json says of them."""
    size = size_name(sum(c.train_bytes + c.validation_bytes for c in corpora))
    announce(f"tokenizing a mixture of {size} as {spec.tokenizer.kind}")
    tokenizer = make_tokenizer(spec.tokenizer, _weighted_text(corpora, places))
    found = round_trip(tokenizer, _sample(corpora))
    check_loss(spec.tokenizer, found, unknown_tokens=0, tokens=0)
    announce_tokenizer(tokenizer, found, announce)
    num_train = [0] * len(corpora)

    def train() -> Iterator[np.ndarray]:
        for i, corpus in enumerate(corpora):
            for ids in encode(tokenizer, disturb(documents(corpus.train()), spec.transform)):
                num_train[i] += len(ids)
                yield ids

    chosen = _validation(tokenizer, corpora, places)
    streams = {"train": train(), "validation": [ids for of_part, _ in chosen for ids in of_part]}
    written = {
        name: write_arrays(ids, scratch / f"{name}.bin", tokenizer.vocab_size, (tokenizer.unknown_id,))
        for name, ids in streams.items()
    }
    unknown, tokens = sum(stream.counted[0] for stream in written.values()), sum(stream.tokens for stream in written.values())
    check_loss(spec.tokenizer, found, unknown, tokens)
    parts = [
        {"name": c.name, "hash": c.hash, "places": p, "train_tokens": n, "validation_tokens": sum(map(len, v))}
        for c, p, n, (v, _) in zip(corpora, places, num_train, chosen, strict=True)
    ]
    shares = "-".join(f"{c.name.split('-')[0]}{100 * p / PLACES:.3g}" for c, p in zip(corpora, places, strict=True))
    sha256 = {"tokenizer": tokenizer.sha256, **{name: stream.sha256 for name, stream in written.items()}}
    return {
        "format": FORMAT,
        "name": f"mix-{shares}-{size}-{tokenizer.name}",
        "hash": digest(sha256["train"], sha256["validation"], sha256["tokenizer"], places, num_train)[:16],
        "dtype": id_type(tokenizer.vocab_size),
        "vocab_size": tokenizer.vocab_size,
        "eod_id": tokenizer.eod_id,
        "train_tokens": written["train"].tokens,
        "validation_tokens": written["validation"].tokens,
        "unknown_tokens": unknown,
        "train_bytes": sum(c.train_bytes for c in corpora),
        "validation_bytes": sum(num_bytes for _, num_bytes in chosen),
        "documents": sum(c.documents for c in corpora),
        "duplicates_removed": sum(c.duplicates_removed for c in corpora),
        "spelled_ends": sum(c.spelled_ends for c in corpora),
        "round_trip": dataclasses.asdict(found),
        "reading": _reading(corpora),
        "parts": parts,
        "origin": f"a mixture of {', '.join(c.name for c in corpora)}",
        "split": {"rule": "of each part as of a corpus of its own"},
        **write_tokenizer(scratch, tokenizer),
        "sha256": sha256,
        "spec": spec.model_dump(mode="json", exclude={"cache"}),
    }


def _sample(corpora: Sequence[Corpus]) -> list[bytes]:
    """Documents spread evenly over each part, or the beginnings of long ones, on which the tokenizer is tried."""
    texts = []
    for corpus in corpora:
        tokens = corpus.train()
        ends = np.flatnonzero(tokens == byte_tokenizer().eod_id)
        number = min(len(ends), SAMPLE_TEXTS // len(corpora) + 1)
        for i in (place * len(ends) // number for place in range(number)):
            text = tokens[(ends[i - 1] + 1 if i else 0) : ends[i]].astype(np.uint8).tobytes()
            texts.append(text if len(text) <= SAMPLE_BYTES else cut(text, SAMPLE_BYTES).strip())
    return texts


def _reading(corpora: Sequence[Corpus]) -> dict[str, Any] | None:
    """What reading the parts lost, all together; None where an older version did not count."""
    readings = [corpus.reading for corpus in corpora if corpus.reading is not None]
    if len(readings) < len(corpora):
        return None
    rows = [dataclasses.asdict(reading) for reading in readings]
    first = next((reading.first_unreadable for reading in readings if reading.first_unreadable), "")
    total = {name: sum(row[name] for row in rows) for name in rows[0] if name not in ("first_unreadable", "is_cut")}
    return dataclasses.asdict(Reading(**total, first_unreadable=first, is_cut=any(reading.is_cut for reading in readings)))


def documents(tokens: Tokens) -> Iterator[bytes]:
    """The documents of a corpus of bytes."""
    end, start = byte_tokenizer().eod_id, 0
    for stop in np.flatnonzero(tokens == end).tolist():
        yield tokens[start:stop].astype(np.uint8).tobytes()
        start = stop + 1


def _weighted_text(corpora: Sequence[Corpus], places: Sequence[int]) -> Iterator[bytes]:
    """Training text in which the parts have their weights in bytes: what a tokenizer is trained on."""
    total = min(BPE_TRAINING_BYTES, *(c.train_bytes * PLACES // p for c, p in zip(corpora, places, strict=True)))
    for corpus, place in zip(corpora, places, strict=True):
        left = total * place // PLACES
        for document in documents(corpus.train()):
            if left <= 0:
                break
            yield cut(document, left)
            left -= len(document)


def _validation(tokenizer: Tokenizer, corpora: Sequence[Corpus], places: Sequence[int]) -> list[tuple[list[np.ndarray], int]]:
    """Of each part the ids of its chosen pieces, in their order, and their bytes.

    As many tokens as the weights allow; the pieces are drawn by a fixed seed from all of the part's validation text, and what a
    whole one is too long for is cut from the next.
    """
    encoded = [_pieces(tokenizer, documents(corpus.validation())) for corpus in corpora]
    sizes = [np.array([len(ids) for ids, _ in of_part]) for of_part in encoded]
    total = min(int(size.sum()) * PLACES // place for size, place in zip(sizes, places, strict=True))
    chosen = []
    for of_part, size, place in zip(encoded, sizes, places, strict=True):
        order = np.argsort(np.random.PCG64(0).random_raw(len(size)), kind="stable")
        ends, target = np.cumsum(size[order]), total * place // PLACES
        whole = int(np.searchsorted(ends, target, side="right"))
        kept = [of_part[i] for i in sorted(order[:whole].tolist())]
        missing = target - (int(ends[whole - 1]) if whole else 0)
        ids, text = of_part[order[min(whole, len(order) - 1)]]
        if left := cut(text, len(text) * missing // len(ids)):
            kept += _pieces(tokenizer, [left])
        chosen.append(([ids for ids, _ in kept], sum(len(text) for _, text in kept)))
    return chosen


def _pieces(tokenizer: Tokenizer, texts: Iterable[bytes]) -> list[tuple[np.ndarray, bytes]]:
    """Short pieces of the texts, as ids, the last of each with the end of a document, and as text."""
    cuts = list(pieces(texts, VALIDATION_BYTES))
    encoded = zip(cuts, tokenizer.encode_batch([text for text, _ in cuts]), strict=True)
    return [(np.append(ids, tokenizer.eod_id) if is_last else ids, text) for (text, is_last), ids in encoded]
