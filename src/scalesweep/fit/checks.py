"""Coded warnings about a fit: what a reviewer would ask, answered from the points and the laws.

Every warning has a code, so that it can be looked up (docs/warnings.md), tested for, and compared between fits. A warning does
not change an estimate.
"""

import math
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from scalesweep.arrays import FloatArray
from scalesweep.errors import Refused
from scalesweep.fit.estimates import is_wide
from scalesweep.fit.forms import fit_form, refuse_rows
from scalesweep.fit.horizon import Range
from scalesweep.fit.intervals import FEW_CLUSTERS
from scalesweep.fit.mixed import check_families, check_repeats
from scalesweep.fit.results import Finding, Fit
from scalesweep.fit.solve.objectives import Objective, robust_scale
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.fit.tuned import check_tuned
from scalesweep.laws import Chinchilla, Coupled, JointLaw, Law
from scalesweep.points.clusters import group_rows
from scalesweep.points.design import MIN_JOINT_POINTS, MIN_LEVELS, count_levels, designed_curves, lowest_edge, refuse_joint
from scalesweep.points.epochs import find_epochs
from scalesweep.points.points import Points
from scalesweep.points.trends import describe_rises
from scalesweep.units import format_count, format_number, format_rough, format_share, plural

FEW_LEVELS = 5
MANY_EPOCHS = 4.0
"""Up to about four epochs, repeated tokens are worth nearly as much as fresh ones (Muennighoff et al. 2023)."""
LARGE_EMBEDDING = 0.3
HIGH_LEVERAGE = 0.5
STRONG_CORRELATION = 0.9
SPREAD_RATIO = 3.0
"""Ratio of residual sd between the halves of the points, by loss, above which the noise is called uneven."""
FAR_OFF = 6.0
"""Residuals beyond this many robust standard deviations of the fit are named; of normal ones, two in a thousand million are."""
_LEAST_SCALE = 1e-5
"""Rounding of printed losses, below which residuals are not compared."""
MAX_LOST_SHARE = 1 / 4
"""Share of runs without a result from which the rest are doubted. Judgement."""
_LOST = re.compile(r"\b(?:diverged|failed|crashed|nan)\b", re.IGNORECASE)
"""What a reason says of a run that ended without a result."""
_NAMED = 3
"""Rows that a warning names; the rest are counted."""
MISSED_P_VALUE = 0.001
"""Of the binomial test of A15. Cells above one cut stand or fall with one fit, so that small p values come too often: of 32
simulated sweeps whose law was right, 3 had one below 0.01 and none below this."""


def check(points: Points, fit: SweepFit) -> tuple[Finding, ...]:
    """All warnings about `fit`, which was made from `points`, in the order of their codes."""
    found = [*_design(points, fit), *_runs(points, fit), *_edges(points), *_data(points), *check_repeats(points)]
    found += [*check_tuned(points), *_lost(points)]
    found += [Finding("A17", fit.compute.unusual)] if fit.compute.unusual else []
    if rises := describe_rises(points.n, points.d, points.c, points.loss):
        found.append(Finding("A20", rises))
    if (best := fit.preferred) is not None:
        found += [*_identification(best), *_noise(points, best, fit), *_leverage(points, best), *_objective(points, fit)]
        found += [*([] if fit.compute.is_contradiction else _optimum(points, best)), *_outliers(points, best)]
        found += check_families(points, _residuals(points, best))
    return tuple(sorted(found, key=lambda finding: finding.code))


def _lost(points: Points) -> Iterator[Finding]:
    """Runs without a result, which are rarely lost at random: the largest, or the best tuned, diverge first."""
    lost = int(points.excluded["excluded_reason"].astype(str).str.contains(_LOST).sum())
    runs = lost + len(points.loss)
    if lost and lost >= MAX_LOST_SHARE * runs:
        yield Finding("A22", f"{lost} of {runs} runs diverged or failed: the law of the rest may not be that of all.")


def check_coverage(held: float, num: int, num_cells: int, confidence: float) -> tuple[Finding, ...]:
    """The warning that the preferred law's intervals missed too many held-out runs, where they did.

    Args:
        held: share of the predictions whose interval held what was measured.
        num: predictions.
        num_cells: different (N, D) among them; the binomial test counts each once, for seeds share the law's error there.
        confidence: nominal coverage.
    """
    from scipy.special import bdtr

    p_value = float(bdtr(math.floor(held * num_cells + 1e-9), num_cells, confidence)) if num_cells else 1.0
    if p_value >= MISSED_P_VALUE:
        return ()
    return (
        Finding(
            "A15",
            f"Intervals of the preferred law held {held:.0%} of {num} predictions at {num_cells} held-out cells, nominal "
            f"{confidence:.0%} (back-test; binomial p = {p_value:.1g}, each cell counted once): beyond its points they are too "
            "narrow.",
        ),
    )


