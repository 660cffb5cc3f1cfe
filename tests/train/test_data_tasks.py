"""Sources that state problems: closed forms against drawn tokens, held-out problems, and what settings refuse."""

import math
from pathlib import Path

import numpy as np
import pytest
from builders import small_settings

from scalesweep.errors import DataError, SpecError
from scalesweep.settings.base import parse
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.data import DataSpec
from scalesweep.sweep.corpora import Corpora, prepare_corpora
from scalesweep.sweep.run import plan_sweep
from scalesweep.train.data import prepare
from scalesweep.train.data.synthetic import entropy_of, key_probabilities
from scalesweep.train.data.tasks import (
    COPY_PROBLEMS,
    HELD_OUT,
    are_right,
    fact_records,
    is_held_out,
    problem_set,
    token_source,
)


def composed(*words: str) -> DataSpec:
    return compose_settings(list(words)).data


def drawn(spec: DataSpec, num: int, stream: int = 0) -> np.ndarray:
    return np.concatenate(list(token_source(spec).draw(stream, num)))


def test_records_of_facts_are_drawn_by_rank_whatever_their_digits() -> None:
    spec = composed("data=facts")
    records = fact_records(spec)
    assert records.shape == (4096, 6)
    ids = records[:, 0] * 64 + records[:, 1]
    assert sorted(ids) == list(range(4096))
    assert abs(np.corrcoef(ids, np.arange(4096))[0, 1]) < 0.05  # a fixed permutation: digits do not tell the rank
    stream = drawn(spec, 6 * 40_000).reshape(-1, 6)
    rank = np.argsort(ids)[stream[:, 0] * 64 + stream[:, 1]]
    assert np.array_equal(stream, records[rank])  # a key has one value wherever it stands
    p, frequency = key_probabilities(4096, 0.5), np.bincount(rank, minlength=4096) / len(rank)
    assert np.all(np.abs(frequency - p)[:20] < 4.5 * np.sqrt(p[:20] / len(rank)))
    assert token_source(spec).entropy == pytest.approx(entropy_of(p) / 6)
    assert token_source(spec).vocab_size == 64 + 16


def test_values_of_facts_are_spread_evenly_at_every_place() -> None:
    values = fact_records(composed("data=facts"))[:, 2:] - 64
    for place in values.T:
        chi_squared = float(np.sum((np.bincount(place, minlength=16) - 256) ** 2 / 256))
        assert abs(chi_squared - 15) < 4.5 * math.sqrt(2 * 15)
    others = fact_records(composed("data=facts", "data.seed=1"))[:, 2:] - 64
    assert np.mean(others == values) == pytest.approx(1 / 16, abs=0.01)


def test_copy_shows_each_symbol_twice_and_never_a_held_out_problem_in_training() -> None:
    spec = composed("data=copy")
    trained, held_out = (drawn(spec, 18 * 3000, stream).reshape(-1, 18) for stream in (0, 1))
    for problems, is_out in ((trained, False), (held_out, True)):
        assert np.array_equal(problems[:, :8], problems[:, 9:17])
        assert np.all(problems[:, 8] == 16)
        assert np.all(problems[:, 17] == 17)
        assert np.all(is_held_out(problems[:, :8], spec.seed) == is_out)
    counts = np.bincount(held_out[:, :8].reshape(-1), minlength=16)  # what is held out is as uniform as the rest
    assert float(np.sum((counts - counts.mean()) ** 2 / counts.mean())) < 15 + 4.5 * math.sqrt(30)
    symbols = np.random.default_rng(0).integers(0, 16, (64_000, 8))
    assert np.mean(is_held_out(symbols, 0)) == pytest.approx(1 / HELD_OUT, abs=0.004)
    assert token_source(spec).entropy == pytest.approx(8 * math.log(16) / 18)


@pytest.mark.parametrize("source", ["facts", "copy"])
def test_streams_follow_from_the_seed_alone(source: str) -> None:
    spec = composed(f"data={source}")
    assert np.array_equal(drawn(spec, 500_000)[:5000], drawn(spec, 5000))
    assert not np.array_equal(drawn(spec, 5000), drawn(spec, 5000, stream=1))
    assert not np.array_equal(drawn(spec, 5000), drawn(composed(f"data={source}", "data.seed=1"), 5000))


