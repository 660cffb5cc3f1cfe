"""How many runs are stepped together: as many as memory takes, as a table of times says, and as divide evenly among workers.

Memory is estimated by a formula until something was measured: parameters, gradients, moments and what captures them, and the
activations of one micro-batch, counted by watching what a step in training keeps (tests/train/test_pack_memory.py does it
again). Pure.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from scalesweep.plan.cell import Cell
from scalesweep.plan.estimate import estimated_seconds_per_step
from scalesweep.plan.flops import DecoderShape, count_params

GAIN = 1.05
"""Ratio of times below which a larger pack is not worth its memory; a judgement."""
LARGEST_PACK = 1024
LARGEST_GRID = 65535
"""Sequences of all runs in one product of attention, whose kernels lay them on an axis of CUDA's grid that holds no more
(2^16 - 1: CUDA C++ Programming Guide, maximum y and z dimension of a grid)."""
MEMORY_SHARE = 0.75
"""Of the memory that is free, for a pack; the rest is for the corpus, at most an eighth, and what the allocator cannot use. A
judgement."""
STATE_BYTES = 44
"""For each parameter: the parameter itself, gradient and two moments, what a capture keeps of them to compare (five numbers),
and two that an optimizer needs in passing."""
WIDTH_BYTES: Mapping[str, float] = {"bfloat16": 46, "float32": 58}
FFN_BYTES: Mapping[str, float] = {"bfloat16": 8, "float32": 16}
STREAM_BYTES = 12
LOGIT_BYTES = 12
"""Bytes of activations for each token: and layer and unit of width; and layer and unit of the feed-forward block; and unit of
width; and entry of the vocabulary. Counted."""
SIZING_SHARE = 0.05
"""Most of the time of the training that it is for that trials of packs may take. A judgement."""
START_SECONDS = 1.0
"""Of a trial, until its steps are timed. A judgement, as no GPU was at hand, until a trial has shown it."""
COUNTED_STEPS = 5
"""Of a trial, at least: a choice within 5 % needs no more. A judgement."""
TRIAL_STEPS = 15
"""Of a trial, with its first ones and those of its capture."""


@dataclass(frozen=True)
class Taken:
    """What some runs that were stepped together took."""

    num_bytes: int
    """Most memory of the device."""
    seconds: float | None = None
    """Of a step of all of them in a trial; None where they were trained for good, by compiled code perhaps."""


PackTable = Mapping[int, Taken]
"""What was measured of a kind of cell, by the number of runs."""


def bytes_of_run(cell: Cell, micro_batch: int | None) -> float:
    """Memory of one run in training, by the formula: parameters, moments, gradients, and activations of one micro-batch."""
    shape, state = cell.shape, STATE_BYTES * count_params(cell.shape).total
    tokens = min(micro_batch or cell.batch_sequences, cell.batch_sequences) * shape.context
    ffn_width = shape.ffn_width if isinstance(shape, DecoderShape) else 4 * shape.width
    layer = WIDTH_BYTES[cell.precision] * shape.width + FFN_BYTES[cell.precision] * ffn_width
    return state + tokens * (shape.depth * layer + STREAM_BYTES * shape.width + LOGIT_BYTES * shape.vocab_size)


def most_in_memory(cell: Cell, micro_batch: int | None, free_bytes: float, table: PackTable) -> int:
    """Runs that fit into so much memory, at least 1: by what the largest pack so far took, a share for each of its runs, or by
    the formula where nothing was measured.
    """
    largest = max((runs for runs in table if table[runs].num_bytes > 0), default=0)
    each = table[largest].num_bytes / largest if largest else bytes_of_run(cell, micro_batch)
    sequences = min(micro_batch or cell.batch_sequences, cell.batch_sequences)
    return max(1, min(LARGEST_PACK, LARGEST_GRID // sequences, int(min(MEMORY_SHARE * free_bytes / each, LARGEST_PACK))))


def even_pack(num_alike: int, workers: int, most: int) -> int:
    """Runs of each pack where so many alike are divided among workers as evenly as packs of at most `most` allow."""
    rounds = math.ceil(num_alike / (workers * most))
    return math.ceil(num_alike / (workers * rounds))


def best_pack(table: PackTable, num_alike: int, workers: int, most: int) -> int:
    """The smallest even pack with which so many runs take, on so many workers, no more than 5 % longer than with the best one.

    Without times of two sizes it is the largest.
    """
    sizes = sorted({even_pack(num_alike, workers, limit) for limit in range(1, most + 1)})
    if len(times := _times(table)) < 2:
        return sizes[-1]
    took = {size: math.ceil(num_alike / (workers * size)) * _seconds(times, size) for size in sizes}
    return next(size for size in sizes if took[size] <= GAIN * min(took.values()))


def _times(table: PackTable) -> dict[int, float]:
    return {runs: taken.seconds for runs, taken in sorted(table.items()) if taken.seconds is not None}


def _seconds(times: Mapping[int, float], runs: int) -> float:
    """Of a step of so many runs, on lines through the sizes that were measured; never less than the smallest of them takes."""
    known = sorted(times)
    above = next((i for i in range(1, len(known)) if known[i] >= runs), len(known) - 1)
    low, high = known[above - 1], known[above]
    slope = max(0.0, (times[high] - times[low]) / (high - low))
    return max(times[known[0]], times[low] + slope * (runs - low))


def sizes_to_try(table: PackTable, largest: int) -> list[int]:
    """Packs whose times are lacking for a choice up to `largest`: a run alone, and the largest or one of half its runs."""
    times = _times(table)
    has_large = any(2 * runs >= largest and runs > 1 for runs in times)
    return [runs for runs, is_known in ((1, 1 in times), (largest, has_large)) if not is_known]


def trial_seconds(cell: Cell, runs: int, table: PackTable, start_seconds: float) -> float:
    """What a trial of so many runs will take."""
    return start_seconds + TRIAL_STEPS * step_seconds(cell, runs, table)


def most_sizing_seconds(cells: Collection[Cell], table: PackTable, runs: int) -> float:
    """What may be spent on the size of packs of these cells: a share of the time of their training, one pack a length.

    Args:
        cells: of one kind, to be trained; of those that can be stepped together one.
        table: what is known of the kind.
        runs: of a pack.
    """
    return SIZING_SHARE * sum(cell.steps * step_seconds(cell, runs, table) for cell in cells)


def step_seconds(cell: Cell, runs: int, table: PackTable) -> float:
    """Of a step of so many runs, by the estimate for a GPU, scaled to what was measured where something was."""

    def estimate(number: int) -> float:
        return estimated_seconds_per_step(dataclasses.replace(cell, batch_sequences=number * cell.batch_sequences))

    times = _times(table)
    if not times:
        return estimate(runs)
    nearest = min(times, key=lambda known: abs(math.log(known / runs)))
    return estimate(runs) * times[nearest] / estimate(nearest)
