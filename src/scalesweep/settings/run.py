"""Where and how it is measured: launcher, retries, pool, logger."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from scalesweep.settings.base import AutoCount, Spec

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


class StoreSpec(Spec):
    """Cells that sweeps share, each measured once: see [runs.md](runs.md#cells-measured-once)."""

    pool: Annotated[str, Field(min_length=1)] | None = None
    """Directory of complete cells, made when it is missing. A cell that stands there, measured by the same version of torch on
    the same kind of device, is taken with its curve instead of trained; a newly finished one is added. Null shares nothing."""

    @field_validator("pool")
    @classmethod
    def _absolute(cls, pool: str | None) -> str | None:
        """Workers may start in other directories than the command that was given this path."""
        return None if pool is None else str(Path(pool).expanduser().absolute())


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
            raise ValueError("launcher=slurm needs workers, for example launcher.workers=8")
        if reserved := sorted({name.replace("_", "-") for name in self.sbatch} & _SBATCH_RESERVED):
            raise ValueError(f"sbatch must not hold {', '.join(reserved)}, which the launcher sets itself")
        return self

    @property
    def workers_per_job(self) -> int:
        """Workers of each job or task of a cluster."""
        return self.gpus * self.workers_per_gpu or self.cpus
