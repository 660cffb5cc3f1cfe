"""A small decoder in the layout of Llama and Qwen3: RMSNorm, RoPE, causal attention with QK-norm, SwiGLU, untied head.

Every parameter carries a leading run axis R, so that several runs of one shape can be stepped as one batch of matrix products;
R = 1 is the plain case. Axes in names: R runs, B sequences, T tokens, D width, K width of a head, F feed-forward width, V
vocabulary, I and O the inputs and outputs of a matrix.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalesweep.plan.flops import DecoderShape
from scalesweep.train.model.products import Cast, Product

NORM_EPS = 1e-6
"""Under the root of every RMSNorm: the default of Llama's and Qwen3's configurations in transformers."""
PRODUCT_VOCABULARY = 1024
"""Largest vocabulary whose embedding has its gradient by a product on CUDA (`Lookup`); one-hot tokens of a larger one are many
bytes. A judgement by counts, not measured."""


class Decoder(nn.Module):
    """R decoders of one shape.

    Args:
        shape: dimensions.
        seeds: one seed a run; a run's parameters depend on its own seed alone.
        rope_theta: base of the rotary embedding.
        embedding_std: standard deviation of the input embedding; GPT-2's 0.02 was worse than 0.2 and 1.0 at the sizes that were
            measured (docs/results.md).
        residual_scale: factor of every residual branch (CompleteP's 1 / l).
    """

    def __init__(
        self, shape: DecoderShape, seeds: list[int], rope_theta: float, embedding_std: float, residual_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.shape = shape
        R, D, V, L = len(seeds), shape.width, shape.vocab_size, shape.depth
        self.embedding = nn.Parameter(torch.empty(R, V, D))
        self.layers = nn.ModuleList(Layer(shape, R, residual_scale) for _ in range(L))
        self.norm = nn.Parameter(torch.ones(R, D))
        self.head = nn.Parameter(torch.empty(R, V, D))
        self.readout, self.share = Readout(), Share()
        cos_TK, sin_TK = rotary_table(shape.context, shape.head_dim, rope_theta)
        self.register_buffer("cos_TK", cos_TK, persistent=False)
        self.register_buffer("sin_TK", sin_TK, persistent=False)
        # 1 / sqrt(fan-in) keeps the variance of what goes through a matrix. With zeros at the ends of the branches and in the
        # head, the stream starts as the embedding alone and the loss at ln V, at every width and depth (`plan.recipe`).
        stds = {"embedding": embedding_std, "qkv": D**-0.5, "gate_up": D**-0.5, "attn_out": 0.0, "down": 0.0, "head": 0.0}
        self._initialise(seeds, stds)

    @torch.no_grad()
    def _initialise(self, seeds: list[int], stds: dict[str, float]) -> None:
        """Normal with standard deviation 1/sqrt(fan-in); projections onto the residual stream and the head start at zero."""
        for run, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed)
            for name, parameter in self.named_parameters():
                std = stds.get(name.rsplit(".", 1)[-1])
                if std is not None:
                    parameter[run].normal_(0.0, 1.0, generator=generator).mul_(std)

    def forward(self, tokens_RBT: Tensor) -> Tensor:
        """Logits of shape (R, B, T, V) for token ids of shape (R, B, T)."""
        return linear(self.hidden(tokens_RBT), self.head)

    def hidden(self, tokens_RBT: Tensor) -> Tensor:
        """What the head takes, shape (R, B, T, D), for token ids of shape (R, B, T)."""
        return rms_norm(self._stream(tokens_RBT, for_products(self._matrices())), self.norm)

    def losses(self, tokens_RBT1: Tensor) -> Tensor:
        """Cross-entropy in nats per token, shape (R, B), of windows of T + 1 tokens, shape (R, B, T + 1)."""
        *matrices, head_RVD = for_products([*self._matrices(), self.head])
        # A copy of its own has the same strides whatever the windows are a part of, for which the compiler looks.
        targets_RBT = tokens_RBT1[..., 1:].clone(memory_format=torch.contiguous_format)
        return self.readout(self._stream(tokens_RBT1[..., :-1], matrices), self.norm, head_RVD, targets_RBT)

    def parts(self) -> list[tuple[nn.Module, tuple[int, ...]]]:
        """What torch.compile takes, each by itself, and which of its arguments have sequences as their second axis."""
        return [*((layer, (0,)) for layer in self.layers), (self.readout, (0, 3)), (self.share, ())]

    def _matrices(self) -> list[Tensor]:
        return [matrix for layer in self.layers if isinstance(layer, Layer) for matrix in layer.matrices]

    def _stream(self, tokens_RBT: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        """The residual stream after the last layer, shape (R, B, T, D), by `_matrices` or what was made of them."""
        x_RBTD = embed(tokens_RBT, self.embedding)
        following = iter(matrices)
        for layer in self.layers:
            mine = Matrices(*itertools.islice(following, len(Matrices._fields)))
            x_RBTD = layer(x_RBTD, self.cos_TK, self.sin_TK, mine)
        return x_RBTD


class Readout(nn.Module):
    """From the residual stream to the losses; its parameters are the decoder's."""

    def forward(self, x_RBTD: Tensor, norm_RD: Tensor, head_RVD: Tensor, targets_RBT: Tensor) -> Tensor:
        """As `Decoder.losses`."""
        return mean_losses(linear(rms_norm(x_RBTD, norm_RD), head_RVD), targets_RBT)


class Share(nn.Module):
    """From logits to their losses and derivatives, for losses that are taken in parts (`head_loss`)."""

    def forward(self, logits_RNV: Tensor, targets_RN1: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """Each run's sum of losses, shape (R,), and the derivatives of the sum over `number` by the logits, in their type."""
        dtype, logits_RNV = logits_RNV.dtype, logits_RNV.float()
        if torch.compiler.is_compiling():  # what follows has two kernels then
            log_RNV = F.log_softmax(logits_RNV, dim=-1)
            is_target_RNV = torch.arange(log_RNV.shape[-1], device=log_RNV.device) == targets_RN1
            return -log_RNV.gather(-1, targets_RN1).sum((1, 2)), ((log_RNV.exp() - is_target_RNV.float()) / number).to(dtype)
        log_z_RN1 = torch.logsumexp(logits_RNV, dim=-1, keepdim=True)
        losses_R = (log_z_RN1 - logits_RNV.gather(-1, targets_RN1)).sum((1, 2))
        share_RNV = logits_RNV.sub_(log_z_RN1).exp_()
        return losses_R, share_RNV.scatter_add_(-1, targets_RN1, torch.full_like(log_z_RN1, -1.0)).div_(number).to(dtype)


class Matrices(NamedTuple):
    """Those of a layer; shapes in `Layer`."""

    qkv: Tensor
    attn_out: Tensor
    gate_up: Tensor
    down: Tensor


class Layer(nn.Module):
    """One pre-norm layer of R decoders. Its methods take its matrices, as they are or in the precision of the products."""

    def __init__(self, shape: DecoderShape, R: int, residual_scale: float) -> None:
        super().__init__()
        D, F_ = shape.width, shape.ffn_width
        self.residual_scale = residual_scale
        self.num_heads, self.head_dim = shape.num_heads, shape.head_dim
        self.attn_norm = nn.Parameter(torch.ones(R, D))
        self.qkv = nn.Parameter(torch.empty(R, 3 * D, D))
        self.attn_out = nn.Parameter(torch.empty(R, D, D))
        self.qk_norm = nn.Parameter(torch.ones(R, 2, self.head_dim)) if shape.qk_norm else None
        self.ffn_norm = nn.Parameter(torch.ones(R, D))
        self.gate_up = nn.Parameter(torch.empty(R, 2 * F_, D))
        self.down = nn.Parameter(torch.empty(R, D, F_))

    @property
    def matrices(self) -> Matrices:
        """As they are."""
        return Matrices(self.qkv, self.attn_out, self.gate_up, self.down)

    def forward(self, x_RBTD: Tensor, cos_TK: Tensor, sin_TK: Tensor, matrices: Matrices) -> Tensor:
        """The residual stream after attention and feed-forward."""
        attended = self.attention(rms_norm(x_RBTD, self.attn_norm), cos_TK, sin_TK, matrices)
        return self.after(x_RBTD, attended, matrices)

    def after(self, x_RBTD: Tensor, attended_RBTD: Tensor, matrices: Matrices) -> Tensor:
        """The residual stream with what attention gave, and after the feed-forward."""
        x_RBTD = torch.add(x_RBTD, attended_RBTD, alpha=self.residual_scale)
        gate, up = linear(rms_norm(x_RBTD, self.ffn_norm), matrices.gate_up).chunk(2, dim=-1)
        return torch.add(x_RBTD, linear(F.silu(gate) * up, matrices.down), alpha=self.residual_scale)

    def attention(self, x_RBTD: Tensor, cos_TK: Tensor, sin_TK: Tensor, matrices: Matrices) -> Tensor:
        """Causal attention of normalised inputs, projected back to the residual stream."""
        R, B, T, D = x_RBTD.shape
        q, k, v = self.heads(x_RBTD, cos_TK[:T], sin_TK[:T], matrices)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return linear(y.transpose(1, 2).reshape(R, B, T, D), matrices.attn_out)

    def heads(self, x_RBTD: Tensor, cos_TK: Tensor, sin_TK: Tensor, matrices: Matrices) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of normalised inputs at the places of the table, each of shape (R B, heads, T, K)."""
        R, B, T, _ = x_RBTD.shape
        qkv = linear(x_RBTD, matrices.qkv).view(R, B, T, 3, self.num_heads, self.head_dim)
        qk, v = qkv.split((2, 1), dim=3)
        if self.qk_norm is not None:
            qk = F.rms_norm(qk, (self.head_dim,), eps=NORM_EPS) * self.qk_norm.view(R, 1, 1, 2, 1, self.head_dim)
        (q, k), v = rotate(qk, cos_TK, sin_TK).to(v.dtype).unbind(3), v.squeeze(3)
        q, k, v = (y.reshape(R * B, T, self.num_heads, self.head_dim).transpose(1, 2) for y in (q, k, v))
        return q, k, v


def cross_entropy(logits_RBTV: Tensor, tokens_RBT1: Tensor) -> Tensor:
    """Mean over the positions of each window of T + 1 tokens, in nats per token, shape (R, B)."""
    return mean_losses(logits_RBTV, tokens_RBT1[..., 1:])


def mean_losses(logits_RBTV: Tensor, targets_RBT: Tensor) -> Tensor:
    """`cross_entropy` of logits and the tokens that they are for."""
    # In float32 also under autocast: bfloat16 has fewer digits than a loss needs to be compared.
    loss = F.cross_entropy(logits_RBTV.flatten(0, 2).float(), targets_RBT.flatten(), reduction="none")
    return loss.view(targets_RBT.shape).mean(-1)


def linear(x_RBTI: Tensor, w_ROI: Tensor) -> Tensor:
    """Each run's inputs times its own matrix, shape (R, B, T, O). One run takes the plain product, a faster kernel."""
    if w_ROI.shape[0] == 1:
        return F.linear(x_RBTI, w_ROI.squeeze(0))
    R, B, T, _ = x_RBTI.shape
    x_RNI = x_RBTI.reshape(R, B * T, -1)
    # Matrices of `for_products` take their gradients back by one kernel, if these lie as they do.
    is_cast = is_on_gpu(x_RBTI) and w_ROI.dtype != torch.float32
    products = Product.apply(x_RNI.to(w_ROI.dtype), w_ROI) if is_cast else torch.bmm(x_RNI, w_ROI.transpose(1, 2))
    return products.view(R, B, T, -1)


def is_on_gpu(x: Tensor) -> bool:
    """Whether few kernels matter, as each costs a launch and a way to memory. On CPU results stay what they are to the bit."""
    return x.is_cuda


def for_products(matrices: Sequence[Tensor]) -> Sequence[Tensor]:
    """The matrices in the precision of the products: under autocast on CUDA all of them at once, elsewhere as they are."""
    kind = matrices[0].device.type
    if is_on_gpu(matrices[0]) and torch.is_autocast_enabled(kind):
        return Cast.apply(torch.get_autocast_dtype(kind), *matrices)
    return matrices


def embed(tokens_RBT: Tensor, table_RVD: Tensor) -> Tensor:
    """Rows of each run's own table, shape (R, B, T, D)."""
    if is_on_gpu(table_RVD) and table_RVD.shape[1] <= PRODUCT_VOCABULARY:
        return Lookup.apply(tokens_RBT, table_RVD)
    return rows(tokens_RBT, table_RVD)


def rows(tokens_RBT: Tensor, table_RVD: Tensor) -> Tensor:
    """`embed` with torch's own gradient."""
    R, V, D = table_RVD.shape
    if R == 1:
        return F.embedding(tokens_RBT, table_RVD.view(V, D))
    offset = torch.arange(R, device=tokens_RBT.device).view(R, 1, 1) * V
    return F.embedding(tokens_RBT + offset, table_RVD.view(R * V, D))


class Lookup(torch.autograd.Function):
    """`embed` with its gradient as one product with the one-hot tokens, in the precision of the other products.

    Five kernels in the place of the thirty by which torch sorts the tokens, and repeatable to the bit, as additions in the
    order of arrival (index_add) are not on CUDA.
    """

    @staticmethod
    def forward(ctx: Any, tokens_RBT: Tensor, table_RVD: Tensor) -> Tensor:
        """Rows of each run's own table."""
        kind = table_RVD.device.type
        tokens_RBT = tokens_RBT.contiguous()
        ctx.save_for_backward(tokens_RBT)
        ctx.of_table = table_RVD.shape, table_RVD.dtype
        ctx.dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else table_RVD.dtype
        return rows(tokens_RBT, table_RVD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        """That of the table."""
        (tokens_RBT,), ((R, V, D), dtype) = ctx.saved_tensors, ctx.of_table
        by_rows = gradients[0].reshape(R, -1, D).to(ctx.dtype)
        tokens_RN1 = tokens_RBT.reshape(R, -1, 1)
        one_hot = by_rows.new_zeros(*by_rows.shape[:2], V).scatter_(-1, tokens_RN1, 1.0)
        with torch.autocast(by_rows.device.type, enabled=False):
            return None, torch.bmm(one_hot.transpose(1, 2), by_rows).to(dtype)


def rms_norm(x_RBTD: Tensor, gain_RD: Tensor) -> Tensor:
    """Each run's own gain times x / rms(x) (Zhang & Sennrich 2019)."""
    if gain_RD.shape[0] == 1:
        return F.rms_norm(x_RBTD, gain_RD.shape[1:], gain_RD.squeeze(0), eps=NORM_EPS)
    return F.rms_norm(x_RBTD, gain_RD.shape[1:], eps=NORM_EPS) * gain_RD[:, None, None]


def rotary_table(context: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of shape (context, head_dim), half-split layout as in Llama (Su et al. 2021).

    Each angle stands twice, and the sines of the first half are negative, so that what turns is x cos + swapped sin, where
    `swapped` has the halves of x in the other order.
    """
    # In float64, since an angle of many turns keeps few digits of its remainder.
    frequencies = torch.exp(torch.arange(0, head_dim, 2, dtype=torch.float64) * (-math.log(theta) / head_dim))
    angles = torch.arange(context, dtype=torch.float64)[:, None] * frequencies
    cos, sin = angles.cos().float(), angles.sin().float()
    return torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)


def rotate(x: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Rotary position embedding of x, shape (R, B, T, ..., K), two axes between T and K; one way is the faster on CPU."""
    cos, sin = cos_TK[:, None, None], sin_TK[:, None, None]
    return rotate_whole(x, cos, sin) if is_on_gpu(x) else rotate_halves(x, cos, sin)


def rotate_whole(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """By three kernels, or as a part of one that is compiled."""
    swapped = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
    return torch.addcmul(x * cos, swapped, sin)


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The same on half of the numbers at a time."""
    (first, second), cos, sin = x.chunk(2, dim=-1), cos.chunk(2, dim=-1)[1], sin.chunk(2, dim=-1)[1]
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
