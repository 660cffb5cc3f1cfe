"""The command lines that make a sweep and its report again or go on with it, from the settings that the sweep was run with."""

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.settings.compose import compose_settings, compose_values, config_dir, data_option
from scalesweep.settings.effect import REPEATED, unmet_by
from scalesweep.settings.held_out import short
from scalesweep.settings.settings import Settings
from scalesweep.settings.words import written

_NAMES = {"sweep": "name", "recipe": "name", "data": "source", "optim": "name", "launcher": "name", "logger": "kind"}
"""The setting of a group that tells which of its options was chosen."""
_REQUIRED = ("paths", "name", "parts")
"""Settings of data without which some of its options do not compose."""


def command_of(settings: Settings, overrides: Sequence[str]) -> str:
    """`scalesweep run` with what differs from the defaults, and `scalesweep report` of its directory with the overrides."""
    words = overrides_of(settings)
    run = "" if words is None else shlex.join(["scalesweep", "run", *words]) + "\n"
    return run + shlex.join(["scalesweep", "report", settings.dir, *overrides])


def resume_command(settings: Settings, directory: Path) -> str:
    """`scalesweep resume` of a sweep's directory, trusting the modules of the user's own that its cells are made with."""
    targets = [getattr(settings.model, "target", None), settings.optim.target]
    modules = list(dict.fromkeys(target.partition(":")[0] for target in targets if target))
    trusted = [f"trust={modules[0]}" if len(modules) == 1 else f"trust=[{','.join(modules)}]"] if modules else []
    return shlex.join(["scalesweep", "resume", str(directory), *trusted])


def overrides_of(settings: Settings) -> list[str] | None:
    """Overrides that compose to these settings; None where none do, as of a sweep of another version.

    Settings that can have no effect, which older versions took, are left out: they would be refused now.
    """
    wanted = settings.model_dump(mode="json")
    effective = {n: value for n, value in _leaves(wanted) if n not in REPEATED and unmet_by(n, settings) is None}
    try:
        chosen = _chosen(wanted)
        axes = {name: values for name, values in wanted["sweep"]["axes"].items() if isinstance(values, list)}
        asked = {group: _asked(group, values[0]["asked"]) for group, values in axes.items()}
        preset = _options(chosen, ["sweep"])
        base = _chosen(compose_values(preset))
        groups = [*preset, *_options(chosen, [n for n in chosen if n not in ("sweep", *asked) and chosen[n] != base[n]])]
        if chosen["model"] == "custom":
            groups.append(f"model.target='{wanted['model']['target']}'")
        groups += [f"data.{name}={written(wanted['data'][name])}" for name in _REQUIRED if effective.get(f"data.{name}")]
        own_optimizer = [f"optim.target='{wanted['optim']['target']}'"] if chosen["optim"] == "custom" else []
        groups += own_optimizer if "optim" not in asked else []
        # The settings of a group whose options are an axis are those of its first option, to which nothing need be said.
        first = _options({group: option for group, (option, _) in asked.items()}, [g for g in asked if asked[g][0]])
        first += own_optimizer if "optim" in asked and asked["optim"][0] else []
        known = dict(_leaves(compose_settings([*groups, *first]).model_dump(mode="json")))
        own = {f"{group}.{name}" for group, (_, further) in asked.items() for name, _ in _leaves(further)}
        whole = {name for name, value in known.items() if value is None and name.startswith("data.")}  # tables that are null
        leaves = {name: value for name, value in _leaves(wanted, whole) if unmet_by(name, settings) is None}
        differing = {name: value for name, value in leaves.items() if name not in known or known[name] != value}
        changed = {name: value for name, value in differing.items() if name not in own | REPEATED.keys()}
        sets = {name: short(text, data_option) for name, text in wanted["data"]["validation"].items()}
        changed = {name: value for name, value in changed.items() if not f"{name}.".startswith("data.validation.")}
        changed |= {"data.validation": sets} if sets else {}
        changed |= {f"sweep.axes.{group}": [value["asked"] for value in values] for group, values in axes.items()}
        words = [*groups, *(f"{name}={written(value)}" for name, value in changed.items())]
        is_known = words == [*groups, *first]
        found = known if is_known else dict(_leaves(compose_settings(words).model_dump(mode="json")))
        return words if all(name in found and found[name] == value for name, value in effective.items()) else None
    except SpecError:
        return None


def _asked(group: str, asked: Any) -> tuple[str, Mapping[str, Any]]:
    """The option and the further settings of a value of an axis; the option is empty where none was named."""
    if isinstance(asked, Mapping):
        return str(asked.get(group, "")), {name: value for name, value in asked.items() if name != group}
    return asked, {}


def _chosen(values: Mapping[str, Any]) -> dict[str, str]:
    """The option of each group, as far as the values tell it."""
    found = {group: str(values[group].get(name)) for group, name in _NAMES.items()}
    model = values["model"]
    return {**found, "model": "hf" if "architecture" in model else "custom" if "target" in model else "decoder"}


def _options(chosen: Mapping[str, str], groups: Sequence[str]) -> list[str]:
    """The words that choose the options of these groups, where there are such options."""
    return [f"{group}={chosen[group]}" for group in groups if (config_dir() / group / f"{chosen[group]}.yaml").is_file()]


def _leaves(values: Mapping[str, Any], whole: Collection[str] = (), prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value and prefix + name not in whole:
            yield from _leaves(value, whole, f"{prefix}{name}.")
        else:
            yield prefix + name, value
