"""Tables for other programs: the laws as CSV at full precision and as LaTeX for a paper, the back-test row by row."""

import math

import numpy as np

from scalesweep.analysis.forecast.backtest import BackTest
from scalesweep.fit.sweep_fit import Name, SweepFit
from scalesweep.interval import Interval
from scalesweep.report.tables import Entry, Table, write_csv
from scalesweep.report.words.fit import meaning

_SYMBOLS = {
    "alpha": r"$\alpha$",
    "beta": r"$\beta$",
    "kappa": r"$\kappa$",
    "exponent": r"$\alpha$",
    "scale": r"$x_c$",
    "tokens_per_parameter": r"$D^*/N^*$",
}


def render_csv(fit: SweepFit) -> str:
    """One row a parameter: law, parameter, value, low, high, meaning; an end that is not known is empty."""
    rows: list[tuple[Entry, ...]] = []
    for name in fit.order:
        for parameter, estimate in fit[name].estimates.items():
            rows.append((name, parameter, estimate.value, estimate.low, estimate.high, meaning(name, parameter, fit.metric)))
    return write_csv(Table(("law", "parameter", "value", "low", "high", "meaning"), tuple(rows)))


def render_back_test(tested: BackTest) -> str:
    """One row a prediction: where it was made from, what was measured and predicted, the honest interval; nats per token."""
    rows: tuple[tuple[Entry, ...], ...] = ()
    if (seen := tested.outcomes) is not None:
        logs = np.stack([seen.actual, seen.centre, seen.lows["honest"], seen.highs["honest"]], axis=1)
        with np.errstate(over="ignore"):  # far from all points, where it abstains, an end may leave double precision
            losses = np.exp(logs)
        numbers = np.column_stack([seen.cut, seen.factor, seen.n, seen.d, losses]).tolist()
        rows = tuple((*line, str(shy).lower()) for line, shy in zip(numbers, seen.abstained, strict=True))
    head = ("cut", "factor", "n", "d", "measured", "predicted", "honest_low", "honest_high", "abstained")
    return write_csv(Table(head, rows))


def render_latex(fit: SweepFit) -> str:
    """A tabular of booktabs with one row a parameter, each with the digits that its interval allows."""
    blocks = [
        [
            f"{_name(name) if not row else ''} & {_SYMBOLS.get(parameter, f'${parameter}$')} & "
            f"{_number(estimate.value, estimate.interval)} & {latex_interval(estimate.interval)} \\\\"
            for row, (parameter, estimate) in enumerate(fit[name].estimates.items())
        ]
        for name in fit.order
    ]
    between = "\n\\addlinespace\n".join("\n".join(rows) for rows in blocks if rows)
    head = f"Law & & Estimate & {fit.confidence:.0%} interval \\\\".replace("%", "\\%")
    lines = ("% \\usepackage{booktabs}", "\\begin{tabular}{llrl}", "\\toprule", head, "\\midrule", between)
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def latex_interval(found: Interval | None) -> str:
    """The ends in mathematics; an end that the search did not find is open."""
    if found is None:
        return "--"
    low = "open" if found.is_low_open else _number(found.low, found)
    return f"[{low}, {'open' if found.is_high_open else _number(found.high, found)}]"


def _name(law: Name) -> str:
    if law.startswith("by_"):
        return f"$L({law[3].upper()})${', with a floor' if law.endswith('_floor') else ''}"
    return f"$L(N, D)$, {'additive' if law == 'joint' else law}"


def _number(value: float, within: Interval | None) -> str:
    """The value to the second significant digit of half its interval's width, or of its own where that says more.

    Four significant digits where there is no interval, or one with an end that is open or infinite.
    """
    if not math.isfinite(value):
        return r"$\infty$"
    exponent = math.floor(math.log10(abs(value))) if value else 0
    place = exponent - 3
    is_open = within is None or within.is_low_open or within.is_high_open
    half = math.nan if within is None or is_open else within.high / 2 - within.low / 2
    if math.isfinite(half) and half > 0:
        place = min(math.floor(math.log10(half)) - 1, exponent - 1 if value else 0)
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"${value / 10**exponent:.{max(exponent - place, 0)}f} \\cdot 10^{{{exponent}}}$"
    return f"${round(value, -place):.{max(-place, 0)}f}$"
