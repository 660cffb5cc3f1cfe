"""A dated, hashed prediction of a model that is not measured yet, with two intervals; `scoring` compares it with the model.

*If this form holds*: the preferred law's interval for one new run (resamples of the points, and a residual for the run).
*Honest*: the envelope over all forms of that interval with a drifting exponent, stretched by what a rolling origin on the same
points got wrong (`outlook`, `horizon`, `backtest`). Beyond the factor that the points support there is no honest interval, and
the forecast says why. Loss is in nats per token, C = 6 N D. The two printed texts are for a terminal of 100 columns.
"""

import hashlib
import json
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalesweep import __version__
from scalesweep.backtest import BackTest, back_test
from scalesweep.config import FitSpec
from scalesweep.errors import FitError, PointsError, SpecError
from scalesweep.horizon import Range, supported_horizon
from scalesweep.laws import format_count, format_number
from scalesweep.outlook import Band, Outlook, look_ahead
from scalesweep.points import Points
from scalesweep.rivals import THEORIES, TITLES, Rival, Rivals, fit_rivals, sorted_columns, sorted_units

FloatArray = NDArray[np.float64]
Target = Literal["model", "compute"]

FORMAT = 1
"""Version of the file."""
NUM_ORIGINS = 6
"""Origins of the back-test behind a forecast."""


@dataclass(frozen=True)
class Interval:
    """A number with its interval."""

    value: float
    """Point prediction."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""

    def holds(self, value: float) -> bool:
        """Whether the value lies in the interval."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{format_number(self.value)}  [{format_number(self.low)}, {format_number(self.high)}]"


@dataclass(frozen=True)
class Origin:
    """What the forecast was made from."""

    source: str
    """Name of the points."""
    sha256: str
    """`hash_points` of them."""
    rows: int
    """Used rows."""
    params_convention: str
    """What N counts."""
    flops_convention: str
    """What the points' C counts; the forecast's is 6 N D."""
    bootstrap: int
    """Resamples."""
    seed: int
    """Seed of the resampling."""
    huber_delta: float | None
    """Width of the Huber loss; None: from the residuals."""


@dataclass(frozen=True)
class Forecast:
    """The loss of one model, predicted."""

    target: Target
    """Whether a model was asked for, or the best one at a compute."""
    n: float
    """Parameters."""
    d: float
    """Training tokens."""
    c: float
    """6 N D, FLOPs."""
    form: Interval
    """Loss if the preferred form holds, nats per token: its value, and its interval for one new run."""
    form_name: str
    """The preferred form's name in `laws.LAWS`."""
    formula: str
    """That law with its numbers."""
    honest: Interval | None
    """Mean of the forms with the honest interval for one new run; None where the forecast abstains."""
    abstention: str
    """Why there is no honest interval, in a sentence; empty where there is one."""
    forms: dict[str, float]
    """Loss by each form."""
    n_opt: Interval | None
    """Compute-optimal parameters if the preferred form holds; None unless compute was the target."""
    d_opt: Interval | None
    """Compute-optimal tokens if the preferred form holds."""
    n_opt_range: tuple[float, float] | None
    """Smallest and largest N* over the resamples' intervals of all forms that have one."""
    confidence: float
    """Nominal coverage of all intervals."""
    factor: float
    """How many times the measured compute (as 6 N D) the target is; below 1 it lies inside."""
    supported_factor: float
    """Largest such factor that the measured span of compute supports."""
    widening: float
    """Stretch of the honest interval by the back-test; 1: the past was inside."""
    num_origins: int
    """Origins of that back-test."""
    origin: Origin
    """The points and the estimation."""

    def to_json(self, day: date) -> str:
        """The forecast as the text of a file: dated, with the sha256 of its content."""
        content = {"format": FORMAT, "date": day.isoformat(), "scalesweep": __version__, "forecast": asdict(self)}
        return json.dumps({**content, "sha256": _hash(content)}, indent=1, allow_nan=False) + "\n"

    def summary(self) -> str:
        """The forecast as text for a terminal."""
        return "\n".join(_describe(self))


@dataclass(frozen=True)
class DatedForecast:
    """A forecast as it was filed."""

    forecast: Forecast
    """The prediction."""
    day: date
    """The date that its maker gave."""
    sha256: str
    """Hash of the content."""


