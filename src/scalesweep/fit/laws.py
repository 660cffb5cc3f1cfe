"""Every law of a table of points, each fitted or refused in words."""

from dataclasses import replace

import numpy as np

from scalesweep.errors import FitError, Refused
from scalesweep.fit.checks import check
from scalesweep.fit.forms import fit_law, refuse_rows
from scalesweep.fit.lines import fit_line
from scalesweep.fit.results import Fit
from scalesweep.fit.sweep_fit import Name, SweepFit
from scalesweep.laws import Chinchilla, Coupled
from scalesweep.points.compute import compute_of
from scalesweep.points.design import Noise, measure_span, refuse_joint, replicate_noise
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_rough

MIN_POINTS = 5
MAX_NOISE_RATIO = 2.0
"""Residuals above this many times the seed noise are reported as a misfit of the form."""


def fit_laws(points: Points, spec: FitSpec | None = None) -> SweepFit:
    """The joint laws L(N, D), additive and coupled, and L(N), L(D), L(C), each fitted to the used points or refused in words.

    The result does not depend on the order of the rows.

    Raises:
        FitError: there are fewer than 5 used points, or neither loss nor design varies.
    """
    spec = spec or FitSpec()
    _check(points)
    rows, compute = Rows.of(points), compute_of(points)
    found: dict[Name, Fit | Refused] = {
        **_fit_joint(rows, spec),
        "by_n": fit_line(rows, "N", spec),
        "by_d": fit_line(rows, "D", spec),
        "by_c": Refused(compute.withheld) if compute.is_contradiction else fit_line(rows, "C", spec),
    }
    noise = replicate_noise(points)
    result = SweepFit(
        laws={name: _with_misfit(fit, noise) if isinstance(fit, Fit) else fit for name, fit in found.items()},
        noise=noise,
        span=measure_span(points),
        num_used=len(rows),
        num_excluded=len(points.excluded),
        params_convention=points.params_convention,
        flops_convention=points.flops_convention,
        source=points.source,
        metric=points.metric,
        compute=compute,
        notes=points.notes,
        bootstrap=spec.bootstrap,
        confidence=spec.confidence,
        seed=spec.seed,
    )
    return replace(result, findings=check(points, result))


def _fit_joint(rows: Rows, spec: FitSpec) -> dict[Name, Fit | Refused]:
    if refusal := refuse_joint(rows.n, rows.d):
        return {"joint": refusal}
    coupled = refuse_rows(Coupled, len(rows)) or fit_law(Coupled, rows, spec)
    return {"joint": fit_law(Chinchilla, rows, spec), "coupled": coupled}


def _check(points: Points) -> None:
    used = len(points.loss)
    if used < MIN_POINTS:
        left_out = f" ({len(points.excluded)} more are excluded)" if len(points.excluded) else ""
        raise FitError(f"{points.source} has {used} usable points{left_out}; a fit needs at least {MIN_POINTS}.")
    if np.ptp(points.loss) == 0:
        raise FitError(f"{points.source}: all {used} losses equal {points.loss[0]:g}, so there is nothing to fit.")
    varied = points.variables if points.is_partial else ("n", "d")
    if all(np.ptp(getattr(points, name)) == 0 for name in varied):
        same = " and ".join(varied)
        raise FitError(f"{points.source}: all {used} points have the same {same}; a law needs several sizes or budgets.")


def _with_misfit(fit: Fit, noise: Noise | None) -> Fit:
    """The fit with a message if its residuals are far above what replicates differ by."""
    ratio = fit.noise_ratio(noise)
    if ratio is None or ratio <= MAX_NOISE_RATIO:
        return fit
    message = f"The residuals are {format_rough(ratio)} times the seed noise: the form misses something that the points show."
    return replace(fit, messages=(*fit.messages, message))
