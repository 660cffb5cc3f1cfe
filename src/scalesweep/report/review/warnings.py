"""What each coded warning means, from the table of docs/warnings.md, which also travels in the wheel."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_ROW = re.compile(r"^\| *(A\d+) *\|(.*)\|(.*)\|(.*)\| *$")


@dataclass(frozen=True)
class Meaning:
    """One row of the table."""

    says: str
    """What was found."""
    why: str
    """Why it matters."""
    remedy: str
    """What to do."""


@cache
def meanings() -> dict[str, Meaning]:
    """The documented codes."""
    lines = _page().read_text(encoding="utf-8").splitlines()
    rows = [match.groups() for line in lines if (match := _ROW.match(line))]
    return {code: Meaning(*(cell.strip().replace("`", "") for cell in cells)) for code, *cells in rows}


def _page() -> Path:
    """The page of the checkout, or the copy that travels in the wheel."""
    package = Path(__file__).resolve().parents[2]
    for root in (package.parents[1], package):
        if (root / "docs" / "warnings.md").is_file():
            return root / "docs" / "warnings.md"
    raise RuntimeError("docs/warnings.md is missing from this installation of scalesweep")
