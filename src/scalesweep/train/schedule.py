"""Learning-rate schedules as pure functions of the step."""

import math
from typing import Literal

from scalesweep.plan.cell import Cell


def lr_factor(step: int, cell: Cell) -> float:
    """Share of the peak learning rate that step 0, 1, ..., steps - 1 takes.

    Linear warm-up; then wsd: constant, and 1 - sqrt(x) over the decay (Haegele et al. 2024, section 3.2), or cosine to 0
    (Kaplan et al. 2020, section 2.2). Both would be 0 at the step after the last, so that no step is wasted.
    """
    if step < cell.warmup_steps:  # the first step has a rate as well, and the first one behind the warm-up has the peak
        return (step + 1) / (cell.warmup_steps + 1)
    start = cell.steps - cell.decay_steps
    if step < start:
        return 1.0
    progress = (step - start) / cell.decay_steps
    return 1.0 - math.sqrt(progress) if cell.schedule == "wsd" else 0.5 * (1.0 + math.cos(math.pi * progress))


def phase(step: int, cell: Cell) -> Literal["warmup", "constant", "decay"]:
    """The part of the schedule that the last of `step` finished steps belongs to; what follows a cosine's warm-up is decay."""
    if step <= cell.warmup_steps:
        return "warmup"
    return "constant" if step <= cell.branch_step else "decay"


def curve_steps(steps: int, per_decade: int) -> list[int]:
    """Log-spaced counts of finished steps at which the loss curve has a point; the last one is `steps`.

    The others do not depend on `steps`, so that a branch continues the curve of its trunk.
    """
    last = math.ceil(per_decade * math.log10(steps))
    spaced = {round(10 ** (i / per_decade)) for i in range(last + 1)}
    return sorted({s for s in spaced if s < steps} | {steps})
