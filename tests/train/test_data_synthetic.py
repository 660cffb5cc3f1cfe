"""Sources of known entropy: closed forms against drawn tokens, and trained models against the closed forms."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import small_settings

from scalesweep.errors import SpecError
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.data import DataSpec
from scalesweep.settings.settings import parse_settings
from scalesweep.train.data import check_entropy, count_windows, prepare
from scalesweep.train.data.corpus import Corpus, open_corpus
from scalesweep.train.data.synthetic import (
    KEY_DIGITS,
    RECORD_TOKENS,
    entropy_of,
    fact_values,
    ideal_value_loss,
    key_base,
    key_probabilities,
    markov_entropies,
    markov_table,
    stationary_pairs,
)
from scalesweep.train.data.tasks import token_source
from scalesweep.train.device import prepare_device
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, train
from scalesweep.train.pack import Outcome, Run


def make_spec(source: str, **settings: Any) -> DataSpec:
    return DataSpec.model_validate({"source": source, "tokenizer": {"kind": "none"}, **settings})


def drawn(spec: DataSpec, num: int, stream: int = 0) -> np.ndarray:
    return np.concatenate(list(token_source(spec).draw(stream, num)))


# -- Markov -------------------------------------------------------------------------------------------------------------------


def test_stationary_pairs_stay_as_they_are() -> None:
    table = markov_table(3, 5)
    pairs = stationary_pairs(table)
    assert table.sum(-1) == pytest.approx(np.ones((5, 5)))
    assert pairs.min() > 0
    assert pairs.sum() == pytest.approx(1)
    np.testing.assert_allclose(np.einsum("ab,abc->bc", pairs, table), pairs, atol=1e-14)


def test_entropies_of_chains_that_can_be_done_by_hand() -> None:
    uniform = np.full((3, 3, 3), 1 / 3)
    assert markov_entropies(uniform) == pytest.approx((math.log(3),) * 3)
    order_one = np.broadcast_to(np.array([[0.9, 0.1], [0.3, 0.7]]), (2, 2, 2))  # c depends on b alone; pi = (3/4, 1/4)
    rate = 0.75 * entropy_of(np.array([0.9, 0.1])) + 0.25 * entropy_of(np.array([0.3, 0.7]))
    assert markov_entropies(order_one) == pytest.approx((entropy_of(np.array([0.75, 0.25])), rate, rate))


def test_drawn_tokens_have_the_entropies_of_the_closed_form() -> None:
    """Empirical n-gram cross-entropy under the true table: within 4 standard errors, and so are the plug-in entropies."""
    spec, num = make_spec("markov", alphabet=6, seed=5), 200_000
    tokens, table = drawn(spec, num), markov_table(5, 6)
    none, one, rate = markov_entropies(table)
    assert none > one > rate
    surprise = -np.log(table[tokens[:-2], tokens[1:-1], tokens[2:]])
    assert surprise.mean() == pytest.approx(rate, abs=4 * surprise.std() / math.sqrt(num))
    counts = np.bincount((tokens[:-2] * 6 + tokens[1:-1]) * 6 + tokens[2:], minlength=216).reshape(6, 6, 6) / (num - 2)
    singles, pairs = counts.sum((0, 1)), counts.sum(0)
    plug_in = entropy_of(singles), entropy_of(pairs) - entropy_of(pairs.sum(1)), entropy_of(counts) - entropy_of(counts.sum(2))
    assert plug_in == pytest.approx((none, one, rate), abs=0.005)


def test_window_optimum_is_that_of_a_model_that_knows_the_chain() -> None:
    """The best prediction of a window's first target conditions on one token, of the others on two."""
    spec, context = make_spec("markov", alphabet=4), 8
    source, table = token_source(spec), markov_table(0, 4)
    windows = np.stack([drawn(spec, context + 1, stream) for stream in range(4000)])
    pairs = stationary_pairs(table)
    first = -np.log(pairs[windows[:, 0], windows[:, 1]] / pairs.sum(1)[windows[:, 0]])
    rest = -np.log(table[windows[:, :-2], windows[:, 1:-1], windows[:, 2:]])
    losses = (first + rest.sum(1)) / context
    expected = source.entropy + source.window_excess / context
    assert expected > source.entropy
    assert losses.mean() == pytest.approx(expected, abs=4 * losses.std() / math.sqrt(len(losses)))


