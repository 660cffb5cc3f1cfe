"""Beside published studies: the constants, a sweep under each study's count, and what may be said of agreement."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from scalesweep.analysis.allocation.approaches import compare_approaches
from scalesweep.analysis.analyse import Analysis
from scalesweep.analysis.conventions import RESAMPLES, recount, under_conventions
from scalesweep.errors import FitError, Refused
from scalesweep.fit import fit_laws
from scalesweep.fit.estimates import Estimate
from scalesweep.interval import Interval
from scalesweep.laws import Chinchilla
from scalesweep.points.design import Span
from scalesweep.points.points import Points, points_from_rows
from scalesweep.points.published import published_points
from scalesweep.points.published.results import Result, published_results
from scalesweep.report import ReportContext, write_report
from scalesweep.report.pages.markup import at_path
from scalesweep.report.review.published import (
    PublishedRow,
    agreement_words,
    caveat,
    distance_words,
    sources_table,
    studies_of,
    values_table,
)
from scalesweep.run.store.measured import read_measured, read_sweep
from scalesweep.run.store.store import Store
from scalesweep.settings.fit import FitSpec
from scalesweep.settings.plan import CountSpec
from scalesweep.sweep.context import report_context
from scalesweep.sweep.facts import counts_of

LAW = Chinchilla(E=1.5, A=60, B=90, alpha=0.35, beta=0.3)


def the(study: str, quantity: str) -> Result:
    """The one published value whose study and quantity begin like this."""
    found = [r for r in published_results() if r.study.startswith(study) and r.quantity.startswith(quantity)]
    assert len(found) == 1, found
    return found[0]


def find(rows: tuple[PublishedRow, ...], study: str, quantity: str) -> PublishedRow:
    """The row of that value."""
    result = the(study, quantity)
    return next(row for row in rows if row.published == result)


def quick(points: Points, spec: FitSpec) -> Analysis:
    """The analysis without rivals, which take most of its time."""
    fit = fit_laws(points, spec)
    return Analysis(points, fit, compare_approaches(points, spec, fit=fit), Refused("left out"))


@pytest.fixture(scope="module")
def measured(reviewed_store: Store) -> tuple[Analysis, ReportContext]:
    """The analysis of the sweep, and what its report knows."""
    context = report_context(read_measured(reviewed_store), reviewed_store.plan_file.settings(), "scalesweep report sweep")
    return quick(read_sweep(reviewed_store.directory), FitSpec(bootstrap=50)), context


@pytest.fixture(scope="module")
def chinchilla() -> Analysis:
    """Hoffmann's points as Besiroglu et al. digitised them, under their Huber width."""
    return quick(published_points("chinchilla"), FitSpec(huber_delta=1e-3, bootstrap=50))


# -- the constants ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("study", "quantity", "value"),
    [
        ("Kaplan", "exponent of L(N)", 0.076),
        ("Kaplan", "exponent of L(D)", 0.095),
        ("Kaplan", "exponent of L(C),", 0.057),
        ("Kaplan", "exponent of L(C_min)", 0.050),
        ("Kaplan", "a in N* ∝ C_min^a", 0.73),
        ("Kaplan", "a in N* ∝ C^a, batch fixed", 0.88),
        ("Hoffmann et al. 2022, approach 1", "a in", 0.50),
        ("Hoffmann et al. 2022, approach 2", "a in", 0.49),
        ("Hoffmann et al. 2022, approach 3", "a in", 0.46),
        ("Hoffmann et al. 2022, approach 3", "alpha", 0.34),
        ("Hoffmann et al. 2022, approach 3", "beta", 0.28),
        ("Hoffmann et al. 2022, approach 3", "E of", 1.69),
        ("Besiroglu", "alpha", 0.3478),
        ("Besiroglu", "beta", 0.3659),
        ("Besiroglu", "E of", 1.8169),
        ("Besiroglu", "a in", 0.513),
    ],
)
def test_constants_as_published(study: str, quantity: str, value: float) -> None:
    assert the(study, quantity).value == value


