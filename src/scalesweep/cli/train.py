"""`scalesweep train`: one cell as an ordinary Hydra application."""

import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from scalesweep.cli.command import TRUST, Command, Given
from scalesweep.errors import EXIT_BAD_INPUT, EXIT_OK, ScaleSweepError
from scalesweep.packages import require_measuring
from scalesweep.settings.compose import compose_values, config_dir, data_option, named_settings, part_option
from scalesweep.settings.effect import refuse_idle
from scalesweep.settings.held_out import with_validation
from scalesweep.settings.own import CONFIG_DIR, is_own, own_dirs, own_word, word_here
from scalesweep.settings.parts import with_parts
from scalesweep.settings.settings import parse_settings
from scalesweep.settings.trust import trust
from scalesweep.units import plural


def train(given: Given) -> int:
    """Hand the arguments to Hydra, which calls the function below once a job; a job that is refused does not end the others."""
    words = _with_own_code(given.words)
    flags = [word for word in words if word.startswith("-") and not is_own(word)]
    if not flags:
        compose_values(words, root="cell")  # a mistake is one sentence here, and several lines there
    if set(flags) <= {"--multirun", "-m"}:  # others only show something
        require_measuring()
    sys.argv = ["scalesweep train", *words]
    refused: list[str] = []

    def job(config: DictConfig) -> float:
        try:
            return _train_cell(config, own_dirs(words))
        except ScaleSweepError as error:
            hydra_config = HydraConfig.get()
            name = f"job #{hydra_config.job.num}" if hydra_config.mode == RunMode.MULTIRUN else ""
            refused.append(name)
            print(f"scalesweep: {name and f'{name}: '}{_as_written(error)}", file=sys.stderr, flush=True)
            return math.nan

    hydra.main(config_path=str(config_dir()), config_name="cell", version_base="1.3")(job)()
    if all(refused) and refused:
        print(f"scalesweep: {plural(len(refused), 'job')} refused ({', '.join(refused)}).", file=sys.stderr)
    return EXIT_BAD_INPUT if refused else EXIT_OK


def _with_own_code(words: Sequence[str]) -> list[str]:
    """The words without trust=, which is done, and with --config-dir, which Hydra knows too, as one word that is checked."""
    checked, rest = list[str](), iter(words)
    for word in rest:
        name, sign, text = word.partition("=")
        if name == TRUST.name:
            trust(TRUST.read(text))
            continue
        checked.append(own_word(text if sign else next(rest, ""), config_dir()) if name == CONFIG_DIR else word)
    return checked if own_dirs(checked) else [*checked, *word_here(checked, config_dir())]  # Hydra takes one directory


COMMANDS = (
    Command(
        "train",
        about="Train one cell; an ordinary Hydra application (--multirun, --cfg job, --help).",
        usage="[key=value ...] [--multirun]",
        run=train,
        options=None,
        groups=("recipe", "model", "data", "optim", "train", "logger"),
        is_measuring=True,
    ),
)


def _train_cell(config: DictConfig, own: Sequence[Path]) -> float:
    """Measure the one cell of the configuration in Hydra's output directory; its validation loss, for Hydra's sweepers."""
    from scalesweep.sweep.run import measure_cell

    composed: Any = OmegaConf.to_container(config, resolve=True)
    values = with_parts(composed, partial(part_option, own=own))
    size, budget, seed = (values.pop(name) for name in ("size", "budget", "seed"))
    values["dir"] = HydraConfig.get().runtime.output_dir
    values["sweep"] = {"name": "cell", "sizes": [size], "budgets": [budget], "seeds": [seed]}
    values["launcher"] = {"name": "inline"}
    values["data"] = with_validation(values["data"], partial(data_option, own=own))
    settings = parse_settings(values)
    refuse_idle(named_settings(HydraConfig.get().overrides.task), settings)
    return measure_cell(settings, Path(values["dir"]) / "sweep", lambda line: print(line, flush=True))


def _as_written(error: ScaleSweepError) -> str:
    """The sentence, with the settings as this command has them."""
    sentence = str(error)
    for long, short in (("sweep.sizes.0", "size"), ("sweep.budgets.0", "budget"), ("sweep.seeds.0", "seed")):
        sentence = sentence.replace(long, short)
    return sentence
