"""What a worker claims, and the ends of it that leave no record: each says in the claims what becomes of the cells."""

import contextlib
from dataclasses import dataclass

from scalesweep.run.store.store import Claim, Store
from scalesweep.train.pack import Run


@dataclass(frozen=True)
class Job:
    """Cells that this worker holds, all to be stepped together from one step on."""

    claims: list[Claim]
    runs: list[Run]
    micro_batch: int
    ranks: int = 1
    """Devices that train it together."""
    further_steps: tuple[int, ...] = ()
    """As of `Execution`."""

    @property
    def names(self) -> str:
        """The cells' keys."""
        return ", ".join(run.cell.key for run in self.runs)


def release(store: Store, job: Job) -> None:
    """Give the cells back."""
    for claim in job.claims:
        with contextlib.suppress(OSError):  # the directory may be gone
            if store.claims.holds(claim):
                store.claims.release(claim)


def blame_device(store: Store, job: Job, cause: str, has_measured: bool, started: float) -> None:
    """Give the cells back, and say in each claim that the device failed, and whether anything was kept before.

    Args:
        store: the sweep's directory.
        job: what the worker was training.
        cause: the first line of what the device said.
        has_measured: whether the worker had finished another job.
        started: when it began this one.
    """
    for claim in job.claims:
        with contextlib.suppress(OSError):
            kept = store.checkpoint(claim.key)
            advanced = has_measured or (kept.exists() and kept.stat().st_mtime > started)
            store.claims.device_failed(claim, cause, advanced)


def leave(store: Store, job: Job) -> None:
    """Say in claims that others took over that their holder lives, as after a pause: no worker died of these cells."""
    for claim in job.claims:
        with contextlib.suppress(OSError):
            store.claims.leave(claim)
