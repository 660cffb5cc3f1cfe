"""Packages that not every installation has: whether they are there, and the line that gets them.

An analysis of points needs none of those that measuring needs, and is installed without them (requirements-lean.txt).
"""

import importlib.util
import re

from scalesweep.errors import SpecError

MEASURING = ("datasets", "safetensors", "tokenizers", "torch", "transformers", "wandb")
"""Dependencies that planning and training need, and nothing else."""
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^]]*\])?\s*([^;\s]*)")


def pip_line(*names: str) -> str:
    """The command that installs these packages, in the versions that this program asks for."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        asked = requires("scalesweep") or []
    except PackageNotFoundError:  # run from its source
        asked = []
    versions = {found[1]: found[2] for line in asked if (found := _REQUIREMENT.match(line)) and found[1] != "scalesweep"}
    return " ".join(["pip install", *(f"'{name}{versions.get(name, '')}'" for name in names)])


def is_there(name: str) -> bool:
    """Whether a package can be imported; a directory of that name in the working directory is none."""
    found = importlib.util.find_spec(name)
    return found is not None and found.origin is not None


def require_measuring() -> None:
    """Refuse an installation that can only analyse, before anything is prepared.

    Raises:
        SpecError: torch is not installed.
    """
    if not is_there("torch"):
        missing = [name for name in MEASURING if not is_there(name)]
        raise SpecError(f"planning and training need {lacking(*missing)}")


def lacking(*names: str) -> str:
    """The end of a sentence that says what needs packages of `MEASURING` which are not there."""
    are = "is" if len(names) == 1 else "are"
    return (
        f"{', '.join(names)}, which {are} not installed here; to get what is missing: {pip_line(*names)} "
        "(an analysis of points goes without)."
    )
