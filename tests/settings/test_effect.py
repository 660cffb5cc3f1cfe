"""Settings that can have no effect are refused, and only those."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from builders import small_settings
from pydantic import BaseModel

from scalesweep.errors import SpecError
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.again import overrides_of
from scalesweep.settings.compose import compose_settings, config_dir
from scalesweep.settings.effect import ALWAYS, WHEN, unmet_by
from scalesweep.settings.settings import Settings, parse_settings, with_values

CORPUS = CorpusFacts("text", "0123", 512, 10**9)
OPEN = {"recipe.lr_law", "sweep.sizes"}
"""Settings that are tables of one meaning, and count as one."""


def leaves(spec: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every setting, dotted."""
    for name, field in spec.model_fields.items():
        tables = [kind for kind in alternatives(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not tables or prefix + name in OPEN:
            yield prefix + name
        for table in tables if prefix + name not in OPEN else ():
            yield from leaves(table, f"{prefix}{name}.")


def alternatives(kind: Any) -> list[Any]:
    if get_origin(kind) is Annotated:
        return alternatives(get_args(kind)[0])
    if get_origin(kind) in (dict, tuple):  # by names or numbers of the user's own
        return [kind]
    return [inner for part in get_args(kind) for inner in alternatives(part)] or [kind]


def test_of_every_setting_it_is_decided_when_it_has_an_effect() -> None:
    """A new setting must be put in one of the two; a setting that is gone must leave them."""
    settings = set(leaves(Settings))
    assert len(settings) > 90
    assert settings == ALWAYS | set(WHEN)
    assert not ALWAYS & set(WHEN)


@pytest.mark.parametrize(
    ("words", "refused", "remedy"),
    [
        (["sweep=smoke", "data.paths=[mine.txt]"], "data.paths=[mine.txt]", "data=files"),
        (["sweep=smoke", "data.tokenizer.vocab_size=2048"], "data.tokenizer.vocab_size=2048", "data.tokenizer.kind=bpe"),
        (["data.tokenizer={kind: bytes, vocab_size: 300}"], "data.tokenizer.vocab_size=300", "data.tokenizer.kind=bpe"),
        (["data.tokenizer.name=gpt2"], "data.tokenizer.name=gpt2", "data.tokenizer.kind=hub"),
        *(([f"data.{name}"], f"data.{name}", "data=hub") for name in ("name=x", "subset=x", "split=x", "streaming=false")),
        *(([f"data.{name}"], f"data.{name}", "data=markov") for name in ("max_tokens=1M", "alphabet=8")),
        *(([f"data.{name}"], f"data.{name}", "data=zipf_facts") for name in ("keys=2M", "values=4", "zipf_alpha=1")),
        *(([f"data.{name}"], f"data.{name}", "data=generated") for name in ("model=x", "cell=0123", "temperature=0.5")),
        (
            ["data=generated", "data.model=x", "data.cell=0123", "data.validation_fraction=0.1"],
            "data.validation_fraction=0.1",
            "data=files",
        ),
        (["data=enwik8", "data.content=prose"], "data.content=prose", "data=python"),
        (["data.column=doc"], "data.column=doc", "data=files"),
        (["data=files", "data.paths=[a.txt,b.txt]", "data.column=doc"], "data.column=doc", ".jsonl"),
        (["data.separator='---'"], "data.separator=---", "data=files"),
        (["data.max_skipped=0.1"], "data.max_skipped=0.1", "data=files or data=hub"),
        (["data.bytes_per_token=4"], "data.bytes_per_token=4", "data=tokens"),
        (
            ["data=tokens", "data.paths=[x.npy]", "data.tokenizer.vocab_size=99", "data.dtype=uint16"],
            "data.dtype=uint16",
            ".bin",
        ),
        (["data.tokenizer.max_lost=0.1"], "data.tokenizer.max_lost=0.1", "data.tokenizer.kind=hub"),
        (["data=markov", "data.max_bytes=1M"], "data.max_bytes=1M", "data=files"),
        (["data=enwik8", "data.validation_fraction=0.1"], "data.validation_fraction=0.1", "data.max_bytes"),
        (["train.schedule=cosine", "train.decay_fraction=0.1"], "train.decay_fraction=0.1", "train.schedule=wsd"),
        (["train.compile=true", "train.device=cpu"], "train.compile=true", "train.device=cuda"),
        (["train.compile=true", "train.fast=false"], "train.compile=true", "train.fast=true"),
        (["train.compile=true", "model=hf"], "train.compile=true", "model=decoder"),
        (["recipe=sp", "recipe.base_width=32"], "recipe.base_width=32", "recipe=completep or recipe=mup"),
        (["recipe=mup", "sweep.axes.recipe.base_depth=[2,4]"], "sweep.axes.recipe.base_depth=[2,4]", "recipe=completep"),
        (["recipe=mup", "sweep.axes={recipe: {base_depth: [2]}}"], "sweep.axes.recipe.base_depth=[2]", "recipe=completep"),
        (["sweep.tune.optim.momentum=[0.9,0.95]"], "sweep.tune.optim.momentum=[0.9,0.95]", "optim=muon"),
        (["sweep.tune.recipe.lr=1e-3..1e-2:4", "sweep.tune.seed=1"], "sweep.tune.seed=1", "sweep.tune.method=sobol"),
        (["launcher.sbatch.exclude=node7"], "launcher.sbatch.exclude=node7", "launcher=slurm"),
        (["launcher.workers=2", "launcher.workers_per_gpu=2"], "launcher.workers_per_gpu=2", "launcher.workers=auto"),
    ],
)
def test_a_setting_in_vain_is_refused_with_what_would_take_it(words: list[str], refused: str, remedy: str) -> None:
    with pytest.raises(SpecError) as caught:
        compose_settings(words)
    sentence = str(caught.value)
    assert sentence.startswith(f"{refused} has no effect with ")
    assert remedy in sentence.split(": it needs ")[1]
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "words",
    [
        ["data=files", "data.paths=[a.jsonl]", "data.column=doc"],
        ["data=enwik8", "data.paths=[enwik8.zip]"],
        ["data=enwik8", "data.max_bytes=10M", "data.validation_fraction=0.1"],
        ["data=files", "data.paths=[a.txt]"],
        ["sweep=smoke", "data.tokenizer.kind=bpe", "data.tokenizer.vocab_size=2048"],
        ["data.tokenizer={kind: bytes, vocab_size: null}", "data.paths=[]", "data.name=null"],
        ["sweep.axes.train.schedule=[wsd,cosine]", "train.schedule=cosine", "train.decay_fraction=0.1"],
        ["recipe=sp", "sweep.axes.recipe.parametrisation=[sp,mup]", "recipe.base_width=32"],
        ["sweep.tune.recipe.batch_exponent=[0,0.4]", "recipe.reference_tokens=1M"],
        ["optim=muon", "sweep.tune.optim.momentum=[0.9,0.95]"],
        ["sweep=smoke", "sweep.axes.data.tokenizer.kind=[bytes,bpe]", "data.tokenizer.vocab_size=2048"],
        ["data=markov", "data.seed=1"],
        ["data=generated", "data.model=x", "data.cell=0123", "data.seed=1", "data.temperature=0.5", "data.max_tokens=64k"],
        ["data=python", "data.unique_tokens=64k", "data.seed=1"],
        ["data.transform={kind: drop, share: 0.25}"],
        ["data=tokens", "data.paths=[x.bin]", "data.tokenizer.vocab_size=99", "data.dtype=uint16", "data.bytes_per_token=4"],
        ["launcher=slurm", "launcher.gpus=2", "launcher.workers_per_gpu=2"],
    ],
)
def test_a_setting_that_matters_in_some_cell_is_taken(words: list[str]) -> None:
    compose_settings(words)


@pytest.mark.parametrize("group", sorted({path.name for path in config_dir().iterdir() if path.is_dir()} - {"study"}))
def test_what_options_inherit_is_not_the_user_s(group: str) -> None:
    tokens = ["data.paths=[x.bin]", "data.tokenizer.vocab_size=99"]
    needs = {"files": ["data.paths=[x.txt]"], "hub": ["data.name=x"], "tokens": tokens, "custom": [f"{group}.target=a.b:C"]}
    needs["generated"] = ["data.model=runs/x", "data.cell=0123"]
    needs["mix"] = ["data.parts=[{data: python, weight: 1}]"]
    for path in (config_dir() / group).glob("*.yaml"):
        compose_settings([f"{group}={path.stem}", *(needs.get(path.stem, []) if group in ("data", "model", "optim") else [])])


@pytest.mark.parametrize(
    ("without", "with_", "setting", "value"),
    [
        ({"recipe.parametrisation": "sp"}, {"recipe.parametrisation": "mup"}, "recipe.base_width", 128),
        ({"recipe.parametrisation": "mup"}, {"recipe.parametrisation": "completep"}, "recipe.base_depth", 7),
        ({"recipe.batch_exponent": 0}, {"recipe.batch_exponent": 0.4}, "recipe.reference_tokens", 10_000),
        ({"sweep.sizes": [{"width": 16, "depth": 1}]}, {"sweep.sizes": [30_000]}, "recipe.depth", 3),
        ({"recipe.lr_law": {"coefficient": 0.1}}, {"recipe.lr_law": None}, "recipe.lr", 0.5),
        ({"train.schedule": "cosine"}, {"train.schedule": "wsd"}, "train.decay_fraction", 0.5),
    ],
)
def test_what_is_refused_changes_no_cell_and_what_is_taken_does(
    tmp_path: Path, without: dict[str, Any], with_: dict[str, Any], setting: str, value: object
) -> None:
    settings = with_values(small_settings(tmp_path), {"sweep.budgets": [8192], "sweep.sizes": [30_000]})

    def is_felt(others: dict[str, Any]) -> bool:
        plans = [make_plan(with_values(settings, {**others, **own}), CORPUS, "cpu") for own in ({}, {setting: value})]
        return plans[0].hash != plans[1].hash

    assert not is_felt(without)
    assert is_felt(with_)


def test_stored_settings_that_name_some_in_vain_are_read_and_written_without_them() -> None:
    """As an older sweep has them, whose command took what it ignored."""
    plain = compose_settings(["sweep=smoke", "recipe.lr=0.004"])
    stored = plain.model_dump(mode="json")
    stored["data"] |= {"paths": ["mine.txt"], "name": "x", "alphabet": 8}
    words = overrides_of(parse_settings(stored))
    assert words is not None
    assert compose_settings(words) == plain


def test_an_option_of_an_axis_may_take_a_setting() -> None:
    options = [{"asked": name, "values": compose_settings([f"optim={name}"]).optim.model_dump()} for name in ("adamw", "muon")]
    for chosen, unmet in ((options, False), (options[:1], True)):
        values = compose_settings([]).model_dump(mode="json")
        values["sweep"]["axes"] = {"optim": chosen}
        assert (unmet_by("optim.momentum", parse_settings(values)) is not None) == unmet
