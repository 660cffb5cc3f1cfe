"""Rules that turn a size and a budget into a shape, a batch, a learning rate and a warm-up; one pure function a rule.

The defaults of configs/recipe/ were measured on tiny decoders; docs/results.md holds the measurements.
"""

import math
from collections.abc import Sequence

from scalesweep.config import ModelSpec, ParamsConvention, RecipeSpec
from scalesweep.errors import SpecError
from scalesweep.flops import DecoderShape, num_params
from scalesweep.spec import Ladder, Shape


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
        if size.width % recipe.head_dim:
            raise SpecError(
                f"sweep.sizes: width {size.width} is not a multiple of recipe.head_dim = {recipe.head_dim}; "
                f"use {max(1, size.width // recipe.head_dim) * recipe.head_dim} or change recipe.head_dim."
            )
        return _shape(size.width, size.depth, recipe, model, vocab_size)

    def distance(num_heads: int) -> float:
        shape = _shape(num_heads * recipe.head_dim, recipe.depth, recipe, model, vocab_size)
        return abs(math.log(num_params(shape, convention) / size))

    widest = 2 + math.ceil(math.sqrt(size / (4 * recipe.depth)) / recipe.head_dim)
    return _shape(min(range(1, widest + 1), key=distance) * recipe.head_dim, recipe.depth, recipe, model, vocab_size)


def _shape(width: int, depth: int, recipe: RecipeSpec, model: ModelSpec, vocab_size: int) -> DecoderShape:
    return DecoderShape(
        width=width,
        depth=depth,
        num_heads=width // recipe.head_dim,
        ffn_width=8 * max(1, round(model.ffn_ratio * width / 8)),
        vocab_size=vocab_size,
        context=model.context,
        qk_norm=model.qk_norm,
    )


def batch_sequences(tokens: float, recipe: RecipeSpec, context: int) -> int:
    """Sequences per step: batch_tokens (D / reference_tokens)^batch_exponent / context, at least one."""
    batch_tokens: float = recipe.batch_tokens * (tokens / recipe.reference_tokens) ** recipe.batch_exponent
    return max(1, round(batch_tokens / context))


def warmup_steps(steps: int, recipe: RecipeSpec) -> int:
    """Warm-up steps: a fixed number, but never more than a fixed share of the run.

    A warm-up that dwarfs short runs bends the law (Porian et al. 2024, section 3.3).
    """
    return min(recipe.warmup_steps, round(recipe.warmup_fraction * steps))


def hidden_lr(width: int, recipe: RecipeSpec) -> float:
    """Peak learning rate of matrices with fan-in d: lr base_width / d, as muP has it for Adam (Yang et al. 2022, table 3)."""
    return recipe.lr * recipe.base_width / width


def embedding_lr(recipe: RecipeSpec) -> float:
    """Peak learning rate of the embedding and the norms, the same at every width."""
    return recipe.lr * recipe.embedding_lr_ratio


def check_distinct(shapes: Sequence[DecoderShape], declared: Sequence[object], convention: ParamsConvention) -> None:
    """Raise SpecError where two declared sizes came out as one shape."""
    seen: dict[DecoderShape, object] = {}
    for shape, size in zip(shapes, declared, strict=True):
        if shape in seen:
            raise SpecError(
                f"sweep.sizes: {seen[shape]} and {size} both become width {shape.width}, depth {shape.depth} "
                f"(N = {num_params(shape, convention):,}, {convention}); remove one, or lower recipe.head_dim."
            )
        seen[shape] = size
