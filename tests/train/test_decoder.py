import contextlib

import pytest
import torch

from scalesweep.plan.flops import DecoderShape
from scalesweep.train.model import decoder
from scalesweep.train.model.decoder import Decoder, Lookup

SHAPE = DecoderShape(width=32, depth=2, num_heads=2, ffn_width=48, vocab_size=50, context=16, qk_norm=True)


def make(seeds: list[int], shape: DecoderShape = SHAPE) -> Decoder:
    """A decoder whose head and projections are not at their initial zero."""
    model = Decoder(shape, seeds, 1e4, 1.0)
    for run, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed + 100)
        for parameter in model.parameters():
            parameter.data[run] += 0.1 * torch.randn(parameter.shape[1:], generator=generator)
    return model


def windows(runs: int, sequences: int = 3) -> torch.Tensor:
    return torch.randint(50, (runs, sequences, SHAPE.context + 1), generator=torch.Generator().manual_seed(0))


def test_the_first_loss_is_that_of_a_uniform_guess() -> None:
    loss = Decoder(SHAPE, [0], 1e4, 1.0).losses(windows(1)).mean().item()
    assert loss == pytest.approx(torch.log(torch.tensor(50.0)).item(), abs=1e-5)


def test_no_token_sees_a_later_one() -> None:
    model, tokens = make([0]), windows(1)[..., :-1]
    changed = tokens.clone()
    changed[..., 9] = (changed[..., 9] + 1) % 50
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :, :9], after[:, :, :9])
    assert not torch.allclose(before[:, :, 9:], after[:, :, 9:])


def test_the_order_of_earlier_tokens_matters() -> None:
    model, tokens = make([0]), windows(1)[..., :-1]
    swapped = tokens.clone()
    swapped[..., [2, 5]] = tokens[..., [5, 2]]
    assert not torch.allclose(model(tokens)[..., -1, :], model(swapped)[..., -1, :], atol=1e-4)


@pytest.mark.parametrize("qk_norm", [True, False])
def test_runs_stepped_together_equal_runs_alone(qk_norm: bool) -> None:
    shape = DecoderShape(32, 2, 2, 48, 50, 16, qk_norm)
    together, tokens = make([3, 4, 5], shape), windows(3)
    together.losses(tokens).mean(-1).sum().backward()
    for run, seed in enumerate([3, 4, 5]):
        alone = make([seed], shape)
        alone.losses(tokens[run : run + 1]).mean(-1).sum().backward()
        for (name, a), b in zip(alone.named_parameters(), together.parameters(), strict=True):
            assert torch.equal(a[0], b[run]), name
            assert a.grad is not None and b.grad is not None
            torch.testing.assert_close(a.grad[0], b.grad[run], rtol=1e-4, atol=1e-6, msg=name)


def test_the_gradient_is_the_derivative() -> None:
    torch.manual_seed(0)
    model = make([0]).double()
    tokens = windows(1)
    loss = model.losses(tokens).mean()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        direction = torch.randn_like(parameter)
        with torch.no_grad():
            values = []
            for sign in (1, -1):
                parameter += sign * 1e-4 * direction
                # cross-entropy is taken in float32 by design: compare at its resolution
                values.append(model.losses(tokens).double().mean().item())
                parameter -= sign * 1e-4 * direction
        numeric = (values[0] - values[1]) / 2e-4
        assert numeric == pytest.approx((parameter.grad * direction).sum().item(), rel=0.05, abs=3e-3), name


def test_attention_equals_the_formula() -> None:
    """One layer's attention against softmax(q k^T / sqrt(K)) v written out, with rotated and normalised queries and keys."""
    layer, model = make([0]).layers[0], make([0])
    x = torch.randn(1, 2, 16, 32, generator=torch.Generator().manual_seed(1))
    q, k, v = (x @ layer.qkv[0].T).view(2, 16, 3, 2, 16).unbind(2)
    angle = torch.arange(16)[:, None] * 1e4 ** (-torch.arange(8) / 8)

    def turned(y: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        y = y / (y.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * gain
        pairs = torch.complex(y[..., :8], y[..., 8:]) * torch.polar(torch.ones_like(angle), angle)[:, None]
        return torch.cat((pairs.real, pairs.imag), -1)

    q, k = turned(q, layer.qk_norm[0, 0]), turned(k, layer.qk_norm[0, 1])
    scores = torch.einsum("bqhk,bshk->bhqs", q, k) / 4
    scores = scores.masked_fill(torch.ones(16, 16).triu(1).bool(), -torch.inf).softmax(-1)
    expected = torch.einsum("bhqs,bshk->bqhk", scores, v).reshape(2, 16, 32) @ layer.attn_out[0].T
    torch.testing.assert_close(
        layer.attention(x, model.cos_TK, model.sin_TK, layer.matrices)[0], expected, rtol=1e-4, atol=1e-5
    )


def gradients(runs: int, precision: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The losses of a decoder and its gradients by name."""
    model = make(list(range(runs)))
    with torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext():
        losses = model.losses(windows(runs))
    losses.sum().backward()
    return losses.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize(("precision", "of_loss", "of_gradient"), [("float32", 1e-5, 1e-5), ("bfloat16", 1e-3, 2e-2)])
def test_what_a_gpu_takes_is_the_same_mathematics(
    runs: int, precision: str, of_loss: float, of_gradient: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, expected_by_name = gradients(runs, precision)
    monkeypatch.setattr(decoder, "is_on_gpu", lambda _: True)
    found, found_by_name = gradients(runs, precision)
    torch.testing.assert_close(found, expected, rtol=of_loss, atol=0.0)
    assert found_by_name.keys() == expected_by_name.keys()
    for name, gradient in found_by_name.items():
        assert gradient.dtype == torch.float32
        assert (gradient - expected_by_name[name]).norm() <= of_gradient * expected_by_name[name].norm(), name


@pytest.mark.parametrize("runs", [1, 3])
def test_a_product_adds_up_the_gradients_of_rows(runs: int) -> None:
    """Against additions one by one; tokens that do not come have none."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 40, (runs, 3, 16), generator=generator)
    table = torch.randn(runs, 50, 8, generator=generator, requires_grad=True)
    weights = torch.randn(runs, 3, 16, 8, generator=generator)
    rows = Lookup.apply(tokens, table)
    (rows * weights).sum().backward()
    expected = torch.zeros(runs, 50, 8)
    for run in range(runs):
        expected[run].index_add_(0, tokens[run].flatten(), weights[run].flatten(0, 1))
    assert torch.equal(rows, torch.stack([table[run][tokens[run]] for run in range(runs)]))
    assert table.grad is not None
    torch.testing.assert_close(table.grad, expected, rtol=1e-6, atol=1e-6)
