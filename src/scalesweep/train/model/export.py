"""A trained decoder as a directory that `transformers.AutoModelForCausalLM.from_pretrained` opens, with equal logits.

With QK-norm the layout is that of Qwen3, without it that of Llama: half-split rotary embedding, no biases, untied head. The
factor of the residual branches is folded into the last matrix of each branch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from scalesweep.files import sibling
from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import DecoderShape, ModuleShape
from scalesweep.train.model.decoder import NORM_EPS
from scalesweep.train.model.module import Model, build_model, loaded_module


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write one run's parameters, by name and without a run axis, as safetensors; a reader sees all of the file or none."""
    content = save({name: w.detach().cpu().contiguous() for name, w in weights.items()}, metadata={"format": "pt"})
    with sibling(path, content) as temporary:
        temporary.replace(path)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Inverse of `save_weights`, on CPU."""
    return load_file(path)


def load_model(cell: Cell, weights: Path) -> Model:
    """The trained model of a cell by its kept weights, on CPU.

    Raises:
        KeyError: a parameter is not among the weights.
        RuntimeError: one has another shape.
    """
    return model_with(cell, load_weights(weights))


@torch.no_grad()
def model_with(cell: Cell, weights: Mapping[str, Tensor]) -> Model:
    """The model of a cell with one run's parameters, by name and without a run axis, on CPU.

    Raises:
        KeyError: a parameter is not among the weights.
        RuntimeError: one has another shape.
    """
    model = build_model([cell])
    for name, parameter in model.named_parameters():
        parameter[0].copy_(weights[name])
    return model


def export_model(weights: Mapping[str, Tensor], cell: Cell, directory: Path, eod_id: int | None) -> None:
    """Write config.json, generation_config.json and model.safetensors to `directory`.

    Args:
        weights: parameters of the trained model by name, without a run axis.
        cell: what was trained.
        directory: where to write; made if it is not there.
        eod_id: id that ends a document, at which `generate` stops; None where there is none.
    """
    from transformers import GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()  # of a write that takes a second
    if isinstance(cell.shape, ModuleShape):
        model = loaded_module(cell.shape, weights)
        model.config.eos_token_id = model.config.pad_token_id = eod_id
    else:
        model = transformers_model(cell, cell.shape, eod_id)
        model.load_state_dict(transformers_weights(weights, cell), strict=True)
    model.generation_config = GenerationConfig(eos_token_id=eod_id, pad_token_id=eod_id)
    model.save_pretrained(directory)


def transformers_model(cell: Cell, shape: DecoderShape, eod_id: int | None) -> Any:
    """A model of `transformers` with the cell's dimensions, in float32, not yet with its weights."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    config_class, model_class = (Qwen3Config, Qwen3ForCausalLM) if shape.qk_norm else (LlamaConfig, LlamaForCausalLM)
    config = config_class(
        vocab_size=shape.vocab_size,
        hidden_size=shape.width,
        intermediate_size=shape.ffn_width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_heads,
        head_dim=shape.head_dim,
        hidden_act="silu",
        max_position_embeddings=shape.context,
        rms_norm_eps=NORM_EPS,
        rope_parameters={"rope_type": "default", "rope_theta": cell.rope_theta},
        attention_bias=False,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=eod_id,
        pad_token_id=eod_id,
        dtype="float32",
    )
    return model_class(config).eval()


def transformers_weights(weights: Mapping[str, Tensor], cell: Cell) -> dict[str, Tensor]:
    """The decoder's parameters under the names of Llama and Qwen3, the residual scale folded in."""
    named = {
        "model.embed_tokens.weight": weights["embedding"],
        "model.norm.weight": weights["norm"],
        "lm_head.weight": weights["head"],
    }
    for i in range(cell.shape.depth):
        for name, weight in _layer(weights, f"layers.{i}.", cell.residual_scale).items():
            named[f"model.layers.{i}.{name}.weight"] = weight
    return named


def _layer(weights: Mapping[str, Tensor], prefix: str, residual_scale: float) -> dict[str, Tensor]:
    q, k, v = weights[prefix + "qkv"].chunk(3)
    gate, up = weights[prefix + "gate_up"].chunk(2)
    named = {
        "input_layernorm": weights[prefix + "attn_norm"],
        "self_attn.q_proj": q,
        "self_attn.k_proj": k,
        "self_attn.v_proj": v,
        "self_attn.o_proj": residual_scale * weights[prefix + "attn_out"],
        "post_attention_layernorm": weights[prefix + "ffn_norm"],
        "mlp.gate_proj": gate,
        "mlp.up_proj": up,
        "mlp.down_proj": residual_scale * weights[prefix + "down"],
    }
    if prefix + "qk_norm" in weights:
        named["self_attn.q_norm"], named["self_attn.k_norm"] = weights[prefix + "qk_norm"].unbind()
    return {name: weight.to(torch.float32) for name, weight in named.items()}
