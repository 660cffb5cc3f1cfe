"""What the sections of the acceptance share: findings, cells, ways to step them, and a clock."""

import contextlib
import dataclasses
import gc
import statistics
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from scalesweep.plan.cell import Cell, Precision
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.compose import compose_settings
from scalesweep.train.compiler import compiled, parts_of
from scalesweep.train.device import synchronize
from scalesweep.train.gradient import Execution, gradient_of
from scalesweep.train.measure import free_memory
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.model.module import Model, build_model
from scalesweep.train.optim import make_optimizer
from scalesweep.train.optim.adamw import FusedAdamW, StackedAdamW
from scalesweep.train.resident import ResidentStepper
from scalesweep.train.stepper import HostStepper, Stepper, state_of

Kind = Literal["OK", "FAULT", "FIGURE", "SKIPPED"]
How = Literal["eager", "graph", "compiled"]
LEAST_SECONDS = 15.0
"""Time left without which a section is not begun."""


@dataclass
class Acceptance:
    """What was found so far, and how much time is left."""

    device: torch.device
    seconds: float
    began: float = field(default_factory=time.monotonic)
    lines: list[dict[str, Any]] = field(default_factory=list)
    peak: float | None = None
    """FLOP/s of large products in the precision of training; None until it is measured."""

    @property
    def is_rehearsal(self) -> bool:
        """Whether there is no GPU, and sizes are tiny."""
        return self.device.type == "cpu"

    @property
    def precision(self) -> Precision:
        """Of training on this device."""
        return "float32" if self.is_rehearsal else "bfloat16"

    @property
    def left(self) -> float:
        """Seconds."""
        return self.seconds - (time.monotonic() - self.began)

    def say(self, kind: Kind, text: str, decides: str = "", **figures: Any) -> None:
        """Print a finding and keep it."""
        self.lines.append({"kind": kind, "text": text, "decides": decides, **figures})
        print(f"{time.monotonic() - self.began:6.1f} s {kind:7s} {text}", flush=True)
        if decides:
            print(f"{'':17s}decides: {decides}", flush=True)

    def judge(self, is_right: bool, text: str, if_right: str, if_wrong: str) -> None:
        """A finding that is OK or a FAULT, and what either decides."""
        self.say("OK" if is_right else "FAULT", text, if_right if is_right else if_wrong)

    def end(self) -> int:
        """Say how many faults there are, and which; the exit code."""
        faults = [line["text"] for line in self.lines if line["kind"] == "FAULT"]
        print(f"\n{len(faults)} faults in {time.monotonic() - self.began:.0f} s" + "".join(f"\n  {text}" for text in faults))
        return int(bool(faults))


@dataclass(frozen=True)
class Made:
    """A way to step some runs."""

    stepper: Stepper
    model: Model


def run(section: Callable[[Acceptance], None], found: Acceptance, name: str) -> None:
    """One section; what it raises is a fault of it, and the others go on."""
    if found.left < LEAST_SECONDS:
        found.say("SKIPPED", f"{name}: no time left")
        return
    try:
        section(found)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        found.say("FAULT", f"{name}: {type(error).__name__}: {reason}", "the rest of this section is unknown")
        traceback.print_exc()
    gc.collect()
    with contextlib.suppress(RuntimeError):
        free_memory(found.device)


def cell_of(found: Acceptance, width: int, *, batch: int = 8192, vocab: int = 256, precision: Precision | None = None) -> Cell:
    """A cell of four layers; tiny in a rehearsal."""
    context, depth = (32, 2) if found.is_rehearsal else (128, 4)
    words = [
        f"sweep.sizes=[{{width: {width}, depth: {depth}}}]",
        "sweep.budgets=[64M]",
        "sweep.seeds=[0]",
        f"model.context={context}",
        f"recipe.head_dim={16 if width % 32 else 32}",
        "recipe.batch_exponent=0",
        f"recipe.batch_tokens={min(batch, 256) if found.is_rehearsal else batch}",
        f"train.precision={precision or found.precision}",
    ]
    settings = compose_settings(["recipe=gpu", "logger=none", *words])
    cell = make_plan(settings, CorpusFacts("random", "0" * 16, vocab, 10**8), "cuda").cells[0]
    return dataclasses.replace(cell, warmup_steps=5)


def make(
    cell: Cell, runs: int, device: torch.device, how: How, micro_batch: int | None = None, kind: Any = ResidentStepper
) -> Made:
    """Runs of a cell with a stepper of this kind; on the CPU nothing is captured, and what is compiled is called once.

    Raises:
        RuntimeError: it cannot be captured, or comes to other losses.
    """
    cells = [dataclasses.replace(cell, seed=seed) for seed in range(runs)]
    model = build_model(cells).to(device)
    optimizer = make_optimizer(model, cells)
    assert isinstance(optimizer, FusedAdamW | StackedAdamW)
    gradient = gradient_of(model, cells, Execution(device, micro_batch, fast=device.type == "cuda"))
    if how == "eager":
        return Made(HostStepper(optimizer, cells, tokens_of(cell), gradient, device), model)
    assert isinstance(model, Decoder)
    resident = kind(optimizer, cells, tokens_of(cell), gradient, device, 0)
    if device.type == "cuda":
        resident.capture(
            state_of(model, optimizer), (lambda: compiled(parts_of(model, optimizer))) if how == "compiled" else None
        )
    elif how == "compiled":
        with compiled(parts_of(model, optimizer)):
            gradient(torch.zeros(runs, cell.batch_sequences, cell.shape.context + 1, dtype=torch.long))
        for parameter in model.parameters():
            parameter.grad = None
    return Made(resident, model)


def tokens_of(cell: Cell) -> np.ndarray:
    """A corpus of random tokens whose frequencies fall as 1 / rank, so that there is something to learn."""
    uniform = np.random.default_rng(0).random(200_000)
    return (cell.shape.vocab_size**uniform).astype(np.int64) - 1


def timed(device: torch.device, call: Callable[[], object], number: int) -> float:
    """Seconds a call, the median of three rounds after one call that is not counted."""
    call()
    synchronize(device)
    rounds = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(number):
            call()
        synchronize(device)
        rounds.append((time.perf_counter() - started) / number)
    return max(1e-9, statistics.median(rounds))


def seconds_of(found: Acceptance, call: Callable[[], object]) -> float:
    """Seconds of one call."""
    synchronize(found.device)
    started = time.perf_counter()
    call()
    synchronize(found.device)
    return time.perf_counter() - started
