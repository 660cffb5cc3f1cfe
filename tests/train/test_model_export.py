"""A trained decoder and its tokenizer, saved and opened again by transformers."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scalesweep.cli import main
from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.data import TokenizerSpec
from scalesweep.settings.settings import Settings
from scalesweep.train.data import prepare, validation_windows
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.data.export import export_tokenizer
from scalesweep.train.device import prepare_device
from scalesweep.train.evaluate import evaluate
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, train
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.model.export import export_model, load_weights, save_weights
from scalesweep.train.model.module import build_model
from scalesweep.train.pack import Run

HARD_TEXT = "def f(x):\n\treturn 'naïve 日本 <|endoftext|>'  # \x00 " + "".join(map(chr, range(1, 300)))


@pytest.fixture(scope="module")
def cell(settings: Settings, facts: CorpusFacts) -> Cell:
    return make_plan(settings, facts, "cpu").cells[-1]


def decoder(cell: Cell) -> Decoder:
    """A decoder none of whose parameters is at a value that could hide a mistake, such as zero or one."""
    model = Decoder(cell.shape, [3], cell.rope_theta, cell.embedding_std, cell.residual_scale)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def weights_of(model: Decoder) -> dict[str, torch.Tensor]:
    return {name: p.detach()[0] for name, p in model.named_parameters()}


@pytest.mark.parametrize("residual_scale", [1.0, 0.25])
@pytest.mark.parametrize(("qk_norm", "architecture"), [(True, "Qwen3ForCausalLM"), (False, "LlamaForCausalLM")])
def test_transformers_gives_equal_logits(
    cell: Cell, tmp_path: Path, qk_norm: bool, architecture: str, residual_scale: float
) -> None:
    shape = dataclasses.replace(cell.shape, depth=3, qk_norm=qk_norm)
    cell = dataclasses.replace(cell, shape=shape, residual_scale=residual_scale, rope_theta=500.0)
    ours = decoder(cell)
    export_model(weights_of(ours), cell, tmp_path, eod_id=256)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = torch.randint(0, shape.vocab_size, (2, shape.context), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        logits, expected = theirs(tokens).logits, ours(tokens[None])[0]
    assert type(theirs).__name__ == architecture
    assert theirs.num_parameters() == sum(p.numel() for p in ours.parameters())
    assert expected.abs().max() > 1
    torch.testing.assert_close(logits, expected, rtol=0, atol=2e-5)


def test_weights_come_back_as_they_were_saved(cell: Cell, tmp_path: Path) -> None:
    weights = weights_of(decoder(cell))
    save_weights(tmp_path / "model.safetensors", weights)
    back = load_weights(tmp_path / "model.safetensors")
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_the_weights_of_each_run_of_a_pack_have_its_loss(cell: Cell, corpus: Corpus) -> None:
    cells = [dataclasses.replace(cell, seed=seed) for seed in (0, 1)]
    kept: dict[int, dict[str, torch.Tensor]] = {}
    tokens = np.array(corpus.train()), np.array(corpus.validation())
    hooks = Hooks(on_weights=kept.__setitem__)
    outcomes = train([Run(c) for c in cells], *tokens, Execution(prepare_device("cpu")), hooks)
    windows = validation_windows(tokens[1], cell.validation_tokens, cell.shape.context)
    for i, outcome in enumerate(outcomes):
        model = build_model([cell])
        model.load_state_dict({name: weight[None] for name, weight in kept[i].items()})
        ((loss, _),) = evaluate(model, windows, contextlib.nullcontext)
        assert loss == pytest.approx(outcome.loss, abs=1e-5)
    assert outcomes[0].loss != outcomes[1].loss


@pytest.mark.parametrize("spec", [TokenizerSpec(kind="bytes"), TokenizerSpec(kind="bpe", vocab_size=300)], ids=lambda s: s.kind)
def test_the_tokenizer_gives_equal_ids(settings: Settings, tmp_path: Path, spec: TokenizerSpec) -> None:
    corpus = prepare(settings.data.model_copy(update={"tokenizer": spec}))
    assert export_tokenizer(corpus, tmp_path, context=10**6)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert (len(tokenizer), tokenizer.eos_token_id) == (corpus.vocab_size, corpus.eod_id)
    assert tokenizer.decode(tokenizer(HARD_TEXT)["input_ids"]) == HARD_TEXT
    assert corpus.eod_id not in tokenizer(HARD_TEXT)["input_ids"]
    if spec.kind == "bytes":
        assert tokenizer(HARD_TEXT)["input_ids"] == list(HARD_TEXT.encode())
    tokens = np.array(corpus.validation())
    first = tokens[: int(np.flatnonzero(tokens == corpus.eod_id)[0])]  # one document, not cut into pieces
    assert len(first) < 2**15
    assert tokenizer(tokenizer.decode(first.tolist()))["input_ids"] == first.tolist()


def test_a_tokenizer_that_adds_tokens_at_the_ends_no_longer_does(settings: Settings, tmp_path: Path) -> None:
    """Training saw none of them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    backend = Tokenizer(models.WordLevel({"[SEP]": 0, "a": 1, "[UNK]": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 0)])
    backend.save(str(tmp_path / "tokenizer.json"))
    corpus = dataclasses.replace(prepare(settings.data), directory=tmp_path, vocab_size=3, eod_id=0)
    assert export_tokenizer(corpus, tmp_path / "out", context=16)
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("a b")["input_ids"] == [1, 2]


