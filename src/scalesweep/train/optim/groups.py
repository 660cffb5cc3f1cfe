"""Parameter groups: what a parameter is to the recipe, its learning rate, decay and clipping."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from scalesweep.plan.cell import Cell
from scalesweep.train.model.module import Model, ModuleModel

CLIP_EPS = 1e-6
"""Added to the norm before dividing by it, as torch.nn.utils.clip_grad_norm_ has it."""
GroupName = Literal["matrices", "gains", "qk_gains", "table", "head"]
"""Matrices and norms' gains of the layers, gains of queries and keys, embedding with the last norm's gain, head."""

GROUPS: tuple[GroupName, ...] = get_args(GroupName)


@dataclass(frozen=True)
class GroupSettings:
    """What the optimizer does with one group of parameters."""

    peak_lr: float
    weight_decay: float
    eps: float


class Optimizer(Protocol):
    """Steps R runs at once; what the loop needs, whichever kernel does it."""

    def step(self, factors: Sequence[float]) -> Tensor:
        """Clip and use the gradients, drop them, and return their norms before clipping, shape (R,).

        Args:
            factors: share of its peak learning rate that each run takes, R numbers.
        """
        ...

    def moments(self) -> dict[str, tuple[Tensor, ...]]:
        """What is kept of the gradients of each parameter, by name, each tensor with the run axis."""
        ...

    def load(self, run: int, moments: Mapping[str, tuple[Tensor, ...]], step: int) -> None:
        """Restore a run's moments, without a run axis, after `step` steps; all runs have taken equally many."""
        ...


def group_of(name: str) -> GroupName:
    """The group of the parameter called `name` in `Decoder.named_parameters`."""
    if name == "head":
        return "head"
    if name in ("embedding", "norm"):
        return "table"
    if name.endswith("qk_norm"):
        return "qk_gains"
    return "gains" if name.endswith("norm") else "matrices"


def groups_of(model: Model) -> dict[str, GroupName]:
    """The group of every parameter by name.

    Of another model than the decoder the layers' matrices and a head of its own are groups, and all else (tables, a head that
    is tied to one, gains, biases) goes with the embedding.
    """
    if isinstance(model, ModuleModel):
        own: dict[str, GroupName] = {"matrices": "matrices", "head": "head"}
        return {name: own.get(group, "table") for name, group in model.groups.items()}
    return {name: group_of(name) for name, _ in model.named_parameters()}


def group_settings(cell: Cell) -> dict[GroupName, GroupSettings]:
    """The table of `plan.recipe.parametrise`, whose numbers the cell holds.

    Gains have no decay, a convention (nanoGPT), and tables neither, a judgement: rare tokens would fade between their updates.
    """
    return {
        "matrices": GroupSettings(cell.hidden_lr, cell.weight_decay, cell.hidden_eps),
        "gains": GroupSettings(cell.embedding_lr, 0.0, cell.hidden_eps),
        "qk_gains": GroupSettings(cell.embedding_lr, 0.0, cell.qk_norm_eps),
        "table": GroupSettings(cell.embedding_lr, 0.0, cell.embedding_eps),
        "head": GroupSettings(cell.head_lr, cell.head_weight_decay, cell.head_eps),
    }


@torch.no_grad()
def clip_each_gradient(parameters: Sequence[Tensor], max_norms_R: Tensor) -> Tensor:
    """Scale each run's gradient down to its norm in `max_norms_R`; return the norms before, shape (R,)."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms_R = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]).norm(dim=0)
    scale_R = (max_norms_R / (norms_R + CLIP_EPS)).clamp(max=1.0)
    for g in gradients:
        g.mul_(scale_R.view(-1, *[1] * (g.dim() - 1)))
    return norms_R


@torch.no_grad()
def clip_gradients(parameters: Sequence[Tensor], max_norm: float) -> Tensor:
    """Scale one run's gradient down to `max_norm`; return the norm before, shape (1,)."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack(torch._foreach_norm(gradients)).norm().view(1)
    torch._foreach_mul_(gradients, (max_norm / (norms[0] + CLIP_EPS)).clamp(max=1.0))
    return norms
