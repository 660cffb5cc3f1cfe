"""The final loss of runs that are still training."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scalesweep.analysis.forecast.running import RunForecast, forecast_running
from scalesweep.errors import Refused
from scalesweep.points.reading import read_points

CURVES = Path(__file__).parents[1] / "data" / "curves_of_runs.csv"


def forecasts(table: pd.DataFrame | Path) -> dict[str, RunForecast | Refused]:
    curves = read_points(table).curves
    assert curves is not None
    return forecast_running(curves)


def test_curves_of_one_shape_give_the_final_loss_exactly() -> None:
    found = forecasts(CURVES)["r12"]
    assert isinstance(found, RunForecast)
    assert found.loss.value == pytest.approx(1.7 + 400 / 3e8**0.34 + 410 / 2e10**0.28, rel=1e-5)
    assert (found.share, found.num_finished) == (0.5, 11)


def test_the_interval_holds_as_often_as_it_says() -> None:
    """400 running runs beside 8 finished ones, whose gains differ by 1 %: 90 % within 3 standard errors (4.5 points)."""
    rng, held = np.random.default_rng(0), 0
    share = np.arange(1, 11) / 10
    for _ in range(400):
        parts = []
        for run in range(9):
            gain = 0.3 + 0.01 * rng.standard_normal()
            loss = (2 + run % 3) * np.exp(gain * (1 - share))
            rows = pd.DataFrame({"run_id": f"r{run}", "n": 1e7 * (1 + run % 3), "step": 100 * share, "loss": loss})
            parts.append(rows.assign(d=1e9 * share, planned_tokens=1e9).iloc[: 5 if run == 8 else 10])
        found = forecasts(pd.concat(parts, ignore_index=True))["r8"]
        assert isinstance(found, RunForecast) and found.loss.interval is not None
        held += found.loss.interval.holds(loss[-1])
    assert abs(held / 400 - 0.9) < 0.045


def test_what_cannot_be_told_is_refused() -> None:
    table = pd.read_csv(CURVES)
    unplanned = forecasts(table.drop(columns="planned_tokens"))["r12"]
    assert isinstance(unplanned, Refused) and "planned_tokens" in unplanned.reason
    few = forecasts(table[table["run_id"].isin(["r01", "r02", "r12"])])["r12"]
    assert isinstance(few, Refused) and few.reason.startswith("2 finished runs")
