"""Cells of the grid and beside it: the shape, the schedule and the rates of every one, by the recipe."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from scalesweep.errors import SpecError
from scalesweep.plan import recipe as rules
from scalesweep.plan.cell import Cell, Precision
from scalesweep.plan.flops import ModelShape, flops_per_token, num_params
from scalesweep.plan.selection import Part, Selection, Transform, WindowKind
from scalesweep.plan.trials import lr_from_law
from scalesweep.settings.base import Ladder, Shape
from scalesweep.settings.data import PLACES, TransformSpec
from scalesweep.settings.plan import FurtherCell, ModelSpec, RecipeSpec
from scalesweep.settings.settings import Settings
from scalesweep.settings.train import OptimSpec, TrainSpec

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class CorpusFacts:
    """What a plan needs to know of a prepared corpus, and of models that only their library can describe."""

    name: str
    hash: str
    """Hash of the tokens of both splits and the tokenizer."""
    vocab_size: int
    unique_tokens: int
    """U: training tokens that can be read without repeating one."""
    scaled: rules.Scaled | None = None
    """Scales and counts an architecture of `transformers`; None where only the decoder is planned."""
    parts: tuple[Part, ...] = ()
    """Of a mixture; empty for one stream."""
    own_optimizer: Callable[[OptimSpec], str] | None = None
    """Tries an optimizer of the user's own, and gives what cells hold of it; None where none is planned."""


def resolve_precision(spec: TrainSpec, device: Device) -> Precision:
    """By default bfloat16 on CUDA and float32 on CPU, where bfloat16 products are many times slower than float32 on most."""
    if spec.precision == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    return spec.precision


def grid_cells(settings: Settings, corpus: CorpusFacts, device: Device) -> Iterator[Cell]:
    """The cells of one variant of a sweep, by size, budget and seed, and after them those beside the grid.

    Raises:
        SpecError: a budget below one batch, two sizes that become one, or a class of the user's own that breaks its contract.
    """
    sweep, convention = settings.sweep, settings.count.params
    sizes = declared_sizes(settings)
    shapes = [resolve_shape(size, settings, corpus) for size in sizes]
    rules.check_near(shapes, sizes, settings.recipe, convention)
    rules.check_distinct(shapes, sizes, convention)
    shapes.sort(key=lambda shape: num_params(shape, convention))
    low, high = sweep.tokens_per_parameter or (0.0, math.inf)
    own = _own_optimizer(settings.optim, corpus)
    for (i, shape), (j, budget), seed in itertools.product(
        enumerate(shapes), enumerate(sorted(set(sweep.budgets))), sweep.seeds
    ):
        on_grid = sweep.design != "lshape" or i == 0 or j == 0
        if on_grid and low <= declared_tokens(settings, shape, budget) / num_params(shape, convention) <= high:
            tokens = declared_tokens(settings, shape, budget)
            cell = _cell(settings, shape, tokens, seed, corpus, device, f"sweep.budgets: {budget:g} ({sweep.design})")
            yield dataclasses.replace(cell, own_optimizer=own) if own else cell
    for further in sweep.further:
        cell = further_cell(further, settings, corpus, device)
        yield dataclasses.replace(cell, own_optimizer=own) if own else cell


def further_cell(further: FurtherCell, settings: Settings, corpus: CorpusFacts, device: Device) -> Cell:
    """A cell beside the grid, by the same rules as those of the grid.

    Raises:
        SpecError: fewer tokens than one batch, or no shape near the size.
    """
    shape = resolve_shape(further.size, settings, corpus)
    rules.check_near([shape], [further.size], settings.recipe, settings.count.params)
    return _cell(settings, shape, further.tokens, further.seed, corpus, device, f"sweep.further: {further.tokens:g} tokens")


def _own_optimizer(optim: OptimSpec, corpus: CorpusFacts) -> str:
    """What cells hold of an optimizer of the user's own; empty of the others."""
    if optim.name != "custom":
        return ""
    assert corpus.own_optimizer is not None
    return corpus.own_optimizer(optim)


