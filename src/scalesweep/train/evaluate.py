"""The validation loss of trained models, in parts that fit."""

import math
from collections.abc import Callable

import numpy as np
import torch

from scalesweep.plan.cell import Cell
from scalesweep.train.data import count_windows, validation_windows
from scalesweep.train.device import is_out_of_memory, release_cached
from scalesweep.train.gradient import Autocast
from scalesweep.train.model.module import Model
from scalesweep.train.stepper import to_device

EVALUATION_TOKENS = {"cpu": 4096, "cuda": 65536}
"""Tokens per forward pass of the evaluation: few enough for a CPU's caches, enough for a GPU. A judgement, which
moves a loss by rounding alone."""
EVALUATION_LOGITS = {"cpu": 2**24, "cuda": 2**28}
"""Logits at a time, which bounds the memory of a large vocabulary: 64 MiB and 1 GiB in float32."""


Loss = tuple[float, float]
"""A mean loss in nats per token, and its standard error."""


def further_windows(tokens: np.ndarray, cell: Cell) -> np.ndarray:
    """The windows of a further validation set, shape (K, T + 1): as many tokens as of the first one, or all that it has."""
    context = cell.shape.context
    most = count_windows(len(tokens), context) * context
    return validation_windows(tokens, min(cell.validation_tokens, most), context)


def windows_at_once(model: Model, tokens: int) -> int:
    """How many windows of so many tokens each of the runs takes in one forward pass."""
    R, V = model.embedding.shape[:2]
    kind = model.embedding.device.type
    most = min(EVALUATION_TOKENS[kind], EVALUATION_LOGITS[kind] // V)
    return max(1, most // (tokens - 1) // R)


def evaluate(
    model: Model,
    windows: np.ndarray,
    autocast: Autocast,
    after_part: Callable[[], None] = lambda: None,
) -> list[Loss]:
    """Each run's mean loss over windows of shape (K, T + 1), in nats per token, and its standard error over windows.

    Windows count as independent, though those of one document resemble each other, so that the error is rather too small.
    `after_part` is called after every forward pass, and may raise. What does not fit goes in halves.
    """
    R, device = len(model.embedding), model.embedding.device
    sequences = windows_at_once(model, windows.shape[1])
    losses = []
    waiting = [*reversed(np.array_split(windows, math.ceil(len(windows) / sequences)))]
    while waiting:
        part = waiting.pop()
        try:
            losses.append(_losses(model, to_device([part], device).expand(R, -1, -1), autocast))
        except (RuntimeError, MemoryError) as error:
            if len(part) == 1 or not is_out_of_memory(error):
                raise
            waiting += reversed(np.array_split(part, 2))
        else:
            after_part()
            continue
        release_cached(device)  # here, where no traceback keeps the tensors of what failed
    each_RK = torch.cat(losses, dim=1)
    deviations = each_RK.std(dim=1).tolist() if len(windows) > 1 else [math.nan] * R
    return [(m, d / math.sqrt(len(windows))) for m, d in zip(each_RK.mean(dim=1).tolist(), deviations, strict=True)]


@torch.inference_mode()
def _losses(model: Model, windows_RBT: torch.Tensor, autocast: Autocast) -> torch.Tensor:
    with autocast():
        return model.losses(windows_RBT).double().cpu()
