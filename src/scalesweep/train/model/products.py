"""Products of R runs' matrices on a GPU with few kernels: their casts at once, and gradients that lie as the matrices do.

Axes in names: R runs, N positions, I and O the inputs and outputs of a matrix.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Product(torch.autograd.Function):
    """x w^T of each run. The gradient of w lies as w does; torch's own is a transpose, which each cast takes a kernel for."""

    @staticmethod
    def forward(ctx: Any, x_RNI: Tensor, w_ROI: Tensor) -> Tensor:
        """Shape (R, N, O)."""
        ctx.save_for_backward(x_RNI, w_ROI)
        return torch.bmm(x_RNI, w_ROI.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Those of x and w."""
        x_RNI, w_ROI = ctx.saved_tensors
        return torch.bmm(gradients[0], w_ROI), torch.bmm(gradients[0].transpose(1, 2), x_RNI)


class Cast(torch.autograd.Function):
    """Several tensors in another type by one kernel, and back for their gradients, where autocast would take one for each."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        """In this type."""
        ctx.dtype = tensors[0].dtype
        return tuple(copies_in(dtype, tensors))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """In that of the tensors, which have one."""
        return None, *copies_in(ctx.dtype, gradients)


def copies_in(dtype: torch.dtype, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies in this type: by one kernel of those that are contiguous, and by one of those that are parts of one matrix."""
    by_storage: dict[int, list[Tensor]] = {}
    for tensor in tensors:
        by_storage.setdefault(tensor.untyped_storage().data_ptr(), []).append(tensor)
    copies: dict[int, Tensor] = {}
    for group in by_storage.values():  # of a pack's optimizer, see `StackedAdamW`
        if len(group) > 1 and (whole := matrix_of(group)) is not None:
            start, copy = whole.storage_offset(), whole.to(dtype)
            copies |= {
                id(t): copy.as_strided(t.shape, (copy.stride(0), *t.stride()[1:]), t.storage_offset() - start) for t in group
            }
    others = [tensor for tensor in tensors if id(tensor) not in copies]
    fresh = [tensor.new_empty(tensor.shape, dtype=dtype) for tensor in others]
    if others:
        torch._foreach_copy_(fresh, others)
    copies |= {id(tensor): copy for tensor, copy in zip(others, fresh, strict=True)}
    return [copies[id(tensor)] for tensor in tensors]


def matrix_of(parts: Sequence[Tensor]) -> Tensor | None:
    """The matrix of R rows whose columns are these parts of one storage, shape (R, P); None where they leave any out."""
    runs, stride = parts[0].shape[0], parts[0].stride(0)
    start = min(part.storage_offset() for part in parts)
    width = max(part.storage_offset() + part[0].numel() for part in parts) - start
    is_whole = sum(part[0].numel() for part in parts) == width
    if not is_whole or any((p.shape[0], p.stride(0)) != (runs, stride) or not p[0].is_contiguous() for p in parts):
        return None
    return parts[0].as_strided((runs, width), (stride, 1), start)
