"""`scalesweep check`: can this machine's GPUs train, and does the recipe's learning rate suit other widths and depths?"""

import csv
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scalesweep.analysis.tuning.transfer import CoordinateCheck, LearningRates
from scalesweep.cli.answer import JSON, Answer, answered, finite
from scalesweep.cli.command import TRUST, Command, Given, Option, list_of, one_of, positive, whole
from scalesweep.errors import EXIT_DEVICE, EXIT_OK, SpecError
from scalesweep.report.words.summary import summary
from scalesweep.run.launch.device import resolve_device
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.plan import ModelSpec
from scalesweep.settings.trust import trust
from scalesweep.sweep.checkup import check_device
from scalesweep.sweep.transfer import RateGrid, measure_coordinates, measure_learning_rates
from scalesweep.train.data.validation import prepare_with_sets

_CHECKS = ("device", "transfer")
_LR_FACTORS = (0.25, 0.5, 1, 2, 4)
"""Learning rates that are tried, in units of recipe.lr: two octaves to either side show the optimum's neighbours."""


def _dimensions(text: str) -> tuple[int, ...]:
    sizes = tuple(sorted(list_of(whole)(text)))
    if len(sizes) == 1:
        raise ValueError("a slope needs two or more; [] leaves this check out", list(sizes))
    return sizes


def _size(text: str) -> tuple[int, int]:
    if not (match := re.fullmatch(r"(\d+)x(\d+)", text)):
        raise ValueError("must be WIDTHxDEPTH, such as sizes=[32x2,64x2]", text)
    return int(match[1]), int(match[2])


def _rates(text: str) -> tuple[float, ...]:
    lrs = sorted(list_of(positive)(text))
    if len(lrs) < 3:
        raise ValueError("an optimum needs three or more learning rates, such as lrs=[0.003,0.006,0.012]", lrs)
    return tuple(lrs)


WIDTHS = Option[tuple[int, ...]](
    "widths",
    _dimensions,
    (32, 64, 128, 256),
    "Widths of the coordinate check, at depth recipe.base_depth (default [32,64,128,256]).",
    "[...]",
)
DEPTHS = Option[tuple[int, ...]](
    "depths",
    _dimensions,
    (2, 4, 8, 16),
    "Depths of the coordinate check, at width recipe.base_width (default [2,4,8,16]).",
    "[...]",
)
SIZES = Option[tuple[tuple[int, int], ...]](
    "sizes",
    list_of(_size),
    ((32, 2), (64, 2), (128, 2)),
    "Models that are trained at every learning rate (default [32x2,64x2,128x2]).",
    "[WIDTHxDEPTH,...]",
)
LRS = Option[tuple[float, ...]]("lrs", _rates, (), "Values of recipe.lr (default [0.25,0.5,1,2,4] times recipe.lr).", "[...]")
TOKENS = Option("tokens", whole, 128_000, "Training tokens of each of these models (default 128k).", "128k")


FULL = Option("full", one_of("true", "false"), "false", "Of the device: with the compiler, which takes a minute.", "true|false")


def check(given: Given) -> Answer:
    """Run the named check.

    Raises:
        SpecError: there is no check of this name, or it does not take one of the options.
    """
    name = given.words[0] if given.words else ""
    if name not in _CHECKS:
        raise SpecError(f"check takes the name of a check, device or transfer, such as: scalesweep check {_CHECKS[0]}.")
    foreign: tuple[Option[Any], ...] = (WIDTHS, DEPTHS, SIZES, LRS, TOKENS) if name == "device" else (FULL,)
    if idle := [option.name for option in foreign if given.values[option.name] != option.default]:
        raise SpecError(f"{idle[0]} has no effect on check {name}; leave it out.")
    return _device(given) if name == "device" else _transfer(given)


def _device(given: Given) -> Answer:
    """Print what is known of this machine's device."""
    checkup = check_device(compose_settings(given.words[1:]), full=given[FULL] == "true")
    for line in checkup.lines():
        _say(line)
    return Answer(dataclasses.asdict(checkup), EXIT_OK if checkup.is_usable else EXIT_DEVICE)


