"""Sections of the acceptance that measure speed: back ends of attention, and the table of ways to step."""

import gc
import math
import time
from collections.abc import Iterator, Sequence

import torch
from parts import LEAST_SECONDS, Acceptance, How, cell_of, make, seconds_of, timed
from torch.nn.attention import SDPBackend, sdpa_kernel

from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import flops_per_token
from scalesweep.train.device import is_out_of_memory, synchronize
from scalesweep.train.measure import free_memory

WIDTHS: tuple[tuple[int, int], ...] = (
    (32, 1), (64, 1), (64, 16), (128, 1), (128, 16), (256, 1), (448, 1), (800, 1), (256, 16), (64, 64),
)  # fmt: skip
"""Widths and runs of the speed table, those first without which it says little."""
SHORT, ROUND = 0.02, 0.1
"""Seconds of a step below which five are too few to time, and of a round of them then."""


def attention(found: Acceptance) -> None:
    """Each back end's time for attention, forward and backward, the first call apart."""
    context, sequences = (32, 4) if found.is_rehearsal else (128, 64)
    backends = ("MATH",) if found.is_rehearsal else ("CUDNN_ATTENTION", "FLASH_ATTENTION", "EFFICIENT_ATTENTION")
    dtype = getattr(torch, found.precision)
    for head_dim, heads, number in ((16, 2, sequences), (32, 2, sequences), (32, 8, sequences), (32, 2, 16 * sequences)):
        q = torch.randn(number, heads, context, head_dim, device=found.device, dtype=dtype, requires_grad=True)

        def once(x: torch.Tensor = q) -> None:
            torch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True).sum().backward()  # type: ignore[no-untyped-call]

        row = []
        for backend in backends:
            try:
                with sdpa_kernel(getattr(SDPBackend, backend)):
                    first = seconds_of(found, once)
                    row.append(
                        f"{backend.lower()} first {first * 1e3:.0f} ms, then {timed(found.device, once, 20) * 1e6:.0f} us"
                    )
            except RuntimeError as error:
                row.append(f"{backend.lower()} refused ({str(error).splitlines()[0][:40]})")
        text = f"attention, {number} x {heads} heads of {head_dim}, {context} tokens: {'; '.join(row)}"
        found.say("FIGURE", text, "a first call of about a second, for each new shape, speaks against that back end")


def speed(found: Acceptance) -> None:
    """Milliseconds a step and tokens per second, eager, as a graph and compiled; runs above 1 are a pack."""
    print(f"\n{'width':>6} {'runs':>4} {'tok/step':>9} | {'eager ms':>9} | {'graph ms':>9} {'Mtok/s':>8} {'ceiling':>7} |"
          f" {'compiled ms':>11} {'Mtok/s':>8} {'ceiling':>7} {'first s':>8}")  # fmt: skip
    rows: Sequence[tuple[int, int]] = ((16, 1), (16, 4)) if found.is_rehearsal else WIDTHS
    for width, runs in rows:
        if found.left < 2 * LEAST_SECONDS:
            found.say("SKIPPED", f"width {width}, {runs} runs: no time left")
            continue
        cell = cell_of(found, width)
        measured = dict(measure(found, cell, runs))
        print(table_row(found, cell, runs, measured), flush=True)
        row: dict[str, object] = {
            str(how): {"seconds": seconds, "first_seconds": first} for how, (seconds, first) in measured.items()
        }
        found.lines.append({"kind": "FIGURE", "text": f"width {width}, {runs} runs", "width": width, "runs": runs, **row})
    found.say(
        "FIGURE",
        "the table above",
        "goals: at least 10 times nanoGPT's tokens/s up to 1M parameters (width 128), 3 times to 10M (width 448), 1.2 times "
        "and 40 % of the ceiling above; compiled above graph: compile that size",
    )


def measure(found: Acceptance, cell: Cell, runs: int) -> Iterator[tuple[How, tuple[float, float]]]:
    """Seconds a step and of the first one, each way for which there is time and that works."""
    ways: tuple[How, ...] = ("eager", "graph", "compiled")
    for how in ways:
        if how == "compiled" and found.left < 4 * LEAST_SECONDS:
            continue
        try:
            yield how, step_seconds(found, cell, runs, how)
        except RuntimeError as error:
            text = f"width {cell.shape.width}, {runs} runs, {how}: {str(error).splitlines()[0][:120]}"
            found.say("SKIPPED" if is_out_of_memory(error) else "FAULT", text, "this way is not to be had at this size")
        gc.collect()
        free_memory(found.device)


def step_seconds(found: Acceptance, cell: Cell, runs: int, how: How) -> tuple[float, float]:
    """Seconds of a later step, and of everything up to the end of the first one."""
    started, numbers = time.perf_counter(), iter(range(10**9))
    stepper = make(cell, runs, found.device, how).stepper

    def step() -> None:
        stepper.advance(next(numbers))

    step()
    synchronize(found.device)
    first, seconds = time.perf_counter() - started, timed(found.device, step, 5)
    if seconds < SHORT:
        seconds = timed(found.device, step, min(200, math.ceil(ROUND / seconds)))
    return seconds, first


def table_row(found: Acceptance, cell: Cell, runs: int, measured: dict[How, tuple[float, float]]) -> str:
    """A line of the table; a dash where nothing was measured."""
    tokens = runs * cell.batch_tokens
    flops = tokens * flops_per_token(cell.shape, "attention")

    def columns(how: How) -> str:
        if how not in measured:
            return f"{'-':>9} {'-':>8} {'-':>7}"
        seconds = measured[how][0]
        share = f"{flops / seconds / found.peak:7.1%}" if found.peak else f"{'-':>7}"
        return f"{seconds * 1e3:9.3f} {tokens / seconds / 1e6:8.3f} {share}"

    eager = f"{measured['eager'][0] * 1e3:9.3f}" if "eager" in measured else f"{'-':>9}"
    first = f"{measured['compiled'][1]:8.1f}" if "compiled" in measured else f"{'-':>8}"
    return f"{cell.shape.width:6d} {runs:4d} {tokens:9,d} | {eager} | {columns('graph')} |   {columns('compiled')} {first}"