def declared_sizes(settings: Settings) -> list[Shape | int]:
    """The sizes as declared, a ladder written out."""
    sizes = settings.sweep.sizes
    return list(rules.ladder_targets(sizes)) if isinstance(sizes, Ladder) else list(sizes)


def resolve_shape(size: Shape | int, settings: Settings, corpus: CorpusFacts) -> ModelShape:
    """The model of a declared size.

    Raises:
        SpecError: heads that do not divide the width, or an architecture that cannot be scaled so.
    """
    recipe, model, convention = settings.recipe, settings.model, settings.count.params
    if isinstance(model, ModelSpec):
        return rules.resolve_shape(size, recipe, model, corpus.vocab_size, convention)
    if recipe.parametrisation != "sp":
        raise SpecError(
            f"recipe.parametrisation = {recipe.parametrisation!r}: its rules are those of model=decoder; "
            f"use recipe=sp with {model.architecture}."
        )
    if settings.optim.name == "muon":
        raise SpecError(
            f"optim.name = {settings.optim.name!r}: it must know which matrices lie fused in a parameter, which it does of "
            f"model=decoder alone; use optim=adamw with {model.architecture}."
        )
    assert corpus.scaled is not None
    return rules.resolve_module(size, recipe, model, corpus.vocab_size, convention, corpus.scaled)


def declared_tokens(settings: Settings, shape: ModelShape, budget: float) -> float:
    """Training tokens of a declared budget, whose unit the design gives."""
    if settings.sweep.design == "rays":
        return budget * num_params(shape, settings.count.params)
    if settings.sweep.design == "isoflop":
        return budget / flops_per_token(shape, settings.count.flops, settings.count.params)
    return budget


def _cell(
    settings: Settings,
    shape: ModelShape,
    tokens: float,
    seed: int,
    corpus: CorpusFacts,
    device: Device,
    asked: str,
) -> Cell:
    recipe, train, optim = _with_lr_law(settings, shape, tokens), settings.train, settings.optim
    sequences = rules.batch_sequences(tokens, recipe, shape.context)
    if tokens < sequences * shape.context:
        raise SpecError(
            f"{asked} is {tokens:,.0f} tokens at width {shape.width}, below "
            f"one batch of {sequences * shape.context:,} tokens; raise it, or lower recipe.batch_tokens or model.context."
        )
    steps = round(tokens / (sequences * shape.context))
    warmup = rules.warmup_steps(steps, recipe)
    # The decay ends a run and leaves the warm-up alone; a cosine is decay from the end of the warm-up on.
    decay = min(steps - warmup, math.ceil(train.decay_fraction * steps)) if train.schedule == "wsd" else steps - warmup
    selection, unique_tokens = _selected(settings, corpus, shape.context, sequences)
    return Cell(
        shape=shape,
        rope_theta=getattr(settings.model, "rope_theta", 0.0),
        embedding_std=getattr(settings.model, "embedding_std", 0.0),
        corpus=corpus.name,
        corpus_hash=corpus.hash,
        unique_tokens=unique_tokens,
        seed=seed,
        steps=steps,
        batch_sequences=sequences,
        warmup_steps=warmup,
        schedule=train.schedule,
        decay_steps=decay,
        **dataclasses.asdict(rules.parametrise(shape, recipe, optim)),
        optimizer=optim.name,
        beta1=optim.beta1,
        beta2=optim.beta2,
        momentum=optim.momentum or 0.0,
        grad_clip=optim.grad_clip,
        z_loss=optim.z_loss,
        precision=resolve_precision(train, device),
        validation_tokens=train.validation_tokens,
        selection=selection,
    )


