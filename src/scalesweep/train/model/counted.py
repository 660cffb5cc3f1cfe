"""Training FLOPs of the decoder as torch counts them, beside the formula of `plan.flops` by which every C is stated."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scalesweep.plan.flops import DecoderShape
from scalesweep.train.model.decoder import Decoder


def counted_flops_per_token(shape: DecoderShape) -> float:
    """FLOPs per token of one forward and backward pass, by `FlopCounterMode` on one window of the model itself.

    Attention is counted as its two products over the whole window (no causal halving), as by the convention `attention`; the
    fused kernels of a CPU the counter does not see.
    """
    model = Decoder(shape, [0], 1e4, 0.2)
    window = torch.zeros(1, 1, shape.context + 1, dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.losses(window).sum().backward()
    return counter.get_total_flops() / shape.context
