"""health.json beside sweep.json: the spikes found in curves of finished cells, so that each curve is looked at once.

A curve is told by its file's modification time, size and inode, and so one that has changed is looked at again. The file only
saves time: without it, or where the directory cannot be written, all is found anew.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import astuple
from typing import Any, NamedTuple

from scalesweep.analysis.health import Spike, find_spikes
from scalesweep.files import Damaged, read_json, sealed, write_text
from scalesweep.run.store.store import Store

SCHEMA = 1
"""Of health.json; raised when a field changes its meaning or goes."""


class Spikes(NamedTuple):
    """What is known of the curves of a sweep."""

    by_key: dict[str, list[Spike]]
    """Of each curve that was looked at."""
    unseen: int
    """Curves that nobody has looked at yet."""


def find_all(store: Store, keys: Iterable[str], most: int | None = None) -> Spikes:
    """Spikes in the curves of these cells.

    Args:
        store: the sweep's directory.
        keys: of finished cells.
        most: how many curves may be read now, beside those that were looked at before; None: all.
    """
    path = store.directory / "health.json"
    kept: dict[str, Any] = {}
    with contextlib.suppress(OSError, Damaged):
        content = read_json(path, sealed_only=True)
        kept = content["curves"] if content.get("schema") == SCHEMA else {}
    found: dict[str, list[Spike]] = {}
    curves: dict[str, Any] = {}
    unseen = read = 0
    for key in keys:
        try:
            stat = store.curve_file(key).stat()
        except OSError:
            continue
        signature = [stat.st_mtime_ns, stat.st_size, stat.st_ino]
        if kept.get(key, [])[:3] == signature:
            curves[key] = kept[key]
            found[key] = [Spike(*values) for values in kept[key][3]]
        elif most is not None and read >= most:
            unseen += 1
        else:
            read += 1
            found[key] = find_spikes(store.curve(key))
            curves[key] = [*signature, [list(astuple(spike)) for spike in found[key]]]
    if read:
        with contextlib.suppress(OSError):
            write_text(path, sealed({"schema": SCHEMA, "curves": kept | curves}))
    return Spikes(found, unseen)
