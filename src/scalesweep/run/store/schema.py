"""The version of every file of a store, and how a file of an earlier version becomes one of today's.

A file is read by walking `UPGRADES` from its version to this one. A step is there only where the meaning of the older file is
certain; where it is not, and for files of a later version, the refusal says what to do.
"""

from collections.abc import Callable, Mapping
from typing import Any

from scalesweep.errors import StoreError

SCHEMA = 2
"""1: no checksums. 2: sealed files, a header in the curve, claims with their reasons."""
Kind = str
Content = dict[str, Any]


def _record_1_to_2(record: Content) -> Content:
    """Before there were sources of known entropy no record had one, and every cell went alone before there were packs."""
    times = {"pack": 1, "shared_steps": 0, **record.get("times", {})}
    return {"entropy": None, "below_entropy": "", **record, "times": times}


UPGRADES: Mapping[Kind, Mapping[int, Callable[[Content], Content]]] = {
    "sweep": {1: lambda sweep: {"columns": {}, **sweep}},
    "record": {1: _record_1_to_2},
    "memory": {},
    "packs": {},
}


def upgrade(kind: Kind, value: Content, where: object) -> Content:
    """The content as this version would have written it.

    Args:
        kind: a key of `UPGRADES`.
        value: the content, with its `schema`.
        where: the file, for the message.

    Raises:
        StoreError: the file is of a later version, or of one from which no way leads here.
    """
    while (version := value.get("schema")) != SCHEMA:
        if isinstance(version, int) and version > SCHEMA:
            raise StoreError(f"{where} has schema {version}, this version reads up to {SCHEMA}; update scalesweep.")
        step = UPGRADES[kind].get(version) if isinstance(version, int) else None
        if step is None or version is None:
            raise StoreError(
                f"{where} has schema {version}, and there is no way from it to {SCHEMA}; read it with the version of "
                "scalesweep that wrote it, or measure the sweep anew with another dir=...."
            )
        value = {**step(value), "schema": version + 1}
    return value
