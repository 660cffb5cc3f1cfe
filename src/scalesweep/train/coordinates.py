"""Activations over the first steps, which tell whether a parametrisation holds (Yang et al. 2022, arXiv 2203.03466, D.1)."""

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import DecoderShape
from scalesweep.train.data import batch, windows_of_cell
from scalesweep.train.model.decoder import Decoder, cross_entropy
from scalesweep.train.optim import make_optimizer


def coordinates(cell: Cell, tokens: np.ndarray, steps: int) -> dict[str, NDArray[np.float64]]:
    """Mean absolute activation of the residual stream after every layer, and of the logits, while a cell starts to train.

    Every step has the peak learning rate, no warm-up and no clipping, so that the size of an update is that of the
    parametrisation alone.

    Args:
        cell: what to train; its number of steps and its schedule play no part.
        tokens: 1-D array of token ids.
        steps: updates.

    Returns:
        For "layer 1", ..., and "logits", the values after 0, 1, ..., `steps` updates, shape (steps + 1,).
    """
    assert isinstance(cell.shape, DecoderShape)
    model = Decoder(cell.shape, [cell.seed], cell.rope_theta, cell.embedding_std, cell.residual_scale)
    optimizer = make_optimizer(model, [dataclasses.replace(cell, grad_clip=math.inf)])
    seen: dict[str, list[float]] = {}
    for name, module in [*((f"layer {i + 1}", layer) for i, layer in enumerate(model.layers)), ("logits", model)]:
        module.register_forward_hook(_recorder(seen.setdefault(name, [])))
    B, T, of = cell.batch_sequences, cell.shape.context, windows_of_cell(cell, len(tokens))
    for step in range(steps + 1):
        windows = torch.from_numpy(batch(tokens, seed=cell.seed, step=step, sequences=B, context=T, windows=of))[None]
        loss = cross_entropy(model(windows[..., :-1]), windows).mean()
        if step < steps:
            loss.backward()
            optimizer.step([1.0])
    return {name: np.array(values) for name, values in seen.items()}


def _recorder(values: list[float]) -> Any:
    """A hook that notes the mean absolute output of a module."""

    def record(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values.append(output.detach().float().abs().mean().item())

    return record
