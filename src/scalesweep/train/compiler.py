"""torch's compiler on the layers of a decoder and on a pack's optimizer, where a training pays for it (`train.outlook`)."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from scalesweep.plan.cell import Cell
from scalesweep.train.capture import Captured, Inside
from scalesweep.train.device import first_line
from scalesweep.train.gradient import Execution
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.optim.adamw import StackedAdamW
from scalesweep.train.optim.groups import Optimizer
from scalesweep.train.optim.muon import Muon
from scalesweep.train.outlook import Source, describe, keep, kind_of, outlook_of, pays
from scalesweep.units import format_plain

MOST_KINDS = 64
"""Kinds of layers whose code a process holds. torch's own limit is 8, as it is for code that is compiled again by accident."""
MOST_FAILURES = 3
"""Failures after which a process asks the compiler no more by itself, as where there is no C compiler. A judgement."""
Parts = Sequence[tuple[nn.Module, tuple[int, ...]]]
"""What is compiled, each by itself, and which of its arguments may have any length along their second axis."""
_failures: list[str] = []
"""What the compiler failed of in this process."""
_SOURCES: Mapping[Source, str] = {
    "cold": "compiled",
    "warm": "compiled earlier, and ready",
    "loaded": "compiled earlier in this process, and ready",
}


def compile_where_it_pays(
    capture: Callable[[Inside | None], Captured],
    captured: Captured,
    parts: Parts,
    cells: Sequence[Cell],
    execution: Execution,
    steps: int,
    note: Callable[[str], None],
) -> None:
    """Capture a step again as the compiler makes it, if it is asked for or the training pays for it.

    Args:
        capture: captures it in a context, or as it is; whatever it captured before is gone then.
        captured: of the step as it is, which stays where nothing is compiled.
        parts: what is compiled (`parts_of`).
        cells: the runs.
        execution: whether, and which other trainings the code would serve.
        steps: that these runs have to go.
        note: takes a line on what was done, and why.

    Raises:
        RuntimeError: the compiler failed, and the step as it is could not be captured again.
    """
    if execution.compiles is False or (execution.compiles == "auto" and len(_failures) >= MOST_FAILURES):
        return
    kind, further, before = kind_of(cells, execution.device), execution.further_steps, captured.step_seconds
    outlook = outlook_of(kind, captured.seconds)
    words = describe(steps, before, further, outlook)
    if execution.compiles == "auto" and not pays(steps, before, further, outlook):
        note(f"not compiled, as it would not pay: {words}")
        return
    counted, made = _counted(), _tried(capture, parts)
    if isinstance(made, str):
        _failures.append(made)
        note(f"without the compiler, which is slower ({made})")
        capture(None)
        return
    source = _source_since(counted)
    keep(kind, made.seconds, source, before, made.step_seconds)
    seconds, ms, instead = (format_plain(x) for x in (made.seconds, 1e3 * made.step_seconds, 1e3 * before))
    what = f"{_SOURCES[source]} in {seconds} s, {ms} ms a step instead of {instead}"
    if execution.compiles == "auto" and made.step_seconds >= before:
        note(f"{what}, and not taken, as it is no faster")
        capture(None)
    else:
        note(f"{what}; expected: {words}" if execution.compiles == "auto" else what)


def _tried(capture: Callable[[Inside | None], Captured], parts: Parts) -> Captured | str:
    """What a capture of compiled parts came to, or failed of; no traceback keeps the tensors of one that did."""
    try:
        return capture(lambda: compiled(parts))
    except Exception as error:  # the compiler calls other programs, and passes on whatever they fail of
        return first_line(error)


def parts_of(model: Decoder, optimizer: Optimizer) -> Parts:
    """The layers and what follows them, and what a pack's optimizer does to each group of parameters."""
    adamw = optimizer.adamw if isinstance(optimizer, Muon) else optimizer
    return [*model.parts(), *(adamw.parts() if isinstance(adamw, StackedAdamW) else [])]


@contextlib.contextmanager
def compiled(parts: Parts) -> Iterator[None]:
    """Let torch.compile fuse what these parts do between their products, in what is called or captured inside.

    Not longer: every kind of layer takes a place in the compiler's cache, and evaluation has shapes of its own.
    """
    for part, dynamic in parts:
        part._compiled_call_impl = functools.partial(_for_any_length, part, dynamic)
    try:
        yield
    finally:
        for part, _ in parts:
            part._compiled_call_impl = None


def _for_any_length(part: nn.Module, dynamic: Sequence[int], *arguments: Any) -> Any:
    forward = _compiled(type(part).forward)
    for place in dynamic:
        torch._dynamo.maybe_mark_dynamic(arguments[place], 1)  # maybe: one sequence is a kind of its own
    return forward(part, *arguments)


@functools.cache
def _compiled(forward: Callable[..., Any]) -> Callable[..., Any]:
    """One function for all layers, as what compiles those of one model would keep them in memory.

    Of all dimensions the marked one alone is dynamic, so that what was compiled before does not change the code.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = max(MOST_KINDS, torch._dynamo.config.recompile_limit)
    return torch.compile(forward, dynamic=False, fullgraph=True)


def _counted() -> tuple[int, int]:
    """Graphs that this process has made code of, and parts of them that were not in the user's cache."""
    from torch._dynamo.utils import counters

    return counters["stats"]["unique_graphs"], counters["inductor"]["fxgraph_cache_miss"]


def _source_since(earlier: tuple[int, int]) -> Source:
    graphs, misses = (now - before for now, before in zip(_counted(), earlier, strict=True))
    return "cold" if misses else "warm" if graphs else "loaded"
