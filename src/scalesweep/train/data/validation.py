"""Validation sets of one's own: a text apart from the training text, as tokens of each arm's own tokenizer.

    <cache>/validation/<key>/tokens.bin, set.json             one text by one tokenizer
    <cache>/corpora/<corpus>-on-<text>/                       a corpus whose validation stream is such a set

The first set of `data.validation` takes the place of the share that a corpus holds out of its own text: that makes another
corpus, with a hash of its own, in a directory like any other; the training stream is the same file. The further sets are
evaluated beside it and are no part of a corpus or a cell. A text is prepared like a corpus of bytes, from whose tokens its
documents are read again; its hash is of its documents, whatever the tokenizer.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scalesweep.errors import DataError
from scalesweep.settings.data import DataSpec
from scalesweep.train.data.batches import Tokens
from scalesweep.train.data.corpus import Corpus, cache_dir, disk_type, open_corpus
from scalesweep.train.data.encoding import encode
from scalesweep.train.data.mix import documents, prepare
from scalesweep.train.data.round_trip import check_loss, round_trip
from scalesweep.train.data.shelf import link, open_if_usable, publish, scratch_directory
from scalesweep.train.data.sources import digest
from scalesweep.train.data.spool import cut
from scalesweep.train.data.stated import stated, validation_text
from scalesweep.train.data.tokenizer import tokenizer_of

_SAMPLE_TEXTS, _SAMPLE_BYTES = 64, 4096
"""What a tokenizer loses of a set is looked at in the beginnings of so many documents. A judgement: a second's work."""
Announce = Callable[[str], None]


@dataclass(frozen=True)
class ValidationSet:
    """A held-out text by one tokenizer."""

    name: str
    text: str
    """Twelve hex digits of the text, whatever the tokenizer."""
    file: Path
    """Token ids, end to end."""
    dtype: str
    num_tokens: int
    num_bytes: int
    """Of the text, in UTF-8."""

    @property
    def bytes_per_token(self) -> float:
        """As `Corpus.bytes_per_token`."""
        return self.num_bytes / self.num_tokens

    def stated(self) -> dict[str, Any]:
        """All but the name, as plain values."""
        return {
            "text": self.text,
            "file": str(self.file),
            "dtype": self.dtype,
            "num_tokens": self.num_tokens,
            "num_bytes": self.num_bytes,
        }

    def is_there(self) -> bool:
        """Whether the file is there, of the size that it must have."""
        return self.file.is_file() and self.file.stat().st_size == self.num_tokens * disk_type(self.dtype).itemsize

    def tokens(self) -> Tokens:
        """The stream, shape (num_tokens,), mapped read-only."""
        return np.memmap(self.file, dtype=disk_type(self.dtype), mode="r")


def prepare_with_sets(spec: DataSpec, announce: Announce = lambda _: None) -> tuple[Corpus, tuple[ValidationSet, ...]]:
    """The corpus of `spec` with its first validation set as its validation stream, and the further sets.

    Raises:
        DataError: as of `prepare`, of the corpus or of a set; a tokenizer loses more of a set than it may; the cache cannot be
            written.
    """
    corpus = prepare(spec.model_copy(update={"validation": {}}), announce)
    first = next(iter(spec.validation.values()), None)
    try:
        sets = [_prepare_set(name, text, spec, corpus, announce) for name, text in spec.validation.items()]
        return corpus if first is None else _pinned(corpus, sets[0], spec), tuple(sets[1:])
    except OSError as error:
        raise DataError(f"{cache_dir(spec)} cannot be written ({error}); data.cache chooses another place.") from None


def set_from(name: str, stated: Mapping[str, Any]) -> ValidationSet:
    """Inverse of `ValidationSet.stated`."""
    return ValidationSet(name, **{**stated, "file": Path(stated["file"])})


