"""A sweep over several corpora, from settings to points."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from builders import CPU, measured, small_settings

from scalesweep.errors import StoreError
from scalesweep.plan.plan import make_plan
from scalesweep.run.store.measured import Measured, read_measured
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.settings import Settings, with_values
from scalesweep.sweep.corpora import prepare_corpora
from scalesweep.sweep.facts import facts_of
from scalesweep.sweep.run import plan_sweep

TOKENIZERS = [{"kind": "bytes"}, {"kind": "bpe", "vocab_size": 300}]


def arms(home: Path, **sections: Any) -> Settings:
    axes = {"data": {"content": ["code", "prose"], "tokenizer": TOKENIZERS}}
    sweep = {"sizes": [{"width": 8, "depth": 1}, {"width": 16, "depth": 1}], "budgets": [2048, 4096], "axes": axes}
    return small_settings(home, sweep=sweep, data={"validation_fraction": 0.1}, **sections)


def planned_in(directory: Path, settings: Settings) -> Store:
    corpora = prepare_corpora(settings, lambda line: None)
    store = Store(directory)
    store.plan_file.create(plan_sweep(settings, corpora, "cpu"), settings.model_dump(mode="json"), corpora.stated())
    return store


@pytest.fixture(scope="module")
def store(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = planned_in(tmp_path_factory.mktemp("arms"), arms(home))
    assert work(store, CPU, lambda: False)
    return store


def test_every_cell_is_trained_on_its_own_corpus(store: Store, home: Path, tmp_path: Path) -> None:
    everything = measured(store)
    assert len(everything) == 16
    for content in ("code", "prose"):
        for tokenizer in TOKENIZERS:
            settings = with_values(arms(home), {"sweep.axes": {}, "data.content": content, "data.tokenizer": tokenizer})
            alone = planned_in(tmp_path / f"{content}-{tokenizer['kind']}", settings)
            work(alone, CPU, lambda: False)
            found = measured(alone)
            assert {key: everything[key] for key in found} == found  # bit for bit


def test_an_arm_that_was_stopped_goes_on(store: Store, home: Path, tmp_path: Path) -> None:
    again = planned_in(tmp_path / "stopped", arms(home))
    steps = iter(range(1000))
    assert not work(again, CPU, lambda: next(steps) > 200)
    assert work(again, CPU, lambda: False)
    assert measured(again) == measured(store)


def test_corpora_that_a_machine_lacks_are_prepared_and_others_refused(store: Store, tmp_path: Path) -> None:
    settings = with_values(arms(tmp_path), {"sweep.axes": {"data": {"content": ["code", "prose"]}}})
    elsewhere = planned_in(tmp_path / "sweep", settings)
    directories = [Path(stated["directory"]) for stated in elsewhere.plan_file.content()["facts"]["corpora"].values()]
    shutil.rmtree(tmp_path / "cache" / "corpora")
    assert work(elsewhere, CPU, lambda: False)
    assert measured(elsewhere).items() <= measured(store).items()
    shutil.rmtree(directories[0])
    shutil.copytree(directories[1], directories[0])
    with pytest.raises(StoreError, match="the sweep was planned with"):
        work(elsewhere, CPU, lambda: False)


def test_what_is_known_of_the_corpora_is_said_of_all(store: Store) -> None:
    found = read_measured(store)
    facts = facts_of(found, found.settings)
    for cell in found.plan.cells:
        assert cell.corpus_hash in str(facts.corpus_hash)
        assert cell.corpus in str(facts.corpus)
    assert facts.tokenizer == "bytes and bpe"
    assert facts.documents


def test_a_directory_from_before_there_were_several_corpora_goes_on(home: Path, tmp_path: Path) -> None:
    settings = with_values(arms(home), {"sweep.axes": {}})
    corpora = prepare_corpora(settings, lambda line: None)
    (_, corpus), *_ = corpora.by_hash.values()
    old = {"corpus": corpus.name, "corpus_hash": corpus.hash, "corpus_directory": str(corpus.directory)}
    plan = make_plan(settings, corpora.facts(settings), "cpu")
    store = Store(tmp_path / "old")
    store.plan_file.create(plan, settings.model_dump(mode="json"), old)
    assert work(store, CPU, lambda: False)
    assert facts_of(read_measured(store), settings).corpus_hash == corpus.hash


def test_points_carry_the_axes(store: Store) -> None:
    found: Measured = read_measured(store)
    frame = found.points().frame
    assert sorted(frame["axis.data.content"].unique()) == ["code", "prose"]
    assert frame.groupby("arm").size().to_dict() == {
        "code, bytes": 4,
        "code, bpe vocab_size=300": 4,
        "prose, bytes": 4,
        "prose, bpe vocab_size=300": 4,
    }
