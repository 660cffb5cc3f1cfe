"""Where text comes from: one `Source` for each kind of `DataSpec`.

A source yields documents as UTF-8 bytes in an order that never changes, and counts what it passes over. It does not cap, split
or remove duplicates: that is `spool`'s part. Opening a source is cheap; reading it may download.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scalesweep.errors import DataError
from scalesweep.settings.data import PACKINGS, TEXTS, DataSpec
from scalesweep.train.data import enwik8, formats, hub, python_text
from scalesweep.train.data.local_files import matching, seen
from scalesweep.train.data.reading import Reading, text_column

Announce = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """A text, before it is read."""

    name: str
    """For people, for example "python-code"."""
    stamp: str
    """sha256 of what tells cheaply whether the text may have changed: names, sizes and times of files, or the hub's name."""
    read: Callable[[Reading], tuple[str, Iterator[bytes]]]
    """Where the text comes from, in words, and its documents as UTF-8; what is passed over is counted in the reading."""
    is_remote: bool = False
    """Whether reading it again may need a network."""
    held_out_bytes: int | None = None
    """The validation set is this many bytes at the end; None splits by document."""


def open_source(spec: DataSpec, cache: Path, announce: Announce) -> Source:
    """The source that `spec` names; `cache` is where downloads are kept.

    Raises:
        DataError: no file matches, or a file has an unknown extension.
    """
    openers = {"python": _open_python, "enwik8": _open_enwik8, "files": _open_files, "hub": _open_hub}
    return openers[spec.source](spec, cache, announce)


def digest(*parts: object) -> str:
    """sha256 of plain values, as 64 hex digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _open_python(spec: DataSpec, cache: Path, announce: Announce) -> Source:
    files = python_text.list_files()
    read = {"code": python_text.read_code, "prose": python_text.read_prose}[spec.content]
    stamped = [(file.path, file.size, file.mtime_ns) for file in files]

    def counted(reading: Reading) -> Iterator[bytes]:
        for file in files:
            texts = list(read([file]))  # none where it cannot be read or parsed, or has too little
            reading.rows += 1
            reading.without_text += not texts
            yield from texts

    return Source(
        name=f"python-{spec.content}",
        stamp=digest("python", spec.content, spec.max_bytes, platform.python_version(), stamped),
        read=lambda reading: (
            f"the environment of {platform.python_implementation()} {platform.python_version()}",
            counted(reading),
        ),
    )


def _open_enwik8(spec: DataSpec, cache: Path, announce: Announce) -> Source:
    """Enwik8 is one text without documents, so both splits are contiguous.

    Without a cap it is the benchmark's own: train on [0, 90M), validate on [90M, 95M), and leave the test set [95M, 100M)
    alone. With data.max_bytes the last validation_fraction of the first max_bytes is held out.
    """
    if len(spec.paths) > 1:
        raise DataError(f"data.paths={list(spec.paths)}: data=enwik8 takes one file.")
    whole = spec.max_bytes is None
    path = spec.paths[0] if spec.paths else None

    def read(reading: Reading) -> tuple[str, Iterator[bytes]]:
        reading.rows += 1
        text = enwik8.read(path, cache, announce)
        used = enwik8.TRAIN_BYTES + enwik8.VALIDATION_BYTES
        return f"enwik8, sha256 {enwik8.SHA256}", iter([text[:used]])

    return Source(
        name="enwik8",
        stamp=digest("enwik8", spec.max_bytes),  # the text is known by its sha256, wherever it comes from
        read=read,
        held_out_bytes=enwik8.VALIDATION_BYTES if whole else None,
    )


def _open_files(spec: DataSpec, cache: Path, announce: Announce) -> Source:
    packings = ", ".join(PACKINGS)
    allowed = f"{', '.join(formats.FORMATS)}, all but the last also packed ({packings})"
    files = matching(spec.paths, formats.is_known, allowed)
    is_text = [formats.is_text(file) for file in files]
    if spec.separator is not None and not any(is_text):
        texts = ", ".join(TEXTS)
        raise DataError(f"data.separator={spec.separator!r} stands between documents of text ({texts}); data.paths has none.")
    further = {name: value for name in ("separator", "max_skipped") if (value := getattr(spec, name))}

    def read(reading: Reading) -> Iterator[bytes]:
        num_documents = 0
        for file in files:
            for document in formats.read_file(
                file, reading, column=spec.column, separator=spec.separator, max_skipped=spec.max_skipped
            ):
                num_documents += 1
                yield document
        if spec.separator is not None and 0 < num_documents <= len(files):
            announce(f"data.separator={spec.separator!r} stands nowhere between documents: each file is one")
        if num_documents == 0:
            raise DataError(f"data.paths: the {len(files)} matching files hold no text (the first is {files[0]}).")

    return Source(
        name=formats.unpacked(files[0]).stem if len(files) == 1 else "files",
        stamp=digest("files", spec.column, spec.max_bytes, seen(files), *([further] if further else [])),
        read=lambda reading: (f"{len(files)} local files", read(reading)),
    )


def _open_hub(spec: DataSpec, cache: Path, announce: Announce) -> Source:
    """A data set of the hub, or a local directory of the same layout.

    The stamp of a name does not ask the hub for the newest commit: a corpus that was prepared once is used again, online or
    not, and data.revision is how to move on. The commit that was read is recorded. A directory is stamped by its files.
    """
    name = spec.name or ""
    local = Path(name).expanduser()
    is_local = local.is_dir()
    if not is_local and name.startswith(("/", "./", "../", "~")):
        raise DataError(f"data.name={name!r}: there is no such directory (looked from {Path.cwd()}).")

    def read(reading: Reading) -> tuple[str, Iterator[bytes]]:
        commit = None if is_local else hub.resolve_commit(name, spec.revision)
        rows = hub.hub_rows(
            str(local) if is_local else name,
            subset=spec.subset,
            split=spec.split,
            revision=commit,
            streaming=spec.streaming,
            cache=cache,
        )
        known = f"data set {name}, commit {commit or 'of the local copy'}"
        return f"local directory {local.absolute()}" if is_local else known, text_column(
            rows, spec.column, name, reading, spec.max_skipped, is_uniform=True
        )

    wanted = (name, spec.subset, spec.split, spec.revision, spec.column, spec.max_bytes)
    files_seen = [seen(sorted(path for path in local.rglob("*") if path.is_file()))] if is_local else []
    further = [spec.max_skipped] if spec.max_skipped else []
    return Source(
        name=local.absolute().name if is_local else name.rsplit("/", 1)[-1],
        stamp=digest("hub", *wanted, *files_seen, *further),
        read=read,
        is_remote=not is_local,
    )
