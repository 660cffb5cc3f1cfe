"""An adaptive sweep, round by round: fit, propose, measure, and fit again, until an interval is as narrow as asked.

Pure: `next_round` says what is to be measured after what was, and who measures it, a store or a simulation, is no matter here.
The same points and the same log give the same answer, so that a sweep that was killed goes on as if it had not been.

Stopping when an interval happens to be narrow would report intervals that are too narrow by chance. So a stop is tried: the
last cells are measured once more with other seeds, and what is reported is the union of the intervals before and after that
replicate rung. Where that is not as narrow as asked, the sweep goes on while its budget lasts. docs/adaptive.md has what both
hold in simulated sweeps.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from scalesweep.analysis.forecast.backtest import back_test
from scalesweep.analysis.forecast.bands import look_ahead
from scalesweep.analysis.forecast.dated import Prediction, hash_points
from scalesweep.analysis.forecast.exponent_cells import Place, Snap, exponent_cells
from scalesweep.analysis.forecast.goal import LARGEST, Goal, read_goal
from scalesweep.analysis.forecast.next_cells import MAX_SHARE, Expected, Method, next_cells
from scalesweep.analysis.forecast.rivals import THEORIES, Rivals, fit_rivals
from scalesweep.errors import FitError, Refused
from scalesweep.fit.horizon import Range
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec

Kind = Literal["cells", "replicate"]
Reason = Literal["reached", "stalled", "budget", "no cells"]
SHARE = 0.4
"""Budget of a round over what was spent before it. Of .7 the last round and its replicate are two fifths of all each; less than
.4 would ask for more rounds than workers like. A judgement."""
LEAST = 0.1
"""Budget of a round over what was spent before it, below which the budget counts as spent: such a round tells very little."""
RISE = 4.0
"""Least budget of a ladder over the largest measured C: its largest cell, half of that, has twice that compute."""
STALLED = 0.1
"""Change of the half-width, as a share, below which two rounds in a row end a sweep. An interval that is wider than half of
`goal.LARGEST` says nothing yet, so that it cannot have stopped narrowing."""
_SAME = 0.02
"""Gap in log N or log D below which two cells are one, so that a replicate gets a seed of its own: budgets are rounded."""


@dataclass(frozen=True)
class Sealed:
    """A cell of a round, with what was predicted before it was measured."""

    n: float
    """Parameters."""
    d: float
    """Training tokens."""
    c: float
    """Training FLOPs as the points count C."""
    seed: int
    loss: Prediction | Refused
    """Of one run, with the honest interval; refused where the points do not support it, or none was asked for."""


@dataclass(frozen=True)
class Round:
    """What was to be measured at one time, and why."""

    kind: Kind
    """Cells that tell the most, or the last cells once more with other seeds."""
    reason: Reason | None
    """Why it is a replicate: what would end the sweep."""
    reading: Prediction | Refused
    """The quantity before it."""
    expected: float | None
    """Half-width after it, in the unit of the goal, by a linear approximation; None of a replicate, or where there is none."""
    spent_flops: float
    """Compute before it."""
    cells: tuple[Sealed, ...]
    points_sha256: str
    """`hash_points` of what it was made from."""
    note: str = ""
    """Why nothing else could be proposed; empty where that is not the reason."""

    @property
    def flops(self) -> float:
        """Compute of its cells."""
        return sum(cell.c for cell in self.cells)


@dataclass(frozen=True)
class End:
    """Why there is no further round, and what is reported."""

    reason: Reason
    reading: Prediction | Refused
    """Of all points; after a stop that a replicate rung confirmed, the union with the interval before that rung."""
    spent_flops: float
    points_sha256: str
    note: str = ""
    """What kept cells from being proposed; empty where that is not the reason."""


@dataclass(frozen=True)
class Log:
    """What an adaptive sweep was asked for and has done."""

    goal: Goal
    budget_flops: float
    """What all cells may cost, those of the start among them, as the points count C and each as if it stood alone."""
    method: Method = "ladder"
    """How cells for a loss are chosen."""
    rounds: tuple[Round, ...] = ()
    end: End | None = None
    """None while it goes on."""

    def with_round(self, made: Round) -> "Log":
        """The log with one more round."""
        return replace(self, rounds=(*self.rounds, made), end=None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "goal": asdict(self.goal),
            "budget_flops": self.budget_flops,
            "method": self.method,
            "rounds": [_round_dict(made) for made in self.rounds],
            "end": {**asdict(self.end), "reading": _told(self.end.reading)} if self.end else None,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Log":
        """What `to_dict` gave.

        Raises:
            KeyError, TypeError: it did not.
        """
        rounds = tuple(
            Round(**{**made, "reading": _heard(made["reading"]), "cells": tuple(map(_cell, made["cells"]))})
            for made in content["rounds"]
        )
        end = End(**{**content["end"], "reading": _heard(content["end"]["reading"])}) if content["end"] else None
        return cls(Goal(**content["goal"]), content["budget_flops"], content["method"], rounds, end)


Predict = Callable[[Points, FitSpec, Sequence[Place]], Sequence[Prediction | Refused]]
"""Losses of cells, each of one run, by the points."""


def next_round(points: Points, log: Log, spec: FitSpec, snap: Snap, predict: Predict | None = None) -> Round | End:
    """What is to be measured next, or why nothing is.

    Args:
        points: all that was measured, every cell of the log's rounds among them.
        log: the rounds until now.
        spec: estimation.
        snap: cells that can be measured.
        predict: of the losses that are sealed; None seals none, as a simulation needs none.

    Raises:
        FitError: the units of the points contradict each other.
        SpecError: budget or target are not positive.
    """
    rivals = _rivals(points, spec) if log.goal.target_flops is None else None
    reading = rivals if isinstance(rivals, Refused) else read_goal(points, log.goal, spec, rivals)
    spent = float(np.sum(points.frame["c"]))
    last, origin = (log.rounds[-1] if log.rounds else None), hash_points(points)
    is_replicated = last is not None and last.kind == "replicate"
    if last is not None and is_replicated and last.reason == "reached":
        reading = _union(last.reading, reading)
    is_met, note = log.goal.is_met(reading), ""
    reason: Reason | None = None
    if is_met:
        reason = "reached"
    elif _is_stalled([log.goal.width(one) for one in (*(made.reading for made in log.rounds), reading)], log.goal):
        reason = "stalled"
    if last is not None and is_replicated and last.reason == "stalled" and not is_met:
        return End("stalled", reading, spent, origin)
    if reason is None:
        try:
            places, expected = _propose(points, log, spec, snap, spent, rivals)
            return Round("cells", None, reading, expected, spent, _seal(points, places, spec, predict), origin)
        except FitError as error:
            reason = "budget" if _is_spent(points, log, spent) else "no cells"
            note = str(error) if reason == "no cells" else ""
    if last is None or is_replicated:  # of one design that was fixed, or of a rung that was measured anew
        return End(reason, reading, spent, origin, note)
    places = [Place(cell.n, cell.d, cell.c) for cell in last.cells]
    return Round("replicate", reason, reading, None, spent, _seal(points, places, spec, predict), origin, note)


def _union(before: Prediction | Refused, after: Prediction | Refused) -> Prediction | Refused:
    """The later value with the union of both intervals; refused where one of them is."""
    if isinstance(before, Refused) or isinstance(after, Refused):
        return after if isinstance(after, Refused) else before
    return Prediction(after.value, min(before.low, after.low), max(before.high, after.high))


def _is_spent(points: Points, log: Log, spent: float) -> bool:
    """Whether what remains buys no round and its replicate of the kind that the goal asks for."""
    least = float(np.max(points.c)) * (1 if log.goal.target_flops is None else 1 / MAX_SHARE)
    return (log.budget_flops - spent) / 2 < max(least, LEAST * spent)


def _is_stalled(widths: Sequence[float], goal: Goal) -> bool:
    """Whether the last two rounds changed the half-width by less than `STALLED` each."""
    if len(widths) < 3 or max(widths[-3:]) > LARGEST[goal.quantity] / 2:
        return False
    return all(abs(after / before - 1) < STALLED for before, after in zip(widths[-3:], widths[-2:], strict=False))


def _rivals(points: Points, spec: FitSpec) -> Rivals | Refused:
    """The forms on these points, which both the reading and the proposal of a need, or why there is none."""
    try:
        return fit_rivals(Rows.of(points), spec, THEORIES)
    except FitError as error:
        return Refused(str(error))


def _propose(
    points: Points, log: Log, spec: FitSpec, snap: Snap, spent: float, rivals: Rivals | Refused | None
) -> tuple[list[Place], float | None]:
    """Cells that the recipe can make, and the half-width expected after them. Half of what remains is kept for a replicate.

    Raises:
        FitError: the budget buys none, or the points support none.
    """
    goal, room = log.goal, (log.budget_flops - spent) / 2
    if room < LEAST * spent:
        raise FitError("")
    if goal.target_flops is None:
        if not isinstance(rivals, Rivals):
            raise FitError(str(rivals))
        made = exponent_cells(points, spec, min(room, SHARE * spent), snap, rivals)
        return list(made.cells), made.half_width if math.isfinite(made.half_width) else None
    budget = min(room, max(SHARE * spent, RISE * float(points.c.max())))
    proposal = next_cells(points, spec, budget, goal.target_flops, log.method)
    places = [place for cell in proposal.cells if (place := snap(cell.n, cell.d)) is not None]
    if not places:
        raise FitError("The proposed cells cannot be made: they need more text than there is without repeating any.")
    return places, goal.width(proposal.after.drift) if isinstance(proposal.after, Expected) else None


def _seal(points: Points, places: Sequence[Place], spec: FitSpec, predict: Predict | None) -> tuple[Sealed, ...]:
    """The cells with their predictions, and seeds that no cell of their size and budget has."""
    losses = predict(points, spec, places) if predict else [Refused("No prediction was asked for.")] * len(places)
    seeds = free_seeds(points, [(place.n, place.d) for place in places])
    return tuple(Sealed(p.n, p.d, p.c, seed, loss) for p, seed, loss in zip(places, seeds, losses, strict=True))


def free_seeds(points: Points, cells: Sequence[tuple[float, float]]) -> list[int]:
    """A seed for each cell of N and D that no other run of its size and budget has, from the smallest of the points on."""
    log_n, log_d, seeds = (points.frame[name].to_numpy(dtype=np.float64) for name in ("n", "d", "seed"))
    log_n, log_d, first = np.log(log_n), np.log(log_d), int(seeds.min())
    copies: Counter[tuple[float, float]] = Counter()
    found = []
    for n, d in cells:
        same = (np.abs(log_n - math.log(n)) < _SAME) & (np.abs(log_d - math.log(d)) < _SAME)
        used = set(seeds[same].astype(int).tolist())
        free = [seed for seed in range(first, first + len(used) + len(cells) + 1) if seed not in used]
        found.append(free[copies[n, d]])
        copies[n, d] += 1
    return found


def predict_cells(points: Points, spec: FitSpec, places: Sequence[Place]) -> list[Prediction | Refused]:
    """Loss of one run of each cell with its honest interval, as `forecast` gives it.

    Raises:
        FitError: no form can be fitted.
    """
    rows = Rows.of(points)
    rivals, factor = fit_rivals(rows, spec, THEORIES), back_test(points, spec).factor
    targets = [place.n for place in places], [place.d for place in places]
    outlook = look_ahead(rivals, Range.of(rows.n, rows.d), targets)
    band = outlook.honest(factor)
    ends = np.exp(np.stack([outlook.centre, band.low, band.high], axis=1)).tolist()
    return [Refused(why) if why else Prediction(*row) for why, row in zip(outlook.refusals, ends, strict=True)]


def _round_dict(made: Round) -> dict[str, Any]:
    cells = [{**asdict(cell), "loss": _told(cell.loss)} for cell in made.cells]
    return {**asdict(made), "reading": _told(made.reading), "cells": cells}


def _told(value: Prediction | Refused) -> dict[str, Any]:
    return {"refusal": value.reason} if isinstance(value, Refused) else asdict(value)


def _heard(value: Mapping[str, Any]) -> Prediction | Refused:
    return Refused(value["refusal"]) if "refusal" in value else Prediction(**value)


def _cell(value: Mapping[str, Any]) -> Sealed:
    return Sealed(**{**value, "loss": _heard(value["loss"])})
