"""Corpora of several generations of cells, and of right records alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import CPU, small_settings
from pydantic import ValidationError

from scalesweep.errors import DataError
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.data import DataSpec
from scalesweep.sweep.corpora import prepare_corpora
from scalesweep.sweep.run import keep_plan, plan_sweep
from scalesweep.train.data import Corpus, prepare
from scalesweep.train.data.stated import stated, task_of
from scalesweep.train.data.tasks import are_right

FACTS: dict[str, Any] = {
    "source": "facts",
    "keys": 16,
    "values": 4,
    "answer_tokens": 2,
    "max_tokens": 80_000,
    "tokenizer": {"kind": "none"},
}
FACTS["max_bytes"] = None
NUM = 2400
"""Tokens of a corpus."""
CONTEXT = 32
"""Tokens of a window."""


def trained(place: Path, data: dict[str, Any], budget: int, seeds: tuple[int, ...] = (0,)) -> Store:
    sweep = {"sizes": [{"width": 32, "depth": 1}], "budgets": [budget], "seeds": list(seeds)}
    settings = small_settings(place, sweep=sweep, data=data, train={"keep_weights": True})
    store, corpora = Store(Path(settings.dir)), prepare_corpora(settings, lambda line: None)
    keep_plan(store, plan_sweep(settings, corpora, "cpu"), settings, corpora)
    work(store, CPU, lambda: False)
    return store


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two cells of few facts, with other seeds, each trained until most of what it writes is right."""
    return trained(tmp_path_factory.mktemp("cells"), FACTS, budget=40_960, seeds=(0, 1))


def written(cells: Store, **settings: Any) -> Corpus:
    keys = cells.plan_file.keys()
    cell: dict[str, Any] = {
        "source": "generated",
        "model": str(cells.directory),
        "cell": keys[-1],
        "max_tokens": NUM,
        **settings,
    }
    if cell.pop("pooled", False):
        cell["accumulate"] = keys
    cache = str(cells.directory.parent / "cache")
    return prepare(DataSpec.model_validate({"cache": cache, **cell, "tokenizer": {"kind": "none"}}))


def right(corpus: Corpus) -> np.ndarray:
    task = task_of(corpus)
    assert task is not None and task.source == "facts"
    return are_right(np.asarray(corpus.train(), dtype=np.int64).reshape(-1, 4), task)


def test_every_window_begins_a_record_and_the_share_that_is_right_is_stated(cells: Store) -> None:
    corpus = written(cells)
    share = float(right(corpus).mean())
    assert 0.5 < share < 1
    assert stated(corpus)["teacher"]["right_records"] == pytest.approx(share, abs=0.02)  # of all that was written
    assert (np.asarray(corpus.train())[::CONTEXT] < 4).all()  # with a key, whatever went wrong in the window before


def test_verified_records_are_all_right_and_as_many(cells: Store) -> None:
    corpus = written(cells, verified=True)
    assert right(corpus).all()
    assert corpus.train_tokens == NUM
    assert corpus.hash == written(cells, verified=True).hash != written(cells).hash


def test_a_pool_holds_equal_shares_of_real_text_and_of_what_each_cell_wrote(cells: Store) -> None:
    corpus, (first, second) = written(cells, pooled=True), cells.plan_file.keys()
    assert corpus.train_tokens == NUM and corpus.entropy is not None
    assert stated(corpus)["teacher"]["accumulated"] == [first, second]
    third = NUM // 3
    tokens = np.asarray(corpus.train())
    assert right(corpus)[: third // 4].all()  # the real part
    assert not np.array_equal(tokens[:third], tokens[third : 2 * third])
    alone = written(cells, max_tokens=1000, cell=first)
    assert np.array_equal(corpus.validation(), alone.validation())


def test_what_cannot_be_pooled_or_verified_is_refused(cells: Store, tmp_path: Path) -> None:
    first, second = cells.plan_file.keys()
    with pytest.raises(ValidationError, match=f"data.cell={second}, not {first}"):
        written(cells, accumulate=[second, first])
    text = trained(tmp_path / "text", {}, budget=2048)
    (key,) = text.plan_file.keys()
    with pytest.raises(DataError, match=r"data\.verified: .* is not of data=facts"):
        written(text, cell=key, verified=True)
    ignorant = trained(tmp_path / "facts", {**FACTS, "keys": 4096, "values": 64}, budget=1024)
    (key,) = ignorant.plan_file.keys()
    with pytest.raises(DataError, match="too few to be kept alone"):
        written(ignorant, cell=key, verified=True)
