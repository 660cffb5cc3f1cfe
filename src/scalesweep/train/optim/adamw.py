"""AdamW for one run, by torch's kernel, or for several at once, with the settings and the clipping of each."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from scalesweep.plan.cell import Cell
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.model.module import Model
from scalesweep.train.optim.groups import (
    CLIP_EPS,
    GroupName,
    GroupSettings,
    clip_gradients,
    group_of,
    group_settings,
    groups_of,
)


class FusedAdamW:
    """One run, by the kernel of torch's fused AdamW, with the settings of `group_settings` for each group.

    The kernel is called directly: `torch.optim.AdamW` does the same, bit for bit, but takes longer than the kernel to get there
    where a model is small.
    """

    def __init__(self, model: Model, cell: Cell, without: Collection[GroupName] = ()) -> None:
        group_by_name = groups_of(model)
        self._named = {name: p for name, p in model.named_parameters() if group_by_name[name] not in without}
        self._max_norm, self._betas = cell.grad_clip, (cell.beta1, cell.beta2)
        self._moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in self._named.items()}
        self.count = torch.tensor(0.0, device=model.embedding.device)
        """Steps so far."""
        self._groups = [
            (settings, [name for name in self._named if group_by_name[name] == group])
            for group, settings in group_settings(cell).items()
        ]
        self._peak_lrs = torch.tensor([settings.peak_lr for settings, _ in self._groups], device=self.count.device)
        self._unused: set[str] = set()

    def step(self, factors: Sequence[float]) -> Tensor:
        """As in `Optimizer`."""
        return self._step([factors[0] * settings.peak_lr for settings, _ in self._groups])

    def step_by(self, row_3R1: Tensor) -> Tensor:
        """As in `StackedAdamW`; the kernel makes its corrections itself."""
        return self._step((row_3R1[0, 0, 0] * self._peak_lrs).unbind())

    @torch.no_grad()
    def _step(self, lrs: Sequence[float | Tensor]) -> Tensor:
        norms = clip_gradients(list(self._named.values()), self._max_norm)
        self.count += 1
        self._unused = {name for name, p in self._named.items() if p.grad is None}
        for lr, (settings, names) in zip(lrs, self._groups, strict=True):
            if used := [name for name in names if name not in self._unused]:
                torch._fused_adamw_(
                    [self._named[name] for name in used],
                    [g for name in used if (g := self._named[name].grad) is not None],
                    [self._moments[name][0] for name in used],
                    [self._moments[name][1] for name in used],
                    [],
                    [self.count] * len(used),
                    lr=lr,  # type: ignore[arg-type]
                    beta1=self._betas[0],
                    beta2=self._betas[1],
                    weight_decay=settings.weight_decay,
                    eps=settings.eps,
                    amsgrad=False,
                    maximize=False,
                )
        for p in self._named.values():
            p.grad = None
        return norms

    def moments(self) -> dict[str, tuple[Tensor, ...]]:
        """As in `Optimizer`, without parameters that nothing uses."""
        return {name: both for name, both in self._moments.items() if name not in self._unused}

    def load(self, run: int, moments: Mapping[str, tuple[Tensor, ...]], step: int) -> None:
        """As in `Optimizer`."""
        self.count.fill_(float(step))
        for name, both in self._moments.items():
            for mine, given in zip(both, moments.get(name, ()), strict=False):  # none where nothing uses it
                mine[run].copy_(given)


@dataclass(frozen=True)
class _Block:
    """Parameters with one group of settings, of all runs, as rows of one matrix; every tensor has shape (R, P)."""

    names: list[str]
    shapes: list[torch.Size]
    weights: Tensor
    first: Tensor
    second: Tensor
    eps: Tensor
    """Of each run, shape (R, 1)."""

    def views(self, matrix: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The parts of `matrix` that belong to each parameter, in its shape."""
        ends = np.cumsum([shape[1:].numel() for shape in self.shapes]).tolist()
        for name, shape, start, end in zip(self.names, self.shapes, [0, *ends], ends, strict=False):
            yield name, matrix[:, start:end].view(shape)


class Update(nn.Module):
    """What AdamW does to the parameters of one group in R runs: a dozen element-wise operations, or one that is compiled."""

    def forward(
        self,
        weights_RP: Tensor,
        first_RP: Tensor,
        second_RP: Tensor,
        gradient_RP: Tensor,
        new_shares_R1: tuple[Tensor, Tensor],
        scale_R1: Tensor,
        second_correction_R1: Tensor,
        eps_R1: Tensor,
        kept_R1: Tensor | None,
        rate_R1: Tensor,
    ) -> None:
        """Change weights and moments where they are; the gradient's memory is used, too.

        Args:
            weights_RP: the parameters.
            first_RP: mean of the gradients.
            second_RP: mean of their squares.
            gradient_RP: that of this step, not yet clipped.
            new_shares_R1: of this step in the two means.
            scale_R1: clips the gradient.
            second_correction_R1: of `corrections`.
            eps_R1: added to the root.
            kept_R1: share that the decay leaves of the weights; None where there is none.
            rate_R1: negative learning rate, with the correction of the mean.
        """
        gradient_RP.mul_(scale_R1)
        first_RP.lerp_(gradient_RP, new_shares_R1[0])
        second_RP.lerp_(gradient_RP.square_(), new_shares_R1[1])
        denominator_RP = torch.sqrt(second_RP, out=gradient_RP)
        denominator_RP.mul_(second_correction_R1).add_(eps_R1)
        if kept_R1 is not None:
            weights_RP.mul_(kept_R1)
        weights_RP.addcmul_(torch.div(first_RP, denominator_RP, out=denominator_RP), rate_R1)


