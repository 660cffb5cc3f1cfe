"""From declared intent to the cells that are measured: pure, deterministic, nothing is read or written.

A `Cell` is one fully resolved point. Its key is the hash of that content, never of a name or of a difference from a default:
equal content, equal key, whatever sweep declares it. What cannot change a measured loss (device, micro-batch, logging) is no
part of a cell.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scalesweep import recipe as rules
from scalesweep.config import CountSpec, Ladder, Settings, parse_settings
from scalesweep.errors import SpecError
from scalesweep.flops import DecoderShape, count_params, flops_per_token, num_params

CELL_SCHEMA = 1
"""Raised whenever the same content would be trained to another loss."""


@dataclass(frozen=True)
class CorpusFacts:
    """What a plan needs to know of a prepared corpus."""

    name: str
    hash: str
    """Hash of the tokens of both splits and the tokenizer."""
    vocab_size: int
    unique_tokens: int
    """U: training tokens that can be read without repeating one."""


@dataclass(frozen=True)
class Cell:
    """One point to measure: everything that determines its loss."""

    shape: DecoderShape
    rope_theta: float
    embedding_std: float
    corpus: str
    corpus_hash: str
    unique_tokens: int
    seed: int
    steps: int
    batch_sequences: int
    warmup_steps: int
    schedule: Literal["wsd", "cosine"]
    decay_steps: int
    hidden_lr: float
    embedding_lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    grad_clip: float
    precision: Literal["float32", "bfloat16"]
    validation_tokens: int

    @functools.cached_property
    def key(self) -> str:
        """Twelve hex digits of the content's hash."""
        content = json.dumps({"schema": CELL_SCHEMA, **dataclasses.asdict(self)}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @property
    def batch_tokens(self) -> int:
        """Tokens per step."""
        return self.batch_sequences * self.shape.context

    @property
    def tokens(self) -> int:
        """D, training tokens."""
        return self.steps * self.batch_tokens

    @property
    def epochs(self) -> float:
        """D / U."""
        return self.tokens / self.unique_tokens

    def num_params(self, count: CountSpec) -> int:
        """N by the convention of `count`."""
        return num_params(self.shape, count.params)

    def flops(self, count: CountSpec) -> float:
        """C, training FLOPs, by the convention of `count`."""
        return self.tokens * flops_per_token(self.shape, count.flops, count.params)

    def row(self, count: CountSpec) -> dict[str, Any]:
        """The cell as columns of the table of points, every parameter group included."""
        groups = count_params(self.shape)
        return {
            "key": self.key,
            "n": self.num_params(count),
            "d": self.tokens,
            "c": self.flops(count),
            "width": self.shape.width,
            "depth": self.shape.depth,
            "seed": self.seed,
            "batch_tokens": self.batch_tokens,
            "steps": self.steps,
            "lr": self.hidden_lr,
            "tokens_per_param": self.tokens / self.num_params(count),
            "unique_tokens": self.unique_tokens,
            "epochs": self.epochs,
            "params_embedding": groups.embedding,
            "params_head": groups.head,
            "params_matrices": groups.matrices,
            "params_norms": groups.norms,
        }


def cell_from_dict(values: Mapping[str, Any]) -> Cell:
    """Inverse of `dataclasses.asdict`."""
    return Cell(**{**values, "shape": DecoderShape(**values["shape"])})


@dataclass(frozen=True)
class Plan:
    """The cells of a sweep in declared order, without repeats, and what the user should know of the design."""

    name: str
    count: CountSpec
    cells: tuple[Cell, ...]
    warnings: tuple[str, ...]

    @property
    def hash(self) -> str:
        """Twelve hex digits over the cells' keys."""
        return hashlib.sha256("\n".join(sorted(c.key for c in self.cells)).encode()).hexdigest()[:12]

    @property
    def longest_first(self) -> tuple[Cell, ...]:
        """The order in which workers claim: most FLOPs first, so that no long cell starts last."""
        return tuple(sorted(self.cells, key=lambda c: (-c.flops(CountSpec()), c.key)))


def make_plan(settings: Settings, corpus: CorpusFacts, precision: Literal["float32", "bfloat16"]) -> Plan:
    """The cells of a sweep.

    Raises:
        SpecError: a budget below one batch, two sizes that become one, an axis that is not a setting.
    """
    cells = dict.fromkeys(cell for variant in _variants(settings) for cell in _grid(variant, corpus, precision))
    distinct = {cell.key: cell for cell in cells}
    return Plan(
        settings.sweep.name, settings.count, tuple(distinct.values()), tuple(_warnings(settings, list(distinct.values())))
    )


def _variants(settings: Settings) -> Iterator[Settings]:
    """The settings at every combination of the further axes."""
    axes = list(_leaves(settings.sweep.axes))
    values = settings.model_dump()
    for combination in itertools.product(*(choices for _, choices in axes)):
        variant = json.loads(json.dumps(values))
        for (path, _), value in zip(axes, combination, strict=True):
            _set(variant, path, value)
        yield parse_settings(variant) if axes else settings


def _leaves(axes: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    for name, value in axes.items():
        here = (*path, name)
        if isinstance(value, Mapping):
            yield from _leaves(value, here)
        elif here[0] not in ("recipe", "model", "optim", "train") or len(here) < 2:
            raise SpecError(
                f"sweep.axes.{'.'.join(here)}: an axis is a setting of recipe, model, optim or train, such as recipe.lr."
            )
        elif not isinstance(value, list | tuple) or not value:
            raise SpecError(f"sweep.axes.{'.'.join(here)} = {value!r}: give a list of values, such as [1e-3, 3e-3].")
        else:
            yield here, list(value)


def _set(values: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for name in path[:-1]:
        values = values.setdefault(name, {})
    values[path[-1]] = value


def _grid(settings: Settings, corpus: CorpusFacts, precision: Literal["float32", "bfloat16"]) -> Iterator[Cell]:
    sweep = settings.sweep
    sizes = rules.ladder_targets(sweep.sizes) if isinstance(sweep.sizes, Ladder) else list(sweep.sizes)
    convention = settings.count.params
    shapes = [rules.resolve_shape(s, settings.recipe, settings.model, corpus.vocab_size, convention) for s in sizes]
    rules.check_distinct(shapes, sizes, convention)
    shapes.sort(key=lambda shape: num_params(shape, convention))
    budgets = sorted(set(sweep.budgets))
    for (i, shape), (j, budget), seed in itertools.product(enumerate(shapes), enumerate(budgets), sweep.seeds):
        if sweep.design != "lshape" or i == 0 or j == 0:
            yield _cell(settings, shape, budget, seed, corpus, precision)


def _tokens(settings: Settings, shape: DecoderShape, budget: float) -> float:
    """Training tokens of a declared budget, whose unit the design gives."""
    if settings.sweep.design == "rays":
        return budget * num_params(shape, settings.count.params)
    if settings.sweep.design == "isoflop":
        return budget / flops_per_token(shape, settings.count.flops, settings.count.params)
    return budget


def _cell(
    settings: Settings,
    shape: DecoderShape,
    budget: float,
    seed: int,
    corpus: CorpusFacts,
    precision: Literal["float32", "bfloat16"],
) -> Cell:
    recipe, train, optim = settings.recipe, settings.train, settings.optim
    tokens = _tokens(settings, shape, budget)
    sequences = rules.batch_sequences(tokens, recipe, shape.context)
    if tokens < sequences * shape.context:
        raise SpecError(
            f"sweep.budgets: {budget:g} ({settings.sweep.design}) is {tokens:,.0f} tokens at width {shape.width}, below "
            f"one batch of {sequences * shape.context:,} tokens; raise it, or lower recipe.batch_tokens or model.context."
        )
    steps = round(tokens / (sequences * shape.context))
    warmup = rules.warmup_steps(steps, recipe)
    decay = min(steps - warmup, math.ceil(train.decay_fraction * steps)) if train.schedule == "wsd" else steps - warmup
    return Cell(
        shape=shape,
        rope_theta=settings.model.rope_theta,
        embedding_std=settings.model.embedding_std,
        corpus=corpus.name,
        corpus_hash=corpus.hash,
        unique_tokens=corpus.unique_tokens,
        seed=seed,
        steps=steps,
        batch_sequences=sequences,
        warmup_steps=warmup,
        schedule=train.schedule,
        decay_steps=decay,
        hidden_lr=rules.hidden_lr(shape.width, recipe),
        embedding_lr=rules.embedding_lr(recipe),
        beta1=optim.beta1,
        beta2=optim.beta2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        grad_clip=optim.grad_clip,
        precision=precision,
        validation_tokens=train.validation_tokens,
    )


def _warnings(settings: Settings, cells: list[Cell]) -> Iterator[str]:
    """Sentences about a design that cannot answer what will be asked of it."""
    sizes = {c.num_params(settings.count) for c in cells}
    budgets = {c.tokens for c in cells}
    if len(sizes) == 1:
        yield "One size: the effect of N cannot be measured; add sizes to sweep.sizes."
    if len(budgets) == 1:
        yield "One token budget: the effect of D cannot be measured; add budgets to sweep.budgets."
    if settings.sweep.design == "rays" and len(set(settings.sweep.budgets)) == 1 and len(sizes) > 1:
        yield (
            "One ray of tokens per parameter: D is proportional to N, so their effects cannot be told apart "
            "(Kricheli et al. 2026); add a second value to sweep.budgets, or use design=full."
        )
    if settings.sweep.axes:
        names = " and ".join(".".join(path) for path, _ in _leaves(settings.sweep.axes))
        yield f"The laws pool all values of {names} as if they were replicates; fit a sweep of one value for a law to rely on."
    most = max(cells, key=lambda c: c.epochs)
    if most.epochs > 1:
        yield (
            f"The largest budget, {most.tokens:,} tokens, is {most.epochs:.1f} epochs of the corpus "
            f"({most.unique_tokens:,} unique tokens): a law fitted on repeated data is not the law of fresh data."
        )
    off = [c for c in cells if abs(c.steps * c.batch_tokens / _asked(settings, c) - 1) > 0.01]
    if off:
        yield f"{len(off)} budgets are more than 1 % off after rounding to whole steps, because they are few steps long."


def _asked(settings: Settings, cell: Cell) -> float:
    """The declared budget nearest to the cell's tokens, in tokens."""
    tokens = [_tokens(settings, cell.shape, b) for b in settings.sweep.budgets]
    return min(tokens, key=lambda t: abs(math.log(t / cell.tokens)))
