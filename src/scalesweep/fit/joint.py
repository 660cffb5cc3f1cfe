"""Estimation of the joint laws L(N, D), additive (Hoffmann et al. 2022, approach 3) and coupled, with a pairs bootstrap.

Minimised is the sum, not the mean, of Huber_delta(log L - log L_predicted), to a gradient test: stopping early, not the form,
is what made the published constants of Hoffmann et al. wrong (Besiroglu et al. 2024, arXiv 2404.10102).
"""

import functools
import math
from dataclasses import astuple, dataclass, fields, replace

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.fit.intervals import Resampled, resample
from scalesweep.fit.results import Estimate, FitStatus, LawFit, Name, estimate, is_wide, join
from scalesweep.fit.solve.huber import Solution, profile_starts
from scalesweep.fit.solve.objectives import CONTINUATION, FIRST_DELTA, adaptive_delta, stages, through
from scalesweep.fit.solve.powers import CoupledPowers, Problem, SumOfPowers
from scalesweep.fit.solve.profile import ProfileCurve, profile_curve, profile_interval
from scalesweep.interval import Interval
from scalesweep.laws import Chinchilla, Coupled, JointLaw
from scalesweep.laws.base import MAX_EXPONENT
from scalesweep.laws.joint import FLAT, KAPPA_BOUNDS
from scalesweep.points.clusters import Units
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec

_NUM_STARTS = 8
_KAPPA_PATHS = ((1.0, 0.7, 0.45, 0.25, 0.12), (1.5, 2.5))
MIN_COUPLED_POINTS = 8
MAX_LOST = 0.02
"""Share of resamples without a minimum that moves no end of an interval by more than the resampling does."""
_PROFILED = {
    Chinchilla: {"E": 0, "alpha": 4, "beta": 5},
    Coupled: {"E": 0, "alpha": 3, "beta": 4, "kappa": 5},
}
"""Positions, in the solver's parameters, of those that have a profile likelihood interval."""
_COEFFICIENTS = {"alpha": "A", "beta": "B"}
"""Of the term that an exponent belongs to."""
_STOPPED_BY = {
    "alpha": ("alpha",),
    "beta": ("beta",),
    "A": ("alpha",),
    "B": ("beta",),
    "kappa": ("kappa",),
    **dict.fromkeys(("a", "b", "tokens_per_parameter"), ("alpha", "beta")),
}
"""Parameters at whose bound of the search a value is stopped too. That E and coefficients end at zero is no such bound, because
there is nothing below."""


@dataclass(frozen=True, eq=False)
class Optimum:
    """The full fit in the solver's coordinates."""

    form: type[Chinchilla] | type[Coupled]
    """The law."""
    problem: Problem
    """Data in the solver's coordinates."""
    origin: FloatArray
    """Smallest log N, smallest log D and mean log L, shape (3,), which the problem has subtracted."""
    minima: Solution
    """Minimum reached from each start, best first."""
    delta: float
    """Huber width of the last stage."""


def fit_joint(rows: Rows, spec: FitSpec) -> dict[Name, LawFit | str]:
    """The additive and the coupled law. The design must have passed `design.refuse_joint`."""
    additive = find_optimum(rows.n, rows.d, rows.loss, spec.huber_delta)
    fits: dict[Name, LawFit | str] = {"joint": _assemble(additive, rows, spec)}
    if len(rows) < MIN_COUPLED_POINTS:
        fits["coupled"] = f"{len(rows)} points; its six parameters need at least {MIN_COUPLED_POINTS}."
    else:
        fits["coupled"] = _assemble(find_coupled(additive, rows.loss, spec.huber_delta), rows, spec)
    return fits


def fit_additive(rows: Rows, spec: FitSpec) -> LawFit:
    """The additive law alone, of a design as `fit_joint` needs."""
    return _assemble(find_optimum(rows.n, rows.d, rows.loss, spec.huber_delta), rows, spec)


