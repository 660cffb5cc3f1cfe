"""Files that readers see whole or not at all, on local and on shared disks."""

import contextlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scalesweep.errors import StoreError


def age(path: Path) -> float:
    """Seconds since the last change of `path`, by the clock of its file system where one may write there."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".now-") as now:
            clock = os.stat(now.name).st_mtime
    except OSError:
        clock = time.time()
    return clock - path.stat().st_mtime


def read_json(path: Path) -> dict[str, Any]:
    """The content of one of the store's files.

    Raises:
        StoreError: the file was damaged by something else than this program, which writes whole files only.
    """
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise StoreError(f"{path} is damaged ({error}); restore it, or remove it to have the cell measured again.") from None
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace the file by `value` as JSON."""
    write_text(path, json.dumps(value, indent=1))


def write_text(path: Path, text: str) -> None:
    """Write to a sibling and rename, so that readers see the old or the new content, never a part."""
    with sibling(path, text) as temporary:
        temporary.replace(path)


def write_new(path: Path, text: str) -> bool:
    """Create the file with its content at once; False where it exists. The file system lets exactly one creator succeed."""
    with sibling(path, text) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    return True


@contextlib.contextmanager
def sibling(path: Path, text: str) -> Iterator[Path]:
    """A file beside `path` with the text on the disk, under a name that no other process or host can choose."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