def _selected(settings: Settings, corpus: CorpusFacts, context: int, sequences: int) -> tuple[Selection | None, int]:
    """What `data.unique_tokens` and `data.transform` leave of the corpus or of a mixture's parts, and U.

    Returns:
        The selection, None where that is every window of one stream as it is; and the distinct tokens that it leaves.

    Raises:
        SpecError: fewer windows than a batch has, more than there are, or a transform of none.
    """
    asked, transform = settings.data.unique_tokens, _transform(settings.data.transform)
    available = Selection(parts=corpus.parts).windows(corpus.unique_tokens + 1, context)
    if corpus.parts and not all(available):
        raise SpecError(
            f"data.parts.{available.index(0)} has fewer training tokens than one window of model.context + 1 = {context + 1}: "
            "give more text or lower model.context."
        )
    limit = sum(available) if asked is None else asked // context
    if asked is not None:
        _check_limit(asked, limit, corpus, context, sequences, available)
    is_limited = limit < sum(available)
    selection = Selection(limit if is_limited else None, settings.data.seed if is_limited else 0, transform, corpus.parts)
    if transform is not None:
        _check_transform(transform, selection.windows(corpus.unique_tokens + 1, context), sequences)
    if selection == Selection():
        return None, corpus.unique_tokens
    return selection, sum(selection.unique_tokens(corpus.unique_tokens + 1, context))


def _check_limit(asked: int, limit: int, corpus: CorpusFacts, context: int, sequences: int, available: Sequence[int]) -> None:
    if limit < sequences:
        raise SpecError(
            f"data.unique_tokens = {asked:,} is {limit} windows of model.context = {context} tokens, fewer than the "
            f"{sequences} of a batch: raise it to {sequences * context:,} or more, or lower recipe.batch_tokens."
        )
    for i, (most, places) in enumerate(zip(available, Selection(parts=corpus.parts).places, strict=True)):
        if limit * places // PLACES == 0:
            raise SpecError(
                f"data.unique_tokens = {asked:,} leaves no window of data.parts.{i}: raise it, or the part's weight."
            )
        if limit * places // PLACES > most:
            of = f", by weight {limit * places // PLACES * context:,} of part {i}," if corpus.parts else ""
            whose = f"data.parts.{i}" if corpus.parts else corpus.name
            raise SpecError(
                f"data.unique_tokens = {asked:,}{of} is more than the {most * context:,} training tokens of {whose}: lower it, "
                "set it to null for all of them, or give more text."
            )


def _check_transform(transform: Transform, windows: Sequence[int], sequences: int) -> None:
    if any(transform.num_changed(number) == 0 for number in windows):
        raise SpecError(f"data.transform.share = {transform.share:g} changes none of the {min(windows):,} windows: raise it.")
    if (distinct := sum(map(transform.num_distinct, windows))) < sequences or not all(map(transform.num_distinct, windows)):
        raise SpecError(
            f"data.transform.share = {transform.share:g} leaves {distinct} of {sum(windows):,} windows, fewer than the "
            f"{sequences} of a batch: lower it, or recipe.batch_tokens."
        )


def _transform(spec: TransformSpec | None) -> Transform | None:
    """The transform of windows that is asked for; one of text is a matter of the corpus."""
    if spec is None or spec.is_of_text:
        return None
    return Transform(cast(WindowKind, spec.kind), spec.share, spec.seed)


def _with_lr_law(settings: Settings, shape: ModelShape, tokens: float) -> RecipeSpec:
    """The recipe, its learning rate set by its law where it has one."""
    recipe = settings.recipe
    if recipe.lr_law is None:
        return recipe
    return recipe.model_copy(update={"lr": lr_from_law(recipe.lr_law, num_params(shape, settings.count.params), tokens)})


def declared_budget(settings: Settings, cell: Cell) -> float:
    """The declared budget, in its design's unit, whose tokens are nearest to the cell's."""
    return min(settings.sweep.budgets, key=lambda b: abs(math.log(declared_tokens(settings, cell.shape, b) / cell.tokens)))
