"""Each coded warning appears where its cause was planted, and a sound study has none."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from surfaces import SIZES, TOKENS, TRUTH, grid, make_points

from scalesweep.analysis.allocation.approaches import compare_approaches
from scalesweep.fit import fit_laws
from scalesweep.fit.checks import check_coverage
from scalesweep.laws import Coupled
from scalesweep.points.design import designed_curves, isoflop_curves, lowest_edge
from scalesweep.points.points import Points
from scalesweep.report.words.summary import summary
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_count

SPEC = FitSpec(bootstrap=100)


def codes(points: Points) -> list[str]:
    return [finding.code for finding in fit_laws(points, SPEC).findings]


def test_a_sound_study_has_no_warning():
    assert codes(grid(noise=0.001, seed=1, sizes=np.geomspace(1e6, 1e9, 8), tokens=np.geomspace(1e8, 1e11, 8))) == []


def test_exact_points_are_not_doubted_for_rounding():
    for law in (TRUTH, Coupled(1.69, 406.4, 410.7, 0.34, 0.28, 0.4)):
        assert {"A07", "A11"}.isdisjoint(codes(grid(law)))


def test_many_lost_runs_are_a_warning():
    base = grid(noise=0.001)
    frame = base.frame.copy()
    frame.loc[frame.index[::3], "excluded_reason"] = "state: diverged"
    assert "A22" in codes(replace(base, frame=frame))
    frame["excluded_reason"] = ["state: diverged"] + [""] * (len(frame) - 1)
    assert "A22" not in codes(replace(base, frame=frame))


def test_a_ray_and_nearly_one():
    n = np.geomspace(1e6, 1e9, 10)
    ray = make_points(n, 20 * n, TRUTH.predict(n, 20 * n))
    assert "A01" in codes(ray)
    d = 20 * n * np.tile([0.6, 1 / 0.6], 5)
    assert "A01" in codes(make_points(n, d, TRUTH.predict(n, d)))


def test_what_lacks_points_sizes_or_budgets_is_no_ray():
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 1e8, 2), np.geomspace(1e8, 1e10, 6)))
    for rows in (slice(None), slice(0, 6)):  # two sizes; and six points
        found = codes(make_points(n[rows], d[rows], TRUTH.predict(n[rows], d[rows])))
        assert "A23" in found
        assert "A01" not in found


def test_few_levels_and_a_short_span():
    assert {"A02", "A03"} <= set(codes(grid(noise=0.001, sizes=np.geomspace(1e6, 5e6, 4), tokens=TOKENS)))


def test_epochs_and_embedding_share():
    base = grid(noise=0.001)
    frame = base.frame.assign(epochs=9.0, params_embedding=base.n / 2, params_head=1.0, params_matrices=1.0)
    found = codes(Points(frame, "total", "six_n", "test"))
    assert "A04" in found
    assert "A05" in found


def test_an_irreducible_loss_that_is_not_seen():
    high = Coupled(E=0.0, A=20.0, B=44.0, alpha=0.1, beta=0.1, kappa=1.0)
    fit = fit_laws(grid(high, noise=0.004), SPEC)
    assert "A06" in [finding.code for finding in fit.findings]
    assert "A06 " in summary(fit)


def test_residuals_above_the_seed_noise():
    rng = np.random.default_rng(0)
    n, d, seed = (axis.ravel() for axis in np.meshgrid(SIZES, TOKENS, np.arange(2)))
    wave = 1 + 0.05 * np.sin(3 * np.log(n)) * np.cos(2 * np.log(d))
    loss = TRUTH.predict(n, d) * wave * np.exp(0.0005 * rng.standard_normal(n.shape))
    assert "A08" in codes(make_points(n, d, loss, seed=seed))


def test_uneven_noise():
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 1e9, 8), np.geomspace(1e8, 1e11, 8)))
    truth = TRUTH.predict(n, d)
    noise = np.where(truth > np.median(truth), 0.02, 0.001) * np.random.default_rng(0).standard_normal(n.shape)
    assert "A09" in codes(make_points(n, d, truth * np.exp(noise)))


def test_one_point_far_from_all_others():
    base = grid(noise=0.001)
    n, d = np.append(base.n, 3e10), np.append(base.d, 1e12)
    loss = np.append(base.loss, TRUTH.predict(3e10, 1e12))
    assert "A10" in codes(make_points(n, d, loss))


def test_outliers_that_only_some_objectives_see():
    base = grid(noise=0.0005, sizes=np.geomspace(1e6, 1e9, 8), tokens=np.geomspace(1e8, 1e11, 8))
    loss = base.loss.copy()
    loss[:2] *= 1.5
    assert "A11" in codes(make_points(base.n, base.d, loss))


def isoflop(shift: float, largest: float = 1e20, **columns) -> Points:
    """Six budgets, each at nine sizes from an eighth to eight times `shift` times the optimum, with a little noise."""
    c, place = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e17, largest, 6), np.geomspace(1 / 8, 8, 9), indexing="ij"))
    n = shift * place * TRUTH.n_opt(c)
    noise = 1e-4 * np.random.default_rng(0).standard_normal(n.shape)
    return make_points(n, c / 6 / n, TRUTH.predict(n, c / 6 / n) * np.exp(noise), **columns)


@pytest.mark.parametrize(("shift", "edge"), [(16.0, "smallest"), (1 / 16, "largest")])
def test_an_isoflop_minimum_on_the_edge(shift, edge):
    found = {finding.code: finding.text for finding in fit_laws(isoflop(shift), SPEC).findings}
    assert "In 6 of 6 isoFLOP budgets" in found["A12"]
    assert f"at the {edge} size (C = " in found["A12"]


def test_isoflop_minima_inside_are_no_warning():
    assert "A12" not in codes(isoflop(1.0))


def test_equal_products_in_a_grid_are_no_isoflop_budgets():
    """Sizes and budgets that both double have equal C along diagonals, and the lowest loss at an end of some."""
    points = grid(sizes=np.geomspace(1e6, 1e9, 8), tokens=np.geomspace(1e8, 1e11, 8))
    curves = [curve for curve in isoflop_curves(points) if len(curve.log_n) >= 3]
    assert any(lowest_edge(curve, points.loss) for curve in curves)
    assert designed_curves(points) == []


def test_few_runs():
    n, d = (axis.ravel() for axis in np.meshgrid(SIZES[::2], TOKENS, indexing="ij"))
    loss = TRUTH.predict(n, d) * np.exp(0.001 * np.random.default_rng(0).standard_normal(n.shape))
    trunks = make_points(n, d, loss, trunk=np.repeat(np.arange(3), len(TOKENS)))
    found = {finding.code: finding.text for finding in fit_laws(trunks, SPEC).findings}
    assert "15 rows are of 3 independent runs" in found["A13"]
    assert "A13" not in codes(make_points(n, d, loss))


def test_an_optimum_beyond_what_the_points_support():
    n, ratio = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 1e9, 8), np.geomspace(0.01, 0.1, 5)))
    loss = TRUTH.predict(n, n * ratio) * np.exp(1e-4 * np.random.default_rng(0).standard_normal(n.shape))
    found = {finding.code: finding.text for finding in fit_laws(make_points(n, n * ratio, loss), SPEC).findings}
    assert "tokens per parameter" in found["A14"]
    assert "A14" not in codes(isoflop(1.0))


def test_approaches_are_compared_at_the_largest_compute_and_as_far_as_the_points_support():
    wide, short = (compare_approaches(isoflop(1.0, **how), FitSpec(bootstrap=5)) for how in ({}, {"largest": 8e17}))
    factors = [far / largest for largest, far in (wide.compared_at, short.compared_at)]
    assert (wide.compared_at[0], short.compared_at[0]) == (1e20, 8e17)
    assert factors[0] > 50 * factors[1]
    assert factors[1] > 1


@pytest.mark.parametrize("law", [TRUTH, Coupled(1.69, 406.4, 410.7, 0.34, 0.28, 0.4)])
def test_a_row_of_a_diverged_run_is_named_with_the_law_without_it(law):
    base = grid(law, noise=0.003)
    loss = base.loss.copy()
    loss[7] *= 4
    points = make_points(base.n, base.d, loss)
    found = {finding.code: finding.text for finding in fit_laws(points, FitSpec(bootstrap=0)).findings}
    where = f"N = {format_count(base.n[7])}, D = {format_count(base.d[7])}, loss {loss[7]:.4g} where the law has "
    assert found["A16"].startswith(f"1 row lies more than 6 robust standard deviations off the law: {where}")
    rest = make_points(*(np.delete(column, 7) for column in (base.n, base.d, loss)))
    clean = fit_laws(rest, FitSpec(bootstrap=0)).preferred.law
    assert isinstance(clean, type(law))
    numbers = re.search(r"Without it .*E goes from \S+ to (\S+), alpha .* to (\S+), beta .* to (\S+)\.$", found["A16"]).groups()
    assert [float(x) for x in numbers] == pytest.approx([getattr(clean, name) for name in ("E", "alpha", "beta")], rel=0.02)


def test_normal_noise_has_no_outlier():
    for seed in range(10):
        fit = fit_laws(grid(noise=0.01, seed=seed), FitSpec(bootstrap=0))
        assert "A16" not in [finding.code for finding in fit.findings]
    assert "A16" not in [finding.code for finding in fit_laws(grid(), FitSpec(bootstrap=0)).findings]


def test_intervals_that_miss_held_out_runs():
    """A binomial test: 16 of 20 is no surprise at 90 %, 12 of 20 is; many predictions of one cell are one."""
    assert check_coverage(0.8, 20, 20, 0.9) == ()
    (found,) = check_coverage(0.6, 20, 20, 0.9)
    assert (found.code, "60% of 20 predictions at 20 held-out cells, nominal 90%" in found.text) == ("A15", True)
    assert check_coverage(0.65, 400, 4, 0.9) == ()
    assert check_coverage(0.0, 0, 0, 0.9) == ()


@pytest.mark.parametrize(
    ("code", "columns"),
    [
        ("A04", {"epochs": 4.0}),
        ("A05", {"params_embedding": 1e5, "params_head": 1.0, "params_matrices": 1.0}),
    ],
)
def test_no_warning_below_the_threshold(code, columns):
    points = grid(noise=0.001)
    assert code not in codes(Points(points.frame.assign(**columns), "total", "six_n", "test"))


@pytest.mark.parametrize("direction", ["missing", "stale"])
def test_the_documentation_has_exactly_the_codes(direction):
    root = Path(__file__).parents[2]
    written = set(re.findall(r"\| (A\d\d) \|", (root / "docs" / "warnings.md").read_text()))
    sources = (root / "src" / "scalesweep" / "fit").glob("*.py")
    raised = {code for source in sources for code in re.findall(r'Finding\(\s*"(A\d\d)"', source.read_text())}
    assert (raised - written if direction == "missing" else written - raised) == set()