def _design(points: Points, fit: SweepFit) -> Iterator[Finding]:
    if points.is_partial:
        return
    sizes, budgets = count_levels(points.n), count_levels(points.d)
    too_few = len(points.loss) < MIN_JOINT_POINTS or min(sizes, budgets) < MIN_LEVELS
    if isinstance(refused := fit.laws["joint"], Refused):
        yield Finding("A23" if too_few else "A01", refused.reason)
    elif abs(correlation := float(np.corrcoef(np.log(points.n), np.log(points.d))[0, 1])) > STRONG_CORRELATION:
        yield Finding("A01", f"N and D nearly move together: the correlation of log N and log D is {correlation:.2f}.")
    if min(sizes, budgets) < FEW_LEVELS and not too_few:
        yield Finding(
            "A02",
            f"{plural(sizes, 'size')} and {plural(budgets, 'token budget')}: with fewer than {FEW_LEVELS} of either, intervals "
            "are a rough guide.",
        )
    short = [name for name, span in fit.span.decades.items() if name != "c" and span < 1]
    if short:
        what = f"{short[0].upper()} spans" if len(short) == 1 else "N and D span"
        yield Finding("A03", f"{what} less than a decade, which bends any exponent.")


def _runs(points: Points, fit: SweepFit) -> Iterator[Finding]:
    runs = group_rows(points.used).num_units
    if fit.bootstrap and runs < FEW_CLUSTERS:
        yield Finding(
            "A13",
            f"{len(points.loss)} rows are of {plural(runs, 'independent run')}: resampling so few says little of the next one.",
        )


def _edges(points: Points) -> Iterator[Finding]:
    curves = [] if points.is_partial else designed_curves(points)
    at: dict[str, list[str]] = {"smallest": [], "largest": []}
    for curve in curves:
        if edge := lowest_edge(curve, points.loss):
            at[edge].append(format_number(curve.c))
    where = [f"at the {edge} size (C = {', '.join(budgets)})" for edge, budgets in at.items() if budgets]
    if where:
        count = sum(len(budgets) for budgets in at.values())
        yield Finding(
            "A12",
            f"In {count} of {len(curves)} isoFLOP budgets the lowest loss is at the edge of what was measured, "
            f"{' and '.join(where)}: they have no measured minimum.",
        )


def _data(points: Points) -> Iterator[Finding]:
    used = points.used
    epochs = find_epochs(used)
    if epochs is not None and (most := float(np.nanmax(epochs))) > MANY_EPOCHS:
        many = f"{int(np.sum(epochs > MANY_EPOCHS))} of {len(epochs)} more than {MANY_EPOCHS:g} times"
        yield Finding("A04", f"Some points saw their corpus {most:.1f} times, {many}: there the law of fresh data fails.")
    if {"params_embedding", "params_head", "params_matrices"} <= set(used) and points.params_convention == "total":
        share = float((used["params_embedding"] / used["n"]).max())
        if share > LARGE_EMBEDDING:
            yield Finding(
                "A05", f"The input embedding is up to {share:.0%} of N, which bends L(N) at small sizes; count without it."
            )


def _identification(best: Fit) -> Iterator[Finding]:
    if best.estimates["E"].value <= 0 or is_wide(best.estimates["E"].interval):
        yield Finding("A06", "The points do not fix the irreducible loss E, so nothing is known of where the curve levels off.")
    samples = best.cluster_samples if len(best.cluster_samples) else best.samples
    names = list(best.law.parameters)
    if len(samples) > 2 and best.residual_rms >= _LEAST_SCALE:
        # A goes with alpha and B with beta by their units, so that only the rest says something.
        chosen = [i for i, name in enumerate(names) if name not in ("A", "B")]
        with np.errstate(invalid="ignore"):
            matrix = np.atleast_2d(np.corrcoef(samples[:, chosen], rowvar=False))
        pairs = [
            f"{names[chosen[j]]} and {names[chosen[i]]} ({matrix[i, j]:+.2f})"
            for i in range(len(chosen))
            for j in range(i)
            if abs(matrix[i, j]) > STRONG_CORRELATION
        ]
        if pairs:
            yield Finding("A07", f"Estimates that the points fix only together (correlation): {', '.join(pairs)}.")


def _noise(points: Points, best: Fit, fit: SweepFit) -> Iterator[Finding]:
    ratio = fit.noise_ratio
    if ratio is not None and ratio > 2:
        yield Finding(
            "A08",
            f"The residuals are {format_rough(ratio)} times the seed noise: the form misses something that the points show.",
        )
    residual = _residuals(points, best)
    order = np.argsort(points.loss)
    low, high = (float(np.std(half)) for half in np.array_split(residual[order], 2))
    if len(residual) >= 12 and max(low, high) > SPREAD_RATIO * min(low, high) > 0:
        yield Finding(
            "A09", f"The noise is uneven: residual sd {format_share(low)} at low losses and {format_share(high)} at high ones."
        )


