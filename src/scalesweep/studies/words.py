"""Studies in words, for a terminal of 80 columns and for the page: numbers with intervals, thresholds, words, controls."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scalesweep.settings.study import PartSpec, Word
from scalesweep.studies.base import CONFIDENCE, Control, Effect, PartVerdict
from scalesweep.studies.result import Result
from scalesweep.units import format_plain, plural

MARKS: dict[Word, str] = {"supported": "✓", "contradicted": "✗", "cannot tell": "?", "not valid": "!", "reported": "·"}
"""A sign beside each word, so that a column of them is read at a glance, in print and without colours too."""
MEANINGS: dict[Word, str] = {
    "supported": "the whole interval is where the claim puts it",
    "contradicted": "the whole interval is where there is no such effect, or the opposite one",
    "cannot tell": "the interval reaches across the thresholds, or something is missing: more or larger runs are needed",
    "not valid": "a control with a known answer failed, so that no other answer of the study counts",
    "reported": "a number without thresholds, which decides nothing",
}
_MARGIN = 14
"""Columns of the longest word and the space after it."""


@dataclass(frozen=True)
class Listed:
    """A study as the list of all studies shows it."""

    name: str
    statement: str
    counter: str
    price: str = ""
    """What its quick form would take on this machine, in words; empty where that is not known."""
    verdict: str = ""
    """The last word and when it was said; empty: it was never judged here."""


def number_text(effect: Effect | Control, unit: str = "") -> str:
    """The number with its interval, such as 0.321 [0.281, 0.37] nats; an end that is infinite is open."""
    return "".join(text for text, _ in number_parts(effect, unit))


def number_parts(effect: Effect | Control, unit: str = "") -> list[tuple[str, Literal["value", "low", "high", ""]]]:
    """The same in pieces, each with the field whose number it is, or with nothing."""
    if math.isnan(effect.value):
        return [("no number", "")]
    parts: list[tuple[str, Literal["value", "low", "high", ""]]] = [(_end(effect.value), "value")]
    if not (math.isnan(effect.low) and math.isnan(effect.high)):
        parts += [(" [", ""), (_end(effect.low), "low"), (", ", ""), (_end(effect.high), "high"), ("]", "")]
    return [*parts, (f" {unit}", "")] if unit else parts


def _end(value: float) -> str:
    return "unknown" if math.isnan(value) else "open" if math.isinf(value) else format_plain(value, 3)


def threshold_texts(part: PartSpec) -> dict[Word, str]:
    """Where the interval must lie for each verdict, such as ≥ 0.1 for supported; nothing where the part has no thresholds."""
    if part.claim_at is None or part.null_at is None:
        return {}
    claim, null = ("≥", "≤") if part.claims == "at least" else ("≤", "≥")
    return {
        "contradicted": f"{null} {format_plain(part.null_at, 4)}",
        "supported": f"{claim} {format_plain(part.claim_at, 4)}",
    }


def controls_text(controls: Sequence[Control]) -> str:
    """How many held, such as 3 of 3 controls passed; those that failed by name."""
    if not controls:
        return "no controls"
    failed = dict.fromkeys(control.name for control in controls if not control.passed)
    passed = sum(control.passed for control in controls)
    said = f"{passed} of {plural(len(controls), 'control')} passed"
    return f"{said}; failed: {', '.join(failed)}" if failed else said


def tally(results: Sequence[Result]) -> str:
    """How many studies have each word, such as 3 claims: 2 supported, 1 cannot tell."""
    counts = {word: sum(result.word == word for result in results) for word in MARKS}
    words = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"{plural(len(results), 'claim')}: {words}"


def scorecard_lines(results: Sequence[Result], width: int = 80) -> list[str]:
    """One block a study: its word, the sentence as people say it, its name, number and controls."""
    lines: list[str] = []
    for result in results:
        number = number_text(result.parts[0].effect, result.parts[0].part.unit)
        lines += _block(f"{MARKS[result.word]} {result.word}", result.spec.statement, _MARGIN + 2, width)
        lines += _block("", f"{result.name}: {number}; {controls_text(result.controls)}", _MARGIN + 2, width)
    return [*lines, *textwrap.wrap(f"{tally(results)}. Intervals {CONFIDENCE:.0%}.", width)] if lines else lines


def study_lines(result: Result, width: int = 80) -> list[str]:
    """One study: statement, answer, every part with its thresholds, every control, notes."""
    lines = [f"{result.name}: {MARKS[result.word]} {result.word}"]
    lines += textwrap.wrap(result.spec.statement, width, initial_indent="  ", subsequent_indent="  ")
    lines += ["", *textwrap.wrap(result.sentence, width), "", "Parts"]
    for part in result.parts:
        lines += _part_lines(part, width)
    lines += ["", "Controls" if result.controls else "Controls: none"]
    for control in result.controls:
        lines += _block("  passed" if control.passed else "  FAILED", control_text(control), 10, width)
    for note in result.findings.notes:
        lines += ["", *textwrap.wrap(note, width)]
    return lines


def control_text(control: Control) -> str:
    """What had to hold, and the number that was found beside the truth, where there are such."""
    truth = "" if math.isnan(control.truth) else f", truth {format_plain(control.truth, 4)}"
    number = "" if math.isnan(control.value) else f" ({number_text(control)}{truth})"
    return f"{control.name}: {control.asks.rstrip('.')}{number}."


def _part_lines(part: PartVerdict, width: int) -> list[str]:
    thresholds = "; ".join(f"{where} {word}" for word, where in threshold_texts(part.part).items())
    number = number_text(part.effect, part.part.unit)
    lines = _block(f"  {part.word}", f"{part.part.name}: {number}{f'; {thresholds}' if thresholds else ''}", _MARGIN + 2, width)
    for text in (part.part.asks, part.effect.says, part.reason):
        lines += _block("", text, _MARGIN + 2, width) if text else []
    return lines


def list_lines(studies: Sequence[Listed], width: int = 80) -> list[str]:
    """Every study there is: name, statement, what is said against it, price, last verdict."""
    lines: list[str] = []
    for study in studies:
        lines += [study.name, *textwrap.wrap(study.statement, width, initial_indent="  ", subsequent_indent="  ")]
        lines += _block("  against", study.counter, 12, width)
        lines += _block("  price", study.price, 12, width) if study.price else []
        lines += _block("  verdict", study.verdict or "not judged here yet", 12, width)
    return lines


def _block(first: str, text: str, margin: int, width: int) -> list[str]:
    """The text beside a margin of so many columns, in which `first` stands on the first line."""
    wrapped = textwrap.wrap(" ".join(text.split()), width - margin) or [""]
    return [f"{name.ljust(margin)}{line}".rstrip() for name, line in zip([first, *[""] * len(wrapped)], wrapped, strict=False)]
