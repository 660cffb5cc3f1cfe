"""How a cell is trained: optimizer and training."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from scalesweep.settings.base import AutoCount, Count, Spec, Target


class OptimSpec(Spec):
    """AdamW (Loshchilov & Hutter 2019); Muon (Jordan et al. 2024) for the layers' matrices, AdamW for the rest; or your own."""

    name: Literal["adamw", "muon", "custom"] = "adamw"
    """adamw. muon: the momentum of every matrix of the layers is orthogonalised; embedding, head and norms have AdamW. custom:
    a class of your own ([own.md](own.md#an-optimizer-of-your-own)), which is given betas, eps and weight decay."""
    beta1: Annotated[float, Field(ge=0, lt=1)]
    """Decay of AdamW's first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)]
    """Decay of AdamW's second moment."""
    eps: PositiveFloat
    """Term added to the root of the second moment, in the base model of the recipe."""
    weight_decay: NonNegativeFloat
    """Weight decay of the matrices of the base model, multiplied by the learning rate of the group; embedding and norms have
    none."""
    grad_clip: PositiveFloat
    """Largest global gradient norm; larger gradients are scaled down to it."""
    z_loss: NonNegativeFloat = 0.0
    """Weight of log(Z)^2, Z the sum of the exponentials of the logits, in what is minimised (1e-4 in PaLM, Chowdhery et al.
    2022); 0 leaves it out. Recorded losses never contain it."""
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """muon only: decay of the momentum, which is Nesterov's."""
    lr_ratio: PositiveFloat | None = None
    """muon only: learning rate of Muon in the base model, as a multiple of `recipe.lr`."""
    target: Target | None = None
    """custom only: the class, as package.module:Class; imported where the command says trust=package.module, else nowhere."""
    arguments: Annotated[dict[str, Any], BeforeValidator(lambda value: value or {})] = Field(default_factory=dict)
    """custom only: further keyword arguments of the class."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        own = {"momentum": self.momentum, "lr_ratio": self.lr_ratio}
        for key, value in own.items():
            if (self.name == "muon") == (value is None):
                needs = f"needs {key}, such as {key}=0.95" if key == "momentum" else f"needs {key}, such as {key}=1"
                has_no_effect = f"{key}={value} is a setting of optim=muon alone"
                raise ValueError(f"optim=muon {needs}" if value is None else has_no_effect)
        if self.name == "custom" and self.target is None:
            raise ValueError("optim=custom needs target, such as target=package.module:Class")
        if self.name != "custom" and (self.target or self.arguments):
            raise ValueError(f"{'target' if self.target else 'arguments'} is a setting of optim=custom alone")
        return self


def _word(value: object) -> object:
    """A truth as the word that says it."""
    return str(value).lower() if isinstance(value, bool) else value


class TrainSpec(Spec):
    """The training loop: schedule, precision, evaluation, checkpoints."""

    schedule: Literal["wsd", "cosine"]
    """wsd: warm-up, constant, 1-sqrt decay to 0 (Haegele et al. 2024). cosine: warm-up, cosine to 0."""
    decay_fraction: Annotated[float, Field(gt=0, le=1)]
    """Share of a wsd run that is decay."""
    device: Literal["auto", "cpu", "cuda"]
    """Where cells are trained; auto takes CUDA where there is a GPU."""
    precision: Literal["auto", "float32", "bfloat16"]
    """Precision of the matrix products; auto is float32 on CPU and bfloat16 autocast on CUDA."""
    pack: AutoCount = "auto"
    """Most runs of one shape, batch and length that are stepped together, divided evenly among workers; auto is 1 on CPU, where
    results then stay the same bit for bit, and found out on CUDA."""
    fast: bool = True
    """Let a step run by hand-written code where there is some, instead of by autograd. Losses agree within rounding."""
    compile: Annotated[Literal["auto", "true", "false"], BeforeValidator(_word)] = "auto"
    """On CUDA, have torch's compiler make the layers' code; auto does where a training ends earlier by it, compiling included.
    Losses agree within rounding."""
    micro_batch: PositiveInt | None = None
    """Sequences per forward pass; the gradient is accumulated over the batch. By default the whole batch at once."""
    devices: PositiveInt = 1
    """Most GPUs of one machine that train one cell together, each a part of its batch: done first, and only with cells that one
    GPU would still train when all others are done (`plan` names them). Losses agree within rounding. launcher=local."""
    validation_tokens: Count
    """Held-out tokens on which every cell is evaluated, the same ones for all."""
    curve_points: PositiveInt
    """Points of the loss curve in each decade of steps, log-spaced."""
    checkpoint_seconds: PositiveFloat
    """Least time between two checkpoints of a cell; more where writing one would take over 2 % of the time."""
    keep_weights: bool = False
    """Keep the trained weights of every cell in its directory, to probe them or to hand them to transformers
    (`scalesweep model DIR KEY`). A cell that was measured without them must be measured again for them."""

    @property
    def compiles(self) -> bool | Literal["auto"]:
        """`compile`, as a truth where it is one."""
        return "auto" if self.compile == "auto" else self.compile == "true"
