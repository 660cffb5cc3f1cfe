"""How a training step is run: from the host, operation by operation, or on a GPU as one CUDA graph.

A model of a hundred thousand parameters leaves a GPU idle while the host launches a thousand kernels a step. `ResidentStepper`
keeps the corpus on the device, uploads some hundred steps' windows and learning rates at once, and replays a step that was
captured once; nothing in it waits for the device. `HostStepper` is the plain way, which CPUs take too.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from scalesweep.plan.cell import Cell
from scalesweep.train.data import Windows, batch, windows_of_cell
from scalesweep.train.device import first_line, is_out_of_memory
from scalesweep.train.gradient import Execution, Gradient, gradient_of
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.model.module import Model
from scalesweep.train.optim.adamw import FusedAdamW, StackedAdamW, corrections
from scalesweep.train.optim.groups import Optimizer
from scalesweep.train.schedule import lr_factor

CHUNK_STEPS = 256
"""Steps whose windows and learning rates are uploaded at once; a judgement: an upload is then rare, and small."""
AHEAD_STEPS = 16
"""Steps that the host may be ahead of the device. It decides on hangs, checkpoints and signals by its own time, so not many; a
judgement."""
CHECK_STEPS = 3
"""Steps before a capture, in which libraries set up their workspaces, and of the comparison after it. Three are those of
PyTorch's example (CUDA semantics, CUDA graphs)."""
TOLERANCE = 1e-3
"""Relative difference of the losses of a captured step from those of the same step as it is. A judgement: a fused kernel rounds
bfloat16 (2^-8 a number) elsewhere, which averages out over a batch; a wrong window or a stale buffer is off by far more."""
WAY_TOLERANCE = 0.1
"""By how much the way of the weights in a captured step, projected on that of the step as it is, may differ from it. At 200k
and 3M parameters a step without its optimizer goes 0 of it, one that keeps its first batch and rate 0.38 to 0.59, and one in
bfloat16 0.9997 of the way in float32."""
MENDED_TORCH = (2, 12)
"""The first version in which a failed capture leaves the allocator as it was; before, it never gives cached memory back."""
CORPUS_SHARE = 8
"""A corpus of more than one part in so many of the device's memory stays on the host; a judgement."""
COMPILED_PARAMS = 5_000_000
"""Models of so many parameters are compiled on CUDA; not measured, as no GPU was at hand."""


class Stepper(Protocol):
    """Trains R runs step by step."""

    loss_sum_R: Tensor
    """Sum of the mean losses of the steps since somebody set it to zero."""
    norms_R: Tensor
    """Norms of the last step's gradients, before clipping."""

    def advance(self, step: int) -> None:
        """Do step `step`, counted from 0; they come in order."""
        ...

    def release(self) -> None:
        """Give back the memory that only steps need; none is done afterwards."""
        ...


class HostStepper:
    """Gathers the batch on the host and launches every operation."""

    def __init__(
        self, optimizer: Optimizer, cells: Sequence[Cell], tokens: np.ndarray, gradient: Gradient, device: torch.device
    ) -> None:
        self._optimizer, self._cells, self._tokens, self._gradient, self._device = optimizer, cells, tokens, gradient, device
        self._windows = windows_of_cell(cells[0], len(tokens))
        self.loss_sum_R = torch.zeros(len(cells), device=device)
        self.norms_R = torch.zeros(len(cells), device=device)

    def advance(self, step: int) -> None:
        """As in `Stepper`."""
        of, B, T = self._windows, self._cells[0].batch_sequences, self._cells[0].shape.context
        windows = [batch(self._tokens, seed=c.seed, step=step, sequences=B, context=T, windows=of) for c in self._cells]
        factors = [lr_factor(step, c) for c in self._cells]
        self.loss_sum_R += self._gradient(to_device(windows, self._device))
        self.norms_R = self._optimizer.step(factors)

    def release(self) -> None:
        """As in `Stepper`: it holds nothing."""


