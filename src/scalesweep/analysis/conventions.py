"""The same points with N and C counted by other conventions: exponents refitted under each.

A convention moves exponents (Porian et al. 2024, arXiv 2406.19146; Pearce & Song 2024, arXiv 2406.12907), so that a published
value says something only beside one of the same count. The convention of the analysis is never refitted: its values are those
of the analysis. Only what is cheap is refitted, with at most `RESAMPLES` resamples: lines, approaches and the additive law.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scalesweep.analysis.allocation.approaches import allocation_of_law, draw_known_noise, fit_isoflops
from scalesweep.analysis.allocation.envelope import fit_envelope
from scalesweep.analysis.allocation.lines import Approach
from scalesweep.analysis.allocation.minima import isoflop_minima
from scalesweep.analysis.analyse import Analysis
from scalesweep.errors import FitError, Refused
from scalesweep.fit.estimates import Estimate
from scalesweep.fit.forms import fit_law
from scalesweep.fit.laws import fit_one_variable
from scalesweep.fit.results import Fit
from scalesweep.fit.sweep_fit import Name, SweepFit
from scalesweep.laws import Chinchilla
from scalesweep.points.design import Span, measure_span, refuse_joint
from scalesweep.points.metric import NATS_PER_TOKEN, Metric
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec

Convention = tuple[str, str]
"""What N and what C count: names of `count.params` and `count.flops`, or words of a table of points."""
Counts = Mapping[Convention, Mapping[str, tuple[float, float]]]
"""For each convention: key of a cell -> N and training FLOPs per token."""
RESAMPLES = 100
"""Resamples of a refit are capped here, because a report must not wait for a comparison."""
_LAW = ("alpha", "beta", "E", "tokens_per_parameter")
_LINES: tuple[Name, ...] = ("by_n", "by_d", "by_c")
_APPROACHES = {"a_envelope": 0, "a_isoflop": 1, "a_law": 2}


@dataclass(frozen=True, eq=False)
class Counted:
    """What the points say under one convention."""

    convention: Convention
    estimates: Mapping[str, Estimate | Refused]
    """By name: alpha, beta, E, tokens_per_parameter of the additive law; by_n, by_d, by_c, the exponents of lines; a_envelope,
    a_isoflop, a_law, the exponent of N* by the three approaches."""
    paths: Mapping[str, str]
    """Where a value stands in fit.json, by its name; empty where it was refitted."""
    span: Span
    """The measured range in this count."""
    confidence: float
    """Nominal coverage of the intervals."""
    resamples: int
    metric: Metric = NATS_PER_TOKEN
    """What the laws are of."""


def under_conventions(analysis: Analysis, counts: Counts) -> dict[Convention, Counted]:
    """The analysis under its own convention, first, and under each further one of `counts`.

    Args:
        analysis: of points whose rows carry the keys of `counts`.
        counts: N and training FLOPs per token of every cell by each convention; empty leaves the analysis alone.
    """
    own, fit = counts_of_analysis(analysis), analysis.fit
    joint: dict[str, Fit | Refused] = {own.convention[0]: fit.laws["joint"]}
    found = {own.convention: own}
    for name in counts:
        if name != own.convention:
            points, spec = recount(analysis.points, name, counts[name]), _spec(fit)
            if name[0] not in joint:  # the law depends on the count of N alone
                joint[name[0]] = _additive(points, spec)
            found[name] = _refit(points, spec, joint[name[0]])
    return found


def recount(points: Points, convention: Convention, cells: Mapping[str, tuple[float, float]]) -> Points:
    """The points with n, and c = FLOPs per token times d, by another convention.

    Raises:
        FitError: the rows have no keys, or one of them is not in `cells`.
    """
    keys = [str(key) for key in points.frame["key"]] if "key" in points.frame else []
    if not keys or set(keys) - set(cells):
        raise FitError(
            f"{points.source}: not every row is a cell whose parameters are known by group, so it has one count only."
        )
    n, per_token = np.array([cells[key] for key in keys], dtype=np.float64).T
    frame = points.frame.assign(n=n, c=per_token * points.frame["d"].to_numpy(dtype=np.float64))
    return replace(points, frame=frame, params_convention=convention[0], flops_convention=convention[1])


def counts_of_analysis(analysis: Analysis) -> Counted:
    """The values of the analysis itself."""
    fit, rows = analysis.fit, analysis.approaches.rows
    estimates = _collect(fit.laws, rows)
    if fit.compute.is_contradiction:
        estimates["tokens_per_parameter"] = Refused(fit.compute.withheld)
    paths = {name: f"laws.joint.estimates.{name}" for name in _LAW}
    paths |= {str(name): f"laws.{name}.estimates.exponent" for name in _LINES}
    paths |= {name: f"approaches.approaches.{i}.a" for name, i in _APPROACHES.items()}
    return Counted(
        (fit.params_convention, fit.flops_convention),
        estimates,
        {name: path for name, path in paths.items() if not isinstance(estimates[name], Refused)},
        replace(fit.span, c=None) if fit.compute.is_contradiction else fit.span,
        fit.confidence,
        fit.bootstrap,
        fit.metric,
    )


def _spec(fit: SweepFit) -> FitSpec:
    """The objective and the intervals of the analysis, with fewer resamples."""
    return FitSpec(
        huber_delta=additive.huber_delta if (additive := fit.fits.get("joint")) else None,
        bootstrap=min(fit.bootstrap, RESAMPLES),
        confidence=fit.confidence,
        seed=fit.seed,
    )


def _additive(points: Points, spec: FitSpec) -> Fit | Refused:
    """The additive law, or why there is none."""
    if refusal := refuse_joint(points.n, points.d):
        return refusal
    return fit_law(Chinchilla, Rows.of(points), spec)


def _refit(points: Points, spec: FitSpec, joint: Fit | Refused) -> Counted:
    """Lines and approaches of recounted points, with the additive law of their N."""
    measured = Rows.of(points)
    laws: dict[Name, Fit | Refused] = {"joint": joint, **fit_one_variable(measured, {"joint": joint}, spec)}
    noise = draw_known_noise(points, spec)
    minima = isoflop_minima(points, noise=noise)
    rows = (fit_envelope(points, spec, noise), fit_isoflops(minima, spec), allocation_of_law(joint, points, spec))
    convention = (points.params_convention, points.flops_convention)
    found, span = _collect(laws, rows), measure_span(points)
    return Counted(convention, found, {}, span, spec.confidence, spec.bootstrap, points.metric)


def _collect(laws: Mapping[Name, Fit | Refused], rows: Sequence[Approach]) -> dict[str, Estimate | Refused]:
    """Every value by its name, or why it is missing."""
    found = {name: _estimate(laws["joint"], name) for name in _LAW}
    found |= {str(name): _estimate(laws[name], "exponent") for name in _LINES}
    return found | {name: rows[i].a or Refused(" ".join(rows[i].messages)) for name, i in _APPROACHES.items()}


def _estimate(law: Fit | Refused, parameter: str) -> Estimate | Refused:
    if isinstance(law, Refused):
        return law
    return law.estimates.get(parameter, Refused("The law has no compute optimum."))
