"""The reviewer's checklist: every answer follows from what is known, and changes when that changes."""

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scalesweep.analysis.allocation.approaches import compare_approaches
from scalesweep.analysis.analyse import Analysis, analyse
from scalesweep.errors import Refused
from scalesweep.fit import fit_laws
from scalesweep.laws import Chinchilla
from scalesweep.points.points import Points, points_from_rows
from scalesweep.report import ReportContext
from scalesweep.report.context import Bill, Facts
from scalesweep.report.review.checklist import ChecklistRow, checklist_table, count_status, review
from scalesweep.report.verdicts import Verdict, current_version
from scalesweep.run.store.measured import read_measured, read_sweep
from scalesweep.run.store.store import Store
from scalesweep.settings.fit import FitSpec
from scalesweep.sweep.context import report_context
from scalesweep.sweep.facts import cost_of_records

LAW = Chinchilla(E=1.5, A=60, B=90, alpha=0.35, beta=0.3)
EMPTY = ReportContext("empty", {}, [], {}, [], "scalesweep report points.csv")
STATES = ("answered", "partly", "not measured")


def make_points(seeds: tuple[int, ...] = (), noise: float = 0.003, **columns: Any) -> Points:
    """Six sizes and five budgets of a known law."""
    rng = np.random.default_rng(0)
    rows = [
        {"n": n, "d": d, "c": 6 * n * d, "loss": float(LAW.predict(n, d) * np.exp(noise * rng.standard_normal()))}
        | ({"seed": s} if seeds else {})
        | columns
        for n in np.geomspace(1e4, 1e6, 6)
        for d in np.geomspace(1e6, 1e8, 5)
        for s in seeds or (0,)
    ]
    return points_from_rows(rows, "with_head", "attention", "simulated")


def quick(points: Points, bootstrap: int = 50) -> Analysis:
    """The analysis without rivals, which take most of its time."""
    spec = FitSpec(bootstrap=bootstrap)
    fit = fit_laws(points, spec)
    return Analysis(points, fit, compare_approaches(points, spec, fit=fit), Refused("Rivals were left out."))


def answer(points: Points, number: int, context: ReportContext = EMPTY, **facts: Any) -> ChecklistRow:
    """One row of the checklist of these points."""
    return review(quick(points), replace(context, facts=Facts(**facts)))[number - 1]


@pytest.fixture(scope="module")
def whole() -> tuple[ChecklistRow, ...]:
    """The checklist of a table of points, rivals included."""
    return review(analyse(make_points(), FitSpec(bootstrap=50)), EMPTY)


@pytest.fixture(scope="module")
def sweep(reviewed_store: Store) -> tuple[tuple[ChecklistRow, ...], ReportContext, Analysis]:
    """The checklist of a measured sweep."""
    context = report_context(read_measured(reviewed_store), reviewed_store.plan_file.settings(), "scalesweep report sweep")
    analysis = quick(read_sweep(reviewed_store.directory))
    return review(analysis, context), context, analysis


# -- the whole ----------------------------------------------------------------------------------------------------------------


def test_twenty_three_questions_in_order(whole: tuple[ChecklistRow, ...]) -> None:
    assert [row.number for row in whole] == list(range(1, 24))
    assert len({row.question for row in whole}) == 23
    assert {row.status for row in whole} == set(STATES)
    for row in whole:
        assert row.question.endswith("?")
        assert row.answer.strip()
    counts = re.findall(r"\d+", count_status(whole))
    assert sum(map(int, counts[:1] + counts[2:])) == 23
    assert [row[2].text for row in checklist_table(whole).rows] == [row.status for row in whole]


def test_what_is_missing_has_a_remedy(whole: tuple[ChecklistRow, ...]) -> None:
    assert all("To do: " in row.answer for row in whole if row.status == "not measured")
    assert not any("To do: " in row.answer for row in whole if row.status == "answered")


def test_a_table_does_not_say_what_it_does_not_hold(whole: tuple[ChecklistRow, ...]) -> None:
    silent = {row.number for row in whole if "The table does not say" in row.answer}
    assert {1, 3, 4, 5, 6, 8, 9, 19, 21, 22} <= silent
    assert not {row.number for row in whole if row.number in silent and row.status == "answered"}


# -- a measured sweep ---------------------------------------------------------------------------------------------------------


def test_of_a_sweep_all_facts_are_known(sweep: tuple[tuple[ChecklistRow, ...], ReportContext, Analysis]) -> None:
    facts = sweep[1].facts
    unknown = {field.name for field in fields(Facts) if getattr(facts, field.name) in (None, (), {})}
    assert unknown == {"entropies"}


