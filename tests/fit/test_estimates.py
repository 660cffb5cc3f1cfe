"""What is said of an estimate and its interval."""

import pytest

from scalesweep.fit.estimates import Estimate, outside
from scalesweep.interval import Interval


@pytest.mark.parametrize(("value", "is_said"), [(0.3, False), (0.2, False), (0.41, True), (0.1, True)])
def test_an_estimate_outside_its_own_interval_is_said(value: float, is_said: bool) -> None:
    said = outside(
        {"alpha": Estimate(value, Interval(0.2, 0.4)), "beta": Estimate(0.3, Interval(0.2, 0.4)), "E": Estimate(1.7)}
    )
    assert len(said) == is_said
    assert all("alpha" in sentence and "beta" not in sentence for sentence in said)
