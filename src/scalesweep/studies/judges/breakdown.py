"""Must the laws break down? Kaplan et al. 2020, section 6.3: L(C) cannot stay below the loss that the data of its runs allow.

Both are straight lines in logarithms: L(C) along the compute optimum, L(D) of the largest models. With D*(C) ~ C^b they meet at
a finite C* if gain = alpha_C - b alpha_D is positive. The gain is a difference of two small numbers, and a law with a floor
bends both lines: so a crossing is claimed only of straight lines, near the data, with an interval that says where.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scalesweep.analysis.forecast.rivals import TITLES
from scalesweep.arrays import FloatArray
from scalesweep.errors import FitError, Refused
from scalesweep.fit.laws import fit_variable
from scalesweep.fit.results import Fit, Status
from scalesweep.laws import JointLaw, PowerLaw, Variable
from scalesweep.points.points import Points
from scalesweep.points.rows import Rows
from scalesweep.report.charts.chart import Chart, Dots, Line, Panel, log_axis
from scalesweep.report.charts.chart import Rule as Across
from scalesweep.studies.base import Arms, Effect, Findings, Rule, arm, replicate_noise
from scalesweep.studies.estimators.along_optimum import Frontier, largest_compute
from scalesweep.studies.estimators.planted import demo_surface, middle, noisy
from scalesweep.studies.estimators.seeds import SD_DRAWS, WITHOUT, halves, same_by_seed
from scalesweep.studies.estimators.theories import Theories, envelope
from scalesweep.studies.words import number_text
from scalesweep.units import format_plain

LINED: tuple[Variable, ...] = ("C", "D")
"""Variables whose laws are taken as lines."""
WIDEST = 2.0
"""Decades of the interval of C* above which nothing is said of where the lines meet."""
FURTHEST = 0.5
"""How far beyond the data the interval of C* may begin, in measured spans of log C."""
_LEVELS = 20
"""Values of C through which the line along the optimum is drawn."""


@dataclass(frozen=True, eq=False)
class Crossings:
    """Of the estimate, first, and of its resamples, each of shape (1 + draws,)."""

    gain: FloatArray
    """alpha_C - b alpha_D."""
    log_c: FloatArray
    """log10 of C* as 6 N D; infinite where the lines never meet beyond the data."""


def judge(arms: Arms, rule: Rule) -> Findings:
    """Effects `gain` and `where` of the arm `base`.

    Raises:
        FitError: the points identify no joint law with a compute optimum, or no L(D).
        PointsError: there is no arm `base`, it has one seed, or its N, D and C contradict each other.
    """
    points = arm(arms, "base")
    both, theories = halves(points), Theories.of(points, rule)
    forms = [fit for fit in theories.voting if isinstance(fit.law, JointLaw) and fit.law.has_optimum]
    if not forms:
        raise FitError(f"{points.source}: by every law of these points a term vanishes, so that no model is compute-optimal.")
    found = [_crossings(points, fit, rule) for fit in forms]
    per_six = math.log10(float(points.c.max()) / largest_compute(points))
    names = [TITLES[fit.law.name] for fit in forms]
    gain, where = (
        envelope(float(numbers[0][0]), {name: [drawn] for name, drawn in zip(names, numbers, strict=True)})
        for numbers in ([one.gain for one in found], [one.log_c + per_six for one in found])
    )
    span, last = (float(value(np.log10(points.c))) for value in (np.ptp, np.max))
    reason = _bent(points, forms, rule) or (_too_far(where, span, last) if gain.low >= 0 else "")
    away = f"{format_plain(where.value - last)} decades beyond the largest run" if math.isfinite(where.value) else "nowhere"
    effects = {
        "gain": replace(
            gain, withheld=reason, says=f"L(C) falls by an exponent {number_text(gain)} faster than its data allow"
        ),
        "where": replace(where, says=f"the lines meet at 10^{number_text(where)} FLOPs, {away}"),
    }
    controls = () if both is None else (same_by_seed(both, lambda half: _by_half(half, forms[0].law.name, rule), "gain"),)
    return Findings(
        effects=effects,
        sentence=(
            f"The loss that compute promises and the loss that its data allow meet at 10^{number_text(where)} FLOPs, {away}; "
            f"their exponents differ by {number_text(gain)}."
        ),
        chart=_chart(points, forms[0], rule),
        controls=controls,
        noise=replicate_noise(points)[0],
        notes=(
            "Exponents are those of the measured range, where a floor bends both lines.",
            *((WITHOUT,) if both is None else ()),
        ),
    )


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """The demo's exponents without a floor, of which only the larger term counts, times (N D)^-x.

    Without the factor L(C) and L(D*(C)) fall alike, as under every joint law. It leaves the optimum where it is and adds x to
    both exponents, so that gain = x (1 - b).

    Raises:
        KeyError: the part is not `gain`.
    """
    if part != "gain":
        raise KeyError(part)
    points = arm(arms, "base")
    law, (n_0, d_0) = replace(demo_surface(points), E=0.0, kappa=0.1), middle(points)
    n, d = (points.frame[name].to_numpy(dtype=np.float64) for name in ("n", "d"))
    loss = law.predict(n, d) * (n * d / (n_0 * d_0)) ** (-theta / (1 - law.b))
    return {**arms, "base": noisy(points, loss, noise, rng)}


def _line_of(points: Points, fit: Fit, rule: Rule) -> Fit:
    """L(D) of the largest models as a straight line."""
    line = fit_variable(Rows.of(points), "D", fit, rule.fit)[0]
    if isinstance(line, Refused):
        raise FitError(line.reason)
    return line


def _crossings(points: Points, fit: Fit, rule: Rule) -> Crossings:
    c = largest_compute(points)
    u = np.linspace(math.log(float(points.c.min() / points.c.max())), 0.0, _LEVELS)
    line = _line_of(points, fit, rule)
    assert isinstance(line.law, PowerLaw)
    laws = [fit.law, *fit.resampled_laws(), *fit.resampled_laws(fit.cluster_samples)]
    kept = [law for law in laws if isinstance(law, JointLaw) and law.has_optimum]
    log_loss = np.log([Frontier.of(law, c).loss_at(c * np.exp(u)) for law in kept])
    alpha_c = -(log_loss @ (u - u.mean())) / np.sum((u - u.mean()) ** 2)
    level = log_loss.mean(axis=1) + alpha_c * u.mean()
    b, log_d = np.array([law.b for law in kept]), np.log([float(law.d_opt(c)) for law in kept])
    # In random pairs: a loss that is high for both raises both lines, and the gain less than independent draws have it.
    sets = [line.law.theta[:2], *np.concatenate([line.samples, line.cluster_samples])]
    picked = np.random.default_rng(rule.seed).integers(min(1, len(sets) - 1), len(sets), size=len(kept) - 1)
    log_scale, alpha_d = np.array([sets[i] for i in (0, *picked.tolist())]).T
    gain = alpha_c - b * alpha_d
    with np.errstate(divide="ignore", invalid="ignore"):
        x = (level - alpha_d * (log_scale - log_d)) / gain
    return Crossings(gain, np.where(gain > 0, (math.log(c) + x) / math.log(10), np.inf))


def _bent(points: Points, forms: Sequence[Fit], rule: Rule) -> str:
    """Why the lines are none, in a sentence; empty where the points do not bend away from them."""
    for fit in forms:
        for variable in LINED:
            line = fit_variable(Rows.of(points), variable, fit, rule.fit)[0]
            if isinstance(line, Fit) and line.status is Status.REJECTED:
                return f"L({variable}) is bent, so that a straight line says nothing beyond the data: {line.messages[0]}"
    return ""


def _too_far(where: Effect, span: float, last: float) -> str:
    if where.high - where.low > WIDEST:
        return f"Where the lines meet is known to {where.high - where.low:.1f} decades only; {WIDEST:g} would say something."
    if where.low - last > FURTHEST * span:
        return f"The lines meet at least {where.low - last:.1f} decades beyond data that span {span:.1f}."
    return ""


def _by_half(points: Points, form: str, rule: Rule) -> tuple[float, FloatArray]:
    few = replace(rule, draws=min(rule.draws, SD_DRAWS))
    found = _crossings(points, Theories.of(points, few, (form,)).voting[0], few)
    return float(found.gain[0]), found.gain[1:]


def _chart(points: Points, fit: Fit, rule: Rule) -> Chart:
    law = fit.law
    assert isinstance(law, JointLaw)
    line, c = _line_of(points, fit, rule), largest_compute(points)
    six = np.geomspace(c * float(points.c.min() / points.c.max()), 100 * c, _LEVELS)
    x = six * float(points.c.max()) / c
    by_c, by_d = Frontier.of(law, c).loss_at(six), line.law.predict(law.d_opt(six))
    panel = Panel(
        "Loss that compute promises, and that its data allow",
        log_axis("c", points.c, x),
        log_axis("loss", points.loss, by_c, by_d, label=f"validation loss ({points.metric.unit})"),
        (
            Dots(points.c, points.loss, "faint", name="runs"),
            Line(x, by_c, "first", name="best at each compute"),
            Line(x, by_d, "second", "dash", name="L(D) at the tokens of that model"),
            Across("x", float(points.c.max()), "dot"),
        ),
    )
    caption = "Loss along the compute optimum, and the line L(D) of the largest models at its tokens; dotted: the largest run."
    return Chart("breakdown", caption, (panel,))
