"""Which cells to measure next, for the loss at a compute that cannot be measured yet.

    ladder      compute-optimal cells from the largest measured compute to what the budget allows, evenly spaced in log C.
                It measures the very curve that is extrapolated, so that it helps whatever form is right: the default.
    v_optimal   cells that minimise the preferred law's prediction variance at the target, averaged over its resamples, by
                exchange from several starts. Better than the ladder where that law is right, and worse where it is not.

No cell takes more than half of the budget, because one run alone shows no slope. Expected intervals are linear approximations
under the preferred law with the residuals' noise; the second one adds the drifting exponent of `horizon`.

The limits are those of `forecast`: each cell must be supported by the points and the cells before it (`Range.refuse`), and an
interval is given only where the points, or points and cells, support the target. No cell is cheaper than the largest measured:
under one form tiny models far below narrow the interval as much as large ones, which is what a forecast must not believe. More
compute never promises less: what a smaller budget buys, a larger one buys too, so that designs of rising budgets are tried, and
one replaces that before it only where neither expected interval is wider.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from scalesweep.analysis.forecast.dated import Prediction
from scalesweep.analysis.forecast.information import Information
from scalesweep.analysis.forecast.rivals import THEORIES, fit_rivals, local_slopes
from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, Refused, SpecError
from scalesweep.fit.horizon import Range, walk_sd
from scalesweep.fit.results import Fit
from scalesweep.laws import JointLaw
from scalesweep.points.compute import SIX, compute_of
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_number

Method = Literal["ladder", "v_optimal"]
MAX_STEPS = 7
"""Most different steps of a ladder."""
_LADDERS = 8
"""Budgets an octave whose ladders are tried: neighbours differ by 9 %."""
MAX_SHARE = 0.5
"""Largest share of the budget for one cell."""
RATIOS = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
"""Tokens per parameter of the candidates of the exchange."""
NUM_LAWS = 20
"""Resamples that the exchange averages over: the best design depends on the law that it shall find."""
_MAX_PLANNED = 24
_SHARES = (1.0, 0.5, 0.25)
"""Of the compute that a removed cell frees, the largest part that its first successor may take."""
_MAX_PASSES = 20
_LARGEST_LOG = 500.0
"""Of an interval's upper end over its value: points that say next to nothing leave one beyond double precision."""


@dataclass(frozen=True)
class NextCell:
    """A cell to measure."""

    n: float
    """Parameters."""
    d: float
    """Training tokens."""
    c: float
    """Training FLOPs as the points count C."""
    loss: float
    """Loss that the preferred law expects, nats per token."""


@dataclass(frozen=True)
class Expected:
    """Intervals of the mean loss at the target, nats per token."""

    form: Prediction
    """If the preferred form holds."""
    drift: Prediction
    """With the exponent drifting beyond the measured cells."""


@dataclass(frozen=True)
class NextCells:
    """Proposed cells, with what they are expected to tell."""

    method: Method
    """How they were chosen."""
    cells: tuple[NextCell, ...]
    """In the order of compute."""
    budget_flops: float
    """What may be spent."""
    target: NextCell
    """The compute-optimal model at the target."""
    before: Expected | Refused
    """Now; refused where the points do not support the target."""
    after: Expected | Refused
    """After the cells are measured; refused where these do not support it either."""
    confidence: float
    """Nominal coverage."""
    law: str
    """The preferred law with its numbers."""
    source: str
    """Where the points come from."""

    @property
    def spent_flops(self) -> float:
        """Compute of all cells."""
        return sum(cell.c for cell in self.cells)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {**asdict(self), "spent_flops": self.spent_flops}


def next_cells(points: Points, spec: FitSpec, budget_flops: float, target_c: float, method: Method = "ladder") -> NextCells:
    """Propose cells of at most `budget_flops` together for the loss of the compute-optimal model at `target_c`.

    Both count C as the points do (`points.compute`).

    Raises:
        SpecError: a number is not positive, or there is no such method.
        FitError: no law can be fitted to these points, the preferred one has no compute optimum, no cells that the points
            support can be had for the budget, or the units of the points contradict each other.
    """
    if not all(math.isfinite(value) and value > 0 for value in (budget_flops, target_c)):
        raise SpecError(f"Give a positive budget and target in FLOPs, not {budget_flops:g} and {target_c:g}.")
    if method not in ("ladder", "v_optimal"):
        raise SpecError(f"There is no method {method!r}; choose ladder or v_optimal.")
    if spec.law == "repeated":
        raise SpecError("fit.law = repeated: no cells of repeated data are proposed; fit the fresh rows with fit.law=auto.")
    count = compute_of(points)
    if count.withheld:
        raise FitError(f"{points.source}: {count.unusual} No cells are proposed before the units are stated (A17).")
    budget, rows = count.as_six(budget_flops), Rows.of(points)  # chosen by 6 N D, and told as the points count
    preferred = fit_rivals(rows, spec.model_copy(update={"bootstrap": NUM_LAWS}), THEORIES).preferred
    law = preferred.law
    assert isinstance(law, JointLaw)  # all theories are
    target_six = count.as_six(target_c)
    target = _cell(law, float(law.n_opt(target_six)), target_six)
    here = Information.of(preferred, rows.n, rows.d, (target.n, target.d), [law])
    cells = _best_ladder(here, rows, target, budget)
    if method == "v_optimal":
        averaged = Information.of(preferred, rows.n, rows.d, (target.n, target.d), _resampled(preferred))
        cells = _best_exchange(here, averaged, rows, target, cells, budget)
    now, later = (Range.of(*_columns(rows, part)).refuse(target.n, target.d) for part in ([], cells))
    told = [replace(cell, c=count.k * cell.n * cell.d) if count.k != SIX else cell for cell in (target, *cells)]
    return NextCells(
        method=method,
        cells=tuple(sorted(told[1:], key=lambda cell: (cell.c, cell.n))),
        budget_flops=budget_flops,
        target=told[0],
        before=Refused(now) if now else expect(here, rows, [], target, spec.confidence),
        after=Refused(later) if later else expect(here, rows, cells, target, spec.confidence),
        confidence=spec.confidence,
        law=law.formula(),
        source=points.source,
    )