class ResidentStepper:
    """Everything of a step on the device; `capture` makes one graph of it."""

    def __init__(
        self,
        optimizer: FusedAdamW | StackedAdamW,
        cells: Sequence[Cell],
        tokens: np.ndarray,
        gradient: Gradient,
        device: torch.device,
        start: int,
    ) -> None:
        self._optimizer, self._cells, self._gradient = optimizer, cells, gradient
        self._windows = windows_of_cell(cells[0], len(tokens))
        R, first = len(cells), cells[0]
        self._tokens = resident_tokens(tokens, self._windows.added, device, resident_type(first.shape.vocab_size))
        self.loss_sum_R, self.norms_R = torch.zeros(R, device=device), torch.zeros(R, device=device)
        self._starts = torch.zeros(CHUNK_STEPS, R, first.batch_sequences, dtype=torch.long, device=device)
        self._rows = torch.zeros(CHUNK_STEPS, 3, R, 1, device=device)
        self._offsets = torch.arange(first.shape.context + 1, device=device)
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        self._uploaded = range(0)
        self._run: Callable[[], object] = self.body
        self._upload(start)

    def advance(self, step: int) -> None:
        """As in `Stepper`."""
        if step not in self._uploaded:
            self._upload(step)
        self._run()

    def body(self) -> None:
        """One step, without a branch and without a copy from the host, so that it can be captured."""
        starts_RB = self._starts.index_select(0, self.position)[0]
        windows = self._tokens[starts_RB[..., None] + self._offsets].long()
        self.loss_sum_R += self._gradient(windows)
        self.norms_R.copy_(self._optimizer.step_by(self._rows.index_select(0, self.position)[0]))
        self.position += 1

    def _upload(self, step: int) -> None:
        """Windows and learning rates of the steps from `step` on."""
        number = min(CHUNK_STEPS, max(1, self._cells[0].steps - step))
        starts, rows = window_starts(self._cells, self._windows, step, number), schedule_rows(self._cells, step, number)
        self._starts[:number].copy_(torch.from_numpy(starts))
        self._rows[:number].copy_(torch.from_numpy(rows))
        self.position.zero_()
        self._uploaded = range(step, step + number)

    def release(self) -> None:
        """As in `Stepper`: the pool of a graph serves nothing but its replays."""
        self._run = self.body
        if self._tokens.is_cuda:
            torch.cuda.empty_cache()

    def capture(self, state: Iterable[Tensor]) -> None:
        """Capture the step, and compare it with itself as it is.

        Args:
            state: tensors that a step changes, parameters and moments; they are left as they were, whatever happens.

        Raises:
            RuntimeError: it cannot be captured, or comes to other losses, or moves the weights another way.
        """
        # Detached: a clone's node would keep the parameters' nodes of gradients alive, which belong to another stream.
        kept = [(t, t.detach().clone()) for t in [*state, self.loss_sum_R, self.norms_R, self.position]]

        def restore() -> None:
            for tensor, value in kept:
                tensor.data.copy_(value)

        weights = [(t, value) for t, value in kept if isinstance(t, torch.nn.Parameter)]

        def several(run: Callable[[], object]) -> tuple[Tensor, list[Tensor]]:
            """The losses of some steps, and how far they move the weights."""
            self.loss_sum_R.zero_()
            for _ in range(CHECK_STEPS):
                run()
            found = self.loss_sum_R.clone(), [t.detach() - value for t, value in weights]
            restore()
            return found

        # The stream that is current stays so, even where the end of a capture fails.
        with torch.no_grad(), torch.cuda.stream(torch.cuda.current_stream()):
            try:
                side = side_stream(str(self._tokens.device))
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side), torch.enable_grad():
                    expected, way = several(self.body)
                torch.cuda.current_stream().wait_stream(side)
                graph = torch.cuda.CUDAGraph()
                with _noting_failed_end() as inside, torch.cuda.graph(graph, stream=side), inside, torch.enable_grad():
                    self.body()
                found, found_way = several(graph.replay)
            finally:
                restore()
        if not torch.allclose(found, expected, rtol=TOLERANCE, equal_nan=True):
            raise RuntimeError(f"the captured step has losses {found.tolist()}, as it is {expected.tolist()}")
        shares = shares_of_way(found_way, way)
        if not torch.allclose(shares, torch.ones_like(shares), rtol=0.0, atol=WAY_TOLERANCE):
            raise RuntimeError(f"the captured step moves the weights {shares.tolist()} of their way as it is")
        self._run = _not_far_ahead(graph.replay)


def shares_of_way(found: Sequence[Tensor], expected: Sequence[Tensor]) -> Tensor:
    """Of each run, the part of the expected way that was gone: the projection on it, over its length, shape (R,)."""

    def products(others: Sequence[Tensor]) -> Tensor:
        return torch.stack([(a * b).flatten(1).sum(1) for a, b in zip(others, expected, strict=True)]).sum(0)

    return products(found) / products(expected)


_failed_ends: list[str] = []
"""What the ends of this process's captures failed of; an exception on the way to the end is harmless."""


@contextlib.contextmanager
def _noting_failed_end() -> Iterator[contextlib.AbstractContextManager[None]]:
    """Gives the context of what is captured, and notes an exception that does not come from there."""
    raised: list[BaseException] = []

    @contextlib.contextmanager
    def inside() -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            raised.append(error)
            raise

    try:
        yield inside()
    except RuntimeError as error:
        if error not in raised:
            _failed_ends.append(first_line(error))
        raise


def is_crippled() -> bool:
    """Whether the failed end of a capture has left this process with an allocator that gives no cached memory back."""
    numbers = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return bool(_failed_ends) and numbers < MENDED_TORCH


@functools.cache
def side_stream(device: str) -> torch.cuda.Stream:
    """Where steps are captured; one for all, since the libraries keep a workspace for each."""
    return torch.cuda.Stream(device)


def _not_far_ahead(run: Callable[[], object]) -> Callable[[], None]:
    """`run`, after waiting for the run `AHEAD_STEPS` before it."""
    events = itertools.cycle([torch.cuda.Event() for _ in range(AHEAD_STEPS)])

    def step() -> None:
        event = next(events)
        event.synchronize()  # at once for one that was not recorded yet
        run()
        event.record()

    return step


