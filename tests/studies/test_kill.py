"""A study that is killed at random moments and called again gives the verdict of one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scalesweep.studies.load import Study

TOY = Path(__file__).parent / "toy"


def call(directory: Path, cache: Path) -> subprocess.Popen[bytes]:
    words = [f"--config-dir={TOY}", "trust=toy_judge", f"dir={directory}", f"data.cache={cache}", "launcher=local"]
    environment = os.environ | {"PYTHONPATH": f"{TOY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "scalesweep", "study", "toy", *words]
    with (directory.parent / f"{directory.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def verdict(directory: Path) -> dict[str, Any]:
    """verdict.json without times, costs and places."""
    content: dict[str, Any] = json.loads((directory / "toy" / "verdict.json").read_text())
    sealed = content["sealed"]
    for rule in sealed["rules"]:
        del rule["at"]
    del sealed["forecast_at"], content["cost"]
    return content


@pytest.mark.slow
def test_kills_change_no_verdict(toy: Study, tmp_path: Path) -> None:
    cache, quiet, killed = (tmp_path / name for name in ("cache", "quiet", "killed"))
    assert call(quiet, cache).wait(timeout=300) == 0, (tmp_path / "quiet.log").read_text()
    chance = random.Random(0)
    for _ in range(6):
        process = call(killed, cache)
        time.sleep(chance.uniform(2.0, 9.0))  # from the imports to the last records
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert call(killed, cache).wait(timeout=300) == 0, (tmp_path / "killed.log").read_text()
    assert verdict(killed) == verdict(quiet)
