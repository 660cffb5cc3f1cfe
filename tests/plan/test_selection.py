"""What `data.unique_tokens` makes of a plan: keys, U and epochs of the cells, refusals."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from builders import small_settings

from scalesweep.errors import SpecError
from scalesweep.plan.cell import cell_from_dict, pack_signature
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.plan.selection import Part, Selection, Transform
from scalesweep.settings.plan import CountSpec

FACTS = CorpusFacts("text", "0123", 257, 32 * 1000)


def planned(**data: Any) -> Plan:
    return make_plan(small_settings(Path("."), data=data), FACTS, "cpu")


def test_a_seed_without_a_limit_changes_no_key() -> None:
    assert planned(seed=7).hash == planned().hash
    assert planned(unique_tokens=32_000, seed=7).hash == planned().hash  # that is all there is
    assert all(cell.selection is None for cell in planned(seed=7).cells)


def test_limit_and_seed_are_part_of_the_key() -> None:
    plans = [planned(), planned(unique_tokens="4k"), planned(unique_tokens="8k"), planned(unique_tokens="8k", seed=1)]
    assert len({cell.key for plan in plans for cell in plan.cells}) == sum(len(plan.cells) for plan in plans)
    assert len({cell.trunk for plan in plans for cell in plan.cells}) == sum(len({c.trunk for c in p.cells}) for p in plans)
    assert len({pack_signature(plan.cells[0]) for plan in plans}) == len(plans)


def test_a_limit_is_rounded_down_to_windows_and_gives_the_epochs() -> None:
    cell = planned(unique_tokens=4099).cells[-1]
    assert (cell.selection, cell.unique_tokens) == (Selection(128, 0), 4096)
    assert cell.epochs == cell.tokens / 4096
    row = cell.row(CountSpec())
    assert (row["unique_tokens"], row["epochs"]) == (4096, 4.0)


def test_a_cell_comes_back_from_its_record() -> None:
    cell = planned(unique_tokens="4k").cells[0]
    again = cell_from_dict(json.loads(json.dumps(dataclasses.asdict(cell))))
    assert (again, again.key) == (cell, cell.key)
    of_today = {name: value for name, value in dataclasses.asdict(planned().cells[0]).items() if name != "selection"}
    assert cell_from_dict(of_today).key == planned().cells[0].key


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (96, "96 is 3 windows of model.context = 32 tokens, fewer than the 4 of a batch: raise it to 128 "),
        (16, "16 is 0 windows"),
        (32_032, "32,032 is more than the 32,000 training tokens of text: lower it"),
    ],
)
def test_too_few_and_too_many_unique_tokens_are_refused(asked: int, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        planned(unique_tokens=asked)


def test_epochs_that_were_asked_for_are_named_so() -> None:
    (said,) = (line for line in planned(unique_tokens="4k").warnings if "epochs" in line)
    assert "4.1 epochs of what data.unique_tokens asks for (4,000 unique tokens)" in said
    assert not any("epochs" in line for line in planned().warnings)


@pytest.mark.parametrize(
    ("kind", "unique"), [("junk_uniform", 8000), ("junk_constant", 8000), ("duplicate", 6016), ("drop", 6016)]
)
def test_a_transform_is_part_of_the_cell_and_of_its_unique_tokens(kind: str, unique: int) -> None:
    cell = planned(unique_tokens=8000, transform={"kind": kind, "share": 0.25, "seed": 3}).cells[-1]
    assert cell.selection == Selection(250, 0, Transform(kind, 0.25, 3))  # type: ignore[arg-type]
    assert cell.unique_tokens == unique  # 250 windows, less round(62.5) = 62, the even one
    assert cell.epochs == cell.tokens / unique
    assert cell.row(CountSpec())["transform"] == f"{kind} 0.25"
    again = cell_from_dict(json.loads(json.dumps(dataclasses.asdict(cell))))
    assert (again, again.key) == (cell, cell.key)
    others = [planned(unique_tokens=8000), planned(transform={"kind": kind, "share": 0.25, "seed": 3})]
    assert len({cell.key, *(plan.cells[-1].key for plan in others)}) == 3


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"unique_tokens": 3200}, "leaves no window of data.parts.1"),
        ({"unique_tokens": 32_000}, "by weight 31,840 of part 0, is more than the 16,000 training tokens of data.parts.0"),
        ({"transform": {"kind": "drop", "share": 0.995}}, "leaves"),
    ],
)
def test_a_part_of_a_mixture_of_which_nothing_or_too_much_is_asked_is_refused(data: dict[str, Any], said: str) -> None:
    parts = (Part(500 * 32 + 1, 995), Part(100 * 32 + 1, 5))
    facts = CorpusFacts("mix", "0123", 257, 600 * 32, parts=parts)
    with pytest.raises(SpecError, match=said):
        make_plan(small_settings(Path("."), data=data), facts, "cpu")


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        ({"kind": "drop", "share": 1}, "must leave some windows"),
        ({"kind": "drop", "share": 0.999}, "leaves 1 of 1,000 windows, fewer than the 4 of a batch"),
        ({"kind": "junk_constant", "share": 1e-4}, "changes none of the 1,000 windows"),
        ({"kind": "noise", "share": 0.5}, "must be 'junk_constant'"),
        ({"kind": "drop", "share": 0}, "must be greater than 0"),
    ],
)
def test_a_transform_that_cannot_be_is_refused(transform: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        planned(transform=transform)
