"""Loss and gradient of one decoder on CPU as a tape: a fixed list of operations on buffers that are allocated once.

At these sizes autograd costs more than the arithmetic: it allocates every activation anew, launches several operations where
one would do, and walks a graph. Here the backward pass is written out by hand, gains of norms are folded into the matrices
behind them, attention is a batch of small products, and a step runs down a list. `tests/train/test_tape.py` holds it against
autograd; `train.fast=false` does without it. It serves one run in float32 whose batch goes in one part and that has no z-loss
(`gradient.gradient_of`); everything else takes autograd.

Axes in names are those of `model.decoder`, with N = B T rows. Queries and keys are kept with the two halves of a head
interleaved, so that a rotation is one complex product.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from scalesweep.train.model.decoder import NORM_EPS, Decoder, Layer

LARGEST_LOGITS = 2**22
"""Logits that are computed at a time, 16 MiB of them. Fewer are no faster, and slower with large vocabularies, as tried
(docs/performance.md)."""
LARGEST_SCORES = 2**22
"""Attention scores of a layer that are kept, B H T^2. With more of them torch's own kernel, which keeps none, is the faster;
at the lengths of docs/performance.md it is the slower one."""


@dataclass(frozen=True)
class _Norm:
    """x / rms(x), without the gain."""

    normed: Tensor
    inverse: Tensor
    """1 / rms(x)."""


@dataclass(frozen=True)
class _Attention:
    """What the backward pass of attention needs."""

    norm: _Norm
    raw: Tensor
    """The matrix of queries, keys and values with interleaved rows, (3 D, D)."""
    matrix: Tensor
    """The same times the norm's gain."""
    heads: _Norm
    """Of queries and keys, (N, 2 H, K)."""
    gain: Tensor
    """Of queries and keys, interleaved, (2, 1, K)."""
    q: Tensor
    """Queries, as keys and values of shape (B H, T, K)."""
    k: Tensor
    v: Tensor
    weights: Tensor
    """Softmax of the scores, (B H, T, T)."""
    y: Tensor
    """What comes out, (B H, T, K), and the same as rows."""
    y_ND: Tensor


@dataclass(frozen=True)
class _FeedForward:
    """What the backward pass of the feed-forward block needs; it spoils `sigmoid`, `silu` and `up`, each of shape (N, F)."""

    norm: _Norm
    matrix: Tensor
    """Gate and up times the norm's gain, (2 F, D)."""
    sigmoid: Tensor
    silu: Tensor
    up: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class _Rows:
    """Some rows of what the head works on."""

    normed: Tensor
    targets: Tensor
    losses: Tensor
    gradient: Tensor
    product: Tensor


