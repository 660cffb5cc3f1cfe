"""Muon against the published iteration, a plain reference and torch; packs, resumption, transfer rules, and the z-loss."""

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import FACTS, PACK_TOLERANCE, TOKENS, cell_of, run_alone, run_pack, small_settings, untimed
from torch import Tensor

from scalesweep.analysis.tuning.transfer import CoordinateCheck
from scalesweep.errors import SpecError
from scalesweep.plan.cell import Cell, pack_signature
from scalesweep.plan.flops import NEWTON_SCHULZ_STEPS
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.base import parse
from scalesweep.settings.settings import Settings
from scalesweep.settings.train import OptimSpec
from scalesweep.train.coordinates import coordinates
from scalesweep.train.data import batch
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.gradient import accumulate_gradient, z_weights
from scalesweep.train.loop import Hooks, Interrupted
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.optim import make_optimizer
from scalesweep.train.optim.groups import group_of, group_settings
from scalesweep.train.optim.muon import COEFFICIENTS, orthogonalise, update_scale
from scalesweep.train.pack import Checkpoint, Run

MUON = {"name": "muon", "momentum": 0.95, "lr_ratio": 1.0}


@pytest.fixture(scope="module")
def cell(settings: Settings, facts: CorpusFacts) -> Cell:
    muon = settings.model_copy(update={"optim": OptimSpec(**{**settings.optim.model_dump(), **MUON})})
    return make_plan(muon, facts, "cpu").cells[-1]


def muon_cell(parametrisation: str = "completep", width: int = 64, depth: int = 2, **optim: Any) -> Cell:
    settings = small_settings(
        Path("."),
        sweep={"name": "x", "sizes": [{"width": width, "depth": depth}], "budgets": ["16k"]},
        recipe={"parametrisation": parametrisation, "head_dim": 16, "base_depth": 2, "lr": 0.006, "embedding_lr_ratio": 4.0},
        optim={**MUON, **optim},
    )
    return make_plan(settings, FACTS, "cpu").cells[0]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# -- Newton-Schulz ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(24, 24), (8, 40), (40, 8), (1, 5)])
