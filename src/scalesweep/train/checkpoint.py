"""The state of one cell between two steps, on disk: written atomically, loaded without executing anything.

A checkpoint belongs to one cell, whether it was stepped alone or in a pack. A snapshot of a trunk is the same thing under the
trunk's hash instead of the cell's key: any cell of the trunk whose decay begins no earlier may go on from it.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """What a resumed cell needs to go on exactly where it was."""

    key: str
    """The cell's key, or the hash of the trunk."""
    step: int
    """Finished steps."""
    model: dict[str, Tensor]
    """Parameters by name, without a run axis."""
    moments: dict[str, tuple[Tensor, ...]]
    """Of each parameter Adam's first and second moment, or Muon's momentum."""
    curve: list[dict[str, Any]]
    """Points of the loss curve so far."""
    loss_sum: float
    """Sum of the batch losses since the last point of the curve."""
    loss_count: int
    seconds: float
    """Training time that this cell has cost so far."""
    shared_steps: int
    """Steps that were taken from a trunk instead of being trained."""
