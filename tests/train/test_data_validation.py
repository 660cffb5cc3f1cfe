"""Validation sets of one's own: the same text for every tokenizer, pinned by its hash."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalesweep.errors import DataError, SpecError
from scalesweep.settings.base import parse
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.data import DataSpec
from scalesweep.train.data import open_corpus, prepare
from scalesweep.train.data.batches import Tokens
from scalesweep.train.data.stated import validation_text
from scalesweep.train.data.validation import prepare_with_sets, set_from

TEXTS = [f"document {i}: {'lorem ipsum ' * (5 + i)} ends <|endoftext|> here\n" for i in range(20)]
HELD_OUT = ["Größe und Maß 漢字\n" * 30, "second document\n" * 40, "third, of the others\n" * 50]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, texts in (("train", TEXTS), ("held", HELD_OUT)):
        (tmp_path / name).mkdir()
        for i, text in enumerate(texts):
            (tmp_path / name / f"{i:02}.txt").write_text(text, encoding="utf-8")
    return tmp_path


def spec(place: Path, tokenizer: dict[str, Any], **validation: Any) -> DataSpec:
    files = {"source": "files", "validation_fraction": 0.2, "cache": str(place / "cache")}
    text = {**files, "tokenizer": {"kind": "bytes"}, "cache": None}
    texts = {name: path and {**text, "paths": [path]} for name, path in validation.items()}
    return parse(DataSpec, {**files, "paths": [f"{place}/train/*.txt"], "tokenizer": tokenizer, "validation": texts})


def documents_of(stream: Tokens) -> set[bytes]:
    """The documents of a stream of bytes."""
    whole = np.asarray(stream)
    return {bytes(part[:-1].astype(np.uint8)) for part in np.split(whole, np.flatnonzero(whole == 256) + 1)[:-1]}


BYTES, BPE = {"kind": "bytes"}, {"kind": "bpe", "vocab_size": 270}


def test_a_pinned_set_is_the_validation_stream_and_leaves_the_training_stream(place: Path) -> None:
    own = prepare(spec(place, BYTES))
    corpus, sets = prepare_with_sets(spec(place, BYTES, main=f"{place}/held/*.txt"))
    assert sets == ()
    assert np.array_equal(corpus.train(), own.train())
    text = "".join(HELD_OUT).encode()
    assert corpus.validation_bytes == len(text)
    assert corpus.validation_tokens == len(text) + len(HELD_OUT)
    assert documents_of(corpus.validation()) == {text.encode() for text in HELD_OUT}
    assert corpus.hash != own.hash
    assert open_corpus(corpus.directory) == corpus


def test_every_tokenizer_has_the_same_text(place: Path) -> None:
    held = f"{place}/held/*.txt"
    one, other = (prepare_with_sets(spec(place, tokenizer, main=held))[0] for tokenizer in (BYTES, BPE))
    assert validation_text(one) == validation_text(other)
    assert one.validation_bytes == other.validation_bytes
    assert one.validation_tokens > other.validation_tokens
    assert one.bytes_per_token < other.bytes_per_token


def test_own_text_by_a_corpus_is_tokenized_as_the_corpus_does(place: Path) -> None:
    """A set of the training documents has the tokens that the training stream has."""
    for tokenizer in (BYTES, BPE):
        corpus = prepare(spec(place, tokenizer))
        whole = np.concatenate([corpus.train(), corpus.validation()]).tolist()
        _, (same,) = prepare_with_sets(spec(place, tokenizer, main=None, same=f"{place}/train/*.txt"))

        def documents(tokens: list[int], end: int | None = corpus.eod_id) -> list[list[int]]:
            found: list[list[int]] = [[]]
            for token in tokens:
                found[-1].append(token)
                if token == end:
                    found.append([])
            return sorted(found)

        assert documents(same.tokens().tolist()) == documents(whole)


def test_own_names_the_share_that_the_corpus_holds_out(place: Path) -> None:
    own = prepare(spec(place, BPE))
    corpus, (further,) = prepare_with_sets(spec(place, BPE, main=f"{place}/held/*.txt", share=None))
    assert np.array_equal(further.tokens(), own.validation())
    assert further.text == validation_text(own)
    same, _ = prepare_with_sets(spec(place, BPE, share=None, other=f"{place}/held/*.txt"))
    assert same == own
    assert corpus.hash != own.hash


def test_the_hash_is_of_the_text_and_of_nothing_else(place: Path) -> None:
    held = f"{place}/held/*.txt"
    first, _ = prepare_with_sets(spec(place, BPE, main=held))
    renamed = place / "held" / "zz.txt"
    (place / "held" / "00.txt").rename(renamed)
    again, _ = prepare_with_sets(spec(place, BPE, other=held))
    assert (again.hash, validation_text(again)) == (first.hash, validation_text(first))
    renamed.write_text(HELD_OUT[0] + "!", encoding="utf-8")
    changed, _ = prepare_with_sets(spec(place, BPE, main=held))
    assert changed.hash != first.hash
    assert validation_text(changed) != validation_text(first)
    assert open_corpus(first.directory) == first


LETTERS = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff")
"""Files with half surrogates, control characters or a byte order mark are no plain text, which `formats` says."""


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(LETTERS, min_size=1, max_size=40), min_size=2, max_size=6, unique=True))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    place = tmp_path_factory.mktemp("texts")
    texts = [f"{text}\n" for text in texts]
    encoded = [text.encode() for text in texts]
    (place / "train").mkdir()
    (place / "held").mkdir()
    (place / "train" / "a.txt").write_bytes(b"some text to train on\n" * 40)
    for i, text in enumerate(encoded):
        (place / "held" / f"{i}.txt").write_bytes(text)
    corpus, _ = prepare_with_sets(spec(place, BYTES, main=f"{place}/held/*.txt"))
    assert documents_of(corpus.validation()) == set(encoded)


def test_a_set_is_opened_again_from_what_was_stated(place: Path) -> None:
    _, (one,) = prepare_with_sets(spec(place, BPE, main=None, other=f"{place}/held/*.txt"))
    again = set_from("other", one.stated())
    assert again == one
    assert again.is_there()
    one.file.write_bytes(b"")
    assert not again.is_there()
    assert dataclasses.replace(one, name="x") != one


@pytest.mark.parametrize(
    ("word", "source", "paths", "content"),
    [
        ("data.validation=held.txt", "files", ("held.txt",), "code"),
        ("data.validation=enwik8", "enwik8", (), "code"),
        ("data.validation={data: python, content: prose}", "python", (), "prose"),
        ("data.validation={main: {data: files, paths: [a.txt]}, other: own}", "files", ("a.txt",), "code"),
        ("data.validation.main=held.txt", "files", ("held.txt",), "code"),
    ],
)
def test_a_set_is_a_path_an_option_or_a_table(word: str, source: str, paths: tuple[str, ...], content: str) -> None:
    text = compose_settings(["sweep=smoke", "data.max_bytes=3M", word]).data.validation["main"]
    assert text is not None
    assert (text.source, text.paths, text.content) == (source, paths, content)
    assert text.max_bytes != 3_000_000  # a cap on the training text is none on the validation set


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.validation=3"], "data.validation.main = 3"),
        (["data.validation={main: {data: pyhton}}"], "pyhton"),
        (["data.validation={main: {data: python, contents: prose}}"], "contents"),
        (["data.validation={a b: own}"], "a b"),
        (["data=markov", "data.validation=enwik8"], "markov"),
    ],
)
def test_a_set_that_is_none_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        compose_settings(["sweep=smoke", *words])


@pytest.mark.parametrize("lost", ["tokens.bin", "set.json"])
def test_a_set_of_which_a_file_is_lost_is_made_again(place: Path, lost: str) -> None:
    wanted = spec(place, BPE, main=None, held=f"{place}/held/*.txt")
    _, (made,) = prepare_with_sets(wanted)
    (made.file.parent / lost).unlink()
    _, (again,) = prepare_with_sets(wanted)
    assert again == made
    assert again.is_there()


def test_a_torn_corpus_with_a_pinned_set_is_made_again(place: Path) -> None:
    wanted = spec(place, BPE, main=f"{place}/held/*.txt")
    corpus, _ = prepare_with_sets(wanted)
    (corpus.directory / "train.bin").unlink()
    assert prepare_with_sets(wanted)[0] == corpus
    assert open_corpus(corpus.directory) == corpus


@pytest.mark.parametrize(
    "changed",
    ["{data: python, unique_tokens: 10k}", "{data: python, transform: {kind: words, share: 0.5}}"],
)
def test_a_set_is_a_text_as_it_is(changed: str) -> None:
    with pytest.raises(SpecError, match="as it is"):
        compose_settings([f"data.validation={{main: {changed}}}"])


def test_mixtures_of_other_weights_are_other_corpora_with_a_pinned_set_too(place: Path) -> None:
    held = spec(place, BYTES, main=f"{place}/held/*.txt").validation
    hashes = set()
    for weight in (1, 3):
        parts = [{"source": "files", "paths": [f"{place}/train/0*.txt"], "weight": weight}]
        parts += [{"source": "files", "paths": [f"{place}/train/1*.txt"], "weight": 1}]
        parts = [{**part, "validation_fraction": 0.2} for part in parts]
        mixed = {"source": "mix", "parts": parts, "tokenizer": BYTES, "cache": str(place / "cache")}
        wanted = parse(DataSpec, mixed).model_copy(update={"validation": held})
        hashes.add(prepare_with_sets(wanted)[0].hash)
    assert len(hashes) == 2


def test_a_path_that_is_not_there_is_refused(place: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.txt"):
        prepare_with_sets(spec(place, BYTES, main=f"{place}/nowhere.txt"))