def test_streams_follow_from_the_seed_alone() -> None:
    for source in ("markov", "zipf_facts"):
        spec = make_spec(source)
        assert np.array_equal(drawn(spec, 70_000)[:5000], drawn(spec, 5000))
        assert not np.array_equal(drawn(spec, 5000), drawn(spec, 5000, stream=1))
        assert not np.array_equal(drawn(spec, 5000), drawn(make_spec(source, seed=1), 5000))
    assert drawn(make_spec("markov"), 12).tolist() == [14, 7, 1, 10, 14, 1, 3, 13, 0, 7, 7, 1]


# -- Zipf facts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "entropy"), [(0.5, 3.20090), (1.0, 1.63760)])
def test_entropy_of_a_million_keys(alpha: float, entropy: float) -> None:
    assert entropy_of(key_probabilities(10**6, alpha)) == pytest.approx(entropy, abs=5e-6)
    source = token_source(make_spec("zipf_facts", zipf_alpha=alpha))
    assert source.entropy * RECORD_TOKENS == pytest.approx(entropy, abs=5e-6)


@pytest.mark.parametrize(("keys", "base"), [(2, 2), (8, 2), (9, 3), (10**6, 100), (10**6 + 1, 101)])
def test_digits_number_every_key(keys: int, base: int) -> None:
    assert key_base(keys) == base


def test_records_are_keys_with_their_values() -> None:
    spec = make_spec("zipf_facts", keys=1000, zipf_alpha=1.0, values=16)
    records = drawn(spec, 4 * 50_000).reshape(-1, RECORD_TOKENS)
    keys = records[:, :KEY_DIGITS] @ (10 ** np.arange(KEY_DIGITS - 1, -1, -1))
    assert np.array_equal(records[:, -1], 10 + fact_values(0, 1000, 16)[keys])
    p = key_probabilities(1000, 1.0)
    frequency = np.bincount(keys, minlength=1000)[:20] / len(keys)
    assert np.all(np.abs(frequency - p[:20]) < 4.5 * np.sqrt(p[:20] / len(keys)))
    assert len(drawn(spec, 1001)) == 1001


def test_hashed_values_are_spread_evenly() -> None:
    counts = np.bincount(fact_values(0, 256_000, 256), minlength=256)
    chi_squared = float(np.sum((counts - 1000) ** 2 / 1000))
    assert abs(chi_squared - 255) < 4 * math.sqrt(2 * 255)
    assert np.mean(fact_values(0, 10_000, 256) == fact_values(1, 10_000, 256)) < 0.01


def test_a_tabular_learner_follows_the_law_of_data() -> None:
    """It knows the values of the keys it has seen: simulated on fresh draws, and exactly by enumeration of a tiny source."""
    p = key_probabilities(3, 0.5)
    exact = sum(
        math.prod(p[list(seen)]) * p[[k for k in range(3) if k not in seen]].sum()
        for seen in itertools.product(range(3), repeat=4)
    )
    assert ideal_value_loss(p, 256, records=4) == pytest.approx(math.log(256) * exact, rel=1e-12)
    spec, records = make_spec("zipf_facts", keys=100_000), 500
    p, expected = key_probabilities(100_000, 0.5), ideal_value_loss(key_probabilities(100_000, 0.5), 256, records=500)
    losses = []
    for stream in range(100):
        tokens = drawn(spec, records * RECORD_TOKENS, stream).reshape(-1, RECORD_TOKENS)
        seen = np.unique(tokens[:, :KEY_DIGITS] @ (key_base(100_000) ** np.arange(KEY_DIGITS - 1, -1, -1)))
        losses.append(math.log(256) * (1 - p[seen].sum()))
    assert np.mean(losses) == pytest.approx(expected, abs=4 * np.std(losses) / 10)


@pytest.mark.parametrize(("alpha", "low", "high"), [(0.5, -0.357, -0.334), (1.0, -0.501, -0.498)])
def test_local_slopes_of_the_law_of_data(alpha: float, low: float, high: float) -> None:
    """alpha / (1 + alpha), as computed independently for K = 1e6 between 1e2 and 3e5 records."""
    p = key_probabilities(10**6, alpha)
    budgets = np.geomspace(1e2, 3e5, 8)
    slopes = [
        math.log(ideal_value_loss(p, 256, records=1.1 * d) / ideal_value_loss(p, 256, records=d)) / math.log(1.1)
        for d in budgets
    ]
    assert low - 0.002 < min(slopes) <= max(slopes) < high + 0.002


def test_limits_of_the_ideal_value_loss() -> None:
    p = key_probabilities(1000, 1.0)
    assert ideal_value_loss(p, 256) == pytest.approx(0, abs=1e-12)
    assert ideal_value_loss(p, 256, records=0) == ideal_value_loss(p, 256, facts=0) == pytest.approx(math.log(256))
    assert ideal_value_loss(p, 256, facts=10) == pytest.approx(math.log(256) * p[10:].sum())


