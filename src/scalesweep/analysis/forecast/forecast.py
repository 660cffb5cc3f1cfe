"""A dated, hashed prediction of a model that is not measured yet, with two intervals; `scoring` compares it with the model.

*If this form holds*: the preferred law's interval for one new run (resamples of the points, and a residual for the run).
*Honest*: the mean of the forms by their weights, with what the forms, their resamples and a drifting exponent differ by, as
wide as a rolling origin on the same points and on published ones asks for (`bands`). Along a ray it is the envelope of L(C)
with and without a floor (`ray`). Beyond the factor that the points support there is no honest interval, and
the forecast says why. C = k N D as the points count it (`points.compute`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from scalesweep.analysis.forecast.backtest import BackTest, back_test
from scalesweep.analysis.forecast.bands import Band, Outlook, look_ahead
from scalesweep.analysis.forecast.dated import Forecast, Origin, Prediction, Target, hash_points
from scalesweep.analysis.forecast.ray import NUM_ORIGINS, RayOutlook, look_along_ray
from scalesweep.analysis.forecast.rivals import Rivals, fit_rivals, theories_of
from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, SpecError
from scalesweep.fit.horizon import Range, furthest, supported_horizon
from scalesweep.fit.laws import refuse_repeated
from scalesweep.fit.results import Fit
from scalesweep.laws import Chinchilla, Coupled, JointLaw
from scalesweep.points.compute import compute_of
from scalesweep.points.design import refuse_joint
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_count, format_number


def forecast(
    points: Points,
    spec: FitSpec,
    *,
    at: tuple[float, float] | None = None,
    compute: float | None = None,
    unique_tokens: float | None = None,
    forms: Sequence[str] | None = None,
    tested: BackTest | None = None,
    rivals: Rivals | None = None,
    kept: Callable[[str, Callable[[], Any]], Any] = lambda _, make: make(),
) -> Forecast:
    """Predict the loss of a model, or of the compute-optimal model of a budget.

    Args:
        points: measured rows.
        spec: estimation, resamples and confidence.
        at: N in parameters and D in tokens.
        compute: FLOPs, counted as the points count C (`points.compute`); exactly one of `at` and `compute`.
        unique_tokens: of the tokens in `at`, with `fit.law=repeated`; by default all.
        forms: names of the rivals; by default those of `fit.law`.
        tested: the rolling origin by compute of the same points, if it was made before.
        rivals: the forms fitted to the same points, if they were before.
        kept: gives what a function makes, or made before of the same points and settings; the first argument names it.

    Raises:
        SpecError: not exactly one target, a target that is not positive, no resamples, or unique tokens that no law asks for.
        FitError: no form can be fitted, nor L(C) where there is no joint law, at `compute` no form has a compute optimum, or
            the units of the points contradict each other.
    """
    _check(at, compute, unique_tokens, spec)
    count = compute_of(points)
    if count.withheld_model if at else count.withheld:
        raise FitError(f"{points.source}: {count.unusual} No forecast is made before the units are stated (A17).")
    rows = Rows.of(points)
    if spec.law == "repeated" and (refused := refuse_repeated(rows)):
        raise FitError(f"{points.source}: {refused}")
    if why := _refuse_plane(rows):
        return _along_ray(look_along_ray(points, spec, why, at=at, compute=compute), points, spec, "model" if at else "compute")
    if rivals is None:
        names = theories_of(spec) if forms is None else forms
        rivals = kept("rivals", lambda: fit_rivals(rows, spec, names))
    assert rivals is not None
    place = at or _optimal_model(rivals, count.as_six(float(compute or 0)))
    u = None if unique_tokens is None else np.array([unique_tokens])
    outlook = look_ahead(rivals, Range.of(rows.n, rows.d), ([place[0]], [place[1]]), u)
    if u is not None and (too_often := _refuse_epochs(points, place[1] / float(u[0]))):
        outlook = replace(outlook, refusals=(outlook.refusals[0] or too_often,))
    if tested is None:
        tested = kept("back-test", lambda: back_test(points, spec, forms=forms, max_origins=NUM_ORIGINS))
    return _assemble(outlook, tested, points, spec, "model" if at else "compute")


def _refuse_plane(rows: Rows) -> str:
    """Why the rows carry no law of N and D, in a sentence; empty where they may."""
    if np.isnan(rows.n).any() or np.isnan(rows.d).any():
        return "The table lacks N or D, so that there is no joint law."
    refusal = refuse_joint(rows.n, rows.d)
    return str(refusal) if refusal else ""


def _refuse_epochs(points: Points, epochs: float) -> str:
    """Why the points support no forecast at so many epochs; as of N and D, a span of decades supports another one beyond it."""
    most = float(np.max(points.d / points.u))
    reach = most * 10.0 ** supported_horizon(math.log10(most))
    if epochs <= reach * (1 + 1e-9):
        return ""
    return (
        f"The target sees its text {format_number(epochs)} times; the points, which see theirs up to {format_number(most)} "
        f"times, support up to {format_number(reach)}."
    )


def _along_ray(outlook: RayOutlook, points: Points, spec: FitSpec, target: Target) -> Forecast:
    look, centre = outlook.look, np.array([outlook.look.centre])
    return Forecast(
        target=target,
        n=outlook.n,
        d=outlook.d,
        c=outlook.c,
        form=_interval(centre, look.form),
        form_name=look.law.name,
        formula=look.law.formula(),
        honest=None if outlook.abstention else _interval(centre, look.honest.stretched(centre, outlook.widening)),
        abstention=outlook.abstention,
        forms=look.forms,
        n_opt=None,
        d_opt=None,
        n_opt_range=None,
        confidence=spec.confidence,
        factor=outlook.factor,
        supported_factor=outlook.reach,
        widening=outlook.widening,
        num_origins=outlook.num_origins,
        origin=_origin(points, spec),
        reservation=outlook.reservation,
    )


def _assemble(outlook: Outlook, test: BackTest, points: Points, spec: FitSpec, target: Target) -> Forecast:
    preferred, refusal = outlook.rivals.preferred, outlook.refusals[0]
    n, d = float(outlook.n[0]), float(outlook.d[0])
    honest = outlook.honest(test.factor)
    form = outlook.form_band(preferred, spec.confidence, "run")
    k = compute_of(points).k
    optimum = _optimum_intervals(outlook.rivals, 6 * n * d, spec.confidence) if target == "compute" else None
    return Forecast(
        target=target,
        n=n,
        d=d,
        c=k * n * d,
        form=_interval(outlook.log_loss(preferred), form),
        form_name=preferred.law.name,
        formula=preferred.law.formula(),
        honest=None if refusal else _interval(outlook.centre, honest),
        abstention=refusal,
        forms={fit.law.name: float(np.exp(outlook.log_loss(fit)[0])) for fit in outlook.rivals.members},
        n_opt=optimum.get(preferred.law.name) if optimum else None,
        d_opt=_over(n * d, optimum[preferred.law.name]) if optimum and preferred.law.name in optimum else None,
        n_opt_range=(min(i.low for i in optimum.values()), max(i.high for i in optimum.values())) if optimum else None,
        confidence=spec.confidence,
        factor=n * d / float(np.max(points.n * points.d)),
        supported_factor=_supported(outlook.rivals, points),
        widening=test.widening,
        num_origins=len(test.cuts),
        origin=_origin(points, spec),
        unique_tokens=None if outlook.u is None else float(outlook.u[0]),
    )


def _supported(rivals: Rivals, points: Points) -> float:
    """How far the points support the compute optimum of the joint law that a report prefers, over the largest measured compute;
    1: no further.
    """
    reported = [fit for fit in rivals.members if isinstance(fit.law, Chinchilla | Coupled)]
    best = rivals.find(rivals.chosen or "") or min(reported, key=lambda fit: fit.aicc, default=rivals.preferred)
    if not isinstance(best.law, JointLaw) or not best.law.has_optimum:
        return 1.0
    return furthest(best.law, Range.of(points.n, points.d), 6 * float(np.max(points.n * points.d)))[0] or 1.0


def _origin(points: Points, spec: FitSpec) -> Origin:
    return Origin(
        source=points.source,
        sha256=hash_points(points),
        rows=len(points.n),
        params_convention=points.params_convention,
        flops_convention=points.flops_convention,
        bootstrap=spec.bootstrap,
        seed=spec.seed,
        huber_delta=spec.huber_delta,
        metric=points.metric.name,
        flops_per_parameter_and_token=compute_of(points).k,
    )


def _optimal_model(rivals: Rivals, compute: float) -> tuple[float, float]:
    """N* and D* of the preferred form, or of the first other that has them."""
    for fit in (rivals.preferred, *rivals.members):
        n_opt = _n_opt(fit, compute)
        if math.isfinite(n_opt):
            return n_opt, compute / 6 / n_opt
    raise FitError(f"No form has a compute optimum at {format_number(compute)} FLOPs; give the model with at=[N,D].")


def _n_opt(fit: Fit, compute: float) -> float:
    """N* of a form; NaN where it has none."""
    return _attempt(lambda: float(fit.law.n_opt(compute)))  # type: ignore[attr-defined]  # rivals are laws of N and D


def _optimum_intervals(rivals: Rivals, compute: float, confidence: float) -> dict[str, Prediction]:
    """N* with the interval of its resamples, by form, of the forms that have one."""
    found, percents = {}, (50 * (1 - confidence), 50 * (1 + confidence))
    for fit in rivals.members:
        value = _n_opt(fit, compute)
        sets = [_resampled_optima(fit, part, compute) for part in (fit.samples, fit.cluster_samples)]
        ends = [np.percentile(known, percents) for known in sets if len(known)]
        if math.isfinite(value) and ends:
            low, high = np.min(ends, axis=0)[0], np.max(ends, axis=0)[1]
            found[fit.law.name] = Prediction(value, min(float(low), value), max(float(high), value))
    return found


def _resampled_optima(fit: Fit, samples: FloatArray, compute: float) -> FloatArray:
    """N* by each row of samples that has one."""
    values = np.array([_attempt(lambda law=law: float(law.n_opt(compute))) for law in fit.resampled_laws(samples)])  # type: ignore[misc]
    return np.asarray(values[np.isfinite(values)])


def _attempt(value: Callable[[], float]) -> float:
    """The value, or NaN where a law has no optimum."""
    try:
        result = value()
    except FitError:
        return math.nan
    return result if result > 0 else math.nan


def _over(product: float, interval: Prediction) -> Prediction:
    """The other factor of a product, with its interval."""
    return Prediction(product / interval.value, product / interval.high, product / interval.low)


def _interval(log_loss: FloatArray, band: Band) -> Prediction:
    """Of losses; the point prediction is inside, because a form's value is not always among its resamples."""
    value, low, high = (float(np.exp(part[0])) for part in (log_loss, band.low, band.high))
    return Prediction(value, min(low, value), max(high, value))


def _check(at: tuple[float, float] | None, compute: float | None, unique_tokens: float | None, spec: FitSpec) -> None:
    if (at is None) == (compute is None):
        raise SpecError("A forecast needs one target: at=[N,D] for a model, or compute=C for the best model of a budget.")
    for value in at or (compute,):
        if value is None or not (math.isfinite(value) and value > 0):
            raise SpecError(f"The target {value!r} is not possible; give positive numbers of parameters, tokens or FLOPs.")
    if unique_tokens is not None and (spec.law != "repeated" or at is None):
        needed = "fit.law=repeated" if spec.law != "repeated" else "at=[N,D]"
        raise SpecError(f"unique_tokens = {format_number(unique_tokens)}: has an effect only with {needed}.")
    if unique_tokens is not None and at is not None and unique_tokens > at[1]:
        raise SpecError(
            f"unique_tokens = {format_count(unique_tokens)} is more than the {format_count(at[1])} tokens of at=[N,D]; "
            "lower it, or leave it out."
        )
    if spec.bootstrap < 1:
        raise SpecError("fit.bootstrap: 0 resamples give no interval; a forecast needs at least 1.")
