"""How a process of this package ends."""

import gc
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End this process with an exit code, in order but for the memory, which the system takes back whole.

    The interpreter would first look for cycles in everything that torch, pandas and matplotlib define: .25 s of a worker's or a
    report's time (`scripts/bench_waiting.py`).
    """
    gc.freeze()
    sys.exit(code)
