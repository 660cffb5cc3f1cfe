"""Intervals by the design of the experiment: which resamples are drawn, what is said about them, and prediction intervals.

By default (`fit.interval=auto`) runs or distinct rows are resampled. Where a permutation test cannot exclude that residuals
differ between model sizes (`SHARED_P_VALUES`), an interval is the union of two: whole sizes are resampled, and so are rows
about the law after each size's mean residual was taken off. Neither alone will do: rows miss noise that a size shares, and
whole sizes understate the error of the exponent of D, which every size measures. With the means left in, rows would count
shared noise against that exponent too. Token budgets, whose runs see the same text in the same order, and seeds are tested and
resampled in the same way; where several share, a row's weight is the product of its groups' (Owen 2007, Annals of Applied
Statistics 1, 386).
`fit.coverage` simulates how often such intervals hold the truth. All of them are conditional on the form of the law.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError
from scalesweep.fit.estimates import percentile_union
from scalesweep.fit.resampling import SHARED_P_VALUES, cluster_p_value, draw_weights, refit, within_groups
from scalesweep.fit.results import Fit
from scalesweep.fit.solve.huber import Solution
from scalesweep.fit.solve.powers import Problem
from scalesweep.points.clusters import Sharer, Units
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
    shared: Mapping[Sharer, float]
    """P value of the permutation test by what may share noise; empty where none was made."""
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
    fitted = problem.log_loss(minima[:1])[0]
    residual, free = problem.y - fitted, problem.lower < problem.upper
    jacobian = problem.expand(minima[:1]).jacobian[0][:, free]
    tests: dict[Sharer, float] = {}
    for index, (name, labels) in enumerate(units.sharers.items() if spec.interval == "auto" and spec.bootstrap else ()):
        rng = np.random.default_rng([spec.seed, 1, index])
        p_value = cluster_p_value(residual, units.unit, labels, jacobian, rng, delta)
        if p_value is not None:
            tests[name] = p_value
    sharing = [name for name, p_value in tests.items() if p_value < SHARED_P_VALUES[name]]
    labels = units.cluster if spec.interval == "cluster" else units.unit
    first = draw_weights(labels, spec.bootstrap, np.random.default_rng(spec.seed))
    second, within = np.ones((spec.bootstrap if sharing else 0, len(residual))), residual
    for name in sharing:
        second = second * draw_weights(units.sharers[name], len(second), np.random.default_rng([spec.seed, 2, len(name)]))
        within = within_groups(within, units.unit, units.sharers[name])
    second = second[second.any(axis=1)]  # of few groups, no row may have all of its groups drawn
    about = problem.with_y(fitted + within) if sharing else problem
    return Resampled(
        refit(about, minima, first, delta),
        refit(problem, minima, second, delta),
        tests,
        _words(spec, units, tests, sharing),
        _warnings(spec, units, sharing),
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
    low, high = percentile_union(means, fit.confidence)
    if kind == "new_run":
        noise = np.exp(inflated_residuals(fit))
        # One place at a time, because every resampled mean meets every residual. The union with the mean's interval is for
        # resamples of few groups, whose percentiles jump.
        ends = [
            percentile_union([np.outer(part[:, place], noise).ravel() for part in means], fit.confidence)
            for place in range(means[0].shape[1])
        ]
        run_low, run_high = np.array(ends).reshape(-1, 2).T
        low, high = np.minimum(low, run_low), np.maximum(high, run_high)
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


def _words(spec: FitSpec, units: Units, tests: Mapping[Sharer, float], sharing: Sequence[Sharer]) -> str:
    """What the intervals are, as a sentence."""
    if not spec.bootstrap and spec.interval != "profile":
        return ""
    rows, sizes = len(units.unit), plural(units.num_clusters, "model size")
    pairs = f"bootstrap of {plural(rows, 'point')}"
    if units.num_units < rows:
        noun = "point or run" if units.num_units == 1 else "points or runs"
        pairs = f"bootstrap of {units.num_units} distinct {noun} (of {rows} rows)"
    tested = " and ".join(_group_words(units, name) for name in tests)
    p_values = ", ".join(f"p = {p_value:.2g}" for p_value in tests.values())
    what = {
        "pairs": f"{pairs}, taken as independent",
        "cluster": f"bootstrap of {sizes}, each with all its points",
        "profile": f"profile likelihood for E and exponents, {pairs if spec.bootstrap else 'none'} for the rest; "
        "the points are taken as independent",
        "auto": f"{pairs}; the residuals of the {tested} do not differ clearly (permutation test, {p_values})",
    }[spec.interval]
    if spec.interval == "auto" and not tests:
        what = f"{pairs}, because no two share a size, a budget or a seed"
    if sharing:
        groups = " and of ".join(_group_words(units, name) for name in sharing)
        both = f"union of the bootstrap of {groups} and, without what their points share, the {pairs}"
        what = f"{both}, because {_reason([tests[name] for name in sharing], sharing)}"
    return f"Intervals: {spec.confidence:.0%}, {what}."


def _group_words(units: Units, name: Sharer) -> str:
    """How many groups there are, in words."""
    noun = {"size": "model size", "budget": "token budget", "seed": "seed"}[name]
    return plural(int(units.sharers[name].max()) + 1, noun)


def _reason(p_values: Sequence[float], sharing: Sequence[Sharer]) -> str:
    """Why groups are resampled too: a difference that was found, or one that the test was too weak to exclude."""
    said = ", ".join(f"p = {p_value:.2g}" for p_value in p_values)
    names = " and ".join(f"{name}s" for name in sharing)
    if max(p_values) < CLEAR_P_VALUE:
        return f"the residuals differ between {names} (permutation test, {said})"
    thresholds = " and ".join(f"{SHARED_P_VALUES[name]:g}" for name in sharing)
    return (
        f"a difference of the residuals between {names} cannot be excluded (permutation test, {said}, threshold "
        f"{thresholds}, lenient on purpose)"
    )


def _warnings(spec: FitSpec, units: Units, sharing: Sequence[Sharer]) -> tuple[str, ...]:
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
    few = [name for name in sharing if name != "size" and int(units.sharers[name].max()) + 1 < FEW_CLUSTERS]
    warnings += [
        f"Only {_group_words(units, name)}, whose points share noise: the intervals are a rough guide." for name in few
    ]
    return tuple(warnings)
