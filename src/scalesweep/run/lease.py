"""Holding cells while training: heartbeats as long as there is progress, and the ends that a worker can be told of."""

import contextlib
import math
import os
import signal
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from scalesweep.run.store.store import HEARTBEAT_SECONDS, Claim, Store

HANG_FACTOR = 20.0
HANG_SECONDS = 60.0
"""Training that makes no step for this long, and for `HANG_FACTOR` times its median step, hangs.

A judgement: evaluations tell of each of their parts, and before the first step and while a file is written `START_SECONDS` are
given, so that a healthy run is never silent for more than a few steps.
"""
START_SECONDS = 600.0
"""The same before the first step, which loads libraries, compiles kernels and waits for disks, and while a file is written."""

CANCEL_SECONDS = 1.0
"""Between two looks for a request to cancel."""


class LeaseLost(Exception):
    """Another worker has the cell now; nothing more may be written for it."""


@dataclass
class Stop:
    """Whether this worker was asked to stop: by a signal, or by the end of the process that started it."""

    parent: int | None = None
    signalled: signal.Signals | None = field(default=None, init=False)

    def __call__(self) -> bool:
        """True from the moment of the request."""
        return self.signalled is not None or (self.parent is not None and os.getppid() != self.parent)

    def on_signals(self, *signals: signal.Signals) -> "Stop":
        """Take the signals as the request."""
        for number in signals:
            signal.signal(number, lambda number, _: setattr(self, "signalled", signal.Signals(number)))
        return self


class Lease:
    """Keeps a worker's claims alive in a thread while its training makes steps, and tells the training when they are lost."""

    def __init__(self, store: Store, claims: Sequence[Claim], say: Callable[[str], None] = lambda _: None) -> None:
        self._store, self._claims, self._say = store, claims, say
        self._checked = self._stepped = time.monotonic()
        self._intervals: deque[float] = deque(maxlen=101)  # of late, as the pace changes with what else runs on the device
        self._lost = self._is_writing = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def progress(self) -> None:
        """Called by the training thread after every step, and after every part of an evaluation."""
        now = time.monotonic()
        self._intervals.append(now - self._stepped)
        self._stepped = now

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A block in which files are written, on disks that may be slow."""
        self._is_writing = True
        try:
            yield
        finally:
            self._stepped, self._is_writing = time.monotonic(), False

    def patience(self) -> float:
        """Seconds without progress after which the training hangs."""
        if self._is_writing:
            return START_SECONDS
        intervals = list(self._intervals)
        return max(HANG_SECONDS, HANG_FACTOR * statistics.median(intervals)) if intervals else START_SECONDS

    def check(self) -> None:
        """Raise LeaseLost if others took every cell over, as can happen to a process that was paused."""
        now = time.monotonic()
        if not self._lost and now - self._checked > HEARTBEAT_SECONDS:
            self._checked = now
            self._lost = not any(self._store.claims.holds(claim) for claim in self._claims)
        if self._lost:
            raise LeaseLost

    def _beat(self) -> None:
        held, beaten = list(self._claims), time.monotonic()
        while held and not self._done.wait(HEARTBEAT_SECONDS):
            now = time.monotonic()
            # A beat that comes late by more than another one: this thread was not run, so the training was not either.
            self._stepped += max(0.0, now - beaten - 2 * HEARTBEAT_SECONDS)
            beaten = now
            if (silent := time.monotonic() - self._stepped) > (patience := self.patience()):
                self._give_up(held, f"hung: no step for {silent:.0f} s, where {patience:.0f} s are allowed")
                return
            held = [claim for claim in held if self._renew(claim)]

    def _renew(self, claim: Claim) -> bool:
        try:
            return self._store.claims.heartbeat(claim)
        except OSError:  # the directory is out of reach: try again; the training notices by itself where it must write
            return True

    def _give_up(self, held: Sequence[Claim], reason: str) -> None:
        self._lost = True
        self._say(f"{', '.join(c.key for c in held)} given up, {reason}")
        for claim in held:
            try:
                self._store.claims.give_up(claim, reason)
            except OSError:
                return  # without heartbeats the claims become stale by themselves


def or_cancelled(stop: Callable[[], bool], store: Store) -> Callable[[], bool]:
    """`stop`, or that the sweep was cancelled, which is looked for at most once a second."""
    looked, found = -math.inf, False

    def asked() -> bool:
        nonlocal looked, found
        if time.monotonic() - looked > CANCEL_SECONDS:
            looked, found = time.monotonic(), store.is_cancelled()
        return stop() or found

    return asked


def sleep_watch() -> Callable[[], bool]:
    """Tells whether the machine has slept since the last question, as a laptop does, or its clock was set forward."""
    behind = time.time() - time.monotonic()

    def has_slept() -> bool:
        nonlocal behind
        before, behind = behind, time.time() - time.monotonic()
        return behind - before > HEARTBEAT_SECONDS

    return has_slept
