"""Families of one table side by side: each its own law, and how much less compute one needs for the same loss.

The compute multiplier of a family against a reference family is C_reference / C_family where both reach the same loss at the
same tokens per parameter. Both quantities are read off the families' own joint laws on the ray through the geometric middle
(N0, D0) of what both measured, at the geometric mean of the two losses there, so that exchanging the two families inverts it.
On a ray it needs no compute optimum, which either family may never have come near. A multiplier of 2 halves the compute.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, PointsError, Refused, did_you_mean
from scalesweep.fit import fit_laws
from scalesweep.fit.estimates import Estimate, estimate, join
from scalesweep.fit.results import Fit
from scalesweep.fit.sweep_fit import SweepFit
from scalesweep.laws import JointLaw
from scalesweep.points.mixtures import is_evaluation
from scalesweep.points.points import Points
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_count, format_number, plural

MAX_FAMILIES = 24
"""More values than this are a column that names runs or measures something, not one of families."""
_LOG_SCALES = np.linspace(-math.log(1e4), math.log(1e4), 2001)
"""Scales s of (s N0, s D0) at which a resampled law is tabulated, steps of 0.9 %: linear interpolation of log L between them is
off by less than 1e-5 of log s for exponents below 1."""


@dataclass(frozen=True, eq=False)
class Family:
    """The rows of one value of the column, and their laws."""

    name: str
    points: Points
    fit: SweepFit | Refused

    @property
    def law(self) -> Fit | Refused:
        """The preferred joint law, or why there is none."""
        if isinstance(self.fit, Refused):
            return self.fit
        return self.fit.preferred or self.fit.refusal


@dataclass(frozen=True)
class Multiplier:
    """How much less compute a family needs than the reference for one loss."""

    family: str
    reference: str
    ratio: Estimate
    """C of the reference over C of the family."""
    n: float
    """N0, geometric middle of the sizes that both measured."""
    d: float
    """D0, geometric middle of the tokens that both measured."""
    loss: float
    """The loss that both reach."""
    confidence: float
    """Nominal coverage of the interval."""


@dataclass(frozen=True, eq=False)
class Families:
    """All families of one column."""

    column: str
    families: tuple[Family, ...]
    """The reference, which has the most rows, first; the others in the order of the table."""
    multipliers: Mapping[str, Multiplier | Refused]
    """Of every family but the reference, by name."""
    is_pooled: bool = True
    """Whether the rows of all families are fitted as one law too; else the analysis around this is of the reference alone."""

    @property
    def reference(self) -> Family:
        """The family that the others are compared with."""
        return self.families[0]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "column": self.column,
            "reference": self.reference.name,
            "is_pooled": self.is_pooled,
            "laws": {family.name: _content(family) for family in self.families},
            "multipliers": {
                name: {"refusal": found.reason}
                if isinstance(found, Refused)
                else asdict(found) | {"ratio": found.ratio.to_dict()}
                for name, found in self.multipliers.items()
            },
        }


def fit_families(points: Points, column: str, spec: FitSpec | None = None, is_pooled: bool = True) -> Families:
    """Fit every family of a table its own laws, and compare their compute at equal loss.

    Args:
        points: measured rows of all families.
        column: whose values name the families; rows without one are a family called `(none)`.
        spec: estimation and intervals.
        is_pooled: see `Families`.

    Raises:
        PointsError: there is no such column, or its values are not 2 to `MAX_FAMILIES`.
    """
    spec = spec or FitSpec()
    parts = split_families(points, column)
    families = [Family(name, part, _fitted(part, spec)) for name, part in parts.items()]
    reference = reference_of(parts)
    first = next(family for family in families if family.name == reference)
    families = [first, *(family for family in families if family is not first)]
    same = Refused(f"{column} tells evaluation sets apart: their losses are of different texts, so no two of them are equal.")
    found = {
        family.name: same if is_evaluation(points.used, column) else compute_multiplier(first, family, spec.confidence)
        for family in families[1:]
    }
    return Families(column, tuple(families), found, is_pooled)


def reference_of(parts: Mapping[str, Points]) -> str:
    """The family with the most used rows, the first of equals."""
    return max(parts, key=lambda name: len(parts[name].loss))


def split_families(points: Points, column: str) -> dict[str, Points]:
    """The points of each value of a column, in the order of the table.

    Raises:
        PointsError: there is no such column, or its values are not 2 to `MAX_FAMILIES`.
    """
    names = list(dict.fromkeys(_labels(points, column)[points.frame["excluded_reason"] == ""]))
    if not 2 <= len(names) <= MAX_FAMILIES:
        raise PointsError(
            f"by = {column!r}: it has {plural(len(names), 'value')} in used rows; families have 2 to {MAX_FAMILIES}."
        )
    return {name: rows_of(points, column, name) for name in names}


def rows_of(points: Points, column: str, name: str) -> Points:
    """The points of one value of a column.

    Raises:
        PointsError: there is no such column, or no such value in it.
    """
    labels = _labels(points, column)
    if not (chosen := labels == name).any():
        known = list(dict.fromkeys(labels))
        raise PointsError(f"{name!r} is no value of {column}{did_you_mean(name, known)}; it has {', '.join(map(repr, known))}.")
    return replace(points, frame=points.frame[chosen].reset_index(drop=True), source=f"{points.source}, {column} {name}")


def _labels(points: Points, column: str) -> Any:
    """The family of each row."""
    if column not in points.frame:
        others = ", ".join(str(name) for name in points.frame.columns if name != "excluded_reason")
        raise PointsError(f"by = {column!r}: {points.source} has no such column; it has {others}.")
    return points.frame[column].map(family_name)


def family_name(value: Any) -> str:
    """A value of the column as a name; whole numbers without a point."""
    if value is None or value != value or str(value).strip() in ("", "<NA>"):
        return "(none)"
    return f"{value:g}" if isinstance(value, float) else str(value).strip()


def compute_multiplier(reference: Family, family: Family, confidence: float) -> Multiplier | Refused:
    """C of the reference over C of the family at equal loss and equal tokens per parameter (see the module).

    The interval is that of the resamples of both laws, drawn independently. Of 200 simulated pairs of 24 runs on a grid, and of
    30 runs on five isoFLOP budgets, with 1 % noise, the nominal 90 % held 91.5 % and 91.5 %.

    Refused: their losses are not of one text in one unit, one of the laws was refused, they measured no range in common, or one
    of them reaches the loss only beyond its own compute.
    """
    if reason := _incomparable(reference.points, family.points):
        return Refused(f"{family.name} and {reference.name} {reason}.")
    one, other = reference.law, family.law
    for name, law in ((reference.name, one), (family.name, other)):
        if isinstance(law, Refused):
            return Refused(f"{name} has no joint law: {law.reason}")
    assert isinstance(one, Fit) and isinstance(other, Fit)
    middle = {}
    for symbol, ranges in (("N", [family.points.n, reference.points.n]), ("D", [family.points.d, reference.points.d])):
        low, high = max(float(values.min()) for values in ranges), min(float(values.max()) for values in ranges)
        if low > high:
            return Refused(f"{family.name} and {reference.name} share no range of {symbol}, so no loss can be compared.")
        middle[symbol] = math.sqrt(low * high)
    n, d = middle["N"], middle["D"]
    at = [float(np.log(law.law.predict(n, d))) for law in (one, other)]
    log_loss = sum(at) / 2
    centre = np.array([2 * _log_scale([law.law], n, d, log_loss)[0] for law in (one, other)])  # C = 6 N D grows as s^2
    for found, part in zip(centre, (reference, family), strict=True):
        needed, measured = 6 * n * d * math.exp(found), (float(part.points.c.min()), float(part.points.c.max()))
        if not measured[0] <= needed * _count_ratio(part) <= measured[1]:
            return Refused(
                f"At {format_number(math.exp(log_loss))}, the loss between both at N = {format_count(n)}, D = "
                f"{format_count(d)}, {part.name} is outside the compute that it measured ({format_number(measured[0])} to "
                f"{format_number(measured[1])} FLOPs): they have no loss in common."
            )
    drawn = [_deviations(law, n, d, log_loss, value) for law, value in zip((one, other), centre, strict=True)]
    value = float(centre[0] - centre[1])
    ratio = Estimate(math.exp(value))
    for which in (0, 1):
        first, second = drawn[0][which], drawn[1][which]
        num = min(len(first), len(second))
        # Both fits draw with one seed: unshuffled, families of equal designs would be resampled alike.
        second = np.random.default_rng(0).permutation(second[:num])
        ratio = join(ratio, estimate(ratio.value, np.exp(value + first[:num] - second), confidence))
    return Multiplier(family.name, reference.name, ratio, n, d, math.exp(log_loss), confidence)


def _incomparable(one: Points, other: Points) -> str:
    """Why equal losses of two families are not equal, as far as their columns `validation_set` and `bytes_per_token` tell."""
    sets, sizes = (
        [set(points.used[name].dropna()) if name in points.used else set() for points in (one, other)]
        for name in ("validation_set", "bytes_per_token")
    )
    if sets[0] != sets[1]:
        return "were evaluated on different texts, so no two of their losses are equal; data.validation gives a sweep one set"
    if sizes[0] != sizes[1] and one.metric.unit.endswith("per token"):
        return (
            "have different tokenizers, so no two of their losses per token are equal; bits per byte can be, of a sweep by "
            "count.loss=bits_per_byte"
        )
    return ""


def _count_ratio(family: Family) -> float:
    """C as the family counts it over 6 N D: a range of C is compared in its own count."""
    points = family.points
    return float(np.exp(np.mean(np.log(points.c / (6 * points.n * points.d)))))


def _deviations(fit: Fit, n: float, d: float, log_loss: float, centre: float) -> tuple[FloatArray, FloatArray]:
    """Log C of the resamples minus that of the law: of resampled runs, and of resampled sizes where those were drawn."""
    rows = 2 * _log_scale(fit.resampled_laws(), n, d, log_loss) - centre
    if not len(fit.cluster_samples):
        return rows, rows
    return rows, 2 * _log_scale(fit.resampled_laws(fit.cluster_samples), n, d, log_loss) - centre


def _log_scale(laws: Sequence[Any], n: float, d: float, log_loss: float) -> FloatArray:
    """Log s at which each law reaches the loss at (s n, s d), shape (laws,); infinite where it never does."""
    scales = np.exp(_LOG_SCALES)
    found = np.empty(len(laws))
    for i, law in enumerate(laws):
        assert isinstance(law, JointLaw)
        falling = np.log(law.predict(n * scales, d * scales))
        if not np.isfinite(falling).all() or not falling[-1] < log_loss < falling[0]:
            found[i] = math.inf if falling[-1] >= log_loss else -math.inf
        else:
            found[i] = np.interp(-log_loss, -falling, _LOG_SCALES)
    return found


def _fitted(points: Points, spec: FitSpec) -> SweepFit | Refused:
    try:
        return fit_laws(points, spec)
    except FitError as error:
        return Refused(str(error))


def _content(family: Family) -> dict[str, Any]:
    if isinstance(family.fit, Refused):
        return {"refusal": family.fit.reason}
    return family.fit.to_dict()
