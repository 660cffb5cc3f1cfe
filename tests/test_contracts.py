"""The contracts on imports hold, and each one alone is broken by what it forbids."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
PLANTED = {
    "layers": ("settings/fit.py", "from scalesweep.points.points import Points"),
    "circles": ("laws/base.py", "from scalesweep.laws.joint import Chinchilla"),
    "experiment": ("run/store/schema.py", "from scalesweep.laws import LAWS"),
    "analysis": ("report/context.py", "from scalesweep.train.schedule import phase"),
    "judges": ("studies/base.py", "from scalesweep.plan.cell import Cell"),
    "libraries": ("plan/cost.py", "import torch"),
}
"""For each contract, by its id in pyproject.toml: a file and an import that it must not hold."""


def broken(package: Path) -> set[str]:
    """Ids of the contracts that a copy of the package breaks."""
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    words = [sys.executable, "-c", lint, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    done = subprocess.run(words, cwd=package.parent, env={"PYTHONPATH": str(package.parent)}, capture_output=True, text=True)
    said = " ".join(done.stdout.split())  # long names are wrapped
    states = {c["id"]: re.search(rf"{re.escape(c['name'])} (KEPT|BROKEN)", said) for c in CONTRACTS}
    assert all(states.values()), done.stdout + done.stderr
    return {name for name, state in states.items() if state and state[1] == "BROKEN"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, which the linter finds in place of the installed one."""
    target = tmp_path_factory.mktemp("contracts") / "scalesweep"
    shutil.copytree(ROOT / "src" / "scalesweep", target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def test_every_contract_has_its_violation() -> None:
    assert set(PLANTED) == {contract["id"] for contract in CONTRACTS}


def test_all_hold(package: Path) -> None:
    assert broken(package) == set()


@pytest.mark.parametrize("contract", PLANTED)
def test_a_planted_import_breaks_its_contract(package: Path, contract: str) -> None:
    name, line = PLANTED[contract]
    file = package / name
    text = file.read_text()
    file.write_text(f"{text}\n\ndef planted() -> None:\n    {line}\n")
    try:
        assert broken(package) == {contract}
    finally:
        file.write_text(text)
