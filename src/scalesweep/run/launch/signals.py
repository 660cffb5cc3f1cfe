"""Signals that end a sweep in order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from scalesweep.errors import Requeue

STOP_SECONDS = 60.0
"""What workers are given to write their checkpoints and end, once they are told."""


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, SIGUSR1 likewise with another exit code, and SIGHUP as SIGTERM.

    A SIGHUP that is ignored, as under nohup, stays so.
    """

    def interrupt(number: int, _: object) -> None:
        if number == signal.SIGHUP:
            signal.raise_signal(signal.SIGTERM)  # to whatever handles that now: an inline worker first writes its checkpoint
        else:
            raise Requeue if number == signal.SIGUSR1 else KeyboardInterrupt

    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGUSR1, *hangup)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
