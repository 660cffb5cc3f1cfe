"""A forecast from L(C) where there is no joint law: along the ray of the points, or at a compute where N and D are unknown."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from scalesweep.analysis.forecast.bands import Band
from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, Refused
from scalesweep.fit.horizon import MIN_SPAN, Range, furthest, supported_horizon, walk_sd
from scalesweep.fit.lines import fit_floor, fit_line
from scalesweep.fit.results import Fit
from scalesweep.laws import Law
from scalesweep.points.design import LEVEL_TOLERANCE
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_count, format_number

NUM_ORIGINS = 6
"""Origins of the back-test behind a forecast."""
_MAX_OFF = 3 * LEVEL_TOLERANCE
"""Relative distance in N, at equal compute, up to which a model counts as one of the ray: along a valley of compute the loss is
flat, and 10 % in N cost less than 0.1 % of it (second order; Hoffmann et al. 2022, figure 3)."""


@dataclass(frozen=True, eq=False)
class Look:
    """L(C) at one compute."""

    law: Law
    """The law with a floor, of which the one without is the case E = 0."""
    forms: dict[str, float]
    """Loss by each form, nats per token."""
    form: Band
    """Interval of log loss for one new run if the law with a floor holds."""
    honest: Band
    """Envelope of that of both forms, with the exponent's walk."""

    @property
    def centre(self) -> float:
        """Log loss by the law with a floor."""
        return math.log(self.forms[self.law.name])


@dataclass(frozen=True, eq=False)
class RayOutlook:
    """What L(C) says of one compute."""

    n: float | None
    """Parameters on the ray; None where the table has C alone."""
    d: float | None
    c: float
    """FLOPs, as 6 N D where N and D are known."""
    look: Look
    """The laws and their bands there."""
    widening: float
    """Stretch of the honest band by a rolling origin along compute; 1: the past was inside."""
    num_origins: int
    """Predictions of that rolling origin."""
    abstention: str
    """Why there is no honest interval; empty where there is one."""
    reservation: str
    """What the law of compute does not know, in sentences."""
    reach: float
    """How far the points support the ray, over the largest measured compute; 1: no further."""
    factor: float
    """The target's compute over the largest measured one."""


def look_along_ray(
    points: Points, spec: FitSpec, why: str, *, at: tuple[float, float] | None, compute: float | None
) -> RayOutlook:
    """Predict a model on the ray of the points, or the loss at a compute.

    Args:
        points: measured rows without a joint law.
        spec: estimation and confidence.
        why: why there is no joint law, in a sentence.
        at: N and D; needs both columns.
        compute: FLOPs; exactly one of both.

    Raises:
        FitError: there is no L(C) either, or the model is off the ray.
    """
    rows = Rows.of(points)
    is_plane = not np.isnan(rows.n * rows.d).any()
    rows = _with_six(rows)
    if at is not None and not is_plane:
        raise FitError(f"{points.source}: {why} Without N and D give a budget, compute=C.")
    c = compute if compute is not None else 6 * at[0] * at[1] if at is not None else math.nan
    found = _look(rows, spec, c)
    if isinstance(found, Refused):
        raise FitError(f"{points.source}: {why} L(C) gives no forecast either: {found}")
    n = float(_Ray(rows).n_opt(c)) if is_plane else None
    if at is not None and n is not None and abs(math.log(at[0] / n)) > math.log1p(_MAX_OFF):
        raise FitError(
            f"{points.source}: {why} L(C) says nothing of a model off that ray: at {format_number(c)} FLOPs the ray has "
            f"N = {format_count(n)}, asked was {format_count(at[0])}."
        )
    n = at[0] if at is not None else n
    scores = _roll(rows, spec)
    return RayOutlook(
        n=n,
        d=c / 6 / n if n is not None else None,
        c=c,
        look=found,
        widening=_widening(scores, spec.confidence),
        num_origins=len(scores),
        abstention=_refuse(rows, n, c),
        reservation=f"{why} This is L(C) along these points: it knows nothing of other models at that compute.",
        reach=_reach(rows) or 1.0,
        factor=c / float(rows.c.max()),
    )


def _look(rows: Rows, spec: FitSpec, c: float) -> Look | Refused:
    floor = fit_floor(rows, "C", spec)
    if isinstance(floor, Refused):
        return floor
    if not len(floor.samples):
        return Refused("All points are of one run, whose noise tells nothing of another.")
    line = fit_line(rows, "C", spec)
    assert isinstance(line, Fit)
    walk = _walk(floor, rows.c, c)
    # A floor that is given leaves no law without one.
    parts = [_interval(fit, c, spec, walk) for fit in ([floor] if floor.num_free == 2 else [floor, line])]
    return Look(
        law=floor.law,
        forms={fit.law.name: float(fit.law.predict(c)) for fit in (line, floor)},
        form=_interval(floor, c, spec, 0.0),
        honest=Band(np.minimum.reduce([part.low for part in parts]), np.maximum.reduce([part.high for part in parts])),
    )


