"""How a training step is run: from the host, operation by operation, or on a GPU as one CUDA graph.

A model of a hundred thousand parameters leaves a GPU idle while the host launches a thousand kernels a step. `ResidentStepper`
replays a step that was captured once, and that nothing on the host holds up. `HostStepper` is the plain way, which CPUs take
too.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from scalesweep.plan.cell import Cell
from scalesweep.train.compiler import compile_where_it_pays, parts_of
from scalesweep.train.data import batch, windows_of_cell
from scalesweep.train.device import first_line, is_out_of_memory
from scalesweep.train.gradient import Execution, Gradient, gradient_of
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.model.module import Model
from scalesweep.train.optim import ResidentOptimizer
from scalesweep.train.optim.adamw import FusedAdamW
from scalesweep.train.optim.custom import OwnOptimizer
from scalesweep.train.optim.groups import Optimizer
from scalesweep.train.optim.muon import Muon
from scalesweep.train.resident import ResidentGradient, ResidentStepper, has_graphs
from scalesweep.train.schedule import lr_factor


class Stepper(Protocol):
    """Trains R runs step by step."""

    loss_sum_R: Tensor
    """Sum of the mean losses of the steps since somebody set it to zero."""
    norms_R: Tensor
    """Norms of the last step's gradients, before clipping."""

    def advance(self, step: int) -> None:
        """Do step `step`, counted from 0; they come in order."""
        ...

    def release(self) -> None:
        """Give back the memory that only steps need; none is done afterwards."""
        ...


class HostStepper:
    """Gathers the batch on the host and launches every operation."""

    def __init__(
        self, optimizer: Optimizer, cells: Sequence[Cell], tokens: np.ndarray, gradient: Gradient, device: torch.device
    ) -> None:
        self._optimizer, self._cells, self._tokens, self._gradient, self._device = optimizer, cells, tokens, gradient, device
        self._windows = windows_of_cell(cells[0], len(tokens))
        self.loss_sum_R = torch.zeros(len(cells), device=device)
        self.norms_R = torch.zeros(len(cells), device=device)

    def advance(self, step: int) -> None:
        """As in `Stepper`."""
        of, B, T = self._windows, self._cells[0].batch_sequences, self._cells[0].shape.context
        windows = [batch(self._tokens, seed=c.seed, step=step, sequences=B, context=T, windows=of) for c in self._cells]
        factors = [lr_factor(step, c) for c in self._cells]
        self.loss_sum_R += self._gradient(to_device(windows, self._device))
        self.norms_R = self._optimizer.step(factors)

    def release(self) -> None:
        """As in `Stepper`: it holds nothing."""


def to_device(windows: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """R runs' windows, each of shape (B, T + 1), as a tensor of shape (R, B, T + 1)."""
    stacked = windows[0][None] if len(windows) == 1 else np.stack(windows)
    return torch.from_numpy(stacked).to(device, non_blocking=True)


def state_of(model: Model, optimizer: Optimizer) -> list[Tensor]:
    """What a step changes."""
    moments = [tensor for several in optimizer.moments().values() for tensor in several]
    adamw = optimizer.adamw if isinstance(optimizer, Muon) else optimizer
    return [*model.parameters(), *moments, *([adamw.count] if isinstance(adamw, FusedAdamW) else [])]


def make_stepper(
    model: Model,
    optimizer: Optimizer,
    cells: Sequence[Cell],
    tokens: np.ndarray,
    execution: Execution,
    start: int,
    note: Callable[[str], None],
) -> Stepper:
    """The fastest way to step these runs on this device that comes to the same; the plain one where another does not work."""
    device, gradient = execution.device, gradient_of(model, cells, execution)
    plain = HostStepper(optimizer, cells, tokens, gradient, device)
    if not has_graphs(device):
        return plain
    if not execution.fast:
        note("without a CUDA graph, which is slower (train.fast=false)")
        return plain
    state, how = state_of(model, optimizer), (cells, tokens, gradient, device, start)
    try:
        if isinstance(optimizer, OwnOptimizer):
            resident: ResidentStepper = ResidentGradient(optimizer, *how)
        else:
            assert isinstance(optimizer, ResidentOptimizer)
            resident = ResidentStepper(optimizer, *how)
        captured = resident.capture(state)
        if isinstance(resident, ResidentGradient):
            note("its optimizer without a CUDA graph, which is slower (a class of your own is stepped from the host)")
        if isinstance(model, Decoder):
            steps = cells[0].steps - start
            parts = parts_of(model, optimizer)
            compile_where_it_pays(partial(resident.capture, state), captured, parts, cells, execution, steps, note)
        return resident
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        note(f"without a CUDA graph, which is slower ({first_line(error)})")
    return plain
