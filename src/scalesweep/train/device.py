"""What a device is called, how much of its memory is used, and what its errors mean."""

import platform
import resource
import sys

import torch


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
    """Whether a GPU has refused something for good, such as a wrong address: no later call of this process can succeed."""
    return isinstance(error, getattr(torch, "AcceleratorError", ())) and not is_out_of_memory(error)


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


def prepare_device(name: str) -> torch.device:
    """The device; on CPU with one thread, which makes results repeatable and small steps fast; a GPU as the current one."""
    device = torch.device(name)
    if device.type == "cpu":
        torch.set_num_threads(1)
    elif device.index is not None:
        torch.cuda.set_device(device)  # streams and graphs are made on the current one
    return device
