"""What torch makes of this machine's GPUs; run as `python -m scalesweep.train.gpus`, so that no other process opens them."""

import json
import sys
import warnings
from typing import Any

import torch

from scalesweep.train.device import first_line


def look() -> dict[str, Any]:
    """Version and CUDA of torch, why it sees no GPU, and of every GPU what it is and whether a kernel runs on it."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        number = torch.cuda.device_count()
        gpus = [_look_at(index) for index in range(number)]
    reason = "" if number else _why_none(warned)
    return {"torch": torch.__version__, "cuda": torch.version.cuda or "", "reason": reason, "gpus": gpus}


def _look_at(index: int) -> dict[str, Any]:
    device = torch.device("cuda", index)
    nothing = {"name": "", "uuid": "", "capability": [0, 0], "memory": 0, "free": 0, "trouble": ""}
    found: dict[str, Any] = {"index": index, **nothing}
    try:
        made = torch.cuda.get_device_properties(device)
        found |= {"name": made.name, "uuid": str(made.uuid), "capability": [made.major, made.minor]}
        found["memory"] = made.total_memory
        found["free"] = torch.cuda.mem_get_info(device)[0]
        torch.arange(8, device=device).sum().item()
    except RuntimeError as error:
        found["trouble"] = first_line(error)
    return found


def _why_none(warned: list[warnings.WarningMessage]) -> str:
    """What torch says when it is asked for a GPU all the same, without its advice."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # the latter of a build without CUDA
        return first_line(error).partition(". ")[0]
    return str(warned[0].message).splitlines()[0] if warned else "it gives no reason"


if __name__ == "__main__":
    json.dump(look(), sys.stdout)