# -- corpora ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["markov", "zipf_facts"])
def test_a_drawn_corpus_is_kept_and_carries_its_entropy(tmp_path: Path, source: str) -> None:
    spec = make_spec(source, max_tokens=20_000, validation_fraction=0.1, cache=str(tmp_path))
    said: list[str] = []
    corpus = prepare(spec, said.append)
    assert len(said) == 1
    assert prepare(spec, said.append) == corpus == open_corpus(corpus.directory)
    assert len(said) == 1
    known = token_source(spec)
    assert (len(corpus.train()), len(corpus.validation()), corpus.vocab_size) == (18_000, 2_000, known.vocab_size)
    assert np.array_equal(corpus.train(), drawn(spec, 18_000))
    assert np.array_equal(corpus.validation(), drawn(spec, 2_000, stream=1))
    assert corpus.window_entropy(32) == pytest.approx(known.entropy + known.window_excess / 32)
    assert prepare(spec.model_copy(update={"seed": 1})).hash != corpus.hash


def test_text_has_no_known_entropy(corpus: Corpus) -> None:
    assert corpus.window_entropy(32) is None


def test_a_tokenizer_and_drawn_tokens_exclude_each_other(tmp_path: Path) -> None:
    values = small_settings(tmp_path).model_dump(mode="json")
    with pytest.raises(SpecError, match="data=markov needs tokenizer"):
        parse_settings({**values, "data": {**values["data"], "source": "markov"}})
    with pytest.raises(SpecError, match=r"needs tokenizer.kind=bytes, bpe, hub, sentencepiece or"):
        parse_settings({**values, "data": {**values["data"], "tokenizer": {"kind": "none"}}})


# -- the truth ----------------------------------------------------------------------------------------------------------------


def test_a_loss_is_judged_by_three_standard_errors() -> None:
    assert check_entropy(1.80, 0.01, 1.82) == ""
    assert "below the source's entropy 1.8200 by 4.0 standard errors" in check_entropy(1.78, 0.01, 1.82)
    assert check_entropy(math.nan, math.nan, 1.82) == ""


def measure(home: Path, source: dict[str, Any], width: int, depth: int, budgets: list[int], validation: int) -> list[Outcome]:
    """Outcomes on a source at each budget, none of which may be below the optimum of their windows."""
    settings = small_settings(
        home,
        data={"max_bytes": None, "tokenizer": {"kind": "none"}, **source},
        sweep={"name": "truth", "sizes": [{"width": width, "depth": depth}], "budgets": budgets},
        recipe={"batch_tokens": 256, "lr": 0.008, "base_width": 32},
        train={"validation_tokens": validation},
    )
    corpus = prepare(settings.data)
    facts = CorpusFacts(corpus.name, corpus.hash, corpus.vocab_size, count_windows(corpus.train_tokens, 32) * 32)
    execution = Execution(prepare_device("cpu"))
    streams = np.array(corpus.train()), np.array(corpus.validation())
    cells = make_plan(settings, facts, "cpu").cells
    outcomes = [train([Run(cell)], *streams, execution, Hooks())[0] for cell in cells]
    entropy = corpus.window_entropy(32)
    assert entropy is not None
    for outcome in outcomes:
        assert outcome.loss >= entropy - 3 * outcome.loss_se, check_entropy(outcome.loss, outcome.loss_se, entropy)
    return outcomes


MARKOV = {"source": "markov", "alphabet": 4, "max_tokens": 400_000, "validation_fraction": 0.1}


def test_trained_models_stay_above_the_entropy_and_come_down_to_it(home: Path) -> None:
    outcomes = measure(home, MARKOV, 16, 1, [2048, 8192, 32768], 16384)
    losses = [outcome.loss for outcome in outcomes]
    _, one, rate = markov_entropies(markov_table(0, 4))
    assert losses[0] > losses[1] > losses[2]
    assert rate < losses[2] < one  # it uses both tokens of context


def test_trained_models_stay_above_the_entropy_of_facts(home: Path) -> None:
    source = {"source": "zipf_facts", "keys": "1k", "values": 16, "max_tokens": 200_000, "validation_fraction": 0.1}
    early, late = measure(home, source, 16, 1, [4096, 32768], 16384)
    assert late.loss < early.loss


@pytest.mark.slow
def test_a_longer_run_ends_within_two_hundredths_of_a_nat_of_the_entropy(home: Path) -> None:
    (outcome,) = measure(home, MARKOV, 32, 2, [131_072], 32768)
    source = token_source(make_spec("markov", alphabet=4))
    assert outcome.loss - (source.entropy + source.window_excess / 32) < 0.02
