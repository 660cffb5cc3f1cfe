"""Who made a claim, and whether that process is still there."""

import contextlib
import functools
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG_VARIABLE = "SCALESWEEP_LOG"
"""Where a launcher sends what its worker prints, relative to the sweep's directory."""


def this_process() -> dict[str, Any]:
    """Who claims: enough for another process of this host to see whether it is gone, and for people to find its log."""
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "pids": _pid_namespace(),
        "pid": pid,
        "started": _process_start(pid),
        "log": os.environ.get(LOG_VARIABLE, ""),
    }


def _pid_namespace() -> str:
    """The namespace that gives process ids their meaning: containers can share a host's name but not its processes."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


@functools.cache
def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _process_start(pid: int) -> str:
    """Start time of a process, which tells a process from a later one with its number; empty where /proc is not there."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return "" if fields[0] == "Z" else fields[19]
    return ""


def is_running(pid: int) -> bool:
    """Whether a process of this host is there and has not ended, where /proc is there to tell."""
    return bool(_process_start(pid))


def is_gone(owner: Mapping[str, Any]) -> bool:
    """Whether a claim was made by a process of this host that is no longer there.

    A claim of another start of a host with this name is judged by its heartbeat alone: two hosts may share a name.
    """
    return is_here(owner) and _process_start(owner["pid"]) != owner.get("started")


def is_here(owner: Mapping[str, Any]) -> bool:
    """Whether a claim was made where its process id means the same as in this process."""
    place = {"host": socket.gethostname(), "boot": _boot_id(), "pids": _pid_namespace()}
    known = bool(owner.get("boot")) and isinstance(owner.get("pid"), int)
    return known and all(owner.get(name) == value for name, value in place.items())


def rebooted(owner: Mapping[str, Any]) -> bool:
    """Whether a claim was made before a host of this name was last started: the machine died, not the process alone."""
    return bool(owner.get("host") == socket.gethostname() and owner.get("boot") and owner["boot"] != _boot_id())