def test_drawn_tokens_have_no_tokenizer(corpus: Corpus, tmp_path: Path) -> None:
    assert not export_tokenizer(dataclasses.replace(corpus, eod_id=None), tmp_path, context=16)
    assert not list(tmp_path.iterdir())


WORDS = (
    "sweep=smoke sweep.sizes=[10k] sweep.budgets=[4096] data.max_bytes=300k data.tokenizer.kind=bytes "
    "train.validation_tokens=4096 fit.bootstrap=20 launcher=inline"
).split()


def test_from_a_sweep_to_generated_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "sweep"
    main(["run", *WORDS, f"dir={sweep}"])
    (key,) = (path.name for path in (sweep / "cells").iterdir())
    capsys.readouterr()
    assert main(["model", str(sweep), key]) == 2
    assert "train.keep_weights=true" in capsys.readouterr().err

    kept = tmp_path / "kept"
    main(["run", *WORDS, "train.keep_weights=true", f"dir={kept}"])
    assert [path.name for path in (kept / "cells").iterdir()] == [key]  # keeping them changes no measurement
    assert main(["model", str(kept), key, f"to={tmp_path / 'out'}"]) == 0
    model, tokenizer = (auto.from_pretrained(tmp_path / "out") for auto in (AutoModelForCausalLM, AutoTokenizer))
    given = tokenizer("def ", return_tensors="pt")
    text = tokenizer.decode(model.generate(**given, max_new_tokens=8, min_new_tokens=8, do_sample=False)[0])
    assert text.startswith("def ")
    assert len(text) > len("def ")

    capsys.readouterr()
    assert main(["model", str(kept), key, f"to={tmp_path / 'out'}"]) == 2
    assert "not an empty directory" in capsys.readouterr().err
    assert main(["model", str(kept), key[:-1] + "x"]) == 2
    assert key in capsys.readouterr().err
    assert main(["model", str(kept)]) == 2
    assert "model takes a directory and the key of a cell, such as: scalesweep model" in capsys.readouterr().err


def test_the_corpus_of_a_model_is_found_where_its_cache_was_moved_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text(
        "".join(f'{{"text": "document {i} of a text that is long enough to be trained on"}}\n' for i in range(3000))
    )
    words = [w for w in WORDS if not w.startswith("data.")] + [
        "data=files",
        f"data.paths=[{text}]",
        "data.tokenizer.kind=bytes",
    ]
    sweep, old, new = tmp_path / "sweep", tmp_path / "old", tmp_path / "new"
    assert main(["run", *words, "train.keep_weights=true", f"data.cache={old}", f"dir={sweep}"]) == 0
    (key,) = (path.name for path in (sweep / "cells").iterdir())
    old.rename(new)
    kept = text.rename(tmp_path / "kept.jsonl")
    capsys.readouterr()
    assert main(["model", str(sweep), key, f"to={tmp_path / 'a'}"]) == 2
    assert "SCALESWEEP_CACHE" in capsys.readouterr().err
    monkeypatch.setenv("SCALESWEEP_CACHE", str(new))
    assert main(["model", str(sweep), key, f"to={tmp_path / 'b'}"]) == 0
    monkeypatch.delenv("SCALESWEEP_CACHE")
    text.write_text(kept.read_text().replace("document 1 ", "document one "))
    assert main(["model", str(sweep), key, f"to={tmp_path / 'c'}"]) == 2
    assert "prepared anew its text is another" in capsys.readouterr().err
    kept.rename(text)
    assert main(["model", str(sweep), key, f"to={tmp_path / 'd'}"]) == 0
    saved = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("b", "d")]
    assert saved[0] == saved[1]