class Tape:
    """Computes the mean loss of a batch and leaves the gradients in the parameters.

    Args:
        model: one run, float32, on CPU. Its parameters must stay where they are in memory.
        sequences: B, of every batch.
    """

    def __init__(self, model: Decoder, sequences: int) -> None:
        shape = model.shape
        self.B, self.T, self.N = sequences, shape.context, sequences * shape.context
        self.D, self.H, self.K, self.F = shape.width, shape.num_heads, shape.head_dim, shape.ffn_width
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
        cos, sin = (model.get_buffer(name)[: self.T, self.K // 2 :] for name in ("cos_TK", "sin_TK"))
        turn = torch.complex(cos, sin)[:, None, None]
        self._turn, self._turn_back = turn, turn.conj().resolve_conj().clone()
        self._mask = torch.full((self.T, self.T), -math.inf).triu(1)
        self._x, self._dx, self._scratch, self._product = (torch.empty(self.N, self.D) for _ in range(4))
        self._column, self._hidden = torch.empty(self.N, 1), torch.empty(self.N, self.F)
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

    def _add(self, function: Callable[..., object], *arguments: object, **named: object) -> None:
        self._ops.append(partial(function, *arguments, **named))

    def _record(self, model: Decoder) -> None:
        """The residual stream goes on in one buffer: the backward pass needs what was normed, and not what it was."""
        self._add(torch.index_select, self._p["embedding"], 0, self._inputs, out=self._x)
        kept = []
        for i, layer in enumerate(model.layers):
            assert isinstance(layer, Layer)
            prefix, scale = f"layers.{i}.", layer.residual_scale
            attention = self._attention(prefix, scale, has_norm=layer.qk_norm is not None)
            kept.append((prefix, scale, attention, self._feed_forward(prefix, scale)))
        self._head()
        for prefix, scale, attention, feed_forward in reversed(kept):
            self._feed_forward_backward(prefix, scale, feed_forward)
            self._attention_backward(prefix, scale, attention)
        self._add(self._g["embedding"].zero_)
        self._add(self._g["embedding"].index_add_, 0, self._inputs, self._dx)

    def _rms(self, x: Tensor) -> _Norm:
        """1 / rms(x) over the last axis, and x times it."""
        normed, inverse = torch.empty(x.shape), torch.empty(*x.shape[:-1], 1)
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

    def _times(self, a: Tensor, b: Tensor, scale: float, out: Tensor) -> None:
        """The matrix product, or a batch of them, times a number."""
        self._add(torch.addmm if a.dim() == 2 else torch.baddbmm, out, a, b, beta=0, alpha=scale, out=out)

    def _complex(self, x: Tensor) -> Tensor:
        return torch.view_as_complex(x.unflatten(-1, (self.K // 2, 2)))

    def _as_rows(self, heads: Tensor) -> Tensor:
        """(B H, T, K) as (B, T, H, K)."""
        return heads.view(self.B, self.H, self.T, self.K).transpose(1, 2)

    def _attention(self, prefix: str, scale: float, has_norm: bool) -> _Attention:
        B, T, N, D, H, K = self.B, self.T, self.N, self.D, self.H, self.K
        norm = self._rms(self._x)
        raw, matrix, projected = torch.empty(3 * D, D), torch.empty(3 * D, D), torch.empty(N, 3 * D)
        self._add(torch.index_select, self._p[f"{prefix}qkv"], 0, self._rows, out=raw)
        self._add(torch.mul, raw, self._p[f"{prefix}attn_norm"], out=matrix)
        self._add(torch.mm, norm.normed, matrix.t(), out=projected)
        heads_N2HK, gain = projected.view(N, 3 * H, K)[:, : 2 * H], torch.ones(2, 1, K)
        heads, scaled = _Norm(heads_N2HK, torch.ones(1)), heads_N2HK
        if has_norm:
            heads, scaled = self._rms(heads_N2HK), torch.empty(N, 2 * H, K)
            self._add(torch.index_select, self._p[f"{prefix}qk_norm"].view(2, 1, K), 2, self._interleave, out=gain)
            self._add(torch.mul, heads.normed.view(N, 2, H, K), gain, out=scaled.view(N, 2, H, K))
        both, v = torch.empty(2, B, H, T, K), torch.empty(B * H, T, K)
        turned = self._complex(both.permute(1, 3, 0, 2, 4))
        self._add(torch.mul, self._complex(scaled.unflatten(0, (B, T)).unflatten(2, (2, H))), self._turn, out=turned)
        self._add(self._as_rows(v).copy_, projected.view(B, T, 3 * H, K)[:, :, 2 * H :])
        (q, k), weights = (part.view(B * H, T, K) for part in both), torch.empty(B * H, T, T)
        self._times(q, k.transpose(1, 2), K**-0.5, weights)
        self._add(weights.add_, self._mask)
        self._add(torch.softmax, weights, -1, out=weights)
        y, y_ND = torch.empty(B * H, T, K), torch.empty(N, D)
        self._add(torch.bmm, weights, v, out=y)
        self._add(y_ND.view(B, T, H, K).copy_, self._as_rows(y))
        self._add(torch.addmm, self._x, y_ND, self._p[f"{prefix}attn_out"].t(), alpha=scale, out=self._x)
        return _Attention(norm, raw, matrix, heads, gain, q, k, v, weights, y, y_ND)

    def _attention_backward(self, prefix: str, scale: float, kept: _Attention) -> None:
        B, T, N, D, H, K = self.B, self.T, self.N, self.D, self.H, self.K
        self._times(self._dx.t(), kept.y_ND, scale, self._g[f"{prefix}attn_out"])
        self._times(self._dx, self._p[f"{prefix}attn_out"], scale, self._scratch)
        dy = torch.empty(B * H, T, K)
        self._add(self._as_rows(dy).copy_, self._scratch.view(B, T, H, K))
        projected, both, dv = torch.empty(N, 3 * D), torch.empty(2, B, H, T, K), torch.empty(B * H, T, K)
        self._scores_backward(kept, dy, both, dv)
        self._add(projected.view(B, T, 3 * H, K)[:, :, 2 * H :].copy_, self._as_rows(dv))
        out_N2HK = projected.view(N, 3 * H, K)[:, : 2 * H]
        has_norm = f"{prefix}qk_norm" in self._p
        heads_N2HK = torch.empty(N, 2 * H, K) if has_norm else out_N2HK
        turned = self._complex(heads_N2HK.unflatten(0, (B, T)).unflatten(2, (2, H)))
        self._add(torch.mul, self._complex(both.permute(1, 3, 0, 2, 4)), self._turn_back, out=turned)
        if has_norm:
            self._heads_backward(prefix, kept, heads_N2HK, out_N2HK)
        folded, unfolded = torch.empty(3 * D, D), torch.empty(3 * D, D)
        self._add(torch.mm, projected.t(), kept.norm.normed, out=folded)
        gain, gain_out = self._p[f"{prefix}attn_norm"], self._g[f"{prefix}attn_norm"]
        self._folded_backward(folded, kept.raw, gain, unfolded, gain_out)
        self._add(self._g[f"{prefix}qkv"].index_copy_, 0, self._rows, unfolded)
        self._add(torch.mm, projected, kept.matrix, out=self._scratch)
        self._rms_backward(self._scratch, kept.norm, self._product, self._column)

    def _scores_backward(self, kept: _Attention, dy: Tensor, both: Tensor, dv: Tensor) -> None:
        """Gradients of queries and keys, into `both`, and of values. With P the weights: dS = P (dP - sum(dP P)).

        sum(dP P) over keys equals sum(dy y) over the head (Dao et al. 2022, appendix B.2), which is fewer numbers.
        """
        product, column, d_weights = torch.empty_like(dy), torch.empty(*dy.shape[:2], 1), torch.empty_like(kept.weights)
        self._add(torch.mul, dy, kept.y, out=product)
        self._add(torch.sum, product, -1, keepdim=True, out=column)
        self._add(torch.bmm, kept.weights.transpose(1, 2), dy, out=dv)
        self._add(torch.bmm, dy, kept.v.transpose(1, 2), out=d_weights)
        self._add(d_weights.sub_, column)
        self._add(d_weights.mul_, kept.weights)
        dq, dk = (part.view(dy.shape) for part in both)
        self._times(d_weights, kept.k, self.K**-0.5, dq)
        self._times(d_weights.transpose(1, 2), kept.q, self.K**-0.5, dk)

    def _heads_backward(self, prefix: str, kept: _Attention, heads_N2HK: Tensor, out_N2HK: Tensor) -> None:
        """Gain and norm of queries and keys; sums over the batch by a product with ones, the faster kernel."""
        N, H, K = self.N, self.H, self.K
        product, column = torch.empty(N, 2 * H, K), torch.empty(N, 2 * H, 1)
        ones, sums, gains = torch.ones(1, N), torch.empty(1, 2 * H * K), torch.empty(2, K)
        self._add(torch.mul, heads_N2HK, kept.heads.normed, out=product)
        self._add(torch.mm, ones, product.view(N, 2 * H * K), out=sums)
        self._add(torch.sum, sums.view(2, H, K), 1, out=gains)
        self._add(self._g[f"{prefix}qk_norm"].index_copy_, 1, self._interleave, gains)
        self._add(heads_N2HK.view(N, 2, H, K).mul_, kept.gain)
        self._rms_backward(heads_N2HK, kept.heads, product, column, out=out_N2HK)

    def _feed_forward(self, prefix: str, scale: float) -> _FeedForward:
        N, D, F = self.N, self.D, self.F
        norm, matrix = self._rms(self._x), torch.empty(2 * F, D)
        sigmoid, silu, up, hidden = (torch.empty(N, F) for _ in range(4))
        self._add(torch.mul, self._p[f"{prefix}gate_up"], self._p[f"{prefix}ffn_norm"], out=matrix)
        self._add(torch.mm, norm.normed, matrix[:F].t(), out=silu)
        self._add(torch.mm, norm.normed, matrix[F:].t(), out=up)
        self._add(torch.sigmoid, silu, out=sigmoid)
        self._add(silu.mul_, sigmoid)
        self._add(torch.mul, silu, up, out=hidden)
        self._add(torch.addmm, self._x, hidden, self._p[f"{prefix}down"].t(), alpha=scale, out=self._x)
        return _FeedForward(norm, matrix, sigmoid, silu, up, hidden)

    def _feed_forward_backward(self, prefix: str, scale: float, kept: _FeedForward) -> None:
        """In the buffers of the forward pass: silu' = s + silu - silu s takes the place of the sigmoid s."""
        F, dx, hidden, slope, gate, up = self.F, self._dx, self._hidden, kept.sigmoid, kept.up, kept.silu
        self._times(dx.t(), kept.hidden, scale, self._g[f"{prefix}down"])
        self._times(dx, self._p[f"{prefix}down"], scale, hidden)
        self._add(slope.addcmul_, kept.silu, kept.sigmoid, value=-1)
        self._add(slope.add_, kept.silu)
        self._add(gate.mul_, hidden)
        self._add(gate.mul_, slope)
        self._add(up.mul_, hidden)
        folded = torch.empty_like(kept.matrix)
        self._add(torch.mm, gate.t(), kept.norm.normed, out=folded[:F])
        self._add(torch.mm, up.t(), kept.norm.normed, out=folded[F:])
        names = (f"{prefix}gate_up", f"{prefix}ffn_norm")
        self._folded_backward(folded, *(self._p[n] for n in names), *(self._g[n] for n in names))
        self._add(torch.mm, gate, kept.matrix[:F], out=self._scratch)
        self._add(torch.addmm, self._scratch, up, kept.matrix[F:], out=self._scratch)
        self._rms_backward(self._scratch, kept.norm, self._product, self._column)

    def _head(self) -> None:
        """Losses, and back to the residual stream before the last norm; some rows at a time, which bounds the memory."""
        norm, raw = self._rms(self._x), self._p["head"]
        matrix, folded, losses = torch.empty_like(raw), torch.empty_like(raw), torch.empty(self.N, 1)
        self._losses = losses
        self._add(torch.mul, raw, self._p["norm"], out=matrix)
        most = max(1, LARGEST_LOGITS // len(raw))
        logits, columns = torch.empty(min(most, self.N), len(raw)), torch.empty(5, min(most, self.N), 1)
        for start in range(0, self.N, most):
            rows = slice(start, start + most)
            number = len(self._x[rows])
            into = _Rows(norm.normed[rows], self._targets[rows], losses[rows], self._scratch[rows], self._product[rows])
            self._head_rows(into, matrix, logits[:number], columns[:, :number].unbind(), folded, is_first=start == 0)
        self._folded_backward(folded, raw, self._p["norm"], self._g["head"], self._g["norm"])
        self._rms_backward(self._scratch, norm, self._product, self._column, out=self._dx)

    def _head_rows(
        self, rows: _Rows, matrix: Tensor, logits: Tensor, columns: Sequence[Tensor], folded: Tensor, is_first: bool
    ) -> None:
        """With E = exp(logits - max) and z = sum(E), the softmax is E / z, and its gradient E / z - 1 at the target."""
        target, largest, z, negative, weight = columns
        self._add(torch.mm, rows.normed, matrix.t(), out=logits)
        self._add(torch.gather, logits, 1, rows.targets, out=target)
        self._add(torch.amax, logits, 1, keepdim=True, out=largest)
        self._add(logits.sub_, largest)
        self._add(logits.exp_)
        self._add(torch.sum, logits, 1, keepdim=True, out=z)
        self._add(torch.log, z, out=rows.losses)
        self._add(rows.losses.add_, largest)
        self._add(rows.losses.sub_, target)
        self._add(torch.neg, z, out=negative)
        self._add(logits.scatter_add_, 1, rows.targets, negative)  # z times the gradient; z is divided by in narrower tensors
        self._add(torch.reciprocal, z, out=weight)
        self._add(weight.mul_, 1 / self.N)
        self._add(torch.mul, rows.normed, weight, out=rows.product)
        self._add(torch.addmm, folded, logits.t(), rows.product, beta=0 if is_first else 1, out=folded)
        self._add(torch.mm, logits, matrix, out=rows.gradient)
        self._add(rows.gradient.mul_, weight)


def can_record(model: object, sequences: int) -> bool:
    """Whether a tape can stand for autograd: one decoder, float32, on CPU, whose attention scores are not too many."""
    if not isinstance(model, Decoder) or len(model.embedding) > 1:
        return False
    table, shape = model.embedding, model.shape
    scores = sequences * shape.num_heads * shape.context**2
    return table.device.type == "cpu" and table.dtype == torch.float32 and scores <= LARGEST_SCORES