COMMANDS = (
    Command(
        "check",
        about="Check this machine's GPUs, or that the recipe's learning rate carries over to other widths and depths.",
        usage="device [full=true|false] [--json] | "
        "transfer [widths=[...]] [depths=[...]] [sizes=[WIDTHxDEPTH,...]] [lrs=[...]] [tokens=128k] [key=value ...] "
        "[trust=package.module] [--json]",
        run=answered(check),
        examples=(
            "scalesweep check device",
            "scalesweep check device full=true --json",
            "scalesweep check transfer",
            "scalesweep check transfer recipe=sp depths=[] sizes=[32x2,64x2,128x2] lrs=[0.001,0.003,0.01,0.03]",
            "scalesweep check transfer widths=[] depths=[] sizes=[32x2,32x4,32x8] tokens=256k dir=runs/depths",
        ),
        groups=("recipe", "model", "data", "optim", "train"),
        options=(FULL, WIDTHS, DEPTHS, SIZES, LRS, TOKENS, TRUST, JSON),
        subjects=_CHECKS,
    ),
)


def _transfer(given: Given) -> Answer:
    """Print, plot and file the coordinate checks and the optimal learning rate of each size."""
    from scalesweep.report.charts.canvas import draw
    from scalesweep.report.figures.transfer import coordinates, learning_rates

    trust(given[TRUST])
    overrides = given.words[1:]
    settings = compose_settings(overrides)
    if not isinstance(settings.model, ModelSpec):
        raise SpecError(f"check transfer is for model=decoder: nothing carries over to {settings.model.architecture} models.")
    lrs = given[LRS] or tuple(settings.recipe.lr * factor for factor in _LR_FACTORS)
    grid = RateGrid(given[SIZES], lrs, given[TOKENS])
    named = any(word.startswith("dir=") for word in overrides)
    directory = Path(settings.dir if named else f"runs/transfer-{settings.recipe.name}").expanduser()
    device = resolve_device(settings.train)
    corpus, _ = prepare_with_sets(settings.data, _say)
    axes = (("width", given[WIDTHS]), ("depth", given[DEPTHS]))
    checks = [measure_coordinates(settings, corpus, axis, sizes) for axis, sizes in axes if sizes]
    for made in checks:
        _say(summary(made))
    rates = measure_learning_rates(settings, corpus, grid, device, _say) if grid.sizes else None
    charts = [coordinates(checks)] if checks else []
    if rates is not None:
        _say(summary(rates))
        charts.append(learning_rates(rates))
    directory.mkdir(parents=True, exist_ok=True)
    for chart in charts:
        for kind, content in draw(chart).items():
            (directory / f"{chart.name}.{kind}").write_bytes(content)
    _write_tables(directory, checks, rates)
    _say(f"\nTables and figures: {directory}")
    return Answer({"directory": str(directory), **_content(checks, rates)})


def _content(checks: Sequence[CoordinateCheck], rates: LearningRates | None) -> dict[str, Any]:
    """What was found, for programs."""
    coordinates = [
        {
            "axis": made.axis,
            "sizes": list(made.sizes),
            "holds": made.holds,
            "worst_slopes": dict(zip(made.values, finite([made.worst(place) for place in made.values]), strict=True)),
        }
        for made in checks
    ]
    if rates is None:
        return {"coordinates": coordinates, "learning_rates": None}
    optima = [
        {"width": width, "depth": depth, "n": n, "lr": best.lr, "loss": finite([best.loss])[0], "interior": best.interior}
        for (width, depth), n, best in zip(rates.sizes, rates.params, rates.optima, strict=True)
    ]
    return {"coordinates": coordinates, "learning_rates": {"lrs": list(rates.lrs), "optima": optima, "drift": rates.drift}}


def _say(line: str) -> None:
    print(line, flush=True)


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
