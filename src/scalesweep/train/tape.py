"""Loss and gradient of one decoder on CPU as a tape: a fixed list of operations on buffers that are allocated once.

At these sizes autograd costs more than the arithmetic: it allocates every activation anew, launches several operations where
one would do, and walks a graph. Here the backward pass is written out by hand, gains of norms are folded into the matrices
behind them, and a step runs down a list. `tests/test_tape.py` holds it against autograd; `train.fast=false` does without it. It
serves one run in float32 whose batch goes in one part and that has no z-loss; everything else takes autograd
(`loop.gradient_of`).

Axes in names are those of `model.decoder`, with N = B T rows. Queries and keys are kept with the two halves of a head
interleaved, so that a rotation is one complex product.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scalesweep.model.decoder import NORM_EPS, Decoder, Layer

_FLASH: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
_FLASH_BACKWARD: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)
"""What `scaled_dot_product_attention` calls on CPU, and its backward pass; not a public interface of torch."""
HAS_KERNELS = _FLASH is not None and _FLASH_BACKWARD is not None


@dataclass
class _Norm:
    """x / rms(x) of rows, without the gain."""

    normed: Tensor
    inverse: Tensor
    """1 / rms(x), shape (N, 1)."""


@dataclass
class _Saved:
    """What the backward pass of a layer needs; `y`, `o` and `lse` change with every step."""

    layer: Layer
    prefix: str
    attn: _Norm
    ffn: _Norm
    qkv_raw: Tensor
    """The matrix with interleaved rows of queries and keys, (3 D, D)."""
    qkv: Tensor
    """The same times the norm's gain."""
    heads: _Norm
    """Of queries and keys, (N, 2 H, K); the plain ones where there is no QK-norm."""
    gain_2_1K: Tensor
    rotated: tuple[Tensor, Tensor, Tensor]
    """Queries, keys and values, each of shape (B, H, T, K)."""
    gate_up: Tensor
    gate_NF: Tensor
    sigmoid_NF: Tensor
    silu_NF: Tensor
    up_NF: Tensor
    hidden_NF: Tensor
    y_ND: Tensor | None = None
    o: Tensor | None = None
    lse: Tensor | None = None


