"""Figures as values: what they show equals the points and the laws, and each drawing shows it."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from surfaces import measure
from tuned_surfaces import LRS, sweep

from scalesweep.analysis.analyse import Analysis, analyse
from scalesweep.analysis.forecast.dated import Forecast
from scalesweep.analysis.tuning.optima import tuned_frontier
from scalesweep.errors import FitError, Refused
from scalesweep.fit.results import Fit, Status
from scalesweep.laws import Chinchilla
from scalesweep.points.points import points_from_rows
from scalesweep.points.published import published_points
from scalesweep.report import ReportContext, write_report
from scalesweep.report.charts.canvas import DARK, LIGHT, Theme, colours, draw, in_math, lay_out
from scalesweep.report.charts.chart import Axis, Band, Chart, Dots, Line, Panel, Rule, Scale
from scalesweep.report.charts.interactive import charts_json, rounded
from scalesweep.report.charts.terminal import draw_text, plain
from scalesweep.report.figures import TITLES, charts, figures
from scalesweep.report.figures.comparisons import cost_of_gain
from scalesweep.report.figures.laws import formula, thin
from scalesweep.report.figures.material import Material
from scalesweep.report.figures.measured import bars_in_words, measured
from scalesweep.report.pages.html import render_html
from scalesweep.report.review.checklist import reviewed
from scalesweep.settings.fit import FitSpec

LAW = Chinchilla(E=1.9, A=120, B=300, alpha=0.32, beta=0.35)
SIZES, BUDGETS, SEEDS = (1e4, 1e5, 1e6), (1e6, 1e7, 1e8, 1e9), (0, 1)


def curve_of(n: float, d: float, seed: int) -> list[tuple[float, float]]:
    shares = np.geomspace(1e-3, 1, 200)
    noise = 1 + 0.001 * np.random.default_rng(seed).standard_normal(len(shares))
    return [(d * x, float(LAW.E + (LAW.predict(n, d) - LAW.E) * x**-0.3 * e)) for x, e in zip(shares, noise, strict=True)]


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    rng = np.random.default_rng(0)
    rows = []
    for n in SIZES:
        for d in (*BUDGETS, 20 * n):
            for seed in SEEDS:
                loss = float(LAW.predict(n, d) * np.exp(0.002 * rng.standard_normal()))
                key = f"{n:.0f}-{d:.0f}-{seed}"
                rows.append({"key": key, "n": n, "d": d, "c": 6 * n * d, "loss": loss, "loss_se": 0.01, "seed": seed})
    return analyse(points_from_rows(rows, "with_head", "attention", "synthetic"), FitSpec(bootstrap=50))


@pytest.fixture(scope="module")
def material(analysis: Analysis) -> Material:
    used = analysis.points.used
    cells = zip(used["key"], used["n"], used["d"], used["seed"], strict=True)
    return Material(analysis.points, analysis, {key: curve_of(n, d, seed) for key, n, d, seed in cells})


@pytest.fixture(scope="module")
def drawn(material: Material) -> Mapping[str, Chart]:
    return {chart.name: chart for chart in charts(material)}


def marks(chart: Chart, kind: type, panel: int = 0) -> list[Any]:
    return [mark for mark in chart.panels[panel].marks if isinstance(mark, kind)]


def test_every_figure_that_these_points_carry_is_drawn_by_its_own_name(material: Material, drawn: Mapping[str, Chart]) -> None:
    without = {name for name, make in figures().items() if isinstance(make(material), Refused)}
    assert without == {"tuning"}
    assert list(drawn) == [name for name in figures() if name not in without]


def test_all_cells_are_shown_and_the_line_is_the_law(material: Material, drawn: Mapping[str, Chart]) -> None:
    fit = material.analysis.fit
    for i, law in enumerate(fit.fits.get(fit.preferred_of(variable)) for variable in ("N", "D", "C")):
        assert law is not None
        shown = np.concatenate([dots.y for dots in marks(drawn["power_laws"], Dots, i)])
        used = material.points.used.assign(enters=material.points.used.index.isin(law.rows))
        means = used.groupby(["n", "d", "enters"])["loss"].mean()
        np.testing.assert_allclose(sorted(shown), sorted(means))
        (line,) = marks(drawn["power_laws"], Line, i)
        np.testing.assert_allclose(line.y, law.law.predict(line.x))
        (band,) = marks(drawn["power_laws"], Band, i)
        assert np.all(band.low <= band.high)
    rows = material.points.used.iloc[list(fit["by_c"].rows)]  # type: ignore[union-attr]
    assert len(marks(drawn["power_laws"], Dots, 2)[1].x) == len(rows.groupby(["n", "d"]))


def test_a_bar_is_the_spread_of_the_seeds_and_the_standard_error_of_a_lone_loss() -> None:
    losses = [(1e5, 0, 3.0), (1e5, 1, 3.2), (1e5, 2, 3.1), (1e6, 0, 2.5)]
    rows = [{"n": n, "d": 1e7, "c": 6e7 * n, "loss": loss, "loss_se": 0.02, "seed": seed} for n, seed, loss in losses]
    points = points_from_rows(rows, "total", "six_n", "seeds.csv")
    dots = measured(points, points.n)
    assert dots.low is not None and dots.high is not None
    np.testing.assert_allclose(dots.y, [3.1, 2.5])
    np.testing.assert_allclose(dots.high - dots.low, [0.2, 0.04])
    assert dots.hover == ("N 100k, D 10M, 3 seeds: 3.1000, sd 0.1000", "N 1M, D 10M, seed 0: 2.5000")
    assert "standard deviation over seeds as bar; other bars are standard errors" in bars_in_words(points)
    lone = points_from_rows([{**row, "seed": "a"} for row in rows], "total", "six_n", "copies.csv")
    assert sorted(measured(lone, lone.n).y) == sorted(loss for _, _, loss in losses)
    assert bars_in_words(lone) == "Bars: standard errors of the loss."
    assert bars_in_words(points_from_rows([rows[3] | {"loss_se": None}], "total", "six_n", "one.csv")) == ""


@pytest.mark.parametrize("name", ["power_laws", "joint_fit", "kaplan_form"])
def test_the_caption_says_what_a_bar_is(drawn: Mapping[str, Chart], name: str) -> None:
    assert drawn[name].caption.endswith("with the standard deviation over seeds as bar.")


def test_the_joint_law_goes_through_its_own_lines_and_residuals(material: Material, drawn: Mapping[str, Chart]) -> None:
    best = material.analysis.fit.preferred
    assert best is not None
    for line in marks(drawn["joint_fit"], Line):
        np.testing.assert_allclose(line.y, best.law.predict(line.colour, line.x))
    (dots,) = marks(drawn["joint_fit"], Dots, 1)
    np.testing.assert_allclose(np.sort(dots.y / 100), np.sort(best.residuals), atol=1e-12)


def test_a_residual_map_holds_the_mean_of_the_seeds(material: Material, drawn: Mapping[str, Chart]) -> None:
    law = material.analysis.fit["joint"]
    assert law is not None
    (dots,) = marks(drawn["residuals"], Dots)
    used = material.points.used
    assert len(dots.x) == len(used[["n", "d"]].drop_duplicates())
    mine = used[(used["n"] == dots.x[0]) & (used["d"] == dots.y[0])]
    expected = np.mean([100 * np.log(row["loss"] / law.law.predict(row["n"], row["d"])) for _, row in mine.iterrows()])
    assert dots.colour[0] == pytest.approx(expected)


def test_curves_keep_their_ends_and_the_frontier_only_falls(material: Material, drawn: Mapping[str, Chart]) -> None:
    tokens, compute = (marks(drawn["curves"], Line, i) for i in range(2))
    assert len(tokens) == len(material.curves)
    for line in tokens:
        assert len(line.x) <= 60
    ends = {(round(line.x[-1]), line.y[-1]) for line in tokens}
    assert ends == {(round(curve[-1][0]), curve[-1][1]) for curve in material.curves.values()}
    frontier = compute[-1]
    assert np.all(np.diff(frontier.x) > 0) and np.all(np.diff(frontier.y) < 0)
    every = np.concatenate([np.stack([line.x, line.y], axis=1) for line in compute[:-1]])
    for x, y in zip(frontier.x, frontier.y, strict=True):
        assert y == every[every[:, 0] <= x, 1].min()


def test_a_short_curve_is_not_thinned() -> None:
    line = np.stack([np.geomspace(1, 1e6, 500), np.linspace(5, 2, 500)], axis=1)
    assert np.array_equal(thin(line[:10], 60), line[:10])
    thinned = thin(line, 60)
    assert 50 <= len(thinned) <= 60
    assert np.array_equal(thinned[[0, -1]], line[[0, -1]])


def test_the_optima_are_those_of_the_approaches(material: Material, drawn: Mapping[str, Chart]) -> None:
    rows = [row for row in material.analysis.approaches.rows if row.allocation is not None]
    for i, name in enumerate(("n_opt", "d_opt")):
        lines = marks(drawn["optima"], Line, i)
        assert len(lines) == 2 * len(rows)
        for line, row in zip(lines, (row for row in rows for _ in range(2)), strict=True):
            np.testing.assert_allclose(line.y, getattr(row.allocation, name)(line.x))
    assert marks(drawn["optima"], Rule)[0].at == material.analysis.approaches.compared_at[0]


def test_optima_are_solid_where_c_was_measured_and_dashed_as_far_as_is_supported(
    material: Material, drawn: Mapping[str, Chart]
) -> None:
    largest = material.points.c.max()
    solid, dashed = ([m for m in marks(drawn["optima"], Line) if m.dash == dash] for dash in ("solid", "dash"))
    assert len(solid) == len(dashed) > 0
    for inside, beyond in zip(solid, dashed, strict=True):
        assert inside.x[-1] == pytest.approx(largest) == pytest.approx(beyond.x[0])
        assert beyond.x[-1] == pytest.approx(material.analysis.support.reach * largest)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["frontier", "optima", "next_gain"])
def test_every_figure_that_extrapolates_ends_and_is_shaded_where_the_one_rule_says(
    analysis: Analysis, drawn: Mapping[str, Chart], name: str
) -> None:
    largest, farthest = analysis.points.c.max(), analysis.support.reach * analysis.points.c.max()
    assert farthest > largest
    for panel in range(len(drawn[name].panels)):
        shades = [band for band in marks(drawn[name], Band, panel) if band.colour == "ink"]
        assert [band.x.tolist() for band in shades] == [pytest.approx([largest, farthest])]
        assert max(line.x.max() for line in marks(drawn[name], Line, panel)) == pytest.approx(farthest)
    assert "as the points support" in drawn[name].caption


def test_the_forecast_of_the_first_picture_is_that_of_the_farthest_supported_model(
    analysis: Analysis, drawn: Mapping[str, Chart]
) -> None:
    made = analysis.ahead.best[-1].loss
    assert isinstance(made, Forecast) and made.honest is not None
    assert made.supported_factor == pytest.approx(analysis.support.reach, rel=1e-6)
    (ring,) = [dots for dots in marks(drawn["frontier"], Dots) if dots.is_hollow]
    assert ring.low is not None and ring.high is not None
    assert [ring.x[0], ring.y[0], ring.low[0], ring.high[0]] == pytest.approx(
        [made.c, made.honest.value, made.honest.low, made.honest.high], rel=1e-5
    )


def test_an_approach_without_an_interval_looks_like_it(analysis: Analysis) -> None:
    approaches = analysis.approaches
    law_row = approaches.rows[2]
    rows = (replace(law_row, name="envelope", samples=(), cluster_samples=()), law_row)
    chart = figures()["optima"](Material(analysis.points, replace(analysis, approaches=replace(approaches, rows=rows))))
    assert isinstance(chart, Chart)
    lines = {line.group: line for line in marks(chart, Line) if line.name}
    bare, law = lines["envelope"], lines["law"]
    assert (bare.name, bare.colour) == ("lower envelope (no interval)", "faint")
    assert (law.name, law.colour) == ("fitted law, additive", "third")
    assert bare.width < law.width


def at_bound(analysis: Analysis, *bounds: str, names: tuple[str, ...] = ("coupled",)) -> Analysis:
    laws = dict(analysis.fit.laws)
    for name in names:
        law = laws[name]  # type: ignore[index]
        assert isinstance(law, Fit) and law.search is not None
        found = replace(law, status=Status.AT_BOUND, search=replace(law.search, at_bound=bounds))
        laws[name] = found  # type: ignore[index]
    return replace(analysis, fit=replace(analysis.fit, laws=laws))


def test_a_law_at_a_bound_has_no_optimum_and_no_price_of_a_gain(analysis: Analysis) -> None:
    assert analysis.fit.preferred_name == "coupled"
    bound = at_bound(analysis, "kappa = 5")
    chart = figures()["optima"](Material(bound.points, bound))
    assert isinstance(chart, Chart)
    assert {line.name for line in marks(chart, Line) if line.name} == {"fitted law, additive"}
    assert chart.caption.endswith("Not drawn: fitted law, coupled, with a parameter at its bound.")
    refused = figures()["next_gain"](Material(bound.points, bound))
    assert isinstance(refused, Refused) and "at its bound" in refused.reason
    bound = at_bound(analysis, "alpha = 10", names=("joint", "coupled"))
    refused = figures()["optima"](Material(bound.points, bound))
    assert isinstance(refused, Refused)
    assert refused.reason.endswith("Not drawn: fitted law, additive and fitted law, coupled, with a parameter at its bound.")


def test_the_optimum_does_not_depend_on_e(analysis: Analysis) -> None:
    bound = at_bound(analysis, "E = 0")
    chart = figures()["optima"](Material(bound.points, bound))
    assert isinstance(chart, Chart) and "fitted law, coupled" in {line.name for line in marks(chart, Line)}


def test_without_minima_the_optima_begin_at_the_smallest_measured_compute(analysis: Analysis) -> None:
    approaches = analysis.approaches
    bare = replace(analysis, approaches=replace(approaches, minima=replace(approaches.minima, minima=())))
    chart = figures()["optima"](Material(bare.points, bare))
    assert isinstance(chart, Chart)
    assert min(line.x[0] for line in marks(chart, Line)) == pytest.approx(analysis.points.c.min())


def test_a_profile_has_its_minimum_at_the_estimate_and_meets_the_threshold_at_the_interval(
    material: Material, drawn: Mapping[str, Chart]
) -> None:
    best = material.analysis.fit.preferred
    assert best is not None
    chart = drawn["profile"]
    assert len(chart.panels) >= 3
    for panel in chart.panels:
        name = {"α": "alpha", "β": "beta", "κ": "kappa"}.get(panel.x.label, "E")
        (line,) = [mark for mark in panel.marks if isinstance(mark, Line)]
        threshold, centre = (mark.at for mark in panel.marks if isinstance(mark, Rule))
        assert centre == pytest.approx(getattr(best.law, name), rel=1e-6)
        assert line.x[np.argmin(line.y)] == pytest.approx(centre)
        inside = line.x[line.y <= threshold]
        assert inside.min() <= centre <= inside.max()


def test_profile_of_chinchilla_holds_the_published_values() -> None:
    analysis = analyse(published_points("chinchilla", None), FitSpec(bootstrap=0, huber_delta=1e-3))
    assert analysis.fit.fits.get("joint") is not None
    from scalesweep.fit.profiles import profile_curves

    curves = profile_curves(analysis.points, analysis.fit["joint"], 0.95)
    for name, published in (("E", 1.8169), ("alpha", 0.3478), ("beta", 0.3659)):
        assert curves[name].low < published < curves[name].high


def test_cost_of_a_gain_by_closed_form() -> None:
    """With equal exponents L* - E = K C^(-alpha / 2), so that k = (1 - gain / (L* - E))^(-2 / alpha)."""
    law = Chinchilla(E=1.0, A=50, B=50, alpha=0.4, beta=0.4)
    c = np.geomspace(1e10, 1e14, 7)
    excess = law.predict(law.n_opt(c), law.d_opt(c)) - 1.0
    expected = np.array([(1 - 0.1 / e) ** (-2 / 0.4) if e > 0.1 else math.inf for e in excess])
    np.testing.assert_allclose(cost_of_gain(law, c, 0.1), expected, rtol=1e-3)


def test_tuning_curves_are_the_measured_losses_and_rings_the_optima() -> None:
    frontier = tuned_frontier(sweep(grid=[{"recipe.lr": float(lr)} for lr in LRS], sigma=0.002))
    analysis = analyse(frontier.points, FitSpec(bootstrap=0))
    chart = figures()["tuning"](Material(analysis.points, analysis, {}, frontier))
    assert isinstance(chart, Chart)
    assert len(chart.panels) == 4
    used = frontier.measured.used
    for panel in chart.panels:
        for line in (mark for mark in panel.marks if isinstance(mark, Line)):
            mine = used[(used["n"] == line.colour) & used["loss"].isin(line.y)]
            assert len(mine) == len(LRS)
    rings = [m for p in chart.panels for m in p.marks if isinstance(m, Dots) and m.is_hollow]
    assert sorted(float(ring.y[0]) for ring in rings) == pytest.approx(sorted(o.loss for o in frontier.optima))


def test_collapse_ends_at_one(drawn: Mapping[str, Chart]) -> None:
    lines = marks(drawn["collapse"], Line)
    assert len(lines) == len(SIZES) * len(SEEDS)
    assert all(line.y[-1] == pytest.approx(1.0, abs=0.02) for line in lines)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), *range(2, 10)])
def test_a_sweep_that_shows_little_still_has_a_page(seed: int) -> None:
    """Losses of few levels that are constant, depend on one variable or are noise: terms vanish, exponents mean nothing."""
    rng = np.random.default_rng(seed)
    sizes, budgets = (np.geomspace(1e4, 1e4 * 10 ** rng.uniform(0.3, 3), rng.integers(2, 5)) for _ in "nd")
    forms = (lambda n, d: 3.0, lambda n, d: 2 + 50 / d**0.4, lambda n, d: 2 + 50 / n**0.4, lambda n, d: 3 + 0.01 * math.log(n))
    noise = rng.choice([0, 0.001, 0.05])
    rows = [
        {"n": n, "d": d, "c": 6 * n * d, "loss": float(forms[seed % 4](n, d) * np.exp(noise * rng.standard_normal()))}
        for n in sizes
        for d in budgets
    ]
    points = points_from_rows(rows, "with_head", "attention", "odd")
    try:
        analysis = analyse(points, FitSpec(bootstrap=int(rng.choice([0, 10]))))
    except FitError:  # says why in words
        return
    drawn = charts(Material(analysis.points, analysis))
    context = ReportContext("odd", {}, [], {}, [], "scalesweep report odd.csv")
    assert "<main>" in render_html(analysis, context, reviewed(analysis, context), drawn)
    assert all(draw_text(chart, 80, has_colour=False) and draw(chart, kinds=["svg"]) for chart in drawn)


def test_every_figure_has_a_title_for_where_it_is_missing() -> None:
    assert list(TITLES) == list(figures())


def test_reasons_name_what_is_missing() -> None:
    sizes = np.geomspace(1e5, 1e7, 8)
    rows = [{"n": n, "d": 20 * n, "c": 120 * n * n, "loss": float(LAW.predict(n, 20 * n))} for n in sizes]
    analysis = analyse(points_from_rows(rows, "total", "six_n", "ray.csv"), FitSpec(bootstrap=20))
    made = {name: make(Material(analysis.points, analysis)) for name, make in figures().items()}
    assert [name for name, chart in made.items() if isinstance(chart, Chart)] == ["frontier", "power_laws"]
    assert all(len(str(reason)) > 20 for reason in made.values())
    assert "tokens-per-parameter ray" in str(made["joint_fit"])


# -- drawings -----------------------------------------------------------------------------------------------------------------


def test_what_is_outside_a_panel_or_not_finite_leaves_gaps_on_the_page() -> None:
    assert rounded(np.array([1.234567, math.nan, math.inf, 0.0])) == [1.2346, None, None, 0.0]


def test_the_page_s_numbers_are_the_charts(drawn: Mapping[str, Chart]) -> None:
    content = json.loads(charts_json(list(drawn.values())).replace("\\u003c", "<"))
    assert set(content["charts"]) == set(drawn)
    for name, chart in drawn.items():
        for panel, given in zip(chart.panels, content["charts"][name]["panels"], strict=True):
            assert len(panel.marks) == len(given["marks"])
            for mark, made in zip(panel.marks, given["marks"], strict=True):
                if isinstance(mark, Dots | Line):
                    np.testing.assert_allclose(made["x"], mark.x, rtol=1e-4)
                    np.testing.assert_allclose(made["y"], mark.y, rtol=1e-4, atol=1e-12)


def test_nothing_in_the_data_ends_the_script(drawn: Mapping[str, Chart]) -> None:
    chart = drawn["power_laws"]
    dots = marks(chart, Dots)[1]
    nasty = replace(dots, hover=tuple("</script><script>alert(1)</script>" for _ in dots.x), name="</script>")
    panel = replace(chart.panels[0], marks=(nasty,))
    assert "<" not in charts_json([replace(chart, panels=(panel,))])


def test_all_charts_are_drawn_on_both_backgrounds_and_as_text(drawn: Mapping[str, Chart]) -> None:
    light, dark = (draw(drawn["power_laws"], *theme, kinds=["svg"])["svg"] for theme in ((), (DARK,)))
    assert light != dark
    for chart in drawn.values():
        text = draw_text(chart, 80, has_colour=False)
        assert "\x1b" not in text
        assert max(map(len, text.splitlines())) <= 80
        for panel in chart.panels:
            assert plain(panel.title) in text
    assert "\x1b[38;2;" in draw_text(drawn["power_laws"], 80, has_colour=True)


def test_a_page_of_200_cells_fits_into_a_mail(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for n in np.geomspace(1e4, 1e7, 10):
        for d in np.geomspace(1e6, 1e9, 10):
            for seed in range(2):
                loss = float(LAW.predict(n, d) * np.exp(0.002 * rng.standard_normal()))
                key = f"{len(rows):012x}"
                rows.append({"key": key, "n": n, "d": d, "c": 6 * n * d, "loss": loss, "loss_se": 0.0123456, "seed": seed})
    cells = [{**row, "width": 64, "depth": 2, "lr": 0.00123, "state": "COMPLETE", "seconds": 12.345678} for row in rows]
    curves = {row["key"]: [(row["d"] * x, 5 - 3 * x + rng.normal(0, 0.01)) for x in np.geomspace(1e-3, 1, 500)] for row in rows}
    analysis = analyse(points_from_rows(rows, "with_head", "attention", "synthetic"), FitSpec(bootstrap=0))
    page = write_report(tmp_path, analysis, ReportContext("large", curves, cells, {}, [], "scalesweep report runs/large"))
    assert 1.2e6 < page.stat().st_size < 2.5e6


def test_a_scale_ends_at_its_ends() -> None:
    scale = Scale("n", 1e3, 1e5, (), "")
    assert scale.share(np.array([1.0, 1e3, 1e4, 1e5, 1e9])).tolist() == pytest.approx([0, 0, 0.5, 1, 1])
    about = Scale("percent", -2.0, 2.0, (), "", is_diverging=True)
    assert about.share(np.array([-9.0, -2.0, 0.0, 1.0])).tolist() == [0, 0, 0.5, 0.75]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_colours_about_zero_are_nearest_to_the_page_at_zero_and_farther_with_size(theme: Theme) -> None:
    page = np.array([int(theme.page[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    distance = np.abs(colours(theme, True, 17)[:, :3] - page).sum(axis=1)
    assert np.argmin(distance) == 8
    assert min(distance[0], distance[-1]) > 3 * distance[8]
    assert len({tuple(colour) for colour in colours(theme, True, 17)}) == 17


@pytest.mark.parametrize("name", ["optima", "back_test"])
def test_a_legend_covers_no_panel(drawn: Mapping[str, Chart], name: str) -> None:
    figure = lay_out(drawn[name], LIGHT)
    (legend,) = figure.legends
    panels = [axis.get_window_extent() for axis in figure.axes]
    assert not any(axis.get_legend() for axis in figure.axes)
    assert all(legend.get_window_extent().y1 < panel.y0 for panel in panels[: len(drawn[name].panels)])
    assert legend.get_window_extent().y0 >= 0


def test_the_note_of_a_panel_lies_below_it_inside_the_figure(drawn: Mapping[str, Chart]) -> None:
    panel = replace(drawn["power_laws"].panels[0], note="There is no line, because there are too few sizes for one. " * 2)
    figure = lay_out(replace(drawn["power_laws"], panels=(panel,)), LIGHT)
    axis = figure.axes[0]
    (note,) = [text for text in axis.texts if text.get_text().startswith("There is no line")]
    label = axis.xaxis.label.get_window_extent()
    assert 0 <= note.get_window_extent().y0 < note.get_window_extent().y1 <= label.y0


def test_labels_of_a_scale_keep_both_ends() -> None:
    scale = Scale("n", 1.0, 100.0, (1.0, 2.0, 10.0, 80.0, 100.0), "")
    assert scale.spaced_ticks(0.2) == [1.0, 10.0, 100.0]
    assert scale.spaced_ticks(0.01) == list(scale.ticks)
    assert Scale("n", 1.0, 4.0, (2.0,), "").spaced_ticks(0.2) == [2.0]


def test_profiles_have_few_labels(drawn: Mapping[str, Chart]) -> None:
    labels = [panel.x.ticks() for panel in drawn["profile"].panels]
    assert all(2 <= len(ticks) <= 5 for ticks in labels)
    assert len(Axis("number", 0.0, 9.0, "", is_log=False, most_ticks=5).ticks()) == 5


def test_titles_in_three_spellings() -> None:
    title = formula(Chinchilla(E=1.5, A=400.0, B=2e6, alpha=0.34, beta=0.28))
    assert title == "<i>L</i>(N, D) = 1.5 + 400 / N<sup>0.34</sup> + 2·10<sup>6</sup> / D<sup>0.28</sup>"
    assert plain(title) == "L(N, D) = 1.5 + 400 / N⁰·³⁴ + 2·10⁶ / D⁰·²⁸"
    assert in_math("<i>L</i> = 10<sup>6</sup>") == r"$L$ = 10$^{\mathregular{6}}$"


def test_a_line_from_which_the_points_bend_is_dashed_and_says_so() -> None:
    """Sizes of a law with a floor at equal tokens."""
    n = np.geomspace(1e5, 1e9, 12)
    points = measure(Chinchilla(E=1.9, A=120, B=300, alpha=0.32, beta=0.35), n, np.full(12, 1e10), 0.0005, 0)
    chart = figures()["power_laws"](Material(points, analyse(points, FitSpec(bootstrap=0))))
    assert isinstance(chart, Chart)
    assert chart.panels[0].note == "Rejected: the points bend away from this line."
    assert [mark.dash for mark in chart.panels[0].marks if isinstance(mark, Line)] == ["dash"]


@pytest.mark.parametrize("width", [4.0, 5.4, 10.6])
def test_a_legend_is_no_wider_than_its_figure(width: float) -> None:
    """Its names take as many rows as they need; a thumbnail has none."""
    x = np.array([1.0, 2.0])
    marks = tuple(Line(x, x * i, "first", name=f"a name of {i} letters and then some more") for i in (1, 2, 3, 4))
    axis = Axis("number", 0.0, 9.0, "x", is_log=False)
    chart = Chart("legend", "Four names.", (Panel("", axis, axis, marks),))
    figure = lay_out(chart, LIGHT, (width, 3.0))
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 4
    assert legend.get_window_extent().width <= figure.bbox.width
    assert tuple(figure.get_size_inches()) == (width, 3.0)
    assert lay_out(chart, LIGHT, (width, 3.0), has_keys=False).legends == []
