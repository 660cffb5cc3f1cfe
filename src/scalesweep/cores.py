"""How many CPU cores this process may use: by its affinity, by its container's quota, and by its Slurm task."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


def cores() -> list[int]:
    """The cores that the system lets this process run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def num_cores(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> int:
    """Single-threaded processes that can run at full speed.

    A container with `--cpus=2` may run on every core, and is stopped when all of them together have used its share of the time
    (cgroup v2 `cpu.max`, v1 `cpu.cfs_quota_us`); a Slurm task may be granted fewer cores than it is bound to.

    Args:
        root: of the file system, with /proc and /sys.
        environment: in which Slurm states SLURM_CPUS_PER_TASK.
    """
    granted = environment.get("SLURM_CPUS_PER_TASK", "")
    limits = [len(cores()), *_quotas(root), *([int(granted)] if granted.isdigit() else [])]
    return max(1, int(min(limits)))


def _quotas(root: Path) -> Iterator[float]:
    """Of the cgroup of this process and of those above it, in cores."""
    top = root / "sys" / "fs" / "cgroup"
    for folder in (top, *_folders(root, top)):
        with contextlib.suppress(OSError, ValueError):  # "max", or -1, is no limit
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        with contextlib.suppress(OSError, ValueError):
            if (us := int((folder / "cpu.cfs_quota_us").read_text())) > 0:
                yield us / int((folder / "cpu.cfs_period_us").read_text())


def _folders(root: Path, top: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for line in (root / "proc" / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            place = (top / controllers if controllers else top) / path.lstrip("/")
            while place != top and top in place.parents:
                yield place
                place = place.parent
