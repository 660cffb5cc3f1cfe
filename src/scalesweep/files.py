"""Files that readers see whole or not at all, on local and on shared disks, and that say themselves whether they are sound.

A sealed file carries a checksum of its content. One that does not match it was changed by something else than this program: a
disk, an editor, a copy that broke off. It raises `Damaged`; whoever reads it decides what takes its place, and sets it aside.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scalesweep.errors import DataError, StoreError

STORAGE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN}
    | {errno.ETIMEDOUT, errno.EHOSTDOWN}
)
"""What a full, read-only, forbidden or vanished file system answers; no cell is to blame for it."""
_log = logging.getLogger(__name__)


class Damaged(StoreError):
    """A file is not what was written."""


class StorageFailed(StoreError):
    """The file system of a sweep's directory is full, read-only, forbidden or gone."""


def age(path: Path) -> float:
    """Seconds since the last change of `path`, by the clock of its file system where one may write there."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".now-") as now:
            clock = os.stat(now.name).st_mtime
    except OSError:
        clock = time.time()
    return clock - path.stat().st_mtime


def cache_home() -> Path:
    """$SCALESWEEP_CACHE, else scalesweep in the user's cache directory, else a folder of temporary files.

    It may not be there yet.

    Raises:
        DataError: the last one belongs to somebody else.
    """
    if chosen := os.environ.get("SCALESWEEP_CACHE"):
        return Path(chosen).expanduser().absolute()
    home = _home_cache()
    return temporary_cache() if home is None or _refuses(home) else home


def why_no_home() -> str:
    """Why `cache_home` is a folder of temporary files, as the beginning of a sentence; empty where it is not."""
    home = _home_cache()
    if os.environ.get("SCALESWEEP_CACHE") or (home is not None and not _refuses(home)):
        return ""
    return "This user has no home directory" if home is None else f"{home} cannot be written"


def temporary_cache() -> Path:
    """A folder of temporary files: the same for every process of this user, and nobody else's.

    Raises:
        DataError: somebody else has made it, or may write to it.
    """
    folder = Path(tempfile.gettempdir()).absolute() / f"scalesweep-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    state = folder.lstat()
    if state.st_uid != os.getuid() or not stat.S_ISDIR(state.st_mode) or state.st_mode & 0o022:
        raise DataError(f"{folder} belongs to somebody else; data.cache, or SCALESWEEP_CACHE, chooses another place.")
    return folder


def _home_cache() -> Path | None:
    """In the user's home, where there is one: a user of `docker run --user 1234` has none."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen).absolute() / "scalesweep"
    with contextlib.suppress(RuntimeError):
        return Path.home().absolute() / ".cache" / "scalesweep"
    return None


def _refuses(folder: Path) -> bool:
    """Whether nothing can be written there, as the nearest folder above that exists tells."""
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    return not os.access(nearest, os.W_OK | os.X_OK)


def digest(content: bytes | memoryview) -> str:
    """Checksum of a file's content: 128 bits of SHA-256 as hex digits."""
    return hashlib.sha256(content).hexdigest()[:32]


def read_json(path: Path, sealed_only: bool = False) -> dict[str, Any]:
    """The content of a JSON file without its checksum, which is compared where there is one.

    Raises:
        Damaged: the file is no JSON object, not the one that was written, or, with `sealed_only`, without a checksum.
    """
    try:
        value = json.loads(read_bytes(path))
    except ValueError as error:
        raise Damaged(f"{path} is damaged ({error})") from None
    if not isinstance(value, dict):
        raise Damaged(f"{path} is damaged (no object)")
    stated = value.pop("checksum", None)
    if stated is None and sealed_only:
        raise Damaged(f"{path} is damaged (it has no checksum)")
    if stated is not None and stated != digest(json.dumps(value).encode()):
        raise Damaged(f"{path} is damaged (its checksum is wrong)")
    return value


