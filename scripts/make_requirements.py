"""Writes requirements-lean.txt: the dependencies of pyproject.toml that an analysis of points needs."""

import re
import tomllib
from pathlib import Path

from scalesweep.packages import MEASURING

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "requirements-lean.txt"
HEAD = """# What an analysis of points needs, written by scripts/make_requirements.py, without what planning and training need.
# In a checkout: pip install -r requirements-lean.txt && pip install --no-deps .
"""


def render() -> str:
    """The file."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = [re.split(r"[<>=!~\[ ]", line)[0] for line in asked]
    assert set(MEASURING) <= set(names), "what measuring needs is a dependency"
    return HEAD + "".join(f"{line}\n" for line, name in zip(asked, names, strict=True) if name not in MEASURING)


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
