"""The validation loss where memory is short."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.settings import Settings
from scalesweep.train.device import prepare_device
from scalesweep.train.evaluate import evaluate
from scalesweep.train.gradient import autocast_of
from scalesweep.train.model.module import build_model

CPU = prepare_device("cpu")


def test_windows_that_do_not_fit_are_evaluated_in_halves(
    settings: Settings, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = dataclasses.replace(make_plan(settings, facts, "cpu").cells[0])
    model, sizes, parts = build_model([cell]), list[int](), list[int]()
    windows = np.random.default_rng(0).integers(0, 200, (13, cell.shape.context + 1)).astype(np.int64)
    whole = evaluate(model, windows, autocast_of(cell, CPU))
    losses = type(model).losses

    def with_little_memory(self: Any, windows_RBT: torch.Tensor) -> torch.Tensor:
        sizes.append(windows_RBT.shape[1])
        if sizes[-1] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return losses(self, windows_RBT)

    monkeypatch.setattr(type(model), "losses", with_little_memory)
    found = evaluate(model, windows, autocast_of(cell, CPU), lambda: parts.append(sizes[-1]))
    assert found == [pytest.approx(whole[0], rel=1e-6)]
    assert math.isfinite(found[0][0])
    assert (sizes, parts) == ([13, 7, 4, 3, 6, 3, 3], [4, 3, 3, 3])


def test_a_window_that_does_not_fit_alone_is_an_error(
    settings: Settings, facts: CorpusFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    cell = make_plan(settings, facts, "cpu").cells[0]
    model = build_model([cell])
    monkeypatch.setattr(type(model), "losses", refuse)
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(model, np.zeros((2, cell.shape.context + 1), np.int64), autocast_of(cell, CPU))
