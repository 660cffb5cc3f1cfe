"""Text that a trained cell writes: what is sampled, from what, and what is refused."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import CPU, small_settings
from scipy import stats

from scalesweep.errors import DataError, SpecError
from scalesweep.files import read_json, sealed
from scalesweep.plan.flops import DecoderShape
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.data import DataSpec
from scalesweep.settings.settings import Settings, parse_settings
from scalesweep.sweep.corpora import prepare_corpora
from scalesweep.sweep.run import keep_plan, plan_sweep
from scalesweep.train.data import Corpus, prepare
from scalesweep.train.data.stated import validation_text
from scalesweep.train.data.validation import prepare_with_sets
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.model.sampling import draw, sample

SHAPE = DecoderShape(width=16, depth=2, ffn_width=24, num_heads=2, vocab_size=11, context=8, qk_norm=True)
SIZES = [{"width": 16, "depth": 1}]


def decoder(scale: float) -> Decoder:
    """A decoder whose parameters are all away from their initial values, or zero with scale=0 where they are at first."""
    model = Decoder(SHAPE, [0], 10000.0, 1.0, 0.5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return model


def ran(settings: Settings) -> Store:
    """The sweep's store when all of its cells were trained."""
    store, corpora = Store(Path(settings.dir)), prepare_corpora(settings, lambda line: None)
    keep_plan(store, plan_sweep(settings, corpora, "cpu"), settings, corpora)
    work(store, CPU, lambda: False)
    return store


def trained(place: Path, data: dict[str, Any], **train: Any) -> Store:
    sweep = {"sizes": SIZES, "budgets": [4096]}
    return ran(small_settings(place, sweep=sweep, data=data, train={"keep_weights": True, **train}))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return trained(tmp_path_factory.mktemp("teacher"), {})


def spec_of(store: Store, **settings: Any) -> DataSpec:
    (key,) = store.plan_file.keys()
    values = {"source": "generated", "model": str(store.directory), "cell": key, "max_tokens": 1000, **settings}
    cache = str(store.directory.parent / "cache")
    return DataSpec.model_validate({"cache": cache, **values, "tokenizer": {"kind": "none"}})


def corpus_of_teacher(store: Store) -> Corpus:
    return prepare(store.plan_file.settings().data)


def test_equal_logits_give_uniform_tokens() -> None:
    tokens = sample(decoder(0.0), np.zeros(50, dtype=np.int64), 25, 1.0, seed=0)
    assert tokens.shape == (50, 200)
    assert (tokens[:, 0] == 0).all()
    assert stats.chisquare(np.bincount(tokens[:, 1:].ravel(), minlength=11)).pvalue > 0.01


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_from_the_softmax_at_the_temperature(temperature: float) -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, -math.inf, 0.0], dtype=torch.float64)
    uniform = np.random.default_rng(3).random(20_000)
    drawn = draw(logits.expand(len(uniform), -1), uniform, temperature).numpy()
    expected = torch.softmax(logits / temperature, -1).numpy()
    counts = np.bincount(drawn, minlength=5)
    assert counts[3] == 0
    used = expected > 0
    assert stats.chisquare(counts[used], len(uniform) * expected[used]).pvalue > 0.01


def test_without_temperature_the_largest_logit_is_drawn() -> None:
    logits = torch.randn(200, 30, generator=torch.Generator().manual_seed(0))
    drawn = draw(logits, np.random.default_rng(0).random(200), 1e-300)
    assert torch.equal(drawn, logits.argmax(-1))


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_every_token_is_drawn_given_the_inputs_of_its_own_window(temperature: float) -> None:
    """The same uniform numbers, turned by the logits of the plain forward pass over whole windows, give the same tokens."""
    model, windows, streams = decoder(0.4), 3, 5
    tokens = sample(model, np.arange(streams), windows, temperature, seed=7)
    random = np.random.Generator(np.random.PCG64(7))
    uniform = np.stack([random.random(streams) for _ in range(windows * SHAPE.context - 1)], axis=1)
    inputs = torch.from_numpy(tokens).view(1, streams * windows, SHAPE.context)
    with torch.no_grad():
        logits = model(inputs).view(streams, windows * SHAPE.context, -1)[:, :-1]
    again = draw(logits.reshape(-1, SHAPE.vocab_size), uniform.ravel(), temperature)
    np.testing.assert_array_equal(again.view(streams, -1).numpy(), tokens[:, 1:])
    assert len(np.unique(tokens)) > 5


def test_equal_specs_are_equal_tokens_and_others_other(teacher: Store, tmp_path: Path) -> None:
    first, elsewhere = prepare(spec_of(teacher)), prepare(spec_of(teacher, cache=str(tmp_path)))
    assert first.hash == elsewhere.hash
    np.testing.assert_array_equal(first.train(), elsewhere.train())
    others = [prepare(spec_of(teacher, **change)) for change in ({"seed": 1}, {"temperature": 0.5}, {"max_tokens": 1200})]
    assert len({corpus.hash for corpus in (first, *others)}) == 4
    assert not np.array_equal(first.train(), others[0].train())


def test_ids_tokenizer_and_held_out_text_are_those_of_the_cell_s_corpus(teacher: Store) -> None:
    own, corpus = corpus_of_teacher(teacher), prepare(spec_of(teacher))
    np.testing.assert_array_equal(corpus.validation(), own.validation())
    assert validation_text(corpus) == validation_text(own)
    assert (corpus.vocab_size, corpus.eod_id, corpus.bytes_per_token) == (own.vocab_size, own.eod_id, own.bytes_per_token)
    assert corpus.train_tokens == len(corpus.train()) == 1000
    assert corpus.train()[0] in np.asarray(own.train())[::32]
    (key,) = teacher.plan_file.keys()
    record = teacher.record(key)
    assert record is not None
    stated = json.loads((corpus.directory / "corpus.json").read_text())["teacher"]
    assert {"sweep": str(teacher.directory), "cell": key, "loss": record["loss"]}.items() <= stated.items()
    assert (stated["temperature"], stated["seed"], stated["corpus_hash"]) == (1.0, 0, own.hash)


