"""The gradient of a batch: by autograd, or by a tape where one can stand for it."""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from scalesweep.plan.cell import Cell
from scalesweep.train.head_loss import has_many_logits, mean_loss
from scalesweep.train.model.decoder import Decoder, cross_entropy
from scalesweep.train.model.module import Model
from scalesweep.train.tape import Tape, can_record

Gradient = Callable[[Tensor], Tensor]
"""Takes windows of shape (R, B, T + 1), leaves gradients in the parameters, returns the mean losses, shape (R,)."""
Autocast = Callable[[], contextlib.AbstractContextManager[object]]
"""Makes the context in which products are computed."""
Compiles = bool | Literal["auto"]


@dataclass(frozen=True)
class Execution:
    """How cells are run; nothing here changes a loss beyond rounding."""

    device: torch.device
    micro_batch: int | None = None
    """Sequences of each run per forward pass; None is the whole batch."""
    curve_points: int = 16
    """Points of the loss curve in each decade of steps; see `schedule.curve_steps`."""
    fast: bool = True
    """Whether hand-written code may stand for autograd (`gradient_of`)."""
    checkpoint_seconds: float = math.inf
    """Least time between two checkpoints; longer where they would take more than `CHECKPOINT_SHARE` of the time."""
    compiles: Compiles = "auto"
    """Whether torch's compiler makes the code of captured steps; auto where it pays (`outlook.pays`)."""
    further_steps: tuple[int, ...] = ()
    """Steps of each training of the same kind that waits, and for which code that is compiled now is there already."""
    ranks: int = 1
    """Processes that train one cell together (`spread`), each on a device of its own; torch's process group is theirs."""


def gradient_of(model: Model, cells: Sequence[Cell], execution: Execution) -> Gradient:
    """By a tape where one can stand for autograd; the parameters must stay where they are from now on."""
    first, z_weights_R1 = cells[0], z_weights([c.z_loss for c in cells], execution.device)
    whole = (execution.micro_batch or first.batch_sequences) >= first.batch_sequences
    if (
        execution.fast
        and whole
        and first.precision == "float32"
        and z_weights_R1 is None
        and can_record(model, first.batch_sequences)
    ):
        assert isinstance(model, Decoder)
        tape = Tape(model, first.batch_sequences)
        return lambda windows_RBT: tape(windows_RBT[0]).view(1)
    autocast, micro_batch = autocast_of(first, execution.device), execution.micro_batch
    in_parts = execution.fast and isinstance(model, Decoder) and z_weights_R1 is None
    return lambda windows_RBT: accumulate_gradient(model, windows_RBT, micro_batch, autocast, z_weights_R1, in_parts)


def accumulate_gradient(
    model: Model,
    windows_RBT: Tensor,
    micro_batch: int | None,
    autocast: Autocast,
    z_weights_R1: Tensor | None = None,
    in_parts: bool = False,
) -> Tensor:
    """Backpropagate the mean loss of each run's batch; return these means, shape (R,), detached.

    `z_weights_R1` are those of the z-loss in what is backpropagated (`z_weights`); the means do not contain it.
    `in_parts` takes a large vocabulary's loss in parts (`head_loss`).
    """
    sequences = windows_RBT.shape[1]
    total_R = torch.zeros(len(windows_RBT), device=windows_RBT.device)
    for part in windows_RBT.split(micro_batch or sequences, dim=1):
        objective, loss_R = share_of_loss(model, part, sequences, autocast, z_weights_R1, in_parts)
        objective.backward()
        total_R += loss_R.detach()
    return total_R


def share_of_loss(
    model: Model, part: Tensor, sequences: int, autocast: Autocast, z_weights_R1: Tensor | None, in_parts: bool
) -> tuple[Tensor, Tensor]:
    """What some of `sequences` sequences add to what is backpropagated, and to each run's mean loss, shape (R,)."""
    penalties_RB = None
    with autocast():
        if in_parts and isinstance(model, Decoder) and has_many_logits(model, part):
            loss_R = mean_loss(model, part) * (part.shape[1] / sequences)
        elif z_weights_R1 is not None:
            losses_RB, penalties_RB = losses_with_z(model, part, z_weights_R1)
            loss_R = losses_RB.sum(-1) / sequences
        else:
            loss_R = model.losses(part).sum(-1) / sequences
    return loss_R.sum() if penalties_RB is None else loss_R.sum() + penalties_RB.sum() / sequences, loss_R


def z_weights(z_losses: Sequence[float], device: torch.device) -> Tensor | None:
    """The weights of the z-loss, shape (R, 1), on the device before any step, which then waits for none; None without one."""
    return torch.tensor(list(z_losses), dtype=torch.float32, device=device)[:, None] if any(z_losses) else None


def losses_with_z(model: Model, windows_RBT: Tensor, weights_R1: Tensor) -> tuple[Tensor, Tensor]:
    """The losses, and each run's weight times the mean of log(Z)^2 (Chowdhery et al. 2022, section 5), both of shape (R, B)."""
    logits_RBTV = model(windows_RBT[..., :-1])
    log_z_RBT = torch.logsumexp(logits_RBTV.float(), dim=-1)
    return cross_entropy(logits_RBTV, windows_RBT), weights_R1 * log_z_RBT.square().mean(-1)


def autocast_of(cell: Cell, device: torch.device) -> Autocast:
    """The context in which the cell's products are computed."""
    if cell.precision == "float32":
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
