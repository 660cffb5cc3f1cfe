"""Tokenizers of SentencePiece and tiktoken: the ids are the library's, and what they lose is measured as of any other."""

import sys

import numpy as np
import pytest

from scalesweep.errors import DataError
from scalesweep.settings.data import DataSpec, TokenizerSpec
from scalesweep.train.data import prepare
from scalesweep.train.data.round_trip import round_trip
from scalesweep.train.data.tokenizer import make_tokenizer, tokenizer_of

LINES = [f"The {i}th cat sat on {i * i} mats, and the dog on log {i + 7}." for i in range(300)]


@pytest.fixture(scope="module")
def piece_model(tmp_path_factory):
    sentencepiece = pytest.importorskip("sentencepiece")
    path = tmp_path_factory.mktemp("spm") / "small.model"
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(LINES), model_writer=file, vocab_size=120, minloglevel=2
        )
    return path


def corpus_of(tmp_path, kind, name, **settings):
    for index in range(6):
        (tmp_path / f"{index}.txt").write_text("".join(LINES[index * 40 : index * 40 + 40]))
    spec = {"source": "files", "paths": [f"{tmp_path}/*.txt"], "validation_fraction": 0.2, "cache": f"{tmp_path}/cache"}
    return prepare(DataSpec.model_validate({**spec, "tokenizer": {"kind": kind, "name": str(name), **settings}}))


def documents(corpus):
    """The ids of each document, without its end."""
    tokens = np.concatenate([corpus.train(), corpus.validation()])
    parts = np.split(tokens, np.flatnonzero(tokens == corpus.eod_id))
    return {tuple(part[part != corpus.eod_id].tolist()) for part in parts} - {()}


def test_ids_of_sentencepiece_are_the_librarys(tmp_path, piece_model):
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(piece_model))
    corpus = corpus_of(tmp_path, "sentencepiece", piece_model)
    assert (corpus.vocab_size, corpus.eod_id, corpus.round_trip.lost) == (120, model.eos_id(), 0)
    assert tokenizer_of(corpus).encode_batch([b"the dog sat"])[0].tolist() == model.encode("the dog sat")
    assert documents(corpus) == {tuple(model.encode("".join(LINES[index * 40 : index * 40 + 40]))) for index in range(6)}


def test_line_breaks_that_sentencepiece_drops_are_lost(piece_model):
    tokenizer = make_tokenizer(TokenizerSpec(kind="sentencepiece", name=str(piece_model)), [])
    assert round_trip(tokenizer, [b"a cat\n\n\n\nsat"]).lost_characters > 0


def test_the_end_of_a_document_may_be_another_piece(tmp_path, piece_model):
    assert corpus_of(tmp_path, "sentencepiece", piece_model, eod="<s>").eod_id == 1
    with pytest.raises(DataError, match="has no end-of-document token"):
        corpus_of(tmp_path, "sentencepiece", piece_model, eod="<eot>")


def test_a_file_that_is_no_model_is_refused(tmp_path, piece_model):
    (tmp_path / "bad.model").write_bytes(b"no model")
    for name, words in (("bad.model", "is no SentencePiece model"), ("none.model", "could not be read")):
        with pytest.raises(DataError, match=words):
            make_tokenizer(TokenizerSpec(kind="sentencepiece", name=str(tmp_path / name)), [])


def test_ids_of_tiktoken_are_the_librarys(tmp_path, monkeypatch):
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"th": 256, b"at": 257, b" the": 258}
    small = tiktoken.Encoding("small", pat_str=r"\s?\S+|\s+", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 300})
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: small)
    corpus = corpus_of(tmp_path, "tiktoken", "small")
    assert (corpus.vocab_size, corpus.eod_id, corpus.round_trip.lost) == (301, 300, 0)
    assert tokenizer_of(corpus).encode_batch([b"that the"])[0].tolist() == small.encode_ordinary("that the")
    assert documents(corpus) == {
        tuple(small.encode_ordinary("".join(LINES[index * 40 : index * 40 + 40]))) for index in range(6)
    }
    with pytest.raises(DataError, match="has no end-of-document token"):
        corpus_of(tmp_path, "tiktoken", "small", eod="<eot>")


@pytest.mark.parametrize("kind", ["sentencepiece", "tiktoken"])
def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(DataError, match=rf"pip install '{kind}[<>]"):
        make_tokenizer(TokenizerSpec(kind=kind, name="x"), [])
