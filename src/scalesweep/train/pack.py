"""Runs in training: where they stand between two steps, what their curves hold, and what each of them has cost."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from scalesweep.plan.cell import Cell
from scalesweep.train.model.module import Model, ModuleModel
from scalesweep.train.optim.custom import OwnOptimizer
from scalesweep.train.optim.groups import Optimizer
from scalesweep.train.schedule import lr_factor, phase
from scalesweep.train.stepper import Stepper


@dataclass(frozen=True)
class Checkpoint:
    """The state of one cell between two steps: what it needs to go on exactly where it was.

    It belongs to one cell, whether that was stepped alone or in a pack. A snapshot of a trunk is the same thing under the
    trunk's hash instead of the cell's key: any cell of the trunk whose decay begins no earlier may go on from it.
    """

    key: str
    """The cell's key, or the hash of the trunk."""
    step: int
    """Finished steps."""
    model: dict[str, Tensor]
    """Parameters by name, without a run axis."""
    moments: dict[str, tuple[Tensor, ...]]
    """Of each parameter Adam's first and second moment, or Muon's momentum."""
    curve: list[dict[str, Any]]
    loss_sum: float
    """Sum of the batch losses since the last point of the curve."""
    loss_count: int
    seconds: float
    """Training time that this cell has cost so far, of all devices that took part."""
    shared_steps: int
    """Steps that were taken from a trunk instead of being trained."""
    own_optimizer: dict[str, Any] | None = None
    """State of an optimizer of the user's own, which has no `moments`."""


@dataclass(frozen=True)
class Run:
    """One cell in training."""

    cell: Cell
    start: Checkpoint | None = None
    """Where it goes on from; None is its first step."""
    snapshots: frozenset[int] = frozenset()
    """Counts of finished steps at which cells of the same trunk begin their decay and wait for the state."""

    @property
    def step(self) -> int:
        """Finished steps at the start."""
        return self.start.step if self.start else 0


