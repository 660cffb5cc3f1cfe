"""A sweep over several corpora, from settings to points."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from builders import CPU, measured, small_settings

from scalesweep.errors import PointsError, SpecError, StoreError
from scalesweep.plan.plan import make_plan
from scalesweep.run.store.measured import Measured, read_measured
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.settings import Settings, with_values
from scalesweep.sweep.corpora import prepare_corpora
from scalesweep.sweep.facts import facts_of
from scalesweep.sweep.run import plan_sweep
from scalesweep.sweep.subject import read_subject, sweep_subject

TOKENIZERS = [{"kind": "bytes"}, {"kind": "bpe", "vocab_size": 300}]


def arms(home: Path, **sections: Any) -> Settings:
    axes = {"data": {"content": ["code", "prose"], "tokenizer": TOKENIZERS}}
    sweep = {"sizes": [{"width": width, "depth": 1} for width in (8, 16, 24)], "budgets": [1024, 2048], "axes": axes}
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
    assert len(everything) == 24
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
    corpus = next(iter(corpora.by_hash.values())).corpus
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
        "code, bytes": 6,
        "code, bpe vocab_size=300": 6,
        "prose, bytes": 6,
        "prose, bpe vocab_size=300": 6,
    }


def test_points_carry_bytes_per_token_and_the_set_of_each_arm(store: Store) -> None:
    frame = read_measured(store).points().frame
    by_arm = frame.groupby("arm").first()
    assert by_arm.loc["code, bytes", "bytes_per_token"] == pytest.approx(1, abs=0.01)  # but for the end of a document
    assert by_arm.loc["code, bpe vocab_size=300", "bytes_per_token"] > 1.1
    sets = by_arm["validation_set"]
    assert sets["code, bytes"] == sets["code, bpe vocab_size=300"] != sets["prose, bytes"]


def test_losses_are_turned_into_bits_per_byte_by_the_tokenizer_of_each_cell(store: Store) -> None:
    found = read_measured(store)
    count = with_values(found.settings, {"count.loss": "bpb"}).count
    assert count.loss == "bits_per_byte"
    nats, bits = found.points().frame, found.points(count).frame
    for name in ("loss", "loss_se"):
        assert (bits[name] * math.log(2) * bits["bytes_per_token"]).tolist() == pytest.approx(nats[name].tolist())


def test_each_arm_is_fitted_by_itself_unless_asked_otherwise(store: Store) -> None:
    found = read_measured(store)
    analysis = sweep_subject(found, found.settings, []).analyse()
    assert analysis.families is not None
    assert {family.name: len(family.points.frame) for family in analysis.families.families} == {
        "code, bytes": 6,
        "code, bpe vocab_size=300": 6,
        "prose, bytes": 6,
        "prose, bpe vocab_size=300": 6,
    }
    assert set(analysis.points.frame["arm"]) == {"code, bytes"}
    pooled = sweep_subject(found, found.settings, [], by="none")
    assert (pooled.by, len(pooled.points.frame)) == ("", 24)
    alone = sweep_subject(found, found.settings, [], arm="prose, bytes")
    assert (alone.by, set(alone.points.frame["arm"])) == ("", {"prose, bytes"})
    assert not sweep_subject(found, found.settings, [], by="axis.data.content").is_pooled
    with pytest.raises(PointsError, match=r"'verse' is no value of arm.*'prose, bytes'"):
        sweep_subject(found, found.settings, [], arm="verse")


def test_a_command_for_one_law_asks_for_an_arm(store: Store) -> None:
    with pytest.raises(SpecError, match=r"forecast takes the rows of one arm.*arm=NAME"):
        read_subject([str(store.directory)], "forecast")
    assert len(read_subject([str(store.directory), "arm=prose, bytes"], "forecast").points.frame) == 6
