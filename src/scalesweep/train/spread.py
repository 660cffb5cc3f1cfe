"""One cell on several devices: each process takes its part of every batch, and torch's DDP averages the gradients.

All processes step alike, by the same gradients from the same state, so that the state of the one that leads is the cell's: it
alone keeps, evaluates and records (`loop.train`), and the others `follow`. Steps are launched one operation at a time, as a
captured step would hold the exchange too.
"""

import contextlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from scalesweep.plan.cell import Cell
from scalesweep.train.attention import preferred_attention
from scalesweep.train.device import synchronize
from scalesweep.train.gradient import Execution, Gradient, autocast_of, share_of_loss, z_weights
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.model.module import Model, build_model
from scalesweep.train.optim import make_optimizer
from scalesweep.train.optim.groups import Optimizer
from scalesweep.train.pack import Run, restore
from scalesweep.train.stepper import HostStepper


class _Objective(nn.Module):
    """What is backpropagated, as the output of a module, which is what DDP wraps."""

    def __init__(self, model: Model, cells: Sequence[Cell], execution: Execution) -> None:
        super().__init__()
        self.model, self._autocast = model, autocast_of(cells[0], execution.device)
        self._z_weights_R1 = z_weights([c.z_loss for c in cells], execution.device)
        self._in_parts = execution.fast and isinstance(model, Decoder) and self._z_weights_R1 is None

    def forward(self, part_RBT: Tensor, sequences: int) -> tuple[Tensor, Tensor]:
        """As `share_of_loss`."""
        return share_of_loss(self.model, part_RBT, sequences, self._autocast, self._z_weights_R1, self._in_parts)


def spread_gradient(model: Model, cells: Sequence[Cell], execution: Execution) -> Gradient:
    """Takes the whole batch's windows, and backpropagates this process's part of them; the means are those of the batch."""
    mine, rank = cells[0].batch_sequences // execution.ranks, distributed.get_rank()
    assert mine * execution.ranks == cells[0].batch_sequences, "the batch cannot be divided evenly"
    objective = DistributedDataParallel(_Objective(model, cells, execution))

    def gradient(windows_RBT: Tensor) -> Tensor:
        total_R = torch.zeros(len(windows_RBT), device=windows_RBT.device)
        *others, last = windows_RBT[:, rank * mine : (rank + 1) * mine].split(execution.micro_batch or mine, dim=1)
        for part in (*others, last):
            with contextlib.nullcontext() if part is last else objective.no_sync():
                loss, loss_R = objective(part, mine)
                loss.backward()
            total_R += loss_R.detach()
        distributed.all_reduce(total_R)
        return total_R / execution.ranks

    return gradient


def spread_stepper(
    model: Model, optimizer: Optimizer, cells: Sequence[Cell], tokens: np.ndarray, execution: Execution
) -> HostStepper:
    """Steps in time with the other processes of torch's process group, each of which must make as many steps."""
    return HostStepper(optimizer, cells, tokens, spread_gradient(model, cells, execution), execution.device)


def follow(run: Run, tokens: np.ndarray, execution: Execution) -> None:
    """Step along with the process that leads to the cell's last step; the leader may end sooner, and then ends this process."""
    with preferred_attention([run.cell], execution, lambda _: None):  # of which the leader tells
        model = build_model([run.cell]).to(execution.device)
        optimizer = make_optimizer(model, [run.cell])
        first = restore(model, optimizer, [run.start])
        stepper = spread_stepper(model, optimizer, [run.cell], tokens, execution)
        for step in range(first, run.cell.steps):
            stepper.advance(step)
        synchronize(execution.device)
