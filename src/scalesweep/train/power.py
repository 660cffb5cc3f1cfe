"""Power of NVIDIA GPUs, as nvidia-smi reads it from NVML: the board's draw, without the rest of the machine."""

import contextlib
import math
import subprocess
from collections.abc import Callable, Collection, Iterator

_QUERY = ["nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
_PROCESSES = ["nvidia-smi", "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader"]
_SETTLE = 10
"""Samples at the start that are not used: the sensor averages over a second (arXiv 2312.02741), ten samples."""


def mean_watts(gpu: str, work: Callable[[Callable[[], None]], object]) -> float | None:
    """Mean power of one GPU, sampled every 100 ms from when `work` calls what it is given; None where it cannot be read.

    The sensor of an A100 or H100 looks at a quarter of the time only (arXiv 2312.02741), so `work` should be steady from then
    on and take some seconds. Further calls change nothing.
    """
    meters: list[subprocess.Popen[str] | None] = []

    def begin() -> None:
        if not meters:
            meters.append(_meter(gpu))

    try:
        work(begin)
    finally:
        text = ""
        if meters and (meter := meters[0]):
            meter.terminate()
            text = meter.communicate()[0]
    return _mean(list(_numbers(text)))


def _meter(gpu: str) -> subprocess.Popen[str] | None:
    words = [*_QUERY, f"--id={gpu}", "--loop-ms=100"]
    try:
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return None


def watts_now(pids: Collection[int]) -> float | None:
    """Mean power at this moment of the GPUs of this machine on which processes compute; None where it cannot be read.

    Where nvidia-smi does not name the processes, as in a container, which numbers them otherwise, all GPUs that it shows count.

    Args:
        pids: the processes, of this machine; without any there is nothing to read.
    """
    if not pids:
        return None
    pairs = (line.partition(",") for line in _said(_PROCESSES).splitlines())
    gpus = sorted({gpu.strip() for gpu, _, pid in pairs if pid.strip() in map(str, pids)})
    return _mean(list(_numbers(_said([*_QUERY, f"--id={','.join(gpus)}"] if gpus else _QUERY))))


def _said(command: list[str]) -> str:
    """What a command prints; nothing where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _numbers(text: str) -> Iterator[float]:
    for line in text.splitlines():
        with contextlib.suppress(ValueError):  # [N/A], and a line that was cut off
            if math.isfinite(number := float(line)) and number > 0:
                yield number


def _mean(samples: list[float]) -> float | None:
    used = samples[_SETTLE:] if len(samples) > 2 * _SETTLE else samples
    return sum(used) / len(used) if used else None
