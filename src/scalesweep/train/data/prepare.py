"""Prepared corpora: token files on disk, made once, opened by every cell.

    <cache>/corpora/<name>-<key>/train.bin, validation.bin    token ids, little-endian
                                 tokenizer.json, .model       where the tokenizer has one
                                 corpus.json                  counts, hashes, provenance
    <cache>/fingerprints/<stamp>                              fingerprint of a text that was read before, and what reading lost

The key is a hash of the documents' text, the split and the tokenizer. Reading all text to know its fingerprint takes long, so
the fingerprint is kept under the source's stamp (names, sizes and times of files), and a second call neither reads nor
tokenizes. Sources that give tokens themselves (given_tokens.py, generated.py) have no text.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scalesweep.errors import DataError
from scalesweep.files import write_text
from scalesweep.settings.data import DataSpec
from scalesweep.train.data.corpus import Corpus, cache_dir, disk_type, open_corpus
from scalesweep.train.data.disturb import disturb
from scalesweep.train.data.encoding import END_OF_DOCUMENT, SAMPLE_TOKENS, Tokenizer, decode, encode
from scalesweep.train.data.generated import prepare_generated
from scalesweep.train.data.given_tokens import prepare_drawn, prepare_tokens
from scalesweep.train.data.reading import Reading, reading_of
from scalesweep.train.data.round_trip import RoundTrip, check_loss, percent, round_trip, sample
from scalesweep.train.data.shelf import FORMAT, id_type, open_if_usable, publish, scratch_directory, write_arrays
from scalesweep.train.data.sources import Source, digest, open_source
from scalesweep.train.data.spool import Split, Spool, split, write_spool
from scalesweep.train.data.tokenizer import identity, make_tokenizer
from scalesweep.units import plural


def prepare_one(spec: DataSpec, announce: Callable[[str], None] = lambda _: None) -> Corpus:
    """The corpus of a source that is no mixture; `mix.prepare` is that of any.

    Raises:
        DataError: as of `mix.prepare`.
    """
    cache = cache_dir(spec)
    try:
        (cache / "corpora").mkdir(parents=True, exist_ok=True)
        (cache / "fingerprints").mkdir(exist_ok=True)
        if spec.is_drawn:
            return prepare_drawn(cache, spec, announce)
        if spec.source == "tokens":
            return prepare_tokens(cache, spec, announce)
        if spec.source == "generated":
            return prepare_generated(cache, spec, announce)
        source = open_source(spec, cache, announce)
        memo = cache / "fingerprints" / source.stamp
        if memo.exists():
            fingerprint, _, counts = memo.read_text(encoding="utf-8").partition("\n")
            reading = reading_of(json.loads(counts)) if counts else None
            kept = open_if_usable(_final(cache, source, spec, fingerprint), spec)
            if kept is not None and (reading is not None or source.is_remote):  # older versions did not count
                return dataclasses.replace(kept, reading=reading)
        return _build(cache, source, spec, announce)
    except OSError as error:
        if error.filename and not Path(error.filename).absolute().is_relative_to(cache):
            raise DataError(
                f"{error.filename} could not be read ({error.strerror}): make it readable, or leave it out."
            ) from error
        raise DataError(f"the corpus could not be prepared in {cache}: {error}; data.cache chooses another place.") from error


def _final(cache: Path, source: Source, spec: DataSpec, fingerprint: str) -> Path:
    """The directory of a corpus by its key."""
    split_by = source.held_out_bytes or spec.validation_fraction
    key = digest(FORMAT, fingerprint, split_by, *made_by(spec))
    return cache / "corpora" / f"{source.name}-{key[:16]}"


def made_by(spec: DataSpec) -> list[Any]:
    """What the tokens of a text depend on beside it, as plain values: the tokenizer, and a transform of text if any."""
    transform = [spec.transform.model_dump()] if spec.transform is not None and spec.transform.is_of_text else []
    return [*identity(spec.tokenizer), *transform]


def _build(cache: Path, source: Source, spec: DataSpec, announce: Callable[[str], None]) -> Corpus:
    with scratch_directory(cache) as scratch:
        announce(f"reading {source.name}")
        reading = Reading()
        origin, documents = source.read(reading)
        spool = write_spool(documents, scratch / "documents", spec.max_bytes)
        reading.check(spec.max_skipped)
        reading.documents, reading.characters = len(spool.regions), spool.characters
        reading.duplicates, reading.is_cut = spool.duplicates, spool.is_cut
        final = _final(cache, source, spec, spool.fingerprint)
        counts = json.dumps(dataclasses.asdict(reading))
        write_text(cache / "fingerprints" / source.stamp, f"{spool.fingerprint}\n{counts}")
        if (kept := open_if_usable(final, spec)) is not None:
            return dataclasses.replace(kept, reading=reading)
        parts = split(spool, spec.validation_fraction, source.held_out_bytes)
        _announce_text(source, spec, spool, parts, announce)
        tokenizer = make_tokenizer(spec.tokenizer, spool.read(parts.train))
        if spec.tokenizer.kind == "bpe" and tokenizer.vocab_size < (spec.tokenizer.vocab_size or 0):
            announce(f"the text gives a vocabulary of {tokenizer.vocab_size}, not {spec.tokenizer.vocab_size}")
        found = round_trip(tokenizer, sample(spool, parts.train))
        check_loss(spec.tokenizer, found, unknown_tokens=0, tokens=0)
        announce_tokenizer(tokenizer, found, announce)
        facts = {
            "format": FORMAT,
            "name": f"{source.name}-{size_name(spool.num_bytes)}-{tokenizer.name}",
            **_write_streams(scratch, tokenizer, spool, parts, spec),
            "round_trip": dataclasses.asdict(found),
            "reading": dataclasses.asdict(reading),
            "spelled_ends": _spelled_ends(source, tokenizer, spool, announce),
            "origin": origin,
            "spec": spec.model_dump(mode="json", exclude={"cache"}),
        }
        check_loss(spec.tokenizer, found, facts["unknown_tokens"], facts["train_tokens"] + facts["validation_tokens"])
        write_text(scratch / "corpus.json", json.dumps(facts, indent=2) + "\n")
        spool.path.unlink()
        publish(scratch, final, spec)
    return open_corpus(final)


def _announce_text(source: Source, spec: DataSpec, spool: Spool, parts: Split, announce: Callable[[str], None]) -> None:
    if spec.max_bytes is not None and spool.num_bytes < 0.99 * spec.max_bytes:
        announce(f"{source.name} has only {size_name(spool.num_bytes)} of text, less than data.max_bytes = {spec.max_bytes}")
    if source.held_out_bytes is not None or len(spool.regions) == 1:
        announce(f"{source.name} has no documents to choose from: {parts.rule}")
    announce(f"tokenizing {size_name(spool.num_bytes)} of {source.name} as {spec.tokenizer.kind}")


def announce_tokenizer(tokenizer: Tokenizer, found: RoundTrip, announce: Callable[[str], None]) -> None:
    """Say which ids a tokenizer leaves unused, and what it loses of a sample."""
    if tokenizer.unused_ids:
        announce(
            f"{tokenizer.name} leaves {tokenizer.unused_ids:,} of its ids up to {tokenizer.vocab_size - 1:,} unused: "
            f"the model's vocabulary is {tokenizer.vocab_size:,}"
        )
    if found.changed_texts:
        announce(
            f"{tokenizer.name} loses {percent(found.lost)} of the characters in a sample: {found.changed_texts} of its "
            f"{found.texts} texts do not come back from their tokens ({found.example})"
        )


def _spelled_ends(source: Source, tokenizer: Tokenizer, spool: Spool, announce: Callable[[str], None]) -> int:
    """How often the text spells the end-of-document token, or the common one, as separators in it do."""
    words = {word.encode(): 0 for word in (tokenizer.end, END_OF_DOCUMENT)}
    for text in spool.read(spool.regions):
        words = {word: number + text.count(word) for word, number in words.items()}
    for word, number in words.items():
        if number:
            announce(
                f"{source.name} spells {word.decode()} {plural(number, 'time')}; where it separates documents in files of "
                f"text, \"data.separator='{word.decode()}'\" ends them there"
            )
    return sum(words.values())


def _write_streams(scratch: Path, tokenizer: Tokenizer, spool: Spool, parts: Split, spec: DataSpec) -> dict[str, Any]:
    """Write both token files and the tokenizer; what corpus.json says of them."""
    written = {}
    texts = {"train": disturb(spool.read(parts.train), spec.transform), "validation": spool.read(parts.validation)}
    for name, documents in texts.items():
        ids = encode(tokenizer, documents)
        counted = (tokenizer.unknown_id, tokenizer.eod_id)
        written[name] = write_arrays(ids, scratch / f"{name}.bin", tokenizer.vocab_size, counted)
    sha256 = {name: stream.sha256 for name, stream in written.items()}
    unknown, ends = (sum(stream.counted[index] for stream in written.values()) for index in range(2))
    return {
        "hash": digest(sha256["train"], sha256["validation"], tokenizer.sha256)[:16],
        "dtype": id_type(tokenizer.vocab_size),
        "vocab_size": tokenizer.vocab_size,
        "eod_id": tokenizer.eod_id,
        "train_tokens": written["train"].tokens,
        "validation_tokens": written["validation"].tokens,
        "unknown_tokens": unknown,
        "inner_ends": ends - len(parts.train) - len(parts.validation),
        "train_bytes": sum(length for _, length in parts.train),
        "validation_bytes": sum(length for _, length in parts.validation),
        **write_tokenizer(scratch, tokenizer),
        "documents": len(spool.regions),
        "duplicates_removed": spool.duplicates,
        "split": {"rule": parts.rule, "train_documents": len(parts.train), "validation_documents": len(parts.validation)},
        "sha256": {"text": spool.fingerprint, "tokenizer": tokenizer.sha256, **sha256},
    }


def write_tokenizer(scratch: Path, tokenizer: Tokenizer) -> dict[str, str]:
    """Keep the tokenizer beside the streams; for corpus.json the start of the training stream, decoded."""
    if tokenizer.json is not None:
        write_text(scratch / "tokenizer.json", tokenizer.json)
    if tokenizer.model is not None:
        (scratch / "tokenizer.model").write_bytes(tokenizer.model)
    start = np.fromfile(scratch / "train.bin", disk_type(id_type(tokenizer.vocab_size)), SAMPLE_TOKENS)
    return {"sample": decode(tokenizer, start)}


def size_name(num_bytes: int) -> str:
    """8000000 as "8MB", 300123 as "300kB"."""
    unit, scale = ("MB", 1e6) if num_bytes >= 999_500 else ("kB", 1e3)
    return f"{float(f'{num_bytes / scale:.3g}'):g}{unit}"
