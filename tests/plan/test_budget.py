"""What is left of a grid under a budget: it fits, is the same every time, and can still identify a joint law."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import small_settings

from scalesweep.errors import Refused, SpecError
from scalesweep.fit import fit_laws
from scalesweep.fit.selection import select_rows
from scalesweep.plan.budget import Limit, describe, exceeded, shrink
from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.points.points import points_from_rows
from scalesweep.points.rows import Rows
from scalesweep.settings.plan import CountSpec
from scalesweep.settings.settings import Settings

FACTS = CorpusFacts("none", "0" * 12, 257, 10**9)
SIZES = [{"width": w, "depth": 1} for w in (16, 32, 48, 64, 96)]
BUDGETS = [4096, 8192, 16384, 32768, 65536]


def grid(tmp_path: Path, **sweep: Any) -> tuple[Settings, Plan]:
    settings = small_settings(tmp_path, sweep={"sizes": SIZES, "budgets": BUDGETS, "seeds": [0, 1], **sweep})
    return settings, make_plan(settings, FACTS, "cpu")


def flops_limit(plan: Plan, value: float) -> Limit:
    def cost(cells: Sequence[Cell]) -> float:
        return dataclasses.replace(plan, cells=tuple(cells)).shared_flops(CountSpec())

    return Limit("budget.flops", value, cost)


def kept(plan: Plan, out: Sequence[Cell]) -> list[Cell]:
    gone = {c.key for c in out}
    return [c for c in plan.cells if c.key not in gone]


def places(cells: Sequence[Cell]) -> set[tuple[int, int]]:
    return {(c.shape.width, c.tokens) for c in cells}


@pytest.mark.parametrize("share", [1.0, 0.9, 0.6, 0.4, 0.25, 0.1])
def test_what_is_left_fits_and_nothing_more_is_left_out(tmp_path: Path, share: float) -> None:
    settings, plan = grid(tmp_path)
    limit = flops_limit(plan, share * plan.shared_flops(CountSpec()))
    out = shrink(plan, settings, [limit])
    assert limit.cost(kept(plan, out)) <= limit.value
    assert out == shrink(plan, settings, [limit])
    if out:
        more = [*kept(plan, out), out[-1]]
        assert limit.cost(more) > limit.value or not holds_lines(more)


def holds_lines(cells: Sequence[Cell]) -> bool:
    """Whether three sizes share the largest budget, and three budgets the largest size."""
    found = places(cells)
    width, tokens = max(w for w, _ in found), max(d for _, d in found)
    return min(sum(w == width for w, _ in found), sum(d == tokens for _, d in found)) >= 3


def test_lines_and_the_joint_law_keep_their_points(tmp_path: Path) -> None:
    """Whatever the budget, the rows that L(N) and L(D) are fitted to are there, and cells beyond them too."""
    settings, plan = grid(tmp_path, seeds=[0])
    total = plan.shared_flops(CountSpec())
    for share in np.geomspace(0.08, 1, 12):
        limit = flops_limit(plan, share * total)
        left = kept(plan, out := shrink(plan, settings, [limit]))
        assert holds_lines(left)
        rows = [{"n": c.num_params(CountSpec()), "d": c.tokens, "c": c.flops(CountSpec())} for c in left]
        table = Rows.of(points_from_rows([{**r, "loss": 3.0} for r in rows], "with_head", "attention", "left"))
        assert not isinstance(select_rows(table, "N"), Refused)
        assert not isinstance(select_rows(table, "D"), Refused)
        assert not any(line.startswith("No longer") for line in describe(out, settings, [limit], plan.cells))


def test_replicates_go_first_then_the_most_expensive(tmp_path: Path) -> None:
    settings, plan = grid(tmp_path)
    total = plan.shared_flops(CountSpec())
    few = shrink(plan, settings, [flops_limit(plan, 0.8 * total)])
    assert {c.seed for c in few} == {1}
    assert few[0].shape.width == 96
    assert few[0].tokens == max(c.tokens for c in plan.cells)
    many = shrink(plan, settings, [flops_limit(plan, 0.4 * total)])
    singles = [c for c in many if c.seed == 0]
    assert {c.key for c in plan.cells if c.seed == 1} <= {c.key for c in many}
    assert {(c.shape.width, c.tokens) for c in singles} == {(96, 65536)}


def test_a_larger_budget_keeps_all_that_a_smaller_one_keeps(tmp_path: Path) -> None:
    settings, plan = grid(tmp_path)
    total = plan.shared_flops(CountSpec())
    keys = [
        {c.key for c in kept(plan, shrink(plan, settings, [flops_limit(plan, s * total)]))} for s in np.linspace(0.05, 1, 12)
    ]
    assert all(small <= large for small, large in itertools.pairwise(keys))


def test_the_core_is_three_by_three_and_identifies_the_law(tmp_path: Path) -> None:
    """At the smallest budget that is not refused, points of a known law give back its exponents."""
    settings, plan = grid(tmp_path)
    core = [c for c in plan.cells if c.seed == 0 and c.shape.width <= 48 and c.tokens <= 16384]
    limit = flops_limit(plan, flops_limit(plan, 0).cost(core))
    left = kept(plan, shrink(plan, settings, [limit]))
    assert {c.key for c in left} == {c.key for c in core}
    rows = [{"n": c.num_params(CountSpec()), "d": c.tokens, "c": c.flops(CountSpec())} for c in left]
    rows = [{**r, "loss": 1.0 + 20 / r["n"] ** 0.35 + 50 / r["d"] ** 0.4} for r in rows]
    fit = fit_laws(points_from_rows(rows, "with_head", "attention", "core"), settings.fit.model_copy(update={"bootstrap": 0}))
    estimates = fit.laws["joint"].estimates
    assert estimates["alpha"].value == pytest.approx(0.35, rel=1e-3)
    assert estimates["beta"].value == pytest.approx(0.4, rel=1e-3)


def test_less_than_the_core_is_refused_with_what_it_takes(tmp_path: Path) -> None:
    settings, plan = grid(tmp_path)
    with pytest.raises(SpecError, match=r"budget.flops = 1: the 9 cells that a joint law needs .* raise it to"):
        shrink(plan, settings, [flops_limit(plan, 1)])
    message = ""
    try:
        shrink(plan, settings, [flops_limit(plan, 1)])
    except SpecError as error:
        message = str(error)
    enough = float(message.split("raise it to ")[1].split(",")[0])
    assert len(kept(plan, shrink(plan, settings, [flops_limit(plan, enough)]))) == 9


def test_cells_that_stand_stay_whatever_they_cost(tmp_path: Path) -> None:
    settings, plan = grid(tmp_path)
    stands = [plan.cells[-1].key, plan.cells[0].key]
    assert {c.key for c in kept(plan, shrink(plan, settings, [flops_limit(plan, 1)], stands))} == set(stands)


def test_a_limit_that_cells_which_stand_exceed_is_said(tmp_path: Path) -> None:
    _, plan = grid(tmp_path)
    limits = [Limit("budget.usd", 49, len), Limit("budget.hours", 50, len)]
    assert exceeded(plan.cells, limits, "runs/demo") == [
        "budget.usd = 49 is exceeded: the cells of runs/demo, which stay, come to 50 dollars."
    ]


def test_a_sweep_that_stands_grows_with_its_budget(tmp_path: Path) -> None:
    settings, plan = grid(tmp_path)
    total = plan.shared_flops(CountSpec())
    small = {c.key for c in kept(plan, shrink(plan, settings, [flops_limit(plan, 0.3 * total)]))}
    again = {c.key for c in kept(plan, shrink(plan, settings, [flops_limit(plan, 0.3 * total)], small))}
    large = {c.key for c in kept(plan, shrink(plan, settings, [flops_limit(plan, 0.7 * total)], small))}
    assert again == small
    assert small < large
    assert large == {c.key for c in kept(plan, shrink(plan, settings, [flops_limit(plan, 0.7 * total)]))}


def test_an_isoflop_curve_goes_as_a_whole(tmp_path: Path) -> None:
    settings, plan = grid(tmp_path, design="isoflop", budgets=[2e9, 4e9, 8e9, 16e9], seeds=[0])
    left = kept(plan, shrink(plan, settings, [flops_limit(plan, 0.6 * plan.shared_flops(CountSpec()))]))
    assert len(left) == 15
    assert max(c.flops(CountSpec()) for c in left) < 9e9
    with pytest.raises(SpecError, match="the 15 cells that a joint law needs"):
        shrink(plan, settings, [flops_limit(plan, 1e10)])


def test_an_l_keeps_both_arms(tmp_path: Path) -> None:
    settings, plan = grid(tmp_path, design="lshape", seeds=[0])
    least = [c for c in plan.cells if c.shape.width <= 48 and c.tokens <= 16384]
    limit = flops_limit(plan, flops_limit(plan, 0).cost(least))
    assert places(kept(plan, shrink(plan, settings, [limit]))) == places(least)
    assert len(least) == 5


def test_all_values_of_an_axis_and_of_a_tuned_setting_go_together(tmp_path: Path) -> None:
    settings, plan = grid(tmp_path, axes={"recipe": {"lr": [0.001, 0.004]}}, seeds=[0])
    left = kept(plan, shrink(plan, settings, [flops_limit(plan, 0.5 * plan.shared_flops(CountSpec()))]))
    assert 0 < len(left) < len(plan.cells)
    assert all(sum((c.shape.width, c.tokens) == place for c in left) == 2 for place in places(left))


def test_a_grid_with_two_sizes_is_left_with_two(tmp_path: Path) -> None:
    settings, plan = grid(tmp_path, sizes=SIZES[:2], seeds=[0])
    with pytest.raises(SpecError, match="the 6 cells"):
        shrink(plan, settings, [flops_limit(plan, 1)])


def test_every_limit_is_kept(tmp_path: Path) -> None:
    settings, plan = grid(tmp_path)
    limits = [flops_limit(plan, 0.9 * plan.shared_flops(CountSpec())), Limit("budget.usd", 22, len)]
    left = kept(plan, shrink(plan, settings, limits))
    assert len(left) == 22


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    settings, plan = grid(tmp_path)
    limits = [Limit("budget.usd", 23, len)]
    out = shrink(plan, settings, limits)
    assert describe(out, settings, limits, plan.cells) == [
        "27 of 50 declared cells are left out to fit budget.usd = 23.",
        "Left out as replicates: 25 of seed 1.",
        "Left out as the most expensive: N 136k at D 32.8k, 65.5k.",
        "No longer answered: how much L differs between seeds.",
        "Still answered: how L falls with N, at the largest D; how L falls with D, at the largest N; the joint law L(N, D).",
    ]
    assert describe([], settings, limits, plan.cells) == []


def test_a_plan_without_cells_has_no_columns_or_warnings_of_them(tmp_path: Path) -> None:
    settings, _ = grid(tmp_path)
    facts = dataclasses.replace(FACTS, unique_tokens=40_000)
    assert any("epochs" in w for w in make_plan(settings, facts, "cpu").warnings)
    whole = make_plan(settings, facts, "cpu")
    long = {c.key for c in whole.cells if c.tokens > 40_000}
    small = make_plan(settings, facts, "cpu", left_out=long)
    assert {c.key for c in small.cells} == {c.key for c in whole.cells} - long
    assert not any("epochs" in w for w in small.warnings)
    assert not any("equal others" in w for w in small.warnings)
