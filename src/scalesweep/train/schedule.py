"""Learning-rate schedules as pure functions of the step."""

import math

from scalesweep.plan import Cell


def lr_factor(step: int, cell: Cell) -> float:
    """Share of the peak learning rate that step 0, 1, ..., steps - 1 takes.

    Linear warm-up; then wsd: constant, and 1 - sqrt(x) over the decay (Haegele et al. 2024, section 3.2), or cosine to 0.
    """
    if step < cell.warmup_steps:
        return (step + 1) / (cell.warmup_steps + 1)
    start = cell.steps - cell.decay_steps
    if step < start:
        return 1.0
    progress = (step - start) / cell.decay_steps
    return 1.0 - math.sqrt(progress) if cell.schedule == "wsd" else 0.5 * (1.0 + math.cos(math.pi * progress))


def curve_steps(steps: int, num_points: int) -> list[int]:
    """Log-spaced counts of finished steps at which the loss curve has a point; the last one is `steps`."""
    spaced = {max(1, round(steps ** (i / (num_points - 1)))) for i in range(num_points)}
    return sorted(spaced | {steps})
