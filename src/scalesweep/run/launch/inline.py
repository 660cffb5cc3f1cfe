"""This process is the worker."""

import signal
import time
from collections.abc import Callable
from types import FrameType

from scalesweep.errors import Requeue, StoreError
from scalesweep.run.launch.device import first_usable
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.lease import Stop
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings

POLL_SECONDS = 0.5
POLL_SHARE = 20.0
"""The pause after a look at all cells is at least so many times as long as the look, which training waits for."""


def run_inline(store: Store, settings: Settings, device: str, monitor: Monitor) -> None:
    """Measure one cell after another in this process, on the CPU or the first GPU that can be used."""
    from scalesweep.run.worker import work
    from scalesweep.train.device import prepare_device

    stop = Stop()
    previous: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    }
    stop.on_signals(*previous)

    due, failures = 0.0, list[StoreError]()

    def poll_and_ask() -> bool:
        nonlocal due
        if (now := time.monotonic()) > due:  # asked after every step, which can be a millisecond
            try:
                monitor.poll()
            except StoreError as error:  # of a file of some other cell: this one gets its checkpoint first
                failures.append(error)
            due = time.monotonic() + max(POLL_SECONDS, POLL_SHARE * (time.monotonic() - now))
        return stop() or bool(failures)

    try:
        with monitor.showing():
            work(store, prepare_device(first_usable(device)), poll_and_ask)
            if failures:
                raise failures[0]
            monitor.poll()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if stop() or store.is_cancelled():
        raise Requeue if stop.signalled is signal.SIGUSR1 else KeyboardInterrupt
