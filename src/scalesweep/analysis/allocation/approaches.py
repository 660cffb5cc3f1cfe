"""Compute-optimal allocation by the three approaches of Hoffmann et al. 2022 (arXiv 2203.15556), side by side.

Each gives N*(C) and D*(C) as lines in logs, with exponents a and b:

    approach 1   through the rows with the lowest loss in bins of C (`envelope`)
    approach 2   through the minima of isoFLOP curves (`minima`)
    approach 3   from the additive law L(N, D), with C = 6 N D, or k N D where the table counts so (`points.compute`)

They differ in what they assume, so their disagreement is worth reading. Approach 2 has a bias even without noise, because an
isoFLOP curve is not symmetric about its minimum (Czech et al. 2026, arXiv 2603.22339). It is computed here for the very design:
the same code runs on the losses that the fitted law gives at the measured (N, D), and is compared with the law's own optimum.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from scalesweep.analysis.allocation.envelope import ENVELOPE, fit_envelope
from scalesweep.analysis.allocation.lines import (
    MIN_BUDGETS,
    Allocation,
    Approach,
    ApproachStatus,
    Name,
    assemble_approach,
    fit_allocation,
    interval_words,
    refused_approach,
    resampled_allocations,
)
from scalesweep.analysis.allocation.minima import (
    IsoflopMinima,
    Method,
    Minimum,
    NoiseDraws,
    curve_noise,
    describe_minima,
    draw_noise,
    isoflop_minima,
)
from scalesweep.analysis.support import support_of
from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, Refused
from scalesweep.fit import fit_laws
from scalesweep.fit.estimates import Estimate
from scalesweep.fit.results import Fit, Status
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.laws import JointLaw
from scalesweep.points.compute import compute_of
from scalesweep.points.design import LEVEL_TOLERANCE, replicate_noise
from scalesweep.points.points import Points
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_share

MAX_COUNT_GAP = 0.01
"""Largest |C / (k N D) - 1| at which approach 3 and the others mean the same C."""
_TITLES = {
    "law": "fitted law, additive",
    "coupled": "fitted law, coupled (preferred)",
    "repeated": "fitted law of repeated data, where it is fresh",
}


@dataclass(frozen=True)
class Bias:
    """What approach 2 would get wrong if a law were true, without any noise."""

    c: tuple[float, ...]
    """Training FLOPs at which the errors are given."""
    n: tuple[float, ...]
    """Relative error of N* at each of them."""
    d: tuple[float, ...]
    """Relative error of D* at each of them."""
    a: float
    """Error of the exponent of N*."""
    num_budgets: int
    """Budgets of approach 2 that have a minimum on the law's surface too; the bias is that of the lines through these."""