_resident: dict[tuple[int, int, str, str], tuple[np.ndarray, np.ndarray | None, Tensor]] = {}
"""The one corpus that is on a device, by the arrays it came from, which are kept so that their identity stays their own."""


def forget_tokens() -> None:
    """Give back the memory of the corpus, which the next stepper that needs it uploads again."""
    _resident.clear()


def resident_type(vocab_size: int) -> np.dtype[Any]:
    """The type of ids on a device: two bytes where they suffice, so that two billion tokens fit; torch indexes no uint16."""
    return np.dtype(np.int16 if vocab_size <= 2**15 else np.int32)


def resident_tokens(tokens: np.ndarray, added: np.ndarray | None, device: torch.device, kind: np.dtype[Any]) -> Tensor:
    """The corpus on the device, and behind it what a transform added, uploaded once a process."""
    key = (id(tokens), id(added), str(device), str(kind))
    if key not in _resident:
        _resident.clear()
        stream = tokens.astype(kind) if added is None else np.concatenate([tokens.astype(kind), added.astype(kind)])
        _resident[key] = (tokens, added, torch.from_numpy(stream).to(device))
    return _resident[key][-1]


def window_starts(cells: Sequence[Cell], windows: Windows, step: int, number: int) -> np.ndarray:
    """Positions in the corpus at which the windows of some steps' batches begin, shape (number, R, B)."""
    B = cells[0].batch_sequences
    of_runs = [windows.starts(seed=c.seed, start=step * B, number=number * B) for c in cells]
    return np.stack([starts.reshape(number, B) for starts in of_runs], axis=1)


def schedule_rows(cells: Sequence[Cell], step: int, number: int) -> np.ndarray:
    """What `step_by` of the optimizer takes for some steps, shape (number, 3, R, 1)."""
    steps = np.arange(step, step + number)
    factors = np.array([[lr_factor(int(s), c) for c in cells] for s in steps])
    betas = np.array([(c.beta1, c.beta2) for c in cells])
    return np.stack([factors, *corrections(betas, steps + 1)], axis=1).astype(np.float32)[..., None]


def to_device(windows: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """R runs' windows, each of shape (B, T + 1), as a tensor of shape (R, B, T + 1)."""
    stacked = windows[0][None] if len(windows) == 1 else np.stack(windows)
    return torch.from_numpy(stacked).to(device, non_blocking=True)


def state_of(model: Model, optimizer: Optimizer) -> list[Tensor]:
    """What a step changes."""
    moments = [tensor for several in optimizer.moments().values() for tensor in several]
    return [*model.parameters(), *moments, *([optimizer.count] if isinstance(optimizer, FusedAdamW) else [])]


def make_stepper(
    model: Model,
    optimizer: Optimizer,
    cells: Sequence[Cell],
    tokens: np.ndarray,
    execution: Execution,
    start: int,
    note: Callable[[str], None],
) -> Stepper:
    """The fastest way to step these runs on this device that comes to the same; the plain one where another does not work."""
    device, gradient = execution.device, gradient_of(model, cells, execution)
    plain = HostStepper(optimizer, cells, tokens, gradient, device)
    can_capture = isinstance(model, Decoder) and isinstance(optimizer, FusedAdamW | StackedAdamW)
    if (
        not has_graphs(device, tokens, cells[0].shape.vocab_size)
        or not execution.fast
        or not can_capture
        or any(c.z_loss for c in cells)
    ):
        return plain
    assert isinstance(model, Decoder) and isinstance(optimizer, FusedAdamW | StackedAdamW)
    for compiled in (True, False) if execution.compiles and is_worth_compiling(model) else (False,):
        try:
            with compiled_layers(model) if compiled else contextlib.nullcontext():
                resident = ResidentStepper(optimizer, cells, tokens, gradient, device, start)
                resident.capture(state_of(model, optimizer))
            return resident
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            for parameter in model.parameters():  # of a step that was not finished
                parameter.grad = None
            note(f"without {'the compiler' if compiled else 'a CUDA graph'}, which is slower ({first_line(error)})")
    return plain


def has_graphs(device: torch.device, tokens: np.ndarray, vocab_size: int) -> bool:
    """Whether the device can replay what was captured on it, with the corpus in its memory."""
    if device.type != "cuda":
        return False
    return resident_type(vocab_size).itemsize * len(tokens) <= torch.cuda.mem_get_info(device)[1] // CORPUS_SHARE


def is_worth_compiling(model: Decoder) -> bool:
    """Whether torch.compile gains more than it takes; packs and small models wait for it in vain."""
    return len(model.embedding) == 1 and sum(p.numel() for p in model.parameters()) >= COMPILED_PARAMS


@contextlib.contextmanager
def compiled_layers(model: Decoder) -> Iterator[None]:
    """Let torch.compile fuse what the layers do between their products, in what is called or captured inside.

    Not longer: every shape takes a place in the compiler's cache of a layer's code, and evaluation has shapes of its own.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    for layer in model.layers:
        layer.compile(dynamic=False)
    try:
        yield
    finally:
        for layer in model.layers:
            layer._compiled_call_impl = None
