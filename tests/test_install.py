"""The choice of torch in scripts/install.sh, with stand-ins for pip and nvidia-smi."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

INSTALL = Path(__file__).parents[1] / "scripts" / "install.sh"
PYTHON = """#!/bin/bash
case "$*" in
"-m pip "*) echo "${*#-m pip }" >>LOG ;;
*torch.arange*) grep -q "WORKS" LOG || echo "CUDA error: no kernel image is available for execution on the device" ;;
*'version("torch")'*) exit 1 ;;
*) exec REAL "$@" ;;
esac
"""
SMI = """#!/bin/bash
if [ "$1" = -L ]; then echo "GPU 0: NVIDIA H100 (UUID: GPU-1)"; else echo "| Driver Version: 550.54   CUDA Version: CUDA |"; fi
"""


def install(tmp_path: Path, cuda: str, works: str) -> tuple[list[str], str, int]:
    """The builds of torch that pip was asked for, what was said, and the exit code."""
    log = tmp_path / "pip.log"
    (tmp_path / "bin").mkdir()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    python = PYTHON.replace("LOG", str(log)).replace("WORKS", works).replace("REAL", sys.executable)
    for path, text in (("venv/bin/python", python), ("bin/nvidia-smi", SMI.replace("CUDA |", f"{cuda} |"))):
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SCALESWEEP_VENV": str(tmp_path / "venv")}
    environment.pop("SCALESWEEP_TORCH", None)
    done = subprocess.run(["bash", str(INSTALL)], env=environment, capture_output=True, text=True, timeout=60)
    asked = log.read_text().splitlines() if log.exists() else []
    builds = [line.rpartition("/")[2] if "--index-url" in line else "own" for line in asked if "install -qq torch" in line]
    return builds, done.stderr, done.returncode


@pytest.mark.parametrize(
    ("cuda", "works", "builds"),
    [
        ("13.0", "torch", ["own"]),
        ("12.4", "cu128", ["cu128"]),
        ("12.8", "cu126", ["cu128", "cu126"]),  # a card that newer builds leave out
        ("13.0", "cu126", ["own", "cu128", "cu126"]),
    ],
)
def test_torch_is_of_a_build_that_serves_the_driver_and_the_card(
    tmp_path: Path, cuda: str, works: str, builds: list[str]
) -> None:
    found, said, code = install(tmp_path, cuda, works)
    assert (found, code) == (builds, 0)
    assert "cannot use it" not in said


def test_a_gpu_that_no_build_serves_is_said(tmp_path: Path) -> None:
    builds, said, code = install(tmp_path, "12.4", "nothing")
    assert (builds, code) == (["cu128", "cu126"], 0)
    assert "nvidia-smi lists a GPU, and torch cannot use it: CUDA error: no kernel image is available" in said


def test_a_driver_that_is_too_old_for_any_build_ends_the_installation(tmp_path: Path) -> None:
    builds, said, code = install(tmp_path, "11.4", "torch")
    assert (builds, code) == ([], 1)
    assert "the driver serves CUDA 11.4, and torch needs 12 or newer: update the driver." in said
