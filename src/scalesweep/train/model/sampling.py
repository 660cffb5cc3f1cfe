"""Ancestral sampling of a decoder: many streams at once, in windows as in training, in float32."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from scalesweep.arrays import IntArray
from scalesweep.train.model.decoder import Decoder, Layer, embed, linear, rms_norm

Past = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, shape (S, heads, T, K): S streams, of which the places so far are filled."""


@torch.inference_mode()
def sample(model: Decoder, starts: IntArray, windows: int, temperature: float, seed: int) -> NDArray[np.int64]:
    """Streams of tokens that the model writes.

    A stream is cut into windows of T + 1 tokens at stride T, as a training stream is (`train.data.batches`), and every token is
    drawn given the inputs of its own window alone: the first target of a window given the last one of the window before. So a
    model that visits these windows sees each target given exactly what it was drawn from, and the conditional entropy of the
    sampler is the lowest loss on them.

    Args:
        model: one run (R = 1), on any device.
        starts: first token of each stream, shape (S,).
        windows: of each stream.
        temperature: by which logits are divided before the softmax.
        seed: of numpy's PCG64, which draws one uniform number a token whatever the device.

    Returns:
        Shape (S, windows * T), the starts included. The last target of the last window is left to what follows the stream.
    """
    T, device = model.shape.context, model.embedding.device
    kept = (len(starts), model.shape.num_heads, T, model.shape.head_dim)
    past = [(torch.empty(kept, device=device), torch.empty(kept, device=device)) for _ in model.layers]
    random = np.random.Generator(np.random.PCG64(seed))
    tokens = np.empty((len(starts), windows * T), dtype=np.int64)
    tokens[:, 0] = starts
    for place in range(windows * T - 1):
        logits = _next_logits(model, torch.from_numpy(tokens[:, place].copy()).to(device), place % T, past)
        tokens[:, place + 1] = draw(logits, random.random(len(starts)), temperature).cpu().numpy()
    return tokens


def draw(logits_SV: Tensor, uniform_S: NDArray[np.float64], temperature: float) -> Tensor:
    """Ids of shape (S,), distributed as softmax(logits / temperature): the inverse of its sum, in float64, at a uniform number.

    As the temperature goes to 0 this is the largest logit.
    """
    logits_SV = logits_SV.double()
    weights_SV = ((logits_SV - logits_SV.amax(-1, keepdim=True)) / temperature).exp()  # the largest is 1, whatever overflows
    sums_SV = weights_SV.cumsum(-1)
    wanted_S1 = torch.from_numpy(uniform_S).to(sums_SV.device)[:, None] * sums_SV[:, -1:]
    # To the right of equal sums, which belong to ids of weight 0.
    return torch.searchsorted(sums_SV, wanted_S1, right=True).squeeze(-1).clamp(max=sums_SV.shape[-1] - 1)


def _next_logits(model: Decoder, tokens_S: Tensor, place: int, past: Past) -> Tensor:
    """Logits of shape (S, V) after the token at `place` of a window; its keys and values are put into `past`."""
    S, D = len(tokens_S), model.shape.width
    cos_1K, sin_1K = (model.get_buffer(name)[place : place + 1] for name in ("cos_TK", "sin_TK"))
    x_RSTD = embed(tokens_S.view(1, S, 1), model.embedding)
    for layer, (keys, values) in zip(model.layers, past, strict=True):
        assert isinstance(layer, Layer)
        q, k, v = layer.heads(rms_norm(x_RSTD, layer.attn_norm), cos_1K, sin_1K, layer.matrices)
        keys[:, :, place], values[:, :, place] = k.squeeze(2), v.squeeze(2)
        y = F.scaled_dot_product_attention(q, keys[:, :, : place + 1], values[:, :, : place + 1])
        attended = linear(y.transpose(1, 2).reshape(1, S, 1, D), layer.attn_out)
        x_RSTD = layer.after(x_RSTD, attended, layer.matrices)
    return linear(rms_norm(x_RSTD, model.norm), model.head).view(S, -1)