def test_facts_are_asked_by_rank_each_after_a_common_record() -> None:
    spec = composed("data=facts")
    problems, records = problem_set(spec, 30), fact_records(spec)
    assert problems.tokens.shape == (4096, 12)
    assert np.array_equal(problems.tokens[:, 6:], records)
    assert np.array_equal(problems.rank, np.arange(1, 4097))
    assert np.all(problems.tokens[1:, :6] == records[0])
    assert np.array_equal(problems.tokens[0, :6], records[1])  # its own answer does not stand before it
    assert problems.chance == 16.0**-4
    assert np.array_equal(problems.answers, records[:, 2:])
    assert problem_set(spec, 6).tokens.shape == (4096, 6)


def test_copy_is_asked_on_problems_that_no_stream_shows() -> None:
    spec = composed("data=copy")
    problems = problem_set(spec, 54)
    assert problems.tokens.shape == (COPY_PROBLEMS / 3, 54)
    symbols = problems.tokens.reshape(-1, 18)[:, :8]
    assert np.all(is_held_out(symbols, 0))
    assert np.array_equal(problems.answers, symbols)
    assert np.array_equal(np.bincount(problems.start)[[9, 27, 45]], [COPY_PROBLEMS / 3] * 3)  # at all places alike
    assert problems.chance == 16.0**-8
    assert not problems.rank.any()
    assert problems.digest == problem_set(spec, 54).digest != problem_set(composed("data=copy", "data.seed=1"), 54).digest
    with pytest.raises(DataError, match="data=markov states no problems"):
        problem_set(composed("data=markov"), 32)


@pytest.mark.parametrize(("source", "context", "multiple"), [("facts", 32, 36), ("copy", 30, 36)])
def test_a_context_that_cuts_records_is_refused(tmp_path: Path, source: str, context: int, multiple: int) -> None:
    words = [f"data={source}", "data.max_tokens=200k", f"data.cache={tmp_path}", f"model.context={context}", "sweep=smoke"]
    settings = compose_settings(words)
    corpora: Corpora = prepare_corpora(settings, lambda line: None)
    with pytest.raises(SpecError, match=f"model.context = {context} is no whole number .* set it to {multiple}"):
        plan_sweep(settings, corpora, "cpu")


def test_a_corpus_of_problems_carries_its_entropy(tmp_path: Path) -> None:
    spec = composed("data=copy", "data.max_tokens=20k", f"data.cache={tmp_path}")
    corpus = prepare(spec)
    assert corpus.window_entropy(54) == pytest.approx(8 * math.log(16) / 18)
    assert np.array_equal(corpus.train(), drawn(spec, 18_000))
    assert np.array_equal(corpus.validation(), drawn(spec, 2_000, stream=1))
    again = prepare(spec.model_copy(update={"answer_tokens": 7}))
    assert again.hash != corpus.hash


def test_problems_too_few_to_be_new_or_too_many_to_be_asked_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="keys = 1,000,000, more than 100,000"):
        composed("data=facts", "data.keys=1M")
    values = {**small_settings(tmp_path).data.model_dump(mode="json"), "source": "copy", "tokenizer": {"kind": "none"}}
    with pytest.raises(SpecError, match="65,536 problems, fewer than 1,000,000"):
        parse(DataSpec, {**values, "max_bytes": None, "answer_tokens": 4})


def test_a_share_of_the_keys_has_wrong_values_in_the_training_stream_alone() -> None:
    spec = composed("data=facts", "data.answer_tokens=2", "data.wrong_share=0.25")
    right = fact_records(spec)
    taught, held_out = (drawn(spec, 4 * 40_000, stream).reshape(-1, 4) for stream in (0, 1))
    assert are_right(held_out, spec).all()
    keys = taught[:, 0] * 64 + taught[:, 1]
    wrong = np.unique(keys[~are_right(taught, spec)])
    assert not np.isin(wrong, keys[are_right(taught, spec)]).any()  # a key is right or wrong throughout
    assert abs(len(wrong) / len(np.unique(keys)) - 0.25) < 4.5 * math.sqrt(0.25 * 0.75 / len(np.unique(keys)))
    true = {tuple(record[:2]): record[2:] for record in right}
    changed = taught[~are_right(taught, spec)][:200]
    assert all((true[tuple(record[:2])] != record[2:]).all() for record in changed)
    assert token_source(spec).entropy == token_source(composed("data=facts", "data.answer_tokens=2")).entropy


def test_right_records_are_those_of_the_table() -> None:
    spec = composed("data=facts", "data.answer_tokens=2", "data.keys=1000")
    records = fact_records(spec)
    assert are_right(records, spec).all()
    assert not are_right(np.roll(records, 1, axis=1), spec).any()
    unknown = np.array([[31, 31, 32, 32], [50, 50, 50, 50]])  # no key of 1,000, and no key at all
    assert not are_right(unknown, spec).any()
