"""The tokenizers: bytes, a byte-level BPE trained on the corpus, or a ready one."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalesweep.errors import DataError
from scalesweep.settings.data import TokenizerSpec
from scalesweep.train.data import libraries
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.data.encoding import END_OF_DOCUMENT, Tokenizer, pieces
from scalesweep.train.data.hub import CONNECT_SECONDS, first_line

BPE_TRAINING_BYTES = 50_000_000
"""A BPE is trained on the first 50 MB of the training text, at about half a CPU second a megabyte whatever its vocabulary. A
judgement: half a minute is the most that preparing should wait for it."""
_END_NAMES = (END_OF_DOCUMENT, "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
"""What ready tokenizers without a declared end-of-sequence token call it."""
_FILES_OF_TOKENIZERS = (".json", ".txt", ".model", ".tiktoken")
"""Of a directory that transformers saved, all but weights and code: config.json too chooses the class of the tokenizer."""


def make_tokenizer(spec: TokenizerSpec, training_text: Iterable[bytes]) -> Tokenizer:
    """The tokenizer that `spec` asks for; only kind=bpe reads `training_text`.

    Raises:
        DataError: a ready tokenizer cannot be loaded or has no end-of-document token.
    """
    if spec.kind == "bytes":
        return byte_tokenizer()
    if spec.kind == "bpe":
        return train_bpe(training_text, spec.vocab_size or 0)
    if spec.kind == "hub":
        return load_tokenizer(spec.name or "", spec.eod)
    load = {"sentencepiece": libraries.load_sentencepiece, "tiktoken": libraries.load_tiktoken}[spec.kind]
    return load(spec.name or "", spec.eod)


def tokenizer_of(corpus: Corpus) -> Tokenizer:
    """The tokenizer by which a prepared corpus was encoded, opened from what is kept beside it: for another text in its ids.

    Raises:
        DataError: the corpus came as tokens, without a tokenizer, or its tokenizer's file or library is gone.
    """
    directory = corpus.directory
    if corpus.eod_id is None:
        raise DataError(f"{corpus.name} came as tokens, without a tokenizer that could encode another text.")
    if (file := directory / "tokenizer.json").is_file():
        from tokenizers import Tokenizer as Backend

        backend = Backend.from_file(str(file))
        return _wrap(backend, corpus.name, backend.id_to_token(corpus.eod_id))
    spec = TokenizerSpec.model_validate(
        json.loads((directory / "corpus.json").read_text(encoding="utf-8"))["spec"]["tokenizer"]
    )
    if spec.kind == "sentencepiece":
        return libraries.load_sentencepiece(str(directory / "tokenizer.model"), spec.eod)
    if spec.kind == "tiktoken":
        return libraries.load_tiktoken(spec.name or "", spec.eod)
    if spec.kind != "bytes":
        raise DataError(f"{directory} holds no tokenizer.json; prepare the corpus again (scalesweep data).")
    return byte_tokenizer()


def byte_tokenizer() -> Tokenizer:
    """The 256 byte values, and 256 as the end of a document."""
    return Tokenizer(
        name="bytes",
        vocab_size=257,
        eod_id=256,
        sha256=hashlib.sha256(b"bytes").hexdigest(),
        encode_batch=lambda texts: [np.frombuffer(text, dtype=np.uint8) for text in texts],
        decode=lambda ids: ids.astype(np.uint8).tobytes().decode(errors="replace"),
    )


def train_bpe(training_text: Iterable[bytes], vocab_size: int) -> Tokenizer:
    """Byte-level BPE of at most `vocab_size` ids; the same text gives the same tokenizer, byte for byte.

    A small text may not have enough repeated pairs: then the vocabulary is smaller than asked.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, trainers

    _allow_threads()
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),  # all bytes, so that held-out text is never unknown
        show_progress=False,
    )
    backend.train_from_iterator(_first_bytes(training_text, BPE_TRAINING_BYTES), trainer)
    return _wrap(backend, f"bpe{backend.get_vocab_size()}", END_OF_DOCUMENT)


def load_tokenizer(name: str, end: str | None = None) -> Tokenizer:
    """A ready tokenizer: a local tokenizer.json, a directory saved by transformers, or a name of the hub.

    Args:
        name: which.
        end: the token that ends a document; by default what it declares as its end of sequence, or one of the usual names.

    Raises:
        DataError: it cannot be found, reached or read, or has no such token.
    """
    path = Path(name).expanduser()
    if path.is_file():
        from tokenizers import Tokenizer as Backend

        try:
            backend = Backend.from_file(str(path))
        except Exception as error:  # tokenizers raises plain Exception
            raise DataError(f"data.tokenizer.name={name!r} is not a tokenizer.json: {first_line(error)}.") from None
        return _wrap(backend, path.stem, end)
    if path.is_dir():
        return _load_named(str(path), end)
    if path.suffix == ".json" or name.startswith(("/", "./", "../", "~")):
        raise DataError(f"data.tokenizer.name={name!r}: there is no such file (looked from {Path.cwd()}); give its path.")
    return _load_named(name, end)