class StackedAdamW:
    """R runs at once, each with its own learning rates, weight decay, betas, eps and clipping.

    AdamW as in Loshchilov & Hutter 2019, algorithm 2, with the decay multiplied by the learning rate as torch has it. All
    parameters of a group are rows of one matrix, so that a step is a dozen element-wise operations whatever R and the depth.
    The embedding is a matrix of its own, as looking it up needs one that is contiguous.
    """

    def __init__(self, model: Decoder, cells: Sequence[Cell], without: Collection[GroupName] = ()) -> None:
        self._parameters = {name: p for name, p in model.named_parameters() if group_of(name) not in without}
        self._device = model.embedding.device
        self._betas = np.array([(c.beta1, c.beta2) for c in cells])
        self._max_norm = self._column([c.grad_clip for c in cells])
        self._new_share = self._column(1 - self._betas[:, 0]), self._column(1 - self._betas[:, 1])
        self._step, self._update = 0, Update()
        blocks = list(_blocks(list(self._parameters), cells))
        self._blocks = [self._block(names, [s.eps for s in settings]) for names, settings in blocks]
        self._peak_lrs = torch.stack([self._column([s.peak_lr for s in settings]) for _, settings in blocks])
        self._decays = torch.stack([self._column([s.weight_decay for s in settings]) for _, settings in blocks])
        self._decaying = [any(s.weight_decay for s in settings) for _, settings in blocks]

    @torch.no_grad()
    def _block(self, names: list[str], eps: list[float]) -> _Block:
        """Move the parameters into one matrix."""
        parameters = [self._parameters[name] for name in names]
        weights = torch.cat([p.flatten(1) for p in parameters], dim=1)
        zeros = torch.zeros_like(weights)
        block = _Block(names, [p.shape for p in parameters], weights, zeros, zeros.clone(), self._column(eps))
        for name, view in block.views(weights):
            self._parameters[name].data = view
        return block

    def _column(self, values: Sequence[float] | np.ndarray) -> Tensor:
        """One number a run, shape (R, 1), computed in float64 and used in float32."""
        return torch.tensor(np.asarray(values), dtype=torch.float32).view(-1, 1).to(self._device, non_blocking=True)

    def step(self, factors: Sequence[float]) -> Tensor:
        """As in `Optimizer`."""
        self._step += 1
        row = [np.asarray(factors), *corrections(self._betas, self._step)]
        return self.step_by(torch.stack([self._column(values) for values in row]))

    @torch.no_grad()
    def step_by(self, row_3R1: Tensor) -> Tensor:
        """`step` by what is on the device already.

        Args:
            row_3R1: shares of the peak learning rates, and the two numbers of `corrections`.
        """
        factor, first_correction, second_correction = row_3R1
        gradients = [self._gradient(block) for block in self._blocks]
        norms = torch.stack([torch.linalg.vector_norm(g, dim=1) for g in gradients]).norm(dim=0)
        scale = (self._max_norm / (norms.view(-1, 1) + CLIP_EPS)).clamp(max=1.0)
        lrs = factor * self._peak_lrs  # of each block, shape (blocks, R, 1), as the next two
        kept, rates = 1 - lrs * self._decays, -lrs * first_correction
        of_blocks = zip(self._blocks, gradients, self._decaying, kept, rates, strict=True)
        for block, gradient, is_decaying, share, rate in of_blocks:
            of_settings = second_correction, block.eps, share if is_decaying else None, rate
            self._update(block.weights, block.first, block.second, gradient, self._new_share, scale, *of_settings)
        return norms

    def parts(self) -> list[tuple[nn.Module, tuple[int, ...]]]:
        """As `Decoder.parts`; of its arguments some have parameters as their second axis."""
        return [(self._update, (0, 1, 2, 3))]

    def _gradient(self, block: _Block) -> Tensor:
        parameters = [self._parameters[name] for name in block.names]
        gradient = torch.cat([p.grad.flatten(1) for p in parameters if p.grad is not None], dim=1)
        for p in parameters:
            p.grad = None
        return gradient

    def moments(self) -> dict[str, tuple[Tensor, ...]]:
        """As in `Optimizer`."""
        return {
            name: (first, second)
            for block in self._blocks
            for (name, first), (_, second) in zip(block.views(block.first), block.views(block.second), strict=True)
        }

    def load(self, run: int, moments: Mapping[str, tuple[Tensor, ...]], step: int) -> None:
        """As in `Optimizer`."""
        self._step = step
        for name, (first, second) in self.moments().items():
            first[run].copy_(moments[name][0])
            second[run].copy_(moments[name][1])


def corrections(betas_R2: np.ndarray, steps: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Adam's corrections after `steps` steps, as factors: of the first moment, and of the root of the second."""
    first, second = np.moveaxis(1 - betas_R2 ** np.asarray(steps)[..., None, None], -1, 0)
    return 1 / first, 1 / np.sqrt(second)


def _blocks(names: Sequence[str], cells: Sequence[Cell]) -> Iterator[tuple[list[str], list[GroupSettings]]]:
    """Parameters that are stepped alike, with the settings of each run."""
    of_runs = [group_settings(cell) for cell in cells]
    for group in of_runs[0]:
        mine = [name for name in names if group_of(name) == group]
        for block in ([n for n in mine if n == "embedding"], [n for n in mine if n != "embedding"]):
            if block:
                yield block, [settings[group] for settings in of_runs]


def make_adamw(model: Model, cells: Sequence[Cell], without: Collection[GroupName] = ()) -> FusedAdamW | StackedAdamW:
    """AdamW for all groups but those of `without`. One run takes torch's fused kernel, several take one buffer for all."""
    if len(cells) == 1:
        return FusedAdamW(model, cells[0], without)
    assert isinstance(model, Decoder)
    return StackedAdamW(model, cells, without)
