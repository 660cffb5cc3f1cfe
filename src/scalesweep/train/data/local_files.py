"""Local files by the patterns of data.paths, and what tells whether they may have changed."""

import glob
import os
from collections.abc import Callable
from pathlib import Path

from scalesweep.errors import DataError


def matching(patterns: tuple[str, ...], is_allowed: Callable[[Path], bool], allowed: str) -> list[Path]:
    """The files that match, in the order of their paths. A path that exists is itself, whatever brackets it has.

    Args:
        patterns: globs.
        is_allowed: whether a file's extension is one that can be read.
        allowed: those that can, in words.

    Raises:
        DataError: a pattern matches nothing, all match only directories, or a file's extension is not allowed.
    """
    found: set[Path] = set()
    for pattern in patterns:
        literal = Path(os.path.expanduser(pattern))
        matches = [literal] if literal.is_file() else [Path(p) for p in glob.glob(os.path.expanduser(pattern), recursive=True)]
        if not matches:
            raise DataError(f"data.paths: no file matches {pattern!r} (looked from {Path.cwd()}).")
        found.update(path.resolve() for path in matches if path.is_file())
    if not found:
        raise DataError(f"data.paths={list(patterns)} matches only directories: add /*.txt, for example.")
    for path in sorted(found):
        if not is_allowed(path):
            raise DataError(f"data.paths: {path} has the extension {path.suffix!r}; allowed are {allowed}.")
    return sorted(found)


def seen(files: list[Path]) -> list[tuple[str, int, int]]:
    """What tells cheaply whether files may have changed."""
    return [(str(file.absolute()), (facts := file.stat()).st_size, facts.st_mtime_ns) for file in files]
