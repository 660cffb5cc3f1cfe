"""Rules that turn a size and a budget into a shape, a batch, a learning rate and a warm-up; one pure function a rule.

The numbers in them are settings: configs/recipe/, configs/model/ and configs/optim/ say where each default is from.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scalesweep.counting import ParamsConvention
from scalesweep.errors import SpecError
from scalesweep.plan.flops import DecoderShape, ModelShape, ModuleShape, num_params
from scalesweep.settings.base import Ladder, Shape
from scalesweep.settings.plan import ArchitectureSpec, CustomSpec, ModelSpec, RecipeSpec
from scalesweep.settings.train import OptimSpec

Scaled = Callable[[Any, int, int, int, int], ModuleShape]
"""An architecture, or a class of the user's own, at a width and a depth, with the head's width and the vocabulary."""
FARTHEST = 2.0
"""Factor in N beyond which the nearest model is not what was asked for; a judgement."""
_MOST_HEADS = 1 << 14
"""Heads of the widest model that is tried; a judgement, far beyond what a small sweep asks for."""


def ladder_targets(ladder: Ladder) -> list[int]:
    """Target sizes (parameters) evenly spaced in log N, both ends included."""
    ratio = math.log(ladder.largest / ladder.smallest) / (ladder.num - 1)
    return [round(ladder.smallest * math.exp(ratio * i)) for i in range(ladder.num)]


def resolve_shape(
    size: Shape | int, recipe: RecipeSpec, model: ModelSpec, vocab_size: int, convention: ParamsConvention
) -> DecoderShape:
    """The decoder of a declared size.

    A target N is met by width alone, at the recipe's depth: the width, a multiple of the head's width, whose N is nearest in
    log N.

    Raises:
        SpecError: a width that the heads do not divide.
    """
    if isinstance(size, Shape):
        _check_width(size.width, recipe)
        return _shape(size.width, size.depth, recipe, model, vocab_size)

    def distance(num_heads: int) -> float:
        shape = _shape(num_heads * recipe.head_dim, recipe.depth, recipe, model, vocab_size)
        return abs(math.log(num_params(shape, convention) / size))

    # N > 4 depth d^2, the matrices of attention alone, bounds d; 2 more heads leave room for a nearest size above the target.
    widest = 2 + math.ceil(math.sqrt(size / (4 * recipe.depth)) / recipe.head_dim)
    return _shape(min(range(1, widest + 1), key=distance) * recipe.head_dim, recipe.depth, recipe, model, vocab_size)


def _check_width(width: int, recipe: RecipeSpec) -> None:
    if width % recipe.head_dim:
        raise SpecError(
            f"sweep.sizes: width {width} is not a multiple of recipe.head_dim = {recipe.head_dim}; "
            f"use {max(1, width // recipe.head_dim) * recipe.head_dim} or change recipe.head_dim."
        )


def resolve_module(
    size: Shape | int,
    recipe: RecipeSpec,
    model: ArchitectureSpec | CustomSpec,
    vocab_size: int,
    convention: ParamsConvention,
    scaled: Scaled,
) -> ModuleShape:
    """The same for an architecture of `transformers`, whose N `scaled` counts; N grows with the width, so it is bracketed.

    Raises:
        SpecError: a width that the heads do not divide, or an architecture that cannot be scaled so.
    """
    if isinstance(size, Shape):
        _check_width(size.width, recipe)
        return scaled(model, size.width, size.depth, recipe.head_dim, vocab_size)

    def at(num_heads: int) -> ModuleShape:
        return scaled(model, num_heads * recipe.head_dim, recipe.depth, recipe.head_dim, vocab_size)

    low, high = 1, 2
    while num_params(at(high), convention) < size:
        if high > _MOST_HEADS:
            raise SpecError(f"sweep.sizes: no width of {model.architecture} has N = {size:,} ({convention}); leave it out.")
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if num_params(at(middle), convention) < size else (low, middle)
    return min(at(low), at(high), key=lambda shape: abs(math.log(num_params(shape, convention) / size)))


def _shape(width: int, depth: int, recipe: RecipeSpec, model: ModelSpec, vocab_size: int) -> DecoderShape:
    return DecoderShape(
        width=width,
        depth=depth,
        num_heads=width // recipe.head_dim,
        ffn_width=8 * max(1, round(model.ffn_ratio * width / 8)),  # a convention: tensor cores take multiples of 8
        vocab_size=vocab_size,
        context=model.context,
        qk_norm=model.qk_norm,
    )


def batch_sequences(tokens: float, recipe: RecipeSpec, context: int) -> int:
    """Sequences per step: batch_tokens (D / reference_tokens)^batch_exponent / context, at least one.

    The best batch grows with D, about as D^0.383, and hardly with N (Bergsma et al. 2025, arXiv 2505.13738).
    """
    batch_tokens: float = recipe.batch_tokens * (tokens / recipe.reference_tokens) ** recipe.batch_exponent
    return max(1, round(batch_tokens / context))


def warmup_steps(steps: int, recipe: RecipeSpec) -> int:
    """Warm-up steps: a fixed number, so that budgets share a trunk, but never more than a fixed share of the run.

    A warm-up that dwarfs short runs bends the law (Porian et al. 2024, section 3.3).
    """
    return min(recipe.warmup_steps, round(recipe.warmup_fraction * steps))


@dataclass(frozen=True)
class Parametrisation:
    """What a shape makes of the settings of the base model; the fields are those of `plan.cell.Cell`."""

    residual_scale: float
    hidden_lr: float
    head_lr: float
    embedding_lr: float
    weight_decay: float
    head_weight_decay: float
    hidden_eps: float
    head_eps: float
    embedding_eps: float
    qk_norm_eps: float


def parametrise(shape: ModelShape, recipe: RecipeSpec, optim: OptimSpec) -> Parametrisation:
    """CompleteP with alpha = 1 (Dey et al. 2025, arXiv 2505.01618), with m = width / base_width and l = depth / base_depth.

    | parameters                   | learning rate | weight decay | epsilon       |
    |------------------------------|---------------|--------------|---------------|
    | matrices of the layers       | lr / m        | decay m      | eps / (m l)   |
    | gains of the layers' norms   | lr ratio      | 0            | eps / (m l)   |
    | gains of queries and keys    | lr ratio      | 0            | eps / l       |
    | embedding, last norm's gain  | lr ratio      | 0            | eps / m       |
    | head                         | lr / m        | decay m      | eps           |

    Every residual branch is multiplied by 1 / l. The rates are those of the authors' code (EleutherAI/nanoGPT-mup, branch
    completep, `configure_optimizers`), with two differences that follow from the decoder. Their logits are multiplied by 1 / m
    and their head has learning rate lr, decay, and eps / m; taking the multiplier into a head that starts at zero gives the
    last line (Yang & Hu 2021, arXiv 2011.14522, abc-symmetry). The heads of a layer share the gains of queries and keys, and
    their number grows with m, so that these gradients do not shrink with m (arXiv 2512.22382). Initial values need no rule:
    matrices have variance 1 / fan-in, projections onto the residual stream and the head are zero, the embedding is the same
    at every width.

    mup is the same with l = 1, and sp with m = l = 1, which is what every model but the decoder has.

    Muon's matrices have learning rate lr lr_ratio / sqrt(m) and decay sqrt(m), at every depth; their orthogonalised update,
    whose singular values are about 1, is multiplied by 0.2 sqrt(width) sqrt(out / in) (`train.optim.muon`). The root of m
    cancels that of the width, so that the spectral norm of an update is sqrt(out / in) times a constant at every width, the
    spectral condition (Yang, Simon & Bernstein 2023, arXiv 2310.17813; for Muon, Qiu et al. 2025, arXiv 2512.05620). Adam's
    update is nearly of rank one: its spectral norm grows with m, not its root. The size of the gradient does not enter, so
    depth and epsilon need no rule. With sp the factor alone makes the rate of updates about that of AdamW at every width.
    """
    m = 1.0 if recipe.parametrisation == "sp" else shape.width / recipe.base_width
    l = shape.depth / recipe.base_depth if recipe.parametrisation == "completep" else 1.0  # noqa: E741
    hidden_m, hidden_ratio = (math.sqrt(m), optim.lr_ratio or 1.0) if optim.name == "muon" else (m, 1.0)
    return Parametrisation(
        residual_scale=1 / l,
        hidden_lr=recipe.lr * hidden_ratio / hidden_m,
        head_lr=recipe.lr / m,
        embedding_lr=recipe.lr * recipe.embedding_lr_ratio,
        weight_decay=optim.weight_decay * hidden_m,
        head_weight_decay=optim.weight_decay * m,
        hidden_eps=optim.eps / (m * l),
        head_eps=optim.eps,
        embedding_eps=optim.eps / m,
        qk_norm_eps=optim.eps / l,
    )


def check_near(
    shapes: Sequence[ModelShape], declared: Sequence[Shape | int], recipe: RecipeSpec, convention: ParamsConvention
) -> None:
    """Raise SpecError where no width has an N within a factor of 2 of a target."""
    for shape, size in zip(shapes, declared, strict=True):
        n = num_params(shape, convention)
        if not isinstance(size, Shape) and abs(math.log(n / size)) > math.log(FARTHEST):
            which = "the smallest" if shape.width == recipe.head_dim else "the nearest"
            raise SpecError(
                f"sweep.sizes: {size:,} parameters are more than a factor of {FARTHEST:g} from those of any model; {which} at "
                f"depth {shape.depth} has N = {n:,} ({convention}); raise it to that, or lower recipe.head_dim, recipe.depth "
                "or the vocabulary (data.tokenizer.vocab_size)."
            )


def check_distinct(shapes: Sequence[ModelShape], declared: Sequence[object], convention: ParamsConvention) -> None:
    """Raise SpecError where two declared sizes came out as one shape."""
    seen: dict[ModelShape, object] = {}
    for shape, size in zip(shapes, declared, strict=True):
        if shape in seen:
            raise SpecError(
                f"sweep.sizes: {seen[shape]} and {size} both become width {shape.width}, depth {shape.depth} "
                f"(N = {num_params(shape, convention):,}, {convention}); remove one, or lower recipe.head_dim."
            )
        seen[shape] = size
