"""CompleteP, muP and the standard parametrisation: what they are equal in, and what tells them apart."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import FACTS, TOKENS, cell_of, small_settings

from scalesweep.analysis.tuning.transfer import CoordinateCheck
from scalesweep.plan.cell import Cell
from scalesweep.plan.plan import make_plan
from scalesweep.train.coordinates import coordinates
from scalesweep.train.data import batch
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, train
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.optim import make_optimizer
from scalesweep.train.optim.groups import group_of, group_settings
from scalesweep.train.pack import Run

torch.set_num_threads(1)  # as the worker does: small products wait for one another on more
PARAMETRISATIONS = ("completep", "mup", "sp")


def test_at_the_base_model_all_are_one_cell() -> None:
    assert len({cell_of(name).key for name in PARAMETRISATIONS}) == 1


def test_the_base_model_is_bit_identical_to_one_without_multipliers() -> None:
    """Five steps of the base model against a plain AdamW whose settings are those of optim and recipe themselves."""
    cell = dataclasses.replace(cell_of("completep"), grad_clip=1e30)
    plain = Decoder(cell.shape, [0], cell.rope_theta, cell.embedding_std)
    scaled = Decoder(cell.shape, [0], cell.rope_theta, cell.embedding_std, cell.residual_scale)
    tables = [p for name, p in plain.named_parameters() if name == "embedding" or name.endswith("norm")]
    matrices = [p for name, p in plain.named_parameters() if not (name == "embedding" or name.endswith("norm"))]
    groups = [{"params": matrices, "lr": 0.006, "weight_decay": 0.1}, {"params": tables, "lr": 0.024, "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8, fused=True)
    ours = make_optimizer(scaled, [cell])
    for step in range(5):
        windows = torch.from_numpy(batch(TOKENS, seed=0, step=step, sequences=4, context=32))[None]
        for model in (plain, scaled):
            model.losses(windows).mean().backward()
        theirs.step()
        theirs.zero_grad()
        ours.step([1.0])
    for (name, a), b in zip(plain.named_parameters(), scaled.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_width_rules() -> None:
    base, wide, standard = cell_of("completep"), cell_of("completep", width=256), cell_of("sp", width=256)
    assert wide.hidden_lr == base.hidden_lr / 4
    assert wide.hidden_lr * wide.weight_decay == base.hidden_lr * base.weight_decay
    assert wide.embedding_lr == base.embedding_lr
    assert (wide.hidden_eps, wide.embedding_eps) == (base.hidden_eps / 4, base.embedding_eps / 4)
    assert (wide.head_eps, wide.qk_norm_eps, wide.residual_scale) == (base.head_eps, base.qk_norm_eps, 1.0)
    assert dataclasses.replace(standard, shape=base.shape) == base


def test_depth_rules() -> None:
    base, deep = cell_of("completep"), cell_of("completep", depth=8)
    assert deep.residual_scale == 1 / 4
    assert (deep.hidden_eps, deep.qk_norm_eps) == (base.hidden_eps / 4, base.qk_norm_eps / 4)
    same = ("hidden_lr", "embedding_lr", "weight_decay", "head_eps", "embedding_eps")
    assert all(getattr(deep, name) == getattr(base, name) for name in same)
    for name in ("mup", "sp"):
        assert dataclasses.replace(cell_of(name, depth=8), shape=base.shape) == base


@pytest.mark.parametrize("qk_norm", [True, False])
def test_every_parameter_is_in_one_group(qk_norm: bool) -> None:
    cell = cell_of("completep", depth=3)
    shape = dataclasses.replace(cell.shape, qk_norm=qk_norm)
    model = Decoder(shape, [0], cell.rope_theta, cell.embedding_std)
    found = {name: group_of(name) for name, _ in model.named_parameters()}
    assert set(found.values()) == set(group_settings(cell)) - (set() if qk_norm else {"qk_gains"})
    decayed = {name.rsplit(".", 1)[-1] for name, group in found.items() if group_settings(cell)[group].weight_decay > 0}
    assert decayed == {"head", "qkv", "attn_out", "gate_up", "down"}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, [cell])
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step([1.0])
    assert set(optimizer.moments()) == set(found)
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_heads_keep_their_width_over_a_ladder() -> None:
    settings = small_settings(Path("."), sweep={"name": "x", "sizes": "20k..900k:6", "budgets": ["16k"]})
    shapes = [cell.shape for cell in make_plan(settings, FACTS, "cpu").cells]
    assert len({shape.width for shape in shapes}) == 6
    assert {shape.head_dim for shape in shapes} == {settings.recipe.head_dim}


def test_training_obeys_the_residual_scale() -> None:
    """One layer whose branch has factor s moves the stream by s at first: with s = 0 it does not move at all."""
    cell = dataclasses.replace(cell_of("completep", width=16), steps=12, warmup_steps=1, decay_steps=2, validation_tokens=64)
    execution = Execution(torch.device("cpu"))

    def loss(scale: float) -> float:
        changed = dataclasses.replace(cell, residual_scale=scale)
        return train([Run(changed)], TOKENS, TOKENS, execution, Hooks())[0].loss

    assert len({loss(scale) for scale in (0.0, 0.5, 1.0)}) == 3


def gradients(cell: Cell, steps: int) -> dict[str, float]:
    """Root mean square of each group's gradient after some steps at the peak learning rates."""
    model = Decoder(cell.shape, [cell.seed], cell.rope_theta, cell.embedding_std, cell.residual_scale)
    optimizer = make_optimizer(model, [dataclasses.replace(cell, grad_clip=1e30)])
    for step in range(steps + 1):
        windows = batch(TOKENS, seed=cell.seed, step=step, sequences=16, context=32)
        model.losses(torch.from_numpy(windows)[None]).mean().backward()
        if step < steps:
            optimizer.step([0.25])
    squares: dict[str, list[torch.Tensor]] = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        squares.setdefault(group_of(name), []).append(parameter.grad.flatten().double() ** 2)
    return {group: torch.cat(parts).mean().sqrt().item() for group, parts in squares.items()}


