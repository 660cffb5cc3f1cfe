"""The exceptions that a user can meet, the exit codes that go with them, and refusals that are values.

    ScaleSweepError          any failure that has a plain sentence for the user (exit code 2)
    ├── SpecError            a setting, an override or a combination of settings is wrong
    ├── DataError            a corpus cannot be found, read or tokenized
    ├── PointsError          a table of measured points cannot be read or is not valid
    ├── FitError             a law cannot be estimated from these points at all
    ├── StoreError           the sweep's directory cannot be used
    └── DeviceLost           a GPU has failed, for this process or for good (exit code 69)

A message is one sentence that says what is wrong, the value, what is allowed, and the remedy. Exceptions of other types are
faults of the program and keep their traceback.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

EXIT_OK = 0
EXIT_BAD_INPUT = 2
EXIT_INCOMPLETE = 3
EXIT_DOUBTED = 4
"""The law has something that `fail_on` names; everything was written."""
EXIT_DEVICE = 69
"""The GPU has failed, or every GPU of this machine (EX_UNAVAILABLE of sysexits.h)."""
EXIT_STORAGE = 74
"""Of a worker: the sweep's directory is full, read-only or gone (EX_IOERR of sysexits.h)."""
EXIT_AGAIN = 75
"""Stopped by SIGUSR1, as a queue sends it before a time limit: run the same command again (EX_TEMPFAIL of sysexits.h)."""
EXIT_INTERRUPTED = 130


class ScaleSweepError(Exception):
    """Base class of every failure that is the user's to mend."""


class SpecError(ScaleSweepError, ValueError):
    """A setting is wrong; the message starts with the setting's path."""


class DataError(ScaleSweepError):
    """A corpus cannot be found, read or tokenized."""


class PointsError(ScaleSweepError, ValueError):
    """A table of measured points is not valid; the message names the row and the column."""


class FitError(ScaleSweepError):
    """A law cannot be estimated at all, for instance from too few points."""


class StoreError(ScaleSweepError):
    """The sweep's directory cannot be used."""


class DeviceLost(ScaleSweepError):
    """A GPU has failed; another process may be able to use it, or nobody."""


class Requeue(KeyboardInterrupt):
    """SIGUSR1 asked the program to stop and to be started again later."""


class Cancelled(KeyboardInterrupt):
    """Somebody cancelled the sweep (`scalesweep cancel`)."""


@dataclass(frozen=True)
class Refused:
    """Stands in place of a value that the data cannot carry, where the rest of an answer goes on without it."""

    reason: str
    """One sentence or more, for the user."""
    code: str = ""
    """What kind of refusal this is, for programs; empty where nothing asks."""

    def __str__(self) -> str:
        return self.reason


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """The near misses of `word` as a clause that can follow a sentence, or an empty string."""
    near = difflib.get_close_matches(word, sorted(allowed), n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