def read_bytes(path: Path) -> bytes:
    """The content of a file; read again where another NFS client has put a new one in its place meanwhile."""
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return path.read_bytes()


def sealed(value: Mapping[str, Any]) -> str:
    """The value as JSON with its checksum."""
    return json.dumps({**value, "checksum": digest(json.dumps(dict(value)).encode())}, indent=1)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace the file by `value` as JSON."""
    write_text(path, json.dumps(value, indent=1))


def write_text(path: Path, text: str) -> None:
    """Write to a sibling and rename, so that readers see the old or the new content, never a part."""
    with sibling(path, text.encode()) as temporary:
        temporary.replace(path)


def write_new(path: Path, text: str) -> bool:
    """Create the file with its content at once; False where it exists. The file system lets exactly one creator succeed."""
    with sibling(path, text.encode()) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return temporary.stat().st_nlink == 2  # NFS repeats a request whose answer was lost: it was this link
    return True


@contextlib.contextmanager
def sibling(path: Path, *parts: bytes | memoryview) -> Iterator[Path]:
    """A file beside `path` with the bytes on the disk, under a name that no other process or host can choose."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or the disk is gone, which the body has noticed
            temporary.unlink(missing_ok=True)


def set_aside(path: Path, error: Exception, check: Callable[[Path], object] | None = None) -> bool:
    """Rename a damaged file to .corrupt, so that it is kept and never read again, and say so in one line; True if it was done.

    Args:
        path: the damaged file.
        error: what was found.
        check: raises Damaged for a damaged file. Between the look and the renaming another process may have put a sound file in
            its place; what was taken by mistake is put back.
    """
    aside = path.with_suffix(".corrupt")
    try:
        path.replace(aside)
    except FileNotFoundError:
        return False  # somebody else was faster
    except OSError as reason:
        _log.warning("%s; it is not used, and cannot be set aside: %s", error, reason.strerror)
        return False
    if check and not _is_damaged(aside, check):
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
        aside.unlink()
        return False
    _log.warning("%s; it was set aside as %s", error, aside.name)
    return True


def _is_damaged(path: Path, check: Callable[[Path], object]) -> bool:
    try:
        check(path)
    except Damaged:
        return True
    return False


def is_storage_error(error: BaseException, directory: Path) -> bool:
    """Whether the file system below `directory` is to blame: full, read-only, forbidden, or gone.

    An error that names a file elsewhere, such as a compiler's cache, is not of this directory.
    """
    if not isinstance(error, OSError):
        return False
    if not directory.is_dir():
        return True
    named = error.filename
    inside = not isinstance(named, str | os.PathLike) or Path(named).absolute().is_relative_to(directory.absolute())
    return inside and error.errno in STORAGE_ERRORS


@contextlib.contextmanager
def plain_storage_errors(directory: Path) -> Iterator[None]:
    """Turn the file system's refusals into one sentence.

    Raises:
        StorageFailed: the directory is full, read-only, forbidden or gone.
    """
    try:
        yield
    except OSError as error:
        if not is_storage_error(error, directory):
            raise
        raise StorageFailed(storage_sentence(error, directory)) from None


@contextlib.contextmanager
def plain_write_errors(directory: Path, remedy: str) -> Iterator[None]:
    """Turn whatever keeps a new directory, or files in it, from being written into one sentence with its remedy.

    Raises:
        StoreError: the directory cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(f"{directory} cannot be written: {error.strerror}; {remedy}") from None


def storage_sentence(error: OSError, directory: Path) -> str:
    """What is wrong with the directory, and what to do."""
    if not directory.is_dir():
        return f"{directory} is gone; mount or restore it, and repeat the command: it goes on from there."
    remedies = {
        errno.ENOSPC: "make room",
        errno.EDQUOT: "make room in your quota",
        errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    }
    remedy = remedies.get(error.errno or 0, "make it writable")
    return f"{directory} cannot be written: {error.strerror}; {remedy} and repeat the command, which goes on from there."
