"""One point to measure, fully resolved.

Its key is the hash of that content, never of a name or of a difference from a default: equal content, equal key, whatever sweep
declares it. What cannot change a measured loss (device, micro-batch, logging) is no part of a cell.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scalesweep.plan.flops import (
    ModelShape,
    ModuleShape,
    count_params,
    flops_per_token,
    num_params,
    optimizer_flops_per_step,
    shape_from_dict,
)
from scalesweep.plan.selection import Selection, selection_from_dict
from scalesweep.settings.plan import CountSpec

Precision = Literal["float32", "bfloat16"]
CELL_SCHEMA = 1
"""Raised whenever the same content would be trained to another loss."""


@dataclass(frozen=True)
class Cell:
    """One point to measure: everything that determines its loss."""

    shape: ModelShape
    rope_theta: float
    """0 where the shape's own configuration says it, as of all models but the decoder; so `embedding_std`."""
    embedding_std: float
    residual_scale: float
    """Factor of every residual branch."""
    corpus: str
    corpus_hash: str
    unique_tokens: int
    """U: distinct training tokens that the cell may visit."""
    seed: int
    steps: int
    batch_sequences: int
    warmup_steps: int
    schedule: Literal["wsd", "cosine"]
    decay_steps: int
    optimizer: Literal["adamw", "muon", "custom"]
    """Of the layers' matrices; all else has AdamW, unless the class is the user's own."""
    hidden_lr: float
    """Peak learning rate of the layers' matrices."""
    head_lr: float
    embedding_lr: float
    """Peak learning rate of the embedding and the norms."""
    beta1: float
    beta2: float
    momentum: float
    """Muon's; 0 where there is none."""
    hidden_eps: float
    """Adam's epsilon of the layers' matrices and norms."""
    head_eps: float
    embedding_eps: float
    """Adam's epsilon of the embedding and the last norm."""
    qk_norm_eps: float
    weight_decay: float
    """Of the layers' matrices, multiplied by `hidden_lr`."""
    head_weight_decay: float
    """Of the head, multiplied by `head_lr`."""
    grad_clip: float
    z_loss: float
    """Weight of log(Z)^2 in what is minimised."""
    precision: Precision
    validation_tokens: int
    selection: Selection | None = None
    """Which windows of the training stream may be visited; None where all are, as they are."""
    own_optimizer: str = ""
    """Of an optimizer of the user's own its target, arguments and the hash of its source, as JSON."""

    @functools.cached_property
    def key(self) -> str:
        """Twelve hex digits of the content's hash."""
        return self._hash()

    @functools.cached_property
    def trunk(self) -> str:
        """Hash of what a cell's trajectory is before its decay: cells that differ in length alone have one trunk.

        Only a wsd schedule has such a part, as the whole of a cosine depends on the length: its cells have a trunk each.
        """
        return self._hash("steps", "decay_steps") if self.schedule == "wsd" and self.decay_steps else self.key

    @property
    def branch_step(self) -> int:
        """Finished steps at which the decay begins; a wsd cell equals every longer one of its trunk up to here."""
        return self.steps - self.decay_steps

    def _hash(self, *without: str) -> str:
        content = _plain(self)
        for name in ("corpus", *without):  # the corpus's name; it is identified by its hash
            del content[name]
        content["shape"].pop("counts", None)  # they follow from the rest
        _drop_defaults(self, content)
        if self.selection is not None:
            _drop_defaults(self.selection, content["selection"])
        return hashlib.sha256(json.dumps({"schema": CELL_SCHEMA, **content}, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def batch_tokens(self) -> int:
        """Tokens per step."""
        return self.batch_sequences * self.shape.context

    @property
    def tokens(self) -> int:
        """D, training tokens."""
        return self.steps * self.batch_tokens

    @property
    def epochs(self) -> float:
        """D / U; of a mixture that of the part which is repeated most."""
        selection = self.selection or Selection()
        return selection.epochs(self.tokens, self.unique_tokens, self.shape.context)

    def num_params(self, count: CountSpec) -> int:
        """N by the convention of `count`."""
        return num_params(self.shape, count.params)

    def flops(self, count: CountSpec) -> float:
        """C, training FLOPs, by the convention of `count`."""
        return self.tokens * flops_per_token(self.shape, count.flops, count.params)

    def row(self, count: CountSpec) -> dict[str, Any]:
        """The cell as columns of the table of points, every parameter group included."""
        groups, transform = count_params(self.shape), self.selection.transform if self.selection else None
        of_optimizer = optimizer_flops_per_step(self.shape, self.optimizer)
        return {
            "key": self.key,
            "n": self.num_params(count),
            "d": self.tokens,
            "c": self.flops(count),
            "width": self.shape.width,
            "depth": self.shape.depth,
            "residual_scale": self.residual_scale,
            "seed": self.seed,
            "batch_tokens": self.batch_tokens,
            "steps": self.steps,
            "optimizer": json.loads(self.own_optimizer)["target"] if self.own_optimizer else self.optimizer,
            "lr": self.hidden_lr,
            "embedding_lr": self.embedding_lr,
            "weight_decay": self.weight_decay,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "schedule": self.schedule,
            "warmup_steps": self.warmup_steps,
            "decay_steps": self.decay_steps,
            "context": self.shape.context,
            "precision": self.precision,
            "tokens_per_param": self.tokens / self.num_params(count),
            "unique_tokens": self.unique_tokens,
            "epochs": self.epochs,
            "params_embedding": groups.embedding,
            "params_head": groups.head,
            "params_matrices": groups.matrices,
            "params_norms": groups.norms,
            **({} if of_optimizer is None else {"c_optimizer": self.steps * of_optimizer}),
            **({"architecture": self.shape.architecture} if isinstance(self.shape, ModuleShape) else {}),
            **({"transform": f"{transform.kind} {transform.share:g}"} if transform else {}),
        }


@functools.cache
def _names(kind: type) -> tuple[str, ...]:
    """The fields of a dataclass; none of another class."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


def _plain(value: Any) -> Any:
    """`dataclasses.asdict` for what is written as JSON, in a fifth of the time, which every cell of a plan takes."""
    if names := _names(type(value)):  # type: ignore[arg-type]  # a class can be hashed
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return {name: _plain(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def _drop_defaults(value: Any, content: dict[str, Any]) -> None:
    """Leave out what has its default: it stands for what cells were before the field came."""
    for field in dataclasses.fields(value):
        if field.default is not dataclasses.MISSING and getattr(value, field.name) == field.default:
            content.pop(field.name, None)


def cell_from_dict(values: Mapping[str, Any]) -> Cell:
    """Inverse of `dataclasses.asdict`."""
    selection = selection_from_dict(values.get("selection"))
    return Cell(**{**values, "shape": shape_from_dict(values["shape"]), "selection": selection})


_PER_RUN = (
    *("seed", "warmup_steps", "decay_steps", "beta1", "beta2", "momentum", "weight_decay", "head_weight_decay"),
    *("grad_clip", "z_loss"),
)
"""What each run of a pack has of its own, beside its learning rates and epsilons."""


def pack_signature(cell: Cell) -> Any:
    """Cells with equal signatures can be stepped together: one shape, batch, length, schedule, precision and corpus.

    Learning rates, epsilons and `_PER_RUN` may differ; all else, also a future field, must be equal. Only the decoder has a run
    axis: every other model goes alone, and so does an optimizer of the user's own.
    """
    if isinstance(cell.shape, ModuleShape) or cell.own_optimizer:
        return cell.key
    content = dataclasses.asdict(cell)
    free = {name for name in content if name in _PER_RUN or name.endswith(("_lr", "_eps"))}
    return tuple((name, str(value)) for name, value in content.items() if name not in free)


def size_name(cell: Cell) -> str:
    """The cell's size for people."""
    return f"width {cell.shape.width}, depth {cell.shape.depth}"
