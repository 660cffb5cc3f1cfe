"""The plan of a sweep in its directory: made, extended, read."""

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.errors import StoreError
from scalesweep.files import plain_write_errors, sealed, write_new, write_text
from scalesweep.plan.plan import Plan
from scalesweep.run.store.contents import (
    Signature,
    cell_dir,
    changed_settings,
    describe_changes,
    read_plan,
    read_retries,
    read_sweep,
)
from scalesweep.run.store.schema import SCHEMA
from scalesweep.settings.run import RetrySpec
from scalesweep.settings.settings import Settings, parse_settings


@dataclass(frozen=True)
class PlanFile:
    """What is to be measured, in sweep.json; kept in memory until the file changes, so what is returned must not be changed."""

    directory: Path

    @property
    def path(self) -> Path:
        """Where it is, or will be."""
        return self.directory / "sweep.json"

    def create(self, plan: Plan, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> int:
        """Write the plan, or extend the one that stands here, and return the number of cells that are new.

        A plan may grow: cells are added as long as none that stands here is missing from it.

        Raises:
            StoreError: the directory cannot be written, or holds another sweep.
        """
        before = self._signature() if self.path.is_file() else None
        present = self.keys() if before is not None else []
        missing = set(present) - {c.key for c in plan.cells}
        if missing:
            changes = describe_changes(changed_settings(self.content()["settings"], settings))
            raise StoreError(
                f"{self.directory} holds another sweep: {len(missing)} of its {len(present)} cells are not in this plan "
                f"({changes or 'changed corpus or versions'}); choose another directory with dir=..., or go on with it by "
                f"scalesweep resume {shlex.quote(str(self.directory))}."
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
        with plain_write_errors(self.directory, "choose a directory you may write to with dir=...."):
            for cell in plan.cells:
                cell_dir(self.directory, cell.key).mkdir(parents=True, exist_ok=True)
            if before is not None:
                if self._signature() != before:
                    return self.create(plan, settings, facts)  # somebody else has extended it meanwhile
                write_text(self.path, sealed(value))
            elif not write_new(self.path, sealed(value)):
                return self.create(plan, settings, facts)  # somebody else was faster: extend what they made, or refuse
        return len(plan.cells) - len(present)

    def content(self) -> dict[str, Any]:
        """The content of sweep.json.

        Raises:
            StoreError: there is none, it is damaged, or it is of another version.
        """
        return read_sweep(self.path, self._signature())

    def _signature(self) -> Signature:
        """What changes with every new sweep.json."""
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise StoreError(
                f"{self.directory} holds no sweep (no sweep.json); give the directory of a sweep, such as runs/demo."
            ) from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def settings(self) -> Settings:
        """The settings that were asked for."""
        return parse_settings(self.content()["settings"])

    def retries(self) -> RetrySpec:
        """How often a cell is tried again."""
        return read_retries(self.path, self._signature())

    def keys(self) -> list[str]:
        """Keys of the planned cells in declared order."""
        return [c["key"] for c in self.content()["cells"]]

    def plan(self) -> Plan:
        """The plan that stands here.

        Raises:
            StoreError: the cells are those of another version.
        """
        return read_plan(self.path, self._signature())
