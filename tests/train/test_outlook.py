"""Whether a training pays for the compiler, what is known of that, and what is done about it."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.run.queue import further_steps
from scalesweep.settings.settings import Settings
from scalesweep.train.capture import Captured, Inside
from scalesweep.train.compiler import MOST_FAILURES, compile_where_it_pays
from scalesweep.train.gradient import Compiles, Execution
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.outlook import COLD_SECONDS, RATIO, WARM_SECONDS, Outlook, keep, kind_of, outlook_of, pays

CPU = torch.device("cpu")
PLAIN = Captured(step_seconds=2e-3, seconds=0.3)


@pytest.fixture
def cell(settings: Settings, facts: CorpusFacts) -> Cell:
    return make_plan(settings, facts, "cpu").cells[-1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCALESWEEP_CACHE", str(tmp_path))
    monkeypatch.setattr("scalesweep.train.outlook._loaded", set())
    monkeypatch.setattr("scalesweep.train.compiler._failures", [])
    return tmp_path / "compiled"


@pytest.mark.parametrize(
    ("steps", "step_seconds", "further", "seconds", "ratio", "expected"),
    [
        (1_000, 1e-3, (), 40.0, 0.5, False),  # half a second is saved
        (80_000, 1e-3, (), 40.0, 0.5, False),  # 40 s, which are those that compiling takes
        (80_001, 1e-3, (), 40.0, 0.5, True),
        (8_001, 1e-2, (), 40.0, 0.5, True),
        (20_000, 1e-3, (), 5.0, 0.5, True),  # the code is kept
        (10**9, 1e-3, (), 1.0, 1.0, False),  # it was no faster
        (10**9, 1e-3, (), 1.0, 1.2, False),
        (20_000, 1e-3, (20_000,) * 6, 40.0, 0.5, False),  # 10 s, and 6 times 10 - 5 s
        (20_000, 1e-3, (20_000,) * 7, 40.0, 0.5, True),
        (20_000, 1e-3, (10_000,) * 100, 40.0, 0.5, False),  # each of these would take the code in vain
    ],
)
def test_it_pays_where_trainings_end_earlier(
    steps: int, step_seconds: float, further: tuple[int, ...], seconds: float, ratio: float, expected: bool
) -> None:
    assert pays(steps, step_seconds, further, Outlook(seconds, 5.0, ratio, "", "")) is expected


def test_what_was_measured_takes_the_place_of_estimates(cell: Cell, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, pack = kind_of([cell], CPU), kind_of([cell, cell], CPU)
    other = kind_of([dataclasses.replace(cell, steps=7, batch_sequences=3, seed=5)], CPU)
    assert other == kind != pack
    assert outlook_of(kind, 0.3) == Outlook(COLD_SECONDS, WARM_SECONDS, RATIO, "estimated", "modelled")
    keep(kind, 21.0, "cold", step_seconds=2e-3, compiled_step_seconds=1e-3)
    assert outlook_of(kind, 0.3) == Outlook(0.3, WARM_SECONDS, 0.5, "the code is loaded", "as measured before")
    assert outlook_of(pack, 0.3) == Outlook(21.0, WARM_SECONDS, RATIO, "as other kinds took here", "modelled")
    monkeypatch.setattr("scalesweep.train.outlook._loaded", set())  # another process
    assert outlook_of(kind, 0.3).seconds == WARM_SECONDS
    keep(kind, 3.0, "warm", step_seconds=2e-3, compiled_step_seconds=1.5e-3)
    keep(kind, 0.1, "loaded", step_seconds=2e-3, compiled_step_seconds=1.2e-3)
    monkeypatch.setattr("scalesweep.train.outlook._loaded", set())
    assert outlook_of(kind, 0.3) == Outlook(3.0, 3.0, pytest.approx(0.6), "as before", "as measured before")
    assert outlook_of(pack, 0.3).seconds == 21.0  # what was read from the cache is no compilation
    for path in cache.glob("*.json"):
        path.write_text(path.read_text()[:-20])
    assert outlook_of(kind, 0.3).seconds == COLD_SECONDS


class Captures:
    """Captures as those of a GPU answer, with a compiled step that takes so many seconds, or fails."""

    def __init__(self, compiled_step_seconds: float | None) -> None:
        self.found, self.calls = compiled_step_seconds, list[str]()

    def __call__(self, inside: Inside | None) -> Captured:
        self.calls.append("compiled" if inside else "as it is")
        if inside is None:
            return PLAIN
        if self.found is None:
            raise OSError("no C compiler\nand more")
        return Captured(self.found, 12.0)


def decided(cell: Cell, captures: Captures, steps: int, compiles: Compiles, further: tuple[int, ...] = ()) -> list[str]:
    model, notes = Decoder(cell.shape, [0], 10000.0, 1.0), list[str]()  # type: ignore[arg-type]
    execution = Execution(CPU, compiles=compiles, further_steps=further)
    compile_where_it_pays(captures, PLAIN, model, [cell], execution, steps, notes.append)
    return notes


@pytest.mark.parametrize(
    ("steps", "compiles", "further", "expected"),
    [
        (10_000, "auto", (), []),
        (10_000, "auto", (40_000, 40_000), ["compiled"]),
        (100_000, "auto", (), ["compiled"]),
        (100_000, False, (), []),
        (1, True, (), ["compiled"]),
    ],
)
def test_a_step_is_compiled_as_asked_or_where_it_pays(
    cell: Cell, steps: int, compiles: Compiles, further: tuple[int, ...], expected: list[str]
) -> None:
    captures = Captures(1e-3)
    notes = decided(cell, captures, steps, compiles, further)
    assert captures.calls == expected
    assert len(notes) == (compiles is not False)


def test_what_was_decided_is_said_with_its_reasons(cell: Cell) -> None:
    assert decided(cell, Captures(1e-3), 10_000, "auto", (500,)) == [
        "not compiled, as it would not pay: 10,000 steps of 2 ms and 1 training like it, at 0.57 of the time (modelled), for "
        "40 s of compiling (estimated)"
    ]
    (note,) = decided(cell, Captures(1e-3), 100_000, "auto")
    assert note.endswith("expected: 100,000 steps of 2 ms, at 0.57 of the time (modelled), for 40 s of compiling (estimated)")
    assert "in 12 s, 1 ms a step instead of 2" in note


def test_a_compiled_step_that_fails_or_is_no_faster_is_put_back(cell: Cell) -> None:
    slow = Captures(2e-3)
    (note,) = decided(cell, slow, 10**6, "auto")
    assert slow.calls == ["compiled", "as it is"]
    assert note.endswith("and not taken, as it is no faster")
    again = Captures(2e-3)
    decided(cell, again, 10**6, "auto")
    assert again.calls == []


def test_a_compiler_that_does_not_work_is_not_asked_for_ever(cell: Cell) -> None:
    for _ in range(MOST_FAILURES):
        failed = Captures(None)
        assert decided(cell, failed, 10**6, "auto") == ["without the compiler, which is slower (no C compiler)"]
        assert failed.calls == ["compiled", "as it is"]
    assert decided(cell, Captures(None), 10**6, "auto") == []
    assert len(decided(cell, Captures(None), 10**6, True)) == 1


def test_trainings_that_wait_are_counted_once_a_trunk_and_in_packs(cell: Cell) -> None:
    def of(steps: int, **changes: Any) -> Cell:
        return dataclasses.replace(cell, **{"steps": steps, "decay_steps": 10, "schedule": "wsd", **changes})

    taken = of(100)
    left = [taken, of(50), of(300, seed=1), of(80, seed=1), of(40, seed=2, batch_sequences=2 * cell.batch_sequences)]
    assert further_steps([taken], left) == (300, 80, 10, 10)
    assert further_steps([taken], [*left, of(900, precision="bfloat16")]) == (300, 80, 10, 10)
    assert further_steps([taken, of(100, seed=3)], left) == (300, 10)
