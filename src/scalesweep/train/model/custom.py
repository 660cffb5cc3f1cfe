"""A model class of the user's own (model=custom), held to the contract of docs/own.md before anything is trained."""

import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scalesweep.errors import SpecError
from scalesweep.plan.flops import ModuleCounts, ModuleShape, attention_flops_per_token
from scalesweep.settings.plan import ArchitectureSpec, CustomSpec
from scalesweep.settings.trust import load_class, load_planned
from scalesweep.train.model.architecture import FORMULA_TOLERANCE, count_groups, scaled_shape

_SETTING = "model.target"
_BATCH = 2
"""Sequences of the trial."""
_TRIED: set[tuple[str, str]] = set()
"""What was held to the contract in this process: settings of the model, and the hash of its source."""
_CAUSAL = 1e-4
"""Most that a logit may change with a later token, as products of another content may be rounded elsewhere; a judgement."""


def scaled_model(spec: ArchitectureSpec | CustomSpec, width: int, depth: int, head_dim: int, vocab_size: int) -> ModuleShape:
    """The model of either kind at a width and a depth.

    Raises:
        SpecError: it cannot be scaled so.
    """
    scale: Any = scaled_custom if isinstance(spec, CustomSpec) else scaled_shape
    shape: ModuleShape = scale(spec, width, depth, head_dim, vocab_size)
    return shape


def scaled_custom(spec: CustomSpec, width: int, depth: int, head_dim: int, vocab_size: int) -> ModuleShape:
    """The model at a width and a depth, counted on torch's meta device; tried on the CPU at the first size that is asked for.

    Raises:
        SpecError: the module is not trusted, or the class breaks the contract.
    """
    _, source = load_class(spec.target, _SETTING)
    return _scaled_custom(spec.model_dump_json(), source, width, depth, head_dim, vocab_size)


@functools.cache
def _scaled_custom(spec_json: str, source: str, width: int, depth: int, head_dim: int, vocab_size: int) -> ModuleShape:
    spec = CustomSpec.model_validate_json(spec_json)
    sizes = {"width": width, "depth": depth, "head_dim": head_dim, "vocab_size": vocab_size, "context": spec.context}
    if taken := sorted(sizes.keys() & spec.config):
        owners = {"context": "model.context", "vocab_size": "the tokenizer", "head_dim": "recipe.head_dim"}
        owner = owners.get(taken[0], "a size")
        raise SpecError(f"model.config.{taken[0]} is given to the class by {owner}; leave it out of model.config.")
    content = {"target": spec.target, "source": source, "arguments": {**spec.config, **sizes}}
    where = f"{_SETTING} = {spec.target!r} at width {width}, depth {depth}"
    try:
        if (spec_json, source) not in _TRIED:
            _try(json.dumps(content, sort_keys=True), vocab_size, spec.context)
            _TRIED.add((spec_json, source))
        with torch.device("meta"):
            module = build_custom(content)
        groups = count_groups(module)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(torch.zeros((1, spec.context), dtype=torch.long, device="meta"))
    except SpecError:
        raise
    except Exception as error:  # whatever the user's code raises
        said = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise SpecError(f"{where}: {type(error).__name__}: {said}.") from None
    counted = 3.0 * counter.get_total_flops() / spec.context
    matmul = groups.matrices + groups.head
    if counted < 0.9 * 6.0 * matmul:
        raise SpecError(
            f"{where}: of the {6.0 * matmul:.3g} FLOPs per token that its matrices take where every token is multiplied with "
            f"each, torch's counter sees {counted:.3g}; N and C would not mean what they mean elsewhere."
        )
    formula = attention_flops_per_token(matmul, depth, width, spec.context)
    agrees = abs(counted / formula - 1) <= FORMULA_TOLERANCE
    counts = ModuleCounts(groups, formula if agrees else counted, "formula" if agrees else "counter")
    return ModuleShape(spec.target, width, depth, vocab_size, spec.context, json.dumps(content, sort_keys=True), counts)


def build_custom(content: Mapping[str, Any]) -> nn.Module:
    """The model of a shape's configuration, with weights from torch's generator, in evaluation mode.

    Raises:
        SpecError: its module is not trusted, or its source is not the one that was planned.
    """
    module = load_planned(content, _SETTING)(**content["arguments"])
    if not isinstance(module, nn.Module):
        raise SpecError(f"{_SETTING} = {content['target']!r} is no class of torch.nn.Module.")
    return module.eval()


def require_custom(shapes: Iterable[object]) -> None:
    """Raise SpecError unless the module of every model of the user's own is trusted and has the source that was planned."""
    for config in {s.config for s in shapes if isinstance(s, ModuleShape) and s.is_custom}:
        content = json.loads(config)
        with torch.device("meta"):
            build_custom(content)


def _try(content: str, vocab_size: int, context: int) -> None:
    """Hold the class to the contract: two steps from one seed, twice.

    Raises:
        SpecError: what it breaks.
    """
    what = f"{_SETTING} = {json.loads(content)['target']!r}"
    with torch.random.fork_rng(devices=[]):
        tokens = torch.randint(vocab_size, (_BATCH, context), generator=torch.Generator().manual_seed(0))
        module, first = _two_steps(content, tokens, what)
        _, second = _two_steps(content, tokens, what)
    if first != second:
        raise SpecError(
            f"{what}: two steps from one seed come to losses {first}, and again to {second}; draw weights from torch's "
            "generator alone."
        )
    later = tokens.clone()
    later[:, -1] = (later[:, -1] + 1) % vocab_size
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        logits, again, other = module(tokens), module(tokens), module(later)
    if not torch.equal(logits, again):
        raise SpecError(f"{what}: two forward passes of the same weights differ; forward must draw no random numbers.")
    change = (logits[:, :-1] - other[:, :-1]).abs().max().item()
    if not change <= _CAUSAL:
        raise SpecError(f"{what}: logits change by {change:.3g} with a token that comes after them; the model must be causal.")


def _two_steps(content: str, tokens: Tensor, what: str) -> tuple[nn.Module, list[float]]:
    """The model after two steps of gradient descent, and its losses."""
    torch.manual_seed(0)
    module = build_custom(json.loads(content))
    for name in ("get_input_embeddings", "get_output_embeddings"):
        if not hasattr(module, name):
            raise SpecError(f"{what} has no {name}(), by which N is counted and learning rates are given (docs/own.md).")
    losses, vocab_size = [], json.loads(content)["arguments"]["vocab_size"]
    for _ in range(2):
        logits = module(tokens)
        if logits.shape != (*tokens.shape, vocab_size):
            raise SpecError(f"{what}: forward gives shape {tuple(logits.shape)}, and must give {(*tokens.shape, vocab_size)}.")
        loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())
        module.zero_grad()
        loss.backward()
        losses.append(loss.item())
        for name, parameter in module.named_parameters():
            if parameter.dtype != torch.float32 or parameter.grad is None:
                why = "has no gradient" if parameter.grad is None else f"is {parameter.dtype}, and must be float32"
                raise SpecError(f"{what}: parameter {name} {why}; every parameter counts and is trained.")
            parameter.data -= 0.01 * parameter.grad
    return module, losses
