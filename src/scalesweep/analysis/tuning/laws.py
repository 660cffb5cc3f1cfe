"""Laws of the optima: eta*(N, D) and B*(N, D) as a plane in logarithms, checked on sizes that it was not fitted to.

    log value* = log coefficient + n_exponent log N + d_exponent log D

by ordinary least squares over the inner optima, with intervals by Student's t. Published laws of this form: StepLaw (eta =
1.79 N^-0.713 D^0.307, arXiv 2503.04715), DeepSeek (arXiv 2401.02954), Porian et al. (arXiv 2406.19146). The learning rate is
the recipe's (`recipe.lr`): where the recipe already scales it with the width, the law is of what is left.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scalesweep.analysis.tuning.frontier import Frontier, TunedGroup, TunedOptimum
from scalesweep.analysis.tuning.lowest import LowestLoss
from scalesweep.analysis.tuning.noise import MIN_DOF, TuningNoise
from scalesweep.analysis.tuning.quantity import BATCH, LR
from scalesweep.arrays import FloatArray
from scalesweep.errors import Refused
from scalesweep.fit.estimates import Estimate
from scalesweep.interval import Interval
from scalesweep.points.design import count_levels
from scalesweep.units import format_count, format_number

LAW_OF = (LR, BATCH)
"""Settings of a sweep that have a law, where they were tuned."""
CONFIDENCE = 0.90
"""Nominal coverage of the intervals, that of the fits by default."""


@dataclass(frozen=True)
class HeldOut:
    """A prediction for a size by the law of the others."""

    n: float
    factor: float
    """Root mean square of |log(predicted / found)| as a factor; 1 is exact."""
    regret: float
    """Mean loss that the predicted value costs by the quadratics, in nats per token; NaN for other settings than the first."""


@dataclass(frozen=True)
class OptimumLaw:
    """The law of one setting's optimum."""

    setting: str
    """Dotted setting."""
    estimates: dict[str, Estimate]
    """coefficient, n_exponent and d_exponent; an exponent whose variable does not vary is 0 without an interval."""
    num_points: int
    """Inner optima that it was fitted to."""
    residual: float
    """Standard deviation of log value* about the law; NaN without points to spare."""
    held_out: tuple[HeldOut, ...]
    """Each size predicted from the others; empty with fewer than three sizes."""

    def at(self, n: float, d: float) -> float:
        """The law's value at N parameters and D tokens."""
        c, p, q = (self.estimates[name].value for name in ("coefficient", "n_exponent", "d_exponent"))
        return float(c * n**p * d**q)

    @property
    def override(self) -> str:
        """What makes the law the recipe of a sweep; empty for other settings than the learning rate."""
        if self.setting != LR:
            return ""
        numbers = ", ".join(f"{name}: {estimate.value:.6g}" for name, estimate in self.estimates.items())
        return f"'recipe.lr_law={{{numbers}}}'"


def optimum_laws(frontier: Frontier) -> tuple[OptimumLaw, ...]:
    """The laws of the learning rate, the batch and columns of a user's own, of those that have at least three vertices.

    The best of a few values, which stands in for a vertex elsewhere, is one of these values and says little of the exponents.
    """
    laws = []
    for setting in (*LAW_OF, *(name for name in frontier.settings if "." not in name)):
        optima = [o for o in frontier.vertices if setting in o.settings]
        if len(optima) >= 3:
            laws.append(_law(setting, optima))
    return tuple(laws)


def _law(setting: str, optima: Sequence[TunedOptimum]) -> OptimumLaw:
    from scipy.stats import t

    coefficients, covariance, spare = _plane(setting, optima)
    reach = t.ppf((1 + CONFIDENCE) / 2, spare) * np.sqrt(np.diag(covariance)) if spare else np.full(3, math.nan)
    names = ("coefficient", "n_exponent", "d_exponent")
    estimates = {}
    for i, name in enumerate(names):
        ends = [coefficients[i] - reach[i], coefficients[i] + reach[i]] if reach[i] > 0 else [math.nan, math.nan]
        value, low, high = (math.exp(v) if i == 0 else float(v) for v in (coefficients[i], *ends))
        estimates[name] = Estimate(value, None if math.isnan(low) else Interval(low, high))
    log = np.log([o.values[setting] for o in optima])
    rss = float(np.sum((log - _variables(optima) @ coefficients) ** 2))
    return OptimumLaw(
        setting, estimates, len(optima), math.sqrt(rss / spare) if spare else math.nan, tuple(_held_out(setting, optima))
    )


def _variables(optima: Sequence[TunedOptimum]) -> FloatArray:
    return np.array([(1.0, math.log(o.n), math.log(o.d)) for o in optima])


def _plane(setting: str, optima: Sequence[TunedOptimum]) -> tuple[FloatArray, FloatArray, int]:
    """Coefficients of 1, log N, log D, their covariance, and points to spare; 0 for a variable that does not vary."""
    variables, log = _variables(optima), np.log([o.values[setting] for o in optima])
    levels = [count_levels(np.exp(variables[:, i])) for i in (1, 2)]
    varied = [0, *(i for i in (1, 2) if levels[i - 1] > 1)]
    if np.linalg.matrix_rank(variables[:, varied] - variables[:, varied].mean(axis=0) * (np.array(varied) > 0)) < len(varied):
        varied = varied[:2]  # N and D move together: the law is along that line, written in N
    design = variables[:, varied]
    solution, *_ = np.linalg.lstsq(design, log, rcond=None)
    spare = max(0, len(log) - len(varied))
    variance = float(np.sum((log - design @ solution) ** 2)) / spare if spare else math.nan
    coefficients, covariance = np.zeros(3), np.zeros((3, 3))
    coefficients[varied] = solution
    covariance[np.ix_(varied, varied)] = variance * np.linalg.pinv(design.T @ design)
    return coefficients, covariance, spare