@pytest.mark.parametrize("shapes", [((64, 2), (256, 2)), ((64, 2), (64, 8))], ids=["width", "depth"])
def test_epsilon_scales_as_the_gradient_does(shapes: tuple[tuple[int, int], ...]) -> None:
    """What Adam adds to the root of the second moment must shrink as that root does, group by group."""
    cells = [cell_of("completep", width, depth) for width, depth in shapes]
    small, large = (gradients(cell, 6) for cell in cells)
    for group in small:
        eps = [group_settings(cell)[group].eps for cell in cells]  # type: ignore[index]
        assert large[group] / small[group] == pytest.approx(eps[1] / eps[0], rel=0.5), group


def check(name: str, axis: str, sizes: tuple[int, ...], seeds: int = 2) -> CoordinateCheck:
    """The coordinate check at the base learning rate, without warm-up."""
    found: dict[str, list[Any]] = {}
    for size, seed in itertools.product(sizes, range(seeds)):
        seen = coordinates(cell_of(name, seed=seed, **{axis: size}), TOKENS, 10)
        last = next(reversed([place for place in seen if place != "logits"]))
        for place, values in (seen if axis == "width" else {"last": seen[last], "logits": seen["logits"]}).items():
            found.setdefault(place, []).append(values)
    return CoordinateCheck(axis, sizes, {k: np.reshape(v, (len(sizes), seeds, -1)).mean(1) for k, v in found.items()})


def test_over_width_completep_keeps_activations_and_the_standard_does_not() -> None:
    widths = (64, 128, 256, 512)
    assert check("completep", "width", widths).holds
    standard = check("sp", "width", widths)
    assert not standard.holds
    assert standard.worst("layer 2") > 0.05


def test_over_depth_completep_keeps_activations_and_mup_does_not() -> None:
    depths = (2, 4, 8, 16)
    assert check("completep", "depth", depths).holds
    assert check("mup", "depth", depths).worst("last") > 0.05


@pytest.mark.slow
def test_over_a_wider_range_too() -> None:
    widths = (64, 128, 256, 512, 1024)
    assert check("completep", "width", widths, seeds=3).holds
    assert not check("sp", "width", widths, seeds=3).holds