def test_intervals_as_published() -> None:
    assert the("Hoffmann et al. 2022, approach 2", "a in").interval == (0.462, 0.534)
    assert the("Besiroglu", "E of").interval == (1.769, 1.871)
    assert the("Besiroglu", "a in").interval == pytest.approx((0.4738, 0.5522))
    stages = [r for r in published_results() if r.study.startswith("Porian") and "RefinedWeb" in r.quantity]
    assert [round(r.value, 3) for r in stages] == [0.835, 0.706, 0.602, 0.571, 0.497]
    for result in published_results():
        assert (result.interval is None) == (result.confidence is None)
        assert result.source.startswith("arXiv 2")
        if result.interval and result.quantity != "a in N* ∝ C^a":  # Hoffmann's third interval leaves its value out
            assert result.interval[0] < result.value < result.interval[1]


PEARCE_OMEGA = 47491.0
"""N_total = N + omega N^(1/3) of Chinchilla's models, N without embeddings. Pearce & Song 2024, and their script."""


def local_exponent(
    c_range: tuple[float, float], A: float, B: float, alpha: float, beta: float, omega: float = PEARCE_OMEGA
) -> float:
    """Slope of log N* by log C without embeddings, where the additive law holds in N_total = N + omega N^(1/3).

    The optimum of A / N_total^alpha + B / (C / 6 N)^beta at fixed C, solved for C (Pearce & Song 2024, in their script):
    C = 6 N (N + omega N^(1/3) / 3)^(-1/beta) N_total^((1 + alpha)/beta) (beta B / (alpha A))^(1/beta).

    Args:
        c_range: smallest and largest C of the line, FLOPs, C = 6 N D without embeddings.
        A: coefficient of the parameter term, nats per token.
        B: coefficient of the data term, nats per token.
        alpha: exponent of N_total.
        beta: exponent of D.
        omega: parameters of the embeddings at N = 1.
    """
    log_n = np.linspace(np.log(1e2), np.log(1e13), 4000)
    n = np.exp(log_n)
    embedding = omega * np.cbrt(n)
    log_ratio = np.log(beta * B / (alpha * A)) - np.log(n + embedding / 3) + (1 + alpha) * np.log(n + embedding)
    log_c = np.log(6 * n) + log_ratio / beta
    at = np.linspace(np.log(c_range[0]), np.log(c_range[1]), 200)
    return float(np.polyfit(at, np.interp(at, log_c, log_n), 1)[0])