def forecast(
    points: Points,
    spec: FitSpec,
    *,
    at: tuple[float, float] | None = None,
    compute: float | None = None,
    forms: Sequence[str] = THEORIES,
    tested: BackTest | None = None,
) -> Forecast:
    """Predict the loss of a model, or of the compute-optimal model of a budget.

    Args:
        points: measured rows.
        spec: estimation, resamples and confidence.
        at: N in parameters and D in tokens.
        compute: FLOPs, counted as 6 N D; exactly one of `at` and `compute`.
        forms: names of the rivals.
        tested: the rolling origin by compute of the same points, if it was made before.

    Raises:
        SpecError: not exactly one target, a target that is not positive, or no resamples.
        FitError: no form can be fitted, or at `compute` no form has a compute optimum.
    """
    _check(at, compute, spec)
    n, d, _, loss = sorted_columns(points)
    rivals = fit_rivals(n, d, loss, spec, forms, sorted_units(points))
    place = at or _optimal_model(rivals, float(compute or 0))
    outlook = look_ahead(rivals, Range.of(n, d), ([place[0]], [place[1]]), spec.confidence)
    test = back_test(points, spec, forms=forms, max_origins=NUM_ORIGINS) if tested is None else tested
    return _assemble(outlook, test, points, spec, "model" if at else "compute")


def read_forecast(text: str) -> DatedForecast:
    """A filed forecast from the text of its file.

    Raises:
        PointsError: it is not a forecast of this format, or its content does not have the hash that it carries.
    """
    try:
        content = json.loads(text)
        claimed = content.pop("sha256")
        if content["format"] != FORMAT:
            raise PointsError(f"the forecast has format {content['format']}, but this version reads format {FORMAT}.")
        values = dict(content["forecast"])
        day = date.fromisoformat(content["date"])
        made = _revive(values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, PointsError):
            raise
        raise PointsError(f"this is no forecast that scalesweep wrote ({error}).") from None
    if _hash(content) != claimed:
        raise PointsError(f"the forecast was altered after {day}: its content does not have the hash {claimed[:12]}.")
    return DatedForecast(made, day, claimed)


