"""Transforms of text against what they are said to do."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.errors import SpecError
from scalesweep.settings.base import parse
from scalesweep.settings.data import DataSpec, TransformSpec
from scalesweep.train.data import Corpus, prepare
from scalesweep.train.data.disturb import disturb


def changed(text: str, kind: str, share: float, seed: int = 0) -> str:
    transform = parse(TransformSpec, {"kind": kind, "share": share, "seed": seed})
    (document,) = disturb([text.encode()], transform)
    return document.decode()


@given(text=st.text(), share=st.floats(0.01, 1))
def test_words_change_places_and_nothing_else(text: str, share: float) -> None:
    after = changed(text, "words", share)
    assert sorted(after.split()) == sorted(text.split())
    assert [c.isspace() for c in after if c.isspace()] == [c.isspace() for c in text if c.isspace()]


def test_the_share_of_the_words_that_moves_is_what_was_asked_for() -> None:
    words = [f"w{i}" for i in range(1000)]
    for share in (0.1, 0.5, 1.0):
        after = changed(" ".join(words), "words", share).split()
        moved = sum(a != b for a, b in zip(words, after, strict=True))
        assert share * 1000 - 8 <= moved <= share * 1000  # a word of a permutation stays where it is once on average


@given(text=st.text(alphabet="0123456789äß€\U0001f600 \n", max_size=300), share=st.floats(0.01, 1))
def test_exactly_the_share_of_the_characters_become_letters(text: str, share: float) -> None:
    after = changed(text, "characters", share)
    assert len(after) == len(text)
    assert sum(c.isascii() and c.islower() for c in after) == round(share * len(text))
    assert all(a == b or (a.isascii() and a.islower()) for a, b in zip(after, text, strict=True))


def test_a_document_is_changed_by_its_text_and_the_seed_alone() -> None:
    transform = parse(TransformSpec, {"kind": "words", "share": 1})
    one, other = (f"{name} " * 5 + "a b c d e f" for name in "xy")
    together = list(disturb([one.encode(), other.encode()], transform))
    assert together == [*disturb([one.encode()], transform), *disturb([other.encode()], transform)]
    assert changed(one, "words", 1, seed=0) != changed(one, "words", 1, seed=1)


def test_a_long_document_is_changed_throughout() -> None:
    text = "0" * 200_000
    after = changed(text, "characters", 0.5)
    for start in range(0, 200_000, 50_000):
        assert after[start : start + 50_000].count("0") == pytest.approx(25_000, rel=0.05)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Corpora of one text under a transform."""
    directory = tmp_path_factory.mktemp("text")
    (directory / "text.jsonl").write_text("\n".join(json.dumps({"text": f"{i} the quick brown fox " * 9}) for i in range(100)))

    def make(transform: dict[str, Any] | None, source: str = "files") -> Corpus:
        text = {"source": "files", "paths": [str(directory / "text.jsonl")]}
        data = text if source == "files" else {"source": "mix", "parts": [{**text, "weight": 1}]}
        values = {
            **data,
            "transform": transform,
            "tokenizer": {"kind": "bpe", "vocab_size": 300},
            "cache": str(directory / "cache"),
        }
        return prepare(DataSpec.model_validate(values))

    return make


@pytest.mark.parametrize("source", ["files", "mix"])
@pytest.mark.parametrize("kind", ["words", "characters"])
def test_tokenizer_and_validation_are_those_of_the_text_as_it_was(made: Any, source: str, kind: str) -> None:
    plain, other = made(None, source), made({"kind": kind, "share": 0.5}, source)
    assert (plain.directory / "tokenizer.json").read_bytes() == (other.directory / "tokenizer.json").read_bytes()
    assert np.array_equal(plain.validation(), other.validation())
    assert not np.array_equal(plain.train(), other.train())
    assert plain.hash != other.hash
    assert made({"kind": kind, "share": 0.5}, source).directory == other.directory


def test_a_transform_of_windows_leaves_the_corpus_as_it_is(made: Any) -> None:
    assert made({"kind": "drop", "share": 0.5}).directory == made(None).directory


def test_drawn_tokens_have_no_text_to_change() -> None:
    values = {"source": "markov", "tokenizer": {"kind": "none"}, "transform": {"kind": "words", "share": 0.5}}
    with pytest.raises(SpecError, match="kind = words is of text, and data=markov has none"):
        parse(DataSpec, values)
