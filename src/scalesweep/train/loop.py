"""The training loop: cells of one shape, stepped together from one step on, to their validation losses.

One cell is the plain case of several. Its outcome is a function of the cell and the corpus alone; on CPU it is so bit for bit,
whether the cell was interrupted and resumed, or went on from its trunk: batches are a pure function of (seed, step), one thread
computes, and a checkpoint holds everything else. In a pack the same holds within rounding, as batched products add in another
order. Nothing here reads or writes a file; the hooks do.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from scalesweep.cell import Cell
from scalesweep.data import validation_windows
from scalesweep.jobs import pack_signature
from scalesweep.model.module import Model, ModuleModel, build_model
from scalesweep.train.checkpoint import Checkpoint
from scalesweep.train.gradient import Autocast, Execution, autocast_of
from scalesweep.train.optim import Optimizer, make_optimizer
from scalesweep.train.schedule import curve_steps, lr_factor, phase
from scalesweep.train.stepper import make_stepper, to_device

CHECKPOINT_SHARE = 0.02
"""Most of the training time that checkpoints may take."""
EVALUATION_TOKENS = {"cpu": 4096, "cuda": 65536}
"""Tokens per forward pass of the evaluation: few enough for a CPU's caches, enough for a GPU."""
EVALUATION_LOGITS = {"cpu": 2**24, "cuda": 2**28}
"""Logits at a time, which bounds the memory of a large vocabulary."""


class Interrupted(Exception):
    """The loop was asked to stop; the checkpoints stand."""


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
class Hooks:
    """What the loop calls; runs are named by their position."""

    on_curve: Callable[[int, list[dict[str, Any]]], None] = lambda run, curve: None
    """Receives a run's curve so far whenever a point was added, and once at a resume."""
    on_checkpoint: Callable[[int, Checkpoint], None] = lambda run, checkpoint: None
    on_snapshot: Callable[[int, Checkpoint], None] = lambda run, checkpoint: None
    on_weights: Callable[[int, dict[str, Tensor]], None] | None = None
    """Receives the trained parameters of each run that did not diverge, by name and without a run axis."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked after every step."""
    on_progress: Callable[[], None] = lambda: None
    """Called after every part of the evaluation, in which `should_stop` is not asked."""
    on_note: Callable[[str], None] = lambda line: None
    """Receives what somebody should know who wonders why this is slow."""


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
    """Time spent in training steps: the cell's share of it where several were stepped together."""
    shared_steps: int
    """Steps that were taken from the trunk."""


