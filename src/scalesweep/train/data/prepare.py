"""Prepared corpora: token files on disk, made once, opened by every cell.

    <cache>/corpora/<name>-<key>/train.bin, validation.bin    token ids, little-endian
                                 tokenizer.json               where the tokenizer has one
                                 corpus.json                  counts, hashes, provenance
    <cache>/fingerprints/<stamp>                              fingerprint of a text that was read before

The key is a hash of the documents' text, the split and the tokenizer. Reading all text to know its fingerprint takes long, so
the fingerprint is kept under the source's stamp (names, sizes and times of files), and a second call neither reads nor
tokenizes. Drawn tokens (synthetic.py) have no text; the key of their corpus is a hash of their source's settings.

Several processes may prepare the same corpus at once. Each builds in a directory of its own beside the final one and renames
it at the end, which succeeds for one of them; the others discard theirs and open the winner's. A killed process leaves a
`.building-` directory, which nobody reads and a later call removes.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from scalesweep.errors import DataError
from scalesweep.files import write_text
from scalesweep.settings.data import DataSpec, TokenizerSpec
from scalesweep.train.data.corpus import Corpus, cache_dir, disk_type, open_corpus
from scalesweep.train.data.disturb import disturb
from scalesweep.train.data.sources import Source, digest, open_source
from scalesweep.train.data.spool import Split, Spool, split, write_spool
from scalesweep.train.data.synthetic import TokenSource, token_source
from scalesweep.train.data.tokenizer import Tokenizer, encode, make_tokenizer

FORMAT = 1
"""Version of the layout, the split rule and the piece size; part of the key, so an old directory is never misread."""
_ABANDONED_SECONDS = 24 * 3600
"""Age at which a `.building-` directory is taken for that of a killed process; a judgement: no corpus takes so long."""
_SOURCE_SETTINGS = ("alphabet", "keys", "zipf_alpha", "values")
"""Settings of a drawn source beside its name, length, split and seed."""


def prepare(spec: DataSpec, announce: Callable[[str], None] = lambda _: None) -> Corpus:
    """The corpus of `spec`, read, tokenized and kept on the first call and opened on later ones.

    Args:
        spec: what to read, how to split and tokenize it, and where to keep it.
        announce: is told, one sentence at a time, what takes long.

    Raises:
        DataError: the text cannot be found, read, split or tokenized, or the cache cannot be written.
    """
    cache = cache_dir(spec)
    try:
        (cache / "corpora").mkdir(parents=True, exist_ok=True)
        (cache / "fingerprints").mkdir(exist_ok=True)
        if spec.is_drawn:
            return _prepare_drawn(cache, spec, announce)
        source = open_source(spec, cache, announce)
        memo = cache / "fingerprints" / source.stamp
        if memo.exists():
            kept = open_if_intact(_final(cache, source, spec, memo.read_text(encoding="utf-8")))
            if kept is not None:
                return kept
        return _build(cache, source, spec, announce)
    except OSError as error:
        raise DataError(f"the corpus could not be prepared in {cache}: {error}; data.cache chooses another place.") from error


def open_if_intact(directory: Path) -> Corpus | None:
    """The corpus in `directory`; None where there is none, or a torn one."""
    try:
        return open_corpus(directory)
    except DataError:
        return None


def _final(cache: Path, source: Source, spec: DataSpec, fingerprint: str) -> Path:
    """The directory of a corpus by its key."""
    split_by = source.held_out_bytes or spec.validation_fraction
    tokenizer = spec.tokenizer.model_dump(), tokenizer_hash(spec.tokenizer)
    key = digest(FORMAT, fingerprint, split_by, *tokenizer, *text_transform(spec))
    return cache / "corpora" / f"{source.name}-{key[:16]}"


def text_transform(spec: DataSpec) -> list[dict[str, Any]]:
    """A transform of the text, which makes another corpus; empty without one, for which keys are what they were."""
    return [spec.transform.model_dump()] if spec.transform is not None and spec.transform.is_of_text else []


def tokenizer_hash(spec: TokenizerSpec) -> str | None:
    """sha256 of a local file; a name of the hub stands for itself."""
    local = Path(spec.name or "").expanduser()
    is_local = spec.kind == "hub" and local.is_file()
    return hashlib.sha256(local.read_bytes()).hexdigest() if is_local else None


def _build(cache: Path, source: Source, spec: DataSpec, announce: Callable[[str], None]) -> Corpus:
    with scratch_directory(cache) as scratch:
        announce(f"reading {source.name}")
        origin, documents = source.read()
        spool = write_spool(documents, scratch / "documents", spec.max_bytes)
        final = _final(cache, source, spec, spool.fingerprint)
        write_text(cache / "fingerprints" / source.stamp, spool.fingerprint)
        if (kept := open_if_intact(final)) is not None:
            return kept
        parts = split(spool, spec.validation_fraction, source.held_out_bytes)
        _announce_text(source, spec, spool, parts, announce)
        tokenizer = make_tokenizer(spec.tokenizer, spool.read(parts.train))
        if spec.tokenizer.kind == "bpe" and tokenizer.vocab_size < (spec.tokenizer.vocab_size or 0):
            announce(f"the text gives a vocabulary of {tokenizer.vocab_size}, not {spec.tokenizer.vocab_size}")
        facts = {
            "format": FORMAT,
            "name": f"{source.name}-{size_name(spool.num_bytes)}-{tokenizer.name}",
            **_write_streams(scratch, tokenizer, spool, parts, spec),
            "origin": origin,
            "spec": spec.model_dump(mode="json", exclude={"cache"}),
        }
        write_text(scratch / "corpus.json", json.dumps(facts, indent=2) + "\n")
        spool.path.unlink()
        publish(scratch, final)
    return open_corpus(final)


def _prepare_drawn(cache: Path, spec: DataSpec, announce: Callable[[str], None]) -> Corpus:
    """The corpus of a source that gives tokens, drawn on the first call."""
    source = token_source(spec)
    settings = spec.model_dump(mode="json", include={"source", "max_tokens", "validation_fraction", "seed", *_SOURCE_SETTINGS})
    final = cache / "corpora" / f"{source.name}-{digest(FORMAT, settings)[:16]}"
    if (kept := open_if_intact(final)) is not None:
        return kept
    announce(f"drawing {spec.max_tokens:,} tokens of {source.name}")
    with scratch_directory(cache) as scratch:
        facts = {"format": FORMAT, "spec": settings, **_write_drawn(scratch, source, spec)}
        write_text(scratch / "corpus.json", json.dumps(facts, indent=2) + "\n")
        publish(scratch, final)
    return open_corpus(final)


def _write_drawn(scratch: Path, source: TokenSource, spec: DataSpec) -> dict[str, Any]:
    """Write both token files; what corpus.json says of them."""
    held_out = round(spec.max_tokens * spec.validation_fraction)
    dtype = id_type(source.vocab_size)
    sha256 = {}
    for stream, (name, num) in enumerate((("train", spec.max_tokens - held_out), ("validation", held_out))):
        _, sha256[name] = write_arrays(source.draw(stream, num), scratch / f"{name}.bin", dtype)
    return {
        "name": f"{source.name}-seed{spec.seed}",
        "hash": digest(sha256["train"], sha256["validation"], source.name)[:16],
        "dtype": dtype,
        "vocab_size": source.vocab_size,
        "eod_id": None,
        "train_tokens": spec.max_tokens - held_out,
        "validation_tokens": held_out,
        "train_bytes": spec.max_tokens - held_out,
        "validation_bytes": held_out,
        "documents": 0,
        "duplicates_removed": 0,
        "entropy": source.entropy,
        "window_excess": source.window_excess,
        "origin": f"drawn from {source.name} with seed {spec.seed}",
        "split": {"rule": "training and validation streams drawn apart"},
        "sha256": sha256,
    }


def _announce_text(source: Source, spec: DataSpec, spool: Spool, parts: Split, announce: Callable[[str], None]) -> None:
    if spec.max_bytes is not None and spool.num_bytes < 0.99 * spec.max_bytes:
        announce(f"{source.name} has only {size_name(spool.num_bytes)} of text, less than data.max_bytes = {spec.max_bytes}")
    if source.held_out_bytes is not None or len(spool.regions) == 1:
        announce(f"{source.name} has no documents to choose from: {parts.rule}")
    announce(f"tokenizing {size_name(spool.num_bytes)} of {source.name} as {spec.tokenizer.kind}")


def _write_streams(scratch: Path, tokenizer: Tokenizer, spool: Spool, parts: Split, spec: DataSpec) -> dict[str, Any]:
    """Write both token files and the tokenizer; what corpus.json says of them."""
    dtype = id_type(tokenizer.vocab_size)
    tokens, sha256 = {}, {}
    texts = {"train": disturb(spool.read(parts.train), spec.transform), "validation": spool.read(parts.validation)}
    for name, documents in texts.items():
        ids = encode(tokenizer, documents)
        tokens[name], sha256[name] = write_arrays(ids, scratch / f"{name}.bin", dtype)
    if tokenizer.json is not None:
        write_text(scratch / "tokenizer.json", tokenizer.json)
    return {
        "hash": digest(sha256["train"], sha256["validation"], tokenizer.sha256)[:16],
        "dtype": dtype,
        "vocab_size": tokenizer.vocab_size,
        "eod_id": tokenizer.eod_id,
        "train_tokens": tokens["train"],
        "validation_tokens": tokens["validation"],
        "train_bytes": sum(length for _, length in parts.train),
        "validation_bytes": sum(length for _, length in parts.validation),
        "documents": len(spool.regions),
        "duplicates_removed": spool.duplicates,
        "split": {"rule": parts.rule, "train_documents": len(parts.train), "validation_documents": len(parts.validation)},
        "sha256": {"text": spool.fingerprint, "tokenizer": tokenizer.sha256, **sha256},
    }


def size_name(num_bytes: int) -> str:
    """8000000 as "8MB", 300123 as "300kB"."""
    unit, scale = ("MB", 1e6) if num_bytes >= 999_500 else ("kB", 1e3)
    return f"{float(f'{num_bytes / scale:.3g}'):g}{unit}"


def id_type(vocab_size: int) -> str:
    """Type of the ids on disk."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


def write_arrays(arrays: Iterable[np.ndarray], path: Path, dtype: str) -> tuple[int, str]:
    """Write token ids end to end; their number, and the sha256 of the file."""
    num_tokens, sha256 = 0, hashlib.sha256()
    with path.open("wb") as file:
        for ids in arrays:
            data = ids.astype(disk_type(dtype)).tobytes()
            sha256.update(data)
            file.write(data)
            num_tokens += len(ids)
    return num_tokens, sha256.hexdigest()


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


def publish(scratch: Path, final: Path) -> None:
    """Give `scratch` its final name, unless another process was first; a torn corpus of that name is put aside."""
    torn = scratch.with_name(scratch.name + "-torn")
    if final.exists() and open_if_intact(final) is None:
        os.rename(final, torn)
    try:
        os.rename(scratch, final)
    except OSError:
        open_corpus(final)  # the winner's; anything else is an error of this one's
    shutil.rmtree(torn, ignore_errors=True)