def test_answers_of_a_sweep_hold_its_numbers(
    sweep: tuple[tuple[ChecklistRow, ...], ReportContext, Analysis], reviewed_store: Store
) -> None:
    rows, context, analysis = sweep
    plan = reviewed_store.plan_file.plan()
    assert plan.cells[0].corpus_hash in rows[4].answer
    assert f"{context.facts.duplicates_removed} exact copies" in rows[4].answer
    assert "1.02k held-out tokens, the same ones for all cells" in rows[5].answer
    assert rows[5].status == "answered"
    assert "Schedule wsd; warm-up" in rows[7].answer
    assert "2 seeds" in rows[8].answer
    assert (rows[8].status, "sweep.seeds=[0,1,2]" in rows[8].answer) == ("partly", True)
    assert plan.hash in rows[21].answer
    assert "Refitted under" in rows[1].answer
    assert f"{analysis.fit.num_used} points of 3 sizes and 4 token budgets" in rows[3].answer
    assert "All 24 cells are in it" in rows[20].answer


def test_energy_and_cost_are_those_of_the_records(
    sweep: tuple[tuple[ChecklistRow, ...], ReportContext, Analysis], reviewed_store: Store
) -> None:
    _, context, _ = sweep
    seconds = sum(record["times"]["training_seconds"] for record in reviewed_store.records())
    cost, rates = cost_of_records(reviewed_store.plan_file.settings(), reviewed_store.records())
    assert cost.device_hours == pytest.approx(seconds / 3600)
    assert context.facts.bill is not None
    assert context.facts.bill.kwh == pytest.approx(seconds / 3600 * rates.watts / 1000)
    assert cost.bill in context.provenance["energy and cost"]
    assert rates.sources[0] in context.provenance["energy and cost"]
    assert context.provenance["devices"].startswith("CPU")


def test_stated_rates_answer_the_question_of_cost() -> None:
    done = {"COMPLETE": 30}
    bill = Bill(device_hours=3.0, kwh=1.0, usd=2.0, kg_co2=0.5, rates=("6.25 W a core (as set)",))
    assumed = answer(make_points(), 21, states=done, bill=replace(bill, rates=("6.25 W a core (assumed)",)))
    stated = answer(make_points(), 21, states=done, bill=bill)
    assert (assumed.status, stated.status) == ("partly", "answered")
    dear = answer(make_points(), 21, states=done, bill=replace(bill, kwh=120.4, usd=344.0, device_hours=1720.0))
    assert "120 kWh, $340, 0.5 kg CO2 for 1,720 device-hours" in dear.answer
    unfinished = answer(make_points(), 21, states={"COMPLETE": 28, "FAILED": 2}, bill=bill)
    assert (unfinished.status, "2 cells without a record" in unfinished.answer) == ("partly", True)


def test_a_corpus_that_is_gone_leaves_its_copies_unknown(
    sweep: tuple[tuple[ChecklistRow, ...], ReportContext, Analysis],
) -> None:
    _, context, analysis = sweep
    gone = replace(context.facts, documents=None, duplicates_removed=None)
    assert review(analysis, replace(context, facts=gone))[4].status == "partly"


# -- one fact changes ---------------------------------------------------------------------------------------------------------


def test_seeds_decide_on_noise() -> None:
    known = {"devices": ("CPU",), "precisions": ("float32",), "versions": ("scalesweep 1",)}
    one, two, three = (answer(make_points(seeds), 9, **known) for seeds in ((0,), (0, 1), (0, 1, 2)))
    assert [row.status for row in (one, two, three)] == ["not measured", "partly", "answered"]
    assert "sweep.seeds=[0,1,2]" in one.answer
    assert "no N and D was measured twice" in one.answer
    assert "sd of log loss between seeds 0.28%" in three.answer


def test_repeats() -> None:
    assert answer(make_points(), 19).status == "not measured"
    assert answer(make_points(unique_tokens=2e8), 19).status == "answered"
    again = answer(make_points(unique_tokens=5e7), 19)
    assert (again.status, "6 of 30 points repeat data, at most 2 epochs" in again.answer) == ("partly", True)


def test_resamples_decide_on_intervals() -> None:
    with_some, without = (review(quick(make_points(), bootstrap), EMPTY)[12] for bootstrap in (50, 0))
    assert (with_some.status, without.status) == ("answered", "not measured")
    assert "fit.bootstrap=1000" in without.answer
    assert "Correlations of estimates: E and alpha" in with_some.answer


def test_versions_decide_on_the_code() -> None:
    one = {"versions": ("scalesweep 1 (commit abc), torch 2",)}
    dirty = {"versions": ("scalesweep 1 (commit abc-dirty), torch 2",)}
    two = {"versions": ("scalesweep 1 (commit abc), torch 2", "scalesweep 1 (commit abd), torch 2")}
    assert [answer(make_points(), 22, **v).status for v in (one, dirty, two, {})] == ["answered", "partly", "partly", "partly"]
    noisier = answer(make_points(noise=0.004), 22).answer
    assert noisier != answer(make_points(), 22).answer  # the hash is of the table


def test_a_known_entropy_is_compared_with_the_floor() -> None:
    points = make_points()
    assert answer(points, 23).status == "not measured"
    held = answer(points, 23, entropies=(1.5,), below_entropy=0)
    assert (held.status, "holds it" in held.answer) == ("answered", True)
    assert "does not hold it" in answer(points, 23, entropies=(0.2,), below_entropy=3).answer


