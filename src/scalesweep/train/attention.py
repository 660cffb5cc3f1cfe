"""Which of torch's kernels computes attention on a GPU: timed once for each shape of it, and kept in the user's cache.

torch itself takes the first kernel that can, whichever is the fastest; on Hopper that is cuDNN's, which plans for about a
second for every new shape. All come to the same within rounding, so that the choice is no part of a cell.
"""

import contextlib
import dataclasses
import functools
import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.compiler.config
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from scalesweep.kept import recall
from scalesweep.plan.cell import Cell, Precision
from scalesweep.plan.flops import DecoderShape
from scalesweep.train.device import device_name, release_cached
from scalesweep.train.gradient import Execution
from scalesweep.units import format_plain

BACK_ENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
}
SECONDS, MOST_REPETITIONS = 0.03, 10
"""Of a back end's repetitions, after the first two; a judgement."""
MOST_HEADS = 2048
"""Heads of all sequences that are timed; with more of them times of all back ends grow in proportion. A judgement: fifteen for
each multiprocessor of an H100."""
AHEAD_CYCLES = 20_000_000
"""Cycles, about 10 ms, for which the device is kept busy before the repetitions, so that none of them waits for the host: no
kernel of a captured step does."""
TOLERANCE = 0.05
"""Largest difference from the plain computation in float32, as a share of the largest entry. A judgement: bfloat16 rounds to
2^-8, and a wrong mask is off by the size of the entries."""


@dataclass(frozen=True)
class Attention:
    """A shape of causal attention, and all else that the times of its back ends depend on."""

    device: str
    torch: str
    back_ends: tuple[str, ...]
    """Those that nobody has switched off in this process."""
    precision: Precision
    sequences: int
    """Of all runs in one forward pass, or as many as are timed."""
    heads: int
    context: int
    head_dim: int


_chosen: dict[Attention, str | None] = {}
"""What this process has asked for; None where no back end can be timed."""


def preferred_attention(
    cells: Sequence[Cell], execution: Execution, note: Callable[[str], None]
) -> contextlib.AbstractContextManager[None]:
    """The context in which these runs' attention takes the fastest back end; torch's own where there is nothing to choose.

    Args:
        cells: runs that are stepped together.
        execution: of which device, micro-batch and ranks decide.
        note: told which back end it is, when a process first meets the shape.
    """
    cell, shape, device = cells[0], cells[0].shape, execution.device
    if device.type != "cuda" or not isinstance(shape, DecoderShape):
        return contextlib.nullcontext()
    mine = cell.batch_sequences // execution.ranks
    sequences = len(cells) * min(execution.micro_batch or mine, mine)
    timed_sequences = min(sequences, -(-MOST_HEADS // shape.num_heads))
    dimensions = (timed_sequences, shape.num_heads, shape.context, shape.head_dim)
    of = Attention(device_name(device), str(torch.__version__), enabled(), cell.precision, *dimensions)
    if of not in _chosen:
        with contextlib.suppress(RuntimeError):
            _chosen[of] = None
            seconds = recall("attention", dataclasses.asdict(of), lambda: _measured(of, device))
            _chosen[of] = next(iter(seconds))
            each = [f"{name} {format_plain(1e3 * taken)} ms" for name, taken in seconds.items()]
            others = f"; {', '.join(each[1:])}" if each[1:] else ""
            note(f"attention by {each[0]} forward and backward{others}")
    name = _chosen[of]
    return preferring(name) if name else contextlib.nullcontext()


@contextlib.contextmanager
def preferring(name: str) -> Iterator[None]:
    """Attention takes this back end first."""
    # The last two take what it refuses, such as the shape of an evaluation. Compiled code, which torch keeps by all but the
    # back end, is marked with it.
    back_ends = [BACK_ENDS[name], SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(back_ends), torch.compiler.config.patch(cache_key_tag=name):  # type: ignore[attr-defined]
        yield


def enabled() -> tuple[str, ...]:
    """Back ends that may be used."""
    has = torch.backends.cuda
    on = (has.flash_sdp_enabled(), has.mem_efficient_sdp_enabled(), has.cudnn_sdp_enabled())
    return tuple(itertools.compress(BACK_ENDS, on))


def timed(back_ends: Iterable[str], seconds_of: Callable[[str], float]) -> dict[str, float]:
    """Seconds of each back end, the fastest first; one that raises RuntimeError is left out.

    Raises:
        RuntimeError: all of them do.
    """
    found = {}
    for name in back_ends:
        with contextlib.suppress(RuntimeError):
            found[name] = seconds_of(name)
    if not found:
        raise RuntimeError("no back end of attention takes this shape")
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def _measured(of: Attention, device: torch.device) -> dict[str, float]:
    with warnings.catch_warnings(action="ignore"):  # of why a back end does not take the shape
        try:
            return timed(of.back_ends, lambda name: _seconds(of, BACK_ENDS[name], device))
        finally:
            release_cached(device)


def _seconds(of: Attention, back_end: SDPBackend, device: torch.device) -> float:
    """Least time of a forward and a backward pass.

    Raises:
        RuntimeError: the back end does not take the shape, or comes to something else than the plain computation.
    """
    chance = torch.Generator(device)  # torch's own stays in the state of a capture whose end has failed
    heads = (of.heads, of.head_dim)
    # In memory as the decoder has them: heads side by side in a row, queries, keys and values in one.
    shapes = (of.sequences, of.context, 3, *heads), (of.sequences, of.context, *heads)
    kind = getattr(torch, of.precision)
    together, above = (torch.randn(shape, device=device, dtype=kind, generator=chance) for shape in shapes)
    inputs, upstream = [part.transpose(1, 2) for part in together.unbind(2)], above.transpose(1, 2)
    run = functools.partial(attend, inputs, upstream, back_end)
    few = [x[:1, :1].float() for x in (*inputs, upstream)]
    require_alike([x[:1, :1] for x in run()], attend(few[:3], few[3], SDPBackend.MATH))
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    number = max(1, min(MOST_REPETITIONS, int(SECONDS / (time.perf_counter() - began))))
    events = [torch.cuda.Event(enable_timing=True) for _ in range(number + 1)]
    torch.cuda._sleep(AHEAD_CYCLES)
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    events[-1].synchronize()
    return min(float(a.elapsed_time(b)) for a, b in itertools.pairwise(events)) / 1e3


def attend(inputs: Sequence[Tensor], upstream: Tensor, back_end: SDPBackend) -> list[Tensor]:
    """Causal attention of queries, keys and values, and their gradients, all of shape (sequences, heads, context, head_dim)."""
    q, k, v = (x.detach().requires_grad_() for x in inputs)
    with sdpa_kernel(back_end), torch.enable_grad():
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return [y.detach(), *torch.autograd.grad(y, (q, k, v), upstream)]


def require_alike(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Raise RuntimeError unless all entries are as expected within rounding."""
    for mine, theirs in zip(found, expected, strict=True):
        if not torch.allclose(mine.float(), theirs, rtol=0.0, atol=TOLERANCE * theirs.abs().max().item()):
            raise RuntimeError("this back end comes to something else")
