"""What a device is called, how much of its memory is used, and what its errors mean."""

import math
import os
import platform
import re
import resource
import sys
import tempfile

import torch

from scalesweep.errors import DataError, DeviceLost
from scalesweep.files import cache_home

OTHERS_BYTES = 2 * 2**30
"""Memory of a GPU that is neither free nor kept by this process's allocator: more of it than its own context takes belongs to
others. A judgement; contexts with the libraries' kernels take about half a GiB."""
_DEVICE_WORDS = re.compile(r"CUDA (driver )?error:|CUBLAS_STATUS_|CUDNN_STATUS_|NVRTC_ERROR|device kernel image is invalid")
"""In what a RuntimeError says of a device that refuses."""


def device_name(device: torch.device) -> str:
    """What the user calls the device: the GPU's model, or the processor's architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the system, had no memory left.

    Libraries beside torch's allocator (graphs, cuBLAS, modules that are loaded) say so in words alone.
    """
    words = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(w in str(error) for w in words)
    )


def is_device_lost(error: BaseException) -> bool:
    """Whether the GPU has refused something, such as a wrong address: as a rule no later call of this process can succeed."""
    if is_out_of_memory(error):
        return False
    is_refusal = isinstance(error, RuntimeError) and bool(_DEVICE_WORDS.search(first_line(error)))
    return is_refusal or isinstance(error, getattr(torch, "AcceleratorError", ()))


def first_line(error: BaseException) -> str:
    """What an exception says: of the several lines of a CUDA error the first is the cause, the others are general advice."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))


def bytes_of_others(device: torch.device) -> int:
    """Memory of a GPU that other processes hold, and this one outside its allocator; 0 on CPU."""
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return max(0, total - free - torch.cuda.memory_reserved(device))


def free_bytes(device: torch.device, sharing: int = 1) -> float:
    """Memory that this process can get: of a GPU that `sharing` workers have no more than its share; on CPU without limit."""
    if device.type != "cuda":
        return math.inf
    free, total = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(free + unused, total / sharing)


def device_identity(device: torch.device) -> str:
    """What the user calls the device and, of a GPU, which one it is."""
    if device.type != "cuda":
        return device_name(device)
    return f"{device_name(device)} {str(torch.cuda.get_device_properties(device).uuid)[:8]}"


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory in use so far: of tensors since the last `reset_peak_memory` on CUDA, of the whole process on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss: bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory(device: torch.device) -> None:
    """Begin to count the peak anew, where the device can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def release_cached(device: torch.device) -> None:
    """Give back the memory that the allocator keeps of tensors that are gone."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def prepare_device(name: str) -> torch.device:
    """The device; on CPU with one thread, which makes results repeatable and small steps fast; a GPU as the current one."""
    device = torch.device(name)
    if device.type == "cpu":
        torch.set_num_threads(1)
        return device
    if device.index is not None:
        torch.cuda.set_device(device)  # streams and graphs are made on the current one
    _keep_compiled_code()
    return device


def open_device(name: str) -> torch.device:
    """The device, opened.

    Raises:
        DeviceLost: the GPU refuses.
    """
    try:
        device = prepare_device(name)
        if device.type == "cuda":
            torch.cuda.mem_get_info(device)
        return device
    except RuntimeError as error:
        raise DeviceLost(f"{name} has failed: {first_line(error)}") from None


def _keep_compiled_code() -> None:
    """Have torch's compiler keep its code in the user's cache, for all workers and sweeps, unless the environment says where.

    Left to itself it takes a folder of temporary files, which does not last, by the user's name, which not every user has, and
    Triton, which it calls, one in the user's home.
    """
    try:
        folder = str(cache_home() / "compiled" / "code")
    except DataError:
        folder = os.path.join(tempfile.gettempdir(), f"torchinductor_{os.getuid()}")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", folder)
    os.environ.setdefault("TRITON_CACHE_DIR", os.path.join(os.environ["TORCHINDUCTOR_CACHE_DIR"], "triton"))
