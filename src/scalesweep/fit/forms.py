"""Estimation of any law: several starts, the batched Newton method of `huber`, and a verdict in words.

Minimised is the sum, not the mean, of Huber_delta(log L - log L_predicted), or another objective, to a gradient test: stopping
early, not the form, is what made the published constants of Hoffmann et al. wrong (Besiroglu et al. 2024, arXiv 2404.10102).
`fit_law` takes measured rows of N and D and computes intervals; `fit_form` takes columns of any law and computes none.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, Refused, did_you_mean
from scalesweep.fit.estimates import estimate_law, open_ends, outside
from scalesweep.fit.intervals import resample
from scalesweep.fit.judge import judge, judge_scatter, look_back
from scalesweep.fit.pose import Posed
from scalesweep.fit.profiles import profile_estimates
from scalesweep.fit.results import Fit, Status
from scalesweep.fit.solve.objectives import Objective
from scalesweep.laws import LAWS, Law
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec

MIN_SPARE_ROWS = 2
"""Rows beyond the parameters that an alternative to the additive law needs, so that its residuals say something."""


def fit_law(form: type[Law], rows: Rows, spec: FitSpec) -> Fit:
    """Estimate a law of N and D, or of N, D and U, on a design that `design.refuse_joint` lets pass, with `spec.interval`."""
    posed = Posed.of_rows(form, rows)
    descent = posed.descend(objective := Objective("huber", spec.huber_delta))
    assert descent.delta is not None  # of a Huber loss
    law = posed.laws(descent.minima.theta[:1])[0]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        resampled = resample(posed.problem, descent.minima.theta, descent.delta, spec, rows.units)
        samples, cluster_samples = (posed.parameters(part.theta) for part in (resampled.first, resampled.second))
    estimates = estimate_law(law, [samples, cluster_samples], spec.confidence, rows.largest_six)
    if spec.interval == "profile":
        estimates |= profile_estimates(posed, descent, rows.units.num_units, spec.confidence)
    search = look_back(posed, descent)
    residuals = np.log(rows.loss) - np.log(law.predict(*rows.columns(law.variables)))
    status, messages = judge(law, search, estimates, resampled)
    if scatter := judge_scatter(law, rows, residuals):
        status, messages = Status.WEAK if status is Status.IDENTIFIED else status, (*messages, scatter)
    return Fit(
        law=law,
        estimates=estimates,
        status=status,
        messages=(*messages, *open_ends(estimates), *outside(estimates), *resampled.warnings),
        objective=objective,
        objective_value=descent.value,
        huber_delta=descent.delta,
        residuals=residuals,
        rows=tuple(sorted(rows.order.tolist())),
        selection="all used points",
        num_free=posed.num_free,
        shares=rows.units.shares,
        confidence=spec.confidence,
        samples=samples,
        cluster_samples=cluster_samples,
        intervals=resampled.words,
        search=search,
    )


def refuse_rows(form: type[Law], num_rows: int) -> Refused | None:
    """Why so few rows cannot show whether the law fits; None where they can."""
    free = sum(spec.lower < spec.upper for spec in form.parameters.values())
    if num_rows >= free + MIN_SPARE_ROWS:
        return None
    return Refused(f"{num_rows} points leave fewer than {MIN_SPARE_ROWS} to judge the {free} parameters of {form.name!r}.")


def fit_form(
    form: str | type[Law],
    columns: Mapping[str, ArrayLike],
    loss: ArrayLike,
    *,
    objective: Objective | str = "huber",
    weights: ArrayLike | None = None,
    fixed: Mapping[str, float] | None = None,
) -> Fit:
    """Estimate a law from measured losses.

    Args:
        form: name in `laws.LAWS`, or a class of one's own.
        columns: the law's variables by name, each positive, shape (rows,), in any unit (U in that of D); for a law of one
            variable, exactly one column of any name.
        loss: positive losses, shape (rows,), in the unit that the law shall predict.
        objective: name in `objectives`, or an `Objective`.
        weights: inverse variances of log L (of L under `least_squares`), up to a factor, shape (rows,): residuals are divided
            by their standard deviation, scaled to a geometric mean of 1.
        fixed: parameters that are not estimated, losses or pure numbers, in the user's units: {"E": 0.0}.

    Raises:
        FitError: there is no such form, objective, column or parameter; a value is not positive and finite; or there are
            fewer points than parameters.
    """
    kind = find_form(form)
    objective = Objective(objective) if isinstance(objective, str) else objective
    names, arrays = check_columns(kind, columns)
    losses = _positive("loss", loss)
    precision = None if weights is None else np.sqrt(_positive("weights", weights))
    _check_rows(kind, names, [*arrays, losses if precision is None else precision], losses, fixed or {})
    _check_fixed(kind, fixed or {})
    by_name = dict(zip(names, arrays, strict=True))
    posed = Posed.of(kind, by_name, losses, is_log=objective.is_log, precision=precision, fixed=fixed)
    descent = posed.descend(objective)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        law = posed.laws(descent.minima.theta[:1])[0]
        estimates = estimate_law(law, [], math.nan, None)
        search = look_back(posed, descent)
        residuals = np.log(losses) - np.log(law.predict(*arrays))
    status, messages = judge(law, search, estimates)
    return Fit(
        law=law,
        estimates=estimates,
        status=status,
        messages=messages,
        objective=objective,
        objective_value=descent.value * (1.0 if objective.is_log else posed.loss_unit**2),
        huber_delta=descent.delta,
        residuals=residuals,
        rows=tuple(range(len(losses))),
        selection="all rows given",
        num_free=posed.num_free,
        shares=np.ones(len(losses)),
        confidence=math.nan,
        samples=np.empty((0, len(kind.parameters))),
        cluster_samples=np.empty((0, len(kind.parameters))),
        search=search,
    )


def find_form(form: str | type[Law]) -> type[Law]:
    """The law of a name in `laws.LAWS`.

    Raises:
        FitError: there is none.
    """
    if not isinstance(form, str):
        return form
    if form not in LAWS:
        raise FitError(f"There is no law {form!r}{did_you_mean(form, LAWS)}; choose one of {', '.join(LAWS)}.")
    return LAWS[form]


def check_columns(form: type[Law], columns: Mapping[str, ArrayLike]) -> tuple[list[str], list[FloatArray]]:
    """Names and values of the law's variables.

    Raises:
        FitError: a column is missing, or a value is not positive and finite.
    """
    wanted = list(form.variables)
    if wanted == ["x"]:
        if len(columns) != 1:
            raise FitError(f"The law {form.name!r} has one variable, but {len(columns)} columns were given.")
        wanted = list(columns)
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise FitError(f"The law {form.name!r} needs the column {missing[0]}; found {', '.join(columns) or 'none'}.")
    return wanted, [_positive(name, columns[name]) for name in wanted]


def _positive(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    bad = np.flatnonzero(~((array > 0) & np.isfinite(array)))
    if array.ndim != 1 or len(bad):
        where = f"; row {bad[0]} has {array.ravel()[bad[0]]:g}" if len(bad) else ""
        raise FitError(f"{name} must be one positive finite number a row{where}.")
    return array


def _check_rows(
    form: type[Law], names: Sequence[str], arrays: Sequence[FloatArray], loss: FloatArray, fixed: Mapping[str, float]
) -> None:
    for name, array in zip([*names, "weights"], arrays, strict=True):
        if len(array) != len(loss):
            raise FitError(f"{name} has {len(array)} rows, but loss has {len(loss)}.")
    free = sum(spec.lower < spec.upper and name not in fixed for name, spec in form.parameters.items())
    if len(loss) < free:
        raise FitError(f"{len(loss)} points cannot determine the {free} parameters of the law {form.name!r}.")


def _check_fixed(form: type[Law], fixed: Mapping[str, float]) -> None:
    for name in fixed:
        spec = form.parameters.get(name)
        if spec is None or spec.kind == "scaled":
            allowed = [name for name, spec in form.parameters.items() if spec.kind != "scaled"]
            raise FitError(f"{name} of the law {form.name!r} cannot be fixed; choose among {', '.join(allowed)}.")
