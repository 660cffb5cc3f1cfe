import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.errors import DataError
from scalesweep.settings.data import TokenizerSpec
from scalesweep.train.data.encoding import decode, encode, pieces
from scalesweep.train.data.tokenizer import byte_tokenizer, load_tokenizer, make_tokenizer, train_bpe

TEXT = [b"the cat sat on the mat and the dog sat on the log\n" * 20, "naïve café\n".encode() * 20]


def test_bytes_are_their_own_ids_and_256_ends_a_document():
    tokens = np.concatenate(list(encode(byte_tokenizer(), ["é!".encode(), b"", b"a"])))
    assert tokens.tolist() == [0xC3, 0xA9, ord("!"), 256, 256, ord("a"), 256]


def test_a_stretch_of_a_stream_is_decoded_with_the_ends_of_its_documents():
    for tokenizer in (byte_tokenizer(), train_bpe(TEXT, 280)):
        ids = np.concatenate(list(encode(tokenizer, ["é!".encode(), b"", b"a"])))
        assert decode(tokenizer, ids) == "é!<|endoftext|><|endoftext|>a<|endoftext|>"
    assert decode(byte_tokenizer(), np.array([ord("a"), 0xC3])) == "a\ufffd"  # cut in a character


def test_bpe_round_trips_and_is_the_same_every_time():
    from tokenizers import Tokenizer as Backend

    first, second = train_bpe(TEXT, 280), train_bpe(TEXT, 280)
    assert first.sha256 == second.sha256
    assert (first.name, first.vocab_size) == ("bpe280", 280)
    ids = first.encode_batch([b"the naive cat\n", "\x00 日本".encode()])
    backend = Backend.from_str(first.json)
    assert [backend.decode(x.tolist(), skip_special_tokens=False) for x in ids] == ["the naive cat\n", "\x00 日本"]


def test_text_that_spells_the_end_token_stays_text():
    tokenizer = train_bpe(TEXT, 300)
    (ids,) = tokenizer.encode_batch([b"a <|endoftext|> b"])
    assert tokenizer.eod_id not in ids
    assert len(ids) > 3


def test_a_small_text_gives_a_smaller_vocabulary():
    assert 257 < train_bpe([b"abab"], 5000).vocab_size < 300


def test_a_local_tokenizer_json_is_the_tokenizer_it_was_saved_from(tmp_path):
    trained = train_bpe(TEXT, 280)
    path = tmp_path / "tokenizer.json"
    path.write_text(trained.json, encoding="utf-8")
    loaded = make_tokenizer(TokenizerSpec(kind="hub", name=str(path)), [])
    assert (loaded.vocab_size, loaded.eod_id, loaded.sha256) == (280, trained.eod_id, trained.sha256)
    assert (loaded.encode_batch(TEXT)[0] == trained.encode_batch(TEXT)[0]).all()


@pytest.mark.parametrize("name", ["tokenizer.json", "./mine", "~/none/such", "/none/such"])
def test_a_tokenizer_file_that_is_not_there_is_not_sought_on_the_hub(monkeypatch, name):
    monkeypatch.setattr("scalesweep.train.data.tokenizer.from_cache_or_hub", lambda name: pytest.fail("asked the hub"))
    with pytest.raises(DataError, match="there is no such file"):
        load_tokenizer(name)


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(DataError, match=r"is not a tokenizer\.json"):
        load_tokenizer(str(path))


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path):
    saved = json.loads(train_bpe(TEXT, 300).json.replace("<|endoftext|>", "<|unknown|>"))
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(saved))
    with pytest.raises(DataError, match="has no end-of-document token"):
        load_tokenizer(str(path))


HUB = """
from scalesweep.train.data.tokenizer import load_tokenizer
from scalesweep.errors import DataError
try:
    load_tokenizer("someone/something")
except DataError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_a_hub_out_of_reach_is_one_sentence_in_seconds(tmp_path, variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path), **variables}
    result = subprocess.run(
        [sys.executable, "-c", HUB], env=environment, capture_output=True, text=True, timeout=30, check=True
    )
    assert result.stdout.startswith("data.tokenizer.name='someone/something' could not be loaded: ")
    assert result.stdout.endswith("; give a path to a tokenizer.json, or use data.tokenizer.kind=bpe.\n")


@given(documents=st.lists(st.text(alphabet="ab\né", max_size=300), max_size=5), size=st.integers(4, 50))
def test_pieces_make_up_their_documents(documents, size):
    rebuilt, current = [], b""
    for text, is_last in pieces((document.encode() for document in documents), size):
        assert len(text) <= size
        text.decode()
        current += text
        if is_last:
            rebuilt.append(current.decode())
            current = b""
    assert rebuilt == documents
