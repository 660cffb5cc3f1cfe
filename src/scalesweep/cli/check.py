"""`scalesweep check transfer`: does the recipe's base learning rate suit other widths and depths?"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scalesweep.analysis.tuning.transfer import CoordinateCheck, LearningRates
from scalesweep.errors import EXIT_OK, SpecError
from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts, Device
from scalesweep.plan.plan import make_plan
from scalesweep.report.words.summary import summary
from scalesweep.run.launch.device import resolve_device
from scalesweep.settings.base import parse, parse_quantity
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.plan import ArchitectureSpec, SweepSpec
from scalesweep.settings.settings import Settings, with_values
from scalesweep.train.data import prepare, unique_tokens
from scalesweep.train.data.corpus import Corpus

UPDATES = 10
"""Updates of a coordinate check."""
_CHECKS = ("transfer",)
_DEFAULTS = {
    "widths": "[32,64,128,256]",
    "depths": "[2,4,8,16]",
    "sizes": "[32x2,64x2,128x2]",
    "lrs": "[0.25,0.5,1,2,4] times recipe.lr",
    "tokens": "128k",
}


@dataclass(frozen=True)
class Options:
    """What to check; an empty list leaves its part out."""

    widths: tuple[int, ...]
    """Widths of the coordinate check, at depth `recipe.base_depth`."""
    depths: tuple[int, ...]
    """Depths of the coordinate check, at width `recipe.base_width`."""
    sizes: tuple[tuple[int, int], ...]
    """(width, depth) of the models that are trained at every learning rate."""
    lrs: tuple[float, ...]
    """Values of `recipe.lr`."""
    tokens: int
    """Training tokens of each of those models."""


def check(arguments: Sequence[str]) -> int:
    """Run the named check."""
    if not arguments or arguments[0] not in _CHECKS:
        raise SpecError(f"check takes the name of a check, of which there is one: scalesweep check {_CHECKS[0]}.")
    return transfer(arguments[1:])


def transfer(arguments: Sequence[str]) -> int:
    """Print, plot and file the coordinate checks and the optimal learning rate of each size."""
    from scalesweep.report.charts.canvas import draw
    from scalesweep.report.figures.transfer import coordinates, learning_rates

    own = {name: value for name, sign, value in (w.partition("=") for w in arguments) if sign and name in _DEFAULTS}
    overrides = [word for word in arguments if word.split("=", 1)[0] not in _DEFAULTS]
    settings = compose_settings(overrides)
    if isinstance(settings.model, ArchitectureSpec):
        raise SpecError(f"check transfer is for model=decoder: nothing carries over to {settings.model.architecture} models.")
    options = read_options(own, settings)
    named = any(word.startswith("dir=") for word in overrides)
    directory = Path(settings.dir if named else f"runs/transfer-{settings.recipe.name}").expanduser()
    device = resolve_device(settings.train)
    corpus = prepare(settings.data, lambda line: print(line, flush=True))
    checks = [
        measure_coordinates(settings, corpus, axis, sizes)
        for axis, sizes in (("width", options.widths), ("depth", options.depths))
        if sizes
    ]
    for made in checks:
        print(summary(made), flush=True)
    rates = measure_learning_rates(settings, corpus, options, device) if options.sizes else None
    charts = [coordinates(checks)] if checks else []
    if rates is not None:
        print(summary(rates), flush=True)
        charts.append(learning_rates(rates))
    directory.mkdir(parents=True, exist_ok=True)
    for chart in charts:
        for kind, content in draw(chart).items():
            (directory / f"{chart.name}.{kind}").write_bytes(content)
    _write_tables(directory, checks, rates)
    print(f"\nTables and figures: {directory}")
    return EXIT_OK


def read_options(own: dict[str, str], settings: Settings) -> Options:
    """The command's own options, with their defaults.

    Raises:
        SpecError: a value that is not what the option takes.
    """
    scales = [settings.recipe.lr * factor for factor in (0.25, 0.5, 1, 2, 4)]
    lrs = tuple(sorted(_items("lrs", own["lrs"], _number))) if "lrs" in own else tuple(scales)
    options = Options(
        widths=tuple(sorted(_items("widths", own.get("widths", _DEFAULTS["widths"]), _whole))),
        depths=tuple(sorted(_items("depths", own.get("depths", _DEFAULTS["depths"]), _whole))),
        sizes=tuple(_items("sizes", own.get("sizes", _DEFAULTS["sizes"]), _size)),
        lrs=lrs,
        tokens=_whole("tokens", own.get("tokens", _DEFAULTS["tokens"])),
    )
    for name in ("widths", "depths"):
        if len(getattr(options, name)) == 1:
            raise SpecError(f"{name} = {own[name]}: a slope needs two or more; {name}=[] leaves this check out.")
    if options.sizes and len(options.lrs) < 3:
        raise SpecError(f"lrs = {own['lrs']}: an optimum needs three or more learning rates, such as lrs=[0.003,0.006,0.012].")
    return options


def _items(name: str, text: str, read: Any) -> list[Any]:
    words = [word.strip() for word in text.strip().strip("[]").split(",")]
    items = [read(name, word) for word in words if word]
    if len(set(items)) < len(items):
        raise SpecError(f"{name} = {text}: a value is given twice.")
    return items


def _number(name: str, text: str) -> float:
    value = parse_quantity(text)
    if not isinstance(value, int | float) or not value > 0:
        raise SpecError(f"{name} = {text!r}: must be a positive number.")
    return float(value)


def _whole(name: str, text: str) -> int:
    value = parse_quantity(text)
    if not isinstance(value, int) or value < 1:
        raise SpecError(f"{name} = {text!r}: must be a positive whole number, such as 64 or 128k.")
    return value


def _size(name: str, text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise SpecError(f"{name} = {text!r}: must be WIDTHxDEPTH, such as sizes=[32x2,64x2].")
    return int(match[1]), int(match[2])


def plan_cells(
    settings: Settings, corpus: Corpus, sizes: Sequence[tuple[int, int]], lr: float, tokens: int, device: Device
) -> list[Cell]:
    """The cells of some sizes at one base learning rate, by size and seed as they are given."""
    shapes = [{"width": width, "depth": depth} for width, depth in sizes]
    values = {"name": "transfer", "sizes": shapes, "budgets": [tokens], "seeds": settings.sweep.seeds}
    sweep = parse(SweepSpec, values, "sweep.")
    unique = unique_tokens(corpus.train_tokens, settings.model.context)
    plan = make_plan(
        with_values(settings, {"recipe.lr": lr}).model_copy(update={"sweep": sweep}),
        CorpusFacts(corpus.name, corpus.hash, corpus.vocab_size, unique),
        device,
    )
    rank = {size: i for i, size in enumerate(sizes)}
    return sorted(plan.cells, key=lambda cell: (rank[cell.shape.width, cell.shape.depth], cell.seed))


def measure_coordinates(settings: Settings, corpus: Corpus, axis: str, sizes: Sequence[int]) -> CoordinateCheck:
    """The coordinate check along one axis, from the base model's other dimension; the mean over the sweep's seeds."""
    from scalesweep.train.coordinates import coordinates
    from scalesweep.train.device import prepare_device

    prepare_device("cpu")
    base = settings.recipe
    shapes = [(size, base.base_depth) if axis == "width" else (base.base_width, size) for size in sizes]
    cells = plan_cells(settings, corpus, shapes, base.lr, 10**6, "cpu")
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


def measure_learning_rates(settings: Settings, corpus: Corpus, options: Options, device: Device) -> LearningRates:
    """Train every size at every base learning rate with every seed."""
    by_lr = [plan_cells(settings, corpus, options.sizes, lr, options.tokens, device) for lr in options.lrs]
    tokens = np.array(corpus.train()), np.array(corpus.validation())
    losses = np.empty((len(by_lr), len(by_lr[0])))
    for i, cells in enumerate(by_lr):
        for j, cell in enumerate(cells):
            losses[i, j] = _loss(cell, *tokens, settings.train.micro_batch, device)
        print(f"recipe.lr = {options.lrs[i]:g}: {len(cells)} models trained ({i + 1} of {len(by_lr)})", flush=True)
    params = {(c.shape.width, c.shape.depth): c.num_params(settings.count) for c in by_lr[0]}
    shaped = losses.reshape(len(by_lr), len(options.sizes), -1).transpose(1, 0, 2)
    return LearningRates(options.sizes, tuple(params[size] for size in options.sizes), options.lrs, shaped)


def _loss(cell: Cell, train_tokens: Any, validation_tokens: Any, micro_batch: int | None, device: Device) -> float:
    """Validation loss of one cell in nats per token; nan if it diverged."""
    from scalesweep.train.device import prepare_device
    from scalesweep.train.gradient import Execution
    from scalesweep.train.loop import Hooks, train
    from scalesweep.train.pack import Run

    execution = Execution(prepare_device(device), micro_batch, curve_points=1)
    return train([Run(cell)], train_tokens, validation_tokens, execution, Hooks())[0].loss


def _write_tables(directory: Path, checks: Sequence[CoordinateCheck], rates: LearningRates | None) -> None:
    """Every measured number, one a row."""
    if checks:
        rows = [
            (made.axis, size, place, update, float(value))
            for made in checks
            for place, values in made.values.items()
            for size, row in zip(made.sizes, values, strict=True)
            for update, value in enumerate(row)
        ]
        _write(directory / "coordinates.csv", ("axis", "size", "place", "updates", "mean_abs"), rows)
    if rates is not None:
        losses = [
            (width, depth, n, lr, seed, float(loss))
            for (width, depth), n, row in zip(rates.sizes, rates.params, rates.losses, strict=True)
            for lr, values in zip(rates.lrs, row, strict=True)
            for seed, loss in enumerate(values)
        ]
        _write(directory / "learning_rate.csv", ("width", "depth", "n", "lr", "replicate", "loss"), losses)


def _write(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
