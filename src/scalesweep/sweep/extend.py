"""The road between the halves for a tuned sweep: which ranges to extend or refine, and the frontier before a fit."""

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalesweep.analysis.tuning.frontier import Edge, Gap
from scalesweep.analysis.tuning.laws import describe
from scalesweep.analysis.tuning.optima import is_tuned, tuned_frontier
from scalesweep.files import plain_write_errors
from scalesweep.plan.axes import AXIS
from scalesweep.plan.grid import Device
from scalesweep.plan.plan import CorporaFacts, TunedCell, tuned_variants
from scalesweep.plan.trials import Extension, Refinement
from scalesweep.points.points import Points
from scalesweep.report import ReportContext
from scalesweep.run.store.measured import Measured
from scalesweep.settings.settings import Settings
from scalesweep.settings.tune import MEMORIES, coordinate, value_at


def fitted_points(points: Points, context: ReportContext) -> tuple[Points, ReportContext]:
    """What the laws are fitted to and what the report says of it: of a tuned sweep its frontier, else the points."""
    if not is_tuned(points):
        return points, context
    frontier = tuned_frontier(points)
    return frontier.points, dataclasses.replace(context, frontier=frontier, tuning=describe(frontier))


def keep_frontier(directory: Path, context: ReportContext) -> None:
    """Write a tuned frontier beside the report before a fit, which may be refused."""
    if context.frontier is None:
        return
    with plain_write_errors(directory, "make it writable, or name another place."):
        directory.mkdir(parents=True, exist_ok=True)
        context.frontier.points.to_csv(directory / "frontier.csv")


def extend(measured: Measured, settings: Settings, facts: CorporaFacts, device: Device) -> tuple[list[str], list[str]]:
    """Keys of the cells past the edges at which optima lie, or between settings too coarse, and sentences that say so.

    Every edge asks for the next extension of its range that the directory does not hold, at its size and budget and at its own
    values of the axes, for all seeds; every gap for the next refinement beside its best setting.
    """
    tune = settings.sweep.tune
    points = measured.points(settings.count)
    if tune is None or not is_tuned(points):
        return [], []
    frontier = tuned_frontier(points)
    edges: dict[Any, tuple[Any, Edge]] = {}
    gaps: dict[Any, tuple[Any, Gap]] = {}
    for group in frontier.groups:
        place = _axes_of_row(group.row)
        edges |= {(place, e.n, round(math.log(e.d), 2), e.setting, e.side): (place, e) for e in group.edges}
        gaps |= {(place, g.n, round(math.log(g.d), 2), g.setting, g.best): (place, g) for g in group.gaps}
    beyond = [t for t in tuned_variants(settings, facts, device, True) if t.trial.extension is not None]
    budgets = {(group.n, group.d) for group in frontier.groups}
    keys: list[str] = []
    said: Counter[str] = Counter()
    for place, edge in edges.values():
        mine = [t for t in beyond if _axes_of_row(t.place) == place and _is_past(t, edge, budgets, settings)]
        new = _next_time(mine, measured.states)
        keys += [t.cell.key for t in new]
        said[_sentence(edge, mine, new, tune.extensions)] += 1
    for place, gap in gaps.values():
        mine = [t for t in beyond if _axes_of_row(t.place) == place and _is_in(t, gap, budgets, settings)]
        new = _next_time(mine, measured.states)
        keys += [t.cell.key for t in new]
        if new:
            said[_sentence_of_gap(gap, new)] += 1
    return list(dict.fromkeys(keys)), [
        f"{sentence} ({number} {'optimum' if number == 1 else 'optima'})" for sentence, number in said.items()
    ]


def _axes_of_row(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Axes and values of a row, as text, since a table of points writes a whole number as 2.0 beside a missing one."""
    return tuple((name, f"{v:g}" if isinstance(v, int | float) else str(v)) for name, v in row.items() if name.startswith(AXIS))


def _is_past(candidate: TunedCell, edge: Edge, budgets: Iterable[tuple[float, float]], settings: Settings) -> bool:
    """Whether the cell is past this edge: its setting and side, its size, and of the measured budgets this one is nearest."""
    extension = candidate.trial.extension
    if not isinstance(extension, Extension) or (extension.setting, extension.side) != (edge.setting, edge.side):
        return False
    return _is_at(candidate, edge, budgets, settings)


def _is_in(candidate: TunedCell, gap: Gap, budgets: Iterable[tuple[float, float]], settings: Settings) -> bool:
    """Whether the cell is a refinement between the neighbours of the best setting, at its size and budget."""
    if not isinstance(candidate.trial.extension, Refinement) or candidate.trial.extension.setting != gap.setting:
        return False
    place = coordinate(gap.setting, candidate.trial.values[gap.setting])
    return gap.low + 1e-6 < place < gap.high - 1e-6 and _is_at(candidate, gap, budgets, settings)


def _is_at(candidate: TunedCell, place: Edge | Gap, budgets: Iterable[tuple[float, float]], settings: Settings) -> bool:
    """Whether the cell has the size of the place, and of the measured budgets that one is nearest."""
    cell = candidate.cell
    if cell.num_params(settings.count) != place.n:
        return False
    nearest = min((d for n, d in budgets if n == place.n), key=lambda d: abs(math.log(d / cell.tokens)))
    return nearest == place.d


def _next_time(candidates: Sequence[TunedCell], present: Collection[str]) -> list[TunedCell]:
    """The cells of the first extension or refinement that is not wholly there."""

    def time(candidate: TunedCell) -> int:
        extension = candidate.trial.extension
        return extension.time if extension else 0

    missing = [t for t in candidates if t.cell.key not in present]
    first = min(map(time, missing), default=0)
    return [t for t in missing if time(t) == first]


def _sentence(edge: Edge, possible: Sequence[TunedCell], new: Sequence[TunedCell], cap: int) -> str:
    where = f"The optimum of {edge.setting} lies at the {'smallest' if edge.side == 'low' else 'largest'} value tried"
    if edge.setting in MEMORIES:
        where = f"The optimum of {edge.setting} lies at the {'largest' if edge.side == 'low' else 'smallest'} value tried"
    if new:
        values = sorted({t.trial.values[edge.setting] for t in new})
        to = f"{values[0]:.3g}" + (f"..{values[-1]:.3g}" if values[-1] > values[0] else "")
        return f"{where}, {edge.value:.3g}: the range is extended to {to} there"
    if possible or cap == 0:
        return f"{where}, {edge.value:.3g}, after {cap} extensions (sweep.tune.extensions): such points are left out of the fit"
    return f"{where}, {edge.value:.3g}, and there is nothing beyond it: such points are left out of the fit"


def _sentence_of_gap(gap: Gap, new: Sequence[TunedCell]) -> str:
    ends = sorted(value_at(gap.setting, place) for place in (gap.low, gap.high))
    values = [f"{value:.3g}" for value in sorted({t.trial.values[gap.setting] for t in new})]
    return (
        f"The best {gap.setting} tried, {gap.best:.3g}, stands between {ends[0]:.3g} and {ends[1]:.3g}, too coarse or too "
        f"steep for a quadratic: {' and '.join(values)} {'is' if len(values) == 1 else 'are'} tried there"
    )
