"""Hydra's composition as one function from overrides to validated settings."""

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError, safe_load  # type: ignore[import-untyped]  # PyYAML is what OmegaConf reads files with

from scalesweep.errors import SpecError, did_you_mean
from scalesweep.settings.effect import REPEATED, refuse_idle
from scalesweep.settings.guess import option_instead, where_instead
from scalesweep.settings.held_out import with_validation
from scalesweep.settings.options import merged, with_options
from scalesweep.settings.own import group_names, is_own, own_dirs, refuse_same_name
from scalesweep.settings.parts import with_parts
from scalesweep.settings.plan import ArchitectureSpec
from scalesweep.settings.run import LauncherSpec, LoggerSpec
from scalesweep.settings.settings import Settings, parse_settings
from scalesweep.settings.tune import TUNED_SECTIONS
from scalesweep.settings.words import NO_PRESET, SUFFIXES, words_of_file

_STUDY = "study"
"""Directory of configs/ that is no group of settings: its files are read by `study_values`."""
_BY_OPTION = {"launcher": tuple(LauncherSpec.model_fields), "logger": tuple(LoggerSpec.model_fields)}
"""Keys of the groups whose options have keys of their own."""
_AXES = ("recipe", "model", "optim", "train", "data")
"""Groups whose settings and options may be axes of a sweep."""
_TABLES = (
    *("sweep.axes.", "sweep.tune.", "model.config.", "optim.arguments.", "launcher.sbatch.", "data.validation."),
    *("data.transform.", "recipe.lr_law."),
)
"""Settings that are tables of names of the user's own, and those that are null where they are not asked for: naming one within
such a table adds it.
"""


