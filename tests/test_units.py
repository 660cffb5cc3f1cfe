import pytest

from scalesweep.units import duration, plain, si


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0.4 s"), (42, "42 s"), (89, "89 s"), (90, "1.5 minutes"), (5400, "1.5 hours"), (36 * 3600, "1.5 days")],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_si_rounds_into_the_next_unit() -> None:
    assert [si(x) for x in (999.4, 999.6, 1.5e6, 2e18)] == ["999", "1k", "1.5M", "2E"]


def test_a_plain_number_has_no_exponent() -> None:
    numbers = (0.0, 0.000019, 0.0012, 0.0996, 2.0, 9.96, 12.5, 340.0, 99.9, 123_456_789.0)
    assert [plain(x) for x in numbers] == ["0", "0.000019", "0.0012", "0.1", "2", "10", "12", "340", "100", "120,000,000"]
    assert [plain(x, 3) for x in (1000.0, 6.25, 0.12345)] == ["1,000", "6.25", "0.123"]
