"""The further axes of a sweep: settings, or options of a group, of which the grid is repeated at every combination."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.settings.base import Spec
from scalesweep.settings.data import DataSpec
from scalesweep.settings.guess import did_you_mean_key
from scalesweep.settings.options import is_option, label
from scalesweep.settings.settings import Settings, with_values

AXIS = "axis."
"""Prefix of the columns that hold the values of axes."""
ARM = "arm"
"""The column of a sweep with axes of `data`: their combination, of which each has a law of its own."""
_OPTION = {"data": "source", "recipe": "name", "optim": "name"}
"""The setting of a group that names its option."""
_SECTIONS = ("data", "recipe", "model", "optim", "train")


@dataclass(frozen=True)
class Variant:
    """The settings at one combination of the axes."""

    settings: Settings
    place: Mapping[str, Any]
    """Columns that tell its cells from those of others: `axis.SETTING` -> value, and `arm` where data varies."""


def variants(settings: Settings) -> list[Variant]:
    """The settings at every combination of the axes; the settings themselves where there are none.

    Raises:
        SpecError: an axis that is no setting, has no list of values, or a value that the setting cannot have.
    """
    axes = axes_of(settings)
    found = []
    for combination in itertools.product(*axes.values()):
        chosen = dict(zip(axes, combination, strict=True))
        values = {name: value["values"] if is_option(value) else value for name, value in chosen.items()}
        labels = {name: label(value, name) for name, value in chosen.items()}
        place = {AXIS + name: value for name, value in labels.items()}
        if arm := {name: value for name, value in labels.items() if name.split(".")[0] == "data"}:
            place[ARM] = _arm(arm)
        found.append(Variant(with_values(settings, values), place))
    return found


def _arm(labels: Mapping[str, Any]) -> str:
    """The values of the axes of data in one name, without the names of the axes where the values tell them."""
    named = {name.rsplit(".", 1)[-1]: value for name, value in labels.items()}
    return ", ".join(value if isinstance(value, str) else f"{name} {value}" for name, value in named.items())


def data_specs(settings: Settings) -> list[DataSpec]:
    """The distinct corpora that a sweep asks for, in the order of its variants."""
    return list({data_key(variant.settings.data): variant.settings.data for variant in variants(settings)}.values())


def data_key(spec: DataSpec) -> str:
    """What tells one `DataSpec` from another."""
    return spec.model_dump_json()


def axes_of(settings: Settings) -> dict[str, list[Any]]:
    """The axes: dotted setting, or group -> its values.

    Raises:
        SpecError: an axis that is no setting, or has no list of values.
    """
    axes: dict[str, list[Any]] = {}
    for section, choices in settings.sweep.axes.items():
        here = f"sweep.axes.{section}"
        if section not in _SECTIONS:
            raise SpecError(
                f"{here}: an axis is a setting of {', '.join(_SECTIONS)}, such as sweep.axes.recipe.lr=[1e-3,3e-3]."
            )
        if not isinstance(choices, Mapping):
            axes[section] = _listed(here, choices, "options, such as sweep.axes.optim=[adamw,muon]")
            if not all(map(is_option, axes[section])):
                raise SpecError(f"{here} = {choices!r}: options are composed from configs/ by the command line alone.")
            continue
        if (name := _OPTION.get(section)) in choices:
            listed = ",".join(map(str, _listed(f"{here}.{name}", choices[name], "options")))
            raise SpecError(
                f"{here}.{name}: an option is more than its name; give the options as values of the group, "
                f"sweep.axes.{section}=[{listed}]."
            )
        for name, values in _named(here, choices, getattr(settings, section)):
            axes[f"{section}.{name}"] = values
    return axes


def _named(here: str, choices: Mapping[str, Any], spec: Spec | Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Each setting below a table with its values; the names are checked as far as there is a table that knows them."""
    for name, values in choices.items():
        allowed = list(type(spec).model_fields) if isinstance(spec, Spec) else None
        if allowed is not None and name not in allowed:
            section = here.removeprefix("sweep.axes.")
            hint = did_you_mean_key(f"{here}.{name}", [f"{here}.{key}" for key in allowed])
            raise SpecError(f"{here}.{name} is not a setting of {section}{hint}.")
        inner = getattr(spec, name) if isinstance(spec, Spec) else spec.get(name)
        if isinstance(values, Mapping) and isinstance(inner, Spec | Mapping):
            yield from ((f"{name}.{rest}", listed) for rest, listed in _named(f"{here}.{name}", values, inner))
        else:
            yield name, _listed(f"{here}.{name}", values, "values, such as [1e-3,3e-3]")


def _listed(here: str, choices: Any, what: str) -> list[Any]:
    if not isinstance(choices, list | tuple) or not choices:
        raise SpecError(f"{here} = {choices!r}: give a list of {what}.")
    return list(choices)
