"""What each coded warning means: the table of `warnings.toml`, from which docs/warnings.md is written."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Meaning:
    """What is to be known of a code, in plain text."""

    says: str
    """What was found."""
    why: str
    """Why it matters."""
    remedy: str
    """What to do."""


@cache
def meanings() -> dict[str, Meaning]:
    """Every code, in order."""
    content = tomllib.loads(files("scalesweep.report.review").joinpath("warnings.toml").read_text(encoding="utf-8"))
    return {code: Meaning(**{name: text.replace("`", "") for name, text in row.items()}) for code, row in content.items()}