def _held_out(setting: str, optima: Sequence[TunedOptimum]) -> list[HeldOut]:
    sizes = sorted({o.n for o in optima})
    if len(sizes) < 3:
        return []
    found = []
    for n in sizes:
        rest, out = [o for o in optima if o.n != n], [o for o in optima if o.n == n]
        if len(rest) < 3:
            continue
        error = _variables(out) @ _plane(setting, rest)[0] - np.log([o.values[setting] for o in out])
        regrets = [o.curvature * e**2 / 2 for o, e in zip(out, error, strict=True) if o.settings[0] == setting]
        found.append(HeldOut(n, float(np.exp(np.sqrt(np.mean(error**2)))), float(np.mean(regrets)) if regrets else math.nan))
    return found


def frontier_rows(frontier: Frontier) -> list[dict[str, str]]:
    """The table of the frontier, for people; what is not known is left empty."""
    return [_frontier_row(group, frontier.settings) for group in frontier.groups]


def _frontier_row(group: TunedGroup, settings: Sequence[str]) -> dict[str, str]:
    found = None if isinstance(group.optimum, Refused) else group.optimum
    row = {"N": format_count(group.n), "D": format_count(group.d), "seed": str(group.row.get("seed", ""))}
    row["tried"] = str(group.num_settings)
    row |= {f"{name}*": _with_factor(found, name) if found else "" for name in settings}
    row |= {"loss*": _pm(found.loss, found.loss_se, 4) if found else "", "lowest": _pm(group.lowest, math.nan, 4)}
    row |= {f"{name} lr": _pm(*found.regret(name), 4) if found else "" for name in ("half", "double") if LR in settings}
    return {**row, "left out because": group.optimum.reason if isinstance(group.optimum, Refused) else ""}


def _with_factor(optimum: TunedOptimum | LowestLoss, name: str) -> str:
    if name not in optimum.settings:
        return "flat"
    if isinstance(optimum, LowestLoss):
        return f"{optimum.values[name]:.3g} (lowest)"
    error = optimum.value_ses[name]
    return f"{optimum.values[name]:.3g}" + ("" if math.isnan(error) else f" (×/÷ {math.exp(error):.2f})")


def _pm(value: float, error: float, digits: int) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.{digits}f}" + ("" if math.isnan(error) else f" ± {error:.{digits}f}")


def describe(frontier: Frontier) -> str:
    """The frontier and the laws of its optima as text for a terminal or a report."""
    lines = [
        f"Tuned frontier over {', '.join(frontier.settings)}: {len(frontier.optima)} inner optima of {len(frontier.groups)}, "
        f"from {len(frontier.measured.frame)} measured cells.",
        "loss* is the vertex of a local quadratic, corrected for the winner's curse; lowest is the lowest loss measured; half "
        "and double are the tuning regret, what that learning rate costs above loss*.",
        *_describe_lowest(frontier),
        _describe_noise(frontier.noise, frontier.measured.metric.by),
    ]
    rows = frontier_rows(frontier)
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    lines += ["", "  ".join(name.ljust(widths[name]) for name in names).rstrip()]
    lines += ["  ".join(row[name].ljust(widths[name]) for name in names).rstrip() for row in rows]
    for law in optimum_laws(frontier):
        lines += ["", *_describe_law(law, frontier)]
    return "\n".join(lines)


def _describe_lowest(frontier: Frontier) -> list[str]:
    """How many optima are the lowest loss for want of a quadratic, and why."""
    whys = Counter(o.why for o in frontier.optima if isinstance(o, LowestLoss))
    if not whys:
        return []
    return [
        f"At {sum(whys.values())} of {len(frontier.optima)} it is the lowest loss measured instead, corrected for noise and "
        f"for the distance between settings: {', '.join(f'{why} ({number})' for why, number in whys.items())}."
    ]


def _describe_noise(noise: TuningNoise, by: Callable[[str], str]) -> str:
    parts = []
    if noise.dof:
        freedom = f"{noise.dof} degree{'' if noise.dof == 1 else 's'} of freedom"
        parts.append(f"Scatter about the quadratics: {by(format_number(noise.scatter))}, {freedom}")
    if not math.isnan(noise.evaluation):
        parts.append(f"standard error of the evaluations: {by(format_number(noise.evaluation))}")
    words = "; ".join(parts) or "no quadratic has settings to spare"
    words = words[0].upper() + words[1:]
    if noise.dof >= MIN_DOF:
        return f"{words}. The larger one gives ±, widened so that 1.645 of it is the 90 % interval of Student's t."
    return f"{words}. A vertex has no ±: that takes {MIN_DOF} degrees of freedom, of more settings near each optimum."


def _describe_law(law: OptimumLaw, frontier: Frontier) -> list[str]:
    c, p, q = law.estimates.values()
    spread = "" if math.isnan(law.residual) else f", scatter ×/÷ {math.exp(law.residual):.2f}"
    lines = [
        f"Law of the optimum: {law.setting} = {format_number(c.value)} N^{p.value:.3f} D^{q.value:.3f} "
        f"({law.num_points} optima, N counted {frontier.measured.params_convention}{spread})",
        "  "
        + ", ".join(f"{name} {format_number(e.value)} {e.interval or '(no interval)'}" for name, e in law.estimates.items()),
    ]
    for held in law.held_out:
        cost = "" if math.isnan(held.regret) else f", which costs {frontier.measured.metric.by(f'{held.regret:.4f}')}"
        lines.append(f"  N = {format_count(held.n)} predicted from the other sizes: off by ×/÷ {held.factor:.2f}{cost}")
    if law.override:
        lines.append(f"  As a recipe for other sizes: {law.override}")
    return lines