def test_several_validation_sets_are_not_one() -> None:
    points = make_points(loss_se=0.01)
    assert answer(points, 6, validation_tokens=(1000,)).status == "answered"
    mixed = answer(points, 6, validation_tokens=(1000, 2000))
    assert (mixed.status, "not the same for all cells" in mixed.answer) == ("partly", True)


def test_a_schedule_without_decay_is_said() -> None:
    known = {"schedules": ("wsd",), "warmup_fraction": (0.05, 0.1)}
    assert answer(make_points(), 8, **known, decay_fraction=(0.2, 0.2)).status == "answered"
    assert "some cells do not decay" in answer(make_points(), 8, **known, decay_fraction=(0.0, 0.2)).answer


def test_tuned_points_say_settings_edges_and_regret() -> None:
    columns = {"num_settings": 6, "best.recipe.lr": 0.01, "regret_half_lr": 0.004, "regret_double_lr": 0.006}
    tuned = answer(make_points(**columns), 7)
    assert (tuned.status, "inside in 30 of 30" in tuned.answer) == ("answered", True)
    assert "0.0060 nats higher" in tuned.answer
    frame = make_points(**columns).frame
    frame.loc[0, "excluded_reason"] = "the best lr tried is at the end of its range"
    edge = answer(replace(make_points(**columns), frame=frame), 7)
    assert (edge.status, "inside in 29 of 30" in edge.answer) == ("partly", True)


def test_flops_without_the_head_are_partly_answered() -> None:
    points = make_points()
    assert answer(points, 3, flops_by=("formula",)).status == "answered"
    kaplan = answer(replace(points, flops_convention="kaplan"), 3, flops_by=("formula",))
    assert (kaplan.status, "leaves out head and attention" in kaplan.answer) == ("partly", True)


# -- the fit ------------------------------------------------------------------------------------------------------------------


def test_the_furthest_row_is_named_with_its_effect(whole: tuple[ChecklistRow, ...]) -> None:
    assert re.search(
        r"Without the largest residual \(-?0\.\d+% at N = .*\) the additive law moves alpha from 0\.3", whole[9].answer
    )
    points = make_points()
    frame = points.frame.copy()
    frame.loc[7, "loss"] *= 1.5
    changed = answer(replace(points, frame=frame), 10).answer
    assert "N = 25.1k" in changed
    assert changed != whole[9].answer


def test_starts_are_those_of_the_fit_and_rivals_those_of_the_tournament(whole: tuple[ChecklistRow, ...]) -> None:
    assert whole[11].status == "answered"
    for form in ("additive", "coupled", "Kaplan with E", "quadratic in logs"):
        assert form in whole[11].answer
    assert re.search(r"\d+ of \d+ starts reached the same minimum; gradient test met", whole[10].answer)
    without = review(quick(make_points()), EMPTY)
    assert [without[i].status for i in (10, 11, 13)] == ["answered", "not measured", "not measured"]


def test_the_back_test_is_partly_an_answer_as_no_forecast_is_sealed(whole: tuple[ChecklistRow, ...]) -> None:
    assert whole[13].status == "partly"
    assert "Rolling origin by compute" in whole[13].answer
    assert "scalesweep forecast" in whole[13].answer


def test_without_a_joint_law_the_reasons_are_given() -> None:
    rows = [{"n": n, "d": 20 * n, "c": 120 * n * n, "loss": float(LAW.predict(n, 20 * n))} for n in np.geomspace(1e4, 1e6, 8)]
    found = review(quick(points_from_rows(rows, "total", "six_n", "ray")), EMPTY)
    assert [found[i].status for i in (0, 10, 12)] == ["partly", "not measured", "not measured"]
    assert "move together" in found[10].answer


def test_the_checklist_of_a_written_report(reviewed_store: Store, tmp_path: Path) -> None:
    from scalesweep.report import write_report

    context = report_context(read_measured(reviewed_store), reviewed_store.plan_file.settings(), "scalesweep report sweep")
    analysis = quick(read_sweep(reviewed_store.directory))
    page = write_report(tmp_path / "report", analysis, context)
    markdown = (page.parent / "report.md").read_text()
    assert count_status(review(analysis, context)) in markdown
    for row in review(analysis, context):
        assert row.question in markdown


@pytest.mark.parametrize(("number", "study"), [(18, "emergence"), (20, "test_time"), (17, "algorithms"), (23, "calibrate")])
@pytest.mark.parametrize(
    ("word", "version", "status"),
    [("supported", "", "answered"), ("cannot tell", "", "partly"), ("supported", "0.0.1", "partly")],
)
def test_studies_beside_the_sweep_answer(number: int, study: str, word: str, version: str, status: str) -> None:
    verdict = Verdict(study, word, "It is so.", "2026-11-02", version or current_version(), "0123456789ab")
    known = {"corpus_hash": "0123"} if number == 17 else {}
    row = answer(make_points(), number, replace(EMPTY, verdicts={study: verdict}), **known)
    assert row.status == status
    assert "It is so." in row.answer and "2026-11-02" in row.answer
