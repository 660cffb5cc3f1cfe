"""Signals that end a sweep in order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from scalesweep.errors import Requeue

STOP_SECONDS = 60.0
"""What workers are given to write their checkpoints and end, once they are told."""


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, and SIGUSR1 likewise with another exit code."""

    def interrupt(number: int, _: object) -> None:
        raise Requeue if number == signal.SIGUSR1 else KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
