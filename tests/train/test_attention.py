"""The choice among torch's kernels of attention; on a GPU's stand-in it is made in tests/fakegpu."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.settings.settings import Settings
from scalesweep.train.attention import attend, enabled, preferred_attention, require_alike, timed
from scalesweep.train.gradient import Execution


def test_the_fastest_is_first_and_what_raises_is_left_out() -> None:
    seconds = {"slow": 3.0, "fast": 1.0, "middling": 2.0}

    def seconds_of(name: str) -> float:
        if name == "broken":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return seconds[name]

    assert list(timed(["slow", "broken", "fast", "middling"], seconds_of).items()) == sorted(
        seconds.items(), key=lambda pair: pair[1]
    )
    with pytest.raises(RuntimeError, match="no back end of attention takes this shape"):
        timed(["broken"], seconds_of)


def drawn(seed: int) -> list[Tensor]:
    """Queries, keys, values and a gradient of what comes out."""
    chance = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, 16, 8, generator=chance) for _ in range(4)]


def test_what_a_back_end_comes_to_is_held_to_the_formula() -> None:
    *inputs, upstream = drawn(0)
    q, k, v = (x.clone().requires_grad_() for x in inputs)
    scores = (q @ k.mT / math.sqrt(8)).masked_fill(torch.ones(16, 16).triu(1).bool(), -math.inf)
    y = scores.softmax(-1) @ v
    expected = [y.detach(), *torch.autograd.grad(y, (q, k, v), upstream)]
    for back_end in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
        require_alike(attend(inputs, upstream, back_end), expected)
    rounded = attend([x.bfloat16() for x in inputs], upstream.bfloat16(), SDPBackend.MATH)
    require_alike(rounded, expected)
    for i in range(4):
        wrong = [x if i != j else x.flip(-2) for j, x in enumerate(expected)]
        with pytest.raises(RuntimeError, match="comes to something else"):
            require_alike(wrong, expected)


def test_on_cpu_nothing_is_chosen(settings: Settings, facts: CorpusFacts) -> None:
    cell: Cell = make_plan(settings, facts, "cpu").cells[-1]
    before, notes = enabled(), list[str]()
    with preferred_attention([cell], Execution(torch.device("cpu")), notes.append):
        assert enabled() == before
    assert not notes