def _roll(rows: Rows, spec: FitSpec) -> FloatArray:
    """Errors at each of the largest compute levels, predicted from all below it, in units of the honest band's half."""
    scores = []
    for level in np.unique(rows.c)[-NUM_ORIGINS:]:
        below = _look(rows.take(np.flatnonzero(rows.c < level)), spec, float(level)) if np.any(rows.c < level) else None
        if isinstance(below, Look):
            error = float(np.log(rows.loss[rows.c == level]).mean()) - below.centre
            half = float(below.honest.high[0]) - below.centre if error > 0 else below.centre - float(below.honest.low[0])
            scores.append(abs(error) / half if half > 0 else math.inf)
    return np.array(scores)


def _widening(scores: FloatArray, confidence: float) -> float:
    """Factor by which the honest band is stretched so that it would have held the share `confidence` of past predictions.

    The split-conformal quantile of the scores, and never below 1: past luck narrows nothing. With too few scores for that
    quantile it is their maximum.
    """
    known = np.sort(scores[np.isfinite(scores)])
    if not len(known):
        return 1.0
    rank = math.ceil((len(known) + 1) * confidence)
    return max(1.0, float(known[min(rank, len(known)) - 1]))


@dataclass(frozen=True, eq=False)
class _Ray:
    """The models along the points, by the least-squares line of log N in log C."""

    rows: Rows
    """With C = 6 N D."""

    def n_opt(self, c: ArrayLike) -> FloatArray:
        """Parameters at a compute."""
        x, y = np.log(self.rows.c), np.log(self.rows.n)
        u = x - x.mean()
        return np.asarray(np.exp(y.mean() + (u @ y) / (u @ u) * (np.log(c) - x.mean())))

    def d_opt(self, c: ArrayLike) -> FloatArray:
        """Tokens at a compute."""
        return np.asarray(c) / 6 / self.n_opt(c)


def reach_along(points: Points) -> float | None:
    """How far the points support what lies along them, over the largest measured compute; None: no further."""
    return _reach(_with_six(Rows.of(points)))


def _with_six(rows: Rows) -> Rows:
    """The rows with C = 6 N D, where they say N and D."""
    return rows if np.isnan(rows.n * rows.d).any() else replace(rows, c=6 * rows.n * rows.d)


def _reach(rows: Rows) -> float | None:
    """The same of rows whose C is 6 N D where they say N and D."""
    span = float(np.ptp(np.log10(rows.c)))
    if not span >= MIN_SPAN:  # one that is not known is not
        return None
    if np.isnan(rows.n * rows.d).any():
        return float(10.0 ** supported_horizon(span))
    return furthest(_Ray(rows), Range.of(rows.n, rows.d), float(rows.c.max()))[0]


def _interval(fit: Fit, c: float, spec: FitSpec, walk: float) -> Band:
    """Percentiles of log loss at c for one new run, whose noise is Student's t with the spread of the rows."""
    rng, spare = np.random.default_rng(spec.seed), len(fit.residuals) - fit.num_free
    if not len(fit.samples):
        raise FitError(f"{fit.selection}: too few points leave no interval.")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mean = np.log(type(fit.law).expand(list(fit.samples.T), (np.float64(c),))[0])
    sd = fit.residual_rms * math.sqrt(len(fit.rows) / spare)  # of one row: cells are means of len(rows) / len(residuals)
    drawn: FloatArray = mean + sd * rng.standard_t(spare, len(mean)) + walk * rng.standard_normal(len(mean))
    ends = np.nanpercentile(drawn, (50 * (1 - spec.confidence), 50 * (1 + spec.confidence)))
    return Band(ends[:1], ends[1:])


def _walk(fit: Fit, measured: FloatArray, c: float) -> float:
    """Standard deviation in log loss of the drifting exponent on the way from the measured compute to c."""
    edge = float(np.clip(c, measured.min(), measured.max()))
    slope = float(-math.log(float(fit.law.predict(edge * 1.01)) / float(fit.law.predict(edge))) / math.log(1.01))
    way = np.array([math.log10(c / edge)]), np.zeros(1)
    return float(walk_sd(way, (np.array([slope]), np.zeros(1)))[0])


def _refuse(rows: Rows, n: float | None, c: float) -> str:
    """Why the points support no forecast at this compute; empty where they do."""
    if n is not None:
        return Range.of(rows.n, rows.d).refuse(n, c / 6 / n)
    logs = np.log10(rows.c)
    span, horizon = float(np.ptp(logs)), max(math.log10(c) - float(logs.max()), float(logs.min()) - math.log10(c), 0.0)
    if not horizon or (span >= MIN_SPAN and horizon <= supported_horizon(span)):
        return ""
    if span < MIN_SPAN:
        return f"The points span {span:.2g} decades of compute; a forecast beyond them needs at least {MIN_SPAN:g}."
    return (
        f"The target is a factor of {10**horizon:.3g} beyond the measured compute, but {span:.2g} measured decades support a "
        f"factor of {10 ** supported_horizon(span):.3g}."
    )
