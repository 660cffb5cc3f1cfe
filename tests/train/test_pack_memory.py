"""The formula for the memory of a run, against what a step in training keeps."""

import dataclasses
import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scalesweep.plan.cell import Cell, Precision
from scalesweep.plan.flops import DecoderShape, count_params
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.packs import STATE_BYTES, bytes_of_run
from scalesweep.plan.plan import make_plan
from scalesweep.settings.settings import Settings
from scalesweep.train.gradient import Execution, gradient_of
from scalesweep.train.model.module import build_model


class Live(TorchDispatchMode):
    """Bytes of the tensors that were made and are not gone, and the most of them."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage._cdata not in self.sizes:
                self.sizes[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.sizes.pop, storage._cdata, None)
                self.peak = max(self.peak, sum(self.sizes.values()))
        return out


def peak_of_gradient(cell: Cell, runs: int) -> int:
    cells = [dataclasses.replace(cell, seed=seed) for seed in range(runs)]
    gradient = gradient_of(build_model(cells), cells, Execution(torch.device("cpu")))
    windows = torch.randint(0, cell.shape.vocab_size, (runs, cell.batch_sequences, cell.shape.context + 1))
    with Live() as live:
        gradient(windows)
    return live.peak


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize(("width", "vocab_size"), [(128, 256), (32, 2048)])
def test_activations_are_those_of_the_formula(
    settings: Settings, facts: CorpusFacts, precision: Precision, width: int, vocab_size: int
) -> None:
    """Not less than counted, so that an estimate does not run out of memory, and not far more."""
    cell = make_plan(settings, facts, "cpu").cells[0]
    assert isinstance(cell.shape, DecoderShape)
    large = dataclasses.replace(cell.shape, width=width, num_heads=2, ffn_width=3 * width, depth=2, vocab_size=vocab_size)
    cell = dataclasses.replace(cell, shape=large, precision=precision, batch_sequences=16)
    counted = (peak_of_gradient(cell, 4) - peak_of_gradient(cell, 2)) / 2
    state = count_params(cell.shape).total
    assert 0.85 < (bytes_of_run(cell, None) - STATE_BYTES * state) / (counted - 6 * state) < 1.6