def identity(spec: TokenizerSpec) -> tuple[dict[str, Any], str | None]:
    """What tells tokenizers apart, for keys: their settings, and the hash of the files that they are loaded from.

    `max_lost` only allows; an end that is not named is no part, so that keys are those from before it could be.

    Raises:
        DataError: a file may not be read.
    """
    named = ["eod"] if spec.eod else []
    return spec.model_dump(include={"kind", "vocab_size", "name", *named}), _content_hash(spec)


def _content_hash(spec: TokenizerSpec) -> str | None:
    """sha256 of the files that a ready tokenizer is loaded from; None where it is made here, or known by its name."""
    path = Path(spec.name or "").expanduser()
    if spec.kind not in ("hub", "sentencepiece") or not path.exists():
        return None
    try:
        if path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()
        files = sorted(file for file in path.iterdir() if file.suffix in _FILES_OF_TOKENIZERS and file.is_file())
        return hashlib.sha256(
            json.dumps([(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]).encode()
        ).hexdigest()
    except OSError as error:
        raise DataError(
            f"data.tokenizer.name={spec.name!r}: {error.filename} could not be read ({error.strerror}): make it readable."
        ) from None


def _load_named(name: str, end: str | None) -> Tokenizer:
    try:
        loaded = from_cache_or_hub(name)
        backend = loaded.backend_tokenizer
    except Exception as error:  # from transformers, the hub's client, or whichever HTTP client that uses
        raise DataError(
            f"data.tokenizer.name={name!r} could not be loaded: {first_line(error)}; give a path to a tokenizer.json, "
            "or use data.tokenizer.kind=bpe."
        ) from None
    return _wrap(backend, name.rstrip("/").rsplit("/", 1)[-1], end or loaded.eos_token)


def from_cache_or_hub(name: str) -> Any:
    """What AutoTokenizer makes of `name`, without its minute of retries where there is no network."""
    from huggingface_hub import HfApi
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError):  # not in the cache of the hub's client
        if Path(name).is_dir():
            raise
        HfApi().model_info(name, timeout=CONNECT_SECONDS)
        return AutoTokenizer.from_pretrained(name)


def _wrap(backend: Any, name: str, end: str | None) -> Tokenizer:
    ids = {word: backend.token_to_id(word) for word in ([end] if end else _END_NAMES)}
    spelled, eod_id = next(((word, found) for word, found in ids.items() if found is not None), ("", None))
    if eod_id is None:
        raise DataError(
            f"data.tokenizer.name={name!r} has no end-of-document token ({' or '.join(ids)}): name the token that it has for "
            "that by data.tokenizer.eod."
        )
    backend.no_truncation()  # both may be stored in tokenizer.json, where they serve batches of sentences
    backend.no_padding()
    text = backend.to_str()
    backend.encode_special_tokens = True
    ids_in_use = set(backend.get_vocab(with_added_tokens=True).values())
    vocab_size = max(ids_in_use) + 1

    def encode_batch(texts: Sequence[bytes]) -> list[NDArray[Any]]:
        _allow_threads()
        encodings = backend.encode_batch_fast([text.decode() for text in texts], add_special_tokens=False)
        return [np.asarray(encoding.ids, dtype=np.uint32) for encoding in encodings]

    return Tokenizer(
        name=name,
        vocab_size=vocab_size,
        eod_id=eod_id,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        encode_batch=encode_batch,
        end=spelled,
        decode=lambda ids: str(backend.decode(ids.tolist(), skip_special_tokens=False)),
        unused_ids=vocab_size - len(ids_in_use),
        unknown_id=_unknown_id(backend, text),
        json=text,
    )


def _unknown_id(backend: Any, text: str) -> int | None:
    """Id of the unknown token by tokenizer.json, where Unigram models give the id and the others the token."""
    model = json.loads(text)["model"]
    found: int | None = model.get("unk_id")
    return backend.token_to_id(token) if found is None and (token := model.get("unk_token")) else found


def _first_bytes(documents: Iterable[bytes], limit: int) -> Iterator[str]:
    for text, _ in pieces(documents):
        if limit <= 0:
            return
        limit -= len(text)
        yield text.decode()


def _allow_threads() -> None:
    # Without a choice in the environment, tokenizers prints a warning when a process that has used its threads forks.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
