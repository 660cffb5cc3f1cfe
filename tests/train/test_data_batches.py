import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.errors import DataError
from scalesweep.train.data import batch, count_windows, validation_shortage, validation_windows

seeds = st.integers(0, 2**31)
contexts = st.integers(1, 9)


def stream(num_tokens: int) -> np.ndarray:
    return np.arange(num_tokens, dtype=np.uint16)


@given(num_tokens=st.integers(2, 300), context=contexts, sequences=st.integers(1, 7), seed=seeds, epoch=st.integers(0, 3))
def test_each_epoch_visits_every_window_once(num_tokens, context, sequences, seed, epoch):
    windows = count_windows(num_tokens, context)
    if windows == 0:
        return
    tokens = stream(num_tokens)
    steps = -(-(epoch + 1) * windows // sequences)
    rows = np.concatenate([batch(tokens, seed=seed, step=s, sequences=sequences, context=context) for s in range(steps)])
    starts = rows[epoch * windows : (epoch + 1) * windows, 0]
    assert sorted(starts) == [window * context for window in range(windows)]


@given(num_tokens=st.integers(12, 300), context=contexts, sequences=st.integers(1, 40), seed=seeds, step=st.integers(0, 50))
def test_a_batch_is_contiguous_windows_inside_the_stream(num_tokens, context, sequences, seed, step):
    rows = batch(stream(num_tokens), seed=seed, step=step, sequences=sequences, context=context)
    assert rows.shape == (sequences, context + 1)
    assert rows.dtype == np.int64
    assert rows.max() < num_tokens
    assert (np.diff(rows, axis=1) == 1).all()


@given(seed=seeds, order=st.permutations(range(8)))
def test_a_batch_depends_only_on_its_arguments(seed, order):
    tokens = stream(100)
    expected = [batch(tokens, seed=seed, step=step, sequences=3, context=7) for step in range(8)]
    for step in order:
        assert (batch(tokens, seed=seed, step=step, sequences=3, context=7) == expected[step]).all()


def test_the_order_is_pinned():
    # A change here changes the data order of every recorded run.
    rows = batch(stream(81), seed=1, step=1, sequences=8, context=8)
    assert (rows[:, 0] // 8).tolist() == [3, 1, 5, 6, 3, 0, 7, 2]


def test_seeds_and_epochs_have_orders_of_their_own():
    tokens = stream(1001)
    first, again, other = (
        batch(tokens, seed=seed, step=step, sequences=100, context=10)[:, 0].tolist() for seed, step in ((0, 0), (0, 1), (1, 0))
    )
    assert sorted(first) == sorted(again) == sorted(other)
    assert first != again != other != first


def test_unique_tokens_are_the_targets_of_an_epoch():
    assert count_windows(101, 10) * 10 == 100
    assert count_windows(100, 10) * 10 == 90
    assert count_windows(10, 10) == 0


def test_a_stream_shorter_than_a_window_is_refused():
    with pytest.raises(DataError, match=r"has 10 tokens, fewer than one window of model\.context \+ 1 = 11"):
        batch(stream(10), seed=0, step=0, sequences=1, context=10)


@given(num_tokens=st.integers(20, 300), context=contexts, share=st.floats(0.01, 1))
def test_validation_windows_are_distinct_and_spread(num_tokens, context, share):
    available = count_windows(num_tokens, context)
    wanted = max(1, int(available * share))
    rows = validation_windows(stream(num_tokens), wanted * context, context)
    assert rows.shape == (wanted, context + 1)
    gaps = np.diff(rows[:, 0] // context)
    assert wanted == 1 or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)


def test_too_many_validation_tokens_are_refused():
    with pytest.raises(
        DataError, match=r"train\.validation_tokens = 200 is more than .* 99 in .*set train\.validation_tokens=99"
    ):
        validation_windows(stream(100), 200, 9)


def test_the_cap_on_the_text_is_named_only_where_it_is_set():
    assert validation_shortage(100, 99, 9) == ""
    assert "data.max_bytes" not in validation_shortage(100, 100, 9)
    assert "raise data.max_bytes or data.validation_fraction" in validation_shortage(100, 100, 9, is_capped=True)
    assert "set train" not in validation_shortage(12, 100, 9)  # less than the two windows that are needed
