"""An optimizer class of the user's own (optim=custom), held to the contract of docs/own.md before anything is trained."""

import copy
import functools
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scalesweep.errors import SpecError
from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import DecoderShape
from scalesweep.settings.train import OptimSpec
from scalesweep.settings.trust import load_class, load_planned
from scalesweep.train.model.decoder import Decoder
from scalesweep.train.model.module import Model
from scalesweep.train.optim.groups import GROUPS, GroupName, GroupSettings, clip_gradients, group_settings, groups_of

_SETTING = "optim.target"
_TRIAL = DecoderShape(width=16, depth=1, num_heads=2, ffn_width=24, vocab_size=32, context=16, qk_norm=True)
"""The model of the trial, which has every group of parameters."""
_TRIAL_LR = 1e-3
"""Its peak learning rate, AdamW's default in torch: small enough that three steps of any optimizer in use stay finite."""
_TRIAL_SCALE = 0.1
"""Standard deviation of what replaces parameters that start at zero, without which most of the first gradients are zero."""


class OwnOptimizer:
    """One run, by an optimizer class of the user's own.

    The class gets parameters without the run axis, on the memory of the model's, since many tell matrices from vectors by their
    number of axes.

    Args:
        model: one run.
        made: the class.
        arguments: further keyword arguments of it.
        settings: of each group of parameters.
        betas: of all groups.
        max_norm: to which gradients are clipped before the class sees them.
    """

    def __init__(
        self,
        model: Model,
        made: Any,
        arguments: Mapping[str, Any],
        settings: Mapping[GroupName, GroupSettings],
        betas: tuple[float, float],
        max_norm: float,
    ) -> None:
        group_by_name = groups_of(model)
        self.parameters = dict(model.named_parameters())
        self._views = {name: nn.Parameter(p.detach()[0]) for name, p in self.parameters.items()}
        self._max_norm = max_norm
        self._peak_lrs = {group: of.peak_lr for group, of in settings.items()}
        groups = []
        for group, of in settings.items():
            if names := [name for name in self.parameters if group_by_name[name] == group]:
                values = {"lr": of.peak_lr, "betas": betas, "eps": of.eps, "weight_decay": of.weight_decay}
                groups.append({"params": [self._views[name] for name in names], "name": group, "names": names, **values})
        self._own: Any = made(groups, **arguments)

    def step(self, factors: Sequence[float]) -> Tensor:
        """As in `Optimizer`."""
        norms = clip_gradients(list(self.parameters.values()), self._max_norm)
        for name, p in self.parameters.items():
            # A copy, as a class may keep it, and a tape writes the next step's gradient where it wrote this one.
            self._views[name].grad = None if p.grad is None else p.grad[0].clone()
            p.grad = None
        for group in self._own.param_groups:
            group["lr"] = factors[0] * self._peak_lrs[group["name"]]
        self._own.step()
        self._own.zero_grad()
        return norms

    def moments(self) -> dict[str, tuple[Tensor, ...]]:
        """None by the names of parameters; see `state`."""
        return {}

    def load(self, run: int, moments: Mapping[str, tuple[Tensor, ...]], step: int) -> None:
        """As in `Optimizer`: nothing, as there are no moments; see `restore`."""

    def state(self) -> dict[str, Any]:
        """A copy of the class's own state."""
        return copy.deepcopy(dict(self._own.state_dict()))

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of an optimizer of the same parameters."""
        self._own.load_state_dict(copy.deepcopy(dict(state)))


def own_optimizer(model: Model, cell: Cell) -> OwnOptimizer:
    """The optimizer of a cell that names a class.

    Raises:
        SpecError: its module is not trusted, or its source is not the one that was planned.
    """
    content, betas = json.loads(cell.own_optimizer), (cell.beta1, cell.beta2)
    made = load_planned(content, _SETTING)
    return OwnOptimizer(model, made, content["arguments"], group_settings(cell), betas, cell.grad_clip)


def require_own_optimizers(cells: Iterable[Cell]) -> None:
    """Raise SpecError unless the module of every optimizer of the user's own is trusted and has the source that was planned."""
    for config in {cell.own_optimizer for cell in cells if cell.own_optimizer}:
        load_planned(json.loads(config), _SETTING)


