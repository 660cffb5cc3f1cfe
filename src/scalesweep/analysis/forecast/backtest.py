"""Rolling origin: fit what lies below a cut, predict everything above it, and compare; by compute, by size, by budget.

The intervals are those that `forecast` prints: at each origin the honest band is as wide as errors of earlier origins, on rows
that had been measured by then, and the prior of `bands` ask for, so that no prediction has seen its future. Where the points
below a cut support no forecast at a row, the prediction is counted as an abstention and not as a success.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from scalesweep.analysis.forecast.bands import Band, Outlook, calibrate, look_ahead
from scalesweep.analysis.forecast.rivals import fit_rivals, theories_of
from scalesweep.arrays import BoolArray, FloatArray
from scalesweep.errors import FitError
from scalesweep.fit.horizon import Range
from scalesweep.points.design import find_levels, refuse_joint
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec

Axis = Literal["c", "n", "d"]
Kind = Literal["honest", "form", "form_mean", "additive", "additive_mean"]
AXES: dict[Axis, str] = {"c": "compute", "n": "parameters", "d": "tokens"}
HORIZONS = (2.0, 4.0, 8.0, 16.0, 32.0)
"""Upper ends of the horizons, as factors of the cut; a last one is open."""
MIN_ROWS = 10
"""Rows below a cut: four more than the six parameters of the largest rival."""
MAX_ORIGINS = 8
RESAMPLES = 200
"""Resamples at an origin are capped here: its intervals are compared with data, not printed."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Predictions with what was measured, one entry a (cut, row), each array of shape (predictions,); losses are logs."""

    cut: FloatArray
    """Largest value of the axis that the fit saw."""
    factor: FloatArray
    """Horizon: the row's value over the cut."""
    n: FloatArray
    """Parameters."""
    d: FloatArray
    """Tokens."""
    actual: FloatArray
    """Measured."""
    centre: FloatArray
    """Weighted mean of the forms."""
    preferred: FloatArray
    """The form with the lowest criterion."""
    forms: dict[str, FloatArray]
    """Each form; NaN where it was refused."""
    abstained: BoolArray
    """Whether no honest interval would have been printed."""
    scores: FloatArray
    """|error| of the centre in units of its scale."""
    lows: dict[Kind, FloatArray]
    """Lower ends of the intervals: honest; of the preferred law for a run, for the mean; of the additive law for both."""
    highs: dict[Kind, FloatArray]
    """Upper ends."""

    def select(self, keep: BoolArray) -> "Outcomes":
        """Some of the predictions."""
        return _map([self], lambda parts: parts[0][keep])

    @staticmethod
    def join(parts: Sequence["Outcomes"]) -> "Outcomes":
        """Predictions of several back-tests together."""
        return _map(parts, np.concatenate)

    @property
    def additive(self) -> FloatArray:
        """The additive law; NaN where it was refused or not asked for."""
        return self.forms.get("chinchilla", np.full(len(self.cut), np.nan))

    def holds(self, kind: Kind) -> BoolArray:
        """Whether each interval of this kind holds what was measured."""
        return Band(self.lows[kind], self.highs[kind]).holds(self.actual)


@dataclass(frozen=True)
class HorizonRow:
    """What happened at one horizon."""

    horizon: str
    """Factors of the cut."""
    num: int
    """Predictions, abstentions included."""
    abstained: float
    """Share of abstentions."""
    error: float
    """Median |L_predicted / L - 1| of the weighted mean of the forms where it did not abstain; NaN where it always did."""
    bias: float
    """Mean log(L_predicted / L) there: positive, the models turned out better."""
    preferred_error: float
    """The same of the preferred law on the same predictions."""
    additive_error: float
    """The same of the additive law."""
    covered: dict[Kind, float]
    """Share of the intervals of each kind that hold what was measured."""
    width: dict[Kind, float]
    """Median full width in log loss."""


