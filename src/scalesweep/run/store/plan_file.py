"""The plan of a sweep in its directory, and the request to cancel it; the first layer of `store.Store`."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.errors import StoreError
from scalesweep.files import sealed, write_new, write_text
from scalesweep.plan.plan import Plan
from scalesweep.run.store.contents import Signature, changed_settings, checked_key, read_plan, read_retries, read_sweep
from scalesweep.run.store.schema import SCHEMA
from scalesweep.settings.run import RetrySpec
from scalesweep.settings.settings import Settings, parse_settings


@dataclass(frozen=True)
class PlanFile:
    """A sweep's directory, as far as it says what is to be measured.

    Only sweep.json is kept in memory, until the file changes; what `sweep` and `plan` return must not be changed.
    """

    directory: Path

    @property
    def _sweep_file(self) -> Path:
        return self.directory / "sweep.json"

    def create(self, plan: Plan, settings: Mapping[str, Any], facts: Mapping[str, str]) -> int:
        """Write the plan, or extend the one that stands here, and return the number of cells that are new.

        A plan may grow: cells are added as long as none that stands here is missing from it.

        Raises:
            StoreError: the directory cannot be written, or holds another sweep.
        """
        before = self._signature() if self._sweep_file.is_file() else None
        present = self.keys() if before is not None else []
        missing = set(present) - {c.key for c in plan.cells}
        if missing:
            changes = changed_settings(self.sweep()["settings"], settings)
            raise StoreError(
                f"{self.directory} holds another sweep: {len(missing)} of its {len(present)} cells are not in this plan "
                f"({changes or 'changed corpus or versions'}); choose another directory with dir=..., or repeat its settings."
            )
        if (
            not present
            and self.directory.is_dir()
            and any(self.directory.iterdir())
            and not (self.directory / "cells").is_dir()
        ):
            raise StoreError(f"{self.directory} is not empty and holds no sweep; choose another directory with dir=....")
        value = {
            "schema": SCHEMA,
            "name": plan.name,
            "hash": plan.hash,
            "count": plan.count.model_dump(),
            "settings": dict(settings),
            "facts": dict(facts),
            "warnings": list(plan.warnings),
            "columns": {key: dict(columns) for key, columns in plan.columns.items()},
            "cells": [{"key": c.key, **dataclasses.asdict(c)} for c in plan.cells],
        }
        with _plain_errors(self.directory):
            for cell in plan.cells:
                self.cell_dir(cell.key).mkdir(parents=True, exist_ok=True)
            if before is not None:
                if self._signature() != before:
                    return self.create(plan, settings, facts)  # somebody else has extended it meanwhile
                write_text(self._sweep_file, sealed(value))
            elif not write_new(self._sweep_file, sealed(value)):
                return self.create(plan, settings, facts)  # somebody else was faster: extend what they made, or refuse
        return len(plan.cells) - len(present)

    def sweep(self) -> dict[str, Any]:
        """The content of sweep.json.

        Raises:
            StoreError: there is none, it is damaged, or it is of another version.
        """
        return read_sweep(self._sweep_file, self._signature())

    def _signature(self) -> Signature:
        """What changes with every new sweep.json."""
        try:
            found = self._sweep_file.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise StoreError(
                f"{self.directory} holds no sweep (no sweep.json); give the directory of a sweep, such as runs/demo."
            ) from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def settings(self) -> Settings:
        """The settings that were asked for."""
        return parse_settings(self.sweep()["settings"])

    def retries(self) -> RetrySpec:
        """How often a cell is tried again."""
        return read_retries(self._sweep_file, self._signature())

    def keys(self) -> list[str]:
        """Keys of the planned cells in declared order."""
        return [c["key"] for c in self.sweep()["cells"]]

    def plan(self) -> Plan:
        """The plan that stands here.

        Raises:
            StoreError: the cells are those of another version.
        """
        return read_plan(self._sweep_file, self._signature())

    def cell_dir(self, key: str) -> Path:
        """The cell's directory.

        Raises:
            StoreError: the key is none, and could name a place outside the store.
        """
        return self.directory / "cells" / checked_key(key, self.directory)

    @property
    def _cancel_file(self) -> Path:
        return self.directory / "cancel"

    def ask_to_cancel(self) -> None:
        """Ask all workers, on any machine, to write checkpoints, release their claims and end."""
        with _plain_errors(self.directory):
            self._cancel_file.touch()

    def clear_cancel(self) -> None:
        """Take the request back, as a new `scalesweep run` does."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._cancel_file.unlink()

    def is_cancelled(self) -> bool:
        """Whether somebody asked the workers to end."""
        return self._cancel_file.exists()


@contextlib.contextmanager
def _plain_errors(directory: Path) -> Iterator[None]:
    """Turn the system's refusals into one sentence."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{directory} cannot be written: {error.strerror}; choose a directory you may write to with dir=...."
        ) from None
