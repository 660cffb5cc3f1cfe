"""Ready tokenizers of two other libraries, which are extras of the installation: SentencePiece and tiktoken."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalesweep.errors import DataError
from scalesweep.packages import pip_line
from scalesweep.train.data.encoding import Tokenizer
from scalesweep.train.data.hub import first_line


def load_sentencepiece(name: str, end: str | None) -> Tokenizer:
    """A SentencePiece model (Kudo & Richardson 2018, arXiv 1808.06226).

    Args:
        name: path of the model's file.
        end: the piece that ends a document; by default the model's end of sequence.

    Raises:
        DataError: the library is missing, the file is no model, or has no such piece.
    """
    try:
        import sentencepiece
    except ImportError:
        raise _missing("sentencepiece") from None
    path = Path(name).expanduser()
    try:
        content = path.read_bytes()
        model = sentencepiece.SentencePieceProcessor(model_proto=content)
    except OSError as error:
        raise DataError(f"data.tokenizer.name={name!r} could not be read ({error.strerror}); give a model's path.") from None
    except RuntimeError as error:
        raise DataError(f"data.tokenizer.name={name!r} is no SentencePiece model: {first_line(error)}.") from None
    eod_id = model.eos_id() if end is None else model.piece_to_id(end)
    if eod_id < 0 or (end is not None and model.id_to_piece(eod_id) != end):  # an unknown piece has the id of the unknown one
        raise _no_end(name, end or "end of sequence")

    def encode_batch(texts: Sequence[bytes]) -> list[NDArray[Any]]:
        return [np.asarray(ids, dtype=np.uint32) for ids in model.encode([text.decode() for text in texts])]

    return Tokenizer(
        name=path.stem,
        vocab_size=model.vocab_size(),
        eod_id=eod_id,
        sha256=hashlib.sha256(content).hexdigest(),
        encode_batch=encode_batch,
        decode=lambda ids: str(model.decode(ids.tolist())),
        end=model.id_to_piece(eod_id),
        unknown_id=model.unk_id() if model.unk_id() >= 0 else None,
        model=content,
    )


def load_tiktoken(name: str, end: str | None) -> Tokenizer:
    """An encoding of tiktoken, which the library downloads once.

    Args:
        name: such as gpt2, cl100k_base or o200k_base.
        end: the special token that ends a document; by default the encoding's end of text.

    Raises:
        DataError: the library is missing, or has no such encoding or special token, or cannot download it.
    """
    try:
        import tiktoken
    except ImportError:
        raise _missing("tiktoken") from None
    try:
        encoding = tiktoken.get_encoding(name)
    except Exception as error:  # from whichever HTTP client it uses, too
        raise DataError(f"data.tokenizer.name={name!r} could not be loaded by tiktoken: {first_line(error)}.") from None
    specials = {word: encoding.encode_single_token(word) for word in encoding.special_tokens_set}
    spelled = end or "<|endoftext|>"
    if spelled not in specials:
        raise _no_end(name, spelled)
    ranks = encoding.token_byte_values()
    content = json.dumps([[token.hex() for token in ranks], sorted(specials.items())])

    def encode_batch(texts: Sequence[bytes]) -> list[NDArray[Any]]:
        return [np.asarray(ids, dtype=np.uint32) for ids in encoding.encode_ordinary_batch([text.decode() for text in texts])]

    return Tokenizer(
        name=name,
        vocab_size=encoding.n_vocab,
        eod_id=specials[spelled],
        sha256=hashlib.sha256(content.encode()).hexdigest(),
        encode_batch=encode_batch,
        decode=lambda ids: str(encoding.decode(ids.tolist())),
        end=spelled,
        unused_ids=encoding.n_vocab - len(ranks) - len(specials),
    )


def _missing(package: str) -> DataError:
    return DataError(f"data.tokenizer.kind={package} needs the package {package}: {pip_line(package)}.")


def _no_end(name: str, end: str) -> DataError:
    return DataError(
        f"data.tokenizer.name={name!r} has no end-of-document token ({end}): name the token that it has for that by "
        "data.tokenizer.eod."
    )
