"""The grammar of verdicts: effects with intervals, controls, and the rule that turns them into one of four words.

A part of a study has an effect theta with an interval [low, high] of 90 % and two thresholds that were fixed before anything
was measured. Where large effects support the statement:

    supported       low >= claim_at
    contradicted    high <= null_at
    cannot tell     otherwise, or what the part needs is missing
    not valid       a control failed: the verdict is withheld

and the same mirrored where small effects do. The ends of a 90 % interval give two errors of 5 % each. Effects between the
thresholds are in a zone of indifference, where only "cannot tell" is right. A part without thresholds is a reported number.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scalesweep.errors import PointsError, did_you_mean
from scalesweep.points.points import Points
from scalesweep.report.charts.chart import Chart, Missing
from scalesweep.settings.fit import FitSpec
from scalesweep.settings.study import PartSpec, Word
from scalesweep.units import format_number, format_rough

CONFIDENCE = 0.90
"""Of every interval of a study."""
NOISE = 0.0046
"""Standard deviation of log loss between seeds, where a table has no replicates: that of the demo's grid at context 32
(docs/results.md)."""
Arms = Mapping[str, Points]
"""The measured points of each arm. Beside the columns of `Points`, a sweep's rows have those of `plan.cell.Cell.row` and
`seconds` (of training on its device). Budgets that branch off one trunk are not marked as one run, as in `read_sweep`: their
seed noise is as good as independent (correlation .01 and -.12 at a context of 32). Arms that a study names in `answered` have a
column `answers`, of `points.answers.Answers`: those of each cell. Cells of drawn tokens have `entropy`, `unigram_entropy` and
`c_counted` (`studies.known_source`)."""


@dataclass(frozen=True)
class Rule:
    """How effects are estimated: the thresholds are not the judge's business."""

    draws: int = 1000
    """Resamples."""
    seed: int = 0
    sealed: Mapping[str, Any] = field(default_factory=dict)
    """What the study's `forecast` said before the arms that it speaks of were measured; empty where it has none."""

    @property
    def fit(self) -> FitSpec:
        """The same for laws."""
        return FitSpec(bootstrap=self.draws, confidence=CONFIDENCE, seed=self.seed)


@dataclass(frozen=True)
class Effect:
    """What a part asks for, with its interval of `CONFIDENCE`; an end may be infinite, which is open."""

    value: float
    low: float
    high: float
    withheld: str = ""
    """Why no verdict may rest on it, in a sentence; the numbers are shown all the same, where there are any (NaN: none)."""
    says: str = ""
    """The number in words, such as: doubling N saves 29 % [27, 31] of the tokens."""

    @classmethod
    def missing(cls, reason: str) -> "Effect":
        """No number, and why."""
        return cls(math.nan, math.nan, math.nan, reason)


@dataclass(frozen=True)
class Control:
    """A number whose truth is known, or a rule that must hold, whatever the answer is."""

    name: str
    """Such as A/A, planted junk, fresh."""
    asks: str
    """What must hold, in one sentence."""
    passed: bool
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    truth: float = math.nan


@dataclass(frozen=True, eq=False)
class Findings:
    """What a judge found."""

    effects: Mapping[str, Effect]
    """By the name of the part."""
    sentence: str
    """The answer in one or two sentences with its numbers, without the words of the verdict."""
    chart: Chart | Missing
    controls: tuple[Control, ...] = ()
    noise: float = math.nan
    """Standard deviation of log loss between seeds; NaN where there are no replicates."""
    notes: tuple[str, ...] = ()
    """What the reader should know of the numbers: regret, conventions, warnings."""
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Title -> rows of numbers behind the figure."""


@dataclass(frozen=True)
class PartVerdict:
    """The word of one part, and why."""

    part: PartSpec
    effect: Effect
    word: Word
    reason: str = ""
    """Why it cannot tell, and what it would take."""


def decide(part: PartSpec, effect: Effect, failed: Sequence[Control] = ()) -> PartVerdict:
    """The word of one part by the rule of the module."""
    if failed:
        names = " and ".join(dict.fromkeys(control.name for control in failed))
        return PartVerdict(part, effect, "not valid", f"The verdict is withheld, because a control failed: {names}.")
    if part.claim_at is None or part.null_at is None:
        return PartVerdict(part, effect, "reported", effect.withheld)
    if effect.withheld:
        return PartVerdict(part, effect, "cannot tell", effect.withheld)
    sign = 1 if part.claims == "at least" else -1
    low, high = sorted((sign * effect.low, sign * effect.high))
    claim, null = sign * part.claim_at, sign * part.null_at
    if math.isnan(low) or math.isnan(high):
        return PartVerdict(part, effect, "cannot tell", "The effect has no interval.")
    if low >= claim:
        return PartVerdict(part, effect, "supported")
    if high <= null:
        return PartVerdict(part, effect, "contradicted")
    return PartVerdict(part, effect, "cannot tell", _too_wide(part, effect))


def _too_wide(part: PartSpec, effect: Effect) -> str:
    """Which interval holds the thresholds, and how many times the runs would take them out of it."""
    assert part.claim_at is not None and part.null_at is not None
    sign = 1 if part.claims == "at least" else -1
    value, claim, null = sign * effect.value, sign * part.claim_at, sign * part.null_at
    ends = f"[{format_number(effect.low)}, {format_number(effect.high)}]"
    thresholds = f"{part.claims} {format_number(part.claim_at)} to claim, {format_number(part.null_at)} for nothing"
    said = f"The interval {ends} reaches across the thresholds ({thresholds})"
    if null < value < claim:
        return f"{said}, and the estimate lies between them, where more runs would not help."
    low, high = sorted((sign * effect.low, sign * effect.high))
    half, room = (value - low, value - claim) if value >= claim else (high - value, null - value)
    if not room > 0 or not math.isfinite(half):
        return f"{said}."
    times = (half / room) ** 2  # intervals narrow with the root of the runs
    return f"{said}: about {format_rough(max(times, 1.1))} times the runs would decide, if the estimate stayed where it is."


def is_resolved(words: Sequence[PartVerdict]) -> bool:
    """Whether the first part, whose word is the study's, has a verdict."""
    return words[0].word in ("supported", "contradicted")


def arm(arms: Arms, name: str) -> Points:
    """The points of one arm.

    Raises:
        PointsError: there is no such arm, so that the study cannot be judged.
    """
    if name not in arms:
        raise PointsError(f"arms = {', '.join(arms)}: the study needs arm {name}{did_you_mean(name, arms)}.")
    return arms[name]


def with_losses(points: Points, loss: Any) -> Points:
    """The same rows with other losses, shape (rows,), all of them used: for simulated tables."""
    frame = points.frame.assign(loss=np.asarray(loss, dtype=np.float64), excluded_reason="")
    return dataclasses.replace(points, frame=frame.drop(columns=[name for name in ("loss_se",) if name in frame]))


def replicate_noise(points: Points) -> tuple[float, int]:
    """Standard deviation of log loss between rows that differ in their seed alone, and its degrees of freedom (0: none)."""
    used = points.used
    if "seed" not in used:
        return math.nan, 0
    apart = [name for name in ("lr", "weight_decay", "optimizer", "unique_tokens", "transform", "batch_tokens") if name in used]
    log_loss = np.log(used["loss"])
    groups = log_loss.groupby([used[name] for name in ("n", "d", *apart)])
    spread, number = groups.var(), groups.size()
    spare = int((number - 1).sum())
    return (math.sqrt(float((spread.fillna(0.0) * (number - 1)).sum()) / spare), spare) if spare else (math.nan, 0)
