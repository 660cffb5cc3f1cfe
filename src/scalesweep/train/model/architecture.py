"""Any causal language model of `transformers`, scaled to a width and a depth, and counted without making its weights.

The configuration is the architecture's default one with width, depth, heads, vocabulary and context replaced, dropout off, and
the settings of `model.config` on top. Its names differ between architectures; `attribute_map` of each translates.
"""

import contextlib
import functools
import inspect
import json
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from scalesweep.errors import SpecError, did_you_mean
from scalesweep.plan.flops import ModuleCounts, ModuleShape, ParamGroups, attention_flops_per_token
from scalesweep.settings.plan import ArchitectureSpec

FORMULA_TOLERANCE = 0.01
"""Relative difference to the counter up to which FLOPs are said by the formula; rotary tables are products too. A
judgement."""
_FFN_WIDTHS = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
"""What configs call the hidden width of the feed-forward block."""
_OWNERS = {
    "hidden_size": "a size's width: use sweep.sizes",
    "num_hidden_layers": "a size's depth: use recipe.depth, or a width and a depth in sweep.sizes",
    "vocab_size": "the tokenizer's: use data.tokenizer",
    "max_position_embeddings": "the context: use model.context",
    "num_attention_heads": "set for every width: use recipe.head_dim",
    "head_dim": "set for every width: use recipe.head_dim",
    **{name: "set for every width: use model.ffn_ratio" for name in _FFN_WIDTHS},
}
"""What a size, its recipe and the corpus decide of a config, by the library's common names -> which setting does."""
_DROPOUT = ("dropout", "_pdrop")
_NO_MATRICES = ("A_log",)
"""Parameters that have two axes and that no token is multiplied with: the states of Mamba."""
ParameterGroup = Literal["matrices", "head", "tied", "embedding", "norms"]
"""Layers' matrices; output head; the same tied to the embedding; other tables; gains, biases and the like."""


def scaled_shape(spec: ArchitectureSpec, width: int, depth: int, head_dim: int, vocab_size: int) -> ModuleShape:
    """The architecture at a width and a depth, with its parameters and FLOPs counted on torch's meta device.

    Raises:
        SpecError: there is no such architecture or setting, or it cannot be scaled so.
    """
    return _scaled_shape(spec.model_dump_json(), width, depth, head_dim, vocab_size)


@functools.cache
def _scaled_shape(spec_json: str, width: int, depth: int, head_dim: int, vocab_size: int) -> ModuleShape:
    spec = ArchitectureSpec.model_validate_json(spec_json)
    where = f"model.architecture = {spec.architecture!r} at width {width}, depth {depth}"
    try:
        config = _scaled_config(spec, width, depth, head_dim, vocab_size)
        with quiet():
            with torch.device("meta"):
                module = build_module(config, attention="eager")
            groups = count_groups(module)
            flops, by = count_flops(module, groups, width, depth, spec.context)
    except SpecError:
        raise
    except Exception as error:  # whatever the library raises for a configuration that does not fit together
        said = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise SpecError(f"{where} cannot be built: {said}; change model.config, or take another architecture.") from None
    counts = ModuleCounts(groups, flops, by)
    return ModuleShape(spec.architecture, width, depth, vocab_size, spec.context, config_json(config), counts)


def config_json(config: Any) -> str:
    """What of the configuration determines the model, as JSON with sorted keys: all that is not said of every model alike."""
    from transformers import PretrainedConfig

    common = PretrainedConfig().to_dict()
    content = {k: v for k, v in config.to_dict().items() if k not in common or k in ("model_type", "tie_word_embeddings")}
    return json.dumps(content, sort_keys=True)


def config_from_json(text: str) -> Any:
    """Inverse of `config_json`."""
    from transformers import CONFIG_MAPPING

    content = json.loads(text)
    return CONFIG_MAPPING[content.pop("model_type")](**content)


