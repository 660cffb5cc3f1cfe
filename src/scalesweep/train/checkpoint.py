"""The state of a cell between two steps, on disk: written atomically, loaded without executing anything."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Checkpoint:
    """What a resumed cell needs to go on exactly where it was."""

    key: str
    """The cell's key."""
    step: int
    """Finished steps."""
    model: dict[str, Any]
    optimizer: dict[str, Any]
    curve: list[dict[str, float]]
    """Points of the loss curve so far."""
    loss_sum: float
    """Sum of the batch losses since the last point of the curve."""
    loss_count: int
    seconds: float
    """Training time so far."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write to a sibling and rename, so that a reader sees the old or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with temporary.open("wb") as file:
        torch.save(vars(checkpoint), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path, key: str) -> Checkpoint | None:
    """The checkpoint at `path`, or None where there is none of this cell; an unreadable one is set aside as .corrupt."""
    if not path.is_file():
        return None
    try:
        checkpoint = Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception:  # whatever torch's reader raises for torn bytes: starting the cell afresh is always right
        path.replace(path.with_suffix(".corrupt"))
        return None
    return checkpoint if checkpoint.key == key else None
