"""torch's compiler: which models it is tried on, and for how long."""

import contextlib
from collections.abc import Iterator

from scalesweep.train.model.decoder import Decoder

COMPILED_PARAMS = 5_000_000
"""Models of so many parameters are compiled on CUDA; not measured, as no GPU was at hand."""


def is_worth_compiling(model: Decoder) -> bool:
    """Whether torch.compile gains more than it takes; packs and small models wait for it in vain."""
    return len(model.embedding) == 1 and sum(p.numel() for p in model.parameters()) >= COMPILED_PARAMS


@contextlib.contextmanager
def compiled_layers(model: Decoder) -> Iterator[None]:
    """Let torch.compile fuse what the layers do between their products, in what is called or captured inside.

    Not longer: every shape takes a place in the compiler's cache of a layer's code, and evaluation has shapes of its own.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    for layer in model.layers:
        layer.compile(dynamic=False)
    try:
        yield
    finally:
        for layer in model.layers:
            layer._compiled_call_impl = None