@dataclass(frozen=True, eq=False)
class Approaches:
    """The three approaches on one table of points."""

    rows: tuple[Approach, ...]
    """Approach 1, 2 and 3, and the coupled law's where that is preferred."""
    minima: IsoflopMinima
    """The isoFLOP minima of approach 2."""
    bias: Bias | Refused
    """Of approach 2 on this design."""
    compared_at: tuple[float, ...]
    """Training FLOPs at which allocations are compared: the largest measured and, where the points support more, the farthest
    that they support (`analysis.support`); none where all are refused, as N, D and C are not said or contradict each other."""
    notes: tuple[str, ...]
    """What the approaches do not share."""
    source: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content; the resamples are left out."""
        return {
            "source": self.source,
            "compared_at": list(self.compared_at),
            "approaches": [_row_dict(row, self.compared_at) for row in self.rows],
            "isoflop": {
                "method": self.minima.method,
                "noise": self.minima.noise,
                "budgets": [_minimum_dict(minimum) for minimum in self.minima.minima],
            },
            "bias": None if isinstance(self.bias, Refused) else asdict(self.bias),
            "bias_refusal": self.bias.reason if isinstance(self.bias, Refused) else "",
            "notes": list(self.notes),
        }


def compare_approaches(
    points: Points,
    spec: FitSpec,
    method: Method = "akima",
    log_loss_sd: float | FloatArray | None = None,
    tolerance: float = LEVEL_TOLERANCE,
    fit: SweepFit | None = None,
) -> Approaches:
    """Approaches 1, 2 and 3 on the used rows, the optimum of the coupled law where it is preferred, and the bias of approach 2.

    Args:
        points: rows of several sizes and several C.
        spec: resamples, confidence and seed of all three; objective of approach 3.
        method: how isoFLOP minima are found.
        log_loss_sd: standard deviation of log L, one for all or of shape (used rows,). By default that of replicates, or else
            the scatter about smooth isoFLOP curves.
        tolerance: relative gap in C below which neighbouring rows are one budget of approach 2.
        fit: `fit_laws(points, spec)` where it is already known.

    Raises:
        FitError: the points cannot be fitted at all.
    """
    laws = fit or fit_laws(points, spec)
    if points.is_partial:
        return _refused_approaches(points, "A compute optimum needs N, D and C of each row.", method, tolerance, spec)
    if laws.compute.is_contradiction:
        return _refused_approaches(points, laws.compute.withheld, method, tolerance, spec)
    noise = draw_known_noise(points, spec, log_loss_sd, tolerance)
    minima = isoflop_minima(points, method, noise, tolerance)
    largest, reach = float(points.c.max()), support_of(points, laws, None).reach
    compared_at = (largest, reach * largest) if reach > 1 else (largest,)
    bias = _bias_on_design(points, laws.fits.get("joint"), minima, compared_at)
    rows = [
        fit_envelope(points, spec, noise),
        fit_isoflops(minima, spec),
        allocation_of_law(laws.laws["joint"], points, spec),
    ]
    if laws.preferred is not None and laws.preferred_name != "joint":
        name: Literal["coupled", "repeated"] = "repeated" if laws.preferred_name == "repeated" else "coupled"
        row = allocation_of_law(laws.preferred, points, spec, name)
        rows.append(replace(row, title=row.title.replace("preferred", "chosen")) if laws.chosen else row)
    return Approaches(tuple(rows), minima, bias, compared_at, _notes(points), points.source)


def _refused_approaches(points: Points, reason: str, method: Method, tolerance: float, spec: FitSpec) -> Approaches:
    """All three refused."""
    names: tuple[tuple[Name, str], ...] = (("envelope", ENVELOPE), ("isoflop", _isoflop_title(method)), ("law", _TITLES["law"]))
    rows = tuple(refused_approach(name, title, [reason], (0, 0), spec) for name, title in names)
    return Approaches(rows, IsoflopMinima(method, (), tolerance, ""), Refused(reason), (), (), points.source)


def fit_isoflops(minima: IsoflopMinima, spec: FitSpec) -> Approach:
    """Approach 2: lines through isoFLOP minima, weighted by 1 / se(log N*)^2 where that is known. Porian et al. 2024."""
    used = minima.used
    title = _isoflop_title(minima.method)
    messages = describe_minima(minima)
    log_c, weight = np.log([m.c for m in used]), _weights(minima)
    if len(used) < MIN_BUDGETS:
        messages.insert(0, f"Only {len(used)} budgets have a minimum; lines need {MIN_BUDGETS}.")
        return refused_approach("isoflop", title, messages, (len(used), len(minima.rejected)), spec)
    allocation = fit_allocation(np.exp(log_c), [m.n_opt for m in used], [m.d_opt for m in used], weight)
    log_n, log_d = (np.stack([m.samples[i] for m in used], axis=1) for i in (0, 1))
    samples = resampled_allocations(log_c, log_n, log_d, weight)
    counts = (len(used), len(minima.rejected))
    return assemble_approach("isoflop", title, allocation, samples, messages, counts, spec, interval_words(minima.noise))


def _isoflop_title(method: Method) -> str:
    return f"IsoFLOP minima ({method})"


def _weights(minima: IsoflopMinima) -> FloatArray:
    """Weight of each used minimum."""
    errors = np.array([minimum.log_n_se for minimum in minima.used])
    return np.ones(len(errors)) if np.isnan(errors).any() else errors**-2


def allocation_of_law(
    fit: Fit | Refused, points: Points, spec: FitSpec, name: Literal["law", "coupled", "repeated"] = "law"
) -> Approach:
    """Approach 3: the compute optimum of the fitted law, or its refusal; of the additive law, or the preferred other one."""
    title = _TITLES[name]
    if isinstance(fit, Refused):
        return refused_approach(name, title, [fit.reason], (len(points.loss), len(points.excluded)), spec)
    c0 = float(np.exp(np.log(points.c).mean()))
    six = compute_of(points).as_six(c0)
    first, second = (
        tuple(allocation for law in fit.resampled_laws(samples) if (allocation := _of_law(law, c0, six)))
        for samples in (fit.samples, fit.cluster_samples)
    )
    if (allocation := _of_law(fit.law, c0, six)) is None:
        return refused_approach(name, title, fit.messages, (len(fit.rows), len(points.excluded)), spec)
    counts = (len(fit.rows), len(points.excluded))
    words = "refits to resampled rows" + (", joined with refits to resampled sizes" if len(fit.cluster_samples) else "")
    approach = assemble_approach(name, title, allocation, first, fit.messages, counts, spec, words)
    approach = replace(approach, cluster_samples=second)
    is_weak = fit.status in (Status.WEAK, Status.AT_BOUND)
    return replace(approach, status=ApproachStatus.WEAK) if is_weak else approach


def _of_law(law: Any, c0: float, six: float) -> Allocation | None:
    """The allocation of a law through its optimum at c0, whose 6 N D is `six`; None where it has no optimum."""
    if not isinstance(law, JointLaw) or not law.has_optimum:
        return None
    return Allocation(c0, float(law.n_opt(six)), float(law.d_opt(six)), law.a, law.b)


def approach2_bias(points: Points, law: JointLaw, minima: IsoflopMinima, c: Sequence[float]) -> Bias:
    """Error of approach 2 on the losses that the law gives at the used rows, at these C and without noise.

    Method, budgets and weights are those of `minima`, so that only the noise is missing. C must count k N D.

    Raises:
        FitError: fewer than 3 of these budgets have a minimum on the law's surface, or the law has no optimum.
    """
    frame = points.used.assign(loss=law.predict(points.n, points.d))
    surface = isoflop_minima(replace(points, frame=frame), minima.method, tolerance=minima.tolerance)
    ideal = {m.rows: m for m in surface.used}
    pairs = [(ideal[m.rows], w) for m, w in zip(minima.used, _weights(minima), strict=True) if m.rows in ideal]
    if len(pairs) < MIN_BUDGETS:
        raise FitError(f"The surface of the law has an interior minimum in only {len(pairs)} of {len(minima.used)} budgets.")
    kept, weights = zip(*pairs, strict=True)
    found = fit_allocation([m.c for m in kept], [m.n_opt for m in kept], [m.d_opt for m in kept], weights)
    at = np.asarray(c, dtype=np.float64)
    six = compute_of(points).as_six(at)
    n, d = found.n_opt(at) / law.n_opt(six) - 1, found.d_opt(at) / law.d_opt(six) - 1
    return Bias(tuple(at.tolist()), tuple(n.tolist()), tuple(d.tolist()), found.a - law.a, len(pairs))


def _bias_on_design(points: Points, fit: Fit | None, minima: IsoflopMinima, c: tuple[float, ...]) -> Bias | Refused:
    """The bias if the fitted additive law were true, or why it is not defined."""
    if fit is None or not isinstance(fit.law, JointLaw):
        return Refused("There is no joint law to take as true.")
    if compute_of(points).gap(points) > MAX_COUNT_GAP:
        return Refused("C is not k N D with one k, so the law has no optimum in this count.")
    try:
        return approach2_bias(points, fit.law, minima, c)
    except FitError as error:
        return Refused(str(error))


def draw_known_noise(
    points: Points, spec: FitSpec, log_loss_sd: float | FloatArray | None = None, tolerance: float = LEVEL_TOLERANCE
) -> NoiseDraws | None:
    """Noise of the losses from the caller, from replicates, or from the curves; None where none is known or wanted."""
    replicates, curves = replicate_noise(points), curve_noise(points, tolerance)
    sd: float | FloatArray
    if log_loss_sd is not None:
        sd, words = log_loss_sd, "given noise"
    elif replicates is not None:
        sd, words = replicates.log_loss_sd, f"seed noise of replicates, {format_share(replicates.log_loss_sd)}"
    elif curves is not None:
        sd, words = (
            curves.log_loss_sd,
            f"scatter about smooth isoFLOP curves, {format_share(curves.log_loss_sd)}, without replicates",
        )
    else:
        return None
    if spec.bootstrap == 0:
        return None
    return draw_noise(np.broadcast_to(np.asarray(sd, dtype=np.float64), points.loss.shape), spec.bootstrap, spec.seed, words)


def _notes(points: Points) -> tuple[str, ...]:
    notes, compute = [], compute_of(points)
    if (gap := compute.gap(points)) > MAX_COUNT_GAP:
        notes.append(
            f"Envelope and minima use C as counted, the fitted law {compute.symbols}; the two differ by up to {gap:.0%} here."
        )
    return tuple(notes)


def _row_dict(row: Approach, compared_at: tuple[float, ...]) -> dict[str, Any]:
    def values(estimate: Estimate | None) -> dict[str, float | None] | None:
        return {"value": estimate.value, "low": estimate.low, "high": estimate.high} if estimate else None

    return {
        "name": row.name,
        "title": row.title,
        "status": row.status.name.lower(),
        "verdict": row.status.value,
        "messages": list(row.messages),
        "a": values(row.a),
        "b": values(row.b),
        "n_opt": [values(row.n_opt(c)) for c in compared_at],
        "d_opt": [values(row.d_opt(c)) for c in compared_at],
        "num_used": row.num_used,
        "num_rejected": row.num_rejected,
        "confidence": row.confidence,
        "intervals": row.intervals,
    }


def _minimum_dict(minimum: Minimum) -> dict[str, Any]:
    """JSON has no NaN; it becomes null."""
    numbers = {name: getattr(minimum, name) for name in ("c", "n_opt", "d_opt", "log_n_se")}
    finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
    return {**finite, "num_sizes": minimum.num_sizes, "rejection": minimum.rejection, "caveat": minimum.caveat}
