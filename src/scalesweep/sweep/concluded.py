"""concluded.json beside sweep.json: what a sweep was told to be, of which files, and which files were written then.

A second `scalesweep run` that measures nothing finds everything as it was, and repeats the words instead of the work. What was
looked at is told by the modification times, sizes and inodes of the cells' files, by plan, settings and program; so a changed
record, setting or program is seen, as is a report that was changed or removed. Without this file all is made again.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scalesweep.files import Damaged, digest, plain_storage_errors, read_json, sealed, write_text
from scalesweep.kept import fingerprint
from scalesweep.report import files_of
from scalesweep.report.verdicts import current_version, verdict_files
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings

SCHEMA = 1
"""Of concluded.json; raised when a field changes its meaning or goes."""
_NAME = "concluded.json"


def basis_of(store: Store, settings: Settings, how: str) -> str:
    """A hash of all that the end of a sweep depends on.

    Args:
        store: its directory.
        settings: how to count, fit and report.
        how: what is to be written, and how its words are set.
    """
    directory = store.directory
    own = (directory / name for name in ("sweep.json", "rounds.json"))  # written anew with the same content by every run
    cells = (path for key in store.plan_file.keys() for path in sorted(store.cell_dir(key).glob("[!.]*")))
    return fingerprint(
        {
            "sweep": [digest(path.read_bytes()) if path.is_file() else "" for path in own],
            "files": _signatures(cells),
            "verdicts": _signatures(verdict_files(directory)),
            "settings": settings.model_dump(mode="json"),
            "version": current_version(),
            "how": how,
        }
    )


def words_of(store: Store, basis: str) -> str | None:
    """What was said at the end of the same sweep, where all that was written then is as it was."""
    try:
        kept = read_json(store.directory / _NAME, sealed_only=True)
    except (OSError, Damaged):
        return None
    if (
        kept.get("schema") != SCHEMA
        or kept.get("basis") != basis
        or kept.get("files") != _signatures(files_of(store.directory))
    ):
        return None
    return str(kept["said"])


def keep_words(store: Store, basis: str, said: str) -> None:
    """Keep what was said, with what was written.

    Raises:
        StoreError: the directory cannot be written.
    """
    kept = {"schema": SCHEMA, "basis": basis, "files": _signatures(files_of(store.directory)), "said": said}
    with plain_storage_errors(store.directory):
        write_text(store.directory / _NAME, sealed(kept))


def _signatures(paths: Iterable[Path]) -> dict[str, Any]:
    """Modification time, size and inode of each file that is there."""
    found: dict[str, Any] = {}
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            continue
        found[str(path)] = [stat.st_mtime_ns, stat.st_size, stat.st_ino]
    return found
