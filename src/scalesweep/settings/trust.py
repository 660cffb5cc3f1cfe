"""Modules of the user's own that this process may import: those that its own command line names, by trust=, and no others.

A store names classes, and a store may come from anybody. So no name that is read leads to an import, unless whoever gave the
command has named the module too. Launchers hand the names on to their workers.
"""

import hashlib
import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from scalesweep.errors import SpecError

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
TRUSTED: list[str] = []
"""What this process may import; only `trust` adds to it."""


def module_names(text: str) -> tuple[str, ...]:
    """Names of modules as trust= takes them: package.module, or several in brackets.

    Raises:
        ValueError: what is no name of a module.
    """
    names = tuple(name.strip() for name in text.strip("[] ").split(",") if name.strip())
    if not names or not all(_MODULE.fullmatch(name) for name in names):
        raise ValueError("must be the name of a module, such as trust=package.module")
    return names


def trust(names: tuple[str, ...]) -> None:
    """Let this process, and the workers that it starts, import these modules."""
    TRUSTED.extend(name for name in names if name not in TRUSTED)


def trust_words() -> list[str]:
    """The words by which a command that is started from here trusts the same modules."""
    return [word for name in TRUSTED for word in ("--trust", name)]


def load_class(target: str, setting: str) -> tuple[Any, str]:
    """The class that `target` (package.module:Class) names, and the hash of its source.

    The hash covers every .py file of the package that the module is in, as it may import from any of them; of a module in no
    package its own file.

    Args:
        target: the class.
        setting: which setting or file names it.

    Raises:
        SpecError: its module was not trusted, cannot be imported, or has no such class.
    """
    name, _, attribute = target.partition(":")
    module = load_module(name, f"{setting} = {target!r}")
    if not isinstance(found := getattr(module, attribute, None), type):
        raise SpecError(f"{setting} = {target!r}: module {name} has no class {attribute}.")
    return found, _source_hash(module, f"{setting} = {target!r}")


def load_module(name: str, what: str) -> ModuleType:
    """A trusted module.

    Args:
        name: of the module.
        what: the setting that names it, with its value.

    Raises:
        SpecError: it was not trusted, or cannot be imported.
    """
    if name not in TRUSTED:
        raise SpecError(
            f"{what} runs code of module {name}, which is imported only where the command names it too: "
            f"add trust={name} (scalesweep worker: --trust {name})."
        )
    try:
        return importlib.import_module(name)
    except Exception as error:  # of whatever the module does when it is imported
        hint = "; install it, or put its directory on PYTHONPATH" if isinstance(error, ModuleNotFoundError) else ""
        raise SpecError(f"{what}: module {name} cannot be imported: {error!r}{hint}.") from None


def load_planned(content: Mapping[str, Any], setting: str) -> Any:
    """The class that a plan names.

    Args:
        content: its target and the hash of its source, as planned.
        setting: which setting names it.

    Raises:
        SpecError: its module is not trusted, or its source is not the one that was planned.
    """
    made, source = load_class(content["target"], setting)
    if source != content["source"]:
        raise SpecError(
            f"{setting} = {content['target']!r}: its source has changed since the sweep was planned ({content['source']}, now "
            f"{source}); other code is other cells: repeat scalesweep run in another directory with dir=...."
        )
    return made


def _source_hash(module: ModuleType, what: str) -> str:
    top = module.__name__.partition(".")[0]
    file = getattr(module, "__file__", None)
    if not file or not file.endswith(".py"):
        raise SpecError(f"{what}: the module has no source file in Python, by which its cells could be told apart.")
    place = next((p for p in Path(file).parents if p.name == top and "." in module.__name__), None)
    files = sorted(place.rglob("*.py")) if place else [Path(file)]
    content = hashlib.sha256()
    for path in files:
        content.update(f"{path.relative_to(place or path.parent)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return content.hexdigest()[:16]
