import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from scalesweep.config import Settings
from scalesweep.data import Corpus, batch
from scalesweep.model.decoder import Decoder
from scalesweep.plan import Cell, CorpusFacts, make_plan
from scalesweep.train.checkpoint import load_checkpoint
from scalesweep.train.loop import Execution, Interrupted, Outcome, accumulate_gradient, train
from scalesweep.train.optim import clip_gradients
from scalesweep.train.schedule import curve_steps, lr_factor


@pytest.fixture(scope="module")
def cell(settings: Settings, facts: CorpusFacts) -> Cell:
    return make_plan(settings, facts, "cpu").cells[-1]


def run(
    cell: Cell,
    corpus: Corpus,
    checkpoint: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    micro_batch: int | None = None,
    seconds: float = 1e9,
) -> Outcome:
    execution = Execution(torch.device("cpu"), micro_batch, 10, checkpoint, seconds)
    return train(cell, np.array(corpus.train()), np.array(corpus.validation()), execution, lambda _: None, should_stop)


def measured(outcome: Outcome) -> Outcome:
    """All but the time."""
    return dataclasses.replace(outcome, seconds=0.0)


def test_the_loss_falls_below_that_of_a_uniform_guess(cell: Cell, corpus: Corpus) -> None:
    outcome = run(cell, corpus)
    assert outcome.state == "COMPLETE"
    assert outcome.loss < math.log(cell.shape.vocab_size) - 1
    assert 0 < outcome.loss_se < 0.5
    assert outcome.curve[-1]["tokens"] == cell.tokens


def test_the_same_cell_gives_the_same_bits(cell: Cell, corpus: Corpus) -> None:
    assert measured(run(cell, corpus)) == measured(run(cell, corpus))


@pytest.mark.parametrize("stop_after", [1, 13, 31])
def test_stop_and_resume_equal_a_straight_run(cell: Cell, corpus: Corpus, tmp_path: Path, stop_after: int) -> None:
    path = tmp_path / "checkpoint.pt"
    calls = iter(range(10**6))
    with pytest.raises(Interrupted):
        run(cell, corpus, path, lambda: next(calls) >= stop_after - 1)
    stopped = load_checkpoint(path, cell.key)
    assert stopped is not None
    assert stopped.step == stop_after
    assert measured(run(cell, corpus, path)) == measured(run(cell, corpus))


def test_writing_checkpoints_does_not_change_the_run(cell: Cell, corpus: Corpus, tmp_path: Path) -> None:
    assert measured(run(cell, corpus, tmp_path / "c.pt", seconds=0.0)) == measured(run(cell, corpus))


def test_a_torn_checkpoint_is_set_aside(cell: Cell, corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    run(cell, corpus, path, seconds=0.0)
    path.write_bytes(path.read_bytes()[:1000])
    assert measured(run(cell, corpus, path)) == measured(run(cell, corpus))
    assert path.with_suffix(".corrupt").exists()


def test_a_checkpoint_of_another_cell_is_not_used(cell: Cell, corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    run(dataclasses.replace(cell, seed=7), corpus, path, seconds=0.0)
    assert measured(run(cell, corpus, path)) == measured(run(cell, corpus))


def test_micro_batches_give_the_batch_s_gradient(cell: Cell, corpus: Corpus) -> None:
    windows = torch.from_numpy(batch(corpus.train(), seed=0, step=0, sequences=4, context=32))[None]
    gradients = []
    for micro_batch in (None, 1, 3):
        model = Decoder(cell.shape, [0], 1e4, 1.0)
        torch.nn.init.normal_(model.head, std=0.1, generator=torch.Generator().manual_seed(0))
        loss = accumulate_gradient(model, windows, micro_batch, contextlib.nullcontext)
        gradients.append([p.grad for p in model.parameters()])
        assert loss.item() == pytest.approx(model.losses(windows).mean().item(), rel=1e-5)
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-4, atol=1e-6)


def test_seeds_differ_in_initialisation_and_order(cell: Cell, corpus: Corpus) -> None:
    assert run(dataclasses.replace(cell, seed=1), corpus).loss != run(cell, corpus).loss


def test_divergence_is_a_result_with_the_last_finite_loss(cell: Cell, corpus: Corpus) -> None:
    outcome = run(dataclasses.replace(cell, hidden_lr=1e30, embedding_lr=1e30), corpus)
    assert outcome.state == "DIVERGED"
    assert math.isnan(outcome.loss)
    assert math.isfinite(outcome.last_finite_loss)


@pytest.mark.parametrize("schedule", ["wsd", "cosine"])
def test_schedules(cell: Cell, schedule: str) -> None:
    decay = 20 if schedule == "wsd" else 90
    c = dataclasses.replace(cell, steps=100, warmup_steps=10, schedule=schedule, decay_steps=decay)
    factors = [lr_factor(s, c) for s in range(100)]
    assert factors[:10] == pytest.approx([(s + 1) / 11 for s in range(10)])
    assert max(factors) == factors[100 - decay] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))
    assert 0 < factors[-1] < 0.06
    if schedule == "wsd":
        assert factors[10:80] == [1.0] * 70
        assert factors[85] == pytest.approx(1 - math.sqrt(5 / 20))
    else:
        assert factors[55] == pytest.approx(0.5)


def test_curve_points_are_log_spaced_and_end_at_the_end() -> None:
    assert curve_steps(1000, 4) == [1, 10, 100, 1000]
    assert curve_steps(3, 50) == [1, 2, 3]
    assert curve_steps(1, 10) == [1]


def test_clipping_is_for_each_run_apart() -> None:
    parameters = [torch.zeros(2, 3), torch.zeros(2, 4, 5)]
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
        p.grad[1] *= 1e-3
    before = [p.grad.clone() for p in parameters]  # type: ignore[union-attr]
    norms = clip_gradients(parameters, 1.0)
    expected = torch.stack([torch.cat([g[r].flatten() for g in before]).norm() for r in range(2)])
    torch.testing.assert_close(norms, expected)
    for p, g in zip(parameters, before, strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.grad[0], g[0] / norms[0], rtol=1e-4, atol=1e-6)
        assert torch.equal(p.grad[1], g[1])


def test_one_run_clips_like_torch() -> None:
    ours, theirs = [torch.zeros(1, 7)], [torch.zeros(1, 7)]
    ours[0].grad = torch.arange(7.0).view(1, 7)
    theirs[0].grad = ours[0].grad.clone()
    norm = clip_gradients(ours, 1.0)
    assert norm[0] == torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    torch.testing.assert_close(ours[0].grad, theirs[0].grad)
