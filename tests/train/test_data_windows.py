"""Windows that a cell may visit: how many, which, in what order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.plan.selection import Selection
from scalesweep.train.data import batch, count_windows
from scalesweep.train.data.windows import Windows, select_windows


def epoch(windows: Windows, seed: int, number: int) -> list[int]:
    """Where the windows of an epoch begin, in the order of the visits."""
    return windows.starts(seed=seed, start=number * windows.number, number=windows.number).tolist()


@given(num_tokens=st.integers(20, 400), context=st.integers(1, 9), share=st.floats(0.05, 1), seed=st.integers(0, 9))
def test_exactly_the_limited_windows_are_visited_once_an_epoch(num_tokens, context, share, seed):
    available = count_windows(num_tokens, context)
    limit = max(1, int(share * available))
    windows = select_windows(num_tokens, context, Selection(limit, seed))
    epochs = [epoch(windows, run, number) for run in (0, 1) for number in (0, 1, 5)]
    assert len(set(epochs[0])) == limit
    assert all(sorted(other) == sorted(epochs[0]) for other in epochs)
    assert all(start % context == 0 and start + context < num_tokens for start in epochs[0])


def test_each_epoch_has_an_order_of_its_own():
    windows = select_windows(10_001, 10, Selection(200, 0))
    orders = [epoch(windows, run, number) for run in (0, 1) for number in (0, 1, 2)]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_a_larger_limit_holds_the_windows_of_a_smaller_one_and_another_seed_others():
    few, many, other = (set(epoch(select_windows(10_001, 10, Selection(*s)), 0, 0)) for s in ((100, 3), (300, 3), (300, 4)))
    assert few < many
    assert len(many & other) == pytest.approx(300 * 300 / 1000, abs=40)  # what chance leaves in common


def test_chosen_windows_are_spread_over_the_whole_stream():
    """A prefix or blocks would be text of few documents."""
    starts = np.array(epoch(select_windows(100_001, 10, Selection(1000, 0)), 0, 0))
    counts = np.histogram(starts, bins=10, range=(0, 100_000))[0]
    assert counts.min() > 60  # 100 expected, standard deviation 9.5
    assert np.mean(np.diff(np.sort(starts)) == 10) < 0.2  # neighbours, of which chance makes a tenth


def test_the_choice_is_not_the_order_of_an_epoch():
    """The same seed draws both, and a run would else begin with the windows that the smallest limits hold."""
    windows = select_windows(10_001, 10)
    assert len(set(epoch(windows, 0, 0)[:100]) & set(epoch(select_windows(10_001, 10, Selection(100, 0)), 0, 0))) < 30


def test_the_choice_is_pinned():
    # A change here changes what every recorded run with data.unique_tokens was trained on.
    tokens = np.arange(81, dtype=np.uint16)
    windows = select_windows(81, 8, Selection(4, 1))
    rows = batch(tokens, seed=1, step=0, sequences=8, context=8, windows=windows)
    assert (rows[:, 0] // 8).tolist() == [2, 5, 8, 3, 8, 5, 2, 3]


def test_a_batch_is_a_function_of_seed_and_step():
    tokens, windows = np.arange(2001, dtype=np.uint16), select_windows(2001, 10, Selection(30, 0))
    rows = [batch(tokens, seed=5, step=s, sequences=8, context=10, windows=windows) for s in range(12)]
    for step in (7, 0, 11, 3):  # in any order, across epochs of 30 windows
        assert (batch(tokens, seed=5, step=step, sequences=8, context=10, windows=windows) == rows[step]).all()
    assert len(np.unique(np.concatenate(rows)[:, 0])) == 30