def ladder_flops(largest: float, budget: float) -> list[float]:
    """Compute of each step of the ladder, FLOPs, ascending, together the budget.

    Half of the budget, half of the rest, and so on down to the largest measured compute: steps by factors of 2, as far up as
    `MAX_SHARE` allows, because the length of the lever counts most. What is left repeats the lowest step.

    Raises:
        FitError: not even two cells of the largest measured compute can be had.
    """
    affordable = math.floor(math.log2(budget / largest) + 1e-9)
    if affordable < 1:
        raise FitError(
            f"{format_number(budget)} FLOPs as 6 N D buy nothing beyond what was measured, up to {format_number(largest)}; two "
            f"cells of that compute, the least that is proposed, cost {format_number(largest / MAX_SHARE)}."
        )
    steps = [budget * MAX_SHARE**k for k in range(1, min(affordable, MAX_STEPS) + 1)]
    return [steps[-1], *reversed(steps)]


def _best_ladder(here: Information, measured: Rows, target: NextCell, budget: float) -> list[NextCell]:
    """The ladder of this budget, or of a smaller one that promises no less."""
    (law,), largest = here.laws, 6 * float(np.max(measured.n * measured.d))
    ladder_flops(largest, budget)
    best, refusal = None, ""
    for spent in _rising(largest, min(budget, max(target.c, largest) / MAX_SHARE), _LADDERS):
        cells = [_cell(law, float(law.n_opt(c)), c) for c in ladder_flops(largest, spent)]
        if found := _refuse(measured, cells):
            refusal = refusal or found
        elif best is None or _promises_more(here, measured, target, cells, best):
            best = cells
    if best is None:
        raise FitError(f"No compute-optimal cells beyond the measured ones are supported. {refusal}")
    return best


def _best_exchange(
    here: Information, averaged: Information, measured: Rows, target: NextCell, ladder: list[NextCell], budget: float
) -> list[NextCell]:
    """The cells of the lowest mean variance that exchanges reach with this budget or a smaller one, or the ladder."""
    (law,) = here.laws
    best: list[NextCell] | None = None
    largest = 6 * float(np.max(measured.n * measured.d))
    for spent in _rising(largest, min(budget, max(target.c, largest) / MAX_SHARE), 1):
        pool = [cell for cell in _candidates(law, spent) if cell.c >= largest * (1 - 1e-9)]
        pool = [cell for cell in pool if not Range.of(*_columns(measured, ladder)).refuse(cell.n, cell.d)]
        if not pool:
            continue
        starts: list[list[NextCell]] = [[], best] if best else [[]]
        designs = [_exchange(averaged, pool, start, spent) for start in starts]
        for cells in sorted(designs, key=lambda design: averaged.variance(_rows(averaged, design))):
            if not _refuse(measured, cells) and (best is None or _promises_more(here, measured, target, cells, best)):
                best = cells
                break
    return best or ladder


def _rising(largest: float, budget: float, per_octave: int) -> list[float]:
    """Budgets from the least that is possible up to this one, at places that do not depend on it."""
    least = largest / MAX_SHARE
    count = math.floor(per_octave * math.log2(budget / least) + 1e-9)
    return [*(least * 2 ** (k / per_octave) for k in range(count + 1)), budget]


def _refuse(measured: Rows, cells: Sequence[NextCell]) -> str:
    """Why one of the cells is not supported by what is measured and the cheaper cells; empty where all are."""
    ordered = sorted(cells, key=lambda cell: cell.c)
    refusals = (Range.of(*_columns(measured, ordered[:i])).refuse(cell.n, cell.d) for i, cell in enumerate(ordered))
    return next(filter(None, refusals), "")


def _promises_more(
    here: Information, measured: Rows, target: NextCell, cells: Sequence[NextCell], than: Sequence[NextCell]
) -> bool:
    """Whether neither expected interval is wider, and one is narrower."""
    new, old = (_spreads(here, measured, part, target) for part in (cells, than))
    return new != old and all(x <= y for x, y in zip(new, old, strict=True))


