"""Transforms of windows against what they are said to do."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.plan.selection import Selection, Transform
from scalesweep.train.data import batch
from scalesweep.train.data.windows import select_windows

V = 50
T = 8
TOKENS = np.random.default_rng(0).integers(10, V, T * 400 + 1).astype(np.uint16)
"""Of 400 distinct windows, none of which holds id 0."""


def epoch(selection: Selection | None, seed: int = 0, number: int = 0) -> np.ndarray:
    """All windows of an epoch, shape (W, T + 1)."""
    windows = select_windows(len(TOKENS), T, selection, V)
    return batch(TOKENS, seed=seed, step=number, sequences=windows.number, context=T, windows=windows)


def rows(windows: np.ndarray) -> Counter[tuple[int, ...]]:
    return Counter(map(tuple, windows.tolist()))


shares = st.floats(0.003, 0.99)
limits = st.one_of(st.none(), st.integers(40, 399))


@given(kind=st.sampled_from(["junk_constant", "junk_uniform"]), share=shares, limit=limits, seed=st.integers(0, 5))
def test_junk_takes_the_places_of_exactly_its_share(kind, share, limit, seed):
    pool = rows(epoch(Selection(limit)))
    found = rows(epoch(Selection(limit, transform=Transform(kind, share, seed))))
    junk = found - pool
    assert found.total() == pool.total() == (limit or 400)
    assert junk.total() == round(share * pool.total())
    assert found - junk == found & pool  # all others are as they were, to the last token


def test_constant_junk_is_one_id_and_uniform_junk_all_ids_alike():
    pool = rows(epoch(None))
    constant = rows(epoch(Selection(transform=Transform("junk_constant", 0.5, 0)))) - pool
    assert constant == {(0,) * (T + 1): 200}
    uniform = rows(epoch(Selection(transform=Transform("junk_uniform", 1.0, 0))))
    ids = np.bincount(np.array(list(uniform.elements())).reshape(-1), minlength=V)
    assert len(ids) == V
    expected = 400 * (T + 1) / V
    assert ((ids - expected) ** 2 / expected).sum() < 86  # chi squared, 49 degrees of freedom, p = .001


def test_junk_is_the_same_in_every_epoch_and_for_every_run():
    selection = Selection(transform=Transform("junk_uniform", 0.3, 1))
    assert rows(epoch(selection)) == rows(epoch(selection, seed=4, number=3))
    assert rows(epoch(selection)) != rows(epoch(Selection(transform=Transform("junk_uniform", 0.3, 2))))


@given(share=shares, seed=st.integers(0, 5), run=st.integers(0, 5))
def test_drop_is_a_limit_of_what_it_leaves(share, seed, run):
    left = 400 - round(share * 400)
    dropped = Selection(transform=Transform("drop", share, seed))
    assert np.array_equal(epoch(dropped, run), epoch(Selection(left, seed), run))


@pytest.mark.parametrize("kind", ["junk_constant", "junk_uniform", "duplicate"])
def test_a_pool_with_a_change_and_the_pool_without_these_windows_have_the_rest_in_common(kind):
    changed = rows(epoch(Selection(300, 2, Transform(kind, 0.25, 1))))
    filtered = rows(epoch(Selection(300, 2, Transform("drop", 0.25, 1))))
    assert filtered.total() == 225
    assert filtered <= changed


@given(share=shares, limit=limits)
def test_duplicates_leave_fewer_windows_in_as_many_places_as_even_as_can_be(share, limit):
    pool = epoch(Selection(limit))
    windows = select_windows(len(TOKENS), T, Selection(limit, transform=Transform("duplicate", share, 0)), V)
    visits = Counter(windows.starts(seed=0, start=0, number=windows.number).tolist())
    assert visits.total() == len(pool)
    assert len(visits) == len(pool) - round(share * len(pool))
    assert max(visits.values()) - min(visits.values()) <= 1


def test_the_declared_unique_tokens_are_those_that_are_visited():
    for kind in ("junk_uniform", "duplicate", "drop"):
        transform = Transform(kind, 0.3, 0)  # type: ignore[arg-type]
        assert len(rows(epoch(Selection(200, transform=transform)))) == transform.num_distinct(200)