def _assemble(optimum: Optimum, rows: Rows, spec: FitSpec) -> LawFit:
    resampled = _bootstrap(optimum, spec, rows.units)
    law = to_laws(optimum, optimum.minima.theta[:1])[0]
    samples, cluster_samples = (to_laws(optimum, part.theta) for part in (resampled.first, resampled.second))
    estimates = _estimates(law, [samples, cluster_samples], float(rows.c.max()), spec.confidence)
    if spec.interval == "profile":
        estimates |= profile_estimates(optimum, rows.units, spec.confidence)
    residual = np.log(rows.loss) - np.log(law.predict(rows.n, rows.d))
    status, messages = _judge(law, estimates, optimum, resampled)
    return LawFit(
        law=law,
        estimates=estimates,
        status=status,
        messages=(*messages, *_open_words(estimates), *resampled.warnings),
        objective="sum of Huber losses of log L - log L_predicted",
        objective_value=float(optimum.minima.value[0]),
        huber_delta=optimum.delta,
        residual_rms=float(np.sqrt(np.mean(residual**2))),
        rows=tuple(sorted(rows.order.tolist())),
        selection="all used points",
        confidence=spec.confidence,
        samples=np.array([astuple(s) for s in samples]).reshape(-1, len(fields(law))),
        cluster_samples=np.array([astuple(s) for s in cluster_samples]).reshape(-1, len(fields(law))),
        residuals=residual,
        intervals=resampled.words,
    )


def find_optimum(n: FloatArray, d: FloatArray, loss: FloatArray, huber_delta: float | None) -> Optimum:
    """Minima of the additive law reached from separate regions of the (alpha, beta) grid, best first.

    Without `huber_delta` the width is 1.345 times the robust residual scale of a first fit at 1e-3 (95 % efficiency under
    normal noise).
    """
    logs = np.log(np.stack([n, d, loss]))
    origin = np.array([logs[0].min(), logs[1].min(), logs[2].mean()])
    x, y, z = logs - origin[:, None]
    problem = SumOfPowers(np.stack([np.zeros_like(x), x, y], axis=1), z)
    first = FIRST_DELTA if huber_delta is None else huber_delta
    theta = profile_starts(problem, _NUM_STARTS)
    minima = through(problem, theta, stages(first))
    return _with_own_width(Optimum(Chinchilla, problem, origin, minima, first), huber_delta)


def find_coupled(additive: Optimum, loss: FloatArray, huber_delta: float | None) -> Optimum:
    """Minima of the coupled law, reached from the additive one along a path of fixed kappa, best first.

    At each kappa the terms alone keep their sizes and slopes, so that a step of the path changes only where they meet.
    """
    e, a, b, _, alpha, beta = np.maximum(additive.minima.theta[0], 1e-12)
    start = np.array([[e, math.log(a), math.log(b), alpha, beta, 1.0]])
    assert isinstance(additive.problem, SumOfPowers)
    x, y = additive.problem.x[:, 1:], additive.problem.y
    theta = []
    for path in _KAPPA_PATHS:
        here = start
        for kappa in path:
            here = np.concatenate([here[:, :5], [[kappa]]], axis=1)
            here = through(CoupledPowers(x, y, (kappa, kappa)), here, CONTINUATION[:1]).theta
            theta.append(here[0])
    problem = CoupledPowers(x, y, KAPPA_BOUNDS)
    first = FIRST_DELTA if huber_delta is None else huber_delta
    minima = through(problem, np.array(theta), stages(first))
    return _with_own_width(Optimum(Coupled, problem, additive.origin, minima, first), huber_delta)


def _with_own_width(optimum: Optimum, huber_delta: float | None) -> Optimum:
    """The optimum at the width that its own residuals suggest, unless the user gave one."""
    if huber_delta is not None:
        return optimum
    theta = optimum.minima.theta
    residual = optimum.problem.y - optimum.problem.log_loss(theta[:1])[0]
    delta = adaptive_delta(residual, len(fields(optimum.form)))
    return replace(optimum, minima=through(optimum.problem, theta, [delta]), delta=delta)


