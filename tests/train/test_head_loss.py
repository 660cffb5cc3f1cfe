"""The loss in parts against the loss at once: values and all gradients."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.settings import Settings
from scalesweep.train import head_loss
from scalesweep.train.device import prepare_device
from scalesweep.train.gradient import Execution, gradient_of
from scalesweep.train.model.decoder import Decoder, Share

CPU = prepare_device("cpu")


@pytest.fixture(scope="module")
def cell(settings: Settings, facts: CorpusFacts) -> Cell:
    return make_plan(settings, facts, "cpu").cells[-1]


@pytest.fixture(autouse=True)
def no_tape() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scalesweep.train.gradient.can_record", lambda *_: False)
        yield


def made(cell: Cell, runs: int) -> Decoder:
    model = Decoder(cell.shape, list(range(runs)), cell.rope_theta, cell.embedding_std)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator), alpha=0.1)
    return model


def gradients(cell: Cell, runs: int, micro_batch: int | None, fast: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model = made(cell, runs)
    generator = torch.Generator().manual_seed(1)
    windows = torch.randint(0, cell.shape.vocab_size, (runs, cell.batch_sequences, cell.shape.context + 1), generator=generator)
    means = gradient_of(model, [cell] * runs, Execution(CPU, micro_batch, fast=fast))(windows)
    return means, [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("micro_batch", [None, 3])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 3e-2)])
def test_in_parts_as_at_once(
    cell: Cell, runs: int, micro_batch: int | None, precision: str, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = dataclasses.replace(cell, precision=precision)  # type: ignore[arg-type]
    monkeypatch.setattr(head_loss, "PART_LOGITS", 7 * runs * cell.shape.vocab_size)  # 7 positions, and fewer at the end
    plain, expected = gradients(cell, runs, micro_batch, fast=False)
    parts, found = gradients(cell, runs, micro_batch, fast=True)
    assert torch.allclose(parts, plain, rtol=1e-5 if precision == "float32" else 1e-2)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert (a - b).norm() <= tolerance * b.norm()


@pytest.mark.filterwarnings("ignore")  # of the compiler's own parts
def test_what_is_compiled_has_the_same_losses_and_derivatives() -> None:
    logits, targets = torch.randn(2, 5, 11), torch.randint(0, 11, (2, 5, 1))
    plain, compiled = Share(), Share()
    compiled.compile(backend="eager")
    losses, share = plain(logits.clone(), targets, torch.tensor(7.0))
    found, found_share = compiled(logits.clone(), targets, torch.tensor(7.0))
    torch.testing.assert_close(found, losses, rtol=1e-5, atol=0.0)
    torch.testing.assert_close(found_share, share, rtol=1e-5, atol=1e-7)


def test_never_more_logits_than_a_part(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_loss, "PART_LOGITS", 7 * cell.shape.vocab_size)
    seen: list[int] = []
    product = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda a, b: seen.append(product(a, b).shape[1]) or product(a, b))
    gradients(cell, 1, None, fast=True)
    positions = seen[::3]  # the first of a part's three products has its logits
    assert max(positions) == 7
    assert sum(positions) == cell.batch_sequences * cell.shape.context


def test_a_small_vocabulary_is_taken_at_once(cell: Cell) -> None:
    model = made(cell, 1)
    assert not head_loss.has_many_logits(model, torch.zeros(1, cell.batch_sequences, cell.shape.context + 1))
    assert head_loss.has_many_logits(model, torch.zeros(1, 2**20, 2**5))
