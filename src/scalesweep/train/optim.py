"""AdamW with the learning rates of the cell, and gradient clipping for each run apart."""

from collections.abc import Sequence

import torch
from torch import Tensor

from scalesweep.model.decoder import Decoder
from scalesweep.plan import Cell


def make_optimizer(model: Decoder, cell: Cell) -> torch.optim.AdamW:
    """AdamW with two groups: matrices (weight decay, learning rate by width), and embedding with norms (neither).

    Each group's peak learning rate is kept in `peak_lr`; `set_lr` scales it.
    """
    table = [p for name, p in model.named_parameters() if _is_table_or_gain(name)]
    matrices = [p for name, p in model.named_parameters() if not _is_table_or_gain(name)]
    groups = [
        {"params": matrices, "peak_lr": cell.hidden_lr, "weight_decay": cell.weight_decay},
        {"params": table, "peak_lr": cell.embedding_lr, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(cell.beta1, cell.beta2), eps=cell.eps, fused=True)


def _is_table_or_gain(name: str) -> bool:
    return name == "embedding" or name.endswith("norm")


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group to `factor` times its peak learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak_lr"]


@torch.no_grad()
def clip_gradients(parameters: Sequence[Tensor], max_norm: float) -> Tensor:
    """Scale each run's gradient down to `max_norm`; return the norms before, shape (R,)."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    runs = gradients[0].shape[0]
    if runs == 1:
        norms = torch.stack(torch._foreach_norm(gradients)).norm().view(1)
        torch._foreach_mul_(gradients, (max_norm / (norms[0] + 1e-6)).clamp(max=1.0))
        return norms
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
    scale = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    for g in gradients:
        g.mul_(scale.view(runs, *[1] * (g.dim() - 1)))
    return norms
