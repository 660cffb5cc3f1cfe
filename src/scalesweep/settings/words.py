"""Settings as the words of a command: values in Hydra's grammar, and what a sweep file of the user's own says.

A sweep file holds what stands after `scalesweep run`, as YAML: settings by their names, nested or dotted, and options of groups
by the group's name, alone (`data: enwik8`) or beside further settings of it (`data: {data: files, paths: [a.txt]}`). It is a
preset of its own: what it leaves out is as its groups have it, unless it names another preset.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from scalesweep.errors import SpecError

SUFFIXES = (".yaml", ".yml")
"""What a sweep file's name ends with."""
NO_PRESET = "~sweep"
"""The word by which settings are composed without any preset."""
_PLAIN = re.compile(r"(?!(null|true|false|nan|inf)$)[A-Za-z/.][A-Za-z0-9_./-]*")
"""Strings that Hydra reads without quotes."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_DEFAULT = re.compile(r"(?:override )?/?(\w+)")
"""A group in the list `defaults` of a preset."""


def written(value: Any) -> str:
    """A value as Hydra reads it."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{written(inner)}' for name, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return value if isinstance(value, str) else json.dumps(value)


def words_of_file(content: Any, path: Path, groups: Collection[str]) -> list[str]:
    """The words that a sweep file stands for; the sweep is called after the file where it names none.

    Args:
        content: what the file holds, as plain data.
        path: the file.
        groups: of settings, whose options may be chosen.

    Raises:
        SpecError: it is no table, a name in it is none, or a setting is there twice.
    """
    if not isinstance(content, Mapping) or not content:
        raise SpecError(f"{path} is no sweep file: it holds no table of settings, such as sweep: {{sizes: [20k, 60k]}}.")
    words: dict[str, str] = {}
    for name, value in _said(content, path, groups):
        if name in words:
            raise SpecError(f"{path} says {name} twice: {words[name]} and {value}; remove one of them.")
        words[name] = value
    preset = [] if "sweep" in words else [NO_PRESET]
    return [*preset, *(f"{name}={value}" for name, value in {"sweep.name": written(path.stem), **words}.items())]


def _said(content: Mapping[Any, Any], path: Path, groups: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each setting, or group whose option is chosen, with its value in Hydra's grammar."""
    for name, value in content.items():
        if name == "defaults":
            yield from _chosen(value, path, groups)
        elif name in groups and isinstance(value, str):
            yield name, written(value)
        elif name in groups and isinstance(value, Mapping) and isinstance(value.get(name), str):
            yield name, written(value[name])
            yield from _leaves({name: {inner: v for inner, v in value.items() if inner != name}}, path)
        else:
            yield from _leaves({name: value}, path)


def _chosen(defaults: Any, path: Path, groups: Collection[str]) -> Iterator[tuple[str, str]]:
    """The options of groups that the list `defaults` of a preset chooses, so that a copy of one is a sweep file too."""
    for entry in defaults if isinstance(defaults, list) else [defaults]:
        if entry == "_self_":
            continue
        key, option = next(iter(entry.items())) if isinstance(entry, Mapping) and len(entry) == 1 else (str(entry), None)
        match = _DEFAULT.fullmatch(str(key))
        if match is None or match[1] not in groups or not isinstance(option, str):
            raise SpecError(f"{path}: defaults holds {entry!r}; write the option of a group by the group's name, data: enwik8.")
        yield match[1], written(option)


def _leaves(values: Mapping[Any, Any], path: Path, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SpecError(f"{path}: {prefix}{name} is no name of a setting.")
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, path, f"{prefix}{name}.")
        else:
            yield prefix + name, written(value)
