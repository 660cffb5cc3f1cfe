"""Sweeps whose cells visit a part of the training stream: equal losses however they are measured."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import BUDGETS, CPU, make_store, small_settings

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.data import TransformSpec
from scalesweep.settings.settings import Settings
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, train
from scalesweep.train.pack import Run


def limited(home: Path, **data: Any) -> Settings:
    """One size at three budgets, of which the longest has four epochs of 4,096 tokens."""
    settings = small_settings(home, sweep={"sizes": [{"width": 16, "depth": 1}], "budgets": BUDGETS})
    return settings.model_copy(update={"data": settings.data.model_copy(update={"unique_tokens": 4096, **data})})


def measured(store: Store) -> dict[str, Any]:
    return {record["key"]: (record["loss"], record["loss_se"]) for record in store.records()}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, home: Path, corpus: Corpus, facts: CorpusFacts) -> Store:
    store = make_store(tmp_path_factory.mktemp("quiet") / "sweep", limited(home), corpus, facts)
    assert work(store, CPU, lambda: False)
    return store


def alone(cell: Cell, corpus: Corpus) -> float:
    return train([Run(cell)], corpus.train(), corpus.validation(), Execution(CPU), Hooks())[0].loss


def test_a_sweep_stopped_again_and_again_has_the_same_losses(
    tmp_path: Path, quiet: Store, home: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    store = make_store(tmp_path / "sweep", limited(home), corpus, facts)
    while True:  # in the trunk and in the branches, in the middle of epochs
        calls = iter(range(10**6))
        if work(store, CPU, lambda: next(calls) >= 77):  # noqa: B023
            break
    assert measured(store) == measured(quiet)


def test_a_sweep_with_junk_stopped_again_and_again_has_the_same_losses(
    tmp_path: Path, quiet: Store, home: Path, corpus: Corpus, facts: CorpusFacts
) -> None:
    transform = TransformSpec(kind="junk_uniform", share=0.3)
    whole = make_store(tmp_path / "whole", limited(home, transform=transform), corpus, facts)
    assert work(whole, CPU, lambda: False)
    store = make_store(tmp_path / "sweep", limited(home, transform=transform), corpus, facts)
    while True:
        calls = iter(range(10**6))
        if work(store, CPU, lambda: next(calls) >= 77):  # noqa: B023
            break
    assert measured(store) == measured(whole)
    assert not measured(store).keys() & measured(quiet).keys()
    assert min(loss for loss, _ in measured(store).values()) > min(loss for loss, _ in measured(quiet).values())


def test_a_branch_has_the_loss_of_a_run_of_its_own(quiet: Store, corpus: Corpus) -> None:
    for cell in quiet.plan_file.plan().cells:
        assert alone(cell, corpus) == measured(quiet)[cell.key][0]


def test_a_pack_has_the_losses_of_its_cells(quiet: Store, corpus: Corpus) -> None:
    cells = [dataclasses.replace(quiet.plan_file.plan().cells[0], seed=seed) for seed in (0, 1)]
    packed = train([Run(cell) for cell in cells], corpus.train(), corpus.validation(), Execution(CPU), Hooks())
    assert [outcome.loss for outcome in packed] == pytest.approx([alone(cell, corpus) for cell in cells], abs=1e-4)


def test_nothing_but_the_chosen_windows_is_read(quiet: Store, corpus: Corpus) -> None:
    """Other tokens everywhere else leave the loss as it is."""
    from scalesweep.train.data import windows_of_cell

    cell, tokens = quiet.plan_file.plan().cells[0], np.array(corpus.train())
    windows = windows_of_cell(cell, len(tokens))
    read = np.unique(windows.starts(seed=0, start=0, number=windows.number)[:, None] + np.arange(windows.context + 1))
    other = np.full_like(tokens, 7)
    other[read] = tokens[read]
    assert len(read) <= 128 * 33
    assert train([Run(cell)], other, corpus.validation(), Execution(CPU), Hooks())[0].loss == alone(cell, corpus)


def test_a_record_holds_its_unique_tokens_and_epochs(quiet: Store) -> None:
    row = max((record["row"] for record in quiet.records()), key=lambda row: row["d"])
    assert (row["unique_tokens"], row["epochs"]) == (4096, 4.0)
