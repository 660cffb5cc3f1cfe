"""Axes of data, nested settings and options of a group."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from builders import small_settings

from scalesweep.errors import SpecError
from scalesweep.plan.axes import data_key, data_specs, variants
from scalesweep.plan.budget import Limit, shrink
from scalesweep.plan.cell import Cell, pack_signature
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import Plan, make_plan
from scalesweep.settings.again import overrides_of
from scalesweep.settings.compose import compose_settings, compose_values, data_option
from scalesweep.settings.settings import Settings, parse_settings, with_values

GRID = {"name": "x", "sizes": ["6k", "20k", "60k"], "budgets": ["4k", "8k", "16k"]}
TOKENIZERS = [{"kind": "bytes"}, {"kind": "bpe", "vocab_size": 512}]
TWO_BY_TWO = {"data": {"content": ["code", "prose"], "tokenizer": TOKENIZERS}}


def swept(axes: dict[str, Any], **sweep: Any) -> Settings:
    return small_settings(Path("."), sweep={**GRID, **sweep, "axes": axes})


def facts_of(settings: Settings) -> dict[str, CorpusFacts]:
    """A corpus for each, whose name and hash say which it is."""
    found = {}
    for spec in data_specs(settings):
        name = f"{spec.content}-{spec.tokenizer.kind}"
        found[data_key(spec)] = CorpusFacts(name, name, spec.tokenizer.vocab_size or 257, 10**6)
    return found


def planned(settings: Settings) -> Plan:
    return make_plan(settings, facts_of(settings), "cpu")


def test_each_arm_has_the_cells_of_a_sweep_of_its_own() -> None:
    plan = planned(swept(TWO_BY_TWO))
    expected = []
    for content in ("code", "prose"):
        for tokenizer in TOKENIZERS:
            alone = with_values(swept({}), {"data.content": content, "data.tokenizer": tokenizer})
            expected += [cell.key for cell in make_plan(alone, next(iter(facts_of(alone).values())), "cpu").cells]
    assert [cell.key for cell in plan.cells] == expected
    assert {cell.corpus_hash for cell in plan.cells} == {"code-bytes", "code-bpe", "prose-bytes", "prose-bpe"}
    assert {cell.shape.vocab_size for cell in plan.cells if cell.corpus_hash.endswith("bpe")} == {512}


def test_columns_tell_the_arms_apart() -> None:
    plan = planned(swept(TWO_BY_TWO))
    arms = {plan.columns[cell.key]["arm"]: cell.corpus_hash for cell in plan.cells}
    assert arms == {
        "code, bytes": "code-bytes",
        "code, bpe vocab_size=512": "code-bpe",
        "prose, bytes": "prose-bytes",
        "prose, bpe vocab_size=512": "prose-bpe",
    }
    assert {plan.columns[cell.key]["axis.data.content"] for cell in plan.cells} == {"code", "prose"}


def test_a_pack_has_cells_of_one_corpus() -> None:
    plan = planned(swept({"data": {"content": ["code", "prose"]}}))
    packs: dict[Any, set[str]] = {}
    for cell in plan.cells:
        packs.setdefault(pack_signature(cell), set()).add(cell.corpus_hash)
    assert all(len(corpora) == 1 for corpora in packs.values())


def test_a_nested_setting_is_an_axis() -> None:
    settings = with_values(swept({"data": {"tokenizer": {"vocab_size": [300, 512]}}}), {"data.tokenizer": TOKENIZERS[1]})
    assert [spec.tokenizer.vocab_size for spec in data_specs(settings)] == [300, 512]
    assert {cell.shape.vocab_size for cell in planned(settings).cells} == {300, 512}


@pytest.mark.parametrize(
    ("axes", "remedy"),
    [
        ({"optim": {"name": ["adamw", "muon"]}}, "sweep.axes.optim=[adamw,muon]"),
        ({"data": {"source": ["python", "enwik8"]}}, "sweep.axes.data=[python,enwik8]"),
        ({"recipe": {"name": ["sp", "mup"]}}, "sweep.axes.recipe=[sp,mup]"),
    ],
)
def test_the_name_of_an_option_is_no_axis_but_the_option_is(axes: dict[str, Any], remedy: str) -> None:
    with pytest.raises(SpecError) as refused:
        variants(swept(axes))
    assert remedy in str(refused.value)


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        ({"data": {"tokenizer": {"size": [300]}}}, "tokenizer.size"),
        ({"data": {"contents": ["code"]}}, "content"),
        ({"data": {"content": "code"}}, "data.content"),
        ({"data": {"content": ["verse"]}}, "data.content = 'verse'"),
    ],
)
def test_a_wrong_axis_of_data_is_refused_by_name(axes: dict[str, Any], named: str) -> None:
    with pytest.raises(SpecError, match=named.replace("(", r"\(")):
        planned(swept(axes))


def test_values_that_make_one_corpus_are_refused() -> None:
    settings = swept({"data": {"column": ["text", "body"]}})  # a setting that data=python does not have
    with pytest.raises(SpecError, match=r"data\.column make no difference"):
        planned(settings)


def test_a_budget_leaves_out_all_arms_of_a_size_together() -> None:
    settings = swept(TWO_BY_TWO, sizes=["6k", "12k", "20k", "60k"])
    plan = planned(settings)

    def flops(cells: Sequence[Cell]) -> float:
        return dataclasses.replace(plan, cells=tuple(cells)).shared_flops(settings.count)

    limit = Limit("budget.flops", 0.4 * flops(plan.cells), flops)
    out = {cell.key for cell in shrink(plan, settings, [limit])}
    left: dict[str, list[int]] = {}
    for corpus in {cell.corpus_hash for cell in plan.cells}:
        mine = sorted(
            (c for c in plan.cells if c.corpus_hash == corpus), key=lambda c: (c.num_params(settings.count), c.tokens)
        )
        left[corpus] = [place for place, cell in enumerate(mine) if cell.key not in out]
    assert out
    assert len(set(map(tuple, left.values()))) == 1


def test_options_of_a_group_bring_their_own_settings() -> None:
    settings = compose_settings(["sweep=smoke", "sweep.axes.optim=[adamw,muon]"])
    found = [variant.settings.optim for variant in variants(settings)]
    assert [(optim.name, optim.momentum) for optim in found] == [("adamw", None), ("muon", 0.95)]
    assert found == [compose_settings(["sweep=smoke", f"optim={name}"]).optim for name in ("adamw", "muon")]
    assert parse_settings(settings.model_dump(mode="json")) == settings  # a stored sweep needs no file of configs/
    plan = make_plan(settings, CorpusFacts("text", "0123", 257, 10**6), "cpu")
    assert {(plan.columns[c.key]["axis.optim"], c.optimizer) for c in plan.cells} == {("adamw", "adamw"), ("muon", "muon")}


def test_an_option_keeps_the_other_overrides_and_its_further_settings() -> None:
    words = ["sweep=smoke", "data.max_bytes=1M", "sweep.axes.data=[python,{data: python, content: prose},{content: prose}]"]
    specs = [variant.settings.data for variant in variants(compose_settings(words))]
    assert [(s.content, s.tokenizer.kind, s.max_bytes) for s in specs] == [
        ("code", "bpe", 10**6),
        ("prose", "bpe", 10**6),
        ("prose", "bytes", 10**6),  # without an option, further settings of the one that sweep=smoke chooses
    ]


def test_models_of_two_kinds_are_options_of_one_axis() -> None:
    words = ["sweep=smoke", "recipe=sp", "sweep.axes.model=[decoder,{model: hf, architecture: GPT2}]"]
    kinds = [type(variant.settings.model).__name__ for variant in variants(compose_settings(words))]
    assert kinds == ["ModelSpec", "ArchitectureSpec"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("sweep.axes.optim=[adamw,moun]", "moun.*muon"),
        ("sweep.axes.optim=[1]", "names of options"),
        ("sweep.axes.optim=[{optim: adamw, momentum: 0.9}]", "momentum"),
        ("sweep.axes.data=[{data: python, contents: code}]", r"data\.contents is not a setting"),
    ],
)
def test_a_wrong_option_is_refused_by_name(word: str, said: str) -> None:
    with pytest.raises(SpecError, match=f"sweep.axes.*{said}"):
        compose_settings(["sweep=smoke", word])


@pytest.mark.parametrize(
    "words",
    [
        ["sweep.axes.optim=[adamw,muon]", "optim.beta2=0.99"],
        ["sweep.axes.data=[python,enwik8]", "data.max_bytes=1M"],
        ["sweep.axes.data=[{data: python, content: prose},{content: code}]", "recipe.lr=0.003"],
        ["sweep.axes.data.tokenizer=[{kind: bytes},{kind: bpe, vocab_size: 512}]"],
        ["recipe=sp", "sweep.axes.model=[decoder,{model: hf, architecture: GPT2}]"],
    ],
)
def test_the_command_line_of_a_sweep_with_axes_makes_it_again(words: list[str]) -> None:
    settings = compose_settings(["sweep=smoke", *words])
    again = overrides_of(settings)
    assert again is not None
    assert compose_settings(again) == settings


@pytest.mark.parametrize("option", ["python", "python_small", "enwik8", "files", "hub", "markov"])
def test_an_option_of_data_is_read_as_hydra_composes_it(option: str) -> None:
    assert data_option(option) == compose_values([f"data={option}"])["data"]
    assert data_option(f"../data/{option}") is None
    assert data_option("nothing") is None
