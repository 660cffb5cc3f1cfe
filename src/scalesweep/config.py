"""Every setting of scalesweep as frozen, validated values.

Hydra composes the files of configs/ at the command line; from there on only the values of this module are passed. Each
field's docstring gives its meaning and unit. `parse_settings` turns nested plain data into `Settings` or raises one sentence
that names the key, the value and what is allowed.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from scalesweep.spec import Amount, AutoCount, Count, Seed, Sizes, Spec, parse
from scalesweep.tune_grid import LrLaw, TuneSpec

ParamsConvention = Literal["with_head", "total", "non_embedding", "matmul"]
FlopsConvention = Literal["attention", "kaplan", "six_n", "chinchilla"]


class CountSpec(Spec):
    """The conventions by which N and C are counted, in the plan, the fit and the report."""

    params: ParamsConvention = "with_head"
    """What N counts: with_head (all but the input embedding), total, non_embedding, matmul."""
    flops: FlopsConvention = "attention"
    """What C counts per token: attention (6 N_matmul + 12 layers d T), kaplan, six_n (6 N), chinchilla (appendix F)."""


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
    """Further axes: a nested table of settings of recipe, model, optim or train with a list of values at each leaf."""
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


class TokenizerSpec(Spec):
    """How text becomes tokens."""

    kind: Literal["bytes", "bpe", "hub", "none"]
    """bytes: 256 byte values and an end-of-document token. bpe: byte-level BPE of the corpus. hub: a ready tokenizer. none: for
    sources that give tokens themselves (markov, zipf_facts)."""
    vocab_size: Annotated[int, Field(ge=257, le=2**31)] | None = None
    """Vocabulary of a trained BPE."""
    name: str | None = None
    """Hub name or local file (tokenizer.json) of a ready tokenizer."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "bpe" and self.vocab_size is None:
            raise ValueError("kind=bpe needs vocab_size, for example 512")
        if self.kind == "hub" and self.name is None:
            raise ValueError("kind=hub needs name, for example gpt2 or a path to tokenizer.json")
        return self


