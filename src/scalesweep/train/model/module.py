"""A causal language model of `transformers` behind the interface of `Decoder`, and which of both a cell asks for."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import DecoderShape, ModuleShape
from scalesweep.train.model.architecture import (
    ParameterGroup,
    build_module,
    config_from_json,
    one_sequence_a_row,
    parameter_groups,
    quiet,
)
from scalesweep.train.model.custom import build_custom
from scalesweep.train.model.decoder import Decoder, cross_entropy


class ModuleModel(nn.Module):
    """One run of a model of `transformers`, or of the user's own class, with a leading run axis of size 1 in its parameters.

    Their names are those of the module with slashes for dots.

    Args:
        shape: the model.
        seed: of its random weights, which the library draws by its own rules.
    """

    def __init__(self, shape: ModuleShape, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(seed)
            module = _made(shape)
        self._is_custom = shape.is_custom
        self.groups: dict[str, ParameterGroup] = {_ours(n): g for n, g in parameter_groups(module).items()}
        table: Any = module.get_input_embeddings()  # type: ignore[operator]
        (self._embedding_name,) = (_ours(name) for name, p in module.named_parameters() if p is table.weight)
        for name, parameter in module.named_parameters():
            self.register_parameter(_ours(name), nn.Parameter(parameter.detach()[None].clone()))
            parameter.data = torch.empty(0)  # the run axis's copy is used in its place
        self.library_module = (module,)  # in a tuple: its parameters are not this module's

    @property
    def embedding(self) -> Tensor:
        """Input embedding, shape (1, V, D)."""
        return self.get_parameter(self._embedding_name)

    def _apply(self, fn: Any, recurse: bool = True) -> "ModuleModel":
        """Move the library's buffers too."""
        self.library_module[0]._apply(fn)
        super()._apply(fn, recurse)
        return self

    def forward(self, tokens_RBT: Tensor) -> Tensor:
        """Logits of shape (1, B, T, V) for token ids of shape (1, B, T)."""
        weights = {_theirs(name): p.squeeze(0) for name, p in self.named_parameters()}
        if self._is_custom:
            return functional_call(self.library_module[0], weights, (tokens_RBT.squeeze(0),))[None]
        arguments = {"input_ids": tokens_RBT.squeeze(0), "use_cache": False}
        with quiet(), one_sequence_a_row():
            return functional_call(self.library_module[0], weights, (), arguments).logits[None]

    def losses(self, tokens_RBT1: Tensor) -> Tensor:
        """As in `Decoder`."""
        return cross_entropy(self(tokens_RBT1[..., :-1]), tokens_RBT1)


Model = Decoder | ModuleModel


def _made(shape: ModuleShape) -> nn.Module:
    """The module with weights from torch's generator."""
    return build_custom(json.loads(shape.config)) if shape.is_custom else build_module(config_from_json(shape.config))


def build_model(cells: Sequence[Cell]) -> Model:
    """The model of cells that are stepped together, each run with its cell's seed."""
    first, seeds = cells[0], [cell.seed for cell in cells]
    if isinstance(first.shape, ModuleShape):
        (seed,) = seeds
        return ModuleModel(first.shape, seed)
    assert isinstance(first.shape, DecoderShape)
    return Decoder(first.shape, seeds, first.rope_theta, first.embedding_std, first.residual_scale)


def loaded_module(shape: ModuleShape, weights: Mapping[str, Tensor]) -> Any:
    """The library's own model with a run's trained parameters (by name, without a run axis)."""
    with torch.random.fork_rng(devices=[]), quiet():
        module = build_module(config_from_json(shape.config))
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            parameters[_theirs(name)].copy_(weight)
    return module


def _ours(name: str) -> str:
    return name.replace(".", "/")


def _theirs(name: str) -> str:
    return name.replace("/", ".")
