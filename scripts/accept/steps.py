"""Sections of the acceptance on whether a GPU can be trusted: facts, ceilings, numbers, capture, memory, a failed capture."""

import contextlib
import gc
import math
import subprocess
from collections.abc import Callable

import numpy as np
import torch
from parts import Acceptance, How, cell_of, make, seconds_of, timed, tokens_of

from scalesweep.plan.cell import Precision
from scalesweep.train.device import device_name, is_device_lost, is_out_of_memory
from scalesweep.train.evaluate import evaluate
from scalesweep.train.gradient import Execution, autocast_of
from scalesweep.train.measure import free_memory, peak_flops
from scalesweep.train.model.module import Model, build_model
from scalesweep.train.optim import make_optimizer
from scalesweep.train.resident import ResidentStepper
from scalesweep.train.stepper import HostStepper, Stepper, make_stepper

STEPS, STEPS_ON_CPU = 30, 10
"""Steps of a comparison on the device, and of one with the CPU."""
MOST_LOSS: dict[Precision, float] = {"float32": 2e-4, "bfloat16": 1e-2}
"""Relative difference of losses above which a way to step is wrong; judgements, far above rounding of so few steps."""
MOST_WAY: dict[Precision, float] = {"float32": 0.02, "bfloat16": 0.3}
"""The same of where the weights went, relative to how far they went."""
RETURNED = 2**30
"""Bytes of a freed tensor that a healthy allocator gives back."""


