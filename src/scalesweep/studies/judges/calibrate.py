"""The whole pipeline against sources whose entropy is known: what E must be, what no loss may be below, what C must be.

Arms: `markov` (an order-2 chain of four symbols) and `facts` (a key and its fixed value), each with columns `entropy`,
`unigram_entropy` and `c_counted` (`studies.known_source`). An arm `markov_NAME` or `facts_NAME` is the same source drawn with
another seed, and counts in `holds` alone. Any arm may be missing.

Where little is learnt yet a loss follows no power law: learning curves of such sources are sigmoids in ln D. So E is read off
cells below half of what context can give, and only where they come near the floor.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import beta, norm

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, PointsError
from scalesweep.fit.forms import fit_law
from scalesweep.fit.results import Fit
from scalesweep.laws import Chinchilla, Coupled, Law, PowerLawFloor
from scalesweep.laws.base import Gradient
from scalesweep.points.design import count_levels, refuse_joint
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.report.charts.chart import Chart, Dots, Line, Mark, Missing, Panel, log_axis
from scalesweep.report.charts.chart import Rule as Across
from scalesweep.studies.base import CONFIDENCE, Arms, Control, Effect, Findings, Rule
from scalesweep.studies.estimators.noise import seed_control
from scalesweep.studies.estimators.planted import noisy
from scalesweep.units import format_count, format_number, plural

SOURCES = ("markov", "facts")
LEARNT = 0.5
"""Share of what context can give, unigram less conditional entropy, that a cell must have learnt for a law to be fitted to it.
Of 30 cells on a chain of 16 symbols the laws had E 9 to 10 % below the entropy, those of the 18 longest runs .3 % above."""
FEWEST_CELLS, FEWEST_LEVELS = 12, 3
"""Cells, and sizes and budgets, that must be left: twice the parameters of the coupled law, and what shows a bend."""
NEAREST = 0.10
"""Excess of the lowest loss over the entropy, as a share of it, above which E would be extrapolated by more than ten times the
hundredth that is claimed."""
BELOW = 3.0
"""Standard errors by which a cell may be below the entropy, as of `train.data.synthetic.check_entropy`."""


@dataclass(frozen=True)
class WithoutSize(PowerLawFloor):
    """L(N, D) = E + A / D^alpha: where size makes no difference, A / N^alpha of a joint law could be any constant."""

    name: ClassVar[str] = "without_size"
    variables: ClassVar[tuple[str, ...]] = ("N", "D")

    @classmethod
    def expand(cls, theta: Sequence[Any], columns: Sequence[Any]) -> tuple[FloatArray, Gradient]:
        """The loss and its derivatives by E, A, alpha."""
        return super().expand(theta, columns[1:])

    @classmethod
    def build(cls, theta: Sequence[float], variables: Sequence[str]) -> Self:
        """The law with these parameters."""
        return super().build(theta, ("D",))

    def in_units(self, units: Sequence[float], loss_unit: float) -> Self:
        """The same law with N and D multiplied by their units, and the loss by its own."""
        return super().in_units(units[1:], loss_unit)

    def predict(self, *x: ArrayLike) -> FloatArray:
        """Loss in nats per token at N parameters and D tokens."""
        return Law.predict(self, *x)


FORMS = (Chinchilla, Coupled, WithoutSize)
"""Additive and coupled, of which the preferred law of a report is one, and the same without a term of N."""
CLEARLY = 10.0
"""Difference of AICc from which a form has essentially no support (Burnham & Anderson 2002, section 2.6): a term of N that does
not earn as much is left out, because a small one leaves any part of E to it."""
_SAME = 1e-9
"""Relative difference of two counts of FLOPs that is rounding."""
_PLANTED_ENTROPY, _PLANTED_UNIGRAM = 1.0, 1.4
"""Nats per token of a planted source where the design has no columns of one."""


@dataclass(frozen=True, eq=False)
class Source:
    """Cells of one drawn source, and what the laws say of its entropy."""

    points: Points
    entropy: float
    """Nats per token."""
    kept: Points
    """The cells that the rule of exclusion leaves."""
    refusal: str
    """Why E cannot be told, in a sentence; empty where it can."""
    fit: Fit | None
    """Of the form that the cells prefer; None where it is refused."""
    floor: Effect
    """E of that form, with the chance of the cells and of the validation tokens, nats per token."""

    @classmethod
    def of(cls, points: Points, rule: Rule) -> "Source":
        """Leave out what has not learnt half of what there is to learn, and fit the laws to the rest.

        Raises:
            PointsError: a column is missing.
        """
        entropy, unigram = (_column(points, name) for name in ("entropy", "unigram_entropy"))
        used = points.used
        is_learnt = used["loss"].to_numpy(dtype=np.float64) <= unigram - LEARNT * (unigram - entropy)
        kept = dataclasses.replace(points, frame=used[is_learnt].reset_index(drop=True))
        refusal = _refusal(kept, len(used), entropy)
        if refusal:
            return cls(points, entropy, kept, refusal, None, Effect.missing(refusal))
        try:
            fit = _best(Rows.of(kept), rule)
        except FitError as error:
            return cls(points, entropy, kept, str(error), None, Effect.missing(str(error)))
        return cls(points, entropy, kept, "", fit, _floor(fit, kept))

    @property
    def holds(self) -> bool:
        """Whether the interval of E holds the entropy."""
        return self.floor.low <= self.entropy <= self.floor.high


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects `markov` and `facts`, |E / H - 1| in per cent, and `holds`, the share of sources whose interval of E holds H.

    Raises:
        PointsError: there is no arm of a known source, or its entropy is not known.
    """
    sources = {name: Source.of(points, rule) for name, points in arms.items() if name.split("_")[0] in SOURCES}
    if not sources:
        raise PointsError(f"arms = {', '.join(arms)}: the study needs an arm {' or '.join(SOURCES)}.")
    effects = {name: _off(name, sources.get(name)) for name in SOURCES}
    effects["holds"] = _holds(sources)
    told = [effect.says for effect in effects.values() if effect.says]
    first = next(iter(sources.values()))
    return Findings(
        effects,
        " ".join(told) if told else "No source was learnt well enough for its entropy to be told.",
        _chart(sources),
        tuple(control for name, source in sources.items() for control in _controls(name, source.points)),
        _noise(first.points),
        _notes(sources),
        {"Known entropy and the fitted floor": [_row(name, source) for name, source in sources.items()]},
    )


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """The arm of this part alone, with losses of a law of D whose floor is theta per cent above the entropy.

    Size makes no difference, as on the chain from 262k tokens on; the shortest runs lack a tenth of what context gives.

    Raises:
        KeyError: the part is none of a source.
    """
    if part not in SOURCES:
        raise KeyError(part)
    points = arms[part]
    known = {"entropy": _PLANTED_ENTROPY, "unigram_entropy": _PLANTED_UNIGRAM}
    frame = points.frame.assign(**{name: value for name, value in known.items() if name not in points.frame})
    points = dataclasses.replace(points, frame=frame)
    entropy, unigram = (_column(points, name, of_used=False) for name in known)
    gives = unigram - entropy
    d = points.frame["d"].to_numpy(dtype=np.float64)
    return {part: noisy(points, entropy * (1 + theta / 100) + 0.1 * gives * (d / d.min()) ** -0.9, noise, rng)}


