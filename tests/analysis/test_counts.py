"""What follows from C uses the table's own count, or is withheld while the units contradict each other."""

import dataclasses
import json
from pathlib import Path

import pytest
from surfaces import TRUTH, grid

from scalesweep.analysis.allocation.approaches import compare_approaches
from scalesweep.analysis.analyse import analyse
from scalesweep.analysis.forecast.forecast import forecast
from scalesweep.analysis.forecast.next_cells import next_cells
from scalesweep.errors import FitError, Refused
from scalesweep.fit import fit_laws
from scalesweep.points.points import Points
from scalesweep.points.reading import read_points
from scalesweep.report.figures.comparisons import isoflops, next_gain, optima
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec

DATA = Path(__file__).parents[1] / "data"
SPEC = FitSpec(bootstrap=20)
POINT = FitSpec(bootstrap=0)


def counted(factor: float) -> Points:
    """A table whose C is `factor` times 6 N D, as one of a mixture of experts whose N are all parameters."""
    points = grid()
    return dataclasses.replace(
        points,
        frame=points.frame.assign(c=factor * points.c),
        params_convention="as in the file",
        flops_convention="as in the file",
    )


def test_in_gigaflops_nothing_is_derived_from_c_and_the_law_of_n_and_d_stays():
    points = read_points(DATA / "gflops.csv")
    found = analyse(points, SPEC)
    assert found.fit.preferred.law.alpha == pytest.approx(TRUTH.alpha, rel=0.02)
    assert "tokens_per_parameter" not in found.fit.preferred.estimates
    assert "by_c" in found.fit.refusals
    assert all(row.allocation is None for row in found.approaches.rows)
    assert found.support.factor is None
    assert all(isinstance(draw(found), Refused) for draw in (isoflops, optima, next_gain))
    assert "A17" in [finding.code for finding in found.fit.findings]
    text = summary(found)
    assert text.startswith("A17 ")
    assert "D*" not in text
    assert json.loads(found.to_json())["points"]["flops_per_parameter_and_token"] is None


def test_in_gigaflops_no_compute_is_forecast_but_a_model_is():
    points = read_points(DATA / "gflops.csv")
    with pytest.raises(FitError, match=r"units\.c=GFLOPs"):
        forecast(points, SPEC, compute=1e21)
    with pytest.raises(FitError, match=r"units\.c=GFLOPs"):
        next_cells(points, SPEC, 1e20, 1e22)
    made = forecast(points, SPEC, at=(2e9, 4e10))
    assert made.form.value == pytest.approx(float(TRUTH.predict(2e9, 4e10)), rel=0.01)


def test_once_the_unit_is_stated_the_optimum_is_that_of_the_law():
    points = read_points(DATA / "gflops.csv", units={"c": "GFLOPs"})
    fit = fit_laws(points, POINT)
    truth = float(TRUTH.tokens_per_parameter_opt(points.c.max()))
    assert fit["joint"].estimates["tokens_per_parameter"].value == pytest.approx(truth, rel=0.1)
    assert "A17" not in [finding.code for finding in fit.findings]


def test_another_count_moves_c_and_nothing_else():
    """The optimum at k N D is the one at 6 N D of the same model."""
    factor = 0.1
    plain, other = counted(1.0), counted(factor)
    fits = [fit_laws(points, POINT)["joint"].estimates["tokens_per_parameter"].value for points in (plain, other)]
    assert fits[1] == pytest.approx(fits[0])
    rows = [compare_approaches(points, POINT).rows[2] for points in (plain, other)]
    assert rows[1].n_opt(factor * 1e21).value == pytest.approx(rows[0].n_opt(1e21).value)
    assert rows[1].d_opt(factor * 1e21).value == pytest.approx(rows[0].d_opt(1e21).value)
    made = [forecast(points, FitSpec(bootstrap=2), compute=c) for points, c in ((plain, 1e21), (other, factor * 1e21))]
    assert made[1].n == pytest.approx(made[0].n)
    assert made[1].d == pytest.approx(made[0].d)
    assert made[1].c == pytest.approx(factor * 1e21)
    assert made[1].form.value == pytest.approx(made[0].form.value)
    cells = [next_cells(points, SPEC, f * 1e20, f * 1e21).cells for points, f in ((plain, 1.0), (other, factor))]
    assert [cell.n for cell in cells[1]] == pytest.approx([cell.n for cell in cells[0]])
    assert sum(cell.c for cell in cells[1]) == pytest.approx(factor * 1e20)
