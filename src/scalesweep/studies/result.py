"""A judged study as a value: the words of its parts, its controls, and what verdict.json holds."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scalesweep.settings.study import StudySpec, Word
from scalesweep.studies.base import CONFIDENCE, Control, Findings, PartVerdict, decide

SCHEMA = 1
"""Of verdict.json."""
FormName = Literal["quick", "full", "points"]
"""Which sweeps were judged; `points` is a table of the user's own."""


@dataclass(frozen=True, eq=False)
class Result:
    """A study that was judged."""

    name: str
    form: FormName
    spec: StudySpec
    findings: Findings
    parts: tuple[PartVerdict, ...]
    controls: tuple[Control, ...]
    """Of the judge, and the planted tables."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Where the points come from: cells, corpora, overrides, sealed, cost; keys of verdict.json, JSON-ready."""
    operating: Sequence[Mapping[str, Any]] = ()
    """Rows of `simulate`: part, truth, and the share of each word."""

    @property
    def word(self) -> Word:
        """That of the first part, which is the sentence as people say it."""
        return self.parts[0].word

    @property
    def failed(self) -> tuple[Control, ...]:
        """The controls that did not hold."""
        return tuple(control for control in self.controls if not control.passed)

    @property
    def sentence(self) -> str:
        """The answer with its numbers, then the word of every part that has one."""
        if self.failed:
            names = " and ".join(dict.fromkeys(control.name for control in self.failed))
            return f"Not valid: the verdict is withheld, because a control failed ({names})."
        decided = [part for part in self.parts if part.word != "reported"]
        words = "; ".join(f"{part.part.name.replace('_', ' ')}: {part.word}" for part in decided)
        return f"{self.findings.sentence} {words[:1].upper()}{words[1:]}." if words else self.findings.sentence

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content of verdict.json; numbers that are not known, or infinite, are null."""
        return {
            "schema": SCHEMA,
            "study": self.name,
            "form": self.form,
            "statement": self.spec.statement,
            "counter": self.spec.counter,
            "verdict": self.word,
            "sentence": self.sentence,
            "confidence": CONFIDENCE,
            "parts": [_part(part) for part in self.parts],
            "controls": [_finite(dataclasses.asdict(control)) for control in self.controls],
            "operating": [_finite(dict(row)) for row in self.operating],
            "noise": _number(self.findings.noise),
            "notes": list(self.findings.notes),
            "tables": {title: [_finite(dict(row)) for row in rows] for title, rows in self.findings.tables.items()},
            **self.origin,
        }


def result_of(
    name: str,
    form: FormName,
    spec: StudySpec,
    findings: Findings,
    planted: Sequence[Control] = (),
    withheld: Mapping[str, str] | None = None,
    origin: Mapping[str, Any] | None = None,
    operating: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """The words of a study's parts by its rule.

    Args:
        name: of the study.
        form: which sweeps were judged.
        spec: its thresholds.
        findings: what the judge found.
        planted: further controls.
        withheld: part -> why it cannot tell whatever its numbers.
        origin: see `Result`.
        operating: see `Result`.
    """
    controls = (*findings.controls, *planted)
    failed = [control for control in controls if not control.passed]
    effects = {
        part: dataclasses.replace(effect, withheld=(withheld or {}).get(part, effect.withheld))
        for part, effect in findings.effects.items()
    }
    parts = tuple(decide(part, effects[part.name], failed) for part in spec.parts)
    return Result(name, form, spec, findings, parts, controls, origin or {}, operating)


def _part(verdict: PartVerdict) -> dict[str, Any]:
    part, effect = verdict.part, verdict.effect
    return {
        "name": part.name,
        "asks": part.asks,
        "effect": _number(effect.value),
        "low": _number(effect.low),
        "high": _number(effect.high),
        "unit": part.unit,
        "claims": part.claims,
        "claim_at": part.claim_at,
        "null_at": part.null_at,
        "verdict": verdict.word,
        "says": effect.says,
        "reason": verdict.reason,
    }


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in row.items()}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
