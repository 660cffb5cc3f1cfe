"""Mixtures as corpora: what they hold of their parts, how they are made, measured and refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import CPU, make_store, small_settings

from scalesweep.errors import SpecError
from scalesweep.plan.axes import data_specs
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.plan.selection import Part
from scalesweep.run.worker import work
from scalesweep.settings.again import overrides_of
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.data import DataSpec
from scalesweep.settings.settings import Settings
from scalesweep.sweep.corpora import facts_of_corpus
from scalesweep.train.data import Corpus, prepare

WORDS = {"a": "apple ant arrow", "b": "bear bird bread"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two texts that share no word: 300 documents of one, 100 of the other."""
    directory = tmp_path_factory.mktemp("texts")
    for name, number in (("a", 300), ("b", 100)):
        rows = [{"text": f"{name}{i} {WORDS[name]} {WORDS[name]}"} for i in range(number)]
        (directory / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return directory


def spec(texts: Path, weights: tuple[float, float] = (0.7, 0.3), **others: Any) -> DataSpec:
    parts = [
        {"source": "files", "paths": [str(texts / f"{name}.jsonl")], "validation_fraction": 0.2, "weight": weight}
        for name, weight in zip("ab", weights, strict=True)
    ]
    values = {"source": "mix", "parts": parts, "tokenizer": {"kind": "bytes"}, "cache": str(texts / "cache"), **others}
    return DataSpec.model_validate(values)


def split_by_part(corpus: Corpus, stream: str) -> list[np.ndarray]:
    ends = np.cumsum([getattr(part, f"{stream}_tokens") for part in corpus.parts])
    tokens = corpus.train() if stream == "train" else corpus.validation()
    assert ends[-1] == len(tokens)
    return np.split(np.asarray(tokens), ends[:-1])


def text_of(ids: np.ndarray) -> str:
    return bytes(ids[ids < 256].astype(np.uint8)).decode()


def test_a_mixture_holds_the_whole_training_text_of_its_parts(texts: Path) -> None:
    corpus = prepare(spec(texts))
    for name, ids, part in zip("ab", split_by_part(corpus, "train"), spec(texts).parts, strict=True):
        values = part.model_dump(exclude={"weight"})
        alone = prepare(DataSpec.model_validate({**values, "tokenizer": {"kind": "bytes"}, "cache": str(texts / "cache")}))
        assert np.array_equal(ids, alone.train())
        assert set(text_of(ids).split()) >= set(WORDS[name].split())
    assert [part.places for part in corpus.parts] == [700, 300]


@pytest.mark.parametrize("weights", [(0.7, 0.3), (1, 9), (1, 1)])
def test_the_validation_set_is_of_the_parts_by_weight(texts: Path, weights: tuple[float, float]) -> None:
    corpus = prepare(spec(texts, weights))
    held_out, trained = split_by_part(corpus, "validation"), split_by_part(corpus, "train")
    first, second = map(len, held_out)
    assert abs(first * weights[1] - second * weights[0]) / sum(weights) < 3
    names = [set(re.findall(r"[ab]\d+", text_of(np.concatenate(ids)))) for ids in (held_out, trained)]
    assert names[0] and names[1] and not names[0] & names[1]
    assert corpus.validation_bytes == sum(int((ids < 256).sum()) for ids in held_out)


def test_one_tokenizer_is_trained_on_the_parts_by_weight(texts: Path) -> None:
    """The rarer text has the first merges where it has the weight."""
    vocabularies = []
    for weights in ((99.0, 1.0), (1.0, 99.0)):
        corpus = prepare(spec(texts, weights, tokenizer={"kind": "bpe", "vocab_size": 270}))
        vocabularies.append(json.loads((corpus.directory / "tokenizer.json").read_text())["model"]["vocab"])
        assert corpus.vocab_size == 270
    first, second = vocabularies
    assert first["Ġa"] < first["Ġb"]
    assert second["Ġb"] < second["Ġa"]


def test_the_hash_covers_parts_weights_and_tokenizer(texts: Path) -> None:
    alike = prepare(spec(texts, (7, 3)))
    assert alike.directory == prepare(spec(texts)).directory  # weights have any unit
    others = [prepare(spec(texts, (1, 1))), prepare(spec(texts, tokenizer={"kind": "bpe", "vocab_size": 300}))]
    assert len({alike.hash, *(other.hash for other in others)}) == 3


def mixed(texts: Path, directory: Path) -> Settings:
    sweep = {"sizes": [{"width": 16, "depth": 1}], "budgets": [8192, 16384]}
    settings = small_settings(directory, sweep=sweep, train={"validation_tokens": 1024})
    return settings.model_copy(update={"data": spec(texts, (0.5, 0.5))})


def test_a_mixture_is_measured_and_its_record_tells_the_parts(texts: Path, tmp_path: Path) -> None:
    settings = mixed(texts, tmp_path)
    corpus = prepare(settings.data)
    facts = facts_of_corpus(corpus, settings)
    store = make_store(tmp_path / "sweep", settings, corpus, facts)
    assert work(store, CPU, lambda: False)
    stopped = make_store(tmp_path / "stopped", settings, corpus, facts)
    while True:
        calls = iter(range(10**6))
        if work(stopped, CPU, lambda: next(calls) >= 50):  # noqa: B023
            break
    assert [r["loss"] for r in stopped.records()] == [r["loss"] for r in store.records()]
    for record in store.records():
        first, second = record["parts"]
        assert first["tokens"] + second["tokens"] == record["row"]["d"]
        assert abs(first["tokens"] - second["tokens"]) <= 2 * 2 * 32
        assert first["unique_tokens"] > 2 * second["unique_tokens"]
        assert record["row"]["unique_tokens"] == first["unique_tokens"] + second["unique_tokens"]
        assert record["row"]["epochs"] == pytest.approx(second["epochs"], rel=0.1)  # of the part that is repeated most


def test_options_of_parts_are_composed() -> None:
    parts = "[{data: files, paths: [README.md], weight: .7}, {data: python, content: prose, weight: .3}]"
    settings = compose_settings(["data=mix", f"data.parts={parts}"])
    first, second = settings.data.parts
    assert (first.source, first.paths, first.max_bytes, first.weight) == ("files", ("README.md",), None, 0.7)
    assert (second.source, second.content, second.max_bytes) == ("python", "prose", 8_000_000)


@pytest.mark.parametrize(
    "words",
    [
        ["data=mix", "data.parts=[{data: files, paths: [a b.txt], weight: 3}, {data: python, content: prose, weight: 1}]"],
        ["data.unique_tokens=64k", "data.seed=3"],
        ["data.transform={kind: drop, share: 0.25}"],
    ],
)
def test_the_command_of_a_report_composes_to_the_same_data(words: list[str]) -> None:
    settings = compose_settings(["sweep=smoke", *words])
    again = overrides_of(settings)
    assert again is not None
    assert compose_settings(again) == settings


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ("[{data: filess, weight: 1}]", "'filess' is not an option .did you mean files"),
        ("[{data: files, weight: 1}]", r"data\.parts\.0: data=files needs paths"),
        ("[{data: python, weight: 0}]", r"data\.parts\.0\.weight = 0: must be greater than 0"),
        ("[{data: python}]", r"data\.parts\.0\.weight is missing"),
        ("[{data: python, weight: 1, tokenizer: {kind: bytes}}]", r"data\.parts\.0\.tokenizer is not a setting"),
        ("[{data: mix, weight: 1}]", "a mixture in a mixture"),
        ("[{data: markov, weight: 1}]", "data=markov is tokens, no text"),
        ("[{data: python, weight: 1}, {data: enwik8, weight: 1e-4}]", "below 1 in 1,000"),
        ("[3]", r"data\.parts\.0 = 3: must be a table"),
        ("[]", "data=mix needs parts"),
    ],
)
def test_parts_that_cannot_be_are_refused(parts: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        compose_settings(["data=mix", f"data.parts={parts}"])


def test_a_part_shorter_than_a_window_is_refused_by_the_plan() -> None:
    settings = compose_settings(
        ["model.context=32", "data=mix", "data.parts=[{data: python, weight: 1}, {data: python, content: prose, weight: 1}]"]
    )
    short = CorpusFacts("mix", "0123", 512, 10**6, parts=(Part(20, 5000), Part(10**6, 5000)))
    with pytest.raises(SpecError, match=r"data\.parts\.0 .*model\.context"):
        make_plan(settings, short, "cpu")


def test_mixtures_are_options_of_an_axis() -> None:
    mixtures = ",".join(
        f"{{data: mix, parts: [{{data: python, weight: {w}}}, {{data: python, content: prose, weight: 1}}]}}" for w in (1, 3)
    )
    settings = compose_settings([f"sweep.axes.data=[{mixtures}, python]"])
    assert [[part.weight for part in spec.parts] for spec in data_specs(settings)] == [[1, 1], [3, 1], []]
    assert data_specs(settings)[0].parts[1].content == "prose"


def test_a_mixture_has_no_split_of_its_own() -> None:
    with pytest.raises(SpecError, match="validation_fraction"):
        compose_settings(["data=mix", "data.parts=[{data: python, weight: 1}]", "data.validation_fraction=0.2"])


def test_parts_without_a_mixture_are_refused() -> None:
    with pytest.raises(SpecError, match="only it has any"):
        compose_settings(["data.parts=[{data: python, weight: 1}]"])
