"""Corpora of sources that give tokens: files of ids that were tokenized elsewhere, and tokens drawn from a known source."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scalesweep.errors import DataError
from scalesweep.files import write_text
from scalesweep.settings.data import DataSpec
from scalesweep.train.data.corpus import Corpus, open_corpus
from scalesweep.train.data.local_files import matching, seen
from scalesweep.train.data.shelf import FORMAT, id_type, open_if_usable, publish, scratch_directory, write_arrays
from scalesweep.train.data.sources import digest
from scalesweep.train.data.synthetic import TokenSource
from scalesweep.train.data.tasks import token_source
from scalesweep.train.data.tokens import EXTENSIONS, chunks, fingerprint, open_tokens
from scalesweep.units import format_count

_SOURCE_SETTINGS = ("alphabet", "keys", "zipf_alpha", "values")
"""Settings of a drawn source beside its name, length, split and seed."""
_TASK_SETTINGS = (*_SOURCE_SETTINGS, "answer_tokens")
"""The same of a source that states problems."""


def prepare_tokens(cache: Path, spec: DataSpec, announce: Callable[[str], None]) -> Corpus:
    """The corpus of files of token ids: their end is held out, and the ids are held against the vocabulary."""
    files = matching(spec.paths, lambda path: path.suffix in EXTENSIONS, ", ".join(EXTENSIONS))
    if spec.dtype is None and any(file.suffix == ".bin" for file in files):
        raise DataError("data.dtype is missing: a .bin file does not say whether its ids are uint16 or uint32.")
    name = files[0].stem if len(files) == 1 else "tokens"
    arrays = [open_tokens(file, spec) for file in files]
    memo = cache / "fingerprints" / digest("tokens", spec.dtype, seen(files))
    if not memo.exists():
        announce(f"reading {name}")
        write_text(memo, fingerprint(arrays))
    vocab_size, num_tokens = spec.tokenizer.vocab_size or 0, sum(map(len, arrays))
    key = digest(FORMAT, memo.read_text(encoding="utf-8"), spec.validation_fraction, vocab_size, spec.bytes_per_token)
    final = cache / "corpora" / f"{name}-{key[:16]}"
    if (kept := open_if_usable(final, spec)) is not None:
        return kept
    held_out = max(1, round(num_tokens * spec.validation_fraction))
    if num_tokens - held_out < 1:
        raise DataError(f"data.paths: the {len(arrays)} matching files hold {num_tokens} tokens, too few to hold some out.")
    with scratch_directory(cache) as scratch:
        parts = {"train": (0, num_tokens - held_out), "validation": (num_tokens - held_out, num_tokens)}
        written = {
            stream: write_arrays(chunks(arrays, *part), scratch / f"{stream}.bin", vocab_size) for stream, part in parts.items()
        }
        sha256 = {stream: file.sha256 for stream, file in written.items()}
        sizes = {stream: file.tokens for stream, file in written.items()}
        facts = {
            "format": FORMAT,
            "name": f"{name}-{format_count(num_tokens)}-vocab{vocab_size}",
            "hash": digest(sha256["train"], sha256["validation"], f"tokens-{vocab_size}")[:16],
            "dtype": id_type(vocab_size),
            "vocab_size": vocab_size,
            "eod_id": None,
            **{f"{stream}_tokens": number for stream, number in sizes.items()},
            **{f"{stream}_bytes": round(number * (spec.bytes_per_token or 0)) for stream, number in sizes.items()},
            "documents": 0,
            "duplicates_removed": 0,
            "origin": f"{len(arrays)} local files of token ids",
            "split": {"rule": f"split in order, the last {held_out:,} tokens"},
            "sha256": sha256,
            "spec": spec.model_dump(mode="json", exclude={"cache"}),
        }
        write_text(scratch / "corpus.json", json.dumps(facts, indent=2) + "\n")
        publish(scratch, final, spec)
    return open_corpus(final)


def prepare_drawn(cache: Path, spec: DataSpec, announce: Callable[[str], None]) -> Corpus:
    """The corpus of a source that gives tokens, drawn on the first call."""
    source = token_source(spec)
    own = _TASK_SETTINGS if spec.record_tokens else _SOURCE_SETTINGS
    own = (*own, "wrong_share") if spec.wrong_share else own
    settings = spec.model_dump(mode="json", include={"source", "max_tokens", "validation_fraction", "seed", *own})
    final = cache / "corpora" / f"{source.name}-{digest(FORMAT, settings)[:16]}"
    if (kept := open_if_usable(final, spec)) is not None:
        return kept
    announce(f"drawing {spec.max_tokens:,} tokens of {source.name}")
    with scratch_directory(cache) as scratch:
        facts = {"format": FORMAT, "spec": settings, **_write_drawn(scratch, source, spec)}
        write_text(scratch / "corpus.json", json.dumps(facts, indent=2) + "\n")
        publish(scratch, final, spec)
    return open_corpus(final)


def _write_drawn(scratch: Path, source: TokenSource, spec: DataSpec) -> dict[str, Any]:
    """Write both token files; what corpus.json says of them."""
    held_out = round(spec.max_tokens * spec.validation_fraction)
    sha256 = {}
    for stream, (name, num) in enumerate((("train", spec.max_tokens - held_out), ("validation", held_out))):
        sha256[name] = write_arrays(source.draw(stream, num), scratch / f"{name}.bin", source.vocab_size).sha256
    return {
        "name": f"{source.name}-seed{spec.seed}",
        "hash": digest(sha256["train"], sha256["validation"], source.name)[:16],
        "dtype": id_type(source.vocab_size),
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
