"""Seconds of a training step on a GPU that nobody has asked: from counts, where no GPU can be measured.

    seconds = kernels LAUNCH + tokens (TRAFFIC depth width + LOGITS vocabulary) / BANDWIDTH + FLOPs / (SHARE ceiling)

FLOPs are those of the convention `attention`. It is for an H100 SXM, and for the plan alone: no record and no benchmark holds a
number of it. Against times that were modelled from counted kernels and bytes of a captured step of 4 layers, 8,192 tokens a run
and a vocabulary of 256 (width 64: .95 ms, 16 runs of it together 10.1 ms; width 256: 1.93 ms; width 800: 8.4 ms) it is within
a factor of 1.4. No GPU was at hand to measure one of them: take it as good to a factor of two.
"""

from collections.abc import Mapping

from scalesweep.plan.cell import Cell, Precision
from scalesweep.plan.flops import flops_per_token
from scalesweep.plan.plan import Plan
from scalesweep.units import format_share

GPU = "H100 SXM"
CEILING: Mapping[Precision, float] = {"bfloat16": 790e12, "float32": 54e12}
"""FLOP/s of large matrix products: four fifths of the datasheet's 989 (dense) and 67 TFLOP/s, as an assumption."""
BANDWIDTH = 3.35e12
"""Bytes per second of its memory, by the datasheet."""
SHARE = 0.6
"""Of the ceiling, that the products themselves reach; an assumption."""
KERNELS = 107
"""Of a captured step, for each layer: more than the 86 that are counted at a vocabulary of 8,192, and 79 at 256
(`scripts/bench_kernels.py`), as losses in parts and smaller depths have more."""
LAUNCH = 1.2e-6
"""Seconds of a small kernel in a CUDA graph; an assumption."""
TRAFFIC: Mapping[Precision, float] = {"bfloat16": 700, "float32": 1100}
"""Bytes for each token, layer and unit of width, of all that a step reads and writes; of bfloat16 autocast chosen so that the
formula meets the modelled times above, of float32 an assumption."""
LOGITS = 20
"""Bytes for each token and entry of the vocabulary: logits, their softmax and its gradient; an assumption."""


def estimated_seconds_per_step(cell: Cell) -> float:
    """Seconds of a step of one run, by the formula above; any model counts as the decoder of its width and depth."""
    shape, tokens = cell.shape, cell.batch_tokens
    traffic = tokens * (TRAFFIC[cell.precision] * shape.depth * shape.width + LOGITS * shape.vocab_size)
    flops = tokens * flops_per_token(shape, "attention")
    return KERNELS * shape.depth * LAUNCH + traffic / BANDWIDTH + flops / (SHARE * CEILING[cell.precision])


def estimated_share(plan: Plan) -> float:
    """Share of the ceiling that the estimate comes to over all steps of a plan, each cell as if it stood alone."""
    most = sum(c.tokens * flops_per_token(c.shape, "attention") / CEILING[c.precision] for c in plan.cells)
    return most / sum(c.steps * estimated_seconds_per_step(c) for c in plan.cells)


def describe_estimate(plan: Plan) -> str:
    """What the hours of a plan rest on where nothing was measured, in one sentence, and how to have better ones."""
    ceilings = " and ".join(f"{CEILING[p] / 1e12:.0f} TFLOP/s of {p}" for p in sorted({c.precision for c in plan.cells}))
    return (
        f"Estimated, not measured, as PyTorch sees no GPU here: from counted FLOPs, bytes and kernels of a step on one {GPU}, "
        f"{format_share(estimated_share(plan), 0)} of its ceiling of {ceilings}, runs one by one; good to a factor of two. "
        "`scalesweep plan` on the machine with the GPU measures."
    )
