"""Intervals by the design of the experiment: which resamples are drawn, what is said about them, and prediction intervals.

By default (`fit.interval=auto`) runs or distinct rows are resampled. Where a permutation test cannot exclude that residuals
differ between model sizes (p < `CLUSTER_P_VALUE`), an interval is the union of two: whole sizes are resampled, and so are rows
about the law after each size's mean residual was taken off. Neither alone will do: rows miss noise that a size shares, and
whole sizes understate the error of the exponent of D, which every size measures. With the means left in, rows would count
shared noise against that exponent too.
`fit.coverage` simulates how often such intervals hold the truth. All of them are conditional on the form of the law.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.fit.estimates import percentile_union
from scalesweep.fit.resampling import CLUSTER_P_VALUE, cluster_p_value, draw_weights, refit, within_sizes
from scalesweep.fit.results import Fit
from scalesweep.fit.solve.huber import Solution
from scalesweep.fit.solve.powers import Problem
from scalesweep.points.clusters import Units
from scalesweep.settings.fit import FitSpec
from scalesweep.units import plural

FEW_CLUSTERS = 5
"""With fewer runs or sizes, resampling them says little about the next one."""
CLEAR_P_VALUE = 0.05
"""Of the permutation test, below which the words claim a difference between sizes."""


@dataclass(frozen=True, eq=False)
class Resampled:
    """Refits to the resamples of one or two schemes."""

    first: Solution
    """Refits to resampled runs or rows, or to resampled sizes with `fit.interval=cluster`; without what sizes share where the
    intervals are a union."""
    second: Solution
    """Refits to resampled sizes where the intervals are a union; else without problems."""
    p_value: float | None
    """Of the permutation test; None where it was not made."""
    words: str
    """What the intervals are."""
    warnings: tuple[str, ...]
    """Sentences on what limits them."""

    @property
    def num(self) -> int:
        """Number of refits."""
        return len(self.first.value) + len(self.second.value)

    @property
    def num_lost(self) -> int:
        """Refits that did not meet the gradient test."""
        return int(np.sum(~self.first.converged) + np.sum(~self.second.converged))


def resample(problem: Problem, minima: FloatArray, delta: float, spec: FitSpec, units: Units) -> Resampled:
    """Refit a law to resamples by the scheme of `spec.interval`.

    Args:
        problem: data and form.
        minima: minima of the full data, best first, shape (minima, P).
        delta: Huber width, in log loss.
        spec: scheme, number of resamples, seed.
        units: which rows are drawn together.
    """
    p_value = None
    fitted = problem.log_loss(minima[:1])[0]
    residual = problem.y - fitted
    if spec.interval == "auto" and spec.bootstrap:
        p_value = cluster_p_value(residual, units, np.random.default_rng([spec.seed, 1]))
    is_union = p_value is not None and p_value < CLUSTER_P_VALUE
    labels = units.cluster if spec.interval == "cluster" else units.unit
    first = draw_weights(labels, spec.bootstrap, np.random.default_rng(spec.seed))
    second = draw_weights(units.cluster, spec.bootstrap if is_union else 0, np.random.default_rng([spec.seed, 2]))
    about = problem.with_y(fitted + within_sizes(residual, units)) if is_union else problem
    return Resampled(
        refit(about, minima, first, delta),
        refit(problem, minima, second, delta),
        p_value,
        _words(spec, units, p_value, is_union),
        _warnings(spec, units),
    )


def predict_interval(
    fit: Fit, n: ArrayLike, d: ArrayLike, kind: Literal["mean", "new_run"] = "mean"
) -> tuple[FloatArray, FloatArray]:
    """Interval of the loss at n parameters and d tokens, if the form of the law holds, in nats per token.

    Args:
        fit: a joint law with resamples.
        n: parameters; broadcast with d.
        d: training tokens.
        kind: `mean` for the loss that the law describes; `new_run` for one more run, which adds a residual of the fit, scaled
            by the root of rows / (rows - parameters), to it.

    Returns:
        Lower and upper ends, in the shape of n and d broadcast.

    Raises:
        FitError: the fit has no resamples or, for a new run, no spare rows.
    """
    if not len(fit.samples):
        raise FitError("The law has no resamples, so there is no prediction interval; set fit.bootstrap above 0.")
    shape = np.broadcast_shapes(np.shape(n), np.shape(d))
    means = [part.reshape(len(part), -1) for part in _resampled_means(fit, n, d)]
    noise = np.ones(1) if kind == "mean" else np.exp(inflated_residuals(fit))
    # One place at a time, because every resampled mean meets every residual.
    ends = [
        percentile_union([np.outer(part[:, place], noise).ravel() for part in means], fit.confidence)
        for place in range(means[0].shape[1])
    ]
    low, high = np.array(ends).reshape(-1, 2).T
    return low.reshape(shape), high.reshape(shape)


def _resampled_means(fit: Fit, n: ArrayLike, d: ArrayLike) -> list[FloatArray]:
    """The loss at (n, d) by every resampled law of each scheme, each of shape (resamples, *shape of n and d)."""
    schemes = [fit.resampled_laws(), fit.resampled_laws(fit.cluster_samples)]
    return [np.array([law.predict(n, d) for law in laws]) for laws in schemes if laws]


def inflated_residuals(fit: Fit) -> FloatArray:
    """Residuals scaled up for the parameters that were estimated, shape (rows,).

    Raises:
        FitError: no row is spare.
    """
    spare = len(fit.residuals) - fit.num_free
    if spare <= 0:
        raise FitError(f"{len(fit.residuals)} points for {fit.num_free} parameters do not tell the noise of a run.")
    return np.asarray(fit.residuals * math.sqrt(len(fit.residuals) / spare))


def _words(spec: FitSpec, units: Units, p_value: float | None, is_union: bool) -> str:
    """What the intervals are, as a sentence."""
    if not spec.bootstrap and spec.interval != "profile":
        return ""
    rows, sizes = len(units.unit), plural(units.num_clusters, "model size")
    pairs = f"bootstrap of {plural(rows, 'point')}"
    if units.num_units < rows:
        noun = "point or run" if units.num_units == 1 else "points or runs"
        pairs = f"bootstrap of {units.num_units} distinct {noun} (of {rows} rows)"
    test = "" if p_value is None else f" (permutation test, p = {p_value:.2g})"
    what = {
        "pairs": f"{pairs}, taken as independent",
        "cluster": f"bootstrap of {sizes}, each with all its points",
        "profile": f"profile likelihood for E and exponents, {pairs if spec.bootstrap else 'none'} for the rest; "
        "the points are taken as independent",
        "auto": f"{pairs}; the residuals of the {sizes} do not differ clearly{test}",
    }[spec.interval]
    if spec.interval == "auto" and p_value is None:
        what = f"{pairs}, because no model size has two"
    if p_value is not None and is_union:
        both = f"union of the bootstrap of {sizes} and, without what a size's points share, the {pairs}"
        what = f"{both}, because {_reason(p_value)}"
    return f"Intervals: {spec.confidence:.0%}, {what}."


def _reason(p_value: float) -> str:
    """Why sizes are resampled too: a difference that was found, or one that the test was too weak to exclude."""
    if p_value < CLEAR_P_VALUE:
        return f"the residuals differ between sizes (permutation test, p = {p_value:.2g})"
    return (
        f"a difference of the residuals between sizes cannot be excluded (permutation test, p = {p_value:.2g}, threshold "
        f"{CLUSTER_P_VALUE:g}, lenient on purpose)"
    )


def _warnings(spec: FitSpec, units: Units) -> tuple[str, ...]:
    """Sentences on schemes that have too little to draw from."""
    if not spec.bootstrap:
        return ()
    warnings = []
    if units.num_units < FEW_CLUSTERS:
        warnings.append(f"Only {plural(units.num_units, 'independent run')}: the intervals are a rough guide.")
    if units.num_clusters < FEW_CLUSTERS and spec.interval in ("auto", "cluster"):
        warnings.append(
            f"Only {plural(units.num_clusters, 'model size')}: noise that the points of one size share can hardly be seen, "
            "and the intervals may be too narrow."
        )
    return tuple(warnings)
