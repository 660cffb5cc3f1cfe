"""Tuned ranges of a sweep over several corpora: each arm is extended by itself."""

import dataclasses
import math
from pathlib import Path

import pytest
from builders import small_settings

from scalesweep.plan.axes import data_key, data_specs
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.run.store.measured import Measured
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings
from scalesweep.sweep.extend import extend
from scalesweep.sweep.subject import sweep_subject

BEST = {"code": 0.004, "prose": 0.0005}
"""Best learning rate of each arm; that of prose lies below the range that is tried."""


def tuned(directory: Path) -> Settings:
    sweep = {
        "sizes": [{"width": width, "depth": 1} for width in (16, 32, 48)],
        "budgets": [4096, 8192],
        "axes": {"data": {"content": ["code", "prose"]}},
        "tune": {"recipe": {"lr": "1e-3..1.6e-2:5"}, "extensions": 1},
    }
    return small_settings(directory, sweep=sweep, recipe={"parametrisation": "sp"})


def facts_of(settings: Settings) -> dict[str, CorpusFacts]:
    return {data_key(spec): CorpusFacts(spec.content, spec.content, 257, 10**6) for spec in data_specs(settings)}


def simulated(directory: Path, settings: Settings) -> Measured:
    """Every cell with a loss that is quadratic in the logarithm of its learning rate, around the best one of its arm."""
    plan, store = make_plan(settings, facts_of(settings), "cpu"), Store(directory / "sweep")
    stated = {arm: {"name": arm, "directory": "nowhere", "data": None} for arm in BEST}
    store.plan_file.create(plan, settings.model_dump(mode="json"), {"corpora": stated})
    records = {}
    for cell in plan.cells:
        distance = math.log(cell.hidden_lr / BEST[cell.corpus_hash])
        loss = 2 + 30 / cell.num_params(settings.count) ** 0.3 + 40 / cell.tokens**0.4 + 0.05 * distance**2
        records[cell.key] = {
            "state": "COMPLETE",
            "loss": loss,
            "loss_se": 1e-4,
            "cell": dataclasses.asdict(cell),
            "bytes_per_token": 1.0,
            "where": dict.fromkeys(("scalesweep", "python", "torch", "device"), "CPU"),
            "times": {"training_seconds": 1.0},
        }
    states = dict.fromkeys(records, "COMPLETE")
    return Measured(store.directory, store.plan_file.content(), records, states, {}, {})  # type: ignore[arg-type]


def test_only_the_arm_whose_optimum_lies_at_an_end_is_extended(tmp_path: Path) -> None:
    settings = tuned(tmp_path)
    keys, said = extend(simulated(tmp_path, settings), settings, facts_of(settings), "cpu")
    extended = make_plan(settings, facts_of(settings), "cpu", keys)
    new = [cell for cell in extended.cells if cell.key in keys]
    assert {cell.corpus_hash for cell in new} == {"prose"}
    assert {(cell.shape.width, cell.steps) for cell in new} == {(cell.shape.width, cell.steps) for cell in extended.cells}
    assert max(cell.hidden_lr for cell in new) < 1e-3
    assert any("smallest value tried" in line and "6 optima" in line for line in said)


def test_each_arm_has_a_frontier_and_a_law_of_its_own(tmp_path: Path) -> None:
    settings = tuned(tmp_path)
    measured = simulated(tmp_path, settings)
    both, alone = sweep_subject(measured, settings, []), sweep_subject(measured, settings, [], arm="code")
    assert both.context.frontier is not None and alone.context.frontier is not None
    assert {group.row["arm"] for group in both.context.frontier.groups} == {"code"}  # prose has no optimum inside
    assert set(both.points.frame["arm"]) == {"code"} == {both.context.title.rsplit(": ", 1)[-1]}
    assert both.points.used["loss"].tolist() == alone.points.used["loss"].tolist()
    for optimum in alone.context.frontier.vertices:
        assert optimum.values["recipe.lr"] == pytest.approx(BEST["code"], rel=0.02)