def _exchange(information: Information, pool: list[NextCell], start: list[NextCell], budget: float) -> list[NextCell]:
    """Cells of the lowest mean variance that replacements, each by one or more of the pool, reach within the budget."""
    moves = information.rows(np.array([cell.n for cell in pool]), np.array([cell.d for cell in pool]))
    cells = _fill(information, start, pool, moves, budget)
    best = information.variance(_rows(information, cells))
    for _ in range(_MAX_PASSES):
        before = best
        for cell in dict.fromkeys(cells):  # equal cells need one trial
            rest = _without(cells, cell)
            spare = budget - sum(cell.c for cell in rest)
            for share in _SHARES:
                first = _fill(information, rest, pool, moves, budget - spare * (1 - share), num=1)
                tried = _fill(information, first, pool, moves, budget)
                variance = information.variance(_rows(information, tried))
                if variance < best * (1 - 1e-9):
                    cells, best = tried, variance
        if best >= before * (1 - 1e-4):
            break
    return cells


def _without(cells: list[NextCell], cell: NextCell) -> list[NextCell]:
    """The cells less one of this kind, if there is one."""
    i = cells.index(cell) if cell in cells else len(cells)
    return cells[:i] + cells[i + 1 :]


def _fill(
    information: Information,
    cells: list[NextCell],
    pool: list[NextCell],
    moves: FloatArray,
    budget: float,
    num: int = _MAX_PLANNED,
) -> list[NextCell]:
    """The cells and at most `num` more: each time the affordable candidate that lowers the variance most.

    Not the one that lowers it most per FLOP: that would buy the smallest cells only.
    """
    cells, cost = list(cells), np.array([cell.c for cell in pool])
    for _ in range(min(num, _MAX_PLANNED - len(cells))):
        affordable = cost <= (budget - sum(cell.c for cell in cells)) * (1 + 1e-9)
        if not affordable.any():
            break
        gains = np.where(affordable, information.gains(_rows(information, cells), moves), 0.0)
        cells.append(pool[int(np.argmax(gains))])
    return cells


def _candidates(law: JointLaw, budget: float) -> list[NextCell]:
    """Cells of half the budget and less, by factors of 2 over two decades, at `RATIOS`."""
    levels = MAX_SHARE * budget / 2.0 ** np.arange(8)
    return [_cell(law, math.sqrt(c / 6 / ratio), float(c)) for c in levels for ratio in RATIOS]


def _resampled(fit: Fit) -> list[JointLaw]:
    """Resamples of the law in which every parameter acts."""
    laws = fit.resampled_laws(fit.cluster_samples if len(fit.cluster_samples) else fit.samples)
    found = [law for law in laws if isinstance(law, JointLaw) and law.has_optimum]
    if not found:
        raise FitError("No resample of the law has a compute optimum, so that no design can be averaged over them.")
    return found


def _rows(information: Information, cells: Sequence[NextCell]) -> FloatArray:
    return information.rows(np.array([cell.n for cell in cells]), np.array([cell.d for cell in cells]))


def _cell(law: JointLaw, n: float, c: float) -> NextCell:
    d = c / 6 / n
    return NextCell(n, d, c, float(law.predict(n, d)))


def expect(
    information: Information,
    measured: Rows,
    cells: Sequence[NextCell],
    target: NextCell,
    confidence: float,
) -> Expected:
    """Intervals of the loss at the target, of the form alone and with drift, once the cells are measured too."""
    from scipy.special import ndtri

    z = float(ndtri(0.5 + confidence / 2))
    form, drifting = (
        Prediction(target.loss, target.loss * math.exp(-z * s), target.loss * math.exp(min(z * s, _LARGEST_LOG)))
        for s in _spreads(information, measured, cells, target)
    )
    return Expected(form, drifting)


def _spreads(information: Information, measured: Rows, cells: Sequence[NextCell], target: NextCell) -> tuple[float, float]:
    """Standard deviations of the log loss at the target: of the form alone, and with drift."""
    form_sd = math.sqrt(information.variance(_rows(information, cells)))
    at_n, at_d = np.array([target.n]), np.array([target.d])
    way = Range.of(*_columns(measured, cells)).way(at_n, at_d)
    drift = float(walk_sd(way, _slopes(information.laws[0], at_n * 10.0 ** -way[0], at_d * 10.0 ** -way[1]))[0])
    return form_sd, math.hypot(form_sd, drift)


def _columns(measured: Rows, cells: Sequence[NextCell]) -> tuple[FloatArray, FloatArray]:
    """N and D of the measured rows and the cells."""
    n = np.concatenate([measured.n, [cell.n for cell in cells]])
    return n, np.concatenate([measured.d, [cell.d for cell in cells]])


def _slopes(law: JointLaw, n: FloatArray, d: FloatArray) -> tuple[FloatArray, FloatArray]:
    return local_slopes(lambda n, d: np.log(law.predict(n, d)), n, d)
