"""Checkpoints as files of the store."""

import contextlib
import dataclasses
import io
from collections.abc import Iterable
from pathlib import Path

import torch

from scalesweep.files import Damaged, digest, read_bytes, set_aside, sibling
from scalesweep.plan.cell import Cell
from scalesweep.run.store.schema import SCHEMA
from scalesweep.train.pack import Checkpoint

_MAGIC = f"scalesweep checkpoint {SCHEMA}"
"""Begins the file, followed by the checksum of what `torch.save` wrote after that line."""


def save_checkpoint(path: Path, checkpoint: Checkpoint, keep_previous: bool = False) -> None:
    """Write to a sibling and rename, so that a reader sees the old or the new one, never a part.

    Args:
        path: where.
        checkpoint: what.
        keep_previous: leave the one that stood there beside it, as `previous(path)`.
    """
    buffer = io.BytesIO()
    torch.save(vars(checkpoint), buffer)
    payload = buffer.getbuffer()
    with sibling(path, f"{_MAGIC} {digest(payload)}\n".encode(), payload) as temporary:
        if keep_previous:
            with contextlib.suppress(FileNotFoundError):
                path.replace(previous(path))
        temporary.replace(path)


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is kept."""
    return path.with_suffix(f".previous{path.suffix}")


def load_checkpoint(path: Path, key: str) -> Checkpoint | None:
    """The checkpoint at `path`, or None where there is none of this key; a damaged one is set aside as .corrupt."""
    try:
        checkpoint = _read(path)
    except FileNotFoundError:
        return None
    except Damaged as error:
        set_aside(path, error, _read)
        return None
    return checkpoint if checkpoint.key == key else None


def _read(path: Path) -> Checkpoint:
    """The checkpoint at `path`.

    Raises:
        Damaged: the bytes are not those that were written, or of another version; to start afresh is always right.
    """
    header, _, payload = read_bytes(path).partition(b"\n")
    magic, _, stated = header.decode(errors="replace").rpartition(" ")
    if magic != _MAGIC:
        raise Damaged(f"{path} is no checkpoint of this version")
    if stated != digest(payload):
        raise Damaged(f"{path} is damaged (its checksum is wrong)")
    try:
        return Checkpoint(**torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True))
    except Exception as error:  # of another version of torch or of this package, whatever it raises
        raise Damaged(f"{path} cannot be loaded ({error!r})") from None


def load_start(cell: Cell, own: Path, snapshots: Iterable[Path]) -> Checkpoint | None:
    """The furthest state that the cell may go on from, its own checkpoint or a snapshot of its trunk; None at the start.

    Args:
        cell: about to be trained.
        own: its checkpoint, whether or not there is one; where it is damaged, the one before it serves.
        snapshots: STEP.pt of its trunk, the furthest one first.
    """
    resumed = load_checkpoint(own, cell.key) or load_checkpoint(previous(own), cell.key)
    step, seconds = (resumed.step, resumed.seconds) if resumed else (0, 0.0)
    for path in snapshots:
        if step < int(path.stem) <= cell.branch_step and (snapshot := load_checkpoint(path, cell.trunk)):
            return dataclasses.replace(snapshot, seconds=seconds, shared_steps=snapshot.step)
    return resumed
