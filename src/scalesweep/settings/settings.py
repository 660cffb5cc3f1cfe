"""Every setting of scalesweep as frozen, validated values.

Hydra composes the files of configs/ at the command line; from there on only the values of this module are passed. Each
field's docstring gives its meaning and unit. `parse_settings` turns nested plain data into `Settings` or raises one sentence
that names the key, the value and what is allowed.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from scalesweep.settings.base import Spec, parse
from scalesweep.settings.data import DataSpec
from scalesweep.settings.fit import FitSpec, ReportSpec
from scalesweep.settings.plan import ArchitectureSpec, BudgetSpec, CostSpec, CountSpec, ModelSpec, RecipeSpec, SweepSpec
from scalesweep.settings.run import LauncherSpec, LoggerSpec
from scalesweep.settings.train import OptimSpec, TrainSpec

Model = Annotated[
    Annotated[ModelSpec, Tag("decoder")] | Annotated[ArchitectureSpec, Tag("architecture")],
    Discriminator(lambda value: "architecture" if "architecture" in dict(value) else "decoder"),
]


class Settings(Spec):
    """Everything that one command needs, after Hydra has composed it."""

    dir: Annotated[str, Field(min_length=1)]
    """The sweep's directory."""
    count: CountSpec = CountSpec()
    sweep: SweepSpec
    recipe: RecipeSpec
    model: Model
    data: DataSpec
    optim: OptimSpec
    train: TrainSpec
    launcher: LauncherSpec
    budget: BudgetSpec = BudgetSpec()
    cost: CostSpec = CostSpec()
    logger: LoggerSpec = LoggerSpec()
    fit: FitSpec = FitSpec()
    report: ReportSpec = ReportSpec()


def parse_settings(values: Mapping[str, Any]) -> Settings:
    """Validate nested plain data.

    Raises:
        SpecError: one sentence for each wrong key, with its path, value, what is allowed, and near misses.
    """
    return parse(Settings, values)
