"""Jobs of a Slurm cluster: an array of pilots, each of which joins the sweep on its node.

Submitted by submitit. A pilot gets SIGUSR2 before its time limit, and before preemption where the cluster sends it: then its
workers write checkpoints and give their cells back, and the job requeues itself. A job that is killed without notice is
requeued by Slurm, and its cells go on from their last checkpoints; one that ends for good is missed by `scalesweep run`, which
submits another. `scalesweep run` may be stopped and repeated: jobs are found again by their name, in which the sweep's
directory is hashed. Nothing asks `sacct`, which not every cluster has.

submitit hands the jobs a pickle. It lies with the prepared corpora, in the user's cache, which all nodes must see; never in the
sweep's directory, of which nothing is unpickled.
"""

import contextlib
import getpass
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scalesweep.errors import EXIT_AGAIN, EXIT_INTERRUPTED, EXIT_OK, SpecError, StoreError
from scalesweep.packages import pip_line
from scalesweep.run.launch.cluster import End, keep_jobs, start_worker, tail_of_logs
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.launch.signals import STOP_SECONDS
from scalesweep.run.store.owner import is_running
from scalesweep.run.store.store import Store
from scalesweep.settings.run import LauncherSpec
from scalesweep.settings.settings import Settings
from scalesweep.settings.trust import trust_words
from scalesweep.train.data.corpus import cache_dir
from scalesweep.units import format_duration

LOOK_SECONDS = 10.0
"""Between two questions to Slurm's controller, which serves everybody."""
ANSWER_SECONDS = 300.0
"""Silence of Slurm that is waited for while no cell is held: by default a second controller takes over after 120 s of it
(SlurmctldTimeout of slurm.conf). While cells are trained it is waited for as long as they take, as jobs need no controller."""
SIGNAL_SECONDS = 90
"""Before the time limit, at most: when the job is told to write checkpoints."""
KILL_SECONDS = 600.0
"""A job that got SIGTERM is about to be killed, and requeued if it was preempted; it waits for that so long at most."""
_SILENT = ("contact slurm controller", "timed out", "onnection refused")
"""In what sbatch says where it gets no answer."""
NEVER = 10**6
"""Timeouts after which submitit would not requeue a job any more."""


def run_slurm(store: Store, settings: Settings, device: str, monitor: Monitor) -> None:
    """Keep jobs in the queue as long as there are cells to claim."""
    keep_jobs(store, SlurmQueue(store, settings, device), monitor)


def job_name(store: Store) -> str:
    """Name of the jobs of a sweep, by which they are found again."""
    place = hashlib.sha256(str(store.directory.resolve()).encode()).hexdigest()[:8]
    return f"scalesweep-{store.plan_file.content()['name']}-{place}"


@dataclass
class SlurmQueue:
    """The jobs of one sweep in the queue of a Slurm cluster."""

    store: Store
    settings: Settings
    device: str
    seen: Counter[str] | None = None
    """Jobs by state and, where they wait, reason, as last seen; None where Slurm does not answer."""
    looked: float = -1e9
    answered: float = field(default_factory=time.monotonic)
    """When Slurm last answered."""

    def __post_init__(self) -> None:
        require_slurm()
        self.workers_per_job = self.settings.launcher.workers_per_job
        assert self.settings.launcher.workers != "auto"
        self.most = -(-self.settings.launcher.workers // self.workers_per_job)

    def submit(self, number: int) -> None:
        """Add an array of jobs."""
        import submitit

        folder = cache_dir(self.settings.data) / "slurm" / job_name(self.store)
        if not self.alive():
            shutil.rmtree(folder, ignore_errors=True)  # of jobs that are gone
        executor = submitit.SlurmExecutor(folder / str(time.time_ns()), max_num_timeout=NEVER)
        executor.update_parameters(**sbatch_parameters(self.settings.launcher, job_name(self.store), number))
        pilot = Pilot(str(self.store.directory.resolve()), self.device, self.workers_per_job, tuple(trust_words()))
        try:
            executor.map_array(pilot, range(number))
        except submitit.core.utils.FailedJobError as error:
            said = _said(error)
            remedy = "See scontrol ping, and repeat the command when the controller answers."
            if not any(word in said for word in _SILENT):
                remedy = (
                    "What they ask for is in launcher.partition, qos, account, constraint, gres, minutes, sbatch; sinfo lists "
                    "the partitions."
                )
            raise StoreError(f"sbatch refuses the jobs: {said} {remedy}") from None
        self.looked = -1e9

    def alive(self) -> int:
        """Jobs that wait or run, by squeue; while Slurm does not answer, as many as may be, so that none is added blindly.

        Raises:
            StoreError: Slurm does not answer for long, and no cell is being trained.
        """
        self._look()
        silence = time.monotonic() - self.answered
        if self.seen is None and silence > ANSWER_SECONDS and "RUNNING" not in self.store.states().values():
            raise StoreError(
                f"Slurm has not answered for {format_duration(silence)} (squeue); see scontrol ping, and repeat the command "
                "when it does, or use launcher=local."
            )
        return self.most if self.seen is None else self.seen.total()

    def _look(self) -> None:
        """Ask Slurm for the jobs, if that was not done just now."""
        if time.monotonic() - self.looked > LOOK_SECONDS:
            self.seen, self.looked = jobs_of(self.store), time.monotonic()
            if self.seen is not None:
                self.answered = self.looked

    def describe(self) -> str:
        """Jobs by state, with the reasons for which they wait."""
        self._look()
        return "Slurm does not answer (squeue)" if self.seen is None else in_words(self.seen)

    def last_words(self) -> str:
        """What the youngest job wrote."""
        folder = cache_dir(self.settings.data) / "slurm" / job_name(self.store)
        return f"{tail_of_logs(self.store, 'slurm-')} What Slurm wrote is below {folder}."

    def close(self, end: End) -> str:
        """Take back the jobs that have not started, unless the sweep is to go on without this process."""
        if end != "left":
            withdraw(self.store)
            return ""
        self._look()
        if self.seen is None:
            return (
                "Slurm does not answer, so that it is not known whether jobs of this sweep stay in its queue; scalesweep "
                f"cancel {self.store.directory} ends those that there are."
            )
        if not self.seen:
            return ""
        return (
            f"The jobs stay in the queue ({self.describe()}) and go on. The same command follows them again, scalesweep status "
            f"{self.store.directory} shows them, scalesweep cancel {self.store.directory} ends them."
        )


def require_slurm() -> None:
    """Refuse a machine that cannot submit.

    Raises:
        SpecError: submitit or the commands of Slurm are missing.
    """
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise SpecError(f"launcher=slurm needs submitit: {pip_line('submitit')}.") from None
    missing = [name for name in ("sbatch", "squeue", "srun", "scontrol") if shutil.which(name) is None]
    if missing:
        raise SpecError(
            f"launcher=slurm: {', '.join(missing)} not found; run this on a login node of Slurm, or use launcher=local."
        )


def sbatch_parameters(launcher: LauncherSpec, name: str, number: int) -> dict[str, Any]:
    """The settings as submitit's parameters; those that are null are left to the cluster."""
    named = {
        "partition": launcher.partition,
        "qos": launcher.qos,
        "account": launcher.account,
        "constraint": launcher.constraint,
        "gres": launcher.gres,
        "gpus_per_node": launcher.gpus if launcher.gpus and launcher.gres is None else None,
        "mem": None if launcher.memory_gb is None else f"{round(launcher.memory_gb * 1024)}M",
        "setup": list(launcher.setup) or None,
    }
    further = {option.replace("_", "-"): value for option, value in launcher.sbatch.items()}
    return {
        **{option: value for option, value in named.items() if value is not None},
        "job_name": name,
        "time": launcher.minutes,
        "nodes": 1,
        "cpus_per_task": launcher.cpus,
        "array_parallelism": number,
        "signal_delay_s": min(SIGNAL_SECONDS, 20 * launcher.minutes),
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **further},
    }


