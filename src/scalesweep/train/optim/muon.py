"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): the momentum of each matrix, made orthogonal.

`torch.optim.Muon` steps one matrix after another with one learning rate, refuses parameters with a run axis, and takes fused
matrices as one. Here all matrices of one shape, of every layer and run, are one batch of products.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import NEWTON_SCHULZ_STEPS
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.optim.adamw import make_adamw
from scalesweep.train.optim.groups import GroupName, clip_each_gradient, group_of

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of x -> a x + b x^3 + c x^5 on each singular value, as published (Jordan et al. 2024), who chose a large slope at 0:
small singular values grow fastest, and all end near 1, not at it."""
NORM_EPS = 1e-7
"""Least norm to divide by, that of Jordan et al. 2024 (who add it); a matrix of zeros stays zero."""
RMS = 0.2
"""Root mean square of the entries of a square matrix's update at learning rate 1, about that of AdamW (Liu et al. 2025, arXiv
2502.16982, section 2.2)."""
OWN: GroupName = "matrices"
"""What Muon steps; Jordan et al. 2024 leave embedding, head and vectors to AdamW."""
FUSED = {"qkv": 3, "gate_up": 2}
"""Matrices that lie one below the other in one parameter of the decoder; each is made orthogonal by itself."""


def orthogonalise(matrices: Tensor) -> Tensor:
    """U V^T for each matrix U S V^T, roughly: singular values come out between about 0.7 and 1.2 unless they were tiny.

    Args:
        matrices: shape (..., rows, cols), floating point; the products are computed in its type.

    Returns:
        The same shape and type. A matrix of zeros stays zero.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=NORM_EPS)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def update_scale(rows: int, cols: int) -> float:
    """Factor of an orthogonal update: `RMS` sqrt(width) sqrt(rows / cols), where the width is the smaller of the two.

    Square and tall matrices have what Liu et al. 2025 give them, RMS sqrt(max(rows, cols)). Wide ones have less, so that
    sqrt(out / in) is the ratio between all matrices of one width (Yang, Simon & Bernstein 2023, arXiv 2310.17813): the best
    losses at widths 32 and 64 were lower so, that at 128 the same, and the best rate moved less (docs/transfer.md).
    """
    return RMS * math.sqrt(min(rows, cols) * rows / cols)


@dataclass(frozen=True)
class _Stack:
    """All matrices of one shape, of all runs; every tensor has shape (R, K, rows, cols)."""

    names: list[str]
    counts: list[int]
    """Matrices in each parameter."""
    weights: Tensor
    momentum: Tensor

    def views(self, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The parts of `tensor` that belong to each parameter, in its shape."""
        for name, part in zip(self.names, tensor.split(self.counts, dim=1), strict=True):
            yield name, part.flatten(1, 2)


class Muon:
    """R runs at once: Muon with Nesterov momentum for the layers' matrices, AdamW for all else.

    Each run has its own learning rates, decay, momentum and clipping; the decay is decoupled and multiplied by the learning
    rate. Gradients are clipped over all parameters first, which the direction of Muon's update does not feel.
    """

    def __init__(self, model: Decoder, cells: Sequence[Cell]) -> None:
        self._cells = cells
        self._parameters = dict(model.named_parameters())
        self._device = model.embedding.device
        self._dtype = torch.bfloat16 if cells[0].precision == "bfloat16" else torch.float32
        shapes: dict[tuple[int, int], list[str]] = {}
        for name, p in self._parameters.items():
            if group_of(name) == OWN:
                shapes.setdefault((p.shape[1] // _count(name), p.shape[2]), []).append(name)
        self._stacks = [self._stack(names, rows) for (rows, _), names in shapes.items()]
        self._max_norms = self._column([c.grad_clip for c in cells]).flatten()
        self._memory, self._fresh = self._column([c.momentum for c in cells]), self._column([1 - c.momentum for c in cells])
        self._peak_lr, self._decay = self._column([c.hidden_lr for c in cells]), self._column([c.weight_decay for c in cells])
        self.adamw = make_adamw(model, [dataclasses.replace(c, grad_clip=math.inf) for c in cells], without=(OWN,))
        """Of all else."""

    @torch.no_grad()
    def _stack(self, names: list[str], rows: int) -> _Stack:
        """Move the parameters into one tensor."""
        weights = torch.cat([self._parameters[name].unflatten(1, (-1, rows)) for name in names], dim=1)
        stack = _Stack(names, [_count(name) for name in names], weights, torch.zeros_like(weights))
        for name, view in stack.views(weights):
            self._parameters[name].data = view
        return stack

    def _column(self, values: Sequence[float] | np.ndarray) -> Tensor:
        """One number a run, shape (R, 1, 1, 1), computed in float64 and used in float32."""
        return torch.tensor(np.asarray(values), dtype=torch.float32).view(-1, 1, 1, 1).to(self._device, non_blocking=True)

    def step(self, factors: Sequence[float]) -> Tensor:
        """As in `Optimizer`."""
        lr = np.array([f * c.hidden_lr for f, c in zip(factors, self._cells, strict=True)])
        kept = self._column(1 - lr * np.array([c.weight_decay for c in self._cells]))
        norms = self._step(kept, lambda scale: self._column(-lr * scale))
        self.adamw.step(factors)
        return norms

    def step_by(self, row_3R1: Tensor) -> Tensor:
        """As in `StackedAdamW`; rates are multiplied on the device, in float32."""
        lr = row_3R1[0].view(-1, 1, 1, 1) * self._peak_lr
        norms = self._step(1 - lr * self._decay, lambda scale: lr * -scale)
        self.adamw.step_by(row_3R1)
        return norms

    @torch.no_grad()
    def _step(self, kept: Tensor, rate: Callable[[float], Tensor]) -> Tensor:
        """Clip all gradients, and step the stacks.

        Args:
            kept: share of the weights that their decay leaves of each run, shape (R, 1, 1, 1).
            rate: of its scale makes what an update is multiplied by, of that shape too.
        """
        norms = clip_each_gradient(list(self._parameters.values()), self._max_norms)
        for stack in self._stacks:
            rows, cols = stack.weights.shape[-2:]
            gradient = self._gradient(stack, rows)
            stack.momentum.lerp_(gradient, self._fresh)
            # Nesterov's: the gradient counts once more. Norms of the sum do not matter, since the direction is made orthogonal.
            direction = orthogonalise(gradient.lerp_(stack.momentum, self._memory).to(self._dtype))
            stack.weights.mul_(kept).addcmul_(direction.float(), rate(update_scale(rows, cols)))
        return norms

    def _gradient(self, stack: _Stack, rows: int) -> Tensor:
        parameters = [self._parameters[name] for name in stack.names]
        gradient = torch.cat([p.grad.unflatten(1, (-1, rows)) for p in parameters if p.grad is not None], dim=1)
        for p in parameters:
            p.grad = None
        return gradient

    def moments(self) -> dict[str, tuple[Tensor, ...]]:
        """Muon's momentum of the layers' matrices, both moments of AdamW of all else."""
        own = {name: (momentum,) for stack in self._stacks for name, momentum in stack.views(stack.momentum)}
        return own | self.adamw.moments()

    def load(self, run: int, moments: Mapping[str, tuple[Tensor, ...]], step: int) -> None:
        """As in `Optimizer`."""
        for stack in self._stacks:
            for name, momentum in stack.views(stack.momentum):
                momentum[run].copy_(moments[name][0])
        self.adamw.load(run, moments, step)


def _count(name: str) -> int:
    return FUSED.get(name.rsplit(".", 1)[-1], 1)
