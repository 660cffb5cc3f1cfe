"""Seals: which rule stood, and what was forecast, before cells were measured.

A study's rule is sealed when the study is first planned in a directory, its forecast before the arms that it speaks of are
measured. What stood before is said, and a part that rests on a forecast of cells that stood cannot tell.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.errors import StoreError
from scalesweep.files import plain_write_errors, write_text


@dataclass(frozen=True)
class Seal:
    """The file sealed.json of a study."""

    path: Path

    def content(self) -> dict[str, Any]:
        """What it holds; empty where there is none.

        Raises:
            StoreError: it is damaged.
        """
        if not self.path.is_file():
            return {}
        try:
            found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError:
            raise StoreError(f"{self.path} is damaged; remove it to seal the study anew, which will be said.") from None
        return found

    def add_rule(self, hash: str, measured: int, cells: int) -> None:
        """Note the rule, unless it is the last one that was noted; with how many of the study's cells stood by then."""
        content = self.content()
        rules = content.get("rules", [])
        if not rules or rules[-1]["rule"] != hash:
            rules.append({"rule": hash, "at": _now(), "measured_before": measured, "cells": cells})
            self._write({**content, "rules": rules})

    def add_forecast(self, forecast: Mapping[str, Any], rule: str, measured: Sequence[str]) -> None:
        """Note a forecast, of which these cells stood already."""
        self._write(
            {**self.content(), "forecast": dict(forecast), "forecast_at": _now(), "forecast_rule": rule, "stood": [*measured]}
        )

    def _write(self, content: Mapping[str, Any]) -> None:
        with plain_write_errors(self.path.parent, "choose a directory you may write to with dir=...."):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, json.dumps(content, indent=2) + "\n")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
