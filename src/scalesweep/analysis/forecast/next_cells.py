"""Which cells to measure next, for the loss at a compute that cannot be measured yet.

    ladder      compute-optimal cells from the largest measured compute to what the budget allows, evenly spaced in log C.
                It measures the very curve that is extrapolated, so that it helps whatever form is right: the default.
    v_optimal   cells that minimise the preferred law's prediction variance at the target, averaged over its resamples, by
                exchange from several starts. Better than the ladder where that law is right, and worse where it is not.

No cell takes more than half of the budget, because one run alone shows no slope. Expected intervals are linear approximations
under the preferred law with the residuals' noise; the second one adds the drifting exponent of `horizon`.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from scalesweep.analysis.forecast.dated import Prediction
from scalesweep.analysis.forecast.rivals import THEORIES, fit_rivals, local_slopes
from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, SpecError
from scalesweep.fit.horizon import Range, walk_sd
from scalesweep.fit.intervals import inflated_residuals
from scalesweep.fit.results import Fit
from scalesweep.fit.solve.objectives import robust_scale
from scalesweep.laws import JointLaw
from scalesweep.points.compute import SIX, compute_of
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec

Method = Literal["ladder", "v_optimal"]
MIN_STEPS, MAX_STEPS = 3, 7
"""Fewest and most different steps of a ladder."""
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
    before: Expected
    """Now."""
    after: Expected
    """After the cells are measured."""
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


@dataclass(frozen=True, eq=False)
class _Information:
    """What rows tell of the preferred law, for each of several estimates of it; derivatives are of log L."""

    laws: Sequence[JointLaw]
    """The estimates."""
    noise_sd: float
    """Standard deviation of log loss."""
    matrices: FloatArray
    """Information matrices of the measured rows, shape (laws, P, P)."""
    target: FloatArray
    """Derivatives at the target, shape (laws, P)."""

    def rows(self, n: FloatArray, d: FloatArray) -> FloatArray:
        """Derivatives at n, d of shape (rows,), in units of the noise, shape (laws, rows, P)."""
        return np.stack([_derivatives(law, n, d) for law in self.laws]) / self.noise_sd

    def variance(self, rows: FloatArray) -> float:
        """Mean variance of the predicted log loss at the target after rows of shape (laws, rows, P)."""
        inverse = _invert(self.matrices + rows.swapaxes(1, 2) @ rows)
        return float(np.mean(np.einsum("kp,kpq,kq->k", self.target, inverse, self.target)))

    def gains(self, rows: FloatArray, candidates: FloatArray) -> FloatArray:
        """By how much one further candidate, shape (laws, candidates, P), lowers that variance, shape (candidates,)."""
        inverse = _invert(self.matrices + rows.swapaxes(1, 2) @ rows)
        spread = candidates @ inverse
        cross = np.einsum("kcp,kp->kc", spread, self.target)
        return np.asarray(np.mean(cross**2 / (1 + np.sum(spread * candidates, axis=2)), axis=0))


def next_cells(points: Points, spec: FitSpec, budget_flops: float, target_c: float, method: Method = "ladder") -> NextCells:
    """Propose cells of at most `budget_flops` together for the loss of the compute-optimal model at `target_c`.

    Both count C as the points do (`points.compute`).

    Raises:
        SpecError: a number is not positive, or there is no such method.
        FitError: no law can be fitted to these points, the preferred one has no compute optimum, or the units of the
            points contradict each other.
    """
    if not all(math.isfinite(value) and value > 0 for value in (budget_flops, target_c)):
        raise SpecError(f"Give a positive budget and target in FLOPs, not {budget_flops:g} and {target_c:g}.")
    if method not in ("ladder", "v_optimal"):
        raise SpecError(f"There is no method {method!r}; choose ladder or v_optimal.")
    count = compute_of(points)
    if count.withheld:
        raise FitError(f"{points.source}: {count.unusual} No cells are proposed before the units are stated (A17).")
    budget, rows = count.as_six(budget_flops), Rows.of(points)  # chosen by 6 N D, and told as the points count
    preferred = fit_rivals(rows, spec.model_copy(update={"bootstrap": NUM_LAWS}), THEORIES).preferred
    law = preferred.law
    assert isinstance(law, JointLaw)  # all theories are
    target_six = count.as_six(target_c)
    target = _cell(law, float(law.n_opt(target_six)), target_six)
    rungs = ladder_flops(6 * float(np.max(rows.n * rows.d)), budget)
    cells = [_cell(law, float(law.n_opt(c)), c) for c in rungs]
    if method == "v_optimal":
        information = _information(preferred, rows, target, _resampled(preferred))
        half = [_cell(law, cell.n * 2**-law.a, cell.c / 2) for cell in cells]
        designs = [_exchange(information, law, start, budget) for start in (cells, half, [])]
        cells = min(designs, key=lambda design: information.variance(_rows(information, design)))
    here = _information(preferred, rows, target, [law])
    told = [replace(cell, c=count.k * cell.n * cell.d) if count.k != SIX else cell for cell in (target, *cells)]
    return NextCells(
        method=method,
        cells=tuple(sorted(told[1:], key=lambda cell: (cell.c, cell.n))),
        budget_flops=budget_flops,
        target=told[0],
        before=expect(here, rows, [], target, spec.confidence),
        after=expect(here, rows, cells, target, spec.confidence),
        confidence=spec.confidence,
        law=law.formula(),
        source=points.source,
    )


def ladder_flops(largest: float, budget: float) -> list[float]:
    """Compute of each step of the ladder, FLOPs, ascending, together the budget.

    Half of the budget, half of the rest, and so on down to the largest measured compute: steps by factors of 2, as far up as
    `MAX_SHARE` allows, because the length of the lever counts most. What is left repeats the lowest step. At least `MIN_STEPS`,
    even where they lie below what is measured.
    """
    affordable = math.floor(math.log2(budget / largest))
    steps = [budget * MAX_SHARE**k for k in range(1, min(max(affordable, MIN_STEPS), MAX_STEPS) + 1)]
    return [steps[-1], *reversed(steps)]


def _exchange(information: _Information, law: JointLaw, start: list[NextCell], budget: float) -> list[NextCell]:
    """Cells of the lowest mean variance that replacements, each by one or more cells, reach within the budget."""
    pool = _candidates(law, budget)
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
    information: _Information,
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


def _information(fit: Fit, measured: Rows, target: NextCell, laws: Sequence[JointLaw]) -> _Information:
    sd = max(robust_scale(inflated_residuals(fit), 0), 1e-6)
    rows = np.stack([_derivatives(law, measured.n, measured.d) for law in laws]) / sd
    at = np.stack([_derivatives(law, np.array([target.n]), np.array([target.d]))[0] for law in laws])
    return _Information(laws, sd, rows.swapaxes(1, 2) @ rows, at)


def _resampled(fit: Fit) -> list[JointLaw]:
    """Resamples of the law in which every parameter acts."""
    laws = fit.resampled_laws(fit.cluster_samples if len(fit.cluster_samples) else fit.samples)
    found = [law for law in laws if isinstance(law, JointLaw) and law.has_optimum]
    if not found:
        raise FitError("No resample of the law has a compute optimum, so that no design can be averaged over them.")
    return found


def _derivatives(law: JointLaw, n: FloatArray, d: FloatArray) -> FloatArray:
    """Derivatives of log L by the logarithms of the parameters, shape (rows, P): of one size, unlike the parameters."""
    return np.asarray(law.gradient(n, d) * np.array(law.theta) / law.predict(n, d)[:, None])


def _invert(matrices: FloatArray) -> FloatArray:
    """Inverses of information matrices, in units of a unit diagonal; directions without information have none."""
    size = np.sqrt(np.einsum("kpp->kp", matrices))
    size = np.where(size > 0, size, 1.0)
    scaled = matrices / (size[:, :, None] * size[:, None, :])
    return np.asarray(np.linalg.pinv(scaled, rcond=1e-14, hermitian=True) / (size[:, :, None] * size[:, None, :]))


def _rows(information: _Information, cells: Sequence[NextCell]) -> FloatArray:
    return information.rows(np.array([cell.n for cell in cells]), np.array([cell.d for cell in cells]))


def _cell(law: JointLaw, n: float, c: float) -> NextCell:
    d = c / 6 / n
    return NextCell(n, d, c, float(law.predict(n, d)))


def expect(
    information: _Information,
    measured: Rows,
    cells: Sequence[NextCell],
    target: NextCell,
    confidence: float,
) -> Expected:
    """Intervals of the loss at the target, of the form alone and with drift, once the cells are measured too."""
    from scipy.special import ndtri

    z = float(ndtri(0.5 + confidence / 2))
    form_sd = math.sqrt(information.variance(_rows(information, cells)))
    n = np.concatenate([measured.n, [cell.n for cell in cells]])
    d = np.concatenate([measured.d, [cell.d for cell in cells]])
    at_n, at_d = np.array([target.n]), np.array([target.d])
    way = Range.of(n, d).way(at_n, at_d)
    drift = float(walk_sd(way, _slopes(information.laws[0], at_n * 10.0 ** -way[0], at_d * 10.0 ** -way[1]))[0])
    both = math.hypot(form_sd, drift)
    form, drifting = (
        Prediction(target.loss, target.loss * math.exp(-z * s), target.loss * math.exp(min(z * s, _LARGEST_LOG)))
        for s in (form_sd, both)
    )
    return Expected(form, drifting)


def _slopes(law: JointLaw, n: FloatArray, d: FloatArray) -> tuple[FloatArray, FloatArray]:
    return local_slopes(lambda n, d: np.log(law.predict(n, d)), n, d)
