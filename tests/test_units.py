import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.units import format_count, format_duration, format_flop_rate, format_plain, format_share


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0.4 s"), (42, "42 s"), (89, "89 s"), (90, "1.5 minutes"), (5400, "1.5 hours"), (36 * 3600, "1.5 days")],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_a_count_rounds_into_the_next_unit() -> None:
    numbers = (0.5, 999, 999.4, 999.6, 1000, 15_872, 999_700, 1.5e6, 1.5e9, 2.5e12, 2e18)
    texts = ["0.5", "999", "999", "1k", "1k", "15.9k", "1M", "1.5M", "1.5B", "2.5T", "2e18"]
    assert [format_count(x) for x in numbers] == texts


def test_a_rate_has_a_prefix_of_si() -> None:
    assert [format_flop_rate(x) for x in (12.0, 3.1e11, 9.9996e11)] == ["12 FLOP/s", "310 GFLOP/s", "1 TFLOP/s"]


def test_a_plain_number_has_no_exponent() -> None:
    numbers = (0.0, 0.000019, 0.0012, 0.0996, 2.0, 9.96, 12.5, 340.0, 99.9, 123_456_789.0)
    assert [format_plain(x) for x in numbers] == [
        "0",
        "0.000019",
        "0.0012",
        "0.1",
        "2",
        "10",
        "12",
        "340",
        "100",
        "120,000,000",
    ]
    assert [format_plain(x, 3) for x in (1000.0, 6.25, 0.12345)] == ["1,000", "6.25", "0.123"]


def test_a_share_is_zero_only_where_it_is() -> None:
    assert [format_share(x) for x in (0.64, 0.00731, 0.0000412, -0.0000412, 0.0)] == [
        "64.00%",
        "0.73%",
        "0.0041%",
        "-0.0041%",
        "0.00%",
    ]
    assert format_share(0.64, 0) == "64%" and format_share(0.004, 0, "+") == "+0.40%"
    assert format_share(math.nan) == format_share(math.inf) == "-"
    assert format_share(1e-15) == "0%"


@given(st.floats(1e-9, 10), st.integers(0, 3), st.sampled_from([-1, 1]))
def test_a_share_says_its_value(size: float, digits: int, sign: int) -> None:
    text = format_share(sign * size, digits)
    rounding = 0.5 * 10.0 ** -(digits + 2) if size >= 0.5 * 10.0 ** -(digits + 2) else 0.05 * size
    assert float(text.rstrip("%")) / 100 == pytest.approx(sign * size, abs=rounding * 1.001)
    assert float(text.rstrip("%")) != 0
