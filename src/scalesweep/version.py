"""Which checkout of scalesweep runs."""

import functools
import subprocess
from pathlib import Path

__version__ = "0.1.0"


@functools.cache
def commit_words() -> str:
    """The commit of the checkout that runs, if it is one, with a mark if it was changed since."""
    package = Path(__file__).resolve().parent
    words = ["git", "-C", str(package), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" (commit {found})" if "site-packages" not in package.parts else ""
