import dataclasses
import math

import pytest
import torch
from builders import cell_of
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scalesweep.plan.flops import (
    DecoderShape,
    attention_flops_per_token,
    count_params,
    flops_per_token,
    num_params,
    optimizer_flops_per_step,
)
from scalesweep.settings.plan import CountSpec
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.optim.muon import Muon

shapes = st.builds(
    lambda heads, head_dim, depth, ffn, vocab, context, qk_norm: DecoderShape(
        heads * 2 * head_dim, depth, heads, 8 * ffn, vocab, context, qk_norm
    ),
    st.integers(1, 4),
    st.integers(1, 8),
    st.integers(1, 3),
    st.integers(1, 8),
    st.integers(2, 300),
    st.integers(2, 40),
    st.booleans(),
)


@given(shapes)
def test_params_equal_the_module(shape: DecoderShape) -> None:
    model = Decoder(shape, [0], 1e4, 0.2)
    groups = count_params(shape)
    assert groups.total == sum(p.numel() for p in model.parameters())
    assert groups.embedding == model.embedding.numel()
    assert groups.head == model.head.numel()
    assert groups.norms == sum(p.numel() for name, p in model.named_parameters() if name.endswith("norm"))
    assert num_params(shape, "total") == groups.total
    assert num_params(shape, "with_head") == groups.total - groups.embedding
    assert num_params(shape, "non_embedding") == groups.total - groups.embedding - groups.head
    assert num_params(shape, "matmul") == groups.total - groups.embedding - groups.norms


@pytest.mark.parametrize(
    "shape",
    [
        DecoderShape(64, 2, 4, 176, 257, 64, True),
        DecoderShape(128, 4, 4, 344, 512, 128, True),
        DecoderShape(32, 1, 1, 88, 100, 16, False),
    ],
)
def test_attention_flops_equal_the_flop_counter(shape: DecoderShape) -> None:
    model = Decoder(shape, [0], 1e4, 0.2)
    windows = torch.zeros(1, 3, shape.context + 1, dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.losses(windows).sum().backward()
    assert counter.get_total_flops() == flops_per_token(shape, "attention") * 3 * shape.context


@pytest.mark.parametrize(
    ("matmul_params", "depth", "width", "context", "expected"),
    [(116_736, 2, 64, 64, 798_720), (811_008, 4, 128, 128, 5_652_480), (811_008, 4, 128, 512, 8_011_776)],
)
def test_attention_flops_of_published_shapes(matmul_params: int, depth: int, width: int, context: int, expected: int) -> None:
    assert attention_flops_per_token(matmul_params, depth, width, context) == expected


def test_conventions_of_a_shape_worked_by_hand() -> None:
    shape = DecoderShape(width=4, depth=1, num_heads=2, ffn_width=8, vocab_size=10, context=3, qk_norm=False)
    matrices = 4 * 16 + 3 * 4 * 8
    assert num_params(shape, "matmul") == matrices + 40
    assert flops_per_token(shape, "kaplan") == 6 * matrices
    assert flops_per_token(shape, "six_n", "total") == 6 * (matrices + 80 + 12)
    assert flops_per_token(shape, "attention") == 6 * (matrices + 40) + 12 * 4 * 3
    forward = 2 * 10 * 4 + 2 * 3 * 16 + 2 * 3 * 4 + 3 * 2 * 3 + 2 * 3 * 4 + 2 * 16 + 2 * 3 * 4 * 8 + 2 * 4 * 10
    assert flops_per_token(shape, "chinchilla") == pytest.approx(3 * forward)


@given(shapes)
def test_chinchilla_counts_the_embedding_and_little_else_more(shape: DecoderShape) -> None:
    embedding = 6 * shape.vocab_size * shape.width
    softmax = 9 * shape.num_heads * shape.context * shape.depth
    expected = flops_per_token(shape, "attention") + embedding + softmax
    assert math.isclose(flops_per_token(shape, "chinchilla"), expected)


@pytest.mark.parametrize("shape", [DecoderShape(32, 2, 2, 88, 100, 16, True), DecoderShape(48, 1, 3, 24, 64, 16, False)])
def test_flops_of_muon_equal_the_counter_on_its_step(shape: DecoderShape) -> None:
    cell = dataclasses.replace(cell_of("completep"), optimizer="muon", momentum=0.95)
    model = Decoder(shape, [0], 1e4, 0.2)
    windows = torch.zeros(1, 3, shape.context + 1, dtype=torch.long)
    model.losses(windows).sum().backward()
    optimizer = Muon(model, [cell])
    assert cell.row(CountSpec())["c_optimizer"] == cell.steps * optimizer_flops_per_step(cell.shape, "muon")
    with FlopCounterMode(display=False) as counter:
        optimizer.step([1.0])
    assert counter.get_total_flops() == optimizer_flops_per_step(shape, "muon")


def test_an_optimizer_without_products_costs_none_and_an_unknown_one_is_not_guessed() -> None:
    shape = DecoderShape(32, 2, 2, 88, 100, 16, True)
    assert optimizer_flops_per_step(shape, "adamw") == 0
    assert optimizer_flops_per_step(shape, "custom") is None
