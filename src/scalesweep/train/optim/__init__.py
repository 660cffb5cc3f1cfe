"""The optimizers: parameter groups, AdamW, Muon, a class of the user's own."""

from collections.abc import Sequence

from scalesweep.plan.cell import Cell
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.model.module import Model
from scalesweep.train.optim.adamw import FusedAdamW, StackedAdamW, make_adamw
from scalesweep.train.optim.custom import own_optimizer
from scalesweep.train.optim.groups import Optimizer
from scalesweep.train.optim.muon import Muon

ResidentOptimizer = FusedAdamW | StackedAdamW | Muon
"""Optimizers whose `step_by` needs nothing of the host, so that it can be captured."""


def make_optimizer(model: Model, cells: Sequence[Cell]) -> Optimizer:
    """The cells' optimizer, with each cell's own settings."""
    if cells[0].optimizer == "muon":
        assert isinstance(model, Decoder)
        return Muon(model, cells)
    if cells[0].optimizer == "custom":
        (cell,) = cells
        return own_optimizer(model, cell)
    return make_adamw(model, cells)
