"""Losses in bits per byte beside nats per token, so that tokenizers compare."""

import math

import numpy as np

from scalesweep.points.points import Points

_STEADY = 0.01
"""Relative spread of bytes per token up to which a loss has one value in bits per byte."""


def bits_per_byte(points: Points) -> float | None:
    """What a loss in nats, per token or per byte, is multiplied by; None where a token's bytes are not one known number."""
    used = points.used
    if points.metric.name == "nats_per_byte":
        return 1 / math.log(2)
    if points.metric.name != "nats_per_token" or "bytes_per_token" not in used:
        return None
    known = used["bytes_per_token"].to_numpy(dtype=np.float64)
    if not len(known) or not np.isfinite(known).all() or known.max() > (1 + _STEADY) * known.min():
        return None
    return 1 / (float(known.mean()) * math.log(2))
