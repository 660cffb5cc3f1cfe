"""Laws of one variable where the design measured none by itself: curves on the joint law, so that no row is chosen by its luck.

L(C) of models that compete at equal compute is the joint law's lower envelope. Of every joint law here that is E + K C^-gamma
with gamma = alpha beta / (alpha + beta), because the best model keeps the ratio of the two terms (Hoffmann et al. 2022, arXiv
2203.15556, section 3.3). L(N) and L(D) are the additive law's at the largest measured D or N, whose other term joins the floor.
Their draws are those of the joint law.
"""

from dataclasses import dataclass, replace

import numpy as np

from scalesweep.arrays import FloatArray
from scalesweep.errors import Refused
from scalesweep.fit.estimates import Estimate, estimate, join
from scalesweep.fit.horizon import Range
from scalesweep.fit.results import Fit, Status
from scalesweep.fit.selection import NOUNS, column_of
from scalesweep.interval import Interval
from scalesweep.laws import Chinchilla, JointLaw, PowerLaw, PowerLawFloor, Variable
from scalesweep.points.design import MIN_LEVELS
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec
from scalesweep.units import format_count, format_number

_LEVELS = 20
"""Values of the variable, evenly spaced in its logarithm, through which the line without a floor is drawn."""


@dataclass(frozen=True)
class _Path:
    """A curve in the plane of N and D, along which a joint law becomes a law of one variable."""

    variable: Variable
    per_product: float
    """C / (N D) of the rows, of which the law of compute is counted."""
    largest: tuple[float, float]
    """Largest measured N and D."""

    def place(self, law: JointLaw, x: FloatArray | float) -> tuple[FloatArray, FloatArray]:
        """N and D at values of the variable."""
        if self.variable == "C":
            c = np.asarray(x) * 6 / self.per_product  # the laws' optimum takes C = 6 N D
            return np.asarray(law.n_opt(c)), np.asarray(law.d_opt(c))
        fixed = np.full_like(np.asarray(x, dtype=np.float64), self.largest[1 if self.variable == "N" else 0])
        return (np.asarray(x), fixed) if self.variable == "N" else (fixed, np.asarray(x))

    def reduce(self, law: JointLaw, x: float) -> tuple[float, float, float]:
        """E, A and alpha of the law along the path, from its loss at x."""
        if self.variable == "C":
            floor, exponent = law.E, law.alpha * law.beta / (law.alpha + law.beta)
        elif self.variable == "N":
            floor, exponent = law.E + law.B * self.largest[1] ** -law.beta, law.alpha
        else:
            floor, exponent = law.E + law.A * self.largest[0] ** -law.alpha, law.beta
        return floor, (float(law.predict(*self.place(law, x))) - floor) * x**exponent, exponent


def fit_on_joint(rows: Rows, variable: Variable, joint: Fit, spec: FitSpec) -> tuple[Fit, Fit] | Refused:
    """A law of one variable as a line and with a floor, from a joint law, or why there is none.

    Args:
        rows: those of the joint law.
        variable: C for any joint law; N and D for the additive one.
        joint: the joint law with its draws.
        spec: confidence.
    """
    law, x = joint.law, column_of(rows, variable)
    assert isinstance(law, JointLaw)
    if not law.has_optimum:
        return Refused("The joint law gives none either, because one of its terms vanishes.")
    if variable != "C" and not isinstance(law, Chinchilla):
        return Refused("The joint law is not additive, so that at one N or D it is no power law with a floor.")
    path = _Path(variable, float(np.exp(np.mean(np.log(rows.c / (rows.n * rows.d))))), (rows.n.max(), rows.d.max()))
    measured, every = Range.of(rows.n, rows.d), np.geomspace(x.min(), x.max(), _LEVELS)
    supported = [not measured.refuse(float(n), float(d)) for n, d in zip(*path.place(law, every), strict=True)]
    levels = every[supported]
    if len(levels) < MIN_LEVELS:
        where = "The best models" if variable == "C" else f"{NOUNS[variable]} beside the largest budget of the other"
        return Refused(f"{where[0].upper() + where[1:]} lie outside what was measured, so that the joint law gives none.")
    sets = {"law": np.array([law.theta]), "samples": joint.samples, "cluster_samples": joint.cluster_samples}
    floored = {name: _reduced(joint, path, part, levels) for name, part in sets.items()}
    lines = {name: _lines(part, levels) for name, part in floored.items()}
    common = replace(joint, selection=_words(path, levels), search=None)
    floor = _fit(common, PowerLawFloor.build(floored["law"][0].tolist(), [variable]), floored, spec)
    line = replace(_fit(common, PowerLaw.build(lines["law"][0].tolist(), [variable]), lines, spec), wider=floor)
    return _bent(line, floor, levels), floor