def _prepare_set(name: str, text: DataSpec | None, spec: DataSpec, corpus: Corpus, announce: Announce) -> ValidationSet:
    """One set by the corpus's tokenizer; None stands for what the corpus holds out of its own text."""
    if text is None:
        file, tokens, size = corpus.directory / "validation.bin", corpus.validation_tokens, corpus.validation_bytes
        return ValidationSet(name, validation_text(corpus), file, corpus.dtype, tokens, size)
    try:
        found = _documents(prepare(text.model_copy(update={"cache": spec.cache}), announce))
    except DataError as error:
        raise DataError(f"data.validation.{name}: {error}") from None
    fingerprint = hashlib.sha256(b"".join(hashlib.sha256(document).digest() for document in found)).hexdigest()
    key = digest(fingerprint, stated(corpus)["sha256"].get("tokenizer"), corpus.dtype)[:16]
    directory = cache_dir(spec) / "validation" / key
    if (kept := _kept(directory, name, corpus.dtype)) is not None:
        return kept
    announce(f"tokenizing validation set {name} for {corpus.name}")
    tokenizer = tokenizer_of(corpus)
    with scratch_directory(cache_dir(spec)) as scratch:
        ids = np.concatenate([*encode(tokenizer, found)]).astype(disk_type(corpus.dtype))
        seen = [cut(document, _SAMPLE_BYTES).strip() for document in found[:_SAMPLE_TEXTS]]
        unknown = 0 if tokenizer.unknown_id is None else int((ids == tokenizer.unknown_id).sum())
        check_loss(spec.tokenizer, round_trip(tokenizer, seen), unknown, len(ids))
        (scratch / "tokens.bin").write_bytes(ids.tobytes())
        facts = {"text": fingerprint, "num_tokens": len(ids), "num_bytes": sum(map(len, found))}
        (scratch / "set.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
        directory.parent.mkdir(exist_ok=True)
        if _kept(directory, name, corpus.dtype) is None:  # torn, if it is there
            shutil.rmtree(directory, ignore_errors=True)
        with suppress(OSError):  # the winner's directory stands there
            os.rename(scratch, directory)
    made = _kept(directory, name, corpus.dtype)
    assert made is not None
    return made


def _kept(directory: Path, name: str, dtype: str) -> ValidationSet | None:
    """The set in a directory, where it is whole."""
    try:
        made = json.loads((directory / "set.json").read_text(encoding="utf-8"))
        kept = ValidationSet(name, made["text"][:12], directory / "tokens.bin", dtype, made["num_tokens"], made["num_bytes"])
    except (OSError, ValueError, KeyError):
        return None
    return kept if kept.is_there() else None


def _documents(text: Corpus) -> list[bytes]:
    """The documents of a corpus of bytes in the order of their sha256; of a single one, which was cut in two, the whole."""
    found = [*documents(text.train()), *documents(text.validation())]
    return [b"".join(found)] if text.documents == 1 else sorted(found, key=lambda document: hashlib.sha256(document).digest())


def _pinned(corpus: Corpus, held_out: ValidationSet, spec: DataSpec) -> Corpus:
    """The corpus with another validation stream, in a directory of its own."""
    cache = cache_dir(spec)
    directory = cache / "corpora" / f"{corpus.directory.name}-on-{held_out.text}"
    if open_if_usable(directory, spec) is None:
        content = stated(corpus)
        sha256 = {**content["sha256"], "validation": hashlib.sha256(held_out.file.read_bytes()).hexdigest()}
        weighed = [[part.places for part in corpus.parts], [part.train_tokens for part in corpus.parts]] if corpus.parts else []
        facts = {
            **content,
            "hash": digest(sha256["train"], sha256["validation"], sha256["tokenizer"], *weighed)[:16],
            "validation_tokens": held_out.num_tokens,
            "validation_bytes": held_out.num_bytes,
            "validation_text": held_out.text,
            "split": {"rule": f"trained on what was kept by: {content['split']['rule']}; validation set {held_out.name}"},
            "sha256": sha256,
        }
        with scratch_directory(cache) as scratch:
            link(corpus.directory / "train.bin", scratch / "train.bin")
            link(held_out.file, scratch / "validation.bin")
            for file in corpus.directory.glob("tokenizer.*"):
                link(file, scratch / file.name)
            (scratch / "corpus.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            publish(scratch, directory, spec)
    made = open_corpus(directory)  # what is known of the training text, a later version may know better
    own = {name: getattr(made, name) for name in ("directory", "hash", "validation_tokens", "validation_bytes")}
    return dataclasses.replace(corpus, **own)
