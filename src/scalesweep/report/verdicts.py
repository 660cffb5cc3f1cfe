"""Verdicts of studies that stand beside what is reported: the certificate of the pipeline, and answers of the checklist.

`scalesweep study NAME` writes PLACE/NAME/verdict.json, PLACE being runs/studies unless dir= says otherwise. This module reads
these files alone and knows nothing of how a study is judged.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesweep.version import __version__, commit_words

PLACES = (Path("runs/studies"), Path("runs/studies_full"))
"""Where studies are kept by default, from the working directory."""
CERTIFICATE = "calibrate"
"""The study whose verdict is the certificate."""
NOT_CALIBRATED = "not calibrated here: run scalesweep study calibrate"


@dataclass(frozen=True)
class Verdict:
    """What one verdict.json says."""

    study: str
    word: str
    """Of the study's first part."""
    sentence: str
    """The answer with its numbers."""
    date: str
    """On which it was judged, such as 2026-11-29; empty where the file does not say."""
    version: str
    """Of scalesweep that judged, with its commit; empty where the file does not say."""
    rule: str
    """Hash of the rule; empty for a table of the user's own."""

    @property
    def is_current(self) -> bool:
        """Whether this very version judged."""
        return self.version == current_version()

    @property
    def by(self) -> str:
        """Date, version and rule in words."""
        version = "this version" if self.is_current else f"another version, {self.version or 'unknown'}"
        return ", ".join(part for part in (self.date, version, f"rule {self.rule}" if self.rule else "") if part)


def current_version() -> str:
    """The version that runs, with the commit of its checkout."""
    return f"{__version__}{commit_words()}"


def read_verdicts(beside: Path | None = None) -> dict[str, Verdict]:
    """Study -> its newest verdict, of those kept in the default places and, for a sweep, in `studies` beside its directory.

    Args:
        beside: directory of the sweep that is reported; None for a table.
    """
    found: dict[str, tuple[tuple[str, float], Verdict]] = {}
    for path in verdict_files(beside):
        try:
            verdict, written = _verdict(json.loads(path.read_text(encoding="utf-8"))), path.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # it is no verdict, or one of another format: as if there were none
        age = (verdict.date, written)
        if verdict.study not in found or age > found[verdict.study][0]:
            found[verdict.study] = age, verdict
    return {study: verdict for study, (_, verdict) in found.items()}


def verdict_files(beside: Path | None = None) -> list[Path]:
    """The files that `read_verdicts` reads."""
    own = () if beside is None else (beside.parent / place.name for place in PLACES)
    places = {place.resolve() for place in (*own, *PLACES)}
    return sorted(path for place in places for path in place.glob("*/verdict.json"))


def certificate_line(verdicts: Mapping[str, Verdict]) -> str:
    """What the newest certificate says of the pipeline, in one line."""
    found = verdicts.get(CERTIFICATE)
    return NOT_CALIBRATED if found is None else f"{CERTIFICATE} {found.word} ({found.by}): {found.sentence}"


def said_of(verdicts: Mapping[str, Verdict], studies: Sequence[str]) -> str:
    """Sentences and words of those of these studies that have a verdict; empty where none has."""
    return " ".join(
        f"Study {name}, {verdicts[name].by}: {verdicts[name].word}. {verdicts[name].sentence}"
        for name in studies
        if name in verdicts
    )


def _verdict(content: Mapping[str, Any]) -> Verdict:
    judged = content.get("judged", {})
    return Verdict(
        content["study"],
        content["verdict"],
        content["sentence"],
        judged.get("date", ""),
        judged.get("scalesweep", ""),
        content.get("rule", ""),
    )
