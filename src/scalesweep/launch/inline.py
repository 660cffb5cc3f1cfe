"""This process is the worker."""

import signal
from collections.abc import Callable
from types import FrameType

from scalesweep.config import Settings
from scalesweep.launch.monitor import Monitor
from scalesweep.store import Store


def run_inline(store: Store, settings: Settings, device: str, monitor: Monitor) -> None:
    """Measure one cell after another in this process."""
    from scalesweep.worker import Stop, prepare_device, work

    stop = Stop()
    previous: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    stop.on_signals(*previous)

    def poll_and_ask() -> bool:
        monitor.poll()
        return stop()

    try:
        with monitor.showing():
            work(store, prepare_device(device), poll_and_ask)
            monitor.poll()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if stop():
        raise KeyboardInterrupt
