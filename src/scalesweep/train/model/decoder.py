"""A small decoder in the layout of Llama and Qwen3: RMSNorm, RoPE, causal attention with QK-norm, SwiGLU, untied head.

Every parameter carries a leading run axis R, so that several runs of one shape can be stepped as one batch of matrix products;
R = 1 is the plain case. Axes in names: R runs, B sequences, T tokens, D width, K width of a head, F feed-forward width, V
vocabulary, I and O the inputs and outputs of a matrix.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalesweep.plan.flops import DecoderShape

NORM_EPS = 1e-6
"""Under the root of every RMSNorm: the default of Llama's and Qwen3's configurations in transformers."""


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
        x_RBTD = embed(tokens_RBT, self.embedding)
        for layer in self.layers:
            x_RBTD = layer(x_RBTD, self.cos_TK, self.sin_TK)
        return rms_norm(x_RBTD, self.norm)

    def losses(self, tokens_RBT1: Tensor) -> Tensor:
        """Cross-entropy in nats per token, shape (R, B), of windows of T + 1 tokens, shape (R, B, T + 1)."""
        return cross_entropy(self(tokens_RBT1[..., :-1]), tokens_RBT1)


class Layer(nn.Module):
    """One pre-norm layer of R decoders."""

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

    def forward(self, x_RBTD: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
        """The residual stream after attention and feed-forward."""
        attended = self.attention(rms_norm(x_RBTD, self.attn_norm), cos_TK, sin_TK)
        return self.after(x_RBTD, attended)

    def after(self, x_RBTD: Tensor, attended_RBTD: Tensor) -> Tensor:
        """The residual stream with what attention gave, and after the feed-forward."""
        x_RBTD = torch.add(x_RBTD, attended_RBTD, alpha=self.residual_scale)
        gate, up = linear(rms_norm(x_RBTD, self.ffn_norm), self.gate_up).chunk(2, dim=-1)
        return torch.add(x_RBTD, linear(F.silu(gate) * up, self.down), alpha=self.residual_scale)

    def attention(self, x_RBTD: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
        """Causal attention of normalised inputs, projected back to the residual stream."""
        R, B, T, D = x_RBTD.shape
        q, k, v = self.heads(x_RBTD, cos_TK[:T], sin_TK[:T])
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return linear(y.transpose(1, 2).reshape(R, B, T, D), self.attn_out)

    def heads(self, x_RBTD: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of normalised inputs at the places of the table, each of shape (R B, heads, T, K)."""
        R, B, T, _ = x_RBTD.shape
        qkv = linear(x_RBTD, self.qkv).view(R, B, T, 3, self.num_heads, self.head_dim)
        qk, v = qkv[:, :, :, :2], qkv[:, :, :, 2]
        if self.qk_norm is not None:
            qk = F.rms_norm(qk, (self.head_dim,), eps=NORM_EPS) * self.qk_norm.view(R, 1, 1, 2, 1, self.head_dim)
        q, k = rotate(qk, cos_TK, sin_TK).to(v.dtype).unbind(3)
        q, k, v = (y.reshape(R * B, T, self.num_heads, self.head_dim).transpose(1, 2) for y in (q, k, v))
        return q, k, v


def cross_entropy(logits_RBTV: Tensor, tokens_RBT1: Tensor) -> Tensor:
    """Mean over the positions of each window of T + 1 tokens, in nats per token, shape (R, B)."""
    targets = tokens_RBT1[..., 1:]
    # In float32 also under autocast: bfloat16 has fewer digits than a loss needs to be compared.
    loss = F.cross_entropy(logits_RBTV.flatten(0, 2).float(), targets.flatten(), reduction="none")
    return loss.view(targets.shape).mean(-1)


def linear(x_RBTI: Tensor, w_ROI: Tensor) -> Tensor:
    """Each run's inputs times its own matrix, shape (R, B, T, O). One run takes the plain product, a faster kernel."""
    if w_ROI.shape[0] == 1:
        return F.linear(x_RBTI, w_ROI.squeeze(0))
    R, B, T, _ = x_RBTI.shape
    return torch.bmm(x_RBTI.reshape(R, B * T, -1), w_ROI.transpose(1, 2)).view(R, B, T, -1)


def embed(tokens_RBT: Tensor, table_RVD: Tensor) -> Tensor:
    """Rows of each run's own table, shape (R, B, T, D)."""
    R, V, D = table_RVD.shape
    offset = torch.arange(R, device=tokens_RBT.device).view(R, 1, 1) * V
    return F.embedding(tokens_RBT + offset, table_RVD.view(R * V, D))


def rms_norm(x_RBTD: Tensor, gain_RD: Tensor) -> Tensor:
    """Each run's own gain times x / rms(x) (Zhang & Sennrich 2019)."""
    if gain_RD.shape[0] == 1:
        return F.rms_norm(x_RBTD, gain_RD.shape[1:], gain_RD.squeeze(0), eps=NORM_EPS)
    return F.rms_norm(x_RBTD, gain_RD.shape[1:], eps=NORM_EPS) * gain_RD[:, None, None]


def rotary_table(context: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of shape (context, head_dim / 2), half-split layout as in Llama (Su et al. 2021)."""
    # In float64, since an angle of many turns keeps few digits of its remainder.
    frequencies = torch.exp(torch.arange(0, head_dim, 2, dtype=torch.float64) * (-math.log(theta) / head_dim))
    angles = torch.arange(context, dtype=torch.float64)[:, None] * frequencies
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Rotary position embedding of x, shape (R, B, T, ..., K), two axes between T and K."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos_TK[:, None, None], sin_TK[:, None, None]
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
