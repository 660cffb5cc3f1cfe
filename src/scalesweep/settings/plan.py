"""What is measured: counts, grid, recipe, model, budget, rates of cost."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from scalesweep.counting import FlopsConvention, LossMetric, ParamsConvention
from scalesweep.settings.base import Amount, Count, Seed, Size, Sizes, Spec, Target
from scalesweep.settings.tune import LrLaw, TuneSpec


class CountSpec(Spec):
    """The conventions by which N and C are counted, in the plan, the fit and the report."""

    params: ParamsConvention = "with_head"
    """What N counts: with_head (all but the input embedding), total, non_embedding, matmul."""
    flops: FlopsConvention = "attention"
    """What C counts per token: attention (6 N_matmul + 12 layers d T), kaplan, six_n (6 N), chinchilla (appendix F)."""
    loss: Annotated[LossMetric | None, BeforeValidator(lambda value: "bits_per_byte" if value == "bpb" else value)] = None
    """What the loss is. Null: of a sweep nats_per_token, of a table what its header says, else nats_per_token, which is said. A
    sweep's can be turned into bits_per_token, nats_per_byte, bits_per_byte (or bpb) or perplexity; a table's may be any."""


class FurtherCell(Spec):
    """A cell beside the grid."""

    size: Size
    """Target N in parameters, or width and depth."""
    tokens: Count
    """Training tokens."""
    seed: Seed = 0
    """Seed of initialisation and data order."""


class SweepSpec(Spec):
    """The grid: which sizes are trained on how many tokens, with which seeds."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the sweep; the run directory is called after it unless `dir` is given."""
    design: Literal["full", "rays", "lshape", "isoflop"] = "full"
    """full: every size with every budget. rays: budgets are tokens per parameter. isoflop: budgets are training FLOPs.
    lshape: every size at the smallest budget, and the smallest size at every budget."""
    sizes: Sizes
    """Model sizes: a list of target N (parameters) or of width and depth, or a ladder SMALLEST..LARGEST:NUM."""
    budgets: Annotated[tuple[Amount, ...], Field(min_length=1)]
    """Training budgets: tokens (full, lshape), tokens per parameter (rays) or training FLOPs (isoflop)."""
    tokens_per_parameter: tuple[Amount, Amount] | None = None
    """Cells outside this range of D / N are left out, which keeps the curves of an isoflop design near their minima."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    """Seeds; each one sets initialisation and data order of a replicate of the grid."""
    axes: Annotated[dict[str, Any], BeforeValidator(lambda value: value or {})] = Field(default_factory=dict)
    """Further axes: a nested table of settings of data, recipe, model, optim or train with a list of values at each leaf, or
    such a group with a list of its options, as names or tables."""
    further: Annotated[tuple[FurtherCell, ...], BeforeValidator(lambda value: value or ())] = ()
    """Cells beside the grid, such as [{size: 96k, tokens: 1.5M, seed: 0}], as `scalesweep next` proposes them and `run until=`
    measures them."""
    tune: TuneSpec | None = None
    """Settings that are tuned at every size and budget; the laws are then fitted to the tuned frontier."""


class RecipeSpec(Spec):
    """Named rules that turn a size and a budget into depth, batch, learning rate and warm-up."""

    name: str
    """Name of the recipe, shown in the plan."""
    parametrisation: Literal["completep", "mup", "sp"]
    """How the settings of the base model carry over to other shapes. completep: by width and depth (Dey et al. 2025). mup: by
    width alone. sp: not at all; every size needs a learning rate of its own."""
    depth: PositiveInt
    """Layers of every size that is given by its target N (width scales, depth stays)."""
    head_dim: Annotated[int, Field(ge=2, multiple_of=2)]
    """Width of one attention head; widths are multiples of it."""
    lr: PositiveFloat
    """Peak learning rate of the hidden matrices and the head of the base model."""
    lr_law: LrLaw | None = None
    """A law of N and D that sets `lr` for each size and budget; null takes `lr` as it is."""
    base_width: PositiveInt
    """Width of the base model, for which `lr`, `optim.weight_decay` and `optim.eps` hold; completep and mup scale them."""
    base_depth: PositiveInt
    """Depth of the base model; completep multiplies every residual branch by base_depth / depth."""
    embedding_lr_ratio: PositiveFloat
    """Learning rate of embedding and norms, as a multiple of `lr`, the same at every width."""
    batch_tokens: Count
    """Tokens per step at `reference_tokens`."""
    batch_exponent: NonNegativeFloat
    """Tokens per step grow as (D / reference_tokens) to this power; 0 keeps the batch fixed."""
    reference_tokens: Count
    """Budget at which `batch_tokens` holds."""
    warmup_steps: NonNegativeInt
    """Warm-up steps, at most `warmup_fraction` of the run."""
    warmup_fraction: Annotated[float, Field(ge=0, le=0.5)]
    """Largest share of the run that is warm-up."""


class ModelSpec(Spec):
    """Architecture of the decoder, apart from its size."""

    context: Annotated[int, Field(ge=2)]
    """Context length T in tokens."""
    ffn_ratio: PositiveFloat
    """Hidden width of the SwiGLU feed-forward block as a multiple of the model width (rounded to a multiple of 8)."""
    qk_norm: bool
    """RMS normalisation of queries and keys."""
    rope_theta: PositiveFloat
    """Base of the rotary position embedding."""
    embedding_std: PositiveFloat
    """Standard deviation of the input embedding at initialisation."""


class ArchitectureSpec(Spec):
    """A causal language model of `transformers` in place of the decoder, apart from its size."""

    architecture: Annotated[str, Field(min_length=1)]
    """Name of the architecture, such as GPT2, GPTNeoX, Llama, Qwen3 or Mamba: a config class of transformers less "Config"."""
    context: Annotated[int, Field(ge=2)]
    """Context length T in tokens."""
    ffn_ratio: PositiveFloat | None = None
    """Hidden width of the feed-forward block as a multiple of the model width (rounded to a multiple of 8); null keeps the
    ratio of the architecture's default config."""
    config: Annotated[dict[str, Any], BeforeValidator(lambda value: value or {})] = Field(default_factory=dict)
    """Further settings of the architecture's config, by the names of transformers."""


