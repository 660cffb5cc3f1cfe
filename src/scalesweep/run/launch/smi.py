"""What nvidia-smi says of the GPUs and their driver; nothing where it is not there or fails."""

import functools
import re
import subprocess
from collections.abc import Sequence


@functools.cache
def said(*words: str) -> str:
    """What nvidia-smi prints, asked once."""
    try:
        return subprocess.run(["nvidia-smi", *words], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def listed_gpus() -> tuple[str, ...]:
    """The GPUs by name, such as `NVIDIA H100 80GB HBM3`."""
    lines = said("-L").splitlines()
    return tuple(match[1] for line in lines if (match := re.match(r"GPU \d+: (.*?)(?: \(UUID|$)", line)))


def driver_cuda() -> str:
    """The newest CUDA that the driver serves, such as `12.4`."""
    found = re.search(r"CUDA Version: *(\d+\.\d+)", said())
    return found[1] if found else ""


def driver_version() -> str:
    """Of the driver, such as `580.65.06`."""
    found = re.search(r"Driver Version: *([\d.]+)", said())
    return found[1] if found else ""


def compute_mode(uuid: str) -> str:
    """Whether several processes may use a GPU: Default, Exclusive_Process, Prohibited."""
    rows = _rows("--query-gpu=uuid,compute_mode")
    return next((row[1] for row in rows if len(row) == 2 and uuid and uuid in row[0]), "")


def processes(uuid: str) -> list[str]:
    """Names of the programs that compute on a GPU, as far as nvidia-smi may know them: in a container it sees none."""
    return [row[1] for row in _rows("--query-compute-apps=gpu_uuid,process_name") if len(row) == 2 and uuid and uuid in row[0]]


def _rows(query: str) -> Sequence[list[str]]:
    return [[part.strip() for part in line.split(",")] for line in said(query, "--format=csv,noheader").splitlines()]