def test_exponents_that_pearce_and_song_print() -> None:
    """Their 0.78 and 0.74 in a count without embeddings, and a = beta / (alpha + beta) where embeddings no longer matter."""
    assert round(the("Pearce", "a in N* ∝ C^a, Besiroglu's").value, 2) == 0.78
    assert round(the("Pearce", "a in N* ∝ C^a, Hoffmann's").value, 2) == 0.74
    constants = {"A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3659}
    unrounded = {"A": math.exp(6.0073404), "B": math.exp(6.0179186), "alpha": 0.33917084, "beta": 0.2849083}  # in the TeX
    for whose, law in (("Besiroglu", constants), ("Hoffmann", unrounded)):
        result = the("Pearce", f"a in N* ∝ C^a, {whose}'s")
        assert result.c_range is not None
        assert result.value == pytest.approx(local_exponent(result.c_range, **law), rel=1e-9)
    far = local_exponent((1e23, 1e25), **constants)
    assert far == pytest.approx(0.3659 / (0.3478 + 0.3659), abs=5e-3)
    assert local_exponent((1e18, 1e20), **constants, omega=1e-9) == pytest.approx(0.5127, abs=1e-3)


def test_tokens_per_parameter_follow_from_the_law() -> None:
    law = Chinchilla(E=1.8169, A=482.01, B=2085.43, alpha=0.3478, beta=0.3659)
    assert the("Besiroglu", "D*/N*").value == pytest.approx(float(law.tokens_per_parameter_opt(5.76e23)), rel=1e-9)


# -- a table of points: one count ---------------------------------------------------------------------------------------------


def test_besiroglus_numbers_come_back(chinchilla: Analysis) -> None:
    """The plain Huber sum has its minimum at .3473, .3672, 1.8172: .03 standard errors from their headline likelihood."""
    rows = studies_of(under_conventions(chinchilla, {}))
    for quantity, value, tolerance in (("alpha", 0.3478, 6e-4), ("beta", 0.3659, 1.4e-3), ("E of", 1.8169, 4e-4)):
        row = find(rows, "Besiroglu", quantity)
        assert row.own is not None
        assert row.own.value == pytest.approx(value, abs=tolerance)
        assert row.agreement.endswith("intervals (95% and 90%) overlap")
    assert "share 4.0 decades of C" in find(rows, "Besiroglu", "alpha").distance


def test_a_table_says_that_it_has_one_count(chinchilla: Analysis) -> None:
    rows = studies_of(under_conventions(chinchilla, {}))
    assert not any(row.same_count for row in rows)
    assert all("one count only" in row.reason for row in rows)
    assert "31 of these in another count" in caveat(rows)
    assert all("counts may differ" in row.agreement for row in rows if row.own and "not compared" not in row.agreement)


def test_porians_first_stage_is_in_the_count_of_the_study() -> None:
    analysis = quick(published_points("porian"), FitSpec(bootstrap=50))
    row = find(studies_of(under_conventions(analysis, {})), "Porian", "a in N* ∝ C^a, RefinedWeb, as Kaplan")
    assert row.same_count
    assert row.own is not None
    assert row.own.value == pytest.approx(row.published.value, abs=0.005)
    assert row.agreement == "intervals (95% and 90%) overlap"


# -- a sweep: every count -----------------------------------------------------------------------------------------------------


def test_counts_are_those_of_the_store(reviewed_store: Store) -> None:
    counts = counts_of(reviewed_store.plan_file.plan().cells)
    assert {result.counts for result in published_results()} < set(counts)
    for (params, flops), cells in counts.items():
        points = recount(read_sweep(reviewed_store.directory), (params, flops), cells)
        expected = read_sweep(reviewed_store.directory, CountSpec(params=params, flops=flops))
        np.testing.assert_array_equal(points.n, expected.n)
        np.testing.assert_allclose(points.c, expected.c, rtol=1e-12)
        assert points.params_convention == params


def test_values_of_the_sweep_are_in_the_study_s_count(measured: tuple[Analysis, ReportContext], reviewed_store: Store) -> None:
    analysis, context = measured
    rows = studies_of(under_conventions(analysis, context.counts))
    assert all(row.same_count for row in rows)
    row = find(rows, "Kaplan", "exponent of L(N)")
    assert row.convention == ("non_embedding", "kaplan")
    assert row.own is not None
    assert row.path == ""
    other = quick(
        read_sweep(reviewed_store.directory, CountSpec(params="non_embedding", flops="kaplan")), FitSpec(bootstrap=50)
    )
    assert other.fit.fits.get("by_n") is not None
    assert row.own == other.fit["by_n"].estimates["exponent"]
    joint = find(rows, "Hoffmann et al. 2022, approach 3", "alpha")
    total = quick(read_sweep(reviewed_store.directory, CountSpec(params="total", flops="six_n")), FitSpec(bootstrap=0)).fit[
        "joint"
    ]
    assert (joint.own is None) == (total is None)
    if joint.own is not None and total is not None:
        assert joint.own.value == pytest.approx(total.estimates["alpha"].value, rel=0.2)  # the width is the analysis's own


def test_own_values_are_those_of_fit_json(reviewed_store: Store, tmp_path: Path) -> None:
    """Under count.params=total the law of all parameters is the analysis's own: equal to fit.json, to the last digit."""
    analysis = quick(read_sweep(reviewed_store.directory, CountSpec(params="total", flops="six_n")), FitSpec(bootstrap=50))
    context = report_context(read_measured(reviewed_store), reviewed_store.plan_file.settings(), "scalesweep report sweep")
    page = write_report(tmp_path / "report", analysis, context)
    content = json.loads((page.parent / "fit.json").read_text())
    traced = [row for row in studies_of(under_conventions(analysis, context.counts)) if row.path and row.own]
    assert {row.published.measure for row in traced} >= {"alpha", "E"}
    for row in traced:
        assert row.own is not None
        assert at_path(content, f"{row.path}.value") == row.own.value
        assert at_path(content, f"{row.path}.low") == row.own.low
    markdown = (page.parent / "report.md").read_text()
    for heading in ("## Beside published studies", "## Reviewer's checklist"):
        assert heading in markdown
    assert "Our largest C" in markdown


def test_refits_use_few_resamples_and_the_objective_of_the_analysis(measured: tuple[Analysis, ReportContext]) -> None:
    analysis, context = measured
    found = under_conventions(analysis, context.counts)
    own, *others = found.values()
    assert own.paths
    assert own.confidence == analysis.fit.confidence
    assert others
    assert not any(counted.paths for counted in others)
    assert {counted.resamples for counted in others} == {min(50, RESAMPLES)}


def test_rows_without_keys_are_refused() -> None:
    points = make_points()
    with pytest.raises(FitError, match="one count only"):
        recount(points, ("total", "six_n"), {"a": (1.0, 6.0)})


def test_fifty_cells_take_less_than_two_seconds() -> None:
    """Seven counts of a sweep of the demo's size."""
    import time

    points = make_points(keys=True)
    cells = {key: (float(n), 6.0 * float(n)) for key, n in zip(points.frame["key"], points.frame["n"], strict=True)}
    counts = {(f"count {i}", "six_n"): {key: (n + 3e4 * i, c + 1e5 * i) for key, (n, c) in cells.items()} for i in range(6)}
    analysis = quick(points, FitSpec(bootstrap=200))
    started = time.process_time()
    rows = studies_of(under_conventions(analysis, counts))
    assert time.process_time() - started < 2
    assert len(rows) == len(published_results())


def make_points(keys: bool = False) -> Points:
    """50 points of a known law."""
    rng = np.random.default_rng(0)
    rows = [
        {"n": n, "d": d, "c": 6 * n * d, "loss": float(LAW.predict(n, d) * np.exp(0.003 * rng.standard_normal())), "seed": s}
        for n in (1.4e4, 4.2e4, 8e4, 1.96e5, 4.62e5)
        for d in np.geomspace(1.28e5, 1.28e6, 5)
        for s in (0, 1)
    ]
    named = [{**row, "key": f"cell{i}"} for i, row in enumerate(rows)] if keys else rows
    return points_from_rows(named, "with_head", "attention", "simulated")


# -- words --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "same", "expected"),
    [
        (None, True, "nothing to compare"),
        (Estimate(0.5, Interval(0.48, 0.55)), True, "intervals (80% and 90%) overlap"),
        (Estimate(0.7, Interval(0.6, 0.8)), True, "intervals (80% and 90%) do not overlap"),
        (Estimate(0.7, Interval(0.6, 0.8)), False, "counts may differ; intervals (80% and 90%) do not overlap"),
        (Estimate(0.5), True, "no interval here; our value inside the published 80% interval"),
    ],
)
def test_agreement_is_said_by_intervals(own: Estimate | None, same: bool, expected: str) -> None:
    assert agreement_words(the("Hoffmann et al. 2022, approach 2", "a in"), own, 0.9, same) == expected