def _leverage(points: Points, best: Fit) -> Iterator[Finding]:
    """Rows that determine their own fitted value: the diagonal of the hat matrix of log L (Hoaglin & Welsch 1978)."""
    law = _joint(best)
    jacobian = law.gradient(*(at := points.columns(law.variables))) / law.predict(*at)[:, None]
    scale = np.linalg.norm(jacobian, axis=0)
    basis, sizes, _ = np.linalg.svd(jacobian / np.where(scale > 0, scale, 1.0), full_matrices=False)
    leverage = np.sum(basis[:, sizes > 1e-10 * sizes[0]] ** 2, axis=1)
    rows = np.flatnonzero(leverage > HIGH_LEVERAGE)
    if len(rows):
        worst = rows[np.argmax(leverage[rows])]
        where = f"N = {format_count(points.n[worst])}, D = {format_count(points.d[worst])}"
        one = f"1 point largely fixes its own fitted value: {where}"
        many = f"{len(rows)} points largely fix their own fitted value, most of all {where}"
        yield Finding("A10", f"{one if len(rows) == 1 else many} (leverage {leverage[worst]:.2f}).")


def _objective(points: Points, fit: SweepFit) -> Iterator[Finding]:
    """Exponents of the additive law under other objectives, against their interval."""
    if (additive := fit.fits.get("joint")) is None or additive.residual_rms < _LEAST_SCALE:
        return
    moved = []
    for objective, title in (("least_squares_log", "least squares of log L"), ("lad", "absolute residuals of log L")):
        law = fit_form("chinchilla", {"N": points.n, "D": points.d}, points.loss, objective=objective).law
        for name in ("alpha", "beta"):
            estimate, value = additive.estimates[name], float(getattr(law, name))
            if estimate.interval is not None and not estimate.interval.holds(value) and math.isfinite(value):
                moved.append(f"{name} = {format_number(value)} under {title}")
    if moved:
        yield Finding("A11", f"The additive law depends on its objective beyond its intervals: {', '.join(moved)}.")


def _optimum(points: Points, best: Fit) -> Iterator[Finding]:
    """The compute optimum at the largest measured N D, which the fit prints, against the support of `horizon`."""
    law = _joint(best)
    if not law.has_optimum:
        return
    c = 6 * float(np.max(points.n * points.d))
    refusal = Range.of(points.n, points.d).refuse(float(law.n_opt(c)), float(law.d_opt(c)))
    if refusal:
        yield Finding("A14", f"The compute optimum at the largest measured C is an extrapolation too far. {refusal}")


def _outliers(points: Points, best: Fit) -> Iterator[Finding]:
    """Rows that lie far off the law, such as those of a run that diverged, and the law without them."""
    residual = _residuals(points, best)
    distance = np.abs(residual) / max(robust_scale(residual, best.num_free), _LEAST_SCALE)
    far = np.flatnonzero(distance > FAR_OFF)
    if not len(far):
        return
    worst = far[np.argsort(-distance[far], kind="stable")][:_NAMED]
    fitted = best.law.predict(*points.columns(best.law.variables))
    named = [
        f"N = {format_count(points.n[i])}, D = {format_count(points.d[i])}, loss {points.loss[i]:.4g} where the law has "
        f"{fitted[i]:.4g} ({distance[i]:.0f} sd)"
        for i in worst
    ]
    more = f"; and {len(far) - len(worst)} more" if len(far) > len(worst) else ""
    rows, them = ("1 row lies", "it") if len(far) == 1 else (f"{len(far)} rows lie", "them")
    yield Finding(
        "A16",
        f"{rows} more than {FAR_OFF:g} robust standard deviations off the law: {'; '.join(named)}{more}. "
        f"Without {them} {_without(points, best, far)}.",
    )


def _without(points: Points, best: Fit, left_out: NDArray[np.int64]) -> str:
    """What the law becomes without some rows, in words; they may have hidden that the points prefer the other one."""
    n, d, u, loss = (np.delete(column, left_out) for column in (points.n, points.d, points.u, points.loss))
    if refuse_joint(n, d):
        return "the rest determine no joint law"
    forms: list[type[Law]] = [Chinchilla] if refuse_rows(Coupled, len(loss)) else [Chinchilla, Coupled]
    objective = Objective("huber", best.huber_delta)
    if "U" in best.law.variables:
        forms = [type(best.law)]
    columns = {"N": n, "D": d, "U": u}
    fits = [fit_form(form, {name: columns[name] for name in form.variables}, loss, objective=objective) for form in forms]
    new = min(fits, key=lambda fit: fit.aicc).law
    moved = (
        f"{name} goes from {format_number(getattr(best.law, name))} to {format_number(getattr(new, name))}"
        for name in ("E", "alpha", "beta")
    )
    title = "coupled" if isinstance(new, Coupled) else "additive"
    return f"{f'the {title} law is preferred, and ' if type(new) is not type(best.law) else ''}{', '.join(moved)}"


def _residuals(points: Points, best: Fit) -> FloatArray:
    return np.asarray(np.log(points.loss) - np.log(best.law.predict(*points.columns(best.law.variables))))


def _joint(best: Fit) -> JointLaw:
    assert isinstance(best.law, JointLaw)
    return best.law