def _column(points: Points, name: str, of_used: bool = True) -> float:
    """The one value of a column."""
    frame = points.used if of_used else points.frame
    if name not in frame or frame[name].isna().any():
        raise PointsError(f"{points.source} has no column {name}, so that nothing is known to hold its losses against.")
    values = frame[name].to_numpy(dtype=np.float64)
    if np.ptp(values) > 1e-9 * abs(values[0]):
        raise PointsError(f"{points.source}: column {name} has several values; an arm is of one source.")
    return float(values[0])


def _refusal(kept: Points, num: int, entropy: float) -> str:
    """Why no E can be told from the cells that are left, in a sentence; empty where it can."""
    said = f"{len(kept.frame)} of {plural(num, 'cell')} have learnt half of what context gives"
    if len(kept.frame) < FEWEST_CELLS:
        return f"{said}; {FEWEST_CELLS} are needed."
    levels = {"sizes": count_levels(kept.n), "budgets": count_levels(kept.d)}
    if few := [f"{number} {name}" for name, number in levels.items() if number < FEWEST_LEVELS]:
        return f"{said}, of {' and '.join(few)}; {FEWEST_LEVELS} are needed."
    excess = float(kept.loss.min()) / entropy - 1
    if excess > NEAREST:
        return (
            f"The lowest loss is still {excess:.0%} above the entropy; to tell it to a hundredth takes longer or larger runs, "
            f"which come within {NEAREST:.0%}."
        )
    return ""