def compose_settings(overrides: Sequence[str]) -> Settings:
    """The settings of run.yaml under `overrides`.

    Raises:
        SpecError: an override cannot be read, names a group, option or key that is not there, has a wrong value, or can have
            no effect.
    """

    def option_of(group: str, option: str) -> Mapping[str, Any]:
        others = [word for word in overrides if word.partition("=")[0] != group]
        values: Mapping[str, Any] = compose_values([*others, f"{group}={option}"])[group]
        return values

    def written_out(group: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        if group != "data":
            return values
        own = own_dirs(overrides)
        parts = with_parts({"data": values}, partial(part_option, own=own))["data"]
        return with_validation(parts, partial(data_option, own=own))

    composed = compose_values(overrides)
    composed["data"] = written_out("data", composed["data"])
    settings = parse_settings(with_options(composed, option_of, written_out))
    refuse_idle(named_settings(overrides), settings)
    return settings


def data_option(name: str, own: Sequence[Path] = ()) -> dict[str, Any] | None:
    """The settings of an option of `data` without any override; None where there is no such option.

    It stands in configs/ or in the user's own directories. Read without Hydra, which composes one configuration at a time and
    is at it in `scalesweep train`.
    """
    places = [place / "data" / f"{name}.yaml" for place in (config_dir(), *own) if Path(name).name == name]
    if (path := next(filter(Path.is_file, places), None)) is None:
        return None
    found: dict[str, Any] = {}
    content: Any = OmegaConf.to_container(OmegaConf.load(path))
    for base in content.pop("defaults", ["_self_"]):
        found = merged(found, content if base == "_self_" else data_option(base, own) or {})
    return found


def named_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """The settings that overrides name, with their values; those in a table too, and options of groups not."""
    named: dict[str, Any] = {}
    words = [word for word in overrides if not is_own(word)]
    for override in map(OverridesParser.create().parse_override, words):
        key, value = override.key_or_group, override.value()
        if not isinstance(value, Mapping):
            named[key] = value
            continue
        leaves = dict(_leaf_paths(value, f"{key}."))
        named |= {name: inner for name, inner in leaves.items() if not isinstance(inner, Mapping)}
    return named


def compose_values(overrides: Sequence[str], root: str = "run") -> dict[str, Any]:
    """The values of configs/ROOT.yaml under `overrides`, not yet validated.

    Raises:
        SpecError: an override that Hydra cannot read or apply.
    """
    own, overrides = own_dirs(overrides), [word for word in overrides if not is_own(word)]
    for word in overrides:
        _check(word, root, own)
        refuse_same_name(word, own, config_dir())
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            addable = (*_TABLES, "sweep.") if NO_PRESET in overrides else _TABLES
            words = [f"++{word}" if word.startswith(addable) else word for word in overrides]
            config = compose(root, overrides=[*_search_path(own), *words])
            values: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            return with_parts(values, partial(part_option, own=own))
    except SpecError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise SpecError(_sentence(error, overrides, root, own)) from None
    except YAMLError as error:  # of a file of the user's own
        raise SpecError(f"{', '.join(map(str, own))} holds a file that is no YAML: {' '.join(str(error).split())}.") from None


def _search_path(own: Sequence[Path]) -> list[str]:
    """The override by which Hydra looks for options in these directories too, after configs/."""
    places = ",".join("'" + f"file://{place}".replace("\\", "\\\\").replace("'", "\\'") + "'" for place in own)
    return [f"hydra.searchpath=[{places}]"] if own else []


def study_names(own: Sequence[Path] = ()) -> list[str]:
    """Names of the studies in configs/ and in the user's own directories, in this order."""
    return [path.stem for place in (config_dir(), *own) for path in sorted((place / _STUDY).glob("*.yaml"))]


def study_values(name: str, own: Sequence[Path] = ()) -> dict[str, Any]:
    """The content of a study's file, not yet validated.

    Raises:
        SpecError: there is no such study, or its file is no table in YAML.
    """
    places = [place / _STUDY / f"{name}.yaml" for place in (config_dir(), *own) if Path(name).name == name]
    if (path := next(filter(Path.is_file, places), None)) is None:
        known = study_names(own)
        raise SpecError(f"study = {name!r} is not a study{did_you_mean(name, known)}; the studies are {', '.join(known)}.")
    if not isinstance(content := _read(path, resolve=True), dict):
        raise SpecError(f"{path}: a study is a table of statement, counter, judge, parts, quick and full.")
    return content


def file_words(path: Path) -> list[str]:
    """The overrides that a sweep file of the user's own stands for.

    Raises:
        SpecError: there is no such file, or it is no table of settings in YAML.
    """
    if not path.is_file():
        near = did_you_mean(path.name, [other.name for other in path.parent.glob("*.y*ml")])
        raise SpecError(f"{path}: there is no such file{near}; a sweep file holds settings in YAML (docs/sweep_file.md).")
    return words_of_file(_read(path, resolve=False), path, [name for name in group_names(config_dir()) if name != _STUDY])


def _read(path: Path, resolve: bool) -> Any:
    """The content of a YAML file as plain data."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=resolve)
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is no YAML: {' '.join(str(error).split())}.") from None


def part_option(name: str, own: Sequence[Path] = ()) -> Mapping[str, Any]:
    """`data_option` of a mixture's part, which must be there."""
    if (found := data_option(name, own)) is None:
        options = sorted(path.stem for place in (config_dir(), *own) for path in (place / "data").glob("*.yaml"))
        near, others = did_you_mean(name, options), ", ".join(options)
        raise SpecError(f"data.parts: data = {name!r} is not an option{near}; the options are {others}.")
    return found


def _check(word: str, root: str, own: Sequence[Path]) -> None:
    """Refuse a word that is no override, cannot be read, names several values, or is of Hydra where Hydra runs nothing."""
    key, sign, value = word.partition("=")
    if word.startswith("-") or not key or not (sign or word.startswith("~")):
        if any((place / "sweep" / f"{word}.yaml").is_file() for place in (config_dir(), *own)):
            raise SpecError(f"{word!r} is a preset of sweeps; write sweep={word}.")
        if word.endswith(SUFFIXES):
            raise SpecError(
                f"{word!r}: a sweep file is taken by run, plan and data alone; write its settings as key=value here."
            )
        raise SpecError(f"{word!r} is not an override; write key=value, such as sweep=smoke or recipe.lr=0.004.")
    if key.lstrip("+~").split(".")[0].split("/")[0] == _STUDY:
        raise SpecError(f"{word!r} is not a setting: a study is measured and judged by scalesweep study {value or 'NAME'}.")
    if pair := _unpaired(word):
        raise SpecError(f"{word!r} has a bracket that is not {pair}; a list with spaces needs quotes: '{key}=[10k, 20k]'.")
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        quoted = f"{key}='{value}'"
        raise SpecError(
            f'{word!r} cannot be read; put a value with special characters in quotes, twice for the shell: "{quoted}".'
        ) from None
    if root == "run" and override.is_sweep_override():
        raise SpecError(_several(override))
    if root == "run" and override.key_or_group.split(".")[0].split("/")[0] == "hydra":
        raise SpecError(
            f"{word!r} has no effect: Hydra composes the settings here and runs nothing; dir=PLACE is where a sweep is kept."
        )


def _several(override: Override) -> str:
    """What to write in place of key=1,2."""
    key, line = override.key_or_group, str(override.input_line)
    values = ",".join(override.sweep_string_iterator()) if override.is_discrete_sweep() else line.partition("=")[2]
    section, _, name = key.partition(".")
    if section not in _AXES:
        quoted = f"\"{key}='{values}'\""
        return f"{line!r} names several values; a list is in brackets, {key}=[{values}], and a text in quotes, {quoted}."
    tuned = f", or tune it at every size and budget: sweep.tune.{key}=[{values}]" if name and section in TUNED_SECTIONS else ""
    return f"{line!r} names several values; repeat the sweep at each: sweep.axes.{key}=[{values}]{tuned}."


def _unpaired(word: str) -> str:
    """Whether a bracket of a word is not closed, as an unquoted space in a list leaves it, or not opened; else empty."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", word)
    for opening, closing in ("[]", "{}", "()"):
        if bare.count(opening) != bare.count(closing):
            return "closed" if bare.count(opening) > bare.count(closing) else "opened"
    return ""


def _sentence(error: Exception, overrides: Sequence[str], root: str, own: Sequence[Path]) -> str:
    """What Hydra refused, in one sentence with near misses."""
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if match := re.search(r"Could not find '([\w-]+)/([^']+)'", text):
        return _no_option(match[1], match[2], own)
    if "Config group override must be a string" in text:  # logger=false
        words = [word.partition("=") for word in overrides]
        groups = [(group, value) for group, _, value in words if (config_dir() / group).is_dir()]
        return next(_no_option(*word, own) for word in groups if not isinstance(safe_load(word[1]), str))
    if match := re.search(r"Missing mandatory value: .*full_key: ([\w.]+)", text):
        return f"{match[1]} is missing; give it a value, such as {match[1]}=..."
    if match := re.search(r"In '([^']+)': Could not load '([^']+)'", text):
        return f"{match[1]} takes {match[2]} into its defaults, and there is no such file in {', '.join(map(str, own))}."
    if match := re.search(r"Could not override '([^']+)'|Could not find key '?([\w.]+)|Key '([^']+)' is not in struct", text):
        return _unknown_key(match[1] or match[2] or match[3], root, overrides, own)
    if match := re.search(r"No match in the defaults list|Could not override '?([\w/]+)", text):
        return f"an override names a group that is not there: {text}"
    return f"the overrides {' '.join(overrides)} cannot be read: {text}"


def _no_option(group: str, option: str, own: Sequence[Path]) -> str:
    options = sorted(path.stem for place in (config_dir(), *own) for path in (place / group).glob("*.yaml"))
    near = option_instead(group, option) or did_you_mean(option, options)
    return f"{group} = {option!r} is not an option{near}; the options are {', '.join(options)}."


def _unknown_key(key: str, root: str, overrides: Sequence[str], own: Sequence[Path]) -> str:
    groups = [
        word for word in overrides if "." not in word.split("=", 1)[0] and (config_dir() / word.split("=", 1)[0]).is_dir()
    ]
    optional = {f"{group}.{name}" for group, names in _BY_OPTION.items() for name in names}
    from_own = {word for word in groups for place in own if (place / f"{word.replace('=', '/')}.yaml").is_file()}
    keys = {*_known(tuple(word for word in groups if word not in from_own), root), *optional} - REPEATED.keys()
    if key in {f"model.{name}" for name in ArchitectureSpec.model_fields} and "model=hf" not in groups:
        return f"{key} is a setting of model=hf; add model=hf."
    if key in optional:
        group = key.split(".")[0]
        options = [path.stem for path in sorted((config_dir() / group).glob("*.yaml")) if _has_key(path, key)]
        return f"{key} is a setting of {group}={f' and {group}='.join(options)}; choose it by {group}={options[0]}."
    instead = where_instead(key, keys)
    return f"{key} is not a setting{instead or f'; the settings are in the files of {config_dir()}'}."


@functools.cache
def _known(words: tuple[str, ...], root: str) -> frozenset[str]:
    """The settings that there are under options of groups."""
    return frozenset(dict(_leaf_paths(compose_values(words, root))))


def _has_key(path: Path, key: str) -> bool:
    """Whether an option of a group has the setting GROUP.NAME."""
    return key.partition(".")[2] in OmegaConf.load(path)


def _leaf_paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its value, the tables on the way too."""
    for name, value in values.items():
        yield f"{prefix}{name}", value
        if isinstance(value, Mapping):
            yield from _leaf_paths(value, f"{prefix}{name}.")


def config_dir() -> Path:
    """configs/ of the checkout, or the copy that travels in the wheel."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package.parents[1] / "configs", package / "configs"):
        if (candidate / "run.yaml").is_file():
            return candidate
    raise RuntimeError("the configuration files of scalesweep are missing from this installation")


def is_setting(word: str) -> bool:
    """Whether a word of a command is key=value, and not a path that is there, such as runs/lr=0.1."""
    return "=" in word and not os.path.exists(word)