def tried_optimizer(spec: OptimSpec) -> str:
    """What cells hold of the class, its target, arguments and the hash of its source as JSON, once it has been tried.

    Raises:
        SpecError: the module is not trusted, or the class breaks the contract.
    """
    assert spec.target is not None
    made, source = load_class(spec.target, _SETTING)
    if not issubclass(made, torch.optim.Optimizer):
        raise SpecError(f"{_SETTING} = {spec.target!r} is no class of torch.optim.Optimizer.")
    config = json.dumps({"target": spec.target, "source": source, "arguments": spec.arguments}, sort_keys=True)
    _try_once(made, config, (spec.beta1, spec.beta2), GroupSettings(_TRIAL_LR, spec.weight_decay, spec.eps))
    return config


@functools.cache
def _try_once(made: Any, config: str, betas: tuple[float, float], settings: GroupSettings) -> None:
    """Hold the class to the contract, from the weights with which the decoder starts and from such as have no zeros.

    Raises:
        SpecError: what it breaks.
    """
    content = json.loads(config)
    what = f"{_SETTING} = {content['target']!r}"

    def make(model: Model) -> OwnOptimizer:
        return OwnOptimizer(model, made, content["arguments"], dict.fromkeys(GROUPS, settings), betas, math.inf)

    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for zeros in (True, False):
                _Trial(what, make, zeros).hold()
    except SpecError:
        raise
    except Exception as error:  # whatever the user's code raises
        said = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise SpecError(f"{what}: {type(error).__name__}: {said}.") from None


@dataclass(frozen=True)
class _Trial:
    """Steps of the class on a tiny decoder, on the CPU."""

    what: str
    """The setting with its value."""
    make: Callable[[Model], OwnOptimizer]
    zeros: bool
    """Whether the weights are those with which the decoder starts, of which many are zero."""

    def hold(self) -> None:
        """Three steps; then the third again, from the state before it, and once more at half the rate.

        Raises:
            SpecError: what the class breaks.
        """
        model, optimizer = self._made()
        start = _weights(model)
        self._steps(model, optimizer, (0, 1))
        before, state = _weights(model), self._kept(optimizer.state())
        self._steps(model, optimizer, (2,))
        third = _weights(model)
        again, slower = self._third(before, state, 1.0), self._third(before, state, 0.5)
        if differing := [name for name in third if not torch.equal(third[name], again[name])]:
            raise SpecError(
                f"{self.what}: a step after load_state_dict(state_dict()) in a new object does not come to the same "
                f"{differing[0]}, so that a resumed cell would have another loss; keep what step() needs in self.state, and "
                "draw no random numbers."
            )
        if self.zeros:  # without a gradient parameters may stay where they are
            return
        if still := [name for name in third if torch.equal(start[name], third[name])]:
            raise SpecError(f"{self.what}: three steps leave {still[0]} as it was; every parameter of every group is stepped.")
        if deaf := [name for name in third if torch.equal(third[name], slower[name])]:
            raise SpecError(
                f"{self.what}: half the lr of its groups makes no difference to {deaf[0]}; the schedule scales group['lr'], "
                "which step() must use."
            )

    def _made(self) -> tuple[Decoder, OwnOptimizer]:
        model = Decoder(_TRIAL, [0], rope_theta=1e4, embedding_std=1.0)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for p in model.parameters():
                if not self.zeros and not p.any():
                    p.normal_(std=_TRIAL_SCALE, generator=generator)
        return model, self.make(model)

    def _steps(self, model: Decoder, optimizer: OwnOptimizer, steps: Iterable[int], factor: float = 1.0) -> None:
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            model.losses(torch.randint(_TRIAL.vocab_size, (1, 2, _TRIAL.context + 1), generator=generator)).mean().backward()
            optimizer.step([factor])
            for name, p in model.named_parameters():
                if not p.isfinite().all():
                    zero = ", where its first gradients are zero, as most are at the start" if self.zeros else ""
                    raise SpecError(f"{self.what}: step {step + 1} of a trial leaves {name} not finite{zero}.")

    def _kept(self, state: dict[str, Any]) -> dict[str, Any]:
        """The state as a checkpoint gives it back."""
        buffer = io.BytesIO()
        try:
            torch.save(state, buffer)
            kept: dict[str, Any] = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
        except Exception:  # what torch and pickle raise differs by version
            raise SpecError(
                f"{self.what}: its state_dict() holds more than tensors, numbers, texts, lists and tables of them, "
                "which is all that a checkpoint keeps."
            ) from None
        return kept

    def _third(self, weights: Mapping[str, Tensor], state: Mapping[str, Any], factor: float) -> dict[str, Tensor]:
        """The weights after the third step of a new object, as a resumed cell takes it."""
        model, optimizer = self._made()
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(weights[name])
        optimizer.restore(state)
        self._steps(model, optimizer, (2,), factor)
        return _weights(model)


def _weights(model: Decoder) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}