def _best(rows: Rows, rule: Rule) -> Fit:
    """The form with the lowest AICc, or the one without size if that is not clearly worse, resampled.

    Raises:
        FitError: the rows determine no form.
    """
    if refusal := refuse_joint(rows.n, rows.d):
        raise FitError(refusal.reason)
    fits = [fit_law(form, rows, rule.fit.model_copy(update={"bootstrap": 0})) for form in FORMS]
    best = min(fits, key=lambda fit: fit.aicc)
    without = next(fit for fit in fits if isinstance(fit.law, WithoutSize))
    return fit_law(type((without if without.aicc <= best.aicc + CLEARLY else best).law), rows, rule.fit)


def _floor(fit: Fit, points: Points) -> Effect:
    """E with its interval, wider by the error of the validation tokens: it is the same in every cell, and in no resample."""
    found = fit.estimates["E"]
    if found.interval is None:
        return Effect(found.value, math.nan, math.nan, "No resample gives E an interval.")
    error = float(points.used["loss_se"].median()) if "loss_se" in points.used else 0.0
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * error
    low, high = math.hypot(found.value - found.interval.low, half), math.hypot(found.interval.high - found.value, half)
    return Effect(found.value, found.value - low, found.value + high)


def _off(name: str, source: Source | None) -> Effect:
    """|E / H - 1| in per cent."""
    if source is None:
        return Effect.missing(f"It needs the arm {name}.")
    floor, entropy = source.floor, source.entropy
    if math.isnan(floor.value):
        return Effect.missing(source.refusal)
    value, low, high = (100 * (number / entropy - 1) for number in (floor.value, floor.low, floor.high))
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    says = (
        f"On {name} the fitted floor is {floor.value:.4f} [{floor.low:.4f}, {floor.high:.4f}] nats per token, {value:+.2f} % "
        f"from the known entropy of {entropy:.4f}."
    )
    return Effect(abs(value), nearest, max(abs(low), abs(high)), floor.withheld, says)


def _holds(sources: Mapping[str, Source]) -> Effect:
    """Share of the told sources whose interval holds the entropy, with Clopper and Pearson's interval."""
    told = [source for source in sources.values() if not math.isnan(source.floor.low)]
    if not told:
        return Effect.missing("No source was learnt well enough for an interval of E.")
    num, tail = sum(source.holds for source in told), (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, num, len(told) - num + 1)) if num else 0.0
    high = float(beta.ppf(1 - tail, num + 1, len(told) - num)) if num < len(told) else 1.0
    return Effect(num / len(told), low, high, says=f"The interval of E holds the entropy of {num} of {len(told)} sources.")


