"""Windows of a mixture: which part, which window, how often."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.plan.selection import Part, Selection, Transform, places_of
from scalesweep.settings.data import PLACES
from scalesweep.train.data.windows import Windows, part_windows, select_windows

LENGTHS = (4001, 1203, 807)
"""Tokens of each part: 400, 120 and 80 windows of ten."""
STREAM = sum(LENGTHS)
ENDS = np.cumsum(LENGTHS)


def mixture(*weights: float, limit: int | None = None, transform: Transform | None = None) -> Selection:
    places = places_of(weights)
    parts = tuple(Part(length, place) for length, place in zip(LENGTHS, places, strict=False))
    return Selection(limit=limit, transform=transform, parts=parts)


def visits(windows: Windows, number: int, seed: int = 0, start: int = 0) -> np.ndarray:
    return windows.starts(seed=seed, start=start, number=number)


@given(weights=st.lists(st.floats(0.05, 50), min_size=1, max_size=6))
def test_places_are_the_weights_to_a_thousandth(weights):
    places = places_of(weights)
    assert sum(places) == PLACES
    assert all(abs(place - weight / sum(weights) * PLACES) < 1 for place, weight in zip(places, weights, strict=True))


@given(seed=st.integers(0, 3), cut=st.integers(1, 3499), start=st.integers(0, 3000))
def test_a_place_has_its_window_whatever_is_asked_with_it(seed, cut, start):
    windows = select_windows(STREAM, 10, mixture(0.7, 0.2, 0.1))
    whole = visits(windows, 3500, seed, start)
    assert np.array_equal(
        whole, np.concatenate([visits(windows, cut, seed, start), visits(windows, 3500 - cut, seed, start + cut)])
    )


def test_parts_are_visited_by_weight_and_each_in_epochs_of_its_own():
    windows = select_windows(STREAM, 10, mixture(0.7, 0.2, 0.1))
    starts = visits(windows, 4 * PLACES)
    parts = np.searchsorted(ENDS, starts, side="right")
    assert np.bincount(parts).tolist() == [2800, 800, 400]
    for block in parts.reshape(4, PLACES):
        assert np.bincount(block).tolist() == [700, 200, 100]
    for part, number in enumerate((400, 120, 80)):
        mine = starts[parts == part]
        assert len(set(mine)) == number
        for epoch in range(len(mine) // number):
            assert len(set(mine[epoch * number : (epoch + 1) * number])) == number


def test_a_short_run_has_the_weights_too():
    places = places_of([0.7, 0.2, 0.1])
    for number in range(1, 3000, 7):
        for seed in (0, 1):
            assert np.abs(part_windows(places, seed, number) - number * np.array([0.7, 0.2, 0.1])).max() <= 2


def test_the_parts_of_a_block_are_drawn_anew_for_every_seed_and_block():
    windows = select_windows(STREAM, 10, mixture(0.5, 0.3, 0.2))
    orders = [np.searchsorted(ENDS, visits(windows, PLACES, *at), side="right") for at in ((0, 0), (1, 0), (0, PLACES))]
    assert all((a != b).mean() > 0.1 for a in orders for b in orders if a is not b)


def test_no_window_lies_across_two_parts():
    starts = visits(select_windows(STREAM, 10, mixture(1, 1, 1)), 3 * PLACES)
    assert np.array_equal(np.searchsorted(ENDS, starts, side="right"), np.searchsorted(ENDS, starts + 10, side="right"))


def test_the_parts_of_a_run_are_counted_exactly():
    windows, places = select_windows(STREAM, 10, mixture(0.7, 0.2, 0.1)), places_of([0.7, 0.2, 0.1])
    for number in (0, 1, 999, 1000, 2345):
        counted = np.bincount(np.searchsorted(ENDS, visits(windows, number, seed=7), side="right"), minlength=3)
        assert part_windows(places, 7, number).tolist() == counted.tolist()


def test_a_mixture_of_one_part_is_the_stream_itself():
    one = Selection(parts=(Part(4001, PLACES),))
    assert np.array_equal(visits(select_windows(4001, 10, one), 2500, seed=3), visits(select_windows(4001, 10), 2500, seed=3))


def test_a_limit_is_shared_out_by_weight_and_a_transform_changes_its_share_of_each():
    selection = mixture(0.7, 0.2, 0.1, limit=200, transform=Transform("drop", 0.25, 0))
    assert selection.windows(STREAM, 10) == (140, 40, 20)
    assert selection.unique_tokens(STREAM, 10) == (1050, 300, 150)
    starts = visits(select_windows(STREAM, 10, selection), 3 * PLACES)
    parts = np.searchsorted(ENDS, starts, side="right")
    assert [len(set(starts[parts == part])) for part in range(3)] == [105, 30, 15]


def test_uniform_junk_of_each_part_is_its_own():
    windows = select_windows(STREAM, 10, mixture(0.7, 0.2, 0.1, transform=Transform("junk_uniform", 0.5, 0)), 50)
    junk = set(visits(windows, 9 * PLACES)[visits(windows, 9 * PLACES) >= STREAM].tolist())
    assert windows.added is not None and len(windows.added) == 300 * 11
    assert junk == {STREAM + 11 * i for i in range(300)}


def test_epochs_of_a_mixture_are_those_of_the_part_that_is_repeated_most():
    assert mixture(0.5, 0.25, 0.25).epochs(8000, 6000, 10) == pytest.approx(2000 / 800)
    assert Selection().epochs(8000, 4000, 10) == 2
