"""Measurements that tell whether the recipe's settings carry over to other widths and depths."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalesweep.analysis.tuning.transfer import CoordinateCheck, LearningRates
from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import Device
from scalesweep.plan.plan import make_plan
from scalesweep.settings.base import parse
from scalesweep.settings.plan import SweepSpec
from scalesweep.settings.settings import Settings, with_values
from scalesweep.sweep.corpora import facts_of_corpus
from scalesweep.sweep.run import Say
from scalesweep.train.data.corpus import Corpus

UPDATES = 10
"""Updates of a coordinate check."""


@dataclass(frozen=True)
class RateGrid:
    """Models that are trained at every one of some base learning rates."""

    sizes: tuple[tuple[int, int], ...]
    """(width, depth)."""
    lrs: tuple[float, ...]
    """Increasing values of `recipe.lr`."""
    tokens: int
    """Training tokens of each model."""


def measure_coordinates(settings: Settings, corpus: Corpus, axis: str, sizes: Sequence[int]) -> CoordinateCheck:
    """The coordinate check along one axis, from the base model's other dimension; the mean over the sweep's seeds."""
    from scalesweep.train.coordinates import coordinates
    from scalesweep.train.device import prepare_device

    prepare_device("cpu")
    base = settings.recipe
    shapes = [(size, base.base_depth) if axis == "width" else (base.base_width, size) for size in sizes]
    cells = _cells(settings, corpus, shapes, base.lr, 10**6, "cpu")  # neither steps nor schedule, and so no tokens, play a part
    tokens = np.array(corpus.train())
    found: dict[str, list[Any]] = {}
    for cell in cells:
        seen = coordinates(cell, tokens, UPDATES)
        last = f"layer {cell.shape.depth}"
        shown = seen if axis == "width" else {"last layer": seen[last], "logits": seen["logits"]}
        for place, values in shown.items():
            found.setdefault(place, []).append(values)
    by_place = {place: np.reshape(rows, (len(sizes), -1, UPDATES + 1)).mean(1) for place, rows in found.items()}
    return CoordinateCheck(axis, tuple(sizes), by_place)


def measure_learning_rates(settings: Settings, corpus: Corpus, grid: RateGrid, device: Device, say: Say) -> LearningRates:
    """Train every size at every base learning rate with every seed of the sweep."""
    by_lr = [_cells(settings, corpus, grid.sizes, lr, grid.tokens, device) for lr in grid.lrs]
    tokens = np.array(corpus.train()), np.array(corpus.validation())
    losses = np.empty((len(by_lr), len(by_lr[0])))
    for i, cells in enumerate(by_lr):
        losses[i] = [_loss(cell, *tokens, settings.train.micro_batch, device) for cell in cells]
        say(f"recipe.lr = {grid.lrs[i]:g}: {len(cells)} models trained ({i + 1} of {len(by_lr)})")
    params = {(c.shape.width, c.shape.depth): c.num_params(settings.count) for c in by_lr[0]}
    shaped = losses.reshape(len(by_lr), len(grid.sizes), -1).transpose(1, 0, 2)
    return LearningRates(grid.sizes, tuple(params[size] for size in grid.sizes), grid.lrs, shaped)


def _cells(
    settings: Settings, corpus: Corpus, sizes: Sequence[tuple[int, int]], lr: float, tokens: int, device: Device
) -> list[Cell]:
    """The cells of some sizes at one base learning rate, by size and seed as they are given."""
    shapes = [{"width": width, "depth": depth} for width, depth in sizes]
    sweep = {"name": "transfer", "sizes": shapes, "budgets": [tokens], "seeds": settings.sweep.seeds}
    tried = with_values(settings, {"recipe.lr": lr}).model_copy(update={"sweep": parse(SweepSpec, sweep, "sweep.")})
    plan = make_plan(tried, facts_of_corpus(corpus, settings), device)
    rank = {size: i for i, size in enumerate(sizes)}
    return sorted(plan.cells, key=lambda cell: (rank[cell.shape.width, cell.shape.depth], cell.seed))


def _loss(cell: Cell, train_tokens: Any, validation_tokens: Any, micro_batch: int | None, device: Device) -> float:
    """Validation loss of one cell in nats per token; nan if it diverged."""
    from scalesweep.train.device import prepare_device
    from scalesweep.train.gradient import Execution
    from scalesweep.train.loop import Hooks, train
    from scalesweep.train.pack import Run

    execution = Execution(prepare_device(device), micro_batch, curve_points=1)
    return train([Run(cell)], train_tokens, validation_tokens, execution, Hooks())[0].loss
