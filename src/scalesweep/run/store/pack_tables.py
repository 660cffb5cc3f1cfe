"""What trials and trainings of packs took, kept for all workers of a sweep and for every length of the same shape.

    DIR/packs/KIND.json    seconds of a step and bytes of memory by number of runs
    DIR/packs/KIND.lock    somebody measures; the others wait, and read

KIND is a hash of all that a step's time depends on. Two workers that write at once may lose one of the notes, which costs
finding out again; a lock whose holder died is nobody's after a while.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scalesweep.files import Damaged, age, read_json, sealed, set_aside, write_text
from scalesweep.plan.packs import PackTable, Taken
from scalesweep.run.store.schema import SCHEMA, upgrade

LOCK_SECONDS = 60.0
"""Age of a lock whose holder is taken for dead: many times what two trials take. A judgement."""
_WAIT_SECONDS = 0.2


@dataclass(frozen=True)
class PackTables:
    """The tables of a sweep's directory."""

    directory: Path

    def read(self, kind: Mapping[str, Any]) -> PackTable:
        """What was measured of a kind of cell, such as of `train.benchmark.describe`; empty where nothing was."""
        path = self._path(kind)
        try:
            content = upgrade("packs", read_json(path), path)
        except FileNotFoundError:
            return {}
        except Damaged as error:
            set_aside(path, error)
            return {}
        return {int(runs): Taken(**taken) for runs, taken in content["runs"].items()}

    def note(self, kind: Mapping[str, Any], runs: int, taken: Taken) -> None:
        """Keep what so many runs took; a trial's time stays beside what a training has shown since."""
        table = dict(self.read(kind))
        known = table.get(runs, taken)
        seconds = known.seconds if taken.seconds is None else taken.seconds
        table[runs] = Taken(max(taken.num_bytes, known.num_bytes), seconds)
        path = self._path(kind)
        path.parent.mkdir(exist_ok=True)
        rows = {str(number): asdict(row) for number, row in sorted(table.items())}
        write_text(path, sealed({"schema": SCHEMA, "kind": dict(kind), "runs": rows}))

    @contextlib.contextmanager
    def measuring(self, kind: Mapping[str, Any], stop: Callable[[], bool]) -> Iterator[bool]:
        """A context in which no other worker measures the kind; gives False where `stop` ended the wait for it."""
        path = self._path(kind).with_suffix(".lock")
        path.parent.mkdir(exist_ok=True)
        while not (is_mine := _create(path)) and not stop():
            with contextlib.suppress(FileNotFoundError):
                if abs(age(path)) > LOCK_SECONDS:
                    path.unlink()
                    continue
            time.sleep(_WAIT_SECONDS)
        try:
            yield is_mine
        finally:
            if is_mine:
                path.unlink(missing_ok=True)

    def _path(self, kind: Mapping[str, Any]) -> Path:
        name = hashlib.sha256(json.dumps(dict(kind), sort_keys=True).encode()).hexdigest()[:16]
        return self.directory / "packs" / f"{name}.json"


def _create(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True
