"""`scalesweep train`: one cell as an ordinary Hydra application."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from scalesweep.cli.paths import config_dir
from scalesweep.config import parse_settings
from scalesweep.errors import EXIT_BAD_INPUT, EXIT_OK, ScaleSweepError


def train(arguments: Sequence[str]) -> int:
    """Hand the arguments to Hydra, which calls `_train_cell` once a job."""
    sys.argv = ["scalesweep train", *arguments]
    application = hydra.main(config_path=str(config_dir()), config_name="cell", version_base="1.3")(_train_cell)
    try:
        application()
    except SystemExit as end:  # Hydra ends with 1 on an override that it cannot compose
        return EXIT_BAD_INPUT if end.code not in (None, 0) else EXIT_OK
    return EXIT_OK


def _train_cell(config: DictConfig) -> float:
    """Measure the one cell of the configuration in Hydra's output directory; its validation loss, for Hydra's sweepers."""
    from scalesweep.cli.experiment import measure_cell

    values: dict[str, Any] = OmegaConf.to_container(config, resolve=True)
    size, budget, seed = (values.pop(name) for name in ("size", "budget", "seed"))
    values["dir"] = HydraConfig.get().runtime.output_dir
    values["sweep"] = {"name": "cell", "sizes": [size], "budgets": [budget], "seeds": [seed]}
    values["launcher"] = {"name": "inline"}
    try:
        return measure_cell(parse_settings(values), Path(values["dir"]) / "sweep")
    except ScaleSweepError as error:
        sys.stderr.write(f"scalesweep: {error}\n")
        sys.exit(EXIT_BAD_INPUT)
