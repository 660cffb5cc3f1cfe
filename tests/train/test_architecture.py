"""Models of transformers: scaled, counted, trained, resumed and exported like the decoder."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import small_settings
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, masking_utils

from scalesweep.cli import main
from scalesweep.errors import SpecError
from scalesweep.plan.cell import Cell, cell_from_dict
from scalesweep.plan.flops import ModuleShape, flops_per_token, num_params
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.plan.recipe import resolve_module
from scalesweep.run.store.measured import read_sweep
from scalesweep.run.store.store import Store
from scalesweep.run.worker import work
from scalesweep.settings.plan import ArchitectureSpec, CountSpec
from scalesweep.settings.settings import Settings
from scalesweep.sweep.corpora import corpus_facts
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, Interrupted, train
from scalesweep.train.model.architecture import build_module, config_from_json, parameter_groups, scaled_shape
from scalesweep.train.model.export import export_model
from scalesweep.train.model.module import ModuleModel, build_model
from scalesweep.train.optim import make_optimizer
from scalesweep.train.optim.groups import group_settings, groups_of
from scalesweep.train.pack import Checkpoint, Outcome, Run

ATTENTION = ["GPT2", "GPTNeoX", "Llama", "Qwen3"]
CPU = prepare_device("cpu")


def shape_of(architecture: str, width: int = 32, depth: int = 2, context: int = 16, **config: Any) -> ModuleShape:
    return scaled_shape(ArchitectureSpec(architecture=architecture, context=context, config=config), width, depth, 8, 257)


def settings_of(directory: Path, architecture: str, **sections: dict[str, Any]) -> Settings:
    """Two cells of one size and two lengths that share a trunk."""
    given = small_settings(directory, **sections).model_dump(mode="json")
    given["model"] = {"architecture": architecture, "context": 16}
    given["recipe"] |= {"parametrisation": "sp", "warmup_fraction": 0.5, "batch_tokens": 64}
    given["sweep"] |= {"sizes": [{"width": 16, "depth": 1}], "budgets": [1024, 2048]}
    return Settings.model_validate(given)


@pytest.fixture
def planned(home: Path, facts: CorpusFacts) -> Any:
    def make(architecture: str, **sections: dict[str, Any]) -> tuple[Settings, tuple[Cell, ...]]:
        settings = settings_of(home, architecture, **sections)
        return settings, make_plan(settings, dataclasses.replace(facts, scaled=scaled_shape), "cpu").cells

    return make


def test_a_plan_says_that_the_learning_rate_must_be_tuned(home: Path, facts: CorpusFacts) -> None:
    corpus = dataclasses.replace(facts, scaled=scaled_shape)

    def said(**sections: dict[str, Any]) -> bool:
        warnings = make_plan(settings_of(home, "GPT2", **sections), corpus, "cpu").warnings
        return any(line.startswith("GPT2 models have no rules") and "sweep.tune.recipe.lr" in line for line in warnings)

    sweep = settings_of(home, "GPT2").sweep.model_dump(mode="json")
    assert said()
    assert not said(sweep={**sweep, "tune": {"recipe": {"lr": [0.001, 0.002, 0.004]}}})
    assert not said(recipe={"lr_law": {"coefficient": 0.01}})


def training_flops(shape: ModuleShape) -> float:
    """Forward and backward of a real model, per token, by torch's counter, but for what it says of convolutions' backward.

    It takes a depthwise convolution for a dense one there, 128 times as much for Mamba at width 64.
    """
    module = build_module(config_from_json(shape.config), attention="eager")
    tokens = torch.zeros((2, shape.context), dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        module(input_ids=tokens, use_cache=False).logits.sum().backward()
    counts = counter.get_flop_counts()["Global"]
    forward, backward = (counts.get(op, 0) for op in (torch.ops.aten.convolution, torch.ops.aten.convolution_backward))
    return (counter.get_total_flops() - backward + 2 * forward) / (2 * shape.context)


def test_rows_are_one_sequence_each_without_a_question_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(_: Any) -> None:
        raise AssertionError

    tokens = torch.zeros((1, 2, 16), dtype=torch.long)
    expected = ModuleModel(shape_of("Llama"), seed=3)(tokens)
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", look)
    assert torch.equal(ModuleModel(shape_of("Llama"), seed=3)(tokens), expected)
    assert masking_utils.find_packed_sequence_indices is look


@pytest.mark.parametrize("architecture", [*ATTENTION, "Mamba"])
@pytest.mark.parametrize(("width", "depth"), [(32, 2), (64, 3)])
def test_counts_equal_those_of_a_real_module(architecture: str, width: int, depth: int) -> None:
    shape = shape_of(architecture, width, depth)
    module = build_module(config_from_json(shape.config))
    groups = shape.counts.groups
    assert groups.total == sum(p.numel() for p in module.parameters())
    assert groups.head == 257 * width
    assert num_params(shape, "with_head") == groups.total - groups.embedding
    assert shape.counts.flops_by == ("counter" if architecture == "Mamba" else "formula")
    assert flops_per_token(shape, "attention") == pytest.approx(training_flops(shape), rel=0.02)
    assert flops_per_token(shape, "kaplan") == 6 * groups.matrices


def test_groups_in_closed_form() -> None:
    """GPT-2 at d, L, T: 12 d^2 L matrices, one table for both ends, 13 d L + 2 d gains and biases, T d positions."""
    groups = shape_of("GPT2", 32, 3, 16).counts.groups
    assert dataclasses.astuple(groups) == (16 * 32, 257 * 32, 12 * 32**2 * 3, 13 * 32 * 3 + 2 * 32)
    spec = ArchitectureSpec(architecture="Llama", context=16, ffn_ratio=2.5)
    llama = scaled_shape(spec, 32, 3, 8, 257).counts.groups
    assert dataclasses.astuple(llama) == (257 * 32, 257 * 32, 3 * (4 * 32**2 + 3 * 32 * 80), 7 * 32)


def test_the_config_is_scaled_by_its_own_names() -> None:
    config = config_from_json(shape_of("GPT2", 32, 3).config)
    assert (config.n_embd, config.n_layer, config.n_head, config.n_positions, config.resid_pdrop) == (32, 3, 4, 16, 0.0)
    config = config_from_json(shape_of("Qwen3", 32, 3).config)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (4, 4, 8)
    assert (len(config.layer_types), config.intermediate_size) == (3, 176)  # 22016 / 4096 of the width, a multiple of 8
    config = config_from_json(shape_of("Gemma2", 64).config)
    assert (config.num_attention_heads, config.num_key_value_heads) == (8, 4)  # half as many, as by default
    config = config_from_json(shape_of("Mamba", 64, expand=3).config)
    assert (config.intermediate_size, config.time_step_rank) == (192, 4)
    spec = ArchitectureSpec(architecture="GPT2", context=16, ffn_ratio=2.0)
    assert config_from_json(scaled_shape(spec, 32, 1, 8, 257).config).n_inner == 64


@pytest.mark.parametrize(
    ("architecture", "name", "setting"),
    [
        ("GPT2", "n_embd", "sweep.sizes"),
        ("GPT2", "hidden_size", "sweep.sizes"),
        ("GPT2", "n_layer", "recipe.depth"),
        ("GPT2", "n_head", "recipe.head_dim"),
        ("GPT2", "n_inner", "model.ffn_ratio"),
        ("GPT2", "n_positions", "model.context"),
        ("GPT2", "attn_pdrop", "without dropout"),
        ("Llama", "num_hidden_layers", "recipe.depth"),
        ("Llama", "intermediate_size", "model.ffn_ratio"),
        ("Qwen3", "head_dim", "recipe.head_dim"),
        ("Mamba", "vocab_size", "data.tokenizer"),
    ],
)
def test_what_a_size_or_its_recipe_decides_is_not_set(architecture: str, name: str, setting: str) -> None:
    with pytest.raises(SpecError, match=rf"^model\.config\.{name} is .*{setting}.*; leave it out of model\.config\.$"):
        shape_of(architecture, **{name: 4})


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"architecture": "gpt2"}, "did you mean GPT2"),
        ({"architecture": "Resnet"}, "not a causal language model"),
        ({"architecture": "GPT2", "config": {"scale_attn_weight": False}}, "did you mean scale_attn_weights"),
        ({"architecture": "Llama", "config": {"num_key_value_heads": 3}}, "cannot be built"),
        ({"architecture": "Mamba2"}, "num_heads"),
        ({"architecture": "Mixtral"}, "mixture of experts"),
        ({"architecture": "Jamba"}, "mixture of experts"),
        ({"architecture": "Mamba", "ffn_ratio": 2.0}, "no intermediate_size"),
    ],
)
def test_what_cannot_be_scaled_is_refused_in_a_sentence(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words) as refusal:
        scaled_shape(ArchitectureSpec(context=16, **spec), 32, 2, 8, 257)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("target", [3_000, 20_000, 90_000])
def test_a_target_takes_the_nearest_width(home: Path, target: int) -> None:
    recipe = settings_of(home, "Llama").recipe
    spec = ArchitectureSpec(architecture="Llama", context=16)
    found = resolve_module(target, recipe, spec, 257, "with_head", scaled_shape)
    sizes = {width: num_params(scaled_shape(spec, width, 1, 8, 257), "with_head") for width in range(8, 200, 8)}
    assert found.width == min(sizes, key=lambda width: abs(np.log(sizes[width] / target)))


def test_the_key_is_of_the_content(planned: Any) -> None:
    _, (cell, *_) = planned("GPT2")
    assert cell_from_dict(json.loads(json.dumps(dataclasses.asdict(cell)))) == cell
    counts = dataclasses.replace(cell.shape.counts, flops_per_token=1.0)
    assert dataclasses.replace(cell, shape=dataclasses.replace(cell.shape, counts=counts)).key == cell.key
    other = cell.shape.config.replace('"layer_norm_epsilon": 1e-05', '"layer_norm_epsilon": 1e-06')
    assert dataclasses.replace(cell, shape=dataclasses.replace(cell.shape, config=other)).key != cell.key
    assert cell.row(CountSpec())["architecture"] == "GPT2"
    assert (cell.residual_scale, cell.hidden_lr) == (1.0, 0.004)


@pytest.mark.parametrize("architecture", ["GPT2", "Llama", "Mamba"])
def test_the_adapter_gives_the_library_s_logits_and_gradients(architecture: str) -> None:
    shape = shape_of(architecture)
    before = torch.get_rng_state()
    ours = ModuleModel(shape, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(3)
    theirs = build_module(config_from_json(shape.config))
    windows = torch.randint(0, 257, (2, 17), generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(windows[None, :, :-1])[0], theirs(windows[:, :-1]).logits)
    ours.losses(windows[None]).mean().backward()
    logits = theirs(windows[:, :-1]).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).backward()
    ours_by_name = {name.replace("/", "."): p for name, p in ours.named_parameters()}
    for name, parameter in theirs.named_parameters():
        assert ours_by_name[name].grad is not None
        torch.testing.assert_close(ours_by_name[name].grad[0], parameter.grad, rtol=1e-4, atol=1e-6)
    other = dict(ModuleModel(shape, seed=4).named_parameters())
    assert not all(torch.equal(p, other[name]) for name, p in ours.named_parameters())


@pytest.mark.parametrize("architecture", [*ATTENTION, "Mamba"])
def test_matrices_decay_and_nothing_else(planned: Any, architecture: str) -> None:
    _, (cell, *_) = planned(architecture)
    model = build_model([cell])
    groups, settings = groups_of(model), group_settings(cell)
    assert groups.keys() == dict(model.named_parameters()).keys()
    decayed = [name for name, group in groups.items() if settings[group].weight_decay > 0]
    assert not [name for name in decayed if name.endswith(("bias", "A_log", "/D")) or "norm" in name or "wpe" in name]
    assert all(groups[n] == "matrices" for n in groups if n.endswith(("proj/weight", "c_fc/weight", "query_key_value/weight")))
    tied = architecture in ("GPT2", "Mamba")
    assert [name for name in decayed if "embed" in name or "wte" in name or "lm_head" in name] == (
        [] if tied else ["lm_head/weight"]
    )
    assert parameter_groups(model.library_module[0]).keys() == {name.replace("/", ".") for name in groups}
    make_optimizer(model, [cell])


def run(cell: Cell, corpus: Corpus, start: Checkpoint | None = None, **hooks: Any) -> Outcome:
    tokens = np.array(corpus.train()), np.array(corpus.validation())
    (outcome,) = train([Run(cell, start)], *tokens, Execution(CPU), Hooks(**hooks))
    curve = [{k: v for k, v in point.items() if k != "tokens_per_second"} for point in outcome.curve]
    return dataclasses.replace(outcome, seconds=0.0, curve=curve)


@pytest.mark.parametrize("architecture", ["GPT2", "Mamba"])
def test_stop_and_resume_equal_a_straight_run(planned: Any, corpus: Corpus, architecture: str) -> None:
    _, (cell, *_) = planned(architecture)
    straight = run(cell, corpus)
    assert straight.state == "COMPLETE"
    assert straight.loss < np.log(257)
    assert straight.curve[-1]["update_ratio"] > 0
    kept: list[Checkpoint] = []
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        run(cell, corpus, should_stop=lambda: next(calls) >= 6, on_checkpoint=lambda _, state: kept.append(state))
    assert kept[0].step == 7
    assert run(cell, corpus, kept[0]) == straight


def test_a_sweep_is_measured_with_shared_trunks_and_without_packs(
    tmp_path: Path, planned: Any, corpus: Corpus, facts: CorpusFacts
) -> None:
    settings, cells = planned("GPTNeoX", train={"pack": 4, "keep_weights": True})
    store = Store(tmp_path / "sweep")
    plan = make_plan(settings, dataclasses.replace(facts, scaled=scaled_shape), "cpu")
    store.plan_file.create(plan, settings.model_dump(mode="json"), corpus_facts(corpus))
    assert store.plan_file.settings() == settings
    assert work(store, CPU, lambda: False)
    assert store.plan_file.plan().cells == cells
    records = store.records()
    assert [record["state"] for record in records] == ["COMPLETE"] * 2
    assert {record["times"]["pack"] for record in records} == {1}
    assert sum(record["times"]["shared_steps"] > 0 for record in records) == 1
    assert all(run(cell, corpus).loss == store.record(cell.key)["loss"] for cell in cells)  # type: ignore[index]
    assert set(read_sweep(store.directory).frame["architecture"]) == {"GPTNeoX"}


@pytest.mark.parametrize("architecture", ["GPT2", "Mamba"])
def test_export_gives_equal_logits(planned: Any, tmp_path: Path, architecture: str) -> None:
    _, (cell, *_) = planned(architecture)
    model = build_model([cell])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    export_model({name: p.detach()[0] for name, p in model.named_parameters()}, cell, tmp_path, eod_id=256)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = torch.arange(32).view(2, 16)
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, model(tokens[None])[0], rtol=0, atol=1e-5)
    assert theirs.generation_config.eos_token_id == 256


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["recipe=completep"], "use recipe=sp"),
        (["optim=muon"], "use optim=adamw with GPT2"),
        (["count.flops=chinchilla"], "model=decoder only"),
        (["model.config.n_layer=4"], "model.config.n_layer is a size's depth: use recipe.depth"),
        (["sweep.sizes=[{width: 20, depth: 2}]"], "width 20 is not a multiple of recipe.head_dim = 16"),
        (["model.qk_norm=true"], "model.qk_norm is not a setting"),
        (["model=decoder", "model.architecture=GPT2"], "model.architecture is a setting of model=hf"),
    ],
)
def test_the_command_refuses_in_a_sentence(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    chosen = [] if words[0].startswith("model=") else ["model=hf"]
    common = ["sweep=smoke", "data.max_bytes=200k", "data.tokenizer.kind=bytes", f"data.cache={home / 'cache'}"]
    assert main(["plan", *chosen, *common, *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


def test_the_plan_says_how_flops_were_counted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["sweep=smoke", "model=hf", "data.max_bytes=200k", "data.tokenizer.kind=bytes", f"data.cache={home / 'cache'}"]
    sizes = "sweep.sizes=[{width: 16, depth: 1},{width: 32, depth: 1}]"
    assert main(["plan", *common, "sweep.axes.model.architecture=[GPT2,Mamba]", sizes, "train.validation_tokens=1024"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "FLOPs per token of GPT2 6 N_matmul + 12 depth d T" in said
    assert "of Mamba by torch's FlopCounterMode" in said
