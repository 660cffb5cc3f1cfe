"""What the stand-in has counted in this process: `reset()`, do something, `report()`.

Counters are named launched_KIND (kernel, gemm, memcpy, memset), copy_H2D and the like, sync_*, graph_*, captures*, forbidden_*;
`device_ns` is the modelled time.
"""

import ctypes
import functools
from typing import Any


@functools.cache
def library() -> Any:
    """The stand-in's libcudart, which torch has loaded."""
    loaded = ctypes.CDLL("libcudart.so.13")
    loaded.fake_report.restype = ctypes.c_char_p
    return loaded


def report() -> dict[str, int]:
    """Every counter since `reset`."""
    lines = library().fake_report().decode().splitlines()
    return {name: int(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def reset() -> None:
    """Set every counter to zero."""
    library().fake_reset()