def hash_points(points: Points) -> str:
    """The sha256 of the used rows' n, d, c, loss at full precision, whatever their order."""
    columns = (points.n.tolist(), points.d.tolist(), points.c.tolist(), points.loss.tolist())
    lines = sorted(",".join(map(repr, row)) for row in zip(*columns, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _assemble(outlook: Outlook, test: BackTest, points: Points, spec: FitSpec, target: Target) -> Forecast:
    preferred, refusal = outlook.rivals.preferred, outlook.refusals[0]
    n, d = float(outlook.n[0]), float(outlook.d[0])
    measured = Range.of(points.n, points.d)
    honest = outlook.honest.stretched(outlook.centre, test.widening)
    form = outlook.form_band(preferred, spec.confidence, "run")
    optimum = _optimum_intervals(outlook.rivals, 6 * n * d, spec.confidence) if target == "compute" else None
    return Forecast(
        target=target,
        n=n,
        d=d,
        c=6 * n * d,
        form=_interval(preferred.log_loss(outlook.n, outlook.d), form),
        form_name=preferred.name,
        formula=preferred.fit.law.formula(),
        honest=None if refusal else _interval(outlook.centre, honest),
        abstention=refusal,
        forms={rival.name: float(np.exp(rival.log_loss(n, d))) for rival in outlook.rivals.members},
        n_opt=optimum.get(preferred.name) if optimum else None,
        d_opt=_over(n * d, optimum[preferred.name]) if optimum and preferred.name in optimum else None,
        n_opt_range=(min(i.low for i in optimum.values()), max(i.high for i in optimum.values())) if optimum else None,
        confidence=spec.confidence,
        factor=n * d / float(np.max(points.n * points.d)),
        supported_factor=10.0 ** supported_horizon(measured.spans()["c"]),
        widening=test.widening,
        num_origins=len(test.cuts),
        origin=_origin(points, spec),
    )


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
    )


def _optimal_model(rivals: Rivals, compute: float) -> tuple[float, float]:
    """N* and D* of the preferred form, or of the first other that has them."""
    for rival in (rivals.preferred, *rivals.members):
        n_opt = _n_opt(rival, compute)
        if math.isfinite(n_opt):
            return n_opt, compute / 6 / n_opt
    raise FitError(f"No form has a compute optimum at {format_number(compute)} FLOPs; give the model with at=[N,D].")


def _n_opt(rival: Rival, compute: float) -> float:
    """N* of a form; NaN where it has none."""
    return _attempt(lambda: float(rival.fit.law.n_opt(compute)))  # type: ignore[attr-defined]  # rivals are laws of N and D


def _optimum_intervals(rivals: Rivals, compute: float, confidence: float) -> dict[str, Interval]:
    """N* with the interval of its resamples, by form, of the forms that have one."""
    found, percents = {}, (50 * (1 - confidence), 50 * (1 + confidence))
    for rival in rivals.members:
        value = _n_opt(rival, compute)
        sets = [_resampled_optima(rival, part, compute) for part in (rival.samples, rival.cluster_samples)]
        ends = [np.percentile(known, percents) for known in sets if len(known)]
        if math.isfinite(value) and ends:
            low, high = np.min(ends, axis=0)[0], np.max(ends, axis=0)[1]
            found[rival.name] = Interval(value, min(float(low), value), max(float(high), value))
    return found


def _resampled_optima(rival: Rival, samples: FloatArray, compute: float) -> FloatArray:
    """N* by each row of samples that has one."""
    laws = [rival.fit.law.build(sample, ("N", "D")) for sample in samples.tolist()]
    values = np.array([_attempt(lambda law=law: float(law.n_opt(compute))) for law in laws])  # type: ignore[misc]
    return np.asarray(values[np.isfinite(values)])


def _attempt(value: Callable[[], float]) -> float:
    """The value, or NaN where a law has no optimum."""
    try:
        result = value()
    except FitError:
        return math.nan
    return result if result > 0 else math.nan


def _over(product: float, interval: Interval) -> Interval:
    """The other factor of a product, with its interval."""
    return Interval(product / interval.value, product / interval.high, product / interval.low)


def _interval(log_loss: FloatArray, band: Band) -> Interval:
    """In nats per token; the point prediction is inside, because a form's value is not always among its resamples."""
    value, low, high = (float(np.exp(part[0])) for part in (log_loss, band.low, band.high))
    return Interval(value, min(low, value), max(high, value))


def _check(at: tuple[float, float] | None, compute: float | None, spec: FitSpec) -> None:
    if (at is None) == (compute is None):
        raise SpecError("A forecast needs one target: at=[N,D] for a model, or compute=C for the best model of a budget.")
    for value in at or (compute,):
        if value is None or not (math.isfinite(value) and value > 0):
            raise SpecError(f"The target {value!r} is not possible; give positive numbers of parameters, tokens or FLOPs.")
    if spec.bootstrap < 1:
        raise SpecError("fit.bootstrap: 0 resamples give no interval; a forecast needs at least 1.")


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _revive(values: dict[str, Any]) -> Forecast:
    for name in ("form", "honest", "n_opt", "d_opt"):
        values[name] = Interval(**values[name]) if values[name] else None
    values["n_opt_range"] = tuple(values["n_opt_range"]) if values["n_opt_range"] else None
    values["origin"] = Origin(**values["origin"])
    return Forecast(**values)


def name_target(made: Forecast) -> str:
    """What was forecast, in words."""
    if made.target == "compute":
        return f"C = {format_number(made.c)} FLOPs"
    return f"N = {format_count(made.n)} parameters, D = {format_count(made.d)} tokens"


def _describe(made: Forecast) -> list[str]:
    share = f"{made.confidence:.0%}"
    what = "the compute-optimal model at " if made.target == "compute" else "a model with "
    lines = [f"Forecast of the loss of {what}{name_target(made)}, nats per token"]
    if made.n_opt and made.d_opt and made.n_opt_range:
        low, high = (format_count(value) for value in made.n_opt_range)
        lines += [
            f"  N* {_count(made.n_opt)}, D* {_count(made.d_opt)} tokens, if this form holds;",
            f"  over all forms N* [{low}, {high}]",
        ]
    lines += [f"  if this form holds  {made.form}  {share}, one new run, {TITLES.get(made.form_name, made.form_name)} law"]
    if made.honest:
        lines += [f"  honest              {made.honest}  {share}, one new run, whichever form holds"]
    else:
        lines += ["  honest              none: the tool abstains (A14).", *_wrap(made.abstention, 22)]
    each = ", ".join(f"{TITLES.get(name, name)} {format_number(loss)}" for name, loss in made.forms.items())
    reach = f"{made.factor:.3g} times the largest measured compute" if made.factor > 1 else "inside the measured compute"
    tested = (
        f"stretched {made.widening:.2f}x by {made.num_origins} back-tests on these points"
        if made.num_origins
        else "not back-tested: too few points"
    )
    notes = (
        f"Forms: {each}.",
        f"The target is {reach}; these points support {made.supported_factor:.3g} times.",
        f"Honest: envelope of the forms, exponent drifting by half of itself per decade, {tested}.",
        f"From {made.origin.rows} points, {made.origin.source}, hash {made.origin.sha256[:12]}.",
    )
    return [*lines, *(line for note in notes for line in _wrap(note, 2))]


def _count(interval: Interval) -> str:
    return f"{format_count(interval.value)} [{format_count(interval.low)}, {format_count(interval.high)}]"


def _wrap(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, 98, initial_indent=" " * indent, subsequent_indent=" " * (indent + (0 if indent > 2 else 2)))
