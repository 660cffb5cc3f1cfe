"""`python -m scalesweep.run DIR --device cpu` is a worker (`scalesweep.run.worker`)."""

import gc
import os

from scalesweep.process import leave


def run() -> None:
    """One worker in a process of its own."""
    gc.disable()  # nothing that torch and this package define can be given back: looking at it is a fifth of the start
    import torch

    from scalesweep.run.worker import main

    gc.freeze()
    gc.enable()
    code = main()
    if torch.distributed.is_initialized():
        os._exit(code)  # without the end of the process group, which may hang
    leave(code)


if __name__ == "__main__":
    run()
