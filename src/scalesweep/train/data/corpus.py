"""A prepared corpus: two token streams with the hash of both and of the tokenizer."""

import contextlib
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scalesweep.errors import DataError
from scalesweep.files import cache_home, why_no_home
from scalesweep.settings.data import DataSpec
from scalesweep.train.data.batches import Tokens
from scalesweep.train.data.reading import Reading, reading_of
from scalesweep.train.data.round_trip import RoundTrip, percent
from scalesweep.units import plural


@dataclass(frozen=True)
class CorpusPart:
    """One part of a mixture."""

    name: str
    """For people, as of a corpus."""
    hash: str
    """Of its text, whatever the mixture's tokenizer: that of the corpus of its bytes."""
    places: int
    """Windows of each 1,000 that come from it (`settings.data.PLACES`)."""
    train_tokens: int
    validation_tokens: int


@dataclass(frozen=True)
class Corpus:
    """A text as tokens, split into training and validation streams."""

    name: str
    """For people: source, size and tokenizer, for example "python-code-8MB-bpe512"."""
    hash: str
    """16 hex digits over both token streams and the tokenizer: equal hash, equal training data."""
    directory: Path
    vocab_size: int
    eod_id: int | None
    """Id that follows every document; None for tokens that come without a tokenizer."""
    train_tokens: int
    validation_tokens: int
    train_bytes: int
    """Training text in UTF-8 bytes, before a transform; of drawn tokens their number, and 0 where nothing is known of the text
    behind tokens, as of generated ones."""
    validation_bytes: int
    documents: int
    """Distinct documents, both streams together."""
    duplicates_removed: int
    """Exact copies that were left out."""
    dtype: Literal["uint16", "uint32"]
    """Type of the ids on disk."""
    round_trip: RoundTrip | None = None
    """What the tokenizer loses of a sample of the text; None for drawn tokens, and where an older version did not ask."""
    unknown_tokens: int = 0
    """Tokens of both streams that stand for text which the vocabulary lacks."""
    sample: str = ""
    """The start of the training stream, decoded; empty without a tokenizer, and where an older version prepared it."""
    spelled_ends: int = 0
    """Places of the text that spell the end-of-document token of the tokenizer, or the common one."""
    inner_ends: int = 0
    """Tokens within documents that are the end-of-document token: the tokenizer has it as a word of text. Others of
    `spelled_ends` are learnt as text."""
    reading: Reading | None = None
    """What was left out, replaced or cut when the text was read; None for drawn tokens, and where an older version read it."""
    entropy: float | None = None
    """Of a source where it is known, in nats per token given all tokens before; None for text."""
    window_excess: float = 0.0
    """Nats that a window of such a source costs beyond `entropy` a token, because its start hides what came before."""
    sampled_from: str = ""
    """Of generated text the cell that wrote it, its loss, and the temperature and seed; empty of all other."""
    parts: tuple[CorpusPart, ...] = ()
    """Of a mixture, in the order in which they lie in both streams, end to end."""

    def window_entropy(self, context: int) -> float | None:
        """Nats per token below which no model ends that sees windows of `context` tokens; None where it is not known.

        Exact for markov, and for records (zipf_facts, facts, copy) where `context` is a multiple of theirs; else a lower bound.
        """
        return None if self.entropy is None else self.entropy + self.window_excess / context

    @property
    def bytes_per_token(self) -> float | None:
        """Of the validation text, where the loss is measured: bits per byte = L / (ln 2 * bytes_per_token). 1 if drawn; None
        where nothing is known of the text behind tokens.
        """
        return self.validation_bytes / self.validation_tokens if self.validation_bytes else None

    @property
    def account(self) -> str:
        """What the text lost on its way to tokens, as clauses; empty where nothing is known to be lost."""
        clauses = [(self.reading or Reading(duplicates=self.duplicates_removed)).losses()]
        if self.round_trip and self.round_trip.lost_characters:
            clauses.append(f"{percent(self.round_trip.lost)} of the characters in a sample do not come back from their tokens")
        if self.unknown_tokens:
            clauses.append(f"{self.unknown_tokens:,} tokens are the unknown one")
        if self.inner_ends:
            clauses.append(f"{self.inner_ends:,} tokens within documents are the end-of-document token")
        if (learnt := self.spelled_ends - self.inner_ends) > 0:
            clauses.append(f"the end-of-document token is spelled {plural(learnt, 'time')} in the text and learnt as text")
        return "; ".join(clause for clause in clauses if clause and self.entropy is None)

    def train(self) -> Tokens:
        """The training stream, shape (train_tokens,), mapped read-only."""
        return self._stream("train")

    def validation(self) -> Tokens:
        """The validation stream, shape (validation_tokens,), mapped read-only."""
        return self._stream("validation")

    def _stream(self, name: str) -> Tokens:
        return np.memmap(self.directory / f"{name}.bin", dtype=disk_type(self.dtype), mode="r")


def cache_dir(spec: DataSpec) -> Path:
    """data.cache, else the place of all that is kept for a user (`files.cache_home`)."""
    return Path(spec.cache).expanduser().absolute() if spec.cache else cache_home()


def why_temporary(spec: DataSpec) -> str:
    """A sentence where prepared corpora go to a temporary place; else nothing."""
    if spec.cache or not (why := why_no_home()):
        return ""
    return f"{why}: prepared corpora go to {cache_home()}; data.cache, or SCALESWEEP_CACHE, chooses a place that lasts."


def open_corpus(directory: str | Path) -> Corpus:
    """Open a prepared corpus.

    Raises:
        DataError: the directory is not a corpus, or its files do not have the sizes that corpus.json states.
    """
    directory = Path(directory).absolute()
    try:
        stated = json.loads((directory / "corpus.json").read_text(encoding="utf-8"))
        fields = {field.name for field in dataclasses.fields(Corpus)} & stated.keys()
        values = {name: stated[name] for name in fields}
        if values.get("round_trip") is not None:
            values["round_trip"] = RoundTrip(**values["round_trip"])
        if values.get("reading") is not None:
            values["reading"] = reading_of(values["reading"])
        values["parts"] = tuple(CorpusPart(**part) for part in stated.get("parts", ()))
        corpus = Corpus(directory=directory, **values)
        sizes = [(directory / name).stat().st_size for name in ("train.bin", "validation.bin")]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{directory} is not a prepared corpus ({error!r}): prepare it again.") from None
    expected = [num * np.dtype(corpus.dtype).itemsize for num in (corpus.train_tokens, corpus.validation_tokens)]
    if sizes != expected:
        raise DataError(
            f"{directory} is torn: train.bin and validation.bin have {sizes} bytes where corpus.json states {expected}; "
            "delete the directory and prepare it again."
        )
    return corpus


def find_corpus(stated: Path, hash: str, spec: DataSpec) -> Corpus | None:
    """A corpus that was prepared earlier, where it was or, if its cache was moved, in a cache of today; None if in neither.

    Args:
        stated: where it was.
        hash: that it must have.
        spec: what it was prepared from.
    """
    caches = [cache_dir(spec), cache_dir(spec.model_copy(update={"cache": None}))]
    for directory in [stated, *(cache / "corpora" / stated.name for cache in caches)]:
        with contextlib.suppress(DataError):
            corpus = open_corpus(directory)
            if corpus.hash == hash:
                return corpus
    return None


def disk_type(dtype: str) -> np.dtype[Any]:
    """The type of token ids in a file: little-endian, whatever the machine."""
    return np.dtype(dtype).newbyteorder("<")
