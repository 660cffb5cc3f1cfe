"""`fit.law`: the law that stands for the result is the chosen one, in fits, forecasts and the words of both."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from surfaces import TRUTH

from scalesweep.analysis.analyse import analyse
from scalesweep.analysis.forecast.dated import read_forecast
from scalesweep.analysis.forecast.forecast import forecast
from scalesweep.analysis.forecast.next_cells import next_cells
from scalesweep.analysis.forecast.scoring import score
from scalesweep.errors import FitError, PointsError, SpecError
from scalesweep.fit import fit_laws
from scalesweep.fit.results import Fit, Status
from scalesweep.laws import Muennighoff
from scalesweep.points.points import Points
from scalesweep.points.reading import read_points
from scalesweep.points.rows import Rows
from scalesweep.report.context import ReportContext
from scalesweep.report.pages.cells import cell_rows
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

REPEATED = Muennighoff(E=1.8, A=400.0, B=1800.0, alpha=0.34, beta=0.36, R_D=15.0, R_N=5.0)
FEW = FitSpec(bootstrap=10, law="repeated")


def repeated(noise: float = 0.0, law: Muennighoff = REPEATED) -> Points:
    """Four sizes, four budgets, each fresh and with two caps on the unique tokens."""
    n, d, cap = (
        axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(3e8, 3e10, 4), [np.inf, 1e9, 2e8])
    )
    u = np.minimum(cap, d)
    loss = law.predict(n, d, u) * np.exp(noise * np.random.default_rng(0).standard_normal(len(n)))
    return read_points(pd.DataFrame({"n": n, "d": d, "unique_tokens": u, "loss": loss}))


def fresh() -> Points:
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(3e8, 3e10, 5)))
    loss = TRUTH.predict(n, d) * np.exp(0.003 * np.random.default_rng(1).standard_normal(25))
    return read_points(pd.DataFrame({"n": n, "d": d, "loss": loss}))


def test_the_law_of_repeated_data_is_found_and_stands_for_the_result() -> None:
    fit = fit_laws(repeated(), FitSpec(bootstrap=0, law="repeated"))
    assert fit.preferred_name == "repeated"
    assert fit.preferred is not None
    assert fit.preferred.law.theta == pytest.approx(REPEATED.theta, rel=1e-4)
    assert next(iter(fit.order)) == "repeated"
    assert fit.preferred.residual_rms < 1e-6 < fit["joint"].residual_rms
    assert fit_laws(repeated(), FitSpec(bootstrap=0)).preferred_name != "repeated"


def test_the_order_of_rows_and_unsaid_unique_tokens_change_nothing() -> None:
    points = repeated(noise=0.003)
    shuffled = replace(points, frame=points.frame.sample(frac=1.0, random_state=3).reset_index(drop=True))
    blank = points.frame.assign(unique_tokens=points.frame["unique_tokens"].where(points.frame["unique_tokens"] < points.d))
    spec = FitSpec(bootstrap=0, law="repeated")
    found = [fit_laws(p, spec).preferred for p in (points, shuffled, replace(points, frame=blank))]
    assert all(isinstance(fit, Fit) and fit.law == found[0].law for fit in found)


@pytest.mark.parametrize("law", ["additive", "coupled", "repeated"])
def test_along_a_ray_no_choice_makes_a_joint_law(law: str) -> None:
    n = np.geomspace(1e7, 1e9, 9)
    points = read_points(pd.DataFrame({"n": n, "d": 20 * n, "loss": TRUTH.predict(n, 20 * n)}))
    fit = fit_laws(points, FitSpec.model_validate({"bootstrap": 0, "law": law}))
    assert fit.preferred is None
    assert "ray" in str(fit.refusal)
    assert fit.preferred_of("C") is not None


def test_a_chosen_law_that_is_refused_is_said_before_the_others() -> None:
    fit = fit_laws(fresh(), FitSpec(bootstrap=0, law="repeated"))
    said = summary(fit)
    assert said.index("unique_tokens") < said.index("L(N, D)")
    assert not [name for name in ("joint", "coupled") if fit[name].status is Status.IDENTIFIED]


def test_the_table_of_cells_has_the_loss_at_their_own_unique_tokens() -> None:
    points = repeated()
    cells = [{str(name): value for name, value in row.items()} for row in points.frame.to_dict("records")]
    context = ReportContext(title="x", curves={}, cells=cells, provenance={}, warnings=[], command="")
    rows = cell_rows(analyse(points, FitSpec(bootstrap=0, law="repeated")), context)
    assert [float(row["fitted loss"].text) for row in rows] == pytest.approx(points.loss, abs=1e-4)


def test_the_order_of_rows_that_differ_in_unique_tokens_alone_changes_nothing() -> None:
    frame = repeated().frame
    twins = pd.concat([frame, frame.assign(unique_tokens=frame["unique_tokens"] / 2)], ignore_index=True)
    backwards = twins.iloc[::-1].reset_index(drop=True)
    one, other = (Rows.of(read_points(table)) for table in (twins, backwards))
    assert np.array_equal(one.u, other.u)


def test_fresh_rows_have_no_law_of_repeated_data() -> None:
    fit = fit_laws(fresh(), FitSpec(bootstrap=0, law="repeated"))
    assert fit.preferred is None
    assert "unique_tokens" in str(fit.refusal)
    with pytest.raises(FitError, match="not asked for"):
        fit_laws(fresh(), FitSpec(bootstrap=0))["repeated"]
    with pytest.raises(FitError, match="unique_tokens"):
        forecast(fresh(), FEW, at=(2e9, 6e10))


@pytest.mark.parametrize(("law", "name", "form"), [("additive", "joint", "chinchilla"), ("coupled", "coupled", "coupled")])
def test_a_chosen_law_of_fresh_data_is_the_forecasts_centre(law: str, name: str, form: str) -> None:
    spec = FitSpec.model_validate({"bootstrap": 10, "law": law})
    fit = fit_laws(fresh(), spec)
    assert fit.preferred_name == name
    assert "Chosen (fit.law)" in summary(fit)
    made = forecast(fresh(), spec, at=(1.5e9, 4e10))
    assert made.form_name == form
    assert made.honest is not None
    assert made.honest.value == pytest.approx(made.form.value, rel=1e-12)
    alone = forecast(fresh(), spec, at=(1.5e9, 4e10), forms=(form,)).honest
    assert alone is not None
    assert made.honest.high / made.honest.low > alone.high / alone.low


def test_a_forecast_of_repeated_data_is_of_its_unique_tokens_and_scored_against_them() -> None:
    points, target = repeated(noise=0.001), (1.5e9, 4e10)
    made = forecast(points, FEW, at=target, unique_tokens=4e9)
    truth, alone = (float(REPEATED.predict(*target, u)) for u in (4e9, 4e10))
    assert made.form.value == pytest.approx(truth, rel=0.01)
    assert abs(truth - alone) > 0.02 * truth
    assert forecast(points, FEW, at=target).form.value == pytest.approx(alone, rel=0.01)
    filed = read_forecast(made.to_json(date(2026, 1, 1)))
    measured = read_points(
        pd.DataFrame({"n": [1.5e9] * 2, "d": [4e10] * 2, "unique_tokens": [4e9, 4e10], "loss": [truth, alone]})
    )
    (row,) = score(filed, measured).rows
    assert row.loss == truth
    only_fresh = pd.DataFrame({"n": [1.5e9] * 2, "d": [4e10] * 2, "loss": [alone, alone]})
    with pytest.raises(PointsError, match="unique"):
        score(filed, read_points(only_fresh))
    assert json.loads(made.to_json(date(2026, 1, 1)))["forecast"]["unique_tokens"] == 4e9


def test_no_forecast_of_more_epochs_than_the_points_support() -> None:
    assert "times" in forecast(repeated(), FEW, at=(1e9, 3e10), unique_tokens=3e5).abstention
    assert not forecast(repeated(), FEW, at=(1e9, 3e10), unique_tokens=3e8).abstention


def test_what_has_no_effect_is_refused() -> None:
    with pytest.raises(SpecError, match=r"fit\.law=repeated"):
        forecast(fresh(), FitSpec(bootstrap=20), at=(1e9, 3e10), unique_tokens=1e9)
    with pytest.raises(SpecError, match="more than"):
        forecast(repeated(), FEW, at=(1e9, 3e10), unique_tokens=4e10)
    with pytest.raises(SpecError, match="at="):
        forecast(repeated(), FEW, compute=1e21, unique_tokens=1e9)
    with pytest.raises(SpecError, match="auto"):
        next_cells(repeated(), FEW, 1e21, 1e22)
