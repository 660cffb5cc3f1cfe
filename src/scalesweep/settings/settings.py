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
from scalesweep.settings.plan import (
    ArchitectureSpec,
    BudgetSpec,
    CostSpec,
    CountSpec,
    CustomSpec,
    ModelSpec,
    RecipeSpec,
    SweepSpec,
)
from scalesweep.settings.run import LauncherSpec, LoggerSpec, StoreSpec
from scalesweep.settings.train import OptimSpec, TrainSpec


def _model_of(values: Mapping[str, Any]) -> str:
    """Which of the tables of settings a model has."""
    return "<CustomSpec>" if "target" in values else "<ArchitectureSpec>" if "architecture" in values else "<ModelSpec>"


Model = Annotated[
    Annotated[ModelSpec, Tag("<ModelSpec>")]
    | Annotated[ArchitectureSpec, Tag("<ArchitectureSpec>")]
    | Annotated[CustomSpec, Tag("<CustomSpec>")],
    Discriminator(lambda value: _model_of(dict(value))),
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
    store: StoreSpec = StoreSpec()
    budget: BudgetSpec = BudgetSpec()
    cost: CostSpec = CostSpec()
    logger: LoggerSpec = LoggerSpec()
    fit: FitSpec = FitSpec()
    report: ReportSpec = ReportSpec()


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with other values of some settings, dotted, such as recipe.lr, or of a whole section, such as optim.

    Each section that changes is validated anew.

    Raises:
        SpecError: as of `parse_settings`, in a section that changes.
    """
    whole = {name: value for name, value in values.items() if "." not in name}
    if whole:  # a model is one of several tables, which only the settings as a whole tell apart
        settings = parse_settings({**settings.model_dump(mode="json"), **whole})
    changed: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        if key:
            changed[section] = _placed(changed.get(section, getattr(settings, section)), key, value)
    update = {n: parse(type(getattr(settings, n)), values, prefix=f"{n}.") for n, values in changed.items()}
    return settings.model_copy(update=update)


def _placed(table: Any, key: str, value: Any) -> dict[str, Any]:
    """The table with another value of a setting, which may lie in a table within it."""
    name, _, rest = key.partition(".")
    found = {name: value for name, value in table} if isinstance(table, Spec) else dict(table or {})
    found[name] = _placed(found.get(name), rest, value) if rest else value
    return found


def parse_settings(values: Mapping[str, Any]) -> Settings:
    """Validate nested plain data.

    Raises:
        SpecError: one sentence for each wrong key, with its path, value, what is allowed, and near misses.
    """
    return parse(Settings, values)
