"""Parameters and training FLOPs of a model by each convention in use; of the decoder in closed form, of others as counted.

A convention moves fitted exponents (Porian et al. 2024; Pearce & Song 2024), so every group of parameters is counted apart and
the choice is made in the analysis. Totals equal `sum(p.numel())` and torch's FLOP counter; the tests say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scalesweep.counting import FlopsConvention, ParamsConvention
from scalesweep.errors import SpecError

NEWTON_SCHULZ_STEPS = 5
"""Of Muon, as published (Jordan et al. 2024)."""


@dataclass(frozen=True)
class DecoderShape:
    """The dimensions of a decoder: RMSNorm, RoPE, causal attention, SwiGLU, untied head."""

    width: int
    """d, the residual stream; attention has the same width in total."""
    depth: int
    num_heads: int
    ffn_width: int
    """f, the hidden width of the feed-forward block."""
    vocab_size: int
    """V, tokens in the vocabulary."""
    context: int
    """T, tokens per sequence."""
    qk_norm: bool
    """Whether queries and keys have an RMSNorm, with one gain per head dimension shared by the heads of a layer."""

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.width // self.num_heads


@dataclass(frozen=True)
class ParamGroups:
    """Parameters of each group; `total` is their sum."""

    embedding: int
    """Input embedding, V d."""
    head: int
    """Output head, V d."""
    matrices: int
    """Attention and feed-forward matrices of all layers, depth (4 d^2 + 3 d f)."""
    norms: int
    """Gains of all norms."""

    @property
    def total(self) -> int:
        """All parameters."""
        return self.embedding + self.head + self.matrices + self.norms


@dataclass(frozen=True)
class ModuleCounts:
    """What was counted of a model that has no closed form here."""

    groups: ParamGroups
    flops_per_token: float
    """Training FLOPs per token by the convention `attention`."""
    flops_by: Literal["formula", "counter"]
    """6 N_matmul + 12 depth d T, or torch's FlopCounterMode."""


@dataclass(frozen=True)
class ModuleShape:
    """A causal language model of `transformers` at one size, or of a class of the user's own."""

    architecture: str
    """`model.architecture`, or `model.target`, which has a colon."""
    width: int
    depth: int
    vocab_size: int
    context: int
    config: str
    """The whole configuration as JSON; of a class of the user's own its target, arguments and the hash of its source."""
    counts: ModuleCounts

    @property
    def is_custom(self) -> bool:
        """Whether it is of a class of the user's own."""
        return ":" in self.architecture


ModelShape = DecoderShape | ModuleShape


def shape_from_dict(values: Mapping[str, Any]) -> ModelShape:
    """Inverse of `dataclasses.asdict`."""
    if "architecture" not in values:
        return DecoderShape(**values)
    counts = values["counts"]
    return ModuleShape(**{**values, "counts": ModuleCounts(**{**counts, "groups": ParamGroups(**counts["groups"])})})


def count_params(shape: ModelShape) -> ParamGroups:
    """Parameters of `shape` by group."""
    if isinstance(shape, ModuleShape):
        return shape.counts.groups
    d, f = shape.width, shape.ffn_width
    qk_gains = 2 * shape.head_dim if shape.qk_norm else 0
    return ParamGroups(
        embedding=shape.vocab_size * d,
        head=shape.vocab_size * d,
        matrices=shape.depth * (4 * d * d + 3 * d * f),
        norms=shape.depth * (2 * d + qk_gains) + d,
    )


def num_params(shape: ModelShape, convention: ParamsConvention) -> int:
    """N by one convention.

    total: everything. with_head: all but the input embedding, which is a lookup and costs no FLOPs. non_embedding: neither
    embedding nor head (Kaplan et al. 2020, section 2.1). matmul: the matrices that a token is multiplied with, head included.
    """
    groups = count_params(shape)
    return {
        "total": groups.total,
        "with_head": groups.total - groups.embedding,
        "non_embedding": groups.matrices + groups.norms,
        "matmul": groups.matrices + groups.head,
    }[convention]


def flops_per_token(shape: ModelShape, convention: FlopsConvention, params: ParamsConvention = "with_head") -> float:
    """Training FLOPs (forward and backward) per token by one convention.

    attention: 6 N_matmul + 12 depth d T: both attention products, no causal halving (PaLM, appendix B), as a counter sees it.
    kaplan: 6 N with N the layers' matrices, head and context term left out (Kaplan et al. 2020, section 2.1).
    six_n: 6 N with N counted by `params`.
    chinchilla: Hoffmann et al. 2022, appendix F, with three matrices in the feed-forward block.

    Raises:
        SpecError: chinchilla, of another model than the decoder.
    """
    if isinstance(shape, ModuleShape) and convention == "attention":
        return shape.counts.flops_per_token
    if isinstance(shape, ModuleShape) and convention == "chinchilla":
        raise SpecError("count.flops = 'chinchilla' is for model=decoder only; use attention, kaplan or six_n.")
    if convention == "attention":
        return attention_flops_per_token(num_params(shape, "matmul"), shape.depth, shape.width, shape.context)
    if convention == "kaplan":
        return 6.0 * count_params(shape).matrices
    if convention == "six_n":
        return 6.0 * num_params(shape, params)
    assert isinstance(shape, DecoderShape)
    return _chinchilla_flops_per_token(shape)


def optimizer_flops_per_step(shape: ModelShape, optimizer: str) -> float | None:
    """FLOPs of an optimizer's own matrix products in a step, which no convention of C counts; None where not known.

    AdamW multiplies no matrices. Muon makes each matrix of the layers orthogonal by itself: a step of its quintic on r rows and
    s >= r columns is X X^T, its square, and their sum times X, 4 r^2 s + 2 r^3 FLOPs (Jordan et al. 2024,
    kellerjordan.github.io/posts/muon).
    """
    if optimizer == "adamw":
        return 0.0
    if optimizer != "muon" or isinstance(shape, ModuleShape):
        return None
    d, f = shape.width, shape.ffn_width
    products = sum(number * (4 * r * r * s + 2 * r**3) for number, r, s in ((4, d, d), (3, min(d, f), max(d, f))))
    return float(NEWTON_SCHULZ_STEPS * shape.depth * products)


def attention_flops_per_token(matmul_params: int, depth: int, attention_width: int, context: int) -> float:
    """6 N_matmul + 12 depth d_attn T (training FLOPs per token)."""
    return 6.0 * matmul_params + 12.0 * depth * attention_width * context


def _chinchilla_flops_per_token(shape: DecoderShape) -> float:
    """Hoffmann et al. 2022, appendix F: forward FLOPs of a sequence, times 3 for training, divided by its length."""
    s, d, f, vocab = shape.context, shape.width, shape.ffn_width, shape.vocab_size
    embed = 2 * s * vocab * d
    qkv = 2 * 3 * s * d * d
    logits = 2 * s * s * d
    softmax = 3 * shape.num_heads * s * s
    reduction = 2 * s * s * d
    projection = 2 * s * d * d
    dense = 2 * s * 3 * d * f
    head = 2 * s * d * vocab
    forward = embed + shape.depth * (qkv + logits + softmax + reduction + projection + dense) + head
    return 3.0 * forward / s