def build_module(config: Any, attention: str | None = None) -> nn.Module:
    """The model with random weights from torch's generator, in float32, in evaluation mode (there is no dropout)."""
    from transformers import AutoModelForCausalLM

    options = {} if attention is None else {"attn_implementation": attention}
    module: nn.Module = AutoModelForCausalLM.from_config(config, dtype=torch.float32, **options)
    return module.eval()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the library's advice on faster kernels."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


@contextlib.contextmanager
def one_sequence_a_row() -> Iterator[None]:
    """Let the library take each row for one sequence, as it is, without looking for several.

    It looks in every forward pass, which waits for the device. In a capture, where it cannot look, it takes masks of T x T
    entries, and with them slower kernels, in place of causal attention.
    """
    from transformers import masking_utils

    look = getattr(masking_utils, "find_packed_sequence_indices", None)
    if look is None:  # of a version that does not look
        yield
        return
    masking_utils.find_packed_sequence_indices = lambda position_ids: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = look


def _scaled_config(spec: ArchitectureSpec, width: int, depth: int, head_dim: int, vocab_size: int) -> Any:
    """The default configuration with the dimensions replaced."""
    config_class = _config_class(spec.architecture)
    names, accepted = config_class.attribute_map, set(inspect.signature(config_class.__init__).parameters)
    default = config_class()

    def takes(name: str) -> bool:
        return names.get(name, name) in accepted

    for name, what in (("hidden_size", "width"), ("num_hidden_layers", "depth"), ("vocab_size", "vocabulary")):
        if not takes(name):
            raise SpecError(f"model.architecture = {spec.architecture!r} cannot be scaled: its config has no {name} ({what}).")
    values: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": depth, "vocab_size": vocab_size}
    values |= {name: 0.0 for name in accepted if name.endswith(_DROPOUT) and not name.startswith("summary")}
    values |= {name: None for name in ("pad_token_id", "bos_token_id", "eos_token_id") if name in accepted}
    if takes("max_position_embeddings"):
        values["max_position_embeddings"] = spec.context
    if takes("num_attention_heads"):
        values |= _heads(default, width, head_dim, takes)
    values |= _ffn_width(spec, default, width, takes)
    values = {names.get(name, name): value for name, value in values.items()}
    owners = _OWNERS | {names[name]: owner for name, owner in _OWNERS.items() if name in names}
    for name in spec.config:
        if name in owners or name.endswith(_DROPOUT):
            owner = owners.get(name, "0, as every model is trained without dropout")
            raise SpecError(f"model.config.{name} is {owner}; leave it out of model.config.")
        if name not in accepted:
            raise SpecError(f"model.config.{name} is not a setting of {config_class.__name__}{did_you_mean(name, accepted)}.")
    config = config_class(**{**values, **spec.config})
    if any((getattr(config, name, None) or 0) > 1 for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        raise SpecError(
            f"model.architecture = {spec.architecture!r} is a mixture of experts: not every token is multiplied with every "
            "matrix, so that its N and C do not mean what they mean elsewhere; take a dense architecture."
        )
    return config


def _ffn_width(spec: ArchitectureSpec, default: Any, width: int, takes: Any) -> dict[str, int]:
    """The feed-forward width in the ratio that is asked for, else in that of the default config where it states one."""
    name = next((name for name in _FFN_WIDTHS if takes(name)), None)
    stated = None if name is None else getattr(default, name)
    if name is None and spec.ffn_ratio is not None:
        raise SpecError(
            f"model.ffn_ratio = {spec.ffn_ratio:g}: the config of {spec.architecture} has no {' or '.join(_FFN_WIDTHS)}; "
            "leave it null, or use a setting of model.config."
        )
    ratio = spec.ffn_ratio or (stated / default.hidden_size if stated else None)
    return {name: 8 * max(1, round(ratio * width / 8))} if name is not None and ratio else {}


def _heads(default: Any, width: int, head_dim: int, takes: Any) -> dict[str, int]:
    """Heads of queries, and of keys and values in the architecture's ratio; each `head_dim` wide."""
    heads = width // head_dim
    values = {"num_attention_heads": heads}
    of_keys = getattr(default, "num_key_value_heads", None)
    if takes("num_key_value_heads") and of_keys:
        few = max(1, round(heads * of_keys / default.num_attention_heads))
        values["num_key_value_heads"] = next(n for n in range(few, heads + 1) if heads % n == 0)
    if takes("head_dim"):
        values["head_dim"] = head_dim
    return values


def _config_class(architecture: str) -> Any:
    classes = architectures()
    if architecture not in classes:
        alike = {name.lower(): name for name in classes}
        hint = did_you_mean(alike.get(architecture.lower(), architecture), classes)
        raise SpecError(
            f"model.architecture = {architecture!r} is not a causal language model of transformers{hint}; "
            "examples: GPT2, GPTNeoX, Llama, Qwen3, Mamba."
        )
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[classes[architecture]]


@functools.cache
def architectures() -> dict[str, str]:
    """Names of architectures (a config class without the word Config) and what `transformers` calls their type."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    return {CONFIG_MAPPING_NAMES[kind].removesuffix("Config"): kind for kind in CAUSAL if kind in CONFIG_MAPPING_NAMES}


def parameter_groups(module: nn.Module) -> dict[str, ParameterGroup]:
    """The group of every parameter by name; one that is tied to another has one name."""
    output: Any = module.get_output_embeddings()  # type: ignore[operator]
    head = None if output is None else output.weight
    tables = [m.weight for m in module.modules() if isinstance(m, nn.Embedding)]

    def group(name: str, parameter: nn.Parameter) -> ParameterGroup:
        is_table = any(parameter is table for table in tables)
        if parameter is head:
            return "tied" if is_table else "head"
        if is_table:
            return "embedding"
        is_matrix = parameter.dim() >= 2 and parameter.shape[0] > 1 and not name.endswith(_NO_MATRICES)
        return "matrices" if is_matrix else "norms"

    return {name: group(name, parameter) for name, parameter in module.named_parameters()}


def count_groups(module: nn.Module) -> ParamGroups:
    """Parameters of each group; a head that is tied to the embedding counts as head, as it is multiplied with."""
    sizes = {"embedding": 0, "head": 0, "matrices": 0, "norms": 0}
    groups = parameter_groups(module)
    for name, parameter in module.named_parameters():
        sizes["head" if groups[name] == "tied" else groups[name]] += parameter.numel()
    return ParamGroups(**sizes)


def count_flops(
    module: nn.Module, groups: ParamGroups, width: int, depth: int, context: int
) -> tuple[float, Literal["formula", "counter"]]:
    """Training FLOPs per token, and how they were found.

    `FlopCounterMode` sees every product of a forward pass of one sequence, on the meta device; training is three times that (of
    the backward pass it would count depthwise convolutions as if they were dense). Where a model with attention heads agrees
    with 6 N_matmul + 12 depth d T, the formula's value is taken, so that C means the same as of the decoder. Element-wise work,
    such as the recurrence of a state-space model, is counted by neither.

    Raises:
        ValueError: the counter does not see every matrix used for every token.
    """
    arguments = {"input_ids": torch.zeros((1, context), dtype=torch.long, device="meta")}
    has_heads = hasattr(module.config, "num_attention_heads")
    if has_heads:  # without a mask, the values of positions are looked at, which meta tensors do not have
        arguments["attention_mask"] = torch.ones_like(arguments["input_ids"])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(**arguments, use_cache=False)
    counted = 3.0 * counter.get_total_flops() / context
    least = 6.0 * (groups.matrices + groups.head)
    if counted < 0.9 * least:
        raise ValueError(
            f"of the {least:.3g} FLOPs per token that its matrices take where every token is multiplied with each, torch's "
            f"counter sees {counted:.3g}"
        )
    formula = attention_flops_per_token(groups.matrices + groups.head, depth, width, context)
    agrees = has_heads and abs(counted / formula - 1) <= FORMULA_TOLERANCE
    return (formula, "formula") if agrees else (counted, "counter")