def train(
    runs: Sequence[Run], train_tokens: np.ndarray, validation_tokens: np.ndarray, execution: Execution, hooks: Hooks
) -> list[Outcome]:
    """Train cells of one pack (`jobs.pack_signature`), all from one step on, and evaluate them.

    Args:
        runs: what to train, R cells.
        train_tokens: 1-D array of token ids.
        validation_tokens: 1-D array of held-out token ids.
        execution: device, micro-batch, intervals.
        hooks: called on the way.

    Returns:
        An outcome for each run. A run whose loss is no longer finite at a point of its curve has diverged; the others go on.

    Raises:
        Interrupted: `should_stop` said so; the checkpoints were handed over.
    """
    cells, device, R = [run.cell for run in runs], execution.device, len(runs)
    assert len({pack_signature(c) for c in cells}) == 1, "these cells cannot be stepped together"
    first, starts = cells[0], [run.start for run in runs]
    model = build_model(cells).to(device)
    optimizer = make_optimizer(model, cells)
    step = restore(model, optimizer, starts)
    curves = [list(s.curve) if s else [] for s in starts]
    loss_counts = [s.loss_count if s else 0 for s in starts]
    diverged: dict[int, Outcome] = {}
    points = set(curve_steps(first.steps, execution.curve_points))
    stepper = make_stepper(model, optimizer, cells, train_tokens, execution, step, hooks.on_note)
    stepper.loss_sum_R.copy_(torch.tensor([s.loss_sum if s else 0.0 for s in starts]))
    started = marked = time.monotonic()
    due = started + execution.checkpoint_seconds
    marked_step = step

    def seconds(i: int) -> float:
        return (s.seconds if (s := starts[i]) else 0.0) + (time.monotonic() - started) / R

    def shared_steps(i: int) -> int:
        return s.shared_steps if (s := starts[i]) else 0

    def state(i: int, key: str) -> Checkpoint:
        weights, moments = slices(model, optimizer, i)
        loss_sum = float(stepper.loss_sum_R[i].item())
        return Checkpoint(key, step, weights, moments, list(curves[i]), loss_sum, loss_counts[i], seconds(i), shared_steps(i))

    def save() -> None:
        for i in range(R):
            hooks.on_checkpoint(i, state(i, cells[i].key))

    for i in range(R):
        if curves[i]:
            hooks.on_curve(i, curves[i])
    while step < first.steps and len(diverged) < R:
        before = clone_matrices(model) if step + 1 in points else []
        stepper.advance(step)
        loss_counts = [count + 1 for count in loss_counts]
        step += 1
        if step in points:
            means = [total / count for total, count in zip(stepper.loss_sum_R.tolist(), loss_counts, strict=True)]
            norms, ratios = stepper.norms_R.tolist(), update_ratios(model, before).tolist()
            now = time.monotonic()
            speed = R * (step - marked_step) * first.batch_tokens / (now - marked)
            for i in sorted(set(range(R)) - set(diverged)):
                if not math.isfinite(means[i]):
                    last = curves[i][-1]["loss"] if curves[i] else math.nan
                    diverged[i] = Outcome("DIVERGED", math.nan, math.nan, last, curves[i], seconds(i), shared_steps(i))
                    continue
                curves[i].append(
                    {
                        "step": step,
                        "tokens": step * first.batch_tokens,
                        "phase": phase(step, cells[i]),
                        "loss": means[i],
                        "lr": lr_factor(step - 1, cells[i]) * cells[i].hidden_lr,
                        "grad_norm": norms[i],
                        "update_ratio": ratios[i],
                        "tokens_per_second": speed,
                    }
                )
                hooks.on_curve(i, curves[i])
            stepper.loss_sum_R.zero_()
            loss_counts, marked, marked_step = [0] * R, now, step
        for i in range(R):
            if step in runs[i].snapshots:
                hooks.on_snapshot(i, state(i, cells[i].trunk))
        if hooks.should_stop():
            save()
            raise Interrupted
        if (now := time.monotonic()) > due:
            save()
            due = time.monotonic() + max(execution.checkpoint_seconds, (time.monotonic() - now) / CHECKPOINT_SHARE)
    trained = [seconds(i) for i in range(R)]
    windows = validation_windows(validation_tokens, first.validation_tokens, first.shape.context)
    losses = (
        evaluate(model, windows, autocast_of(first, device), hooks.on_progress)
        if len(diverged) < R
        else [(math.nan, math.nan)] * R
    )
    if hooks.on_weights:
        for i in range(R):
            if i not in diverged and math.isfinite(losses[i][0]):
                hooks.on_weights(i, slices(model, optimizer, i)[0])
    return [
        diverged.get(i)
        or Outcome(
            "COMPLETE" if math.isfinite(losses[i][0]) else "DIVERGED",
            *losses[i],
            curves[i][-1]["loss"],
            curves[i],
            trained[i],
            shared_steps(i),
        )
        for i in range(R)
    ]


@torch.no_grad()
def restore(model: Model, optimizer: Optimizer, starts: Sequence[Checkpoint | None]) -> int:
    """Put each run's state in its place, and return the step that all of them are at."""
    (step,) = {s.step if s else 0 for s in starts}
    for run, start in enumerate(starts):
        if start:
            for name, parameter in model.named_parameters():
                parameter[run].copy_(start.model[name])
            optimizer.load(run, start.moments, step)
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


@torch.inference_mode()
def evaluate(
    model: Model,
    windows: np.ndarray,
    autocast: Autocast,
    on_progress: Callable[[], None] = lambda: None,
) -> list[tuple[float, float]]:
    """Each run's mean loss over windows of shape (K, T + 1), in nats per token, and its standard error over windows."""
    R, device = len(model.embedding), model.embedding.device
    tokens = min(EVALUATION_TOKENS[device.type], EVALUATION_LOGITS[device.type] // model.embedding.shape[1])
    sequences = max(1, tokens // (windows.shape[1] - 1) // R)
    losses = []
    for part in np.array_split(windows, math.ceil(len(windows) / sequences)):
        with autocast():
            losses.append(model.losses(to_device([part], device).expand(R, -1, -1)).double().cpu())
        on_progress()
    each_RK = torch.cat(losses, dim=1)
    deviations = each_RK.std(dim=1).tolist() if len(windows) > 1 else [math.nan] * R
    return [(m, d / math.sqrt(len(windows))) for m, d in zip(each_RK.mean(dim=1).tolist(), deviations, strict=True)]
