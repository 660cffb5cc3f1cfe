"""Training steps whose corpus, windows and learning rates lie on the device, so that a step can be captured as one CUDA graph.

The corpus is uploaded once a process where it fits, windows and learning rates of some hundred steps at once; nothing in a step
waits for the device.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scalesweep.plan.cell import Cell
from scalesweep.train.capture import (
    CHECK_STEPS,
    Captured,
    Inside,
    Tried,
    not_far_ahead,
    noting_failed_end,
    refuse_other_steps,
    refusing_waits,
    seconds_of_last,
    side_stream,
)
from scalesweep.train.data import Windows, batch, windows_of_cell
from scalesweep.train.gradient import Gradient
from scalesweep.train.optim import ResidentOptimizer
from scalesweep.train.optim.adamw import corrections
from scalesweep.train.optim.custom import OwnOptimizer
from scalesweep.train.schedule import lr_factor

CHUNK_STEPS = 256
"""Steps whose windows and learning rates are uploaded at once; a judgement: an upload is then rare, and small."""
CORPUS_SHARE = 8
"""A corpus of more than one part in so many of the device's memory stays on the host, from where windows are uploaded in its
place; a judgement."""
CHUNK_BYTES = 2**26
"""Most of windows that are uploaded at once; a judgement."""


class ResidentStepper:
    """Everything of a step on the device; `capture` makes one graph of it."""

    def __init__(
        self,
        optimizer: ResidentOptimizer | OwnOptimizer,
        cells: Sequence[Cell],
        tokens: np.ndarray,
        gradient: Gradient,
        device: torch.device,
        start: int,
    ) -> None:
        self._optimizer, self._cells, self._gradient = optimizer, cells, gradient
        self._windows = windows_of_cell(cells[0], len(tokens))
        R, first = len(cells), cells[0]
        kind = resident_type(first.shape.vocab_size)
        self._chunk, self._on_host = CHUNK_STEPS, None if fits(tokens, kind, device) else tokens
        if self._on_host is None:
            self._tokens = resident_tokens(tokens, self._windows.added, device, kind)
        else:
            of_step = R * first.batch_sequences * (first.shape.context + 1)
            self._chunk = max(1, min(CHUNK_STEPS, CHUNK_BYTES // (of_step * kind.itemsize)))
            self._tokens = torch.from_numpy(np.zeros(self._chunk * of_step, kind)).to(device)
        self.loss_sum_R, self.norms_R = torch.zeros(R, device=device), torch.zeros(R, device=device)
        self._starts = torch.zeros(CHUNK_STEPS, R, first.batch_sequences, dtype=torch.long, device=device)
        self._rows = torch.zeros(CHUNK_STEPS, 3, R, 1, device=device)
        self._offsets = torch.arange(first.shape.context + 1, device=device)
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        self._uploaded = range(0)
        self._replay: Callable[[], object] | None = None
        self._upload(start)

    def advance(self, step: int) -> None:
        """As in `Stepper`."""
        if step not in self._uploaded:
            self._upload(step)
        (self._replay or self.body)()

    def body(self) -> None:
        """One step, without a branch and without a copy from the host, so that it can be captured."""
        assert not isinstance(self._optimizer, OwnOptimizer)
        self.loss_sum_R += self._gradient(self._batch())
        self.norms_R.copy_(self._optimizer.step_by(self._rows.index_select(0, self.position)[0]))
        self.position += 1

    def _batch(self) -> Tensor:
        """The windows of this step, shape (R, B, T + 1)."""
        starts_RB = self._starts.index_select(0, self.position)[0]
        return self._tokens[starts_RB[..., None] + self._offsets].long()

    def _upload(self, step: int) -> None:
        """Windows and learning rates of the steps from `step` on."""
        number = min(self._chunk, max(1, self._cells[0].steps - step))
        rows = schedule_rows(self._cells, step, number)
        if self._on_host is None:
            starts = window_starts(self._cells, self._windows, step, number)
        else:
            windows = batches(self._cells, self._windows, self._on_host, step, number)
            starts = np.arange(0, windows.size, windows.shape[-1]).reshape(windows.shape[:-1])
            flat = windows.astype(resident_type(self._cells[0].shape.vocab_size)).reshape(-1)
            self._tokens[: flat.size].copy_(torch.from_numpy(flat))
        self._starts[:number].copy_(torch.from_numpy(starts))
        self._rows[:number].copy_(torch.from_numpy(rows))
        self.position.zero_()
        self._uploaded = range(step, step + number)

    def release(self) -> None:
        """As in `Stepper`: the pool of a graph serves nothing but its replays."""
        self._replay = None  # not `body`: a circle would keep models until Python looks for circles
        if self._tokens.is_cuda:
            torch.cuda.empty_cache()

    def capture(self, state: Iterable[Tensor], inside: Inside | None = None) -> Captured:
        """Capture the step, and compare it with itself as it is.

        Args:
            state: tensors that a step changes, parameters and moments; they are left as they were, whatever happens.
            inside: of another form of the step, which is captured in place of the plain one.

        Raises:
            RuntimeError: it cannot be captured, or comes to other losses, or moves the weights another way.
        """
        began = time.monotonic()
        self.release()  # what an earlier capture holds
        # Detached: a clone's node would keep the parameters' nodes of gradients alive, which belong to another stream.
        kept = [(t, t.detach().clone()) for t in [*state, self.loss_sum_R, self.norms_R, self.position]]
        weights = [(t, value) for t, value in kept if isinstance(t, torch.nn.Parameter)]

        def restore() -> None:
            for tensor, value in kept:
                tensor.data.copy_(value)
            for parameter, _ in weights:  # of a step that was not finished
                parameter.grad = None

        def several(run: Callable[[], object]) -> Tried:
            self.loss_sum_R.zero_()
            seconds = seconds_of_last(run, CHECK_STEPS)
            found = Tried(self.loss_sum_R.clone(), self._way(weights), seconds)
            restore()
            return found

        # The stream that is current stays so, even where the end of a capture fails.
        with torch.no_grad(), torch.cuda.stream(torch.cuda.current_stream()):
            try:
                side = side_stream(str(self._tokens.device))
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side), torch.enable_grad():
                    expected = several(self.body)
                    with refusing_waits():
                        self.body()
                    restore()
                with inside() if inside else contextlib.nullcontext():
                    if inside:
                        with torch.cuda.stream(side), torch.enable_grad():
                            several(self.body)
                    torch.cuda.current_stream().wait_stream(side)
                    graph = torch.cuda.CUDAGraph()
                    with noting_failed_end() as body, torch.cuda.graph(graph, stream=side), body, torch.enable_grad():
                        self.body()
                found = several(graph.replay)
            finally:
                restore()
        refuse_other_steps(found, expected)
        self._replay = not_far_ahead(graph.replay)
        return Captured(found.seconds, time.monotonic() - began)

    def _way(self, weights: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """How far steps have moved the weights from their values before, by which a captured step is compared."""
        return [t.detach() - value for t, value in weights]


class ResidentGradient(ResidentStepper):
    """The gradient of a step on the device, as `ResidentStepper` has it; a class of the user's own steps from the host.

    Nobody can say which numbers such a class keeps on the host, where a replay would not change them.
    """

    def __init__(
        self,
        optimizer: OwnOptimizer,
        cells: Sequence[Cell],
        tokens: np.ndarray,
        gradient: Gradient,
        device: torch.device,
        start: int,
    ) -> None:
        self._own, self._gradients = optimizer, dict[str, Tensor | None]()
        super().__init__(optimizer, cells, tokens, gradient, device, start)

    def advance(self, step: int) -> None:
        """As in `Stepper`."""
        super().advance(step)
        for name, parameter in self._own.parameters.items():
            parameter.grad = self._gradients[name]
        self.norms_R = self._own.step([lr_factor(step, self._cells[0])])

    def body(self) -> None:
        """The gradient; where a step was captured, every replay writes it to the same place."""
        for parameter in self._own.parameters.values():
            parameter.grad = None
        self.loss_sum_R += self._gradient(self._batch())
        self._gradients = {name: parameter.grad for name, parameter in self._own.parameters.items()}
        self.position += 1

    def release(self) -> None:
        """As in `Stepper`."""
        self._gradients = {}
        super().release()

    def _way(self, weights: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """The last gradient, in place of the way of weights that do not move."""
        return [gradient.clone() for gradient in self._gradients.values() if gradient is not None]


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


def batches(cells: Sequence[Cell], windows: Windows, tokens: np.ndarray, step: int, number: int) -> np.ndarray:
    """The windows of some steps' batches, shape (number, R, B, T + 1)."""
    B, T = cells[0].batch_sequences, cells[0].shape.context
    of_step = [
        [batch(tokens, seed=c.seed, step=s, sequences=B, context=T, windows=windows) for c in cells]
        for s in range(step, step + number)
    ]
    return np.array(of_step)


def schedule_rows(cells: Sequence[Cell], step: int, number: int) -> np.ndarray:
    """What `step_by` of the optimizer takes for some steps, shape (number, 3, R, 1)."""
    steps = np.arange(step, step + number)
    factors = np.array([[lr_factor(int(s), c) for c in cells] for s in steps])
    betas = np.array([(c.beta1, c.beta2) for c in cells])
    return np.stack([factors, *corrections(betas, steps + 1)], axis=1).astype(np.float32)[..., None]


def fits(tokens: np.ndarray, kind: np.dtype[Any], device: torch.device) -> bool:
    """Whether the corpus may lie in the device's memory."""
    return device.type != "cuda" or kind.itemsize * len(tokens) <= torch.cuda.mem_get_info(device)[1] // CORPUS_SHARE


def has_graphs(device: torch.device) -> bool:
    """Whether the device can replay what was captured on it."""
    return device.type == "cuda"