def _words(path: _Path, levels: FloatArray) -> str:
    write = format_number if path.variable == "C" else format_count
    ends = f"{path.variable} {write(levels[0])} to {write(levels[-1])}"
    if path.variable == "C":
        return f"lowest loss at {ends} by the joint law of all points"
    other = f"D = {format_count(path.largest[1])}" if path.variable == "N" else f"N = {format_count(path.largest[0])}"
    return f"loss at {ends}, {other}, by the additive law of all points"


def _reduced(joint: Fit, path: _Path, samples: FloatArray, levels: FloatArray) -> FloatArray:
    """(E, A, alpha) along the path of each joint law with an optimum, shape (laws, 3)."""
    centre = float(np.sqrt(levels[0] * levels[-1]))
    laws = joint.resampled_laws(samples)
    found = [path.reduce(law, centre) for law in laws if isinstance(law, JointLaw) and law.has_optimum]
    return np.array(found).reshape(-1, 3)


def _lines(floored: FloatArray, levels: FloatArray) -> FloatArray:
    """(log scale, exponent) of the least-squares line through each law with a floor at the levels, shape (laws, 2)."""
    log_loss = np.log(floored[:, :1] + floored[:, 1:2] * levels ** -floored[:, 2:])
    centre = np.log(levels).mean()
    u = np.log(levels) - centre
    exponent = -(log_loss @ u) / (u @ u)
    return np.stack([centre + log_loss.mean(axis=1) / exponent, exponent], axis=1)


def _fit(common: Fit, law: PowerLaw | PowerLawFloor, drawn: dict[str, FloatArray], spec: FitSpec) -> Fit:
    sets = (drawn["samples"], drawn["cluster_samples"])

    def union(i: int, value: float) -> Estimate:
        one, other = (estimate(value, part[:, i], spec.confidence) for part in sets)
        return join(one, other)

    if isinstance(law, PowerLawFloor):
        estimates = {name: union(i, value) for i, (name, value) in enumerate(zip(law.parameters, law.theta, strict=True))}
    else:
        ends = union(0, law.log_scale).interval
        with np.errstate(over="ignore"):
            scale = Interval(float(np.exp(ends.low)), float(np.exp(ends.high))) if ends else None
        estimates = {"exponent": union(1, law.exponent), "scale": Estimate(law.scale, scale)}
    weak = common.status not in (Status.IDENTIFIED, Status.UNKNOWN)
    messages = ("It is as good as the joint law: see its verdict.",) if weak else ()
    found = replace(common, law=law, estimates=estimates, samples=sets[0], cluster_samples=sets[1], messages=messages)
    return replace(found, status=Status.WEAK if weak else common.status)


def _bent(line: Fit, floor: Fit, levels: FloatArray) -> Fit:
    """The line, rejected where the joint law is sure of the floor that bends it."""
    ends, law = floor.estimates["E"].interval, floor.law
    if ends is None or ends.low <= 0:
        return line
    assert isinstance(law, PowerLawFloor)
    first, last = (law.alpha * (1 - law.E / float(law.predict(x))) for x in (levels[0], levels[-1]))
    bend = (
        f"The joint law bends it: the local exponent goes from {first:.3f} at the smallest {law.variable} to {last:.3f} at the "
        "largest."
    )
    return replace(line, status=Status.REJECTED, messages=(bend, *line.messages))
