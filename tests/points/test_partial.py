"""Tables that say one of N, D and C alone: read as such, and fitted by the law of that variable."""

import json

import numpy as np
import pandas as pd
import pytest

from scalesweep.analysis.analyse import analyse
from scalesweep.cli import main
from scalesweep.errors import FitError, Refused
from scalesweep.fit.laws import fit_laws
from scalesweep.points import read_points
from scalesweep.settings.fit import FitSpec

X = np.geomspace(1e17, 1e21, 8)
LOSS = 4.0 * (X / 1e17) ** -0.06


@pytest.mark.parametrize(("column", "variable"), [("params", "n"), ("tokens", "d"), ("flops", "c")])
def test_the_law_of_the_one_variable_is_recovered(column, variable):
    points = read_points(pd.DataFrame({column: X, "loss": LOSS}))
    assert points.variables == (variable,)
    assert points.is_partial
    assert getattr(points, variable).tolist() == X.tolist()
    for other in {"n", "d", "c"} - {variable}:
        assert np.isnan(getattr(points, other)).all()
    fit = fit_laws(points, FitSpec(bootstrap=0))
    assert set(fit.fits) == {f"by_{variable}", f"by_{variable}_floor"}
    np.testing.assert_allclose(fit[f"by_{variable}"].law.exponent, 0.06, rtol=1e-9)
    with pytest.raises(FitError, match="needs both N and D"):
        fit["joint"]
    analysis = analyse(points, FitSpec(bootstrap=0))
    assert isinstance(analysis.tournament, Refused)
    assert all(row.allocation is None for row in analysis.approaches.rows)
    assert json.loads(analysis.to_json())["extrapolation"]["measured"][variable] == [X[0], X[-1]]


def test_two_of_three_give_the_third():
    d = np.array([1e9, 4e9])
    points = read_points(pd.DataFrame({"tokens": d, "flops": 6e18 * np.ones(2), "loss": [3.0, 2.9]}))
    np.testing.assert_allclose(points.n, 1e18 / d)
    assert not points.is_partial
    assert "n = c / (6 d)" in points.notes[0]


def test_a_report_of_flops_and_losses(tmp_path, capsys):
    table = tmp_path / "minima.csv"
    pd.DataFrame({"flops": X, "loss": LOSS}).to_csv(table, index=False)
    assert main(["report", str(table), "fit.bootstrap=20"]) == 0
    assert "needs both N and D" in capsys.readouterr().out
    assert "<b>IsoFLOP curves</b>: not drawn" in (tmp_path / "minima-report" / "report.html").read_text()
    assert main(["forecast", str(table), "compute=1e22", f"file={tmp_path / 'forecast.json'}"]) == 0