def _controls(name: str, points: Points) -> list[Control]:
    """No loss below the entropy, FLOPs as counted, and seeds alike."""
    used, controls = points.used, []
    if "loss_se" in used:
        lowest = float(((used["loss"] - used["entropy"]) / used["loss_se"]).min())
        asks = f"No cell ends below the entropy by more than {BELOW:g} standard errors; the lowest, in standard errors"
        controls.append(Control(f"floor of {name}", asks, lowest >= -BELOW, lowest))
    if "c_counted" in used and points.flops_convention == "attention":
        worst = float((used["c"] / used["c_counted"] - 1).abs().max())
        asks = "C is what torch's counter finds in the model itself, of every cell; the largest relative difference"
        controls.append(Control(f"FLOPs of {name}", asks, worst <= _SAME, worst, truth=0.0))
    if (pairs := _seed_pairs(points)) is not None:
        same = seed_control(pairs.groupby("n").mean().tolist(), "the same loss")
        controls += [dataclasses.replace(same, name=f"A/A of {name}")] if same else []
    return controls


def _noise(points: Points) -> float:
    """Standard deviation of log loss between two seeds, by the median: where a chain is being found some are percents apart."""
    pairs = _seed_pairs(points)
    return math.nan if pairs is None else 1.4826 * float(pairs.abs().median()) / math.sqrt(2)


def _seed_pairs(points: Points) -> "pd.Series[float] | None":
    """Log ratio of the losses of the two seeds at each N and D; None where there are not two."""
    used = points.used
    if "seed" not in used or used["seed"].nunique() != 2:
        return None
    pairs = used.pivot_table(index=["n", "d"], columns="seed", values="loss").dropna()
    return pairs.iloc[:, 0].div(pairs.iloc[:, 1]).map(math.log)


def _row(name: str, source: Source) -> dict[str, Any]:
    floor = source.floor
    return {
        "source": name,
        "law": source.fit.law.name if source.fit else "none",
        "entropy": source.entropy,
        "E": floor.value,
        "low": floor.low,
        "high": floor.high,
        "cells": len(source.points.used),
        "cells fitted": len(source.kept.frame),
        "lowest loss": float(source.points.loss.min()),
    }


def _notes(sources: Mapping[str, Source]) -> tuple[str, ...]:
    left_out = [
        f"{len(source.points.used) - len(source.kept.frame)} of {len(source.points.used)} of {name}"
        for name, source in sources.items()
    ]
    refused = [f"{name}: {source.refusal}" for name, source in sources.items() if source.refusal]
    return (
        f"Left out are cells that have not learnt half of what context gives, as fixed beforehand: {', '.join(left_out)}.",
        "Exponents on these sources say nothing: their learning curves are sigmoids in ln D.",
        *refused,
    )


def _chart(sources: Mapping[str, Source]) -> Chart | Missing:
    """Loss against D by size, and the entropy."""
    panels = tuple(_panel(name, source) for name, source in sources.items() if name in SOURCES)
    if not panels:
        return Missing("calibrate", "loss against the known entropy", f"There is no arm {' or '.join(SOURCES)}.")
    caption = (
        "Loss of every cell; the dashed line is the entropy, the others the preferred law at each size. Faint cells have not "
        "learnt half of what context gives, and are in no law."
    )
    return Chart("calibrate", caption, panels)


def _panel(name: str, source: Source) -> Panel:
    points, kept = source.points, source.kept
    marks: list[Mark] = [Dots(points.d, points.loss, "faint", name="all cells")]
    if source.fit is not None:
        d: FloatArray = np.geomspace(kept.d.min(), kept.d.max(), 40)
        for n in np.unique(kept.n):
            marks.append(Line(d, source.fit.law.predict(np.full_like(d, n), d), "first"))
    if len(kept.frame):
        marks.append(Dots(kept.d, kept.loss, "first", name=f"in the law, N {format_count(kept.n.min())} and up"))
    marks.append(Across("y", source.entropy, "dash"))
    entropy = np.array([source.entropy])
    title = f"{name}: entropy {format_number(source.entropy)} nats per token"
    return Panel(title, log_axis("d", points.d), log_axis("loss", points.loss, entropy), tuple(marks))
