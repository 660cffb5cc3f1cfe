"""What a worker keeps of the cells it trains, as long as it holds them: curves, states, weights, records."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from scalesweep.run.answers import answers_of, keep_answers
from scalesweep.run.checkpoints import save_checkpoint
from scalesweep.run.job import Job
from scalesweep.run.lease import Lease, LeaseLost
from scalesweep.run.store.store import Store
from scalesweep.run.tracker import Tracker
from scalesweep.train.data.tasks import ProblemSet
from scalesweep.train.model.export import save_weights
from scalesweep.train.pack import Checkpoint, Outcome


@dataclass
class Keeper:
    """The hooks of a training under a lease: every file is written only for a cell that is still held."""

    store: Store
    lease: Lease
    job: Job
    say: Callable[[str], None]
    tracker: Tracker | None
    device: torch.device
    keeps_weights: bool
    problems: ProblemSet | None
    """What every cell is asked when it is trained."""
    lost: set[int] = field(default_factory=set)
    """Positions of the cells for which nothing is written any more; training goes on as long as one is left."""

    def keep_curve(self, i: int, curve: list[dict[str, Any]]) -> None:
        """Replace the curve of a cell, on the disk and where it is followed live."""
        with self.lease.writing():
            written = i in self.lost or self.store.write_curve(self.job.claims[i], curve)
        if not written:
            self._lose(i)
        elif self.tracker:
            self.tracker.curve(curve)

    def keep_checkpoint(self, i: int, checkpoint: Checkpoint) -> None:
        """Keep the state of a cell and the one before."""
        with self.lease.writing():
            if self.store.claims.holds(self.job.claims[i]):
                save_checkpoint(self.store.checkpoint(checkpoint.key), checkpoint, keep_previous=True)

    def keep_snapshot(self, i: int, checkpoint: Checkpoint) -> None:
        """Keep the state of a trunk, which is right whoever holds the cell: it is what any run of the trunk comes to."""
        path = self.store.snapshot(checkpoint.key, checkpoint.step)
        with self.lease.writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            save_checkpoint(path, checkpoint)

    def keep_trained(self, i: int, weights: dict[str, torch.Tensor]) -> None:
        """Keep the trained weights of a cell, and what it answers with them, where either is asked for."""
        cell, answers = self.job.runs[i].cell, None
        if self.problems is not None:
            answers = answers_of(cell, weights, self.problems, self.device, self.lease.progress)
        with self.lease.writing():
            if not self.store.claims.holds(self.job.claims[i]):
                return
            if self.keeps_weights:
                save_weights(self.store.weights(cell.key), weights)
            if self.problems is not None and answers is not None:
                keep_answers(self.store, cell, self.problems, answers, self.device)

    def keep_records(self, outcomes: Sequence[Outcome], records: Iterable[Mapping[str, Any]]) -> None:
        """Finish the cells, but for those that diverged and are to be tried again."""
        for i, (claim, outcome, record) in enumerate(zip(self.job.claims, outcomes, records, strict=True)):
            if outcome.state == "DIVERGED" and i not in self.lost and self.store.retry_diverged(claim):
                self.say(f"{claim.key} DIVERGED and is tried again (launcher.retries.diverged)")
                self.lost.add(i)
            if i not in self.lost and not self.store.write_record(claim, record):
                self._lose(i)

    def _lose(self, i: int) -> None:
        self.lost.add(i)
        if len(self.lost) == len(self.job.claims):
            raise LeaseLost