def facts(found: Acceptance) -> None:
    """Versions, memory, precision, and who else is there."""
    said = f"torch {torch.__version__}, {device_name(found.device)}"
    if found.is_rehearsal:
        found.say("FIGURE", said)
        return
    gpu = torch.cuda.get_device_properties(found.device)
    free, total = torch.cuda.mem_get_info(found.device)
    said += f", CUDA {torch.version.cuda}, capability {gpu.major}.{gpu.minor}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
    found.say("FIGURE", f"{said}, {total / 2**30:.0f} GiB, of which {free / 2**30:.1f} are free")
    names = "driver_version,compute_mode,power.limit,clocks.max.sm,memory.used"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = ["nvidia-smi", f"--query-gpu={names}", "--format=csv,noheader", f"--id={found.device.index or 0}"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
        found.say("FIGURE", f"nvidia-smi ({names}): {answer}")
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    found.say(
        "FIGURE",
        f"bfloat16 in hardware: {has_bf16}",
        "train.precision=auto is right" if has_bf16 else "use train.precision=float32: this card emulates bfloat16, slowly",
    )
    found.say(
        "FIGURE",
        f"{free / total:.0%} of the memory is free",
        "the times below are those of an idle card"
        if free > 0.9 * total
        else "another process holds memory: times and packs below are not those of an idle card; repeat when it is gone",
    )


def ceilings(found: Acceptance) -> None:
    """What the device can do at most: products, memory, and small kernels one after another."""
    found.peak = peak_flops(found.device, found.precision)
    size = 2**20 if found.is_rehearsal else 2**30
    x = torch.empty(size, device=found.device)
    y = torch.empty_like(x)
    bandwidth = 8 * size / timed(found.device, lambda: y.copy_(x), 5)
    small = torch.zeros(32, device=found.device)
    node = timed(found.device, repeated(found.device, lambda: small.add_(1.0)), 10) / 1000
    found.say(
        "FIGURE",
        f"{found.precision} products {found.peak / 1e12:.3g} TFLOP/s, memory {bandwidth / 1e12:.3g} TB/s, a small kernel "
        f"{'in a graph ' if not found.is_rehearsal else ''}{node * 1e6:.2f} us",
        "the ceiling of the shares below; src/scalesweep/plan/estimate.py assumes 790, 3.35 and 1.2 of an H100 SXM",
        products=found.peak,
        bandwidth=bandwidth,
        kernel=node,
    )


def repeated(device: torch.device, kernel: Callable[[], object]) -> Callable[[], object]:
    """A thousand calls: as one graph on a GPU."""

    def thousand() -> None:
        for _ in range(1000):
            kernel()

    if device.type == "cpu":
        return thousand
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(side):
        kernel()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        thousand()
    return graph.replay


def same_numbers(found: Acceptance) -> None:
    """A graph against eager on the device, and eager against the CPU: losses, and the way the weights went."""
    fast = found.precision
    rows: tuple[tuple[int, Precision, How], ...] = (
        (1, "float32", "graph"), (4, "float32", "graph"), (1, fast, "graph"), (4, fast, "graph"), (1, fast, "compiled"),
    )  # fmt: skip
    for runs, precision, how in dict.fromkeys(rows):
        cell = cell_of(found, 64, batch=2048, precision=precision)
        eager = make(cell, runs, found.device, "eager")
        start, expected = weights_of(eager.model), curve(eager.stepper, STEPS)
        made = make(cell, runs, found.device, how)
        losses = curve(made.stepper, STEPS)
        loss = float(np.max(np.abs(losses - expected) / np.abs(expected)))
        went = float((weights_of(eager.model) - start).norm())
        way = float((weights_of(made.model) - weights_of(eager.model)).norm()) / went if went else math.nan
        found.judge(
            loss < MOST_LOSS[precision] and way < MOST_WAY[precision],
            f"{runs} runs, {precision}, {how} against eager, {STEPS} steps: losses differ by {loss:.1e}, the way of the "
            f"weights by {way:.1e}; loss {losses[0].mean():.4f} -> {losses[-1].mean():.4f}",
            "records that are measured this way are those of plain steps",
            f"trust no record of {'packs' if runs > 1 else 'single runs'} by {how}: use train.fast=false, and report this",
        )
        if (runs, precision, how) == (1, "float32", "graph"):
            on_cpu = curve(make(cell, 1, torch.device("cpu"), "eager").stepper, STEPS_ON_CPU)
            apart = float(np.max(np.abs(on_cpu - expected[:STEPS_ON_CPU]) / on_cpu))
            found.judge(
                apart < MOST_LOSS["float32"],
                f"the device against the CPU, float32, {STEPS_ON_CPU} steps: losses differ by {apart:.1e}",
                "laws from here and from a CPU may be compared",
                "this card, or its torch, computes something else than a CPU does: measure nothing with it",
            )


def curve(stepper: Stepper, steps: int) -> np.ndarray:
    """Losses of every step, shape (steps, runs)."""
    losses = []
    for step in range(steps):
        stepper.loss_sum_R.zero_()
        stepper.advance(step)
        losses.append(stepper.loss_sum_R.tolist())
    return np.array(losses)


def weights_of(model: Model) -> torch.Tensor:
    """All parameters in one vector on the CPU."""
    return torch.cat([p.detach().float().flatten().cpu() for p in model.parameters()])


def capture(found: Acceptance) -> None:
    """That a worker chooses a captured step, for shapes that are captured in different ways; and how long an evaluation is."""
    for name, cell, micro_batch, compiles in (
        ("a small model", cell_of(found, 64), None, False),
        ("a vocabulary of 8,192, whose logits are taken in parts", cell_of(found, 64, batch=4096, vocab=8192), None, False),
        ("micro-batches of 8 sequences", cell_of(found, 64, batch=4096), 8, False),
        ("a model that is compiled", cell_of(found, 64 if found.is_rehearsal else 448), None, True),
    ):
        cells, notes = [cell], list[str]()
        model = build_model(cells).to(found.device)
        execution = Execution(found.device, micro_batch, compiles=compiles)
        chosen = make_stepper(model, make_optimizer(model, cells), cells, tokens_of(cell), execution, 0, notes.append)
        chosen.advance(0)
        found.judge(
            isinstance(chosen, HostStepper if found.is_rehearsal else ResidentStepper)
            and not any(note.startswith("without") for note in notes),
            f"{name}: {type(chosen).__name__}{', ' + '; '.join(notes) if notes else ''}",
            "it runs as fast as the table below says",
            "it runs, but slower than it could: the note says what was refused; report it",
        )
        del chosen, model
    cell = cell_of(found, 64)
    model = build_model([cell]).to(found.device)
    number = 64 if found.is_rehearsal else 8192
    windows = np.random.default_rng(1).integers(0, 256, (number, cell.shape.context + 1))
    first, again = (seconds_of(found, lambda: evaluate(model, windows, autocast_of(cell, found.device))) for _ in range(2))
    text = f"evaluation of {number * cell.shape.context:,} tokens: first {first:.2f} s, again {again:.2f} s"
    found.say("FIGURE", text, "train.validation_tokens: it should take far less than the training that it ends")


class Waiting(ResidentStepper):
    """Waits for its stream in the middle of a capture, which no capture allows."""

    def body(self) -> None:
        """As of `ResidentStepper`, and the wait."""
        super().body()
        if self.loss_sum_R.is_cuda and torch.cuda.is_current_stream_capturing():
            torch.cuda.current_stream().synchronize()


def memory(found: Acceptance) -> None:
    """That running out of memory is known as such, and leaves nothing behind."""
    error = out_of_memory(found)
    said = f"{type(error).__name__}: {str(error).splitlines()[0][:90]}" if error else "nothing"
    found.judge(
        error is not None and is_out_of_memory(error) and not is_device_lost(error),
        f"running out of memory raises {said}",
        "a worker answers it by smaller micro-batches and packs",
        "a worker would fail the cell instead of lowering its micro-batch: set train.micro_batch and train.pack by hand",
    )
    del error
    gc.collect()
    free_memory(found.device)
    kept = 0 if found.is_rehearsal else torch.cuda.memory_reserved(found.device)
    made = make(cell_of(found, 256 if not found.is_rehearsal else 32), 1, found.device, "graph")
    made.stepper.advance(0)
    found.judge(
        kept < RETURNED // 2,
        f"after it {kept / 2**20:.0f} MiB stay reserved, and a step can be made again",
        "a worker lives on after it",
        "a worker keeps memory after it: restart workers that ran out of memory",
    )


def out_of_memory(found: Acceptance) -> Exception | None:
    """What running out of memory raises: of a pack in a fiftieth of the memory, or of one tensor on a CPU."""
    try:
        if found.is_rehearsal:
            torch.empty(2**60, dtype=torch.uint8)
            return None
        torch.cuda.set_per_process_memory_fraction(0.02, found.device)
        make(cell_of(found, 256, batch=16384), 16, found.device, "graph")
    except (RuntimeError, MemoryError) as error:
        return error.with_traceback(None)
    finally:
        if not found.is_rehearsal:
            torch.cuda.set_per_process_memory_fraction(1.0, found.device)
    return None


def failed_capture(found: Acceptance) -> None:
    """What a capture that fails leaves behind; the last section, as it may be a process that can do nothing more."""
    failed = ""
    try:
        make(cell_of(found, 64), 1, found.device, "graph", kind=Waiting)
    except RuntimeError as raised:
        failed = str(raised).splitlines()[0][:90]
    gc.collect()
    free_memory(found.device)
    if found.is_rehearsal:
        found.say("FIGURE", "nothing is captured on a CPU, so that no capture can fail")
        return
    given = returned(found)
    found.say(
        "FIGURE",
        f"a capture that fails says: {failed or 'nothing'}; of {RETURNED / 2**20:.0f} MiB freed {given / 2**20:.0f} return",
        "a worker may go on after a failed capture"
        if given >= RETURNED
        else "a failed capture cripples this torch's allocator (pytorch#180395): a worker whose log notes one must end",
    )


def returned(found: Acceptance) -> int:
    """Bytes that the allocator gives back of a gigabyte that was used and freed."""
    x = torch.empty(RETURNED, dtype=torch.uint8, device=found.device)
    del x
    before = torch.cuda.memory_reserved(found.device)
    torch.cuda.empty_cache()
    return before - torch.cuda.memory_reserved(found.device)
