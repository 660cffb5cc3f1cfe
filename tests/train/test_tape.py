"""The hand-written step against autograd, which it stands for."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_store, small_settings
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import DecoderShape
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.run.worker import work
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.device import prepare_device
from scalesweep.train.gradient import Execution, gradient_of
from scalesweep.train.loop import Hooks, train
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.optim.adamw import FusedAdamW
from scalesweep.train.optim.groups import group_settings, groups_of
from scalesweep.train.pack import Outcome, Run
from scalesweep.train.tape import Tape, can_record

CPU = prepare_device("cpu")


@pytest.fixture
def float64() -> Iterator[None]:
    """Tensors of that type, in which two ways to one gradient agree to many digits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def decoder(shape: DecoderShape, residual_scale: float = 1.0, seed: int = 0) -> Decoder:
    """Random everywhere, also where training starts at zero or one."""
    model = Decoder(shape, [seed], 10000.0, 1.0, residual_scale)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("attn_out", "down", "head")):
                p.normal_(0.0, 0.2, generator=generator)
            elif "norm" in name:
                p.add_(torch.randn(p.shape, generator=generator), alpha=0.3)
    return model.to(torch.get_default_dtype())


def shape_of(width: int = 16, depth: int = 2, heads: int = 2, ffn: int = 40, context: int = 12, qk_norm: bool = True) -> Any:
    return DecoderShape(width, depth, heads, ffn, vocab_size=37, context=context, qk_norm=qk_norm)


def compare(model: Decoder, sequences: int) -> float:
    """Largest difference of any gradient, as a share of the largest entry of its parameter's; the losses must agree."""
    windows = torch.randint(0, 37, (1, sequences, model.shape.context + 1), generator=torch.Generator().manual_seed(1))
    expected = model.losses(windows).mean()
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    loss = Tape(model, sequences)(windows[0])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    found = {name: p.grad for name, p in model.named_parameters()}
    assert found.keys() == gradients.keys()
    return max(float((found[name] - g).abs().max() / g.abs().max()) for name, g in gradients.items())  # type: ignore[operator]


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    heads=st.integers(1, 4),
    head_dim=st.sampled_from([2, 6, 8, 16]),
    depth=st.integers(1, 3),
    ffn=st.integers(1, 50),
    context=st.integers(2, 40),
    sequences=st.integers(1, 5),
    qk_norm=st.booleans(),
    residual_scale=st.floats(0.1, 2.0),
    seed=st.integers(0, 5),
)
def test_gradients_are_those_of_autograd(
    float64: None,
    heads: int,
    head_dim: int,
    depth: int,
    ffn: int,
    context: int,
    sequences: int,
    qk_norm: bool,
    residual_scale: float,
    seed: int,
) -> None:
    shape = shape_of(heads * head_dim, depth, heads, ffn, context, qk_norm)
    # The loss itself is computed in float32 (eps 6e-8), whose rounding gradients near zero amplify by some tens; a term that is
    # missing or wrong shows at 1e-3 and more.
    assert compare(decoder(shape, residual_scale, seed), sequences) < 1e-5


def test_in_float32_gradients_agree_to_five_digits() -> None:
    assert compare(decoder(shape_of(32, 3, 4, 88, 32)), 8) < 2e-5


