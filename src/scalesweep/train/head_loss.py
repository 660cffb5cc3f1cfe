"""The mean loss of a large vocabulary without all its logits at once.

Gradients are taken while a part of the logits is there, as in Liger Kernel (Hsu et al. 2024, arXiv 2410.10989), by products and
element-wise operations alone, so that nothing is computed twice and a graph can capture it.
"""

from typing import Any

import torch
from torch import Tensor

from scalesweep.train.model.decoder import Decoder, Share

PART_LOGITS = 2**26
"""Logits of a part, all runs together: 256 MiB in float32, and those of 8,192 tokens and kinds; a judgement. Half of that has
15 kernels more at that size, and 128 more for 16 runs (`scripts/bench_kernels.py`). Smaller losses are computed at once."""


def has_many_logits(model: Decoder, windows_RBT: Tensor) -> bool:
    """Whether the logits of all tokens are more than a part."""
    return windows_RBT[..., 1:].numel() * model.shape.vocab_size > PART_LOGITS


def mean_loss(model: Decoder, windows_RBT: Tensor) -> Tensor:
    """Each run's mean cross-entropy in nats per token, shape (R,), of windows of T + 1 tokens, shape (R, B, T + 1)."""
    x_RND = model.hidden(windows_RBT[..., :-1]).flatten(1, 2)
    result: Tensor = _MeanLoss.apply(x_RND, model.head, windows_RBT[..., 1:].flatten(1), model.share)
    return result


class _MeanLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_RND: Tensor, head_RVD: Tensor, targets_RN: Tensor, share_of: Share) -> Tensor:
        """Mean over N positions, and its derivatives by x and the head."""
        kind = x_RND.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x_RND.dtype
        R, N, V = *targets_RN.shape, head_RVD.shape[1]
        x, head = x_RND.to(dtype), head_RVD.to(dtype)
        by_x, by_head = torch.empty_like(x), torch.zeros_like(head_RVD, dtype=torch.float32)
        total_R, number = torch.zeros(R, device=x.device), torch.full((), float(N), device=x.device)
        size = max(1, PART_LOGITS // (R * V))
        with torch.autocast(kind, enabled=False):
            for start in range(0, N, size):
                rows = slice(start, min(N, start + size))
                part, target = x[:, rows], targets_RN[:, rows, None]
                losses_R, share = share_of(torch.bmm(part, head.transpose(1, 2)), target, number)
                total_R += losses_R
                by_x[:, rows] = torch.bmm(share, head)
                by_head += torch.bmm(share.transpose(1, 2), part)
        ctx.save_for_backward(by_x, by_head)
        ctx.dtypes = x_RND.dtype, head_RVD.dtype
        return total_R / N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """The derivatives, times that of what was made of the means."""
        by_x, by_head = ctx.saved_tensors
        factor = gradients[0].view(-1, 1, 1)
        return (by_x * factor).to(ctx.dtypes[0]), (by_head * factor).to(ctx.dtypes[1]), None, None