def to_laws(optimum: Optimum, theta: FloatArray) -> list[JointLaw]:
    """Laws in the user's units from the solver's parameters, shape (problems, 6)."""
    log_n, log_d, log_loss = optimum.origin
    laws: list[JointLaw] = []
    for row in theta.tolist():
        if optimum.form is Chinchilla:
            e, a, b, _, alpha, beta = _without_flat_terms(optimum, row)
        else:
            e, log_a, log_b, alpha, beta, _ = row
            a, b = math.exp(log_a), math.exp(log_b)
        scale_n, scale_d = math.exp(log_loss + alpha * log_n), math.exp(log_loss + beta * log_d)
        parameters = (e * math.exp(log_loss), a * scale_n, b * scale_d, alpha, beta)
        laws.append(Chinchilla(*parameters) if optimum.form is Chinchilla else Coupled(*parameters, row[5]))
    return laws


def _without_flat_terms(optimum: Optimum, row: list[float]) -> list[float]:
    """Solver's parameters of the additive law with each term that does not change in the measured range added to E."""
    assert isinstance(optimum.problem, SumOfPowers)
    e, a, b, zero, alpha, beta = row
    far_n, far_d = optimum.problem.x[:, 1:].max(axis=0).tolist()
    if -a * math.expm1(-alpha * far_n) < FLAT:
        e, a = e + a, 0.0
    if -b * math.expm1(-beta * far_d) < FLAT:
        e, b = e + b, 0.0
    return [e, a, b, zero, alpha, beta]


def _bootstrap(optimum: Optimum, spec: FitSpec, units: Units) -> Resampled:
    """Refits to resamples by the scheme of `spec`, started at the full optimum."""
    return resample(optimum.problem, optimum.minima.theta, optimum.delta, spec, units)


def _estimates(law: JointLaw, sets: list[list[JointLaw]], c_max: float, confidence: float) -> dict[str, Estimate]:
    """Parameters, exponents of the compute optimum, and the optimal tokens per parameter at the largest C.

    Each interval is the union of the percentile intervals of the sets of resampled laws.
    """
    names = [field.name for field in fields(law)]
    if law.has_optimum:
        names += ["a", "b", "tokens_per_parameter"]

    def value(of: JointLaw, name: str) -> float:
        if name in ("a", "b", "tokens_per_parameter") and not of.has_optimum:
            return math.nan
        return float(of.tokens_per_parameter_opt(c_max)) if name == "tokens_per_parameter" else float(getattr(of, name))

    def union(name: str) -> Estimate:
        if name in _COEFFICIENTS and getattr(law, _COEFFICIENTS[name]) <= 0:
            return Estimate(value(law, name))  # any exponent fits where the term is zero
        parts = [estimate(value(law, name), np.array([value(s, name) for s in samples]), confidence) for samples in sets]
        whole = functools.reduce(join, parts)
        if whole.interval is None:
            return whole
        stopped = [value(law, name) for samples in sets for law in samples if _is_stopped(law, name)]
        low, high = whole.interval.low, whole.interval.high
        return Estimate(whole.value, Interval(low, high, low in stopped, high in stopped))

    return {name: union(name) for name in names}


def _is_stopped(law: JointLaw, name: str) -> bool:
    """Whether a bound of the search, rather than the points, decides this value of a law."""
    return any(_is_stop(parameter, getattr(law, parameter)) for parameter in _STOPPED_BY.get(name, ()))


def _is_stop(parameter: str, value: float) -> bool:
    return value in KAPPA_BOUNDS if parameter == "kappa" else value >= MAX_EXPONENT


def profile_estimates(optimum: Optimum, units: Units, confidence: float) -> dict[str, Estimate]:
    """E, the exponents and kappa with profile likelihood intervals; empty without spare points."""
    theta, found = optimum.minima.theta[0], {}
    law = to_laws(optimum, theta[None])[0]
    for name, index in _PROFILED[optimum.form].items():
        ends = profile_interval(optimum.problem, theta, optimum.delta, index, units.num_units, confidence)
        if ends is not None:
            unit = math.exp(optimum.origin[2]) if name == "E" else 1.0
            is_open = (math.isinf(end) or (name in _STOPPED_BY and _is_stop(name, end)) for end in ends)
            found[name] = Estimate(getattr(law, name), Interval(ends[0] * unit, ends[1] * unit, *is_open))
    return found


