"""A CUDA graph of a step: where it is captured, what a failed capture leaves behind, and whether it does what the step does."""

import contextlib
import functools
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scalesweep.train.device import first_line

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


Inside = Callable[[], contextlib.AbstractContextManager[object]]
"""Makes the context in which another form of a step is captured, such as one of compiled layers."""


@dataclass(frozen=True)
class Captured:
    """What a capture has taken, and what it has made."""

    step_seconds: float
    """Of a replay."""
    seconds: float
    """All of it took, compiling and comparing too."""


@dataclass(frozen=True)
class Tried:
    """What some steps came to; the state that they changed was put back."""

    losses_R: Tensor
    way: Sequence[Tensor]
    """How far each parameter moved."""
    seconds: float
    """Of a step."""


def seconds_of_last(run: Callable[[], object], number: int) -> float:
    """Run a step so many times, and return the seconds that the device takes for one, the first not counted."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    run()
    begin.record()
    for _ in range(number - 1):
        run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3 / (number - 1)


def refuse_other_steps(found: Tried, expected: Tried) -> None:
    """See that captured steps come to what the same steps do as they are.

    Raises:
        RuntimeError: they come to other losses, or move the weights another way.
    """
    if not torch.allclose(found.losses_R, expected.losses_R, rtol=TOLERANCE, equal_nan=True):
        raise RuntimeError(f"the captured step has losses {found.losses_R.tolist()}, as it is {expected.losses_R.tolist()}")
    shares = shares_of_way(found.way, expected.way)
    if not torch.allclose(shares, torch.ones_like(shares), rtol=0.0, atol=WAY_TOLERANCE):
        raise RuntimeError(f"the captured step moves the weights {shares.tolist()} of their way as it is")


def shares_of_way(found: Sequence[Tensor], expected: Sequence[Tensor]) -> Tensor:
    """Of each run, the part of the expected way that was gone: the projection on it, over its length, shape (R,)."""

    def products(others: Sequence[Tensor]) -> Tensor:
        return torch.stack([(a * b).reshape(len(a), -1).sum(1) for a, b in zip(others, expected, strict=True)]).sum(0)

    return products(found) / products(expected)


_failed_ends: list[str] = []
"""What the ends of this process's captures failed of; an exception on the way to the end is harmless."""


@contextlib.contextmanager
def noting_failed_end() -> Iterator[contextlib.AbstractContextManager[None]]:
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


@contextlib.contextmanager
def refusing_waits() -> Iterator[None]:
    """Lets operations raise that wait for the device, such as `item`: in a capture they would make its end fail."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(action="ignore"):  # that it does not know all of them
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def is_crippled() -> bool:
    """Whether the failed end of a capture has left this process with an allocator that gives no cached memory back."""
    numbers = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return bool(_failed_ends) and numbers < MENDED_TORCH


@functools.cache
def side_stream(device: str) -> torch.cuda.Stream:
    """Where steps are captured; one for all, since the libraries keep a workspace for each."""
    return torch.cuda.Stream(device)


def not_far_ahead(run: Callable[[], object]) -> Callable[[], None]:
    """`run`, after waiting for the run `AHEAD_STEPS` before it."""
    events = itertools.cycle([torch.cuda.Event() for _ in range(AHEAD_STEPS)])

    def step() -> None:
        event = next(events)
        event.synchronize()  # at once for one that was not recorded yet
        run()
        event.record()

    return step