def test_orthogonalising_maps_singular_values_by_the_quintic_and_keeps_the_vectors(shape: tuple[int, int]) -> None:
    matrix = draw(*shape, dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    s = s / torch.linalg.vector_norm(s)
    for _ in range(NEWTON_SCHULZ_STEPS):
        s = sum(c * s**p for c, p in zip(COEFFICIENTS, (1, 3, 5), strict=True))  # type: ignore[assignment]
    torch.testing.assert_close(orthogonalise(matrix), u * s @ vh, rtol=1e-9, atol=1e-9)


def test_singular_values_come_out_in_the_published_band() -> None:
    """Those above 0.003 of the Frobenius norm end between 0.68 and 1.21; none, however small, is ever pushed above."""
    spectrum = torch.logspace(-6, 0, 64, dtype=torch.float64)
    basis = [torch.linalg.qr(draw(64, 64, seed=s, dtype=torch.float64))[0] for s in (1, 2)]
    values = torch.linalg.svdvals(orthogonalise(basis[0] * spectrum @ basis[1].mT))
    large = int((spectrum / torch.linalg.vector_norm(spectrum) > 0.003).sum())
    assert 20 < large < 40
    assert 0.68 < values[large - 1] and values[0] < 1.21


def test_a_batch_is_what_its_matrices_are_one_by_one() -> None:
    batched = draw(3, 4, 10, 6)
    together = orthogonalise(batched)
    for i, j in np.ndindex(3, 4):
        torch.testing.assert_close(together[i, j], orthogonalise(batched[i, j]))


def test_no_gradient_no_update() -> None:
    assert torch.equal(orthogonalise(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


# -- the step ---------------------------------------------------------------------------------------------------------------


def random_pack(cell: Cell, num: int = 3) -> list[Cell]:
    rng = np.random.default_rng(0)
    return [
        dataclasses.replace(
            cell,
            seed=i,
            hidden_lr=float(rng.uniform(0.003, 0.02)),
            head_lr=float(rng.uniform(0.003, 0.02)),
            embedding_lr=float(rng.uniform(0.003, 0.02)),
            momentum=float(rng.uniform(0.8, 0.95)),
            beta1=float(rng.uniform(0.8, 0.95)),
            weight_decay=float(rng.uniform(0, 1)),
            head_weight_decay=float(rng.uniform(0, 1)),
            grad_clip=float(rng.choice([0.1, 1.0])),
        )
        for i in range(num)
    ]


def pieces(name: str, matrix: Tensor) -> list[Tensor]:
    """The matrices that a parameter of the decoder holds."""
    return list(matrix.chunk({"qkv": 3, "gate_up": 2}.get(name.rsplit(".", 1)[-1], 1)))


class Reference:
    """One run in float64: loops over matrices, and torch's AdamW for the rest."""

    def __init__(self, model: Decoder, cell: Cell, factor: float) -> None:
        self.cell, self.factor = cell, factor
        self.named = {name: p for name, p in model.named_parameters()}
        self.momentum = {name: torch.zeros_like(p[0]) for name, p in self.named.items() if group_of(name) == "matrices"}
        groups = [
            {"params": [p], "lr": factor * s.peak_lr, "weight_decay": s.weight_decay, "eps": s.eps}
            for name, p in self.named.items()
            if name not in self.momentum
            for s in [group_settings(cell)[group_of(name)]]
        ]
        self.adamw = torch.optim.AdamW(groups, betas=(cell.beta1, cell.beta2))

    @torch.no_grad()
    def step(self) -> Tensor:
        c, lr = self.cell, self.factor * self.cell.hidden_lr
        norm = torch.nn.utils.clip_grad_norm_(self.named.values(), c.grad_clip)
        self.adamw.step()
        for name, buffer in self.momentum.items():
            (gradient,), (weight,) = self.named[name].grad, self.named[name]  # type: ignore[misc]
            buffer.mul_(c.momentum).add_((1 - c.momentum) * gradient)
            nesterov = (1 - c.momentum) * gradient + c.momentum * buffer
            for w, n in zip(pieces(name, weight), pieces(name, nesterov), strict=True):
                w.mul_(1 - lr * c.weight_decay).sub_(lr * update_scale(*w.shape) * orthogonalise(n))
        return norm


@pytest.mark.parametrize("num", [1, 3])
def test_steps_are_those_of_a_plain_reference(cell: Cell, num: int) -> None:
    base = dataclasses.replace(cell, shape=dataclasses.replace(cell.shape, depth=2))
    cells = random_pack(base, num)
    stacked = Decoder(base.shape, [c.seed for c in cells], 1e4, 1.0)
    optimizer = make_optimizer(stacked, cells)
    singles = [Decoder(base.shape, [c.seed], 1e4, 1.0).double() for c in cells]
    references = [Reference(model, c, 0.5) for model, c in zip(singles, cells, strict=True)]
    for step in range(4):
        for i, (name, p) in enumerate(stacked.named_parameters()):
            p.grad = draw(*p.shape, seed=100 * step + i)
            for j, model in enumerate(singles):
                model.get_parameter(name).grad = p.grad[j : j + 1].double()
        expected = torch.stack([reference.step() for reference in references])
        torch.testing.assert_close(optimizer.step([0.5] * num), expected.float(), rtol=1e-5, atol=0)
        assert all(p.grad is None for p in stacked.parameters())
    for i, model in enumerate(singles):
        for name, p in model.named_parameters():
            torch.testing.assert_close(stacked.get_parameter(name)[i], p[0].float(), rtol=1e-3, atol=1e-5, msg=name)


def test_one_run_is_torch_s_muon_within_the_precision_of_its_products(cell: Cell) -> None:
    """torch.optim.Muon computes its products in bfloat16, whatever the type of the weights."""
    cell = dataclasses.replace(cell, grad_clip=1e30, weight_decay=0.3)
    model = Decoder(cell.shape, [0], 1e4, 1.0)
    matrices = [name for name, _ in model.named_parameters() if group_of(name) == "matrices"]
    before = {name: model.get_parameter(name).detach().clone() for name in matrices}
    theirs = {n: [torch.nn.Parameter(m.clone()) for m in pieces(n, w[0])] for n, w in before.items()}
    groups = []
    for m in (m for ms in theirs.values() for m in ms):  # its own factor is sqrt(max(1, rows / cols))
        factor = update_scale(*m.shape) / math.sqrt(max(1, m.shape[0] / m.shape[1]))
        groups.append({"params": [m], "lr": cell.hidden_lr * factor, "weight_decay": cell.weight_decay / factor})
    muon = torch.optim.Muon(groups, momentum=cell.momentum)
    ours = make_optimizer(model, [cell])
    for step in range(3):
        for i, (name, p) in enumerate(model.named_parameters()):
            p.grad = draw(*p.shape, seed=50 * step + i)
            for m, g in zip(theirs.get(name, []), pieces(name, p.grad[0]), strict=False):
                m.grad = g.clone()
        muon.step()
        ours.step([1.0])
    for name, ms in theirs.items():
        moved, expected = model.get_parameter(name)[0] - before[name][0], torch.cat(list(ms)) - before[name][0]
        assert torch.linalg.norm(moved - expected) < 0.02 * torch.linalg.norm(expected), name


@pytest.mark.parametrize("num", [1, 2])
def test_every_parameter_has_one_rule(cell: Cell, num: int) -> None:
    model = Decoder(cell.shape, list(range(num)), 1e4, 1.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, [dataclasses.replace(cell, seed=i) for i in range(num)])
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step([1.0] * num)
    moments = optimizer.moments()
    assert set(moments) == set(before)
    muon = {name.rsplit(".", 1)[-1] for name, kept in moments.items() if len(kept) == 1}
    assert muon == {"qkv", "attn_out", "gate_up", "down"}
    for name, p in model.named_parameters():
        assert all(m.shape == p.shape for m in moments[name]), name
        assert not torch.equal(p, before[name]), name


def test_the_size_of_an_update() -> None:
    """Entries of a square one have root mean square 0.2; spectral norms of one width are as sqrt(rows / cols)."""
    rms = update_scale(32, 32) * orthogonalise(draw(32, 32)).square().mean().sqrt()
    assert rms == pytest.approx(0.2, rel=0.25)
    for rows, cols in ((80, 32), (32, 80)):
        assert update_scale(rows, cols) == pytest.approx(update_scale(32, 32) * math.sqrt(rows / cols))


# -- in the loop ------------------------------------------------------------------------------------------------------------


def test_muon_learns(cell: Cell, corpus: Corpus) -> None:
    assert run_alone(cell, corpus).loss < math.log(cell.shape.vocab_size) - 1


@pytest.mark.parametrize("stop_after", [1, 17])
def test_stop_and_resume_equal_a_straight_run(cell: Cell, corpus: Corpus, tmp_path: Path, stop_after: int) -> None:
    path, calls = tmp_path / "checkpoint.pt", iter(range(10**6))
    with pytest.raises(Interrupted):
        run_alone(cell, corpus, path, lambda: next(calls) >= stop_after - 1)
    assert untimed(run_alone(cell, corpus, path)) == untimed(run_alone(cell, corpus))


def test_a_pack_measures_what_its_runs_measure_alone(cell: Cell, corpus: Corpus) -> None:
    cells = random_pack(dataclasses.replace(cell, steps=20, warmup_steps=2, decay_steps=4))
    assert len({pack_signature(c) for c in cells}) == 1
    for c, together in zip(cells, run_pack(cells, corpus), strict=True):
        alone = run_alone(c, corpus)
        assert together.loss == pytest.approx(alone.loss, abs=PACK_TOLERANCE)
        assert [p["grad_norm"] for p in together.curve] == pytest.approx([p["grad_norm"] for p in alone.curve], rel=1e-2)


def test_a_resumed_pack_equals_one_that_was_never_stopped(cell: Cell, corpus: Corpus) -> None:
    cells = random_pack(dataclasses.replace(cell, steps=20, warmup_steps=2, decay_steps=4))
    states: dict[int, Checkpoint] = {}
    calls = iter(range(99))
    with pytest.raises(Interrupted):
        run_pack(cells, corpus, Hooks(on_checkpoint=states.__setitem__, should_stop=lambda: next(calls) >= 10))
    resumed = run_pack([Run(c, states[i]) for i, c in enumerate(cells)], corpus)
    assert [untimed(o) for o in resumed] == [untimed(o) for o in run_pack(cells, corpus)]


def test_a_diverging_run_does_not_touch_its_neighbours(cell: Cell, corpus: Corpus) -> None:
    cell = dataclasses.replace(cell, steps=20, warmup_steps=2, decay_steps=4)
    bad = dataclasses.replace(cell, hidden_lr=1e30, embedding_lr=1e30)
    others = [dataclasses.replace(cell, seed=s) for s in (1, 2)]
    with_it, without = (run_pack([others[0], middle, others[1]], corpus) for middle in (bad, cell))
    assert with_it[1].state == "DIVERGED"
    assert [untimed(with_it[i]) for i in (0, 2)] == [untimed(without[i]) for i in (0, 2)]


def test_another_optimizer_is_another_cell_and_another_pack(cell: Cell) -> None:
    other = dataclasses.replace(cell, optimizer="adamw", momentum=0.0)
    assert other.key != cell.key
    assert pack_signature(other) != pack_signature(cell)
    assert dataclasses.replace(cell, momentum=0.9).key != cell.key
    assert dataclasses.replace(cell, z_loss=1e-4).key != cell.key


# -- transfer ---------------------------------------------------------------------------------------------------------------


def test_at_the_base_model_all_parametrisations_are_one_cell() -> None:
    assert len({muon_cell(name).key for name in ("completep", "mup", "sp")}) == 1


def test_muon_s_rate_falls_with_the_root_of_the_width_and_all_else_is_adamw_s() -> None:
    base, wide = muon_cell(lr_ratio=2.0), muon_cell(width=256, lr_ratio=2.0)
    assert (base.hidden_lr, base.momentum) == (0.012, 0.95)
    assert wide.hidden_lr == base.hidden_lr / 2
    assert wide.hidden_lr * wide.weight_decay == base.hidden_lr * base.weight_decay
    adamw = cell_of("completep", width=256)
    same = ("head_lr", "head_weight_decay", "embedding_lr", "head_eps", "embedding_eps", "qk_norm_eps", "residual_scale")
    assert [getattr(wide, name) for name in same] == [getattr(adamw, name) for name in same]
    assert (adamw.head_lr, adamw.head_weight_decay) == (adamw.hidden_lr, adamw.weight_decay)
    assert muon_cell(depth=8).hidden_lr == muon_cell().hidden_lr
    assert muon_cell("sp", width=256).hidden_lr == muon_cell().hidden_lr


def test_the_spectral_norm_of_an_update_is_the_same_at_every_width() -> None:
    found = []
    for width in (64, 256):
        matrix = draw(width, width)
        update = muon_cell(width=width).hidden_lr * update_scale(width, width) * orthogonalise(matrix)
        found.append(torch.linalg.matrix_norm(update, 2).item())
    assert found[0] == pytest.approx(found[1], rel=0.1)


def test_over_width_activations_keep_their_size_and_at_one_rate_they_do_not() -> None:
    widths = (64, 256)

    def check(parametrisation: str) -> CoordinateCheck:
        rows = [coordinates(muon_cell(parametrisation, width), TOKENS, 10) for width in widths]
        return CoordinateCheck("width", widths, {place: np.array([row[place] for row in rows]) for place in rows[0]})

    assert check("completep").holds
    assert not check("sp").holds


# -- z-loss -----------------------------------------------------------------------------------------------------------------


def gradients(cell: Cell, seeds: list[int], weights: list[float]) -> tuple[Decoder, Tensor, Tensor, Tensor]:
    """Model, windows, and after a backward pass the losses and the gradient of the head."""
    model = Decoder(cell.shape, seeds, 1e4, 1.0)
    model.head.data = draw(*model.head.shape, seed=9)
    windows = torch.from_numpy(batch(TOKENS, seed=0, step=0, sequences=4, context=cell.shape.context))
    windows = windows.expand(len(seeds), -1, -1)
    z_weights_R1 = z_weights(weights, torch.device("cpu"))
    losses = accumulate_gradient(model, windows, 2, contextlib.nullcontext, z_weights_R1)
    assert model.head.grad is not None
    return model, windows, losses, model.head.grad


def test_the_gradient_of_the_z_loss_is_its_closed_form() -> None:
    """d mean(log(Z)^2) / d head = mean(2 log(Z) p h^T), with p the softmax and h what the head is multiplied with."""
    cell, weight = muon_cell(), 0.3
    model, windows, losses, with_z = gradients(cell, [0], [weight])
    _, _, plain_losses, plain = gradients(cell, [0], [0.0])
    assert torch.equal(losses, plain_losses)  # the recorded loss is the cross-entropy alone
    with torch.no_grad():
        logits = model(windows[..., :-1])
        model.head.data = torch.eye(cell.shape.vocab_size)[None, :, : cell.shape.width]
        hidden = model(windows[..., :-1])[..., : cell.shape.width]
    factors = 2 * weight * logits.logsumexp(-1, keepdim=True) * logits.softmax(-1)
    expected = torch.einsum("rbtv,rbtd->rvd", factors, hidden) / windows[..., :-1].numel()
    torch.testing.assert_close(with_z - plain, expected, rtol=1e-3, atol=1e-5)


def test_the_z_loss_of_a_neighbour_changes_no_bit() -> None:
    alone = gradients(muon_cell(), [0, 1], [0.0, 0.0])
    beside = gradients(muon_cell(), [0, 1], [0.0, 0.5])
    assert torch.equal(alone[3][0], beside[3][0])
    assert not torch.equal(alone[3][1], beside[3][1])


def test_a_z_loss_draws_log_z_to_zero(cell: Cell, corpus: Corpus) -> None:
    def log_z(weight: float) -> float:
        c = dataclasses.replace(cell, z_loss=weight)
        states: list[Checkpoint] = []
        calls = iter(range(99))
        hooks = Hooks(on_checkpoint=lambda _, s: states.append(s), should_stop=lambda: next(calls) >= 60)
        with pytest.raises(Interrupted):
            run_pack([c], corpus, hooks)
        model = Decoder(c.shape, [0], c.rope_theta, c.embedding_std, c.residual_scale)
        for name, p in model.named_parameters():
            p.data.copy_(states[0].model[name][None])
        tokens = torch.from_numpy(batch(corpus.train(), seed=0, step=0, sequences=4, context=32))[None]
        with torch.no_grad():
            return model(tokens[..., :-1]).logsumexp(-1).square().mean().item()

    assert log_z(1.0) < 0.5 * log_z(0.0)


# -- settings ---------------------------------------------------------------------------------------------------------------

ADAMW = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "grad_clip": 1.0}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": "muon", "lr_ratio": 1.0}, "optim=muon needs momentum, such as momentum=0.95"),
        ({"name": "muon", "momentum": 0.9}, "optim=muon needs lr_ratio, such as lr_ratio=1"),
        ({"momentum": 0.9}, "momentum=0.9 is a setting of optim=muon alone"),
        ({"name": "muom"}, "'muom': must be 'adamw', 'muon' or 'custom'"),
        ({**MUON, "momentum": 1.0}, "momentum = 1: must be less than 1"),
        ({**MUON, "lr_ratio": 0}, "lr_ratio = 0: must be greater than 0"),
        ({"z_loss": -1e-4}, "z_loss = -0.0001: must be greater than or equal to 0"),
    ],
)
def test_bad_settings_are_named(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as error:
        parse(OptimSpec, {**ADAMW, **values})
    assert sentence in str(error.value)