def profile_curves(points: Points, fit: LawFit, confidence: float) -> dict[str, ProfileCurve]:
    """The likelihood ratio along E, the exponents and kappa of a joint law, in the user's units; empty without spare points.

    The law is found again under the objective of `fit`, whose rows it takes as independent.
    """
    rows = list(fit.rows)
    n, d, loss = points.n[rows], points.d[rows], points.loss[rows]
    optimum = find_optimum(n, d, loss, fit.huber_delta)
    if isinstance(fit.law, Coupled):
        optimum = find_coupled(optimum, loss, fit.huber_delta)
    found = {}
    for name, index in _PROFILED[optimum.form].items():
        curve = profile_curve(optimum.problem, optimum.minima.theta[0], optimum.delta, index, len(rows), confidence)
        if curve is not None:
            found[name] = curve.in_unit(math.exp(optimum.origin[2])) if name == "E" else curve
    return found


def _judge(
    law: JointLaw, estimates: dict[str, Estimate], optimum: Optimum, resampled: Resampled
) -> tuple[FitStatus, tuple[str, ...]]:
    """Status and its reasons."""
    bounds = _bounds(law)
    wide = [name for name in ("alpha", "beta", "E") if is_wide(estimates[name].interval)]
    messages = [f"{', '.join(bounds)} at the bound."] if bounds else []
    messages += [
        f"{name} means nothing, because {factor} is zero."
        for name, factor in _COEFFICIENTS.items()
        if getattr(law, factor) <= 0
    ]
    if wide:
        messages.append(f"The interval of {' and of '.join(wide)} spans more than a factor of 2.")
    if not optimum.minima.converged[0]:
        messages.append("The minimiser did not meet its gradient test.")
    value = optimum.minima.value
    if len(value) > 1 and value[1:].min() > value[0] * (1 + 1e-6) + 1e-15:
        messages.append(f"No second start of {len(value)} reached the same minimum, so it may not be the global one.")
    if resampled.num_lost > MAX_LOST * resampled.num:
        messages.append(f"{resampled.num_lost} of {resampled.num} resamples did not meet the gradient test.")
    if bounds:
        return FitStatus.AT_BOUND, tuple(messages)
    if messages:
        return FitStatus.WEAK, tuple(messages)
    return (FitStatus.IDENTIFIED if estimates["alpha"].interval else FitStatus.UNKNOWN), ()


def _open_words(estimates: dict[str, Estimate]) -> list[str]:
    """A sentence on the ends of intervals that the points do not limit, where there are any."""
    known = {name: found.interval for name, found in estimates.items() if found.interval}
    ends = [f"{name} below" for name, interval in known.items() if interval.is_low_open]
    ends += [f"{name} above" for name, interval in known.items() if interval.is_high_open]
    if not ends:
        return []
    low, high = KAPPA_BOUNDS
    return [
        f"Open ends of intervals: {', '.join(ends)}. The points do not limit them: the search stops at exponents of "
        f"{MAX_EXPONENT:g} and at kappa of {low:g} and {high:g}."
    ]


def _bounds(law: JointLaw) -> list[str]:
    """Parameters that lie at a bound, with their value."""
    zero = [f"{name} = 0" for name in ("E", "A", "B") if getattr(law, name) <= 0]
    zero += [f"{name} = 0" for name in ("alpha", "beta") if getattr(law, name) <= FLAT]
    steep = [f"{name} = {MAX_EXPONENT:g}" for name in ("alpha", "beta") if getattr(law, name) >= MAX_EXPONENT]
    coupling = [f"kappa = {law.kappa:g}"] if isinstance(law, Coupled) and law.kappa in KAPPA_BOUNDS else []
    return zero + steep + coupling
