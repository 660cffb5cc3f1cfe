"""What is printed arrives: in order, on terminals without every character, and from a directory that is gone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TINY = [
    "sweep=smoke",
    "data.max_bytes=300k",
    "sweep.sizes=[10k]",
    "sweep.budgets=[4096]",
    "train.validation_tokens=8192",
    "launcher=inline",
]


def scalesweep(words: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Both streams of a command, together as they come."""
    return subprocess.run(
        [sys.executable, "-m", "scalesweep", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, "SCALESWEEP_CACHE": str(cwd / "cache"), **environment},
    )


def test_a_terminal_of_ascii_gets_the_numbers_of_every_cell(tmp_path: Path) -> None:
    done = scalesweep(["run", *TINY, "dir=ran"], tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\[1/1\] .* loss \d\.\d{4} \+- 0\.\d{4}", done.stdout)
    assert "Traceback" not in done.stdout


PROGRAM = """
import os, sys, warnings
from scalesweep.cli.output import forgiving_output, spell_out
spell_out()
with forgiving_output():
    print("first", file=sys.stderr)
    warnings.warn("second")
    print("third \N{PLUS-MINUS SIGN} 10\N{SUPERSCRIPT ONE}\N{SUPERSCRIPT TWO} \N{GREEK SMALL LETTER ALPHA}\N{SNOWMAN}")
    os._exit(0)
"""


@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_a_line_of_an_unbuffered_stream_is_there_when_the_next_one_is_printed(unbuffered: str) -> None:
    """Also where the process ends without closing anything, as when it is killed."""
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "first"
    assert "UserWarning: second" in lines[1]
    if unbuffered:  # a pipe is else written in blocks
        assert lines[-1] == "third +- 10^12 alpha?"


def test_a_working_directory_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    for words in ("run sweep=smoke", "train size=10k"):
        command = f"rmdir {gone}; {sys.executable} -m scalesweep {words}"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=gone)
        assert done.returncode == 2
        assert done.stderr.startswith("scalesweep: the working directory is gone")
        assert done.stderr.count("\n") == 1
        gone.mkdir()