@dataclass(frozen=True, eq=False)
class BackTest:
    """A rolling origin along one axis."""

    axis: Axis
    """What the cuts are of."""
    confidence: float
    """Nominal coverage."""
    cuts: tuple[float, ...]
    """Origins at which forms could be fitted."""
    outcomes: Outcomes | None
    """None without an origin."""
    source: str
    """Where the points come from."""

    @property
    def rows(self) -> tuple[HorizonRow, ...]:
        """Each horizon with predictions, and all together last."""
        return () if self.outcomes is None else tabulate(self.outcomes)

    @property
    def factor(self) -> float:
        """Half the honest interval in units of its scale, by all origins and the prior."""
        return calibrate(_origins(self.outcomes), self.confidence)

    @property
    def widening(self) -> float:
        """The same over what the prior alone would give: above 1 where these points were harder to predict than others."""
        return self.factor / calibrate((), self.confidence)

    @property
    def score(self) -> float:
        """Root mean square log error of the mean of the forms where it did not abstain; NaN without such a prediction."""
        if self.outcomes is None or self.outcomes.abstained.all():
            return float("nan")
        kept = self.outcomes.select(~self.outcomes.abstained)
        return float(np.sqrt(np.mean((kept.centre - kept.actual) ** 2)))

    def score_of(self, form: str) -> float:
        """The same of one form, where every form was fitted."""
        if self.outcomes is None or form not in self.outcomes.forms:
            return float("nan")
        every = np.array(list(self.outcomes.forms.values()))
        common = ~self.outcomes.abstained & np.isfinite(every).all(axis=0)
        error = (self.outcomes.forms[form] - self.outcomes.actual)[common]
        return float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content; the single predictions are left out."""
        return {
            "axis": AXES[self.axis],
            "confidence": self.confidence,
            "cuts": list(self.cuts),
            "widening": self.widening,
            "source": self.source,
            "horizons": [_finite(asdict(row)) for row in self.rows],
        }


def back_test(
    points: Points,
    spec: FitSpec,
    axis: Axis = "c",
    *,
    forms: Sequence[str] | None = None,
    max_origins: int = MAX_ORIGINS,
) -> BackTest:
    """Predict the used rows above each of at most `max_origins` cuts, spread evenly in the logarithm of the axis.

    An origin whose rows cannot be fitted at all is no origin. Needs at least one resample in `spec`. By default the forms are
    those that `fit.law` makes forecasts of.
    """
    rows = Rows.of(points)
    values: FloatArray = getattr(rows, axis)
    spec = spec.model_copy(update={"bootstrap": min(spec.bootstrap, RESAMPLES)})
    parts: list[Outcomes] = []
    for cut in find_cuts(rows, axis, max_origins):
        is_below = values <= cut
        below, above = rows.take(np.flatnonzero(is_below)), rows.take(np.flatnonzero(~is_below))
        try:
            rivals = fit_rivals(below, spec, theories_of(spec) if forms is None else forms)
        except FitError:
            continue
        outlook = look_ahead(rivals, Range.of(below.n, below.d), (above.n, above.d), above.u)
        past = [part.scores[~part.abstained & (part.cut * part.factor <= cut * (1 + 1e-9))] for part in parts]
        factor = calibrate(past, spec.confidence)
        parts.append(_outcomes(outlook, cut, values[~is_below], np.log(above.loss), factor, spec.confidence))
    cuts = tuple(float(part.cut[0]) for part in parts)
    return BackTest(axis, spec.confidence, cuts, Outcomes.join(parts) if parts else None, points.source)


def find_cuts(rows: Rows, axis: Axis, count: int) -> list[float]:
    """At most `count` levels of the axis, below which there are `MIN_ROWS` rows that tell N from D."""
    values: FloatArray = getattr(rows, axis)
    levels = np.sort(values)
    ends = levels[:-1][np.diff(find_levels(levels)) > 0]
    feasible = [
        cut for cut in ends if np.sum(below := values <= cut) >= MIN_ROWS and not refuse_joint(rows.n[below], rows.d[below])
    ]
    if len(feasible) <= count:
        return [float(cut) for cut in feasible]
    logs = np.log(feasible)
    nearest = {int(np.argmin(np.abs(logs - wanted))) for wanted in np.linspace(logs[0], logs[-1], count)}
    return [float(feasible[i]) for i in sorted(nearest)]


def tabulate(outcomes: Outcomes) -> tuple[HorizonRow, ...]:
    """Each horizon with predictions, and all together last."""
    edges = (1.0, *HORIZONS, np.inf)
    rows = []
    for low, high in pairwise(edges):
        inside = (low < outcomes.factor) & (outcomes.factor <= high)
        if inside.any():
            label = f"x{low:g} to x{high:g}" if np.isfinite(high) else f"over x{low:g}"
            rows.append(_row(label, outcomes.select(inside)))
    return (*rows, _row("all", outcomes))


def _outcomes(
    outlook: Outlook, cut: float, values: FloatArray, actual: FloatArray, factor: float, confidence: float
) -> Outcomes:
    preferred, additive = outlook.rivals.preferred, outlook.rivals.find("chinchilla")
    bands: dict[Kind, Band] = {
        "honest": outlook.honest(factor),
        "form": outlook.form_band(preferred, confidence, "run"),
        "form_mean": outlook.form_band(preferred, confidence, "mean"),
    }
    missing = np.full(len(actual), np.nan)
    bands["additive"] = outlook.form_band(additive, confidence, "run") if additive else Band(missing, missing)
    bands["additive_mean"] = outlook.form_band(additive, confidence, "mean") if additive else Band(missing, missing)
    return Outcomes(
        cut=np.full(len(actual), cut),
        factor=values / cut,
        n=outlook.n,
        d=outlook.d,
        actual=actual,
        centre=outlook.centre,
        preferred=outlook.log_loss(preferred),
        forms={form: _predict(outlook, form) for form in (*outlook.rivals.refusals, *outlook.rivals.names)},
        abstained=np.array([bool(reason) for reason in outlook.refusals]),
        scores=outlook.scores(actual),
        lows={kind: band.low for kind, band in bands.items()},
        highs={kind: band.high for kind, band in bands.items()},
    )


def _origins(outcomes: Outcomes | None) -> list[FloatArray]:
    """The scores of each origin where it did not abstain."""
    if outcomes is None:
        return []
    return [outcomes.scores[(outcomes.cut == cut) & ~outcomes.abstained] for cut in np.unique(outcomes.cut)]


def _predict(outlook: Outlook, form: str) -> FloatArray:
    fit = outlook.rivals.find(form)
    return outlook.log_loss(fit) if fit else np.full(len(outlook.n), np.nan)


def _row(label: str, outcomes: Outcomes) -> HorizonRow:
    kept = outcomes.select(~outcomes.abstained)
    error = kept.centre - kept.actual
    return HorizonRow(
        horizon=label,
        num=len(outcomes.actual),
        abstained=float(np.mean(outcomes.abstained)),
        error=_median(np.abs(np.expm1(error))),
        bias=float(np.mean(error)) if len(error) else float("nan"),
        preferred_error=_median(np.abs(np.expm1(kept.preferred - kept.actual))),
        additive_error=_median(np.abs(np.expm1(kept.additive - kept.actual))),
        covered={kind: float(np.mean(kept.holds(kind))) if len(error) else float("nan") for kind in kept.lows},
        width={kind: _median(kept.highs[kind] - kept.lows[kind]) for kind in kept.lows},
    )


def _median(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _map(parts: Sequence[Outcomes], combine: Callable[[list[Any]], Any]) -> Outcomes:
    """Outcomes of which each array is made from the parts' arrays."""
    values: dict[str, Any] = {}
    for field in fields(Outcomes):
        columns = [getattr(part, field.name) for part in parts]
        if isinstance(columns[0], dict):
            values[field.name] = {kind: combine([column[kind] for column in columns]) for kind in columns[0]}
        else:
            values[field.name] = combine(columns)
    return Outcomes(**values)


def _finite(value: Any) -> Any:
    """JSON has no NaN; it becomes null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
