"""The training loop: cells of one shape, stepped together from one step on, to their validation losses.

One cell is the plain case of several. Its outcome is a function of the cell and the corpus alone; on CPU it is so bit for bit,
whether the cell was interrupted and resumed, or went on from its trunk: batches are a pure function of (seed, step), one thread
computes, and a checkpoint holds everything else. In a pack, and on several devices (`spread`), the same holds within rounding,
as sums are added in another order. Nothing here reads or writes a file; the hooks do.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from scalesweep.plan.cell import pack_signature
from scalesweep.train.attention import preferred_attention
from scalesweep.train.data import validation_windows
from scalesweep.train.evaluate import Loss, evaluate, further_windows
from scalesweep.train.gradient import Execution, autocast_of
from scalesweep.train.model.module import build_model
from scalesweep.train.optim import make_optimizer
from scalesweep.train.pack import Checkpoint, Outcome, Pack, Run, clone_matrices, restore, slices
from scalesweep.train.schedule import curve_steps
from scalesweep.train.spread import spread_stepper
from scalesweep.train.stepper import Stepper, make_stepper

CHECKPOINT_SHARE = 0.02
"""Most of the training time that checkpoints may take. A judgement."""


class Interrupted(Exception):
    """The loop was asked to stop; the checkpoints stand."""


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
    """Asked after every step and every part of the evaluation."""
    on_note: Callable[[str], None] = lambda line: None
    """Receives what somebody should know who wonders why this is as slow, or as fast, as it is."""


def train(
    runs: Sequence[Run],
    train_tokens: np.ndarray,
    validation_tokens: np.ndarray,
    execution: Execution,
    hooks: Hooks,
    further: Mapping[str, np.ndarray] | None = None,
) -> list[Outcome]:
    """Train cells of one pack (`pack_signature`), all from one step on, and evaluate them.

    Args:
        runs: what to train, R cells.
        train_tokens: 1-D array of token ids.
        validation_tokens: 1-D array of held-out token ids.
        execution: device, micro-batch, intervals.
        hooks: called on the way.
        further: token ids of validation sets that are evaluated too, by name.

    Returns:
        An outcome for each run. A run whose loss is no longer finite at a point of its curve has diverged; the others go on.

    Raises:
        Interrupted: `should_stop` said so; the checkpoints were handed over.
    """
    with preferred_attention([run.cell for run in runs], execution, hooks.on_note):
        return _trained(runs, train_tokens, validation_tokens, execution, hooks, further or {})


def _trained(
    runs: Sequence[Run],
    train_tokens: np.ndarray,
    validation_tokens: np.ndarray,
    execution: Execution,
    hooks: Hooks,
    further: Mapping[str, np.ndarray],
) -> list[Outcome]:
    cells, device = [run.cell for run in runs], execution.device
    assert len({pack_signature(c) for c in cells}) == 1, "these cells cannot be stepped together"
    first = cells[0]
    model = build_model(cells).to(device)
    optimizer = make_optimizer(model, cells)
    step = restore(model, optimizer, [run.start for run in runs])
    points = set(curve_steps(first.steps, execution.curve_points))
    stepper: Stepper
    if execution.ranks > 1:
        stepper = spread_stepper(model, optimizer, cells, train_tokens, execution)
        if device.type == "cuda":
            hooks.on_note("without a CUDA graph, which is slower (several GPUs train it together)")
    else:
        stepper = make_stepper(model, optimizer, cells, train_tokens, execution, step, hooks.on_note)
    pack = Pack(runs, model, optimizer, stepper, step, execution.ranks)
    due = time.monotonic() + execution.checkpoint_seconds

    def save() -> None:
        for i, cell in enumerate(cells):
            hooks.on_checkpoint(i, pack.state(i, cell.key))

    def stop_if_asked() -> None:
        if hooks.should_stop():
            save()
            raise Interrupted

    for i, curve in enumerate(pack.curves):
        if curve:
            hooks.on_curve(i, curve)
    while pack.step < first.steps and pack.alive:
        is_point = pack.step + 1 in points
        before = clone_matrices(model) if is_point else []
        pack.advance()
        for i in pack.add_points(before) if is_point else ():
            hooks.on_curve(i, pack.curves[i])
        for i in pack.alive:
            if pack.step in runs[i].snapshots and math.isfinite(stepper.loss_sum_R[i].item()):
                hooks.on_snapshot(i, pack.state(i, cells[i].trunk))
        stop_if_asked()
        if (now := time.monotonic()) > due:
            save()
            due = time.monotonic() + max(execution.checkpoint_seconds, (time.monotonic() - now) / CHECKPOINT_SHARE)
    pack.charge()
    stepper.release()
    losses = [(math.nan, math.nan)] * len(runs)
    beside: dict[str, list[Loss]] = {}
    if pack.alive:
        windows = validation_windows(validation_tokens, first.validation_tokens, first.shape.context)
        losses = evaluate(model, windows, autocast_of(first, device), stop_if_asked)
        for name, tokens in further.items():
            windows = further_windows(tokens, first)
            beside[name] = evaluate(model, windows, autocast_of(first, device), stop_if_asked)
    if hooks.on_weights:
        for i in pack.alive:
            if math.isfinite(losses[i][0]):
                hooks.on_weights(i, slices(model, optimizer, i)[0])
    return [pack.outcome(i, *loss, {name: each[i] for name, each in beside.items()}) for i, loss in enumerate(losses)]