def test_a_set_of_one_s_own_is_read_by_the_cell_s_tokenizer(teacher: Store, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("a line that no model has seen\n" * 50)
    text = {"source": "files", "paths": [str(tmp_path / "own.txt")], "tokenizer": {"kind": "bytes"}}
    corpus, _ = prepare_with_sets(spec_of(teacher, validation={"own_text": text}))
    assert bytes(corpus.validation()[:29].astype(np.uint8)) == b"a line that no model has seen"
    np.testing.assert_array_equal(corpus.train(), prepare(spec_of(teacher)).train())


def test_a_student_is_planned_and_trained(teacher: Store, tmp_path: Path) -> None:
    data = spec_of(teacher).model_dump(mode="json")
    sweep = {"sizes": SIZES, "budgets": [2048], "axes": {"data": {"temperature": [0.5, 1.0]}}}
    store = ran(small_settings(tmp_path, sweep=sweep, data=data))
    records = [store.record(key) for key in store.plan_file.keys()]
    assert len(records) == 2
    for record in records:
        assert record is not None
        assert 0 < record["loss"] < math.log(257) + 1
        assert record["bytes_per_token"] == corpus_of_teacher(teacher).bytes_per_token


def test_a_cell_of_a_drawn_source_begins_with_what_begins_its_windows(tmp_path: Path) -> None:
    drawn = {"source": "zipf_facts", "max_tokens": 40_000, "max_bytes": None, "tokenizer": {"kind": "none"}, "keys": 1000}
    store = trained(tmp_path, drawn)
    own, corpus = corpus_of_teacher(store), prepare(spec_of(store))
    assert corpus.train()[0] in np.asarray(own.train())[::4]
    assert (corpus.entropy, corpus.eod_id) == (own.entropy, None)
    text = {"source": "python", "max_bytes": 10_000, "tokenizer": {"kind": "bytes"}}
    with pytest.raises(DataError, match="without a tokenizer"):
        prepare_with_sets(spec_of(store, validation={"text": text}))


@pytest.fixture
def copied(teacher: Store, tmp_path: Path) -> Store:
    shutil.copytree(teacher.directory.parent, tmp_path / "home")
    store = Store(tmp_path / "home" / teacher.directory.name)
    content = store.plan_file.content()
    of_corpus = content["facts"]["corpora"][content["facts"]["corpus_hash"]]
    of_corpus["directory"] = str(tmp_path / "home" / "cache" / "corpora" / Path(of_corpus["directory"]).name)
    store.plan_file.path.write_text(sealed(content))
    return store


def refusal(spec: DataSpec) -> str:
    with pytest.raises(DataError) as caught:
        prepare(spec)
    return str(caught.value)


def test_what_cannot_write_a_corpus_is_refused(copied: Store, tmp_path: Path) -> None:
    (key,) = copied.plan_file.keys()
    assert "holds no sweep" in refusal(spec_of(copied, model=str(tmp_path / "none"), cache=str(tmp_path)))
    assert f"did you mean {key}" in refusal(spec_of(copied, cell=key[:-1] + "x"))
    weights = copied.weights(key)
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-7])
    assert "damaged" in refusal(spec_of(copied))
    weights.unlink()
    assert "train.keep_weights=true" in refusal(spec_of(copied))
    weights.write_bytes(kept)
    corpus = prepare(copied.plan_file.settings().data.model_copy(update={"cache": str(tmp_path / "home" / "cache")}))
    stated = (corpus.directory / "corpus.json").read_text()
    (corpus.directory / "corpus.json").write_text(json.dumps({**json.loads(stated), "vocab_size": 300}))
    assert "a vocabulary of 257 and its corpus one of 300" in refusal(spec_of(copied))
    shutil.rmtree(corpus.directory)
    assert "is not in" in refusal(spec_of(copied))
    record = copied.directory / "cells" / key / "record.json"
    record.write_text(sealed({**read_json(record), "loss": None}))
    assert "diverged" in refusal(spec_of(copied))
    record.unlink()
    assert "not measured" in refusal(spec_of(copied))


def test_a_cell_of_another_model_is_refused(tmp_path: Path) -> None:
    values = small_settings(tmp_path, sweep={"sizes": SIZES, "budgets": [4096]}).model_dump(mode="json")
    values["recipe"]["parametrisation"] = "sp"
    settings = parse_settings({**values, "model": {"architecture": "GPT2", "config": {}, "context": 32}})
    store, corpora = Store(Path(settings.dir)), prepare_corpora(settings, lambda line: None)
    keep_plan(store, plan_sweep(settings, corpora, "cpu"), settings, corpora)
    assert "model=decoder" in refusal(spec_of(store))


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.0},
        {"cell": None},
        {"model": None},
        {"tokenizer": {"kind": "bytes"}},
        {"transform": {"kind": "words", "share": 0.5}},
    ],
)
def test_a_spec_that_says_no_cell_or_no_distribution_is_refused(change: dict[str, Any]) -> None:
    values = {"source": "generated", "model": "x", "cell": "01", "tokenizer": {"kind": "none"}}
    DataSpec.model_validate(values)
    with pytest.raises((SpecError, ValueError)):
        DataSpec.model_validate({**values, **change})