class Tape:
    """Computes the mean loss of a batch and leaves the gradients in the parameters.

    Args:
        model: one run, float32, on CPU. Its parameters must stay where they are in memory.
        sequences: B, of every batch.
    """

    def __init__(self, model: Decoder, sequences: int) -> None:
        shape = model.shape
        self.B, self.T, self.N = sequences, shape.context, sequences * shape.context
        self.D, self.H, self.K, self.F, self.V = (
            shape.width,
            shape.num_heads,
            shape.head_dim,
            shape.ffn_width,
            shape.vocab_size,
        )
        self._ops: list[Callable[[], object]] = []
        named = dict(model.named_parameters())
        self._p = {name: p.detach()[0] for name, p in named.items()}
        gradients = {name: torch.zeros_like(p) for name, p in named.items()}
        self._g = {name: g[0] for name, g in gradients.items()}
        self._gradients = [(named[name], g) for name, g in gradients.items()]
        self._inputs = torch.empty(self.N, dtype=torch.long)
        self._targets = torch.empty(self.N, 1, dtype=torch.long)
        halves = torch.arange(self.K // 2)
        self._interleave = torch.stack([halves, halves + self.K // 2], dim=1).flatten()
        of_heads = torch.arange(2 * self.H)[:, None] * self.K + self._interleave
        self._rows = torch.cat([of_heads.flatten(), torch.arange(2 * self.D, 3 * self.D)])
        self._turn = torch.complex(model.get_buffer("cos_TK"), model.get_buffer("sin_TK"))[: self.T, None]
        self._turn_back = self._turn.conj().resolve_conj().clone()
        self._dx, self._scratch, self._product = (torch.empty(self.N, self.D) for _ in range(3))
        self._column = torch.empty(self.N, 1)
        with torch.no_grad():
            self._record(model)

    @torch.no_grad()
    def __call__(self, windows_BT1: Tensor) -> Tensor:
        """The mean loss in nats per token, shape (); every parameter's `grad` is replaced."""
        self._inputs.copy_(windows_BT1[:, :-1].reshape(-1))
        self._targets.copy_(windows_BT1[:, 1:].reshape(-1, 1))
        for op in self._ops:
            op()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._losses.mean()

    # -- recording ------------------------------------------------------------------------------------------------------------

    def _add(self, function: Callable[..., object], *arguments: object, **named: object) -> None:
        self._ops.append(partial(function, *arguments, **named))

    def _rows_of(self, *columns: int) -> list[Tensor]:
        return [torch.empty(self.N, number) for number in columns]

    def _record(self, model: Decoder) -> None:
        (x_ND,) = self._rows_of(self.D)
        self._add(torch.index_select, self._p["embedding"], 0, self._inputs, out=x_ND)
        saved = []
        for i, layer in enumerate(model.layers):
            assert isinstance(layer, Layer)
            layer_saved, x_ND = self._layer(layer, f"layers.{i}.", x_ND)
            saved.append(layer_saved)
        self._head(x_ND)
        for layer_saved in reversed(saved):
            self._ffn_backward(layer_saved)
            self._attention_backward(layer_saved)
        self._add(self._g["embedding"].zero_)
        self._add(self._g["embedding"].index_add_, 0, self._inputs, self._dx)

    def _rms(self, x: Tensor, normed: Tensor, inverse: Tensor) -> _Norm:
        """1 / rms(x) over the last axis, and x times it."""
        self._add(torch.linalg.vector_norm, x, dim=-1, keepdim=True, out=inverse)
        self._add(inverse.square_)
        self._add(torch.add, torch.tensor(NORM_EPS), inverse, alpha=1 / x.shape[-1], out=inverse)
        self._add(inverse.rsqrt_)
        self._add(torch.mul, x, inverse, out=normed)
        return _Norm(normed, inverse)

    def _rms_backward(self, gradient: Tensor, norm: _Norm, product: Tensor, column: Tensor, out: Tensor | None = None) -> None:
        """From the gradient of what was normed, which is spoilt, to that of x: added to dx, or written to `out`."""
        self._add(torch.mul, gradient, norm.normed, out=product)
        self._add(torch.mean, product, -1, keepdim=True, out=column)
        self._add(gradient.addcmul_, norm.normed, column, value=-1)
        if out is None:
            self._add(self._dx.addcmul_, gradient, norm.inverse)
        else:
            self._add(torch.mul, gradient, norm.inverse, out=out)

    def _folded_backward(self, folded: Tensor, raw: Tensor, gain: Tensor, out: Tensor, gain_out: Tensor) -> None:
        """From the gradient of a matrix times a gain, which is spoilt, to that of both."""
        self._add(torch.mul, folded, gain, out=out)
        self._add(folded.mul_, raw)
        self._add(torch.sum, folded, 0, out=gain_out)

    def _complex(self, x: Tensor) -> Tensor:
        return torch.view_as_complex(x.unflatten(-1, (self.K // 2, 2)))

    # -- forward --------------------------------------------------------------------------------------------------------------

    def _layer(self, layer: Layer, prefix: str, x_ND: Tensor) -> tuple[_Saved, Tensor]:
        B, T, D, H, K, F = self.B, self.T, self.D, self.H, self.K, self.F
        attn = self._rms(x_ND, *self._rows_of(D, 1))
        qkv_raw, qkv = torch.empty(3 * D, D), torch.empty(3 * D, D)
        self._add(torch.index_select, self._p[f"{prefix}qkv"], 0, self._rows, out=qkv_raw)
        self._add(torch.mul, qkv_raw, self._p[f"{prefix}attn_norm"], out=qkv)
        (projected,) = self._rows_of(3 * D)
        self._add(torch.mm, attn.normed, qkv.t(), out=projected)
        heads, gain, rotated_BT2HK = self._queries_and_keys(projected.view(self.N, 3 * H, K)[:, : 2 * H], prefix, layer)
        q, k = (part.transpose(1, 2) for part in rotated_BT2HK.split(H, dim=2))
        v = projected.view(B, T, 3 * H, K)[:, :, 2 * H :].transpose(1, 2)
        gate_up = torch.empty(2 * F, D)
        buffers = self._rows_of(F, F, F, F, F)
        saved = _Saved(layer, prefix, attn, attn, qkv_raw, qkv, heads, gain, (q, k, v), gate_up, *buffers)
        between_ND, out_ND = self._rows_of(D, D)
        self._add(partial(self._attend, saved, x_ND, self._p[f"{prefix}attn_out"].t(), between_ND))
        saved.ffn = self._rms(between_ND, *self._rows_of(D, 1))
        self._add(torch.mul, self._p[f"{prefix}gate_up"], self._p[f"{prefix}ffn_norm"], out=gate_up)
        self._add(torch.mm, saved.ffn.normed, gate_up[:F].t(), out=saved.gate_NF)
        self._add(torch.mm, saved.ffn.normed, gate_up[F:].t(), out=saved.up_NF)
        self._add(torch.sigmoid, saved.gate_NF, out=saved.sigmoid_NF)
        self._add(torch.mul, saved.gate_NF, saved.sigmoid_NF, out=saved.silu_NF)
        self._add(torch.mul, saved.silu_NF, saved.up_NF, out=saved.hidden_NF)
        down = self._p[f"{prefix}down"].t()
        self._add(torch.addmm, between_ND, saved.hidden_NF, down, alpha=layer.residual_scale, out=out_ND)
        return saved, out_ND

    def _queries_and_keys(self, raw_N2HK: Tensor, prefix: str, layer: Layer) -> tuple[_Norm, Tensor, Tensor]:
        """Normed, and normed, times their gain and rotated."""
        B, T, H, K = self.B, self.T, self.H, self.K
        gain_2_1K, rotated_BT2HK = torch.ones(2, 1, K), torch.empty(B, T, 2 * H, K)
        if layer.qk_norm is None:
            self._add(torch.mul, self._complex(raw_N2HK.view(B, T, 2 * H, K)), self._turn, out=self._complex(rotated_BT2HK))
            return _Norm(raw_N2HK, torch.ones(1)), gain_2_1K, rotated_BT2HK
        heads = self._rms(raw_N2HK, torch.empty(self.N, 2 * H, K), torch.empty(self.N, 2 * H, 1))
        self._add(torch.index_select, self._p[f"{prefix}qk_norm"].view(2, 1, K), 2, self._interleave, out=gain_2_1K)
        scaled = torch.empty(self.N, 2, H, K)
        self._add(torch.mul, heads.normed.view(self.N, 2, H, K), gain_2_1K, out=scaled)
        self._add(torch.mul, self._complex(scaled.view(B, T, 2 * H, K)), self._turn, out=self._complex(rotated_BT2HK))
        return heads, gain_2_1K, rotated_BT2HK

    def _attend(self, saved: _Saved, x_ND: Tensor, matrix: Tensor, out: Tensor) -> None:
        """Not on buffers alone, as the kernel allocates what it returns."""
        saved.o, saved.lse = _FLASH(*saved.rotated, 0.0, True)
        assert saved.o is not None
        saved.y_ND = saved.o.transpose(1, 2).reshape(self.N, self.D)
        torch.addmm(x_ND, saved.y_ND, matrix, alpha=saved.layer.residual_scale, out=out)

    def _head(self, x_ND: Tensor) -> None:
        """Losses, and back to the residual stream before the last norm. With E = exp(logits - max), z = sum(E): p = E / z."""
        norm = self._rms(x_ND, *self._rows_of(self.D, 1))
        head, head_gradient = torch.empty(self.V, self.D), torch.empty(self.V, self.D)
        self._add(torch.mul, self._p["head"], self._p["norm"], out=head)
        (logits_NV,) = self._rows_of(self.V)
        self._add(torch.mm, norm.normed, head.t(), out=logits_NV)
        target, largest, z, negative, weight, losses = self._rows_of(1, 1, 1, 1, 1, 1)
        self._add(torch.gather, logits_NV, 1, self._targets, out=target)
        self._add(torch.amax, logits_NV, 1, keepdim=True, out=largest)
        self._add(logits_NV.sub_, largest)
        self._add(logits_NV.exp_)
        self._add(torch.sum, logits_NV, 1, keepdim=True, out=z)
        self._add(torch.log, z, out=losses)
        self._add(losses.add_, largest)
        self._add(losses.sub_, target)
        self._losses = losses
        self._add(torch.neg, z, out=negative)  # E - z at the target is z times the gradient, p - 1
        self._add(logits_NV.scatter_add_, 1, self._targets, negative)
        self._add(torch.reciprocal, z, out=weight)
        self._add(weight.mul_, 1 / self.N)
        self._add(torch.mul, norm.normed, weight, out=self._scratch)
        self._add(torch.mm, logits_NV.t(), self._scratch, out=head_gradient)
        self._folded_backward(head_gradient, self._p["head"], self._p["norm"], self._g["head"], self._g["norm"])
        self._add(torch.mm, logits_NV, head, out=self._scratch)
        self._add(self._scratch.mul_, weight)
        self._rms_backward(self._scratch, norm, self._product, self._column, out=self._dx)

    # -- backward -------------------------------------------------------------------------------------------------------------

    def _times(self, a: Tensor, b: Tensor, scale: float, out: Tensor) -> None:
        """The matrix product times a number."""
        self._add(torch.addmm, out, a, b, beta=0, alpha=scale, out=out)

    def _ffn_backward(self, saved: _Saved) -> None:
        F, prefix, scale, dx = self.F, saved.prefix, saved.layer.residual_scale, self._dx
        hidden, slope, gate, up = self._rows_of(F, F, F, F)
        self._times(dx.t(), saved.hidden_NF, scale, self._g[f"{prefix}down"])
        self._times(dx, self._p[f"{prefix}down"], scale, hidden)
        self._add(torch.mul, hidden, saved.silu_NF, out=up)
        self._add(hidden.mul_, saved.up_NF)
        self._add(torch.add, saved.sigmoid_NF, saved.silu_NF, out=slope)  # silu' = s + silu - silu s
        self._add(slope.addcmul_, saved.silu_NF, saved.sigmoid_NF, value=-1)
        self._add(torch.mul, hidden, slope, out=gate)
        folded = torch.empty_like(saved.gate_up)
        self._add(torch.mm, gate.t(), saved.ffn.normed, out=folded[:F])
        self._add(torch.mm, up.t(), saved.ffn.normed, out=folded[F:])
        names = (f"{prefix}gate_up", f"{prefix}ffn_norm")
        self._folded_backward(folded, *(self._p[n] for n in names), *(self._g[n] for n in names))
        self._add(torch.mm, gate, saved.gate_up[:F], out=self._scratch)
        self._add(torch.addmm, self._scratch, up, saved.gate_up[F:], out=self._scratch)
        self._rms_backward(self._scratch, saved.ffn, self._product, self._column)

    def _attention_backward(self, saved: _Saved) -> None:
        B, T, D, H, K, prefix = self.B, self.T, self.D, self.H, self.K, saved.prefix
        dy_ND, projected = self._rows_of(D, 3 * D)
        self._times(self._dx, self._p[f"{prefix}attn_out"], saved.layer.residual_scale, dy_ND)
        heads_N2HK = torch.empty(self.N, 2 * H, K)
        dv = projected.view(B, T, 3 * H, K)[:, :, 2 * H :]
        dy = dy_ND.view(B, T, H, K).transpose(1, 2)
        self._add(partial(self._attend_backward, saved, dy, heads_N2HK.view(B, T, 2 * H, K), dv))
        out_N2HK = projected.view(self.N, 3 * H, K)[:, : 2 * H]
        if saved.layer.qk_norm is None:
            self._add(out_N2HK.copy_, heads_N2HK)
        else:
            self._heads_backward(saved, heads_N2HK, out_N2HK)
        folded, unfolded = torch.empty(3 * D, D), torch.empty(3 * D, D)
        self._add(torch.mm, projected.t(), saved.attn.normed, out=folded)
        names = (self._p[f"{prefix}attn_norm"], unfolded, self._g[f"{prefix}attn_norm"])
        self._folded_backward(folded, saved.qkv_raw, *names)
        self._add(self._g[f"{prefix}qkv"].index_copy_, 0, self._rows, unfolded)
        self._add(torch.mm, projected, saved.qkv, out=self._scratch)
        self._rms_backward(self._scratch, saved.attn, self._product, self._column)

    def _attend_backward(self, saved: _Saved, dy: Tensor, heads_BT2HK: Tensor, dv_BTHK: Tensor) -> None:
        """Gradients of the output matrix, of queries and keys before their rotation, and of values."""
        gradient = self._g[f"{saved.prefix}attn_out"]
        assert saved.y_ND is not None
        torch.addmm(gradient, self._dx.t(), saved.y_ND, beta=0, alpha=saved.layer.residual_scale, out=gradient)
        dq, dk, dv = _FLASH_BACKWARD(dy, *saved.rotated, saved.o, saved.lse, 0.0, True)
        for part, out in zip((dq, dk), heads_BT2HK.split(self.H, dim=2), strict=True):
            torch.mul(self._complex(part.transpose(1, 2)), self._turn_back, out=self._complex(out))
        dv_BTHK.copy_(dv.transpose(1, 2))

    def _heads_backward(self, saved: _Saved, heads_N2HK: Tensor, out_N2HK: Tensor) -> None:
        """Gain and norm of queries and keys; sums over the batch by a product with ones, the faster kernel."""
        N, H, K = self.N, self.H, self.K
        product, column = torch.empty(N, 2 * H, K), torch.empty(N, 2 * H, 1)
        ones, sums, gains = torch.ones(1, N), torch.empty(1, 2 * H * K), torch.empty(2, K)
        self._add(torch.mul, heads_N2HK, saved.heads.normed, out=product)
        self._add(torch.mm, ones, product.view(N, 2 * H * K), out=sums)
        self._add(torch.sum, sums.view(2, H, K), 1, out=gains)
        self._add(self._g[f"{saved.prefix}qk_norm"].index_copy_, 1, self._interleave, gains)
        self._add(heads_N2HK.view(N, 2, H, K).mul_, saved.gain_2_1K)
        self._rms_backward(heads_N2HK, saved.heads, product, column, out=out_N2HK)


def can_record(model: object) -> bool:
    """Whether a tape can stand for autograd: one decoder, float32, on CPU, with the kernels that this version of torch has."""
    if not isinstance(model, Decoder) or not HAS_KERNELS:
        return False
    return len(model.embedding) == 1 and model.embedding.device.type == "cpu"
