"""Tasks of a Ray cluster, each of which joins the sweep on its node.

The cluster runs already (`launcher.address=auto`, or ray://HOST:10001), or is started on this machine and ends with the sweep.
Ray's own retries are off: a task that is lost, with its worker process or its node, is missed by the loop, and its cells go on
from their last checkpoints, as with every launcher.
"""

import contextlib
import logging
import os
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from scalesweep.errors import EXIT_AGAIN, EXIT_INTERRUPTED, EXIT_OK, SpecError
from scalesweep.packages import pip_line
from scalesweep.run.launch.cluster import End, keep_jobs, start_worker, tail_of_logs
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.launch.signals import STOP_SECONDS
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings
from scalesweep.settings.trust import trust_words


def run_ray(store: Store, settings: Settings, device: str, monitor: Monitor) -> None:
    """Keep tasks on the cluster as long as there are cells to claim."""
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        _connect(ray, settings.launcher.address)
    keep_jobs(store, RayQueue(store, settings, device, ray, started), monitor)


def _import_ray() -> Any:
    """The module, which takes seconds to import.

    Raises:
        SpecError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise SpecError(f"launcher=ray needs ray: {pip_line('ray')}.") from None
    return ray


def _connect(ray: Any, address: str | None) -> None:
    """Connect to a running cluster, or start one on this machine.

    Raises:
        SpecError: there is no cluster at the address.
    """
    dashboard = None if address else False
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
    except (ConnectionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SpecError(
            f"launcher.address = {address!r}: no Ray cluster answers ({reason}); start one with `ray start --head`, or use "
            "launcher.address=null, which starts one on this machine."
        ) from None


@dataclass
class RayQueue:
    """The tasks of one sweep on a Ray cluster."""

    store: Store
    settings: Settings
    device: str
    ray: Any
    started: bool
    """Whether this process was not connected before."""
    tasks: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        spec = self.settings.launcher
        self.workers_per_job = spec.workers_per_job
        memory = None if spec.memory_gb is None else round(spec.memory_gb * 1e9)
        self._needs = {"CPU": float(spec.cpus), "GPU": float(spec.gpus), "memory": float(memory or 0)}
        if spec.address is None and not self._fits():
            self.close("left")
            raise SpecError(f"launcher.cpus, gpus, memory_gb: a task asks for {self._asked()}, and this machine has less.")
        self.most = self._room() if spec.workers == "auto" else -(-spec.workers // self.workers_per_job)
        remote = self.ray.remote(num_cpus=spec.cpus, num_gpus=spec.gpus, memory=memory, max_retries=0)
        self._task = remote(run_pilot)

    def submit(self, number: int) -> None:
        """Add tasks."""
        directory = str(self.store.directory.resolve())
        self.tasks += [self._task.remote(directory, self.device, self.workers_per_job, trust_words()) for _ in range(number)]

    def alive(self) -> int:
        """Tasks that wait or run."""
        if self.tasks:
            _, self.tasks = self.ray.wait(self.tasks, num_returns=len(self.tasks), timeout=0)
        return len(self.tasks)

    def describe(self) -> str:
        """How many tasks there are, and whether the cluster has room for one."""
        waits = "" if self._fits() else f"; no node has {self._asked()}, for which they wait"
        return f"Ray tasks: {len(self.tasks)}{waits}"

    def last_words(self) -> str:
        """What the youngest task wrote."""
        return tail_of_logs(self.store, "ray-")

    def close(self, end: End) -> str:
        """Let the workers write checkpoints and end, and leave the cluster; one that was started here ends."""
        for task in self.tasks if end != "finished" else ():
            self.ray.cancel(task)
        if self.tasks:
            self.ray.wait(self.tasks, num_returns=len(self.tasks), timeout=STOP_SECONDS)
        if self.started:
            self.ray.shutdown()
        return ""

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _fits(self) -> bool:
        """Whether a node has what a task asks for."""
        return any(all(node.get(name, 0.0) >= need for name, need in self._needs.items()) for node in self._nodes())

    def _room(self) -> int:
        """Tasks that the cluster can run at a time, at least one."""
        wanted = {name: need for name, need in self._needs.items() if need}
        return max(1, sum(int(min(node.get(name, 0.0) // need for name, need in wanted.items())) for node in self._nodes()))

    def _asked(self) -> str:
        units = {"CPU": "CPUs", "GPU": "GPUs", "memory": "bytes of memory"}
        return ", ".join(f"{need:g} {units[name]}" for name, need in self._needs.items() if need)


def run_pilot(directory: str, device: str, workers: int, more: list[str]) -> int:
    """What a task runs: `scalesweep worker`, stopped in order when the task is cancelled."""
    child = start_worker(directory, device, workers, f"ray-{socket.gethostname()}-{os.getpid()}", more)
    try:
        while (code := child.poll()) is None:
            time.sleep(0.2)
    except BaseException:  # KeyboardInterrupt is how a cancelled task is told
        child.terminate()
        with contextlib.suppress(Exception):
            child.wait(STOP_SECONDS)
        raise
    if code not in (EXIT_OK, EXIT_AGAIN, EXIT_INTERRUPTED):
        raise RuntimeError(f"scalesweep worker ended with exit code {code}")
    return code
