"""From declared intent to the cells that are measured: pure, deterministic, nothing is read or written."""

import functools
import hashlib
import math
import operator
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.plan.axes import ARM, AXIS, Variant, axes_of, data_key, variants
from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import ModelShape, num_params
from scalesweep.plan.grid import (
    CorpusFacts,
    Device,
    declared_budget,
    declared_sizes,
    declared_tokens,
    grid_cells,
    resolve_shape,
)
from scalesweep.plan.trials import Trial, trials
from scalesweep.points.metric import rate_from_nats
from scalesweep.settings.guess import did_you_mean_key
from scalesweep.settings.plan import CountSpec, ModelSpec
from scalesweep.settings.settings import Settings, with_values

CorporaFacts = CorpusFacts | Mapping[str, CorpusFacts]
"""One corpus, or that of each `DataSpec` of the sweep by its `axes.data_key`."""
_OFF = 0.01
"""Share by which rounding may move D before it is said. A judgement: with beta of 0.3 it moves a loss's excess by 0.3 %."""
_MISSED = 1.1
"""Factor by which the nearest size may miss its target before it is said; a judgement."""
_MOVED = 1.03
"""The same of single cells, which are asked for one by one."""


@dataclass(frozen=True)
class Plan:
    """The cells of a sweep in declared order, without repeats, and what the user should know of the design."""

    name: str
    count: CountSpec
    cells: tuple[Cell, ...]
    warnings: tuple[str, ...]
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of a tuned sweep, or one with axes: key -> the cell's tuned settings (`tune.recipe.lr`), axes (`axis.model.context`) and
    arm, as declared."""

    @property
    def hash(self) -> str:
        """Twelve hex digits over the cells' keys."""
        return hashlib.sha256("\n".join(sorted(c.key for c in self.cells)).encode()).hexdigest()[:12]

    def tuned(self, key: str) -> str:
        """The tuned settings and axes by which a cell differs from others of its size, budget and seed; empty without any."""
        named = {name.partition(".")[2] or name: value for name, value in self.columns.get(key, {}).items() if name != ARM}
        return ", ".join(f"{name} {f'{v:.3g}' if isinstance(v, float) else v}" for name, v in named.items())

    @functools.cached_property
    def longest_first(self) -> tuple[Cell, ...]:
        """The order in which workers claim: most FLOPs first, so that no long cell starts last."""
        return tuple(sorted(self.cells, key=lambda c: (-c.flops(CountSpec()), c.key)))

    @functools.cached_property
    def siblings(self) -> Mapping[str, tuple[Cell, ...]]:
        """The cells of each trunk."""
        groups: dict[str, list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault(cell.trunk, []).append(cell)
        return {trunk: tuple(cells) for trunk, cells in groups.items()}

    def shared_flops(self, count: CountSpec) -> float:
        """Training FLOPs of all cells when each trunk is trained once: its longest constant part, and every decay."""
        return sum(
            cells[0].flops(count) / cells[0].steps * (max(c.branch_step for c in cells) + sum(c.decay_steps for c in cells))
            for cells in self.siblings.values()
        )


@dataclass(frozen=True)
class TunedCell:
    """A cell, the combination of the tuned settings that it was resolved with, and its place on the axes."""

    cell: Cell
    trial: Trial
    place: Mapping[str, Any] = field(default_factory=dict)
    """See `axes.Variant`."""


def make_plan(
    settings: Settings,
    corpus: CorporaFacts,
    device: Device,
    extended: Collection[str] = (),
    left_out: Collection[str] = (),
) -> Plan:
    """The cells of a sweep that is to be trained on `device`.

    Args:
        settings: what was asked for.
        corpus: what is to be trained on.
        device: decides the precision where that is not asked for.
        extended: keys of cells past the ends of the tuned ranges that belong to the plan; other keys mean nothing.
        left_out: keys of cells that are declared and yet not part of the plan, as `budget.shrink` chooses them.

    Raises:
        SpecError: a budget below one batch, two sizes that become one, an axis that is not a setting or changes nothing.
    """
    if (metric := settings.count.loss) is not None:
        rate_from_nats(metric, math.inf)  # refuses what no cross-entropy is, before anything is measured
    tried = [
        [
            t
            for t in tuned_cells(variant, corpus, device, bool(extended))
            if (t.trial.extension is None or t.cell.key in extended) and t.cell.key not in left_out
        ]
        for variant in variants(settings)
    ]
    grids = [[t.cell for t in variant] for variant in tried]
    cells = tuple({cell.key: cell for grid in grids for cell in grid}.values())
    if not cells:
        low, high = settings.sweep.tokens_per_parameter or (0, math.inf)
        raise SpecError(f"sweep.tokens_per_parameter = [{low:g}, {high:g}] leaves no cell of the grid; widen it.")
    if len({frozenset(c.key for c in grid) for grid in grids}) < len(grids):
        raise SpecError(
            f"sweep.axes: some values of {' and '.join(axes_of(settings))} make no difference to any cell; remove them."
        )
    if settings.sweep.tune is not None and len(cells) == len({(c.shape, c.tokens, c.seed) for c in cells}):
        raise SpecError(
            f"sweep.tune: the values of {' and '.join(settings.sweep.tune.choices)} make no difference to any cell."
        )
    warnings = _warnings(settings, corpus, cells, declared=sum(map(len, grids)))
    return Plan(settings.sweep.name, settings.count, cells, tuple(warnings), _columns(tried))


def _facts(corpus: CorporaFacts, settings: Settings) -> CorpusFacts:
    """Those of the corpus that the settings name."""
    return corpus if isinstance(corpus, CorpusFacts) else corpus[data_key(settings.data)]


def tuned_cells(variant: Variant, corpora: CorporaFacts, device: Device, extensions: bool) -> Iterator[TunedCell]:
    """The cells of every combination of the tuned settings; with `extensions` also those past the ends of their ranges.

    Raises:
        SpecError: a tuned setting that is not one, is an axis too, or changes the model.
    """
    settings = variant.settings
    tune, corpus = settings.sweep.tune, _facts(corpora, settings)
    if tune is None:
        yield from (TunedCell(cell, Trial({}), variant.place) for cell in grid_cells(settings, corpus, device))
        return
    _check_tuned(settings)
    shapes: set[ModelShape] = set()
    for trial in trials(tune):
        if trial.extension is not None and not extensions:
            return  # extensions come last
        try:
            grid = list(grid_cells(with_values(settings, _whole(trial.values, settings)), corpus, device))
        except SpecError:
            if trial.extension is None:
                raise
            continue  # past what the setting can be
        shapes = shapes or {cell.shape for cell in grid}
        if shapes != {cell.shape for cell in grid}:
            names = " and ".join(tune.choices)
            raise SpecError(f"sweep.tune: {names} changes the model, which a tuned setting must not; use sweep.axes.")
        yield from (TunedCell(cell, trial, variant.place) for cell in grid)


def tuned_variants(settings: Settings, corpora: CorporaFacts, device: Device, extensions: bool) -> Iterator[TunedCell]:
    """`tuned_cells` at every combination of the further axes."""
    for variant in variants(settings):
        yield from tuned_cells(variant, corpora, device, extensions)


def _check_tuned(settings: Settings) -> None:
    axes = axes_of(settings)
    for setting in settings.sweep.tune.choices if settings.sweep.tune else ():
        section, name = setting.split(".", 1)
        allowed = [
            key
            for key, value in getattr(settings, section).model_dump().items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        if name not in allowed:
            hint = did_you_mean_key(f"sweep.tune.{setting}", [f"sweep.tune.{section}.{key}" for key in allowed])
            raise SpecError(
                f"sweep.tune.{setting} is not a setting that can be tuned{hint}; those of {section} are {', '.join(allowed)}."
            )
        if setting in axes:
            raise SpecError(f"{setting} is in sweep.axes and in sweep.tune; remove one.")
        if setting == "recipe.lr" and settings.recipe.lr_law is not None:
            raise SpecError("sweep.tune.recipe.lr: recipe.lr_law sets the learning rate; set recipe.lr_law=null to tune it.")


def _whole(values: Mapping[str, float], settings: Settings) -> dict[str, float]:
    """The values, rounded where the setting's present value is a whole number."""
    present = {name: operator.attrgetter(name)(settings) for name in values}
    return {name: round(value) if isinstance(present[name], int) else value for name, value in values.items()}


def _columns(tried: list[list[TunedCell]]) -> dict[str, dict[str, Any]]:
    """What identifies each cell among the declared settings; of a cell of several combinations, the first."""
    columns: dict[str, dict[str, Any]] = {}
    for t in (t for variant in tried for t in variant):
        if found := {**t.place, **{f"tune.{name}": value for name, value in t.trial.values.items()}}:
            columns.setdefault(t.cell.key, found)
    return columns


def _warnings(settings: Settings, corpus: CorporaFacts, cells: tuple[Cell, ...], declared: int) -> Iterator[str]:
    """Sentences about a design that is not quite what was declared, or cannot answer what will be asked of it."""
    yield from dict.fromkeys(
        line for v in variants(settings) for line in _missed_targets(v.settings, _facts(corpus, v.settings))
    )
    corpora = {c.corpus_hash for c in cells}
    off = [c for c in cells if _misses_its_budget(c, settings)]
    if off:
        yield f"{len(off)} budgets are more than 1 % off after rounding to whole steps, because they are few steps long."
    seeds = settings.sweep.seeds
    if doubled := [seed for seed, number in Counter(seeds).items() if number > 1]:
        yield f"sweep.seeds = {list(seeds)} names seed {doubled[0]} more than once: a replicate needs a seed of its own."
    if declared * len(set(seeds)) > len(cells) * len(seeds):
        yield f"{declared - len(cells)} declared cells equal others, as rounding can make them, and are measured once."
    # With another vocabulary the same size has another N: each corpus is looked at by itself.
    if len({(c.corpus_hash, c.num_params(settings.count)) for c in cells}) == len(corpora):
        yield "One size: the effect of N cannot be measured; add sizes to sweep.sizes."
    if len({c.tokens for c in cells}) == 1:
        yield "One token budget: the effect of D cannot be measured; add budgets to sweep.budgets."
    if settings.sweep.design == "rays" and len(set(settings.sweep.budgets)) == 1 and len(cells) > 1:
        yield (
            "One ray of tokens per parameter: D is proportional to N, so their effects cannot be told apart "
            "(Kricheli et al. 2026); add a second value to sweep.budgets, or use design=full."
        )
    if pooled := [name for name in axes_of(settings) if name.split(".")[0] != "data"]:
        columns = " or ".join(f"by={AXIS}{name}" for name in pooled)
        names = " and ".join(pooled)
        yield f"The laws pool all values of {names} as if they were replicates, unless they are fitted with {columns}."
    if models := _without_transfer(settings):
        yield (
            f"{' and '.join(models)} models have no rules by which a learning rate carries over to other sizes, and "
            f"recipe.lr = {settings.recipe.lr:g} is one value for all: tune it at every size, "
            "sweep.tune.recipe.lr=1e-3..3e-2:6, or the laws are of sizes that are tuned unequally well."
        )
    most = max(cells, key=lambda c: c.epochs)
    if most.epochs > 1:
        yield (
            f"The largest budget, {most.tokens:,} tokens, is {most.epochs:.1f} epochs of {_repeated(most)} unique tokens): "
            "a law fitted on repeated data is not the law of fresh data."
        )


def _without_transfer(settings: Settings) -> list[str]:
    """The models of which every size needs a learning rate of its own and has none."""
    tuned = settings.sweep.tune.choices if settings.sweep.tune else {}
    if settings.recipe.lr_law is not None or "recipe.lr" in {*tuned, *axes_of(settings)}:
        return []
    models = (variant.settings.model for variant in variants(settings))
    return list(dict.fromkeys(model.architecture for model in models if not isinstance(model, ModelSpec)))


def _misses_its_budget(cell: Cell, settings: Settings) -> bool:
    """Whether the cell's tokens are off from those of every budget, and of every cell beside the grid."""
    asked = [
        declared_tokens(settings, cell.shape, declared_budget(settings, cell)),
        *(f.tokens for f in settings.sweep.further),
    ]
    return min(abs(cell.tokens / tokens - 1) for tokens in asked) > _OFF


def _repeated(cell: Cell) -> str:
    """What the cell repeats, and how many tokens that are."""
    selection = cell.selection
    if selection is None:
        return f"the corpus ({cell.unique_tokens:,}"
    if selection.parts:
        unique = selection.unique_tokens(0, cell.shape.context)
        part = max(range(len(unique)), key=lambda i: selection.places[i] / unique[i])
        return f"part {part} of data.parts ({unique[part]:,}"
    chosen = "data.unique_tokens asks for" if selection.limit else "data.transform leaves"
    return f"what {chosen} ({cell.unique_tokens:,}"


def _missed_targets(settings: Settings, corpus: CorpusFacts) -> Iterator[str]:
    """Target sizes that no width comes near."""
    sweep, sizes = settings.sweep, declared_sizes(settings)
    is_single = bool(sweep.further) and len(sizes) == len(sweep.budgets) == 1
    allowed = {size: _MOVED if is_single else _MISSED for size in sizes} | {cell.size: _MOVED for cell in sweep.further}
    for size, factor in allowed.items():
        if isinstance(size, int):
            shape = resolve_shape(size, settings, corpus)
            n = num_params(shape, settings.count.params)
            if abs(math.log(n / size)) > math.log(factor):
                yield f"The nearest size to {size:,} parameters is width {shape.width} with {n:,} ({n / size - 1:+.0%})."
