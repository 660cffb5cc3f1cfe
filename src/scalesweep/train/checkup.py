"""What one GPU can do: ceiling, bandwidth, whether captured steps are right, and tokens a second of some models."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import flops_per_token
from scalesweep.train.device import first_line, is_out_of_memory, synchronize
from scalesweep.train.measure import free_memory, peak_flops, seconds_per_step

COPIED_BYTES = 2**30
"""Enough that a copy takes longer than the call; the caches of today's GPUs hold a twentieth of it."""


def check_gpu(device: torch.device, cells: Mapping[str, Cell], runs: int, full: bool) -> dict[str, Any]:
    """Measure one GPU.

    Args:
        device: which.
        cells: the models by name, the smallest first, all of one precision.
        runs: of the smallest model, stepped together as a pack.
        full: measure the largest model as torch's compiler makes it, too, which takes most of a minute.

    Raises:
        RuntimeError: the GPU fails.
    """
    names, precision = list(cells), next(iter(cells.values())).precision
    ceiling = peak_flops(device, precision)
    found = {"precision": precision, "ceiling": ceiling, "bandwidth": _bandwidth(device)}
    steps = [_step(name, cells[name], device, 1, False, ceiling) for name in names]
    steps.append(_step(names[0], cells[names[0]], device, runs, False, ceiling))
    if full:
        steps.append(_step(names[-1], cells[names[-1]], device, 1, True, ceiling))
    return {**found, "steps": steps}


def _bandwidth(device: torch.device) -> float:
    """Bytes a second that are read and written when memory is copied; the best of some repetitions."""
    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device=device)
    target, times = torch.empty_like(source), []
    for _ in range(6):
        synchronize(device)
        started = time.perf_counter()
        target.copy_(source)
        synchronize(device)
        times.append(time.perf_counter() - started)
    return 2.0 * COPIED_BYTES / min(times)


def _step(name: str, cell: Cell, device: torch.device, runs: int, compiles: bool, ceiling: float) -> dict[str, Any]:
    notes: list[str] = []

    def note(line: str) -> None:
        if not line.startswith("attention by "):  # which changes no plan
            notes.append(line)

    found = {"size": name, "runs": runs, "compiled": compiles}
    try:
        seconds = seconds_per_step(cell, device, None, runs, on_note=note, compiles=compiles)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return {**found, "tokens_per_second": None, "share": None, "notes": [first_line(error)]}
    finally:
        free_memory(device)
    # Several trainings are measured, with the same notes; but only the first one has to wait for the compiler.
    rate = runs * cell.batch_tokens / seconds
    share = rate * flops_per_token(cell.shape, "attention") / ceiling
    return {**found, "tokens_per_second": rate, "share": share, "notes": notes[:1] if compiles else sorted(set(notes))}
