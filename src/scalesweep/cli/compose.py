"""Hydra's composition as one function from overrides to validated settings."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from scalesweep.cli.paths import config_dir
from scalesweep.config import Settings, parse_settings
from scalesweep.errors import SpecError, did_you_mean


def compose_settings(overrides: Sequence[str]) -> Settings:
    """The settings of run.yaml under `overrides`.

    Raises:
        SpecError: an override cannot be read, names a group, option or key that is not there, or has a wrong value.
    """
    return parse_settings(_compose(overrides))


def _compose(overrides: Sequence[str]) -> dict[str, Any]:
    for word in overrides:
        if word.startswith("-") or "=" not in word.lstrip("~"):
            raise SpecError(f"{word!r} is not an override; write key=value, such as sweep=smoke or recipe.lr=0.004.")
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            config = compose("run", overrides=list(overrides))
            values: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            return values
    except (HydraException, OmegaConfBaseException) as error:
        raise SpecError(_sentence(error, overrides)) from None


def _sentence(error: Exception, overrides: Sequence[str]) -> str:
    """What Hydra refused, in one sentence with near misses."""
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if match := re.search(r"Could not find '([\w-]+)/([\w.-]+)'", text):
        group, option = match[1], match[2]
        options = sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
        return f"{group} = {option!r} is not an option{did_you_mean(option, options)}; the options are {', '.join(options)}."
    if match := re.search(r"Could not override '([^']+)'|Could not find key '?([\w.]+)|Key '([^']+)' is not in struct", text):
        return _unknown_key(match[1] or match[2] or match[3])
    if match := re.search(r"No match in the defaults list|Could not override '?([\w/]+)", text):
        return f"an override names a group that is not there: {text}"
    return f"the overrides {' '.join(overrides)} cannot be read: {text}"


def _unknown_key(key: str) -> str:
    keys = sorted(_leaf_paths(_compose([])))
    last = key.rsplit(".", 1)[-1]
    near = did_you_mean(key, keys) or did_you_mean(last, {k.rsplit(".", 1)[-1] for k in keys})
    return f"{key} is not a setting{near}; the settings are in the files of {config_dir()}."


def _leaf_paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, Mapping):
            yield from _leaf_paths(value, f"{prefix}{name}.")
