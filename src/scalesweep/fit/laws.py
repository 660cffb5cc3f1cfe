"""Every law of a table of points, each fitted or refused in words."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scalesweep.errors import FitError, Refused
from scalesweep.fit.checks import check
from scalesweep.fit.forms import fit_law, refuse_rows
from scalesweep.fit.frontier import fit_on_joint
from scalesweep.fit.lines import fit_floor, fit_line
from scalesweep.fit.results import Fit
from scalesweep.fit.selection import select_rows
from scalesweep.fit.sweep_fit import CHOICES, FLOORS, LINES, Name, SweepFit, prefer
from scalesweep.laws import Chinchilla, Coupled, Muennighoff, Variable
from scalesweep.points.compute import compute_of
from scalesweep.points.design import LEVEL_TOLERANCE, Noise, measure_span, refuse_joint, replicate_noise
from scalesweep.points.points import Points
from scalesweep.points.reading import read_points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_rough

if TYPE_CHECKING:
    import pandas as pd

MIN_POINTS = 4
"""A law of one variable with a floor has three parameters, two where `fit.floor` gives E."""
MAX_NOISE_RATIO = 2.0
"""Residuals above this many times the seed noise are reported as a misfit of the form."""


def fit_laws(points: "Points | pd.DataFrame", spec: FitSpec | None = None) -> SweepFit:
    """The joint laws L(N, D), additive and coupled, with `fit.law=repeated` also L(N, D, U), and L(N), L(D), L(C), each fitted
    to the used points or refused in words.

    The result does not depend on the order of the rows. A data frame is read by `points.read_points`, which may be told more
    of its columns and units.

    Raises:
        PointsError: a data frame is no table of points.
        FitError: there are fewer than 4 used points (3 with `spec.floor`), or neither loss nor design varies.
    """
    points, spec = points if isinstance(points, Points) else read_points(points), spec or FitSpec()
    _check(points, MIN_POINTS if spec.floor is None else MIN_POINTS - 1)
    rows, compute = Rows.of(points), compute_of(points)
    joint = _fit_joint(rows, spec)
    chosen = CHOICES[spec.law]
    found: dict[Name, Fit | Refused] = {**joint, **fit_one_variable(rows, joint, spec)}
    if compute.is_contradiction:
        found |= {LINES["C"]: Refused(compute.withheld), FLOORS["C"]: Refused(compute.withheld)}
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
        chosen=chosen,
    )
    return result.with_findings(check(points, result))


def _fit_joint(rows: Rows, spec: FitSpec) -> dict[Name, Fit | Refused]:
    if refusal := refuse_joint(rows.n, rows.d):
        return {"joint": refusal}
    coupled = refuse_rows(Coupled, len(rows)) or fit_law(Coupled, rows, spec)
    found: dict[Name, Fit | Refused] = {"joint": fit_law(Chinchilla, rows, spec), "coupled": coupled}
    if spec.law == "repeated":
        found["repeated"] = refuse_repeated(rows) or fit_law(Muennighoff, rows, spec)
    return found


def refuse_repeated(rows: Rows) -> Refused | None:
    """Why the rows cannot show the law of repeated data; None where they can."""
    _, d, u = rows.columns(("N", "D", "U"))
    if not np.any(d > u * (1 + LEVEL_TOLERANCE)):
        return Refused(
            "fit.law=repeated: no row trained on repeated tokens, as far as a column `epochs` or `unique_tokens` says; the law "
            "of fresh data is fit.law=auto."
        )
    return refuse_rows(Muennighoff, len(rows))


def fit_one_variable(rows: Rows, joint: Mapping[Name, Fit | Refused], spec: FitSpec) -> dict[Name, Fit | Refused]:
    """L(N), L(D), L(C), each as a line in logs and with a floor, or why there is none.

    Args:
        rows: measured rows.
        joint: the joint laws, on which L(C) of models that compete at equal compute lies, and L(N) and L(D) of a design
            where no three sizes or budgets share the largest of the other.
        spec: estimation and intervals.
    """
    found: dict[Name, Fit | Refused] = {}
    for variable in LINES:
        preferred = joint.get(prefer(joint, CHOICES[spec.law]), joint["joint"])  # on a ray there is no other
        found[LINES[variable]], found[FLOORS[variable]] = fit_variable(
            rows, variable, preferred if variable == "C" else joint["joint"], spec
        )
    return found


def fit_variable(rows: Rows, variable: Variable, joint: Fit | Refused, spec: FitSpec) -> tuple[Fit | Refused, Fit | Refused]:
    """A law of one variable as a line in logs and with a floor, each from the rows that show it, else from the joint law."""
    selection = select_rows(rows, variable)
    if isinstance(selection, Refused):
        found = fit_on_joint(rows, variable, joint, spec) if isinstance(joint, Fit) else selection
        if isinstance(found, Refused):
            found = found if found is selection else Refused(f"{selection} {found}")
            return found, found
        return found
    floor = fit_floor(rows, variable, spec, selection)
    return fit_line(rows, variable, spec, selection, floor if isinstance(floor, Fit) else None), floor


def _check(points: Points, fewest: int) -> None:
    used = len(points.loss)
    if used < fewest:
        left_out = f" ({len(points.excluded)} more are excluded)" if len(points.excluded) else ""
        raise FitError(f"{points.source} has {used} usable points{left_out}; a fit needs at least {fewest}.")
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