@dataclass(frozen=True)
class Outcome:
    """What was measured of one cell."""

    state: Literal["COMPLETE", "DIVERGED"]
    loss: float
    """Validation loss in nats per token; nan if diverged."""
    loss_se: float
    """Standard error of `loss` over validation windows, in nats per token."""
    last_finite_loss: float
    """The last finite training loss of the curve."""
    curve: list[dict[str, Any]]
    seconds: float
    """Time of a device in training steps: the cell's share of it where several were stepped together, the sum of all devices
    where several stepped it."""
    shared_steps: int
    further: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Loss on each further validation set with its standard error, in nats per token; empty if diverged."""


@dataclass
class Pack:
    """Runs that are stepped together, after `step` steps."""

    runs: Sequence[Run]
    model: Model
    optimizer: Optimizer
    stepper: Stepper
    step: int
    ranks: int = 1
    """Devices that step it together."""
    curves: list[list[dict[str, Any]]] = field(init=False)
    diverged: dict[int, Outcome] = field(default_factory=dict, init=False)
    """Outcomes of the runs whose loss was not finite at a point of the curve."""

    def __post_init__(self) -> None:
        starts = [run.start for run in self.runs]
        self.curves = [list(s.curve) if s else [] for s in starts]
        self._loss_counts = [s.loss_count if s else 0 for s in starts]
        self._seconds = [s.seconds if s else 0.0 for s in starts]
        self._charged = self._marked = time.monotonic()
        self._marked_step = self.step
        self.stepper.loss_sum_R.copy_(torch.tensor([s.loss_sum if s else 0.0 for s in starts]))

    @property
    def alive(self) -> list[int]:
        """Positions of the runs that have not diverged."""
        return [i for i in range(len(self.runs)) if i not in self.diverged]

    def advance(self) -> None:
        """Do a step."""
        self.stepper.advance(self.step)
        self._loss_counts = [count + 1 for count in self._loss_counts]
        self.step += 1

    def charge(self) -> None:
        """Share the time of devices since the last charge among the runs that took it."""
        now, alive = time.monotonic(), self.alive
        for i in alive:
            self._seconds[i] += (now - self._charged) * self.ranks / len(alive)
        self._charged = now

    def add_points(self, before: Sequence[Tensor]) -> list[int]:
        """Add a point to each curve, or end its run; return the runs that have a new one.

        Args:
            before: the matrices as they were before the last step (`clone_matrices`).
        """
        means = [total / count for total, count in zip(self.stepper.loss_sum_R.tolist(), self._loss_counts, strict=True)]
        norms, ratios = self.stepper.norms_R.tolist(), update_ratios(self.model, before).tolist()
        self.charge()
        steps, tokens = self.step - self._marked_step, self.runs[0].cell.batch_tokens
        speed = len(self.runs) * steps * tokens / (self._charged - self._marked)
        for i in self.alive:
            if math.isfinite(means[i]):
                cell = self.runs[i].cell
                lr = lr_factor(self.step - 1, cell) * cell.hidden_lr
                values = {"loss": means[i], "lr": lr, "grad_norm": norms[i], "update_ratio": ratios[i]}
                place = {"step": self.step, "tokens": self.step * tokens, "phase": phase(self.step, cell)}
                self.curves[i].append({**place, **values, "tokens_per_second": speed})
            else:
                self.diverged[i] = self._outcome(i, math.nan, math.nan)
        self.stepper.loss_sum_R.zero_()
        self._loss_counts, self._marked, self._marked_step = [0] * len(self.runs), self._charged, self.step
        return self.alive

    def state(self, i: int, key: str) -> Checkpoint:
        """What run `i` needs to go on from here, under the key of its cell or trunk."""
        self.charge()
        weights, moments = slices(self.model, self.optimizer, i)
        loss_sum, count = float(self.stepper.loss_sum_R[i].item()), self._loss_counts[i]
        curve, shared = list(self.curves[i]), self._shared_steps(i)
        own = self.optimizer.state() if isinstance(self.optimizer, OwnOptimizer) else None
        return Checkpoint(key, self.step, weights, moments, curve, loss_sum, count, self._seconds[i], shared, own)

    def outcome(self, i: int, loss: float, loss_se: float, further: Mapping[str, tuple[float, float]]) -> Outcome:
        """The outcome of run `i`, given its validation losses."""
        return self.diverged.get(i) or replace(self._outcome(i, loss, loss_se), further=dict(further))

    def _outcome(self, i: int, loss: float, loss_se: float) -> Outcome:
        state: Literal["COMPLETE", "DIVERGED"] = "COMPLETE" if math.isfinite(loss) else "DIVERGED"
        last = self.curves[i][-1]["loss"] if self.curves[i] else math.nan
        return Outcome(state, loss, loss_se, last, self.curves[i], self._seconds[i], self._shared_steps(i))

    def _shared_steps(self, i: int) -> int:
        start = self.runs[i].start
        return start.shared_steps if start else 0


@torch.no_grad()
def restore(model: Model, optimizer: Optimizer, starts: Sequence[Checkpoint | None]) -> int:
    """Put each run's state in its place, and return the step that all of them are at."""
    (step,) = {s.step if s else 0 for s in starts}
    for run, start in enumerate(starts):
        if start:
            for name, parameter in model.named_parameters():
                parameter[run].copy_(start.model[name])
            optimizer.load(run, start.moments, step)
            if isinstance(optimizer, OwnOptimizer):
                assert start.own_optimizer is not None
                optimizer.restore(start.own_optimizer)
    return step


def slices(model: Model, optimizer: Optimizer, run: int) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, ...]]]:
    """Copies of one run's parameters and moments, without the run axis."""
    parameters = {name: p.detach()[run].clone() for name, p in model.named_parameters()}
    return parameters, {name: tuple(m[run].clone() for m in moments) for name, moments in optimizer.moments().items()}


def clone_matrices(model: Model) -> list[Tensor]:
    """Copies of all matrices but the input embedding, each with the run axis."""
    return [p.detach().clone() for p in matrices(model)]


def matrices(model: Model) -> list[Tensor]:
    """All matrices but the input embedding, each with the run axis."""
    if isinstance(model, ModuleModel):
        return [p for name, p in model.named_parameters() if model.groups[name] in ("matrices", "head")]
    return [p for name, p in model.named_parameters() if p.dim() == 3 and name != "embedding"]


@torch.no_grad()
def update_ratios(model: Model, before: Sequence[Tensor]) -> Tensor:
    """Norm of what a step changed over the norm of the weights before it, of all matrices of a run together, shape (R,)."""

    def squares(tensors: Iterable[Tensor]) -> Tensor:
        return torch.stack([t.square().sum(tuple(range(1, t.dim()))) for t in tensors]).sum(0)

    return torch.sqrt(squares(a - b for a, b in zip(matrices(model), before, strict=True)) / squares(before))