class CustomSpec(Spec):
    """A model class of your own in place of the decoder, apart from its size ([own.md](own.md#a-model-of-your-own))."""

    target: Target
    """The class, as package.module:Class; imported where the command says trust=package.module, and nowhere else."""
    context: Annotated[int, Field(ge=2)]
    """Context length T in tokens."""
    config: Annotated[dict[str, Any], BeforeValidator(lambda value: value or {})] = Field(default_factory=dict)
    """Further keyword arguments of the class, beside width, depth, head_dim, vocab_size and context."""

    @property
    def architecture(self) -> str:
        """What its cells are called."""
        return self.target


class BudgetSpec(Spec):
    """The most that a sweep may cost. A grid that costs more is shrunk by the rule of docs/runs.md; null sets no limit."""

    hours: Amount | None = None
    """Wall-clock hours with the launcher's workers, by short benchmarks of some sizes."""
    flops: Amount | None = None
    """Training FLOPs, counted by `count.flops`, each shared trunk once."""
    usd: Amount | None = None
    """Dollars at `cost.usd_per_device_hour`."""


class CostSpec(Spec):
    """Rates that turn hours of devices into energy, money and carbon. A device is one GPU, or one CPU core."""

    usd_per_device_hour: NonNegativeFloat | None = None
    """Null takes $2.00 for a GPU (a rented H100, arXiv 2603.22339), $0.0425 for a core (AWS c5.2xlarge: 0.34 for 8)."""
    watts: PositiveFloat | None = None
    """Power of a device. Null takes, of a GPU, what nvidia-smi measures, else 700 W (limit of an H100 SXM); of a core 6.25 W
    (Xeon Platinum 8480+: 350 W for 56 cores). The rest of the machine and its cooling are left out."""
    kg_co2_per_kwh: NonNegativeFloat | None = None
    """Carbon intensity of the electricity. Null takes 0.481, the world's average of 2023 (Ember, July 2024)."""
    remeasure: bool = False
    """Run benchmarks again, even if this machine's cache has them."""