@pytest.mark.parametrize("most", [1, 37, 37 * 5, 37 * 36])
def test_the_head_may_go_some_rows_at_a_time(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalesweep.train.tape.LARGEST_LOGITS", most)
    assert compare(decoder(shape_of()), 3) < 2e-5


def test_a_second_batch_finds_nothing_of_the_first() -> None:
    """Buffers are used again; a fresh tape must come to the same bits."""
    model = decoder(shape_of())
    tape, generator = Tape(model, 3), torch.Generator().manual_seed(2)
    first, second = (torch.randint(0, 37, (3, 13), generator=generator) for _ in range(2))
    tape(first)
    loss = tape(second)
    kept = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert torch.equal(loss, Tape(model, 3)(second))
    assert all(torch.equal(kept[name], p.grad) for name, p in model.named_parameters() if p.grad is not None)


def test_losses_that_overflow_are_not_finite_rather_than_wrong() -> None:
    """A run that diverges must be seen to, and one with logits in the hundreds must not."""
    model = decoder(shape_of())
    windows = torch.randint(0, 37, (3, 13))
    with torch.no_grad():
        model.head.mul_(1e3)
    expected = model.losses(windows[None]).mean()
    assert expected > 100
    assert Tape(model, 3)(windows).item() == pytest.approx(expected.item(), rel=1e-5)
    with torch.no_grad():
        model.head.fill_(float("inf"))
    assert not torch.isfinite(Tape(model, 3)(windows))


@pytest.fixture(scope="module")
def cell(home: Any, facts: CorpusFacts) -> Cell:
    sweep = {"name": "fast", "sizes": [{"width": 32, "depth": 2}], "budgets": [128 * 60]}
    return make_plan(small_settings(home, sweep=sweep), facts, "cpu").cells[0]


def outcome(cell: Cell, corpus: Corpus, **execution: Any) -> Outcome:
    tokens = np.array(corpus.train()), np.array(corpus.validation())
    return train([Run(cell)], *tokens, Execution(CPU, curve_points=100, **execution), Hooks())[0]


def test_sixty_steps_have_the_losses_of_autograd(cell: Cell, corpus: Corpus) -> None:
    fast, plain = outcome(cell, corpus), outcome(cell, corpus, fast=False)
    assert cell.steps == 60
    assert [p["loss"] for p in fast.curve] == pytest.approx([p["loss"] for p in plain.curve], rel=1e-4)
    assert [p["grad_norm"] for p in fast.curve] == pytest.approx([p["grad_norm"] for p in plain.curve], rel=1e-2)
    assert fast.loss == pytest.approx(plain.loss, rel=1e-4)
    assert fast.loss != plain.loss  # or they were the same code


@pytest.mark.parametrize("what", ["fast=False", "micro_batch", "z_loss", "bfloat16", "two runs"])
def test_autograd_does_the_rest(cell: Cell, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalesweep.train.gradient.Tape", lambda *_: pytest.fail("a tape was made"))
    execution = Execution(CPU, fast=what != "fast=False", micro_batch=1 if what == "micro_batch" else None)
    changes = {"z_loss": {"z_loss": 1e-4}, "bfloat16": {"precision": "bfloat16"}}.get(what, {})
    cells = [dataclasses.replace(cell, **changes)] * (2 if what == "two runs" else 1)  # type: ignore[arg-type]
    model = Decoder(cell.shape, [0] * len(cells), 10000.0, 1.0)  # type: ignore[arg-type]
    windows = torch.randint(0, 200, (len(cells), cell.batch_sequences, cell.shape.context + 1))
    assert gradient_of(model, cells, execution)(windows).shape == (len(cells),)


def test_long_contexts_take_torch_s_own_attention() -> None:
    model = decoder(shape_of(context=256))
    assert can_record(model, 32)
    assert not can_record(model, 33)
    assert not can_record(model.double(), 1)


def test_the_optimizer_is_torch_s_bit_for_bit(cell: Cell) -> None:
    """The kernel is called without the class around it."""
    ours, theirs = decoder(cell.shape), decoder(cell.shape)  # type: ignore[arg-type]
    optimizer, groups = FusedAdamW(ours, cell), groups_of(theirs)
    settings = group_settings(cell)
    reference = torch.optim.AdamW(
        [
            {
                "params": [p for n, p in theirs.named_parameters() if groups[n] == g],
                "weight_decay": s.weight_decay,
                "eps": s.eps,
            }
            for g, s in settings.items()
        ],
        betas=(cell.beta1, cell.beta2),
        fused=True,
    )
    for step in range(5):
        generator = torch.Generator().manual_seed(step)
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), cell.grad_clip)
        for group, s in zip(reference.param_groups, settings.values(), strict=True):
            group["lr"] = s.peak_lr * 0.7**step
        optimizer.step([0.7**step])
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_train_fast_false_measures_without_it(
    tmp_path: Path, home: Path, corpus: Corpus, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalesweep.train.gradient.Tape", lambda *_: pytest.fail("a tape was made"))
    store = make_store(tmp_path / "sweep", small_settings(home, train={"fast": False}), corpus, facts)
    assert work(store, CPU, lambda: False)
    assert set(store.states().values()) == {"COMPLETE"}