class DataSpec(Spec):
    """A corpus, its tokenizer and its split."""

    source: Literal["python", "enwik8", "files", "hub", "markov", "zipf_facts"]
    """python: source text of the running environment. enwik8: 10^8 bytes of Wikipedia. files: local files. hub: a data set.
    markov and zipf_facts: drawn tokens whose entropy is known exactly."""
    content: Literal["code", "prose"] = "code"
    """python only: whole source files, or only their docstrings and comments."""
    paths: tuple[str, ...] = ()
    """files only: globs of .txt, .jsonl or .parquet files."""
    name: str | None = None
    """hub only: data set name."""
    subset: str | None = None
    """hub only: configuration of the data set."""
    split: str = "train"
    """hub only: split."""
    revision: str | None = None
    """hub only: commit or tag."""
    streaming: bool = True
    """hub only: read without downloading the whole data set."""
    column: str = "text"
    """jsonl, parquet and hub: the column that holds the text."""
    max_bytes: Count | None = None
    """Text read at most, in UTF-8 bytes."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of the text that is held out, by document; of drawn tokens, the share that is drawn apart."""
    max_tokens: Annotated[Count, Field(ge=1000)] = 8_000_000
    """markov and zipf_facts only: tokens that are drawn, held-out ones included."""
    seed: Seed = 0
    """markov and zipf_facts only: seed of the source and of its streams."""
    alphabet: Annotated[int, Field(ge=2, le=64)] = 16
    """markov only: number of symbols, V; the chain has V^2 states."""
    keys: Annotated[Count, Field(ge=2, le=10**8)] = 1_000_000
    """zipf_facts only: number of keys, K. Far fewer than 1M cut the power law off early."""
    zipf_alpha: PositiveFloat = 0.5
    """zipf_facts only: keys have p_k proportional to k^-(1 + zipf_alpha), which is the exponent of facts held; that of records
    seen is zipf_alpha / (1 + zipf_alpha)."""
    values: Annotated[int, Field(ge=2, le=2**16)] = 256
    """zipf_facts only: number of values, V_v."""
    tokenizer: TokenizerSpec
    cache: str | None = None
    """Directory of prepared corpora; by default the user's cache directory."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source == "files" and not self.paths:
            raise ValueError("source=files needs paths, for example data.paths=['texts/*.txt']")
        if self.source == "hub" and not self.name:
            raise ValueError("source=hub needs name, for example data.name=roneneldan/TinyStories")
        if self.is_drawn != (self.tokenizer.kind == "none"):
            allowed = "none" if self.is_drawn else "bytes, bpe or hub"
            raise ValueError(f"source={self.source} needs tokenizer.kind={allowed}, not {self.tokenizer.kind}")
        return self

    @property
    def is_drawn(self) -> bool:
        """Whether the source gives tokens of known entropy instead of text."""
        return self.source in ("markov", "zipf_facts")


class OptimSpec(Spec):
    """AdamW (Loshchilov & Hutter 2019), or Muon for the matrices of the layers (Jordan et al. 2024) and AdamW for the rest."""

    name: Literal["adamw", "muon"] = "adamw"
    """adamw, or muon: the momentum of every matrix of the layers is orthogonalised; embedding, head and norms have AdamW."""
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

    @model_validator(mode="after")
    def _complete(self) -> Self:
        own = {"momentum": self.momentum, "lr_ratio": self.lr_ratio}
        for key, value in own.items():
            if (self.name == "muon") == (value is None):
                needs = f"needs {key}, such as {key}=0.95" if key == "momentum" else f"needs {key}, such as {key}=1"
                raise ValueError(f"name=muon {needs}" if value is None else f"{key}={value:g} is a setting of optim=muon alone")
        return self


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
    """Most runs of one shape, batch and length that are stepped together; auto is 1 on CPU, where results then stay the same
    bit for bit, and measured on CUDA."""
    fast: bool = True
    """Let a step run by hand-written code where there is some, instead of by autograd. Losses agree within rounding."""
    micro_batch: PositiveInt | None = None
    """Sequences per forward pass; the gradient is accumulated over the batch. By default the whole batch at once."""
    validation_tokens: Count
    """Held-out tokens on which every cell is evaluated, the same ones for all."""
    curve_points: PositiveInt
    """Points of the loss curve in each decade of steps, log-spaced."""
    checkpoint_seconds: PositiveFloat
    """Least time between two checkpoints of a cell; more where writing one would take over 2 % of the time."""
    keep_weights: bool = False
    """Keep the trained weights of every cell in its directory, to probe them or to hand them to transformers
    (`scalesweep model DIR KEY`). A cell that was measured without them must be measured again for them."""


_SBATCH_RESERVED = frozenset(
    "array output error open-mode signal requeue no-requeue job-name time cpus-per-task gpus-per-node gres mem partition qos "
    "account constraint nodes ntasks ntasks-per-node".split()
)
"""Options of sbatch that the launcher sets, from settings of their own or because its protocol needs them."""


class RetrySpec(Spec):
    """How often a cell is tried again, counted from its claims on disk; the same for every launcher."""

    failed: NonNegativeInt = 1
    """After an exception; more rarely helps, as a cell is deterministic, but a device or a disk may fail once."""
    lost: NonNegativeInt = 3
    """After its worker died or hung while it had this cell alone."""
    diverged: NonNegativeInt = 0
    """After its loss diverged. A diverged cell is a result; on CPU the next try comes to the same."""


class LauncherSpec(Spec):
    """How workers are started."""

    name: Literal["inline", "local", "slurm", "ray"]
    """inline: this process trains one cell after another. local: worker processes on this machine. slurm: jobs of a Slurm
    cluster. ray: tasks of a Ray cluster."""
    workers: AutoCount = "auto"
    """All but inline: number of workers in all. auto is one per GPU, times `workers_per_gpu`, or one per CPU core: of this
    machine, with ray of the cluster; a Slurm cluster must be told."""
    workers_per_gpu: PositiveInt = 1
    """All but inline: workers that share one GPU."""
    gpus: NonNegativeInt = 0
    """slurm and ray only: GPUs of each job or task, each with `workers_per_gpu` workers; 0 trains on CPU."""
    cpus: PositiveInt = 1
    """slurm and ray only: CPU cores of each job or task; without GPUs each core has a worker."""
    memory_gb: PositiveFloat | None = None
    """slurm and ray only: memory of each job or task, in GB; null leaves it to the cluster."""
    minutes: PositiveInt = 240
    """slurm only: time limit of a job. Before it is over the job writes checkpoints and requeues itself."""
    partition: str | None = None
    """slurm only: --partition."""
    qos: str | None = None
    """slurm only: --qos."""
    account: str | None = None
    """slurm only: --account."""
    constraint: str | None = None
    """slurm only: --constraint."""
    gres: str | None = None
    """slurm only: --gres, in place of the --gpus-per-node that `gpus` asks for; `gpus` still says how many there are."""
    sbatch: Annotated[dict[str, str | int | bool], BeforeValidator(lambda value: value or {})] = Field(default_factory=dict)
    """slurm only: any other option of sbatch by its long name, such as {exclude: node7, nice: 100}."""
    setup: tuple[str, ...] = ()
    """slurm only: shell commands of a job before its workers start, such as ['module load cuda']."""
    address: str | None = None
    """ray only: a running cluster, as `ray.init` takes it (auto, or ray://HOST:10001); null starts one on this machine."""
    retries: RetrySpec = RetrySpec()
    """When a cell counts as failed."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.name == "slurm" and self.workers == "auto":
            raise ValueError("name=slurm needs workers, for example launcher.workers=8")
        if reserved := sorted({name.replace("_", "-") for name in self.sbatch} & _SBATCH_RESERVED):
            raise ValueError(f"sbatch must not hold {', '.join(reserved)}, which the launcher sets itself")
        return self

    @property
    def workers_per_job(self) -> int:
        """Workers of each job or task of a cluster."""
        return self.gpus * self.workers_per_gpu or self.cpus


class LoggerSpec(Spec):
    """A copy of curves and results for a program that shows runs (tracking.md); the run directory stays the source of truth."""

    kind: Literal["wandb", "tensorboard", "trackio", "none"] = "wandb"
    """wandb: Weights & Biases. tensorboard: event files in DIR/tensorboard. trackio: a database in DIR/trackio. none: no copy.
    tensorboard and trackio are extras of the installation."""
    mode: Literal["offline", "online", "disabled"] = "offline"
    """wandb only: offline keeps the log beside the sweep (wandb sync uploads it), online sends it, disabled does nothing."""
    project: str = "scalesweep"
    """wandb and trackio only: project."""
    entity: str | None = None
    """wandb only: user or team."""


class BudgetSpec(Spec):
    """The most that a sweep may cost. A grid that costs more is shrunk by the rule of docs/runs.md; null sets no limit."""

    hours: Amount | None = None
    """Wall-clock hours with the launcher's workers, by a short benchmark of each size."""
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
    """Run the benchmark of each size again, even if this machine's cache has it."""


class FitSpec(Spec):
    """Estimation of the laws."""

    huber_delta: PositiveFloat | None = None
    """Width of the Huber loss on the log-loss residual; by default 1.345 times the residuals' scaled MAD."""
    interval: Literal["auto", "pairs", "cluster", "profile"] = "auto"
    """Intervals of the joint laws: resampled points or runs (`pairs`), resampled model sizes (`cluster`), profile likelihood
    for E and the exponents (`profile`), or pairs joined with clusters where the residuals may differ between sizes (`auto`)."""
    bootstrap: Annotated[int, Field(ge=0, le=10**6)] = 1000
    """Bootstrap resamples behind the intervals; 0 gives none."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.90
    """Nominal coverage of the intervals."""
    seed: NonNegativeInt = 0
    """Seed of the resampling."""


class ReportSpec(Spec):
    """The report."""

    title: str | None = None
    """Title of the page; by default the sweep's name."""


Model = Annotated[
    Annotated[ModelSpec, Tag("decoder")] | Annotated[ArchitectureSpec, Tag("architecture")],
    Discriminator(lambda value: "architecture" if "architecture" in dict(value) else "decoder"),
]


class Settings(Spec):
    """Everything that one command needs, after Hydra has composed it."""

    dir: Annotated[str, Field(min_length=1)]
    """The sweep's directory."""
    count: CountSpec = CountSpec()
    sweep: SweepSpec
    recipe: RecipeSpec
    model: Model
    data: DataSpec
    optim: OptimSpec
    train: TrainSpec
    launcher: LauncherSpec
    budget: BudgetSpec = BudgetSpec()
    cost: CostSpec = CostSpec()
    logger: LoggerSpec = LoggerSpec()
    fit: FitSpec = FitSpec()
    report: ReportSpec = ReportSpec()


def parse_settings(values: Mapping[str, Any]) -> Settings:
    """Validate nested plain data.

    Raises:
        SpecError: one sentence for each wrong key, with its path, value, what is allowed, and near misses.
    """
    return parse(Settings, values)