def _said(error: Exception) -> str:
    """The last thing that sbatch wrote, as a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if "sbatch:" in line]
    said = lines[-1].partition("sbatch:")[2].strip().removeprefix("error: ") if lines else "no reason was given"
    return f"{said.rstrip('.')}."


def jobs_of(store: Store) -> Counter[str] | None:
    """Jobs of the sweep by state and, where they wait, reason; None where there is no Slurm, or it does not answer."""
    rows = squeue(store, "%T|%r")
    return None if rows is None else Counter(state if state != "PENDING" else f"PENDING {why}" for state, why in rows)


def withdraw(store: Store) -> None:
    """Take back the jobs of the sweep that have not started."""
    waiting = [job for job, state in squeue(store, "%i|%T") or () if state == "PENDING"]
    if waiting:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(["scancel", *waiting], capture_output=True, timeout=60, check=False)


def squeue(store: Store, columns: str) -> list[Sequence[str]] | None:
    """A row a job, None where Slurm does not answer, as while its controller is restarted."""
    command = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", f"--name={job_name(store)}"]
    try:
        found = subprocess.run([*command, f"--format={columns}"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.split("|") for line in found.stdout.splitlines()]


def in_words(seen: Mapping[str, int]) -> str:
    """Jobs by state in words, such as: 2 running, 6 pending (Resources)."""
    parts = []
    for what, number in sorted(seen.items(), key=lambda item: (item[0] != "RUNNING", item[0])):
        state, _, reason = what.partition(" ")
        parts.append(f"{number} {state.lower()}{f' ({reason})' if reason else ''}")
    return f"Slurm jobs: {', '.join(parts) or 'none'}"


_children: list[int] = []
"""Process ids of what this job started."""


@dataclass(frozen=True)
class Pilot:
    """What a job runs: `scalesweep worker`. submitit calls `checkpoint` on SIGUSR2, and then requeues the job."""

    directory: str
    device: str
    workers: int
    more: tuple[str, ...] = ()
    """Further words of `scalesweep worker`."""

    def __call__(self, number: int) -> int:
        """Join the sweep; the exit code of `scalesweep worker`."""
        child = start_worker(self.directory, self.device, self.workers, f"slurm-{_job_id(number)}", self.more)
        _children.append(child.pid)
        while (code := child.poll()) is None:  # not wait(), whose lock the signal handler would find taken
            time.sleep(0.2)
        if code == EXIT_INTERRUPTED:
            time.sleep(KILL_SECONDS)  # a preempted job that ends by itself would not be requeued
        if code not in (EXIT_OK, EXIT_AGAIN, EXIT_INTERRUPTED):
            raise RuntimeError(f"scalesweep worker ended with exit code {code}")
        return code

    def checkpoint(self, number: int) -> Any:
        """Stop the workers in order, and say what the requeued job is to run."""
        from submitit.helpers import DelayedSubmission

        for pid in _children:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.kill(pid, signal.SIGUSR1)
        deadline = time.monotonic() + STOP_SECONDS
        while any(map(is_running, _children)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return DelayedSubmission(self, number)


def _job_id(number: int) -> str:
    """What people call the job: that of the array and the number in it, if it is one."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', number)}" if array else os.environ.get("SLURM_JOB_ID", str(number))
