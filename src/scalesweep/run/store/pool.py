"""A pool of cells that sweeps share: each is measured once, and later sweeps take its record and curve.

    POOL/KEY/CONDITIONS.json     record and curve of the cell, sealed, under the hash of the conditions it was measured in

The promise is that of one sweep: equal key, equal loss. On CPUs of one kind it holds bit for bit, and so a pool serves a record
only in the conditions of its measurement. An entry is created by one link with its whole content on the disk, so that of many
who add a cell the first one wins, a reader sees all of it or nothing, and whoever is killed on the way leaves nothing but a
temporary file. It is a copy, not a link to a sweep's own files, which would be damaged together with it; it has some 10 KB.
"""

import contextlib
import dataclasses
import errno
import json
import logging
import os
import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scalesweep.errors import StoreError
from scalesweep.files import Damaged, digest, read_json, sealed, set_aside, write_new
from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import ModuleShape
from scalesweep.plan.plan import Plan
from scalesweep.run.store.contents import checked_key, read_cell
from scalesweep.run.store.schema import SCHEMA, upgrade
from scalesweep.run.store.stated import stated_corpora
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings

_log = logging.getLogger(__name__)
Curve = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Conditions:
    """What beside a cell's content decides on the bits of its record and curve."""

    device: str
    """GPU model, or CPU with its architecture, as records hold it (`where.device`)."""
    processor: str
    """Of a CPU its model, as libraries take other code for other ones; empty of a GPU."""
    torch: str
    transformers: str
    """Empty for the decoder, which does not use it."""
    curve_points: int
    """Of the curve, with the mean training loss at whose last point a record ends (`last_finite_loss`)."""
    fast: bool
    micro_batch: int | None
    pack: int | str
    """As asked for; with `fast`, `compile` and `micro_batch` it decides in which order sums are rounded."""
    validation: str
    """The named validation sets as JSON, of which all but the first are in the record and in no key."""
    compile: str = "auto"
    """As asked for."""

    @property
    def content(self) -> dict[str, Any]:
        """As files hold it: of `compile` what is not the default, since pools are older than that choice."""
        return {name: value for name, value in dataclasses.asdict(self).items() if (name, value) != ("compile", "auto")}

    def of(self, cell: Cell) -> "Conditions":
        """The conditions of one cell."""
        return (
            self
            if isinstance(cell.shape, ModuleShape) and not cell.shape.is_custom
            else dataclasses.replace(self, transformers="")
        )

    @property
    def hash(self) -> str:
        """Twelve hex digits."""
        return digest(json.dumps(self.content, sort_keys=True).encode())[:12]


def conditions_of(settings: Settings, device: str, torch: str) -> Conditions:
    """The conditions on a device.

    Args:
        settings: of the sweep.
        device: the GPU's model, or CPU with its architecture (`train.device.device_name`).
        torch: its version.
    """
    spec, on_cpu = settings.train, device.startswith("CPU")
    try:
        transformers = version("transformers")
    except PackageNotFoundError:
        transformers = ""
    processor = processor_name() if on_cpu else ""
    sets = json.dumps(settings.data.model_dump(mode="json")["validation"], sort_keys=True)
    kind, how = (device, processor, torch, transformers), (spec.curve_points, spec.fast, spec.micro_batch, spec.pack)
    return Conditions(*kind, *how, sets, spec.compile)