def test_tokens_per_parameter_at_other_compute_are_not_compared() -> None:
    assert "not compared" in agreement_words(the("Besiroglu", "D*/N*"), Estimate(20.0, Interval(10.0, 30.0)), 0.9, True)


def test_distance_in_decades() -> None:
    isoflop = the("Hoffmann et al. 2022, approach 2", "a in")
    small = Span((1e4, 1e6), (1e5, 1e7), (1e10, 6e14), (1.0, 100.0))
    assert distance_words(isoflop, small) == "Our largest C, 6e14 FLOPs, is 4.0 decades below the study's smallest, 6e18 FLOPs."
    inside = Span((1e8, 1e9), (1e9, 1e10), (6e19, 6e20), (1.0, 100.0))
    shared = "The ranges share 1.0 decades of C; ours has 1.0, the study's"
    assert distance_words(isoflop, inside).startswith(shared)
    above = Span((1e11, 1e12), (1e12, 1e13), (3e23, 1e24), (1.0, 100.0))
    assert "2.0 decades above the study's largest" in distance_words(isoflop, above)
    assert distance_words(the("Kaplan", "exponent of L(N)"), small).startswith("The ranges share 2.0 decades of N")


def test_tables_have_every_value_and_its_source(chinchilla: Analysis) -> None:
    rows = studies_of(under_conventions(chinchilla, {}))
    values, sources = values_table(rows), sources_table(rows)
    assert len(values) == len(sources) == len(published_results())
    for row, value, source in zip(rows, values, sources, strict=True):
        assert float(value["published"]) == pytest.approx(row.published.value, rel=1e-3)
        assert source["source"] == row.published.source
        assert source["obtained"] in ("read at source", "computed from published constants", "quoted")
        assert source["distance"].endswith(".")
        if row.own and math.isfinite(row.own.value):
            assert float(value["here"]) == pytest.approx(row.own.value, rel=1e-3)
