"""Paths: where the configuration files are, what in a command is one, and what to say of one that the system refuses."""

import errno
import os
from pathlib import Path

_FULL = {errno.ENOSPC: "make room", errno.EDQUOT: "make room in your quota"}
_REMEDIES = {
    **_FULL,
    errno.EACCES: "have its permissions changed, or choose another place",
    errno.EPERM: "have its permissions changed, or choose another place",
    errno.EROFS: "mount it for writing, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter one",
}


def config_dir() -> Path:
    """configs/ of the checkout, or the copy that travels in the wheel."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package.parents[1] / "configs", package / "configs"):
        if (candidate / "run.yaml").is_file():
            return candidate
    raise RuntimeError("the configuration files of scalesweep are missing from this installation")


def is_setting(word: str) -> bool:
    """Whether a word of a command is key=value, and not a path that is there, such as runs/lr=0.1."""
    return "=" in word and not os.path.exists(word)


def refusal(error: OSError) -> str | None:
    """What the system refused, in one sentence; None where it names no file, so that the program may be at fault."""
    if error.strerror is None or (error.filename is None and error.errno not in _FULL):
        return None
    remedy = _REMEDIES.get(error.errno or 0, "check the path")
    return f"{error.filename or 'a file'} cannot be used: {error.strerror}; {remedy}, and repeat the command."