def processor_name() -> str:
    """The model of this machine's CPU."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


@dataclass(frozen=True)
class Entry:
    """A cell as the pool has it."""

    record: Mapping[str, Any]
    curve: Curve


@dataclass(frozen=True)
class Pool:
    """A pool as those see it who measure in these conditions."""

    directory: Path
    conditions: Conditions
    serves: bool = True
    """False where weights are to be kept (`train.keep_weights`), which a pool does not hold: it only takes new cells."""

    def file(self, cell: Cell) -> Path:
        """Where the cell is, or would be."""
        return self.directory / checked_key(cell.key, self.directory) / f"{self.conditions.of(cell).hash}.json"

    def holds(self, cell: Cell) -> bool:
        """Whether the cell is there, without reading it."""
        return os.path.isfile(self.file(cell))

    def read(self, cell: Cell) -> Entry | None:
        """The cell's record and curve, or None; what is torn, altered or of another cell is set aside, which is said."""
        path = self.file(cell)
        try:
            return self._checked(path, cell)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            _log.warning("%s cannot be read: %s; the cell is measured", path, error.strerror)
        except Damaged as error:
            set_aside(path, error, lambda place: self._checked(place, cell))
        except StoreError as error:  # of a later version, which may serve others
            _log.warning("%s The cell is measured.", error)
        return None

    def _checked(self, path: Path, cell: Cell) -> Entry:
        """The entry, if it is the one that was written, of this cell in these conditions.

        Raises:
            Damaged: it is not.
            StoreError: it is of another version.
        """
        content = read_json(path, sealed_only=True)
        try:
            record = upgrade("record", content["record"], path)
            found = dataclasses.replace(read_cell(record["cell"], path), corpus=cell.corpus)  # a name, and no content
            same = content["conditions"] == self.conditions.of(cell).content
            # A key has 48 bits, of which many sweeps together might meet one twice; the content is compared as a whole.
            if found != cell or record["key"] != cell.key or record["state"] != "COMPLETE" or not same:
                raise Damaged(f"{path} is not of cell {cell.key}, or of other conditions than its name says")
            return Entry({**record, "cell": dataclasses.asdict(cell)}, content["curve"])
        except (KeyError, TypeError) as error:
            raise Damaged(f"{path} is damaged ({error})") from None

    def add(self, cell: Cell, record: Mapping[str, Any], curve: Curve) -> bool:
        """Add a cell that was measured to its end; False where it stands there already.

        Raises:
            OSError: the pool cannot be written.
        """
        # A diverged cell is left out: it costs little, as its training ends at the next point of its curve, and whether it is
        # tried again is a choice of each sweep (`launcher.retries.diverged`) that a record from elsewhere would take away.
        if record["state"] != "COMPLETE" or self.holds(cell):
            return False
        path = self.file(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        conditions = self.conditions.of(cell).content
        points = [dict(point) for point in curve]
        return write_new(path, sealed({"schema": SCHEMA, "conditions": conditions, "record": dict(record), "curve": points}))


def pool_of(settings: Settings, device: str, torch: str) -> Pool | None:
    """The pool of a sweep for who measures on `device` with this version of torch; None where it has none."""
    if settings.store.pool is None:
        return None
    return Pool(Path(settings.store.pool), conditions_of(settings, device, torch), not settings.train.keep_weights)


def take_from_pool(store: Store, pool: Pool, plan: Plan, cells: Iterable[Cell]) -> list[Cell]:
    """Finish those of `cells` that the pool holds, and that nobody holds now, with its records and curves.

    Each is claimed before, so that it is finished once, by the protocol of `store.py`. The record says where it is from
    (`where.pool`); all else of it but the claim's number is the pool's.
    """
    taken = []
    stated = stated_corpora(store.plan_file.content()["facts"])
    for cell in cells if pool.serves else ():
        if not pool.holds(cell) or (entry := pool.read(cell)) is None:
            continue
        # Further validation sets are no part of the key, and of the conditions by where they are, not by what they hold.
        sets = stated[cell.corpus_hash].sets
        losses = entry.record.get("validation", {})
        if any(loss["text"] != sets[name]["text"] for name, loss in losses.items() if name in sets):
            continue
        if (claim := store.claims.take(cell.key)) is None:
            continue
        record = {**entry.record, "where": {**entry.record["where"], "pool": str(pool.directory)}}
        if store.write_curve(claim, entry.curve) and store.write_record(claim, record):
            taken.append(cell)
    for trunk in {cell.trunk for cell in taken}:
        store.prune_trunk(plan.siblings[trunk])
    return taken


def give_to_pool(store: Store, pool: Pool, cells: Iterable[Cell], say: Callable[[str], None]) -> None:
    """Add the cells of the store that are complete and not from a pool; what keeps one from being written is said once."""
    for cell in cells:
        record = store.record(cell.key)
        if record is None or is_pooled(record):
            continue
        try:
            pool.add(cell, record, store.curve(cell.key))
        except OSError as error:
            reason = "it is read-only" if error.errno in (errno.EROFS, errno.EACCES) else error.strerror
            say(f"{cell.key} is not added to the pool {pool.directory}: {reason}; its record is in the sweep.")
            return


_ENTRY = re.compile(r"[0-9a-f]{12}")
"""Name of a cell's directory in a pool, its key."""


def foreign_entry(directory: Path) -> str:
    """The first thing in a directory that a pool does not put there; empty where there is none, or no directory."""
    if not directory.is_dir():
        return ""
    names = sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))
    return next((name for name in names if not _ENTRY.fullmatch(name)), "")


def is_pooled(record: Mapping[str, Any]) -> bool:
    """Whether a record was taken from a pool."""
    return bool(record.get("where", {}).get("pool"))
